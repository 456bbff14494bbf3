"""hw1_mla, what is cached: a normed latent and a rotated key (arXiv:2405.04434 section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section
from course_lib.exercises.hw1_rotate import FROM_ZERO, HALF_SPLIT, TURNS, interleave, rotate, to_halves


def compress(
    x: Tensor, w_down: Tensor, gain: Tensor, positions: Tensor, rope_dim: int, theta: float = 10000.0, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    down = x @ w_down.mT
    latent, key = down[..., :-rope_dim], down[..., -rope_dim:]
    return normed(latent, eps) * gain, rotate(key, positions, theta)


def normed(x: Tensor, eps: float) -> Tensor:
    """x over its root mean square."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def compress_cases(seed: int) -> list[Case]:
    """The last one is so large that its squares overflow float16, though its values do not."""
    draw = Draw(seed)
    cases = []
    for b, t, d, c, r, theta, dtype, size in (
        (2, 5, 13, 10, 6, 500.0, torch.float64, 1.0),
        (3, 4, 9, 12, 8, 10000.0, torch.float64, 1.0),
        (2, 3, 7, 14, 4, 300.0, torch.float16, 14.0),
    ):
        shapes = ((b, t, d), (c + r, d), (c,))
        x, w, gain = (draw.normal(*shape).to(dtype) for shape in shapes)
        start = draw.integer(3, 40)
        positions = torch.arange(start, start + t)
        case = {"x": size * x, "w_down": size * w, "gain": gain, "positions": positions, "rope_dim": r, "theta": theta}
        cases.append(case | {"eps": 2.0})
    return cases


@dataclass
class Parts:
    """What compress works with, so that each mistake reads as one line."""

    down: Tensor  # latent and key, before norm and rotation
    gain: Tensor
    eps: float
    rope_dim: int
    turn: Callable[[Tensor], Tensor]
    narrow: bool = False  # the norm is computed in the dtype of x, where the squares of the last case overflow

    def __post_init__(self) -> None:
        self.latent, self.key = self.down[..., : -self.rope_dim], self.down[..., -self.rope_dim :]

    def widened(self, x: Tensor) -> Tensor:
        return x if self.narrow else x.to(torch.promote_types(x.dtype, torch.float32))

    @property
    def x(self) -> Tensor:
        """The latent, in the dtype in which it is normed."""
        return self.widened(self.latent)

    @property
    def one_over_all(self) -> Tensor:
        """What a norm over latent and key together multiplies by."""
        return (mean_square(self.widened(self.down)) + self.eps).rsqrt()

    @property
    def mean_square(self) -> Tensor:
        return mean_square(self.x)

    @property
    def right_latent(self) -> Tensor:
        return normed(self.latent, self.eps) * self.gain


