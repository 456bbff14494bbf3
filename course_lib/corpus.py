"""Texts to read and train on, as bytes: 256 tokens, no tokenizer to learn or to download."""

from pydoc_data import topics

import torch
from jaxtyping import Int
from torch import Tensor

VOCABULARY = 256


def python_docs() -> str:
    """The help topics that come with every Python: 465 kB of English, not the same in every version."""
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


TEXTS = {"python-docs": python_docs}


def text(name: str) -> str:
    """One of the texts of the course, by name."""
    if name not in TEXTS:
        raise ValueError(f"no text {name!r}; known: {', '.join(TEXTS)}")
    return TEXTS[name]()


def encode(characters: str) -> Int[Tensor, " t"]:
    """UTF-8 bytes as tokens."""
    return torch.tensor(list(characters.encode("utf-8")), dtype=torch.int64)


def decode(tokens: Int[Tensor, " t"]) -> str:
    """Tokens back to text; a character cut in half shows as a replacement mark."""
    return bytes(tokens.tolist()).decode("utf-8", errors="replace")
