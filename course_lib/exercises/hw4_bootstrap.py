"""hw4_scaling, how sure an exponent is: percentiles of the fits of resampled points."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Misconception
from course_lib.exercises.hw4_power_law import Pair, line, power_laws
from course_lib.power_law import quantile_t


def bootstrap_interval(x: Tensor, y: Tensor, draws: Tensor, level: float = 0.95) -> Pair:
    slopes = line(x[draws].log(), y[draws].log())[1]
    return between(slopes, (1 - level) / 2, (1 + level) / 2)


def between(values: Tensor, *ends: float) -> Pair:
    low, high = values.quantile(torch.tensor(ends, dtype=values.dtype)).tolist()
    return low, high


def bootstrap_cases(seed: int) -> list[Case]:
    """The level is 0.95 where it is not given; numbers of draws at which no quantile falls on one of them."""
    draw = Draw(seed, 1)
    cases = []
    for case, draws, level in zip(power_laws(seed), (40, 73, 30), (None, 0.8, 0.9), strict=True):
        n = len(case["x"])
        rows = draw.integers(0, n, 4 * draws, n)
        several = (rows != rows[:, :1]).any(1)
        cases.append({**case, "draws": rows[several][:draws], **({} if level is None else {"level": level})})
    return cases


# Intervals that are not this one -------------------------------------------------------------------------------------


@dataclass
class Resampled:
    """What an interval is made of, so that each mistake reads as one line."""

    x: Tensor
    y: Tensor
    draws: Tensor
    level: float

    @property
    def slopes(self) -> Tensor:
        return self.lines(self.draws, self.draws)[1]

    @property
    def exponent(self) -> float:
        return line(self.x.log(), self.y.log())[1].item()

    @property
    def tail(self) -> float:
        return (1 - self.level) / 2

    def lines(self, of_x: Tensor, of_y: Tensor) -> tuple[Tensor, Tensor]:
        return line(self.x.log()[of_x], self.y.log()[of_y])

    def around(self, middle: float | Tensor, half: float | Tensor) -> Pair:
        return float(middle - half), float(middle + half)

    def quantiles(self, values: Tensor) -> Pair:
        return between(values, self.tail, 1 - self.tail)


def many(message: str, *intervals: Callable[[Resampled], Pair]) -> list[Misconception]:
    return [
        Misconception(message, lambda x, y, draws, level=0.95, make=make: make(Resampled(x, y, draws, level)))
        for make in intervals
    ]


def of(slopes: Callable[[Resampled], Tensor]) -> Callable[[Resampled], Pair]:
    """The right quantiles of other numbers."""
    return lambda w: w.quantiles(slopes(w))


def sorted_at(low: Callable[[float], float], high: Callable[[float], float]) -> Callable[[Resampled], Pair]:
    """Two of the sorted slopes, at the places made of q B for both q."""

    def wrong(w: Resampled) -> Pair:
        slopes, count = w.slopes.sort().values, len(w.draws)
        places = (int(low(w.tail * count)), int(high((1 - w.tail) * count)))
        first, last = (slopes[min(max(place, 0), count - 1)].item() for place in places)
        return first, last

    return wrong


def method(interpolation: str) -> Callable[[Resampled], Pair]:
    def wrong(w: Resampled) -> Pair:
        ends = (w.slopes.quantile(q, interpolation=interpolation).item() for q in (w.tail, 1 - w.tail))
        low, high = ends
        return low, high

    return wrong


def deviations(scale: Callable[[Resampled], float]) -> list[Callable[[Resampled], Pair]]:
    """Round the mean of the fits or the fit of all points, with both kinds of standard deviation."""
    return [
        lambda w, middle=middle, correction=correction: w.around(
            middle(w), scale(w) * w.slopes.std(correction=correction)
        )
        for middle in (lambda w: w.slopes.mean(), lambda w: w.exponent)
        for correction in (0, 1)
    ]


def once_each(w: Resampled) -> Tensor:
    """Points that are drawn twice count once."""
    u, v = w.x.log(), w.y.log()
    once = torch.zeros(len(w.draws), len(u), dtype=u.dtype).scatter(1, w.draws, 1.0)
    away = once * (u - (once @ u / once.sum(1))[:, None])
    return (away @ v) / away.square().sum(1)


def by_formula(w: Resampled) -> Pair:
    """Student's interval of the fit of all points."""
    u, v = w.x.log(), w.y.log()
    height, slope = line(u, v)
    freedom = len(u) - 2
    error = ((v - height - slope * u).square().sum() / freedom / (u - u.mean()).square().sum()).sqrt()
    return w.around(slope, quantile_t(freedom, w.level) * error)


def correlations(w: Resampled) -> Tensor:
    u, v = w.x.log()[w.draws], w.y.log()[w.draws]
    return w.slopes * u.std(-1) / v.std(-1)


def round_all(w: Resampled) -> Tensor:
    u, v = w.x.log()[w.draws], w.y.log()[w.draws]
    away = u - u.mean()
    return (away * (v - v.mean())).sum(-1) / away.square().sum(-1)


def through_origin(w: Resampled) -> Tensor:
    u, v = w.x.log()[w.draws], w.y.log()[w.draws]
    return (u * v).sum(-1) / u.square().sum(-1)
