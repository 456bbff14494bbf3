"""hw4_scaling, what a fit of the parametric law makes small: Huber of ln loss (arXiv:2203.15556 section 3.3, eq. 3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.comparing import single
from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section
from course_lib.exercises.hw4_parametric import law_cases, parametric_loss


def huber_objective(theta: Tensor, params: Tensor, tokens: Tensor, loss: Tensor, delta: float = 1e-3) -> float:
    r = (loss.log() - parametric_loss(theta, params, tokens).log()).abs()
    return torch.where(r <= delta, r**2 / 2, delta * (r - delta / 2)).sum().item()


def huber_cases(seed: int) -> list[Case]:
    """Residuals of both signs on both sides of delta, which is 1e-3 where it is not given."""
    draw = Draw(seed, 1)
    cases = []
    for case, delta in zip(law_cases(seed)[:2] + law_cases(seed + 1)[:1], (None, 0.02, 0.3), strict=True):
        size = torch.linspace(0.2, 2.5, len(case["params"]), dtype=torch.float64)
        size = size[draw.order(len(size))]
        size = size * draw.uniform(0.8, 1.2, len(size))
        sign = (-1.0) ** size.argsort().argsort()
        residuals = (1e-3 if delta is None else delta) * size * sign
        given = {} if delta is None else {"delta": delta}
        cases.append({**case, "loss": parametric_loss(**case) * residuals.exp(), **given})
    return cases


# Objectives that are not this one ------------------------------------------------------------------------------------


@dataclass
class Residuals:
    """What an objective works with, so that each mistake reads as one line."""

    theta: Tensor
    n: Tensor
    d: Tensor
    loss: Tensor
    delta: float

    def __post_init__(self) -> None:
        self.predicted = parametric_loss(self.theta, self.n, self.d)
        self.r = self.loss.log() - self.predicted.log()

    def huber(self, r: Tensor | None = None, delta: float | None = None) -> Tensor:
        """Of every run, with other residuals or another delta."""
        r = (self.r if r is None else r).abs()
        delta = self.delta if delta is None else delta
        return torch.where(r <= delta, r**2 / 2, delta * (r - delta / 2))

    def branches(self, inside: Tensor, outside: Tensor) -> Tensor:
        return torch.where(self.r.abs() <= self.delta, inside, outside)

    @property
    def within(self) -> Tensor:
        return self.r**2 / 2

    @property
    def beyond(self) -> Tensor:
        return self.delta * (self.r.abs() - self.delta / 2)


def many(message: str, *objectives: Callable[[Residuals], Tensor]) -> list[Misconception]:
    """Of runs, summed."""
    return [
        Misconception(message, lambda t, n, d, y, delta=1e-3, of=of: of(Residuals(t, n, d, y, delta)).sum().item())
        for of in objectives
    ]


def each_way(message: str, *objectives: Callable[[Residuals], Tensor]) -> list[Misconception]:
    """Of runs; summed or, as most losses of a library are unless told otherwise, averaged."""
    return [*many(message, *objectives), *many(message, *(lambda w, of=of: of(w).mean() for of in objectives))]


def law_as(change: Callable[[Residuals], Tensor]) -> Callable[[Residuals], Tensor]:
    """The right objective of another prediction."""
    return lambda w: w.huber(w.loss.log() - change(w).log())


HUBER_OBJECTIVE = Exercise(
    name="huber_objective",
    points=2,
    lesson=Section("07_scaling_laws", "One law for all runs"),
    reference=huber_objective,
    cases=huber_cases,
    canonical=single,
    mistakes=[
        *many("This matches a mean over the runs: the objective is their sum.", lambda w: w.huber().mean()),
        *each_way(
            "This matches residuals of the loss, not of its logarithm: r is ln loss - ln predicted.",
            lambda w: w.huber(w.loss - w.predicted),
        ),
        *each_way(
            "This matches relative residuals, (loss - predicted)/loss: r is ln loss - ln predicted.",
            lambda w: w.huber((w.loss - w.predicted) / w.loss),
            lambda w: w.huber((w.loss - w.predicted) / w.predicted),
        ),
        *each_way(
            "This matches log10: r is a difference of natural logarithms.",
            lambda w: w.huber(w.r / math.log(10)),
        ),
        *each_way(
            "This matches log2: r is a difference of natural logarithms.",
            lambda w: w.huber(w.r / math.log(2)),
        ),
        *each_way(
            "This matches a logarithm on one side only: r is ln loss - ln predicted, so both need it.",
            lambda w: w.huber(w.loss.log() - w.predicted),
            lambda w: w.huber(w.loss - w.predicted.log()),
        ),
        *each_way(
            "This matches the logarithm of the residual: r is a difference of logarithms.",
            lambda w: w.huber((w.loss - w.predicted).abs().log()),
        ),
        *each_way(
            "This matches squared errors, r^2: beyond delta the Huber loss grows as a straight line.",
            lambda w: w.r**2,
        ),
        *each_way(
            "This matches squared errors, r^2/2, and so does a library's delta = 1: beyond the delta given, the Huber "
            "loss is a straight line.",
            lambda w: w.within,
        ),
        *each_way(
            "This matches squared errors of the loss itself: it is the Huber loss of ln loss - ln predicted.",
            lambda w: (w.loss - w.predicted) ** 2,
            lambda w: (w.loss - w.predicted) ** 2 / 2,
        ),
        *each_way(
            "This matches the Huber loss divided by delta, as smooth_l1_loss has it: inside delta it is r^2/2.",
            lambda w: w.huber() / w.delta,
        ),
        *each_way(
            "This matches residuals measured in delta, and not turned back: inside delta it is r^2/2.",
            lambda w: w.huber() / w.delta**2,
        ),
        *each_way(
            "This matches absolute errors: inside delta the Huber loss is r^2/2.",
            lambda w: w.r.abs(),
            lambda w: w.delta * w.r.abs(),
        ),
        *each_way(
            "This matches the straight line everywhere: inside delta the Huber loss is r^2/2.",
            lambda w: w.beyond,
        ),
        *each_way(
            "This matches the branches exchanged: r^2/2 belongs inside delta, the straight line outside.",
            lambda w: w.branches(w.beyond, w.within),
        ),
        *each_way(
            "This matches r^2 inside delta: without its half the branches do not meet.",
            lambda w: w.branches(w.r**2, w.beyond),
        ),
        *each_way(
            "This matches r^2 inside and a line twice as steep outside, twice the Huber loss: halve both.",
            lambda w: 2 * w.huber(),
        ),
        *each_way(
            "This matches delta abs(r) outside: take delta^2/2 away, or the branches do not meet.",
            lambda w: w.branches(w.within, w.delta * w.r.abs()),
        ),
        *each_way(
            "This matches delta (abs(r) - delta) outside: only half of delta is taken away.",
            lambda w: w.branches(w.within, w.delta * (w.r.abs() - w.delta)),
        ),
        *each_way(
            "This matches abs(r) - delta/2 outside: the line is delta times as steep.",
            lambda w: w.branches(w.within, w.r.abs() - w.delta / 2),
        ),
        *each_way(
            "This matches 1/2 or delta/2 taken from delta abs(r) outside: delta^2/2 is.",
            lambda w: w.branches(w.within, w.delta * w.r.abs() - 0.5),
            lambda w: w.branches(w.within, w.delta * w.r.abs() - w.delta / 2),
        ),
        *each_way(
            "This matches abs(r) outside: the line there is delta (abs(r) - delta/2).",
            lambda w: w.branches(w.within, w.r.abs()),
        ),
        *each_way(
            "This matches r without abs when it is compared with delta: a residual far below 0 is outside too.",
            lambda w: torch.where(w.r <= w.delta, w.within, w.beyond),
            lambda w: torch.where(w.r <= w.delta, w.within, w.delta * (w.r - w.delta / 2)),
        ),
        *each_way(
            "This matches r without abs in the straight line: below 0 that takes from the sum.",
            lambda w: w.branches(w.within, w.delta * (w.r - w.delta / 2)),
        ),
        *each_way(
            "This matches r^2 compared with delta: abs(r) is.",
            lambda w: torch.where(w.r**2 <= w.delta, w.within, w.beyond),
        ),
        *each_way(
            "This matches a loss that stays flat outside delta: it grows on as a straight line.",
            lambda w: w.branches(w.within, torch.full_like(w.r, w.delta**2 / 2)),
        ),
        *each_way(
            "This matches the runs inside delta alone: those outside count as a straight line.",
            lambda w: w.branches(w.within, torch.zeros_like(w.r)),
        ),
        *each_way("This matches delta = 1e-3 in every case: it is an argument.", lambda w: w.huber(delta=1e-3)),
        *each_way(
            "This matches the smooth pseudo-Huber loss: this one has two branches, r^2/2 and a straight line.",
            lambda w: w.delta**2 * ((1 + (w.r / w.delta) ** 2).sqrt() - 1),
        ),
        *many(
            "This matches the Huber loss of all residuals together: each run has its own, and those are added.",
            lambda w: w.huber(w.r.sum()),
            lambda w: w.huber(w.r.mean()),
            lambda w: w.huber(w.r.abs().sum()),
            lambda w: w.huber(w.r.norm()),
        ),
        *many("This matches the worst run alone: the runs are added.", lambda w: w.huber().max()),
        *many("This matches the sum with a minus: what is fitted is made small.", lambda w: -w.huber()),
        *many(
            "This matches alpha and beta swapped in the law: alpha belongs to N, beta to D.",
            law_as(lambda w: parametric_loss(w.theta[[0, 1, 2, 4, 3]], w.n, w.d)),
        ),
        *many(
            "This matches A and B swapped in the law: A belongs to N, B to D.",
            law_as(lambda w: parametric_loss(w.theta[[1, 0, 2, 3, 4]], w.n, w.d)),
        ),
        *many(
            "This matches A and B not exponentiated in the law: theta holds their logarithms.",
            law_as(lambda w: w.theta[2].exp() + w.theta[0] / w.n ** w.theta[3] + w.theta[1] / w.d ** w.theta[4]),
        ),
        *many(
            "This matches A, B and E not exponentiated in the law: theta holds their logarithms.",
            law_as(lambda w: w.theta[2] + w.theta[0] / w.n ** w.theta[3] + w.theta[1] / w.d ** w.theta[4]),
        ),
        *many(
            "This matches E left out of the law: theta holds its logarithm.",
            law_as(lambda w: w.predicted - w.theta[2].exp()),
        ),
        *many(
            "This matches E not exponentiated in the law: theta holds its logarithm.",
            law_as(lambda w: w.predicted - w.theta[2].exp() + w.theta[2]),
        ),
    ],
)
