"""hw4_scaling, the loss of a run that nobody has paid for yet."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy  # which loads `optimize`, most of a second, where it is first used: not every page fits curves

from course_lib.exercises.closeness import Closeness
from course_lib.exercises.engine import Exercise, Misconception, Section
from course_lib.exercises.hw4_runs import (
    Law,
    Run,
    best_of_budgets,
    best_run,
    forecast_cases,
    guesses,
    straight,
    straight_in_logs,
    true_losses,
)

Forecast = Callable[[list[Run], float], float]


def forecast(runs: list[Run], flops: float) -> float:
    return fitted(tuple(runs)).best(flops)[2]


@lru_cache(maxsize=256)  # many mistakes begin with the right fit
def fitted(runs: tuple[Run, ...], *, floor: bool = True, of_logs: bool = True, loss: str = "linear") -> Law:
    """E + A/N^alpha + B/D^beta by least squares of ln loss, from two starts; N and D over their geometric means."""
    n, d, y = np.array(runs).T
    ln_n, ln_d = np.log(n), np.log(d)

    def residuals(theta: np.ndarray) -> np.ndarray:
        a, b, e, alpha, beta = theta
        of_n, of_d = a - alpha * (ln_n - ln_n.mean()), b - beta * (ln_d - ln_d.mean())
        predicted = np.logaddexp(np.logaddexp(of_n, of_d), e if floor else -np.inf)
        return predicted - np.log(y) if of_logs else np.exp(predicted.clip(max=50)) - y

    halves = [(math.log((1 - share) / 2 * y.min()), math.log(share * y.min())) for share in (0.5, 0.8)]
    starts = [(rest, rest, e, 0.3, 0.3) for rest, e in halves]
    options = {"x_scale": "jac", "xtol": 1e-10, "ftol": 1e-10, "gtol": 1e-10, "loss": loss, "f_scale": 1e-3}
    fits = [scipy.optimize.least_squares(residuals, start, **options) for start in starts]
    a, b, e, alpha, beta = min(fits, key=lambda fit: fit.cost).x.tolist()
    coefficients = math.exp(a + alpha * ln_n.mean()), math.exp(b + beta * ln_d.mean())
    return Law(math.exp(e) if floor else 0.0, *coefficients, alpha, beta)


# Forecasts that are not this one -------------------------------------------------------------------------------------


def without_floor(**how: object) -> Forecast:
    return lambda runs, flops: fitted(tuple(runs), floor=False, **how).best(flops)[2]


def from_law(make: Callable[[Law, list[Run], float], float]) -> Forecast:
    """From the right fit."""
    return lambda runs, flops: make(fitted(tuple(runs)), runs, flops)


def of_all(back: Callable[[float], float], loss: Callable[[np.ndarray], np.ndarray]) -> Forecast:
    """A straight line through all runs, good and bad."""

    def wrong(runs: list[Run], flops: float) -> float:
        n, d, y = np.array(runs).T
        return back(float(np.polyval(np.polyfit(np.log(6 * n * d), loss(y), 1), math.log(flops))))

    return wrong


def in_flops(runs: list[Run], flops: float) -> float:
    """The best losses as a straight line in C itself."""
    ln_c, loss = best_of_budgets(runs)
    return float(np.polyval(np.polyfit(np.exp(ln_c), loss, 1), flops))


def last_two(runs: list[Run], flops: float) -> float:
    """The line through the two largest budgets."""
    ln_c, loss = best_of_budgets(runs)
    return math.exp(np.polyval(np.polyfit(ln_c[-2:], np.log(loss[-2:]), 1), math.log(flops)))


def largest(runs: list[Run]) -> float:
    return max(6 * n * d for n, d, _ in runs)


def many(message: str, *forecasts: Forecast) -> list[Misconception]:
    return [Misconception(message, each) for each in forecasts]


CHINCHILLA = Law(1.69, 406.4, 410.7, 0.34, 0.28)  # arXiv:2203.15556 eq. 10

FORECAST = Exercise(
    name="forecast",
    points=4,
    lesson=Section("07_scaling_laws", "Bet, then look"),
    reference=forecast,
    cases=forecast_cases,
    closeness=Closeness(true_losses, guesses),
    mistakes=[
        *many(
            "This matches the best run so far, measured or fitted: a larger budget goes lower, so fit how losses fall.",
            best_run,
            from_law(lambda law, runs, flops: law.best(largest(runs))[2]),
        ),
        *many(
            "This matches a straight line in ln C: the loss falls ever more slowly, towards a floor E.",
            straight,
            of_all(float, np.asarray),
        ),
        *many("This matches a straight line in C: not even the logarithm of C makes the loss straight.", in_flops),
        *many(
            "This matches a power law of the loss in C without a floor, a straight line in logarithms: the loss does "
            "not fall to 0, so fit E as well.",
            straight_in_logs,
            last_two,
            of_all(math.exp, np.log),
        ),
        *many(
            "This matches A/N^alpha + B/D^beta without a floor: the loss does not fall to 0, so fit E as well.",
            without_floor(),
            without_floor(of_logs=False),
            without_floor(loss="huber"),
        ),
        *many(
            "This matches N D = flops: a parameter costs 6 FLOP per token, so N D = flops/6.",
            from_law(lambda law, runs, flops: law.best(6 * flops)[2]),
        ),
        *many(
            "This matches the 6 taken twice: N D = flops/6.",
            from_law(lambda law, runs, flops: law.best(flops / 6)[2]),
        ),
        *many(
            "This matches the floor E alone: at this budget A/N^alpha + B/D^beta come on top.",
            from_law(lambda law, runs, flops: law.E),
        ),
        *many(
            "This matches the loss without its floor: E is a part of it.",
            from_law(lambda law, runs, flops: law.best(flops)[2] - law.E),
        ),
        *many(
            "This matches the best run's model trained on more tokens: the best N grows with the budget too.",
            from_law(lambda law, runs, flops: on_more(law, runs, flops)),
        ),
        *many(
            "This matches a larger model on the best run's tokens: the best D grows with the budget too.",
            from_law(lambda law, runs, flops: made_larger(law, runs, flops)),
        ),
        *many(
            "This matches 20 tokens a parameter, a rule of thumb: what is best follows from the law of these runs.",
            from_law(lambda law, runs, flops: law.loss((flops / 120) ** 0.5, 20 * (flops / 120) ** 0.5)),
        ),
        *many(
            "This matches ln of the loss: turn it back with exp.",
            from_law(lambda law, runs, flops: math.log(law.best(flops)[2])),
        ),
        *many(
            "This matches the best number of parameters: the loss there is asked for.",
            from_law(lambda law, runs, flops: law.best(flops)[0]),
        ),
        *many(
            "This matches the best number of tokens: the loss there is asked for.",
            from_law(lambda law, runs, flops: law.best(flops)[1]),
        ),
        *many(
            "This matches Chinchilla's published law: these runs follow one of their own, so fit it.",
            lambda runs, flops: CHINCHILLA.best(flops)[2],
        ),
    ],
)


def on_more(law: Law, runs: list[Run], flops: float) -> float:
    n = min(runs, key=lambda run: run[2])[0]
    return law.loss(n, flops / 6 / n)


def made_larger(law: Law, runs: list[Run], flops: float) -> float:
    d = min(runs, key=lambda run: run[2])[1]
    return law.loss(flops / 6 / d, d)
