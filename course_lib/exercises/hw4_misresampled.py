"""hw4_scaling, the ways in which an interval is not the bootstrap's."""

import math
from statistics import NormalDist

import torch

from course_lib.exercises.engine import Exercise, Section
from course_lib.exercises.hw4_bootstrap import (
    between,
    bootstrap_cases,
    bootstrap_interval,
    by_formula,
    correlations,
    deviations,
    many,
    method,
    of,
    once_each,
    round_all,
    sorted_at,
    through_origin,
)
from course_lib.exercises.hw4_power_law import line, pair

NO_INTERPOLATION = (
    "This matches one of the sorted exponents: a quantile between two of them is interpolated, as torch.quantile does."
)

BOOTSTRAP_INTERVAL = Exercise(
    name="bootstrap_interval",
    points=2,
    lesson=Section("07_scaling_laws", "One law for all runs"),
    reference=bootstrap_interval,
    cases=bootstrap_cases,
    parts=("low", "high"),
    canonical=pair,
    mistakes=[
        *many(
            "This matches x by one draw with y by another: a point is a pair, so the same rows are taken of both.",
            of(lambda w: w.lines(w.draws, w.draws.roll(-1, 0))[1]),
            of(lambda w: w.lines(w.draws, w.draws.roll(1, 0))[1]),
            of(lambda w: w.lines(w.draws[:-1], w.draws[1:])[1]),
            of(lambda w: w.lines(w.draws[1:], w.draws[:-1])[1]),
            of(lambda w: w.lines(w.draws[::2][: len(w.draws) // 2], w.draws[1::2])[1]),
        ),
        *many(
            "This matches y not resampled: a point is a pair, so take y[draws] beside x[draws].",
            of(lambda w: w.lines(w.draws, torch.arange(len(w.y)).expand_as(w.draws))[1]),
        ),
        *many(
            "This matches x not resampled: a point is a pair, so take x[draws] beside y[draws].",
            of(lambda w: w.lines(torch.arange(len(w.x)).expand_as(w.draws), w.draws)[1]),
        ),
        *many(
            "This matches mean and one standard deviation: take quantiles, which also fit exponents that lean to one "
            "side.",
            *deviations(lambda w: 1.0),
        ),
        *many(
            "This matches mean and 1.96 standard deviations: that is 95% of a normal distribution, so take quantiles "
            "at the level given.",
            *deviations(lambda w: 1.96),
        ),
        *many(
            "This matches standard deviations of a normal distribution at this level: take quantiles, which need no "
            "such assumption.",
            *deviations(lambda w: NormalDist().inv_cdf(1 - w.tail)),
        ),
        *many(
            "This matches standard deviations divided by the root of B: so sure is their mean, not the exponent.",
            *deviations(lambda w: 1.96 / math.sqrt(len(w.draws))),
        ),
        *many(
            "This matches quantiles at 1 - level and level: each end leaves out half of it, (1 - level)/2.",
            lambda w: between(w.slopes, 1 - w.level, w.level),
        ),
        *many(
            "This matches quantiles at level/2 and 1 - level/2: each end leaves out (1 - level)/2.",
            lambda w: between(w.slopes, w.level / 2, 1 - w.level / 2),
            lambda w: between(w.slopes, 1 - w.level / 2, w.level / 2),
        ),
        *many(
            "This matches an interval with one end: each of both leaves out (1 - level)/2.",
            lambda w: between(w.slopes, 0.0, w.level),
            lambda w: between(w.slopes, 1 - w.level, 1.0),
        ),
        *many(
            "This matches the smallest and the largest exponent: an interval at this level leaves some out.",
            lambda w: between(w.slopes, 0.0, 1.0),
        ),
        *many(
            "This matches quantiles at 1% of what is asked: np.percentile takes percent, np.quantile parts of 1.",
            lambda w: between(w.slopes, w.tail / 100, (1 - w.tail) / 100),
        ),
        *many(
            "This matches the level 0.95 in every case: it is an argument.",
            lambda w: between(w.slopes, 0.025, 0.975),
        ),
        *many(
            "This matches high and low exchanged: the low end comes first.",
            lambda w: between(w.slopes, 1 - w.tail, w.tail),
        ),
        *many(
            NO_INTERPOLATION,
            sorted_at(math.floor, math.floor),
            sorted_at(math.floor, lambda place: math.floor(place) - 1),
            sorted_at(math.ceil, math.ceil),
            sorted_at(math.floor, math.ceil),
            sorted_at(math.floor, lambda place: math.ceil(place) - 1),
            sorted_at(round, round),
            sorted_at(round, lambda place: round(place) - 1),
            sorted_at(lambda place: math.floor(place) - 1, math.floor),
            sorted_at(lambda place: math.ceil(place) - 1, lambda place: math.ceil(place) - 1),
            method("lower"),
            method("higher"),
            method("nearest"),
        ),
        *many(
            "This matches midpoints: linear interpolation goes from one exponent to the next as the quantile does.",
            method("midpoint"),
        ),
        *many(
            "This matches the interval of the coefficient: the exponent's is asked for, the slope's.",
            of(lambda w: w.lines(w.draws, w.draws)[0].exp()),
            of(lambda w: w.lines(w.draws, w.draws)[0]),
        ),
        *many(
            "This matches slopes of y on x: the exponent is the slope of ln y on ln x.",
            of(lambda w: line(w.x[w.draws], w.y[w.draws])[1]),
            of(lambda w: line(w.x[w.draws], w.y[w.draws].log())[1]),
            of(lambda w: line(w.x[w.draws].log(), w.y[w.draws])[1]),
        ),
        *many(
            "This matches two kinds of logarithm, one for x and another for y: the exponent is off by their ratio.",
            of(lambda w: w.slopes * math.log(10)),
            of(lambda w: w.slopes / math.log(10)),
        ),
        *many(
            "This matches the axes swapped, ln x on ln y: the exponent is the slope of ln y on ln x.",
            of(lambda w: line(w.y[w.draws].log(), w.x[w.draws].log())[1]),
            of(lambda w: 1 / line(w.y[w.draws].log(), w.x[w.draws].log())[1]),
        ),
        *many(
            "This matches quantiles mirrored at the exponent of all points, the basic bootstrap: here they count as "
            "they are.",
            lambda w: (2 * w.exponent - w.quantiles(w.slopes)[1], 2 * w.exponent - w.quantiles(w.slopes)[0]),
        ),
        *many(
            "This matches distances from an exponent: the ends themselves are asked for.",
            lambda w: w.quantiles(w.slopes - w.exponent),
            lambda w: w.quantiles(w.slopes - w.slopes.mean()),
            lambda w: (w.exponent - w.quantiles(w.slopes)[0], w.quantiles(w.slopes)[1] - w.exponent),
        ),
        *many(
            "This matches Student's interval of one fit, which assumes normal noise: the draws are not used.",
            by_formula,
        ),
        *many(
            "This matches points that count once however often they are drawn: a point drawn twice weighs twice.",
            of(once_each),
        ),
        *many(
            "This matches `draws` with its axes exchanged: each row is one resample of n points.",
            of(lambda w: w.lines(w.draws.mT, w.draws.mT)[1]),
            of(lambda w: w.lines(w.draws.reshape(-1, len(w.draws)), w.draws.reshape(-1, len(w.draws)))[1]),
        ),
        *many(
            "This matches one fit of all draws together: each row gives an exponent of its own.",
            lambda w: w.around(w.lines(w.draws.flatten(), w.draws.flatten())[1], 0),
        ),
        *many(
            "This matches one exponent, that of all points: an interval has two ends.",
            lambda w: w.around(w.exponent, 0),
        ),
        *many(
            "This matches means over all draws: each draw is fitted by itself, round means of its own.",
            of(round_all),
        ),
        *many(
            "This matches lines through the origin: their height has to be fitted too.",
            of(through_origin),
        ),
        *many(
            "This matches correlations: the slope is the covariance over the variance of ln x alone.",
            of(correlations),
        ),
        *many(
            "This matches a covariance over n - 1 with a variance over n, or the other way round.",
            of(lambda w: w.slopes * len(w.x) / (len(w.x) - 1)),
            of(lambda w: w.slopes * (len(w.x) - 1) / len(w.x)),
        ),
    ],
)