def mean_square(x: Tensor, over: int | tuple[int, ...] | None = -1) -> Tensor:
    return x.square().mean(over, keepdim=True)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def compressed(make: Callable[[Parts], tuple[Tensor, Tensor]], narrow: bool = False) -> Callable[..., Any]:
    """A wrong compress, from what it makes of its parts."""

    def wrong(
        x: Tensor, w_down: Tensor, gain: Tensor, positions: Tensor, rope_dim: int, theta: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        return make(Parts(x @ w_down.mT, gain, eps, rope_dim, lambda y: rotate(y, positions, theta), narrow))

    return wrong


def misnormed(message: str, *latents: Callable[[Parts], Tensor]) -> list[Misconception]:
    """A wrong latent with the right key, once in float32 or wider and once in the dtype of x."""
    return [
        Misconception(message, compressed(lambda p, make=make: (make(p), p.turn(p.key)), narrow))
        for make in latents
        for narrow in (False, True)
    ]


NORM_OVER_ALL = "This matches a norm over latent and key together: only the c numbers of the latent are normed."
LATENT_ROTATED = "This matches a rotated latent: position lives in the key alone, so that w_uk can be absorbed later."
OF_EACH_TOKEN = (
    "each token's latent has a root mean square of its own, over its c numbers (the last axis, with keepdim=True)"
)
KEY_FROM_LATENT = "This matches a key taken from the latent: it has rows of its own in w_down, the last rope_dim."

COMPRESS = Exercise(
    name="compress",
    points=3,
    lesson=Section("02_mla", "The way out: a part that turns, and a part that does not"),
    reference=compress,
    cases=compress_cases,
    parts=("latent", "k_rope"),
    mistakes=[
        *(
            Misconception(NORM_OVER_ALL, compressed(make, narrow))
            for narrow in (False, True)
            for make in (
                lambda p: (p.x * p.one_over_all * p.gain, p.turn(p.key * p.one_over_all)),
                lambda p: (p.x * p.one_over_all * p.gain, p.turn(p.key)),
            )
        ),
        *misnormed(
            "This matches a latent that is not normed: divide by its root mean square, then apply the gain.",
            lambda p: p.x * p.gain,
        ),
        *misnormed(
            "This matches a latent that is neither normed nor scaled by the gain.",
            lambda p: p.x,
        ),
        *misnormed("This matches a norm without its gain.", lambda p: p.x * (p.mean_square + p.eps).rsqrt()),
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.turn(p.right_latent), p.turn(p.key))), TURNS),
        Misconception(
            LATENT_ROTATED, compressed(lambda p: (normed(p.turn(p.latent), p.eps) * p.gain, p.turn(p.key))), TURNS
        ),
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.turn(p.right_latent), p.key)), TURNS),
        Misconception(LATENT_ROTATED, compressed(lambda p: (normed(p.turn(p.latent), p.eps) * p.gain, p.key)), TURNS),
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
            TURNS,
        ),
        Misconception(
            HALF_SPLIT,
            compressed(lambda p: (p.right_latent, to_halves(p.turn(interleave(p.key))))),
            TURNS,
        ),
        *misnormed(
            "This matches a norm without the given eps. Add eps to the mean square, then take the root.",
            lambda p: p.x * p.mean_square.rsqrt() * p.gain,
        ),
        *misnormed(
            "This matches eps outside the root. Add eps to the mean square, then take the root.",
            lambda p: p.x / (p.mean_square.sqrt() + p.eps) * p.gain,
            lambda p: p.x * (p.mean_square.rsqrt() + p.eps) * p.gain,
            lambda p: (p.x * p.mean_square.rsqrt() + p.eps) * p.gain,
            lambda p: p.x * p.mean_square.rsqrt() * p.gain + p.eps,
        ),
        *misnormed(
            "This matches a layer norm: no mean is subtracted, the latent is only divided by its root mean square.",
            lambda p: centred(p.x) * (mean_square(centred(p.x)) + p.eps).rsqrt() * p.gain,
            lambda p: centred(p.x) * (p.x.var(-1, correction=0, keepdim=True) + p.eps).rsqrt() * p.gain,
        ),
        *misnormed(
            "This matches dividing by the standard deviation. The root mean square does not subtract the mean.",
            lambda p: p.x * (p.x.var(-1, correction=0, keepdim=True) + p.eps).rsqrt() * p.gain,
            lambda p: p.x * (p.x.var(-1, keepdim=True) + p.eps).rsqrt() * p.gain,
            lambda p: p.x / (p.x.std(-1, keepdim=True) + p.eps) * p.gain,
        ),
        *misnormed(
            "This matches the sum of squares under the root: a root mean square takes their mean, the sum over c.",
            lambda p: p.x * (p.x.square().sum(-1, keepdim=True) + p.eps).rsqrt() * p.gain,
            lambda p: p.x * p.x.square().sum(-1, keepdim=True).rsqrt() * p.gain,
        ),
        Misconception(
            "This matches a key with a norm of its own: only the latent is normed, the key is just rotated.",
            compressed(lambda p: (p.right_latent, p.turn(normed(p.key, p.eps)))),
        ),
        *misnormed(
            f"This matches a mean over the tokens: {OF_EACH_TOKEN}.",
            lambda p: p.x * (mean_square(p.x, 1) + p.eps).rsqrt() * p.gain,
        ),
        *misnormed(
            f"This matches a mean over the batch: {OF_EACH_TOKEN}.",
            lambda p: p.x * (mean_square(p.x, 0) + p.eps).rsqrt() * p.gain,
        ),
        *misnormed(
            f"This matches one mean over all numbers, or over two of the three axes: {OF_EACH_TOKEN}.",
            *(
                lambda p, over=over: p.x * (mean_square(p.x, over) + p.eps).rsqrt() * p.gain
                for over in (None, (0, 1), (1, 2), (0, 2))
            ),
        ),
        *misnormed(
            "This matches a latent over its mean square: take the root of that.",
            lambda p: p.x / (p.mean_square + p.eps) * p.gain,
        ),
        Misconception(
            "This matches the two answers exchanged: first the latent, then k_rope.",
            compressed(lambda p: (p.turn(p.key), p.right_latent)),
        ),
        *misnormed(
            "This matches a gain applied before the norm: divide by the root mean square first, then apply the gain.",
            lambda p: p.x * p.gain * (mean_square(p.x * p.gain) + p.eps).rsqrt(),
        ),
        Misconception(
            "This matches a norm in the dtype of x: float16 ends at 65504, and the squares here are larger. "
            "Square and take the mean in float32 or wider.",
            compressed(lambda p: (p.x * (p.mean_square + p.eps).rsqrt() * p.gain, p.turn(p.key)), narrow=True),
        ),
        Misconception(
            "This matches the key's rows taken first: the rows of the latent come first in w_down.",
            compressed(
                lambda p: (normed(p.down[..., p.rope_dim :], p.eps) * p.gain, p.turn(p.down[..., : p.rope_dim]))
            ),
        ),
    ],
)
