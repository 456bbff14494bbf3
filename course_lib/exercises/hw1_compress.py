"""hw1_mla, what is cached: a normed latent and a rotated key (arXiv:2405.04434 section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.engine import Case, Exercise, Misconception
from course_lib.exercises.hw1_rotate import FROM_ZERO, HALF_SPLIT, interleave, rotate, to_halves


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
    """The last one is so large that its squares overflow float16, though its values do not."""
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for b, t, d, c, r, theta, dtype, size in (
        (2, 5, 13, 10, 6, 500.0, torch.float64, 1.0),
        (3, 4, 9, 12, 8, 10000.0, torch.float64, 1.0),
        (2, 3, 7, 14, 4, 300.0, torch.float16, 14.0),
    ):
        shapes = ((b, t, d), (c + r, d), (c,))
        x, w, gain = (torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype) for shape in shapes)
        start = int(torch.randint(3, 40, (), generator=generator))
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

    def __post_init__(self) -> None:
        self.latent, self.key = self.down[..., : -self.rope_dim], self.down[..., -self.rope_dim :]

    def norm(self, x: Tensor, over: Tensor | None = None) -> Tensor:
        return normed(x, self.eps, over)

    def by_sum(self, eps: float) -> Tensor:
        """The latent over the root of the sum of its squares."""
        return normed(self.latent, eps, self.latent * self.latent.shape[-1] ** 0.5)

    def mean_square(self, dtype: torch.dtype = torch.float64, over: int | None = -1) -> Tensor:
        return self.latent.to(dtype).square().mean(over, keepdim=True)

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
SUM_OF_SQUARES = "This matches the sum of squares under the root: a root mean square takes their mean, the sum over c."

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
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.turn(p.right_latent), p.key))),
        Misconception(LATENT_ROTATED, compressed(lambda p: (p.norm(p.turn(p.latent)) * p.gain, p.key))),
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
            "This matches eps added to the root: it is added to the mean square, under the root.",
            compressed(lambda p: (p.latent / (p.mean_square().sqrt() + p.eps) * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches a layer norm: no mean is subtracted, the latent is only divided by its root mean square.",
            compressed(lambda p: (p.norm(p.latent - p.latent.mean(-1, keepdim=True)) * p.gain, p.turn(p.key))),
        ),
        Misconception(SUM_OF_SQUARES, compressed(lambda p: (p.by_sum(p.eps) * p.gain, p.turn(p.key)))),
        Misconception(SUM_OF_SQUARES, compressed(lambda p: (p.by_sum(0.0) * p.gain, p.turn(p.key)))),
        Misconception(
            "This matches a key with a norm of its own: only the latent is normed, the key is just rotated.",
            compressed(lambda p: (p.right_latent, p.turn(p.norm(p.key)))),
        ),
        Misconception(
            "This matches a mean over the tokens: each token's latent has a root mean square of its own, over its c "
            "numbers (the last axis, with keepdim=True).",
            compressed(lambda p: (p.latent * (p.mean_square(over=1) + p.eps).rsqrt() * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches one mean over all numbers: each token's latent has a root mean square of its own, over its c "
            "numbers (the last axis, with keepdim=True).",
            compressed(lambda p: (p.latent * (p.mean_square(over=None) + p.eps).rsqrt() * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches a latent over its mean square: take the root of that.",
            compressed(lambda p: (p.latent / (p.mean_square() + p.eps) * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches the two answers exchanged: first the latent, then k_rope.",
            compressed(lambda p: (p.turn(p.key), p.right_latent)),
        ),
        Misconception(
            "This matches a gain applied before the norm: divide by the root mean square first, then apply the gain.",
            compressed(lambda p: (p.norm(p.latent * p.gain), p.turn(p.key))),
        ),
        Misconception(
            "This matches a norm in the dtype of x: float16 ends at 65504, and the squares here are larger. "
            "Square and take the mean in float32 or wider.",
            compressed(lambda p: (p.latent / (p.mean_square(p.latent.dtype) + p.eps).sqrt() * p.gain, p.turn(p.key))),
        ),
        Misconception(
            "This matches the key's rows taken first: the rows of the latent come first in w_down.",
            compressed(lambda p: (p.norm(p.down[..., p.rope_dim :]) * p.gain, p.turn(p.down[..., : p.rope_dim]))),
        ),
    ],
)
