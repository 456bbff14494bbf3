"""hw4_scaling, the best model size for one budget: the vertex of a parabola in ln N (arXiv:2203.15556 section 3.2)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.comparing import single
from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Size = Callable[[Tensor, Tensor], float | Tensor]


def isoflop_optimum(params: Tensor, loss: Tensor) -> float:
    bend, slope, _ = parabola(params.log(), loss)
    return math.exp(-slope / (2 * bend))


def parabola(u: Tensor, y: Tensor) -> list[float]:
    """Least squares: y = a u^2 + b u + c; solved round the middle, where the columns are not alike."""
    middle, scale = u.mean(), u.std()
    columns = torch.linalg.lstsq(torch.stack([((u - middle) / scale) ** k for k in (2, 1, 0)], 1), y[:, None])
    a, b, c = columns.solution[:, 0].tolist()
    m, s = middle.item(), scale.item()
    return [a / s**2, b / s - 2 * a * m / s**2, a * (m / s) ** 2 - b * m / s + c]


def isoflop_cases(seed: int) -> list[Case]:
    """More runs on one side of the best than on the other, at uneven distances, in no order, and with noise."""
    draw = Draw(seed)
    cases = []
    for left, right, ln_best in ((1, 2, 12.0), (4, 2, 14.0), (3, 6, 16.0)):
        away = torch.cat([-torch.arange(1, left + 1), torch.arange(1, right + 1)]).double()
        away = 0.6 * (away + draw.uniform(-0.2, 0.2, left + right))
        away = away[draw.order(left + right)]
        noise = 0.004 * draw.normal(left + right)
        loss = draw.uniform(2, 3) + draw.uniform(0.08, 0.12) * away**2 * (1 + 0.08 * away) + noise
        cases.append({"params": (ln_best + draw.uniform(-0.5, 0.5) + away).exp().round(), "loss": loss})
    return cases


# Vertices that are not this one --------------------------------------------------------------------------------------


def vertex(u: Tensor, y: Tensor) -> float:
    bend, slope, _ = parabola(u, y)
    return -slope / (2 * bend)


def squeezed(u: Tensor) -> Tensor:
    return (2 * u - u.max() - u.min()) / (u.max() - u.min())


def from_line(make: Callable[[float, float, float], float]) -> Size:
    """From a, b and c of the right parabola."""
    return lambda n, y: make(*parabola(n.log(), y))


def among(choose: Callable[[Tensor, Tensor], Tensor]) -> Size:
    """The right vertex, of some of the runs."""

    def wrong(n: Tensor, y: Tensor) -> float:
        rows = choose(n, y)
        return isoflop_optimum(n[rows], y[rows])

    return wrong


def round_the_best(n: Tensor, y: Tensor) -> Tensor:
    """The best run and its neighbours in size; at an edge, the three there."""
    order = n.argsort()
    best = int(y[order].argmin())
    first = min(max(best - 1, 0), len(n) - 3)
    return order[first : first + 3]


def lowest(n: Tensor, y: Tensor, count: int) -> Tensor:
    return n[y.argsort()[:count]]


def fitted(n: Tensor, y: Tensor) -> Tensor:
    a, b, c = parabola(n.log(), y)
    return a * n.log() ** 2 + b * n.log() + c


def weighted(weight: Callable[[Tensor], Tensor]) -> Size:
    def wrong(n: Tensor, y: Tensor) -> float:
        u, w = n.log(), weight(y)[:, None]
        away = u - u.mean()
        columns = torch.stack([away**2, away, torch.ones_like(u)], 1)
        a, b, _ = torch.linalg.lstsq(w * columns, w * y[:, None]).solution[:, 0].tolist()
        return math.exp(u.mean().item() - b / (2 * a))

    return wrong


def many(message: str, *sizes: Size) -> list[Misconception]:
    return [Misconception(message, lambda n, y, size=size: float(size(n, y))) for size in sizes]


ISOFLOP_OPTIMUM = Exercise(
    name="isoflop_optimum",
    points=2,
    lesson=Section("07_scaling_laws", "One valley for each budget"),
    reference=isoflop_optimum,
    cases=isoflop_cases,
    canonical=single,
    mistakes=[
        *many("This matches a parabola in N: sizes are steps of a factor, so fit it in ln N.", vertex),
        *many(
            "This matches the best run, measured or on the curve. Which run is best depends on the sizes tried and on "
            "noise; return the vertex of the parabola.",
            lambda n, y: lowest(n, y, 1),
            lambda n, y: n[fitted(n, y).argmin()],
        ),
        *many(
            "This matches the three best runs only, or the best and its neighbours: all runs of the budget count.",
            among(lambda n, y: y.argsort()[:3]),
            among(round_the_best),
        ),
        *many(
            "This matches the runs without the worst one: all runs of the budget count.",
            lambda n, y: among(lambda n, y: y.argsort()[:-1])(n, y) if len(n) > 3 else isoflop_optimum(n, y),
        ),
        *many(
            "This matches three of the runs, by their place in the list: all runs of the budget count.",
            among(lambda n, y: torch.arange(3)),
            among(lambda n, y: torch.tensor([0, len(n) // 2, len(n) - 1])),
            among(lambda n, y: n.argsort()[[0, len(n) // 2, -1]]),
        ),
        *many(
            "This matches ln N at the vertex: turn it back with exp.",
            lambda n, y: vertex(n.log(), y),
        ),
        *many(
            "This matches log10 N at the vertex: take 10 to its power.",
            lambda n, y: vertex(n.log10(), y),
        ),
        *many(
            "This matches a logarithm turned back with another base: exp belongs to ln, 10 to the power to log10.",
            lambda n, y: math.exp(vertex(n.log10(), y)),
            lambda n, y: math.exp(vertex(n.log2(), y)),
            lambda n, y: 10 ** vertex(n.log(), y),
            lambda n, y: 2 ** vertex(n.log(), y),
        ),
        *many(
            "This matches the loss at the vertex: the size N there is asked for.",
            from_line(lambda a, b, c: c - b * b / (4 * a)),
        ),
        *many(
            "This matches the lowest loss of the runs: the size N at the vertex is asked for.",
            lambda n, y: y.min(),
        ),
        *many(
            "This matches +b/(2a): the slope 2 a u + b is 0 at u = -b/(2a).",
            from_line(lambda a, b, c: math.exp(b / (2 * a))),
        ),
        *many(
            "This matches -b/a: the slope 2 a u + b is 0 at u = -b/(2a).",
            from_line(lambda a, b, c: math.exp(-b / a)),
        ),
        *many(
            "This matches -b/2 times a: the slope 2 a u + b is 0 at u = -b/(2a), so mind the brackets.",
            from_line(lambda a, b, c: math.exp(-b / 2 * a)),
        ),
        *many(
            "This matches a and c taken for each other: polyfit gives the square's coefficient first, "
            "Polynomial.fit and columns 1, u, u^2 give it last.",
            from_line(lambda a, b, c: math.exp(-b / (2 * c))),
            from_line(lambda a, b, c: -b / (2 * c)),
        ),
        *many(
            "This matches coefficients of Polynomial.fit as they are, those of ln N squeezed into -1 to 1: take its "
            ".convert() first.",
            lambda n, y: math.exp(vertex(squeezed(n.log()), y)),
            lambda n, y: vertex(squeezed(n.log()), y),
        ),
        *many(
            "This matches a vertex that is not moved back: the middle of ln N was taken away before the fit.",
            lambda n, y: math.exp(vertex(n.log() - n.log().mean(), y)),
        ),
        *many(
            "This matches a parabola of ln loss: only N is taken in logarithms here.",
            lambda n, y: math.exp(vertex(n.log(), y.log())),
        ),
        *many(
            "This matches a parabola of ln loss in N: take the logarithm of N, not that of the loss.",
            lambda n, y: vertex(n, y.log()),
        ),
        *many(
            "This matches a parabola in 1/N or in the root of N: fit it in ln N.",
            lambda n, y: 1 / vertex(1 / n, y),
            lambda n, y: vertex(n.sqrt(), y) ** 2,
        ),
        *many(
            "This matches N as a parabola of the loss, the axes swapped: the loss is fitted, over ln N.",
            lambda n, y: vertex(y, n.log()),
            lambda n, y: math.exp(vertex(y, n.log())),
        ),
        *many(
            "This matches a mean of the best runs: the vertex of the parabola is asked for.",
            *(
                lambda n, y, count=count, mean=mean: mean(lowest(n, y, count))
                for count in (2, 3)
                for mean in (torch.mean, lambda sizes: sizes.log().mean().exp())
            ),
        ),
        *many(
            "This matches the place of the best run in the list: its size is not asked for either, but the vertex.",
            lambda n, y: y.argmin(),
        ),
        *many(
            "This matches runs that weigh differently: all count the same in this fit.",
            weighted(lambda y: 1 / y),
            weighted(lambda y: y),
            weighted(lambda y: 1 / (y - y.min() + 0.01)),
        ),
        *many(
            "This matches the middle of the sizes tried: it does not depend on the losses.",
            lambda n, y: n.log().mean().exp(),
            lambda n, y: n.mean(),
            lambda n, y: n.median(),
            lambda n, y: (n.min() * n.max()).sqrt(),
        ),
    ],
)
