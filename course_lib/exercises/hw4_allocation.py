"""hw4_scaling, the best model and the best amount of text for a budget (arXiv:2203.15556 section 3.3, eq. 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_lib.exercises.comparing import Roughly
from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Split = tuple[float, float]  # N parameters, D tokens


def optimal_allocation(flops: float, A: float, B: float, alpha: float, beta: float) -> Split:  # noqa: N803
    product, both = flops / 6, alpha + beta  # of N and D
    factor = (alpha * A / (beta * B)) ** (1 / both)
    return factor * product ** (beta / both), product ** (alpha / both) / factor


def roughly(answer: Any) -> Any:
    """Two numbers, each as near as a numerical search comes, in an array too; anything else as it is."""
    if getattr(answer, "shape", None) == (2,):
        answer = list(answer)
    if not isinstance(answer, tuple | list):
        return answer
    return tuple(Roughly(each) if isinstance(each, float) else each for each in answer)


def allocation_cases(seed: int) -> list[Case]:
    """The law of arXiv:2404.10102 at Chinchilla's budget, then drawn ones; each exponent and each of A and B leads."""
    draw = Draw(seed)

    def drawn(low: float, high: float) -> float:
        """Spread evenly in the logarithm."""
        share = draw.number(0, 1)
        return round(math.exp(math.log(low) + share * math.log(high / low)), 4)

    cases: list[Case] = [{"flops": 5.88e23, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}]
    for budget, alpha, beta, a, b in (
        (1e13, (0.37, 0.45), (0.28, 0.33), (900, 1800), (200, 500)),
        (1e18, (0.28, 0.33), (0.37, 0.45), (150, 400), (700, 2500)),
        (1e22, (0.30, 0.34), (0.24, 0.27), (200, 450), (600, 900)),
    ):
        law = {"A": drawn(*a), "B": round(drawn(*b)), "alpha": drawn(*alpha), "beta": drawn(*beta)}
        cases.append({"flops": drawn(budget, 100 * budget), **law})
    return cases


@dataclass(frozen=True)
class Law:
    """What a case gives, and what the formula makes of it."""

    flops: float
    A: float
    B: float
    alpha: float
    beta: float

    @property
    def product(self) -> float:
        return self.flops / 6

    @property
    def both(self) -> float:
        return self.alpha + self.beta

    @property
    def factor(self) -> float:
        return (self.alpha * self.A / (self.beta * self.B)) ** (1 / self.both)

    @property
    def n(self) -> float:
        return self.factor * self.product ** (self.beta / self.both)

    @property
    def d(self) -> float:
        return self.product / self.n


Part = Callable[[Law], float]


def share(law: Law) -> float:
    """The exponent of N in C."""
    return law.beta / law.both


def wrong(n: Part, d: Part) -> Callable[..., Split]:
    def answer(*given: float) -> Split:
        law = Law(*given)
        return n(law), d(law)

    return answer


def solved(
    factor: Part = lambda z: z.factor, exponent: Part = share, product: Part = lambda z: z.product
) -> Callable[..., Split]:
    """The right formula with something else in one of its places; D is what N leaves."""

    def n(law: Law) -> float:
        return factor(law) * product(law) ** exponent(law)

    return wrong(n, lambda law: product(law) / n(law))


def other_exponents(n: Part, d: Part) -> Callable[..., Split]:
    return wrong(lambda z: z.factor * z.product ** n(z), lambda z: z.product ** d(z) / z.factor)


def equal_slopes(law: Law) -> float:
    """N where one more parameter lowers the loss as much as one more token."""
    ratio = law.alpha * law.A / (law.beta * law.B)
    return (ratio * law.product ** (law.beta + 1)) ** (1 / (law.both + 2))


def named(message: str, *wrongs: Callable[..., Split]) -> list[Misconception]:
    return [Misconception(message, each) for each in wrongs]


