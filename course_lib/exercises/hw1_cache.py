"""hw1_mla, first half: what is cached, rotary positions, and the latent (arXiv:2405.04434 section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.engine import Case, Exercise, Misconception

Config = dict[str, Any]

# kv_cache_elements ---------------------------------------------------------------------------------------------------


def kv_cache_elements(config: Config) -> int:
    layers = config["num_hidden_layers"]
    if config.get("kv_lora_rank") is not None:
        return layers * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    return layers * 2 * config["num_key_value_heads"] * config["head_dim"]


def cache_cases(seed: int) -> list[Case]:
    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    generator = torch.Generator().manual_seed(seed)
    cases = []
    for latent in (None, None, True, "absent", True):
        kv_heads = pick(2, 6)
        config: Config = {
            "num_hidden_layers": pick(3, 9), "num_attention_heads": kv_heads * pick(2, 5),
            "num_key_value_heads": kv_heads, "head_dim": 2 * pick(5, 20), "num_nextn_predict_layers": 1,
        }  # fmt: skip
        if latent != "absent":
            config |= {"kv_lora_rank": latent and 3 * pick(30, 60) + 1, "qk_rope_head_dim": latent and 2 * pick(11, 25)}
        if latent is True:
            config["num_key_value_heads"] = config["num_attention_heads"]
        cases.append({"config": config})
    return cases


def with_config(**changes: Callable[[Config], object]) -> Callable[[Config], int]:
    """The right count of a config misread: each change computes what was put in place of a key."""
    return lambda config: kv_cache_elements({**config, **{key: change(config) for key, change in changes.items()}})


def only(latent: bool, wrong: Callable[[Config], int]) -> Callable[[Config], int]:
    """Wrong where the cache is (or is not) a latent, right elsewhere."""
    return lambda c: wrong(c) if (c.get("kv_lora_rank") is not None) == latent else kv_cache_elements(c)


KV_CACHE_ELEMENTS = Exercise(
    name="kv_cache_elements",
    points=2,
    reference=kv_cache_elements,
    cases=cache_cases,
    mistakes=[
        Misconception(
            "This matches one layer only: every layer has a cache of its own.",
            with_config(num_hidden_layers=lambda c: 1),
        ),
        Misconception(
            "This matches keys without values: plain attention keeps both, hence the 2.",
            only(False, lambda c: kv_cache_elements(c) // 2),
        ),
        Misconception(
            "This matches counting the query heads: only num_key_value_heads have keys and values to keep.",
            with_config(num_key_value_heads=lambda c: c["num_attention_heads"]),
        ),
        Misconception(
            "This matches the latent alone: the rotated key, qk_rope_head_dim numbers, is cached beside it.",
            only(True, with_config(qk_rope_head_dim=lambda c: 0)),
        ),
        Misconception(
            "This matches a rotated key for each head: all heads share one.",
            only(
                True,
                lambda c: (
                    c["num_hidden_layers"] * (c["kv_lora_rank"] + c["num_attention_heads"] * c["qk_rope_head_dim"])
                ),
            ),
        ),
        Misconception(
            "This matches counting the latent for keys and again for values: both are made from the same one.",
            only(True, with_config(kv_lora_rank=lambda c: 2 * c["kv_lora_rank"])),
        ),
        Misconception(
            "This matches keys and values per head: with kv_lora_rank set, the latent is cached in their place.",
            with_config(kv_lora_rank=lambda c: None),
        ),
        Misconception(
            "This matches counting the MTP layers too: they are not among the num_hidden_layers asked for.",
            with_config(num_hidden_layers=lambda c: c["num_hidden_layers"] + c["num_nextn_predict_layers"]),
        ),
    ],
)

# rotate --------------------------------------------------------------------------------------------------------------


def rotate(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    frequency = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=wide.dtype) / x.shape[-1])
    return turn(wide, positions.to(wide.dtype)[:, None] * frequency).to(x.dtype)


def turn(x: Tensor, angle: Tensor) -> Tensor:
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1).flatten(-2)


def rotate_cases(seed: int) -> list[Case]:
    generator = torch.Generator().manual_seed(seed)

    def x(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    start = int(torch.randint(3, 40, (), generator=generator))
    return [
        {"x": x(2, 3, 5, 8), "positions": torch.arange(start, start + 5), "theta": 500.0},
        {"x": x(7, 6), "positions": torch.tensor([2, 9, 4, 30, 11, 0, 5]) + start, "theta": 10000.0},
        {"x": x(2, 4, 10).bfloat16(), "positions": torch.arange(4) + 4001 + start, "theta": 300.0},
    ]


def rotated_by(exponent: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Pairs turned with theta ** -exponent(i, r)."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        i = torch.arange(x.shape[-1] // 2, dtype=wide.dtype)
        return turn(wide, positions.to(wide.dtype)[:, None] * theta ** -exponent(i, x.shape[-1])).to(x.dtype)

    return wrong


def interleave(x: Tensor) -> Tensor:
    """Halves to pairs: 0 1 2 3 becomes 0 2 1 3."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)


