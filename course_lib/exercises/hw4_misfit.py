"""hw4_scaling, the ways in which a power law is not fitted."""

import math
from collections.abc import Callable
from typing import Any

import scipy
import torch
from torch import Tensor

from course_lib.exercises.comparing import single
from course_lib.exercises.engine import Exercise, Misconception, Section
from course_lib.exercises.hw4_power_law import Pair, fit_power_law, line, pair, power_laws

Change = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor], Pair]


def of(
    u: Callable[[Tensor], Tensor], v: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor] = torch.exp
) -> Fit:
    """The line of v(y) on u(x), its height turned back."""

    def wrong(x: Tensor, y: Tensor) -> Pair:
        height, slope = line(u(x), v(y))
        return back(height).item(), slope.item()

    return wrong


def after(change: Callable[[float, float], Pair]) -> Fit:
    """From ln coefficient and exponent of the right line."""

    def wrong(x: Tensor, y: Tensor) -> Pair:
        height, slope = line(x.log(), y.log())
        return change(height.item(), slope.item())

    return wrong


def slope_of(find: Callable[[Tensor, Tensor], Tensor]) -> Fit:
    """Another slope in logarithms, through the middle of the points."""

    def wrong(x: Tensor, y: Tensor) -> Pair:
        u, v = x.log(), y.log()
        slope = find(u, v)
        return (v.mean() - slope * u.mean()).exp().item(), slope.item()

    return wrong


def through(find: Callable[[Tensor], tuple[int, int]]) -> Fit:
    """The line through two of the points."""

    def wrong(x: Tensor, y: Tensor) -> Pair:
        i, j = find(x)
        u, v = x.log(), y.log()
        slope = (v[j] - v[i]) / (u[j] - u[i])
        return (v[i] - slope * u[i]).exp().item(), slope.item()

    return wrong


