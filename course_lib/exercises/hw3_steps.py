"""hw3_mtp, a verification taken apart, so that each way to get it wrong reads as one line."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.engine import Misconception

Answer = Tensor | int


@dataclass
class Step:
    """What one verification works with, so that each mistake reads as one line."""

    draft: Tensor
    q: Tensor  # k z
    p: Tensor  # k+1 z
    u: Tensor  # k+1

    def __post_init__(self) -> None:
        self.k = len(self.draft)
        self.of_q, self.of_p = self.of_draft(self.q), self.of_draft(self.p[: self.k])

    def of_draft(self, probs: Tensor) -> Tensor:
        return probs.gather(-1, self.draft[:, None])[:, 0]

    @property
    def right(self) -> Tensor:
        return self.u[:-1] * self.of_q < self.of_p

    def residual(self, j: int) -> Tensor:
        return (self.p[j] - self.q[j]).clamp(min=0)


def stop(stands: Tensor) -> int:
    return int(stands.cumprod(0).sum())


def first_above(cdf: Tensor, u: Tensor) -> Tensor:
    """1-D; the last token where none is above."""
    above = (cdf > u).nonzero()[:, 0]
    return above[:1] if len(above) else torch.tensor([len(cdf) - 1])


def draw(weights: Tensor, u: Tensor) -> Tensor:
    return first_above(weights.cumsum(0) / weights.sum(), u)


def best(weights: Tensor, u: Tensor) -> Tensor:
    return weights.argmax()[None]


def in_order(descending: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The CDF over tokens sorted by weight."""

    def wrong(weights: Tensor, u: Tensor) -> Tensor:
        order = weights.argsort(descending=descending, stable=True)
        return order[draw(weights[order], u)]

    return wrong


def sampled(
    accepts: Callable[[Step], Tensor] = lambda step: step.right,
    refused: Callable[[Step, int], Tensor] = Step.residual,
    after_all: Callable[[Step], Tensor] = lambda step: step.p[-1],
    uniform: Callable[[Step, int], Tensor] = lambda step, kept: step.u[-1],
    draws: Callable[[Tensor, Tensor], Tensor] = draw,
    draws_refused: Callable[[Tensor, Tensor], Tensor] | None = None,
    joins: Callable[[Step, int, Tensor], Answer] = lambda step, kept, new: torch.cat([step.draft[:kept], new]),
) -> Callable[..., Answer]:
    """A verification that accepts by another rule, draws from other weights or in another way, or joins otherwise."""

    def wrong(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Answer:
        step = Step(draft, draft_probs, target_probs, uniforms)
        kept = stop(accepts(step))
        if kept < step.k:
            new = (draws_refused or draws)(refused(step, kept), uniform(step, kept))
        else:
            new = draws(after_all(step), uniform(step, kept))
        return joins(step, kept, new)

    return wrong


def accepting(message: str, *rules: Callable[[Step], Tensor]) -> list[Misconception]:
    return [Misconception(message, sampled(accepts=rule)) for rule in rules]


def refusing(message: str, *weights: Callable[[Step, int], Tensor]) -> list[Misconception]:
    return [Misconception(message, sampled(refused=each)) for each in weights]


def joining(message: str, *joins: Callable[[Step, int, Tensor], Answer]) -> list[Misconception]:
    return [Misconception(message, sampled(joins=each)) for each in joins]


def drawing(message: str, *draws: Callable[[Tensor, Tensor], Tensor]) -> list[Misconception]:
    return [Misconception(message, sampled(draws=each)) for each in draws]