def to_halves(x: Tensor) -> Tensor:
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def narrow_angles(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    frequency = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
    return turn(x, positions.to(x.dtype)[:, None] * frequency.to(x.dtype))


HALF_SPLIT = (
    "This matches the half-split layout: here neighbours (0, 1), (2, 3), ... form the pairs, not i and i + r/2, "
    "and they stay where they are."
)

ROTATE = Exercise(
    name="rotate",
    points=3,
    reference=rotate,
    cases=rotate_cases,
    mistakes=[
        Misconception(HALF_SPLIT, lambda x, positions, theta=1e4: to_halves(rotate(interleave(x), positions, theta))),
        Misconception(HALF_SPLIT, lambda x, positions, theta=1e4: to_halves(rotate(x, positions, theta))),
        Misconception(
            "This matches positions that begin at 0: with a cache the first token here stands at positions[0].",
            lambda x, positions, theta=1e4: rotate(x, torch.arange(len(positions)), theta),
        ),
        Misconception(
            "This matches the opposite turn: (a, b) becomes (a cos - b sin, a sin + b cos).",
            lambda x, positions, theta=1e4: rotate(x, -positions, theta),
        ),
        Misconception(
            "This matches the exponent i/r: pair i turns by theta^(-2i/r) a position.",
            rotated_by(lambda i, r: i / r),
        ),
        Misconception(
            "This matches the exponent 4i/r: i counts pairs, so the exponent is 2i/r, from 0 to less than 1.",
            rotated_by(lambda i, r: 4 * i / r),
        ),
        Misconception(
            "This matches theta = 10000 whatever was asked for.",
            lambda x, positions, theta=1e4: rotate(x, positions, 10000.0),
        ),
        Misconception(
            "This matches angles in the dtype of x: bfloat16 takes 4001 for 4000. Compute them in float32 or wider.",
            narrow_angles,
        ),
    ],
)

# compress ------------------------------------------------------------------------------------------------------------


def compress(
    x: Tensor, w_down: Tensor, gain: Tensor, positions: Tensor, rope_dim: int, theta: float = 10000.0, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    down = x @ w_down.mT
    latent, key = down[..., :-rope_dim], down[..., -rope_dim:]
    return normed(latent, eps) * gain, rotate(key, positions, theta)


def normed(x: Tensor, eps: float, over: Tensor | None = None) -> Tensor:
    """x over the root mean square of itself, or of `over`."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    over = wide if over is None else over.to(wide.dtype)
    return (wide * torch.rsqrt(over.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def compress_cases(seed: int) -> list[Case]:
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for b, t, d, c, r, theta in ((2, 5, 12, 9, 6, 500.0), (3, 4, 10, 11, 4, 10000.0)):
        x, w, gain = (
            torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((b, t, d), (c + r, d), (c,))
        )
        start = int(torch.randint(3, 40, (), generator=generator))
        positions = torch.arange(start, start + t)
        cases.append(
            {"x": x, "w_down": w, "gain": gain, "positions": positions, "rope_dim": r, "theta": theta, "eps": 0.02}
        )
    return cases


@dataclass
class Parts:
    """What compress works with, so that each mistake reads as one line."""

    down: Tensor  # latent and key, before norm and rotation
    gain: Tensor
    eps: float
    rope_dim: int
    turn: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        self.latent, self.key = self.down[..., : -self.rope_dim], self.down[..., -self.rope_dim :]

    def norm(self, x: Tensor, over: Tensor | None = None) -> Tensor:
        return normed(x, self.eps, over)

    @property
    def right_latent(self) -> Tensor:
        return self.norm(self.latent) * self.gain


def compressed(make: Callable[[Parts], tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A wrong compress, from what it makes of its parts."""

    def wrong(
        x: Tensor, w_down: Tensor, gain: Tensor, positions: Tensor, rope_dim: int, theta: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        return make(Parts(x @ w_down.mT, gain, eps, rope_dim, lambda y: rotate(y, positions, theta)))

    return wrong


def rotated_evenly(p: Parts) -> Tensor:
    """All of the latent turned; an odd last number stays."""
    even = p.right_latent.shape[-1] // 2 * 2
    return torch.cat([p.turn(p.right_latent[..., :even]), p.right_latent[..., even:]], dim=-1)


NORM_OVER_ALL = "This matches a norm over latent and key together: only the c numbers of the latent are normed."
KEY_FROM_LATENT = "This matches a key taken from the latent: it has rows of its own in w_down, the last rope_dim."

COMPRESS = Exercise(
    name="compress",
    points=3,
    reference=compress,
    cases=compress_cases,
    parts=("latent", "k_rope"),
    mistakes=[
        Misconception(
            NORM_OVER_ALL,
            compressed(lambda p: (p.norm(p.latent, p.down) * p.gain, p.turn(p.norm(p.key, p.down)))),
        ),
        Misconception(NORM_OVER_ALL, compressed(lambda p: (p.norm(p.latent, p.down) * p.gain, p.turn(p.key)))),
        Misconception(
            "This matches a latent that is not normed: divide by its root mean square, then apply the gain.",
            compressed(lambda p: (p.latent * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches a latent that is neither normed nor scaled by the gain.",
            compressed(lambda p: (p.latent, p.turn(p.key))),
        ),
        Misconception("This matches a norm without its gain.", compressed(lambda p: (p.norm(p.latent), p.turn(p.key)))),
        Misconception(
            "This matches a rotated latent: position lives in the key alone, so that k_up can be absorbed later.",
            compressed(lambda p: (rotated_evenly(p), p.turn(p.key))),
        ),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., : p.rope_dim])))),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., -p.rope_dim :])))),
        Misconception(
            KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.right_latent[..., : p.rope_dim])))
        ),
        Misconception(
            "This matches a key that is not rotated: without its position a key cannot tell near from far.",
            compressed(lambda p: (p.right_latent, p.key)),
        ),
        Misconception(
            "This matches the key's rows taken first: the rows of the latent come first in w_down.",
            compressed(lambda p: (p.norm(p.down[..., p.rope_dim :]) * p.gain, p.turn(p.down[..., : p.rope_dim]))),
        ),
    ],
)