ALLOCATION = Exercise(
    name="optimal_allocation",
    points=2,
    lesson=Section("07_scaling_laws", "One law for all runs"),
    reference=optimal_allocation,
    cases=allocation_cases,
    parts=("N", "D"),
    canonical=roughly,
    mistakes=[
        *named(
            "This matches exponents swapped: N grows with C^(beta/(alpha+beta)), D with C^(alpha/(alpha+beta)).",
            solved(exponent=lambda z: z.alpha / z.both),
        ),
        *named(
            "This matches alpha and beta exchanged throughout: alpha is N's, in A/N^alpha, and beta is D's.",
            solved(
                factor=lambda z: (z.beta * z.A / (z.alpha * z.B)) ** (1 / z.both), exponent=lambda z: z.alpha / z.both
            ),
        ),
        *named(
            "This matches the 6 forgotten: the budget is 6 N D, so N and D come from flops/6.",
            solved(product=lambda z: z.flops),
            wrong(lambda z: z.n, lambda z: z.flops / z.n),
            wrong(lambda z: z.n, lambda z: z.flops ** (1 - share(z)) / z.factor),
            wrong(lambda z: z.factor * z.flops ** share(z), lambda z: z.d),
            wrong(lambda z: z.factor * z.flops ** share(z), lambda z: z.product / (z.factor * z.flops ** share(z))),
        ),
        *named(
            "This matches 6 flops in place of flops/6: from 6 N D = flops follows N D = flops/6.",
            solved(product=lambda z: 6 * z.flops),
        ),
        *named(
            "This matches 2 N D = flops, a forward pass alone: training costs 6 N D.",
            solved(product=lambda z: z.flops / 2),
        ),
        *named(
            "This matches the factor G = (alpha A/(beta B))^(1/(alpha+beta)) left out: N is G (C/6)^a, D (C/6)^b / G.",
            solved(factor=lambda z: 1),
            wrong(lambda z: z.n, lambda z: z.d * z.factor),
            wrong(lambda z: z.n / z.factor, lambda z: z.d),
        ),
        *named(
            "This matches the factor G = (alpha A/(beta B))^(1/(alpha+beta)) inverted: N is times G, D is over G.",
            solved(factor=lambda z: 1 / z.factor),
            wrong(lambda z: z.n, lambda z: z.d * z.factor**2),
            wrong(lambda z: z.n / z.factor**2, lambda z: z.d),
        ),
        *named(
            "This matches alpha and beta left out of G, which makes A/N^alpha equal to B/D^beta: it is what one more "
            "percent of N or of D gains that must be equal, alpha A/N^alpha = beta B/D^beta.",
            solved(factor=lambda z: (z.A / z.B) ** (1 / z.both)),
        ),
        *named(
            "This matches A and B left out of G: it is (alpha A/(beta B))^(1/(alpha+beta)).",
            solved(factor=lambda z: (z.alpha / z.beta) ** (1 / z.both)),
        ),
        *named(
            "This matches beta A/(alpha B) in G: the derivative of A/N^alpha brings alpha down, so alpha goes with A.",
            solved(factor=lambda z: (z.beta * z.A / (z.alpha * z.B)) ** (1 / z.both)),
        ),
        *named(
            "This matches A and B exchanged, alpha B/(beta A) in G: A and alpha belong to N.",
            solved(factor=lambda z: (z.alpha * z.B / (z.beta * z.A)) ** (1 / z.both)),
        ),
        *named(
            "This matches G without its power: (alpha A/(beta B)) is raised to 1/(alpha+beta).",
            solved(factor=lambda z: z.alpha * z.A / (z.beta * z.B)),
        ),
        *named(
            "This matches G raised to alpha+beta: its power is 1/(alpha+beta).",
            solved(factor=lambda z: (z.alpha * z.A / (z.beta * z.B)) ** z.both),
        ),
        *named(
            "This matches the logs of A and B in G: A and B come as they are, and go in as they are.",
            solved(factor=lambda z: (z.alpha * math.log(z.A) / (z.beta * math.log(z.B))) ** (1 / z.both)),
        ),
        *named(
            "This matches exponents that are not divided by alpha+beta: those of N and D must add up to 1.",
            other_exponents(lambda z: z.beta, lambda z: z.alpha),
            other_exponents(lambda z: z.alpha, lambda z: z.beta),
            solved(exponent=lambda z: z.beta),
            solved(exponent=lambda z: z.alpha),
        ),
        *named(
            "This matches a square root for both: only with alpha = beta do N and D grow alike, N does with "
            "C^(beta/(alpha+beta)).",
            solved(exponent=lambda z: 0.5),
        ),
        *named(
            "This matches equal slopes in N and in D: a parameter costs 6 D FLOP and a token 6 N, so the slopes in "
            "ln N and ln D must be equal.",
            wrong(equal_slopes, lambda z: z.product / equal_slopes(z)),
        ),
        *named(
            "This matches N and D in the other order: N, the parameters, comes first.",
            wrong(lambda z: z.d, lambda z: z.n),
        ),
        *named(
            "This matches N = D, half of the log budget for each: how it is shared depends on A, B, alpha and beta.",
            solved(factor=lambda z: 1, exponent=lambda z: 0.5),
            wrong(lambda z: z.flops**0.5, lambda z: z.flops**0.5),
        ),
        *named(
            "This matches D = 20 N, the rule of thumb from Chinchilla: take what this law says.",
            wrong(lambda z: (z.product / 20) ** 0.5, lambda z: 20 * (z.product / 20) ** 0.5),
            wrong(lambda z: z.n, lambda z: 20 * z.n),
            wrong(lambda z: z.d / 20, lambda z: z.d),
        ),
        *named(
            "This matches logs of N and D: turn them back with exp, or with a power of 10.",
            wrong(lambda z: math.log(z.n), lambda z: math.log(z.d)),
            wrong(lambda z: math.log10(z.n), lambda z: math.log10(z.d)),
        ),
        *named(
            "This matches N and D in billions: parameters and tokens themselves are asked for.",
            wrong(lambda z: z.n / 1e9, lambda z: z.d / 1e9),
        ),
        *named(
            "This matches the exponents of N and D alone: they say how each grows, and N and D are asked for.",
            wrong(share, lambda z: 1 - share(z)),
        ),
        *named(
            "This matches D/N in the place of D: the number of tokens is asked for, N times that.",
            wrong(lambda z: z.n, lambda z: z.d / z.n),
        ),
    ],
)
