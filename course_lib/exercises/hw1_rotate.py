"""hw1_mla, where a token stands: rotary positions (arXiv:2104.09864)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def rotate(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    frequency = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=wide.dtype) / x.shape[-1])
    return turn(wide, positions.to(wide.dtype)[:, None] * frequency).to(x.dtype)


def turn(x: Tensor, angle: Tensor) -> Tensor:
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1).flatten(-2)


def rotate_cases(seed: int) -> list[Case]:
    draw = Draw(seed)
    start = draw.integer(3, 40)
    return [
        {"x": draw.normal(2, 3, 5, 8), "positions": torch.arange(start, start + 5), "theta": 500.0},
        {"x": draw.normal(7, 6), "positions": torch.tensor([2, 9, 4, 30, 11, 0, 5]) + start, "theta": 10000.0},
        {"x": draw.normal(2, 4, 10).bfloat16(), "positions": torch.arange(4) + 4001 + start, "theta": 300.0},
    ]


def rotated_by(exponent: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Pairs turned with theta ** -exponent(i, r)."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        i = torch.arange(x.shape[-1] // 2, dtype=torch.float64)
        angle = positions.to(i.dtype)[:, None] * theta ** -exponent(i, x.shape[-1])
        return turn(wide, angle).to(x.dtype)

    return wrong


def roughly(answer: Any, made: Any) -> bool:
    """The same but for rounded angles: at 400,000 radians float32 is off by 0.02, so that correct digits are few."""
    if not isinstance(answer, Tensor) or answer.shape != made.shape or answer.is_complex():
        return False
    made = made.double()
    return bool((answer.detach().cpu().double() - made).norm() <= 0.1 * made.norm())


def interleave(x: Tensor) -> Tensor:
    """Halves to pairs: 0 1 2 3 becomes 0 2 1 3."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)


def to_halves(x: Tensor) -> Tensor:
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def narrow_angles(narrow: str) -> Callable[..., Tensor]:
    """Angles that pass through the dtype of x: the `frequency`, the `angle` itself, `both` factors, or all of it."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        first = x.dtype if narrow == "exponent" else torch.float64
        frequency = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=first) / x.shape[-1])
        if narrow in ("frequency", "both"):
            frequency = frequency.to(x.dtype)
        angle = (positions.to(x.dtype) if narrow in ("both", "exponent") else positions)[:, None] * frequency
        return turn(x, angle.to(x.dtype) if narrow == "angle" else angle)

    return wrong


def turned_by(pair: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """Each pair made anew from a, b, cos and sin of its angle."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        angle = positions.to(wide.dtype)[:, None] * theta ** (
            -torch.arange(0, x.shape[-1], 2, dtype=wide.dtype) / x.shape[-1]
        )
        pairs = pair(wide[..., 0::2], wide[..., 1::2], angle.cos(), angle.sin())
        return torch.stack(pairs, dim=-1).flatten(-2).to(x.dtype)

    return wrong


def laid_out(angles: Callable[[Tensor], Tensor], partner: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """x cos + partner(x) sin, with the angle of each pair written out for both of its numbers."""

    def wrong(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        i = torch.arange(x.shape[-1] // 2, dtype=wide.dtype)
        angle = angles(positions.to(wide.dtype)[:, None] * theta ** (-2 * i / x.shape[-1]))
        return (wide * angle.cos() + partner(wide) * angle.sin()).to(x.dtype)

    return wrong


def twice(angle: Tensor) -> Tensor:
    """0 1 becomes 0 1 0 1, as half-split pairs need it."""
    return torch.cat([angle, angle], dim=-1)


def each_twice(angle: Tensor) -> Tensor:
    """0 1 becomes 0 0 1 1, as neighbours need it."""
    return angle.repeat_interleave(2, dim=-1)


def next_door(x: Tensor) -> Tensor:
    return torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)


def half_away(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


HALF_SPLIT = (
    "This matches the half-split layout: here neighbours (0, 1), (2, 3), ... form the pairs, not i and i + r/2, "
    "and they stay where they are."
)

NARROW_ANGLES = "This matches angles in the dtype of x: bfloat16 takes 4001 for 4000. Compute them in float32 or wider."
POSITIVE_EXPONENT = "This matches theta^(+2i/r): the exponent is negative, so that later pairs turn more slowly."
FROM_ZERO = "This matches positions that begin at 0: with a cache the first token here stands at positions[0]."

TURNS = Section("02_mla", "Position spoils it")

ROTATE = Exercise(
    name="rotate",
    points=3,
    lesson=TURNS,
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
            "This matches the exponent i/r: pair i turns by theta^(-2i/r) per position.",
            rotated_by(lambda i, r: i / r),
        ),
        Misconception(
            "This matches the exponent 4i/r: i counts pairs, so the exponent is 2i/r, from 0 to less than 1.",
            rotated_by(lambda i, r: 4 * i / r),
        ),
        Misconception(
            "This matches pairs counted from 1: the first pair has i = 0 and turns by one radian per position.",
            rotated_by(lambda i, r: 2 * (i + 1) / r),
        ),
        Misconception(POSITIVE_EXPONENT, rotated_by(lambda i, r: -2 * i / r), alike=roughly),
        Misconception(
            "This matches positions without gaps, positions[0], positions[0] + 1, ...: take each token's own.",
            lambda x, positions, theta=1e4: rotate(x, positions[0] + torch.arange(len(positions)), theta),
        ),
        Misconception(
            "This matches neighbours as pairs, with angles laid out for halves: both numbers of a pair need the same "
            "angle, 0 0 1 1 (repeat_interleave), not 0 1 0 1 (cat).",
            laid_out(twice, next_door),
        ),
        Misconception(
            "This matches angles laid out for neighbours, 0 0 1 1, with partners half a vector away: "
            "the partner of number 0 is number 1.",
            laid_out(each_twice, half_away),
        ),
        Misconception(
            "This matches theta = 10000 whatever was asked for.",
            lambda x, positions, theta=1e4: rotate(x, positions, 10000.0),
        ),
        *(Misconception(NARROW_ANGLES, narrow_angles(part)) for part in ("both", "angle", "frequency", "exponent")),
        Misconception(
            "This matches a second number made of the first one after its turn: x[..., 0::2] is a view of x, so keep "
            "both old numbers (.clone()), or write into a new tensor.",
            turned_by(lambda a, b, cos, sin: (a * cos - b * sin, (a * cos - b * sin) * sin + b * cos)),
        ),
        Misconception(
            "This matches a cos + b sin for the first number: it is a cos - b sin.",
            turned_by(lambda a, b, cos, sin: (a * cos + b * sin, a * sin + b * cos)),
        ),
        Misconception(
            "This matches a sin - b cos for the second number: it is a sin + b cos.",
            turned_by(lambda a, b, cos, sin: (a * cos - b * sin, a * sin - b * cos)),
        ),
        Misconception("This matches x as it was given: nothing is turned.", lambda x, positions, theta=1e4: x.clone()),
        Misconception(
            "This matches positions counted from 1 more than they are: take them as they are given.",
            lambda x, positions, theta=1e4: rotate(x, positions + 1, theta),
        ),
    ],
)
