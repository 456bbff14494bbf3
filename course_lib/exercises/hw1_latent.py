"""hw1_mla, what is cached: a rotated key and a normed latent (arXiv:2405.04434 section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.engine import Case, Exercise, Misconception


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


def narrow_angles(narrow: str) -> Callable[..., Tensor]:
    """Angles that pass through the dtype of x: the `frequency`, the `angle` itself, or `both` factors."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        frequency = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
        if narrow in ("frequency", "both"):
            frequency = frequency.to(x.dtype)
        angle = (positions.to(x.dtype) if narrow == "both" else positions)[:, None] * frequency
        return turn(x, angle.to(x.dtype) if narrow == "angle" else angle)

    return wrong


HALF_SPLIT = (
    "This matches the half-split layout: here neighbours (0, 1), (2, 3), ... form the pairs, not i and i + r/2, "
    "and they stay where they are."
)

NARROW_ANGLES = "This matches angles in the dtype of x: bfloat16 takes 4001 for 4000. Compute them in float32 or wider."
FROM_ZERO = "This matches positions that begin at 0: with a cache the first token here stands at positions[0]."

ROTATE = Exercise(
    name="rotate",
    points=3,
    reference=rotate,
    cases=rotate_cases,
    mistakes=[
        Misconception(HALF_SPLIT, lambda x, positions, theta=1e4: to_halves(rotate(interleave(x), positions, theta))),
        Misconception(
            "This matches the right pairs, put in another order: the pairs stay where they are, (0, 1), (2, 3), ...",
            lambda x, positions, theta=1e4: to_halves(rotate(x, positions, theta)),
        ),
        Misconception(HALF_SPLIT, lambda x, positions, theta=1e4: rotate(interleave(x), positions, theta)),
        Misconception(FROM_ZERO, lambda x, positions, theta=1e4: rotate(x, torch.arange(len(positions)), theta)),
        Misconception(FROM_ZERO, lambda x, positions, theta=1e4: rotate(x, positions - positions[0], theta)),
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
        *(Misconception(NARROW_ANGLES, narrow_angles(part)) for part in ("both", "angle", "frequency")),
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
    for b, t, d, c, r, theta in ((2, 5, 13, 10, 6, 500.0), (3, 4, 9, 12, 8, 10000.0)):
        x, w, gain = (
            torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((b, t, d), (c + r, d), (c,))
        )
        start = int(torch.randint(3, 40, (), generator=generator))
        positions = torch.arange(start, start + t)
        cases.append(
            {"x": x, "w_down": w, "gain": gain, "positions": positions, "rope_dim": r, "theta": theta, "eps": 2.0}
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


NORM_OVER_ALL = "This matches a norm over latent and key together: only the c numbers of the latent are normed."
LATENT_ROTATED = "This matches a rotated latent: position lives in the key alone, so that w_uk can be absorbed later."
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
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.turn(p.right_latent), p.turn(p.key)))),
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.norm(p.turn(p.latent)) * p.gain, p.turn(p.key)))),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., : p.rope_dim])))),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., -p.rope_dim :])))),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., : p.rope_dim])))),
        Misconception(KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.latent[..., -p.rope_dim :])))),
        Misconception(
            KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.right_latent[..., : p.rope_dim])))
        ),
        Misconception(
            KEY_FROM_LATENT, compressed(lambda p: (p.right_latent, p.turn(p.right_latent[..., -p.rope_dim :])))
        ),
        Misconception(
            "This matches a key that is not rotated: without its position a key cannot tell near from far.",
            compressed(lambda p: (p.right_latent, p.key)),
        ),
        Misconception(
            "This matches a key rotated with theta = 10000: hand the theta that was given on to rotate.",
            lambda x, w, gain, positions, r, theta, eps: compress(x, w, gain, positions, r, 10000.0, eps),
        ),
        Misconception(
            FROM_ZERO,
            lambda x, w, gain, positions, r, theta, eps: compress(x, w, gain, positions - positions[0], r, theta, eps),
        ),
        Misconception(
            HALF_SPLIT,
            compressed(lambda p: (p.right_latent, to_halves(p.turn(interleave(p.key))))),
        ),
        Misconception(
            "This matches a norm without the eps that was given: it is added to the mean square, under the root.",
            lambda x, w, gain, positions, r, theta, eps: compress(x, w, gain, positions, r, theta, 0.0),
        ),
        Misconception(
            "This matches the key's rows taken first: the rows of the latent come first in w_down.",
            compressed(lambda p: (p.norm(p.down[..., p.rope_dim :]) * p.gain, p.turn(p.down[..., : p.rope_dim]))),
        ),
    ],
)
