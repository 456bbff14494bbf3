"""Texts to read and train on, as bytes: 256 tokens, no tokenizer to learn or to download."""

import codecs
import random
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

import torch
from jaxtyping import Int, Integer, UInt8
from torch import Tensor

from course_lib.fetch import fetch
from course_lib.stories import entropy_per_byte, stories

VOCABULARY = 256
TEXTS = ("stories", "python-docs", "tinyshakespeare")
SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
    "/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text in two parts that share nothing: one to train on, one to measure on."""

    name: str
    training: UInt8[Tensor, " train"]
    validation: UInt8[Tensor, " held_out"]
    floor: float | None = None  # nats per byte that no model can beat on average, where known

    def batch(
        self, step: int, batch_size: int, length: int, *, seed: int = 0, device: torch.device | str | None = None
    ) -> Int[Tensor, "b window"]:
        """Random windows of `length` bytes plus the next one, for training step `step`.

        They depend on seed and step only, so a resumed training sees the same windows, on any device. They are on
        `device`; without one, where the text is (the CPU for `load`), whatever PyTorch's default device.
        """
        # Not torch's generator: on the CPU it looks at 32 bits of its seed, which pairs of seed and step outgrow.
        draw = random.Random(f"{seed} {step}").random
        places = _places("training", self.training, length)
        return _windows(self.training, [int(draw() * places) for _ in range(batch_size)], length, device)

    def windows(
        self, batch_size: int, length: int, *, device: torch.device | str | None = None
    ) -> Int[Tensor, "b window"]:
        """The same windows at every call, spread evenly over the validation text; on `device` as in `batch`."""
        places = _places("validation", self.validation, length)
        return _windows(self.validation, [i * places // batch_size for i in range(batch_size)], length, device)


def load(name: str, n_bytes: int | None = None) -> Corpus:
    """A text to train on: the last tenth is for validation; of `stories`, a tenth written from another seed."""
    everything = read(name, n_bytes)
    cut = len(everything) - len(everything) // 10
    if cut == len(everything):
        raise ValueError(f"{name} has {len(everything)} bytes, too short to keep a tenth for validation")
    floor, held_out = None, everything[cut:]
    if name == "stories":
        floor, held_out = entropy_per_byte(), stories(len(held_out), seed=1)
    return Corpus(name=name, training=_bytes(everything[:cut]), validation=_bytes(held_out), floor=floor)


def read(name: str, n_bytes: int | None = None) -> bytes:
    """The first `n_bytes` of a text of the course or of a file; all there is by default, of the endless stories 4 MB.

    A file is read as the bytes it has, whatever they mean, but for a byte-order mark at its start.

    Raises:
        ValueError: no such text, fewer bytes than asked for, a file in UTF-16, or a tinyshakespeare with another
            sha256.
        OSError: a file that cannot be read, a download that failed.
    """
    if n_bytes is not None and n_bytes < 1:
        raise ValueError(f"n_bytes must be 1 or more, got {n_bytes}")
    if name == "stories":
        return stories(4_000_000 if n_bytes is None else n_bytes)
    if name == "python-docs":
        everything = python_docs().encode()
    elif name == "tinyshakespeare":
        everything = fetch(
            name, f"{name}.txt", SHAKESPEARE_SHA256, SHAKESPEARE_URL, "The text stories needs no network."
        )
    elif Path(name).is_file():
        everything = _without_byte_order_mark(Path(name))
    else:
        raise ValueError(f"no text {name!r} and no file of that name; known: {', '.join(TEXTS)}")
    if len(everything) < (n_bytes or 1):
        raise ValueError(f"{name} has {len(everything)} bytes, wanted {n_bytes or 'at least one'}")
    return everything[:n_bytes]


def _without_byte_order_mark(path: Path) -> bytes:
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is encoded in UTF-16; save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def text(name: str, n_bytes: int | None = None) -> str:
    """As `read`, in characters."""
    return read(name, n_bytes).decode("utf-8", errors="replace")


def python_docs() -> str:
    """The help topics that come with every Python: 465 kB of English, not the same in every version."""
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


def encode(characters: str, *, device: torch.device | str | None = None) -> Int[Tensor, " t"]:
    """UTF-8 bytes as tokens, on `device`; without one, on PyTorch's default device.

    A model takes tokens on its own device: `encode(text, device=place_of(model))`.
    """
    return torch.tensor(list(characters.encode("utf-8")), dtype=torch.int64, device=device)


def decode(tokens: Integer[Tensor, " t"]) -> str:
    """Tokens back to text; a character cut in half shows as a replacement mark."""
    return bytes(tokens.tolist()).decode("utf-8", errors="replace")


def _bytes(data: bytes) -> UInt8[Tensor, " t"]:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _places(part: str, data: UInt8[Tensor, " t"], length: int) -> int:
    """How many windows of `length` + 1 bytes start in a text."""
    places = len(data) - length
    if length < 1 or places < 1:
        raise ValueError(f"windows of {length} + 1 bytes do not fit the {part} text of {len(data)} bytes")
    return places


def _windows(
    data: UInt8[Tensor, " t"], starts: list[int], length: int, device: torch.device | str | None
) -> Int[Tensor, "b window"]:
    rows = data.unfold(0, length + 1, 1)[torch.tensor(starts, device="cpu")]
    return rows.to(device).long()  # moved as bytes, an eighth of the size
