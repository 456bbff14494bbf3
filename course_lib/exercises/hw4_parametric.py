"""hw4_scaling, the parametric law E + A/N^alpha + B/D^beta (arXiv:2203.15556 section 3.3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


def parametric_loss(theta: Tensor, params: Tensor, tokens: Tensor) -> Tensor:
    a, b, e, alpha, beta = theta
    return e.exp() + (a - alpha * params.log()).exp() + (b - beta * tokens.log()).exp()


def law_cases(seed: int) -> list[Case]:
    """Realistic laws, alpha unlike beta; the last has ln A = 800 and alpha = 40, and is not large all the same."""
    draw = Draw(seed)

    def case(n: int, a: float, alpha: float, ln_n: tuple[float, float]) -> Case:
        theta = torch.tensor([a, draw.number(5.5, 8), draw.number(0.3, 0.8), alpha, draw.number(0.26, 0.31)])
        return {
            "theta": theta.double(),
            "params": draw.uniform(*ln_n, n).exp(),
            "tokens": draw.uniform(18, 24, n).exp(),
        }

    small = [case(n, draw.number(5, 7), draw.number(0.34, 0.42), (15.0, 21.0)) for n in (5, 8)]
    return [*small, case(6, 800.0, 40.0, (19.95, 20.05))]


def row(answer: Any) -> Any:
    """An array or a list of numbers as a tensor; what is neither stays."""
    try:
        if isinstance(answer, list | tuple) and answer:
            return torch.stack([torch.as_tensor(each, dtype=torch.float64) for each in answer])
        return torch.as_tensor(answer) if isinstance(answer, np.ndarray) else answer
    except (TypeError, ValueError, RuntimeError):
        return answer


# Laws that are not this one ------------------------------------------------------------------------------------------


def in_logs(coefficient: Tensor, x: Tensor, exponent: Tensor) -> Tensor:
    return (coefficient - exponent * x.log()).exp()


def naive(coefficient: Tensor, x: Tensor, exponent: Tensor) -> Tensor:
    """Infinite over infinite, where both are too large for a float."""
    return coefficient.exp() / x**exponent


def stopping(coefficient: Tensor, x: Tensor, exponent: Tensor) -> Tensor:
    """The same in plain Python, which raises where a float is too small."""
    return math.exp(coefficient) / x**exponent


@dataclass
class Law:
    """What a law works with, so that each mistake reads as one line."""

    theta: Tensor
    n: Tensor
    d: Tensor
    term: Term

    def __post_init__(self) -> None:
        self.a, self.b, self.e, self.alpha, self.beta = self.theta

    def sum(self, e: Tensor | None = None, **changes: Tensor) -> Tensor:
        """The right sum, with some of its numbers exchanged."""
        t = {"a": self.a, "b": self.b, "alpha": self.alpha, "beta": self.beta, "n": self.n, "d": self.d, **changes}
        floor = self.e.exp() if e is None else e
        return floor + self.term(t["a"], t["n"], t["alpha"]) + self.term(t["b"], t["d"], t["beta"])


def many(
    message: str, *laws: Callable[[Law], Tensor], terms: tuple[Term, ...] = (in_logs, naive, stopping)
) -> list[Misconception]:
    """Each with terms taken in logarithms, and without: then the last case overflows, or stops."""
    return [
        Misconception(message, lambda theta, n, d, law=law, term=term: law(Law(theta, n, d, term)))
        for law in laws
        for term in terms
    ]


def read_as(*places: int) -> Callable[[Law], Tensor]:
    """theta in another order: at which places ln A, ln B, ln E, alpha and beta were looked for."""
    return lambda w: Law(w.theta[list(places)], w.n, w.d, w.term).sum()


PARAMETRIC_LOSS = Exercise(
    name="parametric_loss",
    points=2,
    lesson=Section("07_scaling_laws", "One law for all runs"),
    reference=parametric_loss,
    cases=law_cases,
    canonical=row,
    note="Every number of theta counts, and A, B and E come as logarithms.",
    mistakes=[
        *many(
            "This matches A and B not exponentiated: theta holds their logarithms.",
            lambda w: w.e.exp() + w.a / w.n**w.alpha + w.b / w.d**w.beta,
            terms=(in_logs,),
        ),
        *many(
            "This matches A, B and E not exponentiated: theta holds their logarithms.",
            lambda w: w.e + w.a / w.n**w.alpha + w.b / w.d**w.beta,
            terms=(in_logs,),
        ),
        *many("This matches E not exponentiated: theta holds ln E.", lambda w: w.sum(e=w.e)),
        *many(
            "This matches alpha and beta swapped: alpha belongs to N, beta to D.",
            lambda w: w.sum(alpha=w.beta, beta=w.alpha),
        ),
        *many("This matches A and B swapped: A belongs to N, B to D.", lambda w: w.sum(a=w.b, b=w.a)),
        *many("This matches N and D swapped: A/N^alpha and B/D^beta.", lambda w: w.sum(n=w.d, d=w.n)),
        *many(
            "This matches an overflow: e^800 is no float, but A/N^alpha = exp(ln A - alpha ln N) is a small one.",
            Law.sum,
            terms=(naive, stopping),
        ),
        *many(
            "This matches an overflow kept within bounds: the last case needs ln A = 800 itself, in "
            "exp(ln A - alpha ln N).",
            lambda w: w.sum().nan_to_num(),
            lambda w: w.sum().nan_to_num(posinf=math.inf),
            lambda w: w.sum(a=w.a.clamp(max=700)),
            lambda w: w.sum(a=w.a.clamp(max=709)),
            terms=(naive,),
        ),
        *many(
            "This matches the logarithm of the loss: turn it back with exp.",
            lambda w: w.sum().log(),
            lambda w: w.sum().log().nan_to_num(),
        ),
        *many(
            "This matches exp taken once more: E, A/N^alpha and B/D^beta are the terms of the loss itself.",
            lambda w: w.sum().exp(),
        ),
        *many("This matches powers of 10: theta holds natural logarithms.", lambda w: tens(w)),
        *many(
            "This matches ln A - alpha log10 N: all logarithms in this sum are natural.",
            lambda w: w.e.exp() + (w.a - w.alpha * w.n.log10()).exp() + (w.b - w.beta * w.d.log10()).exp(),
            terms=(in_logs,),
        ),
        *many(
            "This matches E left out: the loss does not go below it, however large N and D.",
            lambda w: w.sum(e=torch.zeros_like(w.e)),
        ),
        *many(
            "This matches A/N^alpha left out: the loss has three terms.",
            lambda w: w.e.exp() + w.term(w.b, w.d, w.beta),
            terms=(in_logs,),
        ),
        *many(
            "This matches B/D^beta left out: the loss has three terms.",
            lambda w: w.e.exp() + w.term(w.a, w.n, w.alpha),
        ),
        *many(
            "This matches a loss that rises with N and D: divide by their powers.",
            lambda w: w.sum(alpha=-w.alpha, beta=-w.beta),
        ),
        *many(
            "This matches (A/N)^alpha: only N has the exponent, A/N^alpha.",
            lambda w: w.e.exp() + (w.alpha * (w.a - w.n.log())).exp() + (w.beta * (w.b - w.d.log())).exp(),
            lambda w: w.e.exp() + (w.a.exp() / w.n) ** w.alpha + (w.b.exp() / w.d) ** w.beta,
            terms=(in_logs,),
        ),
        *many(
            "This matches A/(N alpha): alpha and beta are exponents of N and D.",
            lambda w: w.e.exp() + (w.a - (w.n * w.alpha).log()).exp() + (w.b - (w.d * w.beta).log()).exp(),
            lambda w: w.e.exp() + w.a.exp() / (w.n * w.alpha) + w.b.exp() / (w.d * w.beta),
            lambda w: w.e.exp() + w.a.exp() / w.n * w.alpha + w.b.exp() / w.d * w.beta,
            terms=(in_logs,),
        ),
        *many(
            "This matches a product of the terms: they are added.",
            lambda w: w.e.exp() * w.term(w.a, w.n, w.alpha) * w.term(w.b, w.d, w.beta),
        ),
        *many(
            "This matches theta read as (ln E, ln A, ln B, alpha, beta): here ln E comes third.",
            read_as(1, 2, 0, 3, 4),
        ),
        *many(
            "This matches theta read as (ln A, alpha, ln B, beta, ln E): here the logarithms come first.",
            read_as(0, 2, 4, 1, 3),
        ),
        *many(
            "This matches theta read as (ln E, ln A, alpha, ln B, beta): here the three logarithms come first.",
            read_as(1, 3, 0, 2, 4),
        ),
        *many(
            "This matches one number for all runs: every run has a loss of its own.",
            lambda w: w.sum().mean(),
            lambda w: w.sum().sum(),
        ),
        *many(
            "This matches all N and D in one sum: run i has params[i] and tokens[i].",
            lambda w: w.sum(n=w.n.sum(), d=w.d.sum()),
            lambda w: w.sum(n=w.n[:, None]),
            lambda w: w.sum(d=w.d[:, None]),
        ),
    ],
)


def tens(w: Law) -> Tensor:
    return 10**w.e + 10 ** (w.a - w.alpha * w.n.log10()) + 10 ** (w.b - w.beta * w.d.log10())