def height_of(find: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Fit:
    """Another coefficient, from x, y and the right exponent."""

    def wrong(x: Tensor, y: Tensor) -> Pair:
        slope = line(x.log(), y.log())[1]
        return find(x, y, slope).item(), slope.item()

    return wrong


def turned_round(x: Tensor, y: Tensor) -> Pair:
    height, slope = line(y.log(), x.log())
    return (-height / slope).exp().item(), (1 / slope).item()


def of_means(x: Tensor, y: Tensor) -> Pair:
    u, v = x.log() - x.mean().log(), y.log() - y.mean().log()
    slope = (u * v).sum() / u.square().sum()
    return (y.mean().log() - slope * x.mean().log()).exp().item(), slope.item()


def of_y_itself(x: Tensor, y: Tensor) -> Pair:
    """Least squares of y, not of ln y; x over its geometric mean, or the powers differ too much in size."""
    scale = x.log().mean().exp().item()
    found, exponent = scipy.optimize.curve_fit(
        lambda t, k, p: k * t**p, (x / scale).numpy(), y.numpy(), p0=fit_power_law(x / scale, y), xtol=1e-12, ftol=1e-12
    )[0]
    return float(found * scale**-exponent), float(exponent)


def neighbours(u: Tensor, v: Tensor) -> Tensor:
    order = u.argsort()
    return (v[order].diff() / u[order].diff()).mean()


def all_slopes(u: Tensor, v: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(u), len(u), 1)
    return (v[j] - v[i]) / (u[j] - u[i])


def quantile(values: Tensor) -> Tensor:
    return values.quantile(0.5)


def orthogonal(u: Tensor, v: Tensor) -> Tensor:
    spread = torch.stack([u, v]).cov()
    direction = torch.linalg.eigh(spread).eigenvectors[:, -1]
    return direction[1] / direction[0]


def as_it_is(values: Tensor) -> Tensor:
    return values


def many(message: str, *fits: Fit) -> list[Misconception]:
    return [Misconception(message, fit) for fit in fits]


def single_pair(answer: Any) -> Any:
    answer = pair(answer)
    return tuple(map(single, answer)) if isinstance(answer, tuple | list) else answer


ORDER = "This matches slope and height taken for each other: polyfit gives the slope first, then the height."

FIT_POWER_LAW = Exercise(
    name="fit_power_law",
    points=2,
    lesson=Section("07_scaling_laws", "A straight line in logarithms"),
    reference=fit_power_law,
    cases=power_laws,
    parts=("coefficient", "exponent"),
    canonical=single_pair,
    mistakes=[
        *many(
            "This matches the line of y on x: a power law is straight in logarithms, so fit ln y on ln x.",
            of(as_it_is, as_it_is, as_it_is),
            of(as_it_is, as_it_is),
        ),
        *many(
            "This matches y on ln x: a power law needs the logarithm of both.",
            of(torch.log, as_it_is, as_it_is),
            of(torch.log, as_it_is),
        ),
        *many(
            "This matches ln y on x, an exponential: a power law needs the logarithm of both.",
            of(as_it_is, torch.log),
            of(as_it_is, torch.log, as_it_is),
        ),
        *many(
            "This matches a log10 that is not turned back: the height of the line is log10 of the coefficient, so take "
            "10 to its power.",
            of(torch.log10, torch.log10, as_it_is),
        ),
        *many(
            "This matches ln of the coefficient: the height of the line has to be turned back with exp.",
            after(lambda height, slope: (height, slope)),
        ),
        *many(
            "This matches a log10 turned back with exp: the inverse of log10 is 10 to the power.",
            of(torch.log10, torch.log10),
        ),
        *many(
            "This matches ln turned back with 10 to the power: the inverse of ln is exp.",
            after(lambda height, slope: (10**height, slope)),
        ),
        *many(
            "This matches log2 with another inverse: the inverse of log2 is 2 to the power.",
            of(torch.log2, torch.log2, as_it_is),
            of(torch.log2, torch.log2),
        ),
        *many(
            "This matches two kinds of logarithm, one for x and another for y: the exponent is off by their ratio.",
            of(torch.log10, torch.log),
            of(torch.log, torch.log10, lambda height: 10**height),
            of(torch.log, torch.log10),
            of(torch.log2, torch.log),
            of(torch.log, torch.log2, torch.exp2),
        ),
        *many(
            "This matches the axes swapped, ln x on ln y: the exponent is the slope of ln y on ln x.",
            lambda x, y: fit_power_law(y, x),
        ),
        *many(
            "This matches the line of ln x on ln y, turned round: its errors are those of x, and least squares of ln y "
            "gives another slope.",
            turned_round,
        ),
        *many(
            "This matches the two answers exchanged: the coefficient comes first.",
            after(lambda height, slope: (slope, math.exp(height))),
        ),
        *many(
            ORDER,
            after(lambda height, slope: (math.exp(slope), height)),
            after(lambda height, slope: (slope, height)),
        ),
        *many(
            "This matches the exponent turned with exp as well: it is the slope itself.",
            after(lambda height, slope: (math.exp(height), math.exp(slope))),
            after(lambda height, slope: (math.exp(height), 10**slope)),
        ),
        *many(
            "This matches the other sign: the exponent is the slope itself, below 0 where y falls.",
            after(lambda height, slope: (math.exp(height), -slope)),
            after(lambda height, slope: (math.exp(height), abs(slope))),
        ),
        *many(
            "This matches a line through the origin: its height, ln of the coefficient, has to be fitted too.",
            lambda x, y: (1.0, ((x.log() @ y.log()) / x.log().square().sum()).item()),
            slope_of(lambda u, v: (u @ v) / u.square().sum()),
        ),
        *many(
            "This matches a line through two of the points: least squares takes all of them.",
            through(lambda x: (0, len(x) - 1)),
            through(lambda x: (int(x.argmin()), int(x.argmax()))),
            through(lambda x: (0, 1)),
            slope_of(lambda u, v: (v[-1] - v[0]) / (u[-1] - u[0])),
        ),
        *many(
            "This matches a mean or median of slopes from point to point: least squares weighs far points more.",
            slope_of(neighbours),
            slope_of(lambda u, v: all_slopes(u, v).mean()),
            slope_of(lambda u, v: quantile(all_slopes(u, v))),
        ),
        *many(
            "This matches a covariance over n - 1 with a variance over n, or the other way round: np.cov and np.var, "
            "for one, divide by different numbers.",
            slope_of(lambda u, v: line(u, v)[1] * len(u) / (len(u) - 1)),
            slope_of(lambda u, v: line(u, v)[1] * (len(u) - 1) / len(u)),
        ),
        *many(
            "This matches the correlation: the slope is the covariance over the variance of ln x alone.",
            slope_of(lambda u, v: torch.stack([u, v]).corrcoef()[0, 1]),
        ),
        *many(
            "This matches the least distance to the line, across both axes: least squares of ln y looks along y alone.",
            slope_of(orthogonal),
        ),
        *many(
            "This matches a ratio of standard deviations: the slope is the covariance over the variance of ln x.",
            slope_of(lambda u, v: v.std() / u.std() * line(u, v)[1].sign()),
            slope_of(lambda u, v: v.std() / u.std()),
        ),
        *many(
            "This matches least squares of y itself: the largest y decide then, so take the squares of ln y.",
            of_y_itself,
        ),
        *many(
            "This matches a mean or median of y / x^exponent: the line's height is that of their geometric mean.",
            height_of(lambda x, y, slope: (y / x**slope).mean()),
            height_of(lambda x, y, slope: (y / x**slope).median()),
            height_of(lambda x, y, slope: quantile(y / x**slope)),
            height_of(lambda x, y, slope: y.mean() / x.mean() ** slope),
        ),
        *many(
            "This matches a coefficient from one point: the height of the line comes from all of them.",
            height_of(lambda x, y, slope: y[0] / x[0] ** slope),
            height_of(lambda x, y, slope: y[-1] / x[-1] ** slope),
        ),
        *many(
            "This matches the height in the middle of the points: the coefficient is y at x = 1, so go back by "
            "exponent times the mean of ln x.",
            height_of(lambda x, y, slope: y.log().mean().exp()),
        ),
        *many(
            "This matches the mean of ln x added: the height is mean ln y minus exponent times mean ln x.",
            height_of(lambda x, y, slope: (y.log().mean() + slope * x.log().mean()).exp()),
        ),
        *many(
            "This matches ln of the means of x and y: the means of ln x and of ln y are wanted.",
            of_means,
        ),
        *many(
            "This matches x or y sorted without the other: a point is a pair, so both keep their order.",
            lambda x, y: fit_power_law(x.sort().values, y),
            lambda x, y: fit_power_law(x, y.sort().values),
            lambda x, y: fit_power_law(x.sort().values, y.sort().values),
        ),
        *many(
            "This matches log(1 + x): a power law is straight in ln x alone.",
            of(torch.log1p, torch.log1p),
            of(torch.log1p, torch.log1p, torch.expm1),
        ),
    ],
)
