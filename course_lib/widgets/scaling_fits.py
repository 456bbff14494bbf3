"""What the scaling explorer draws, from a table of runs and a choice among them; own functions where there are any."""

import math
import reprlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from course_lib.figures.fits import parabola
from course_lib.figures.scaling import Curve, Way, power
from course_lib.isoflop import IsoflopOptimum, isoflop_optima
from course_lib.parametric import fit_parametric
from course_lib.power_law import fit_power_law
from course_lib.quantity import Estimate
from course_lib.scaling_data import Table

RESAMPLES = 200  # of the parametric law: a fortieth of a second more than none
DRAWS = 400  # for a bootstrap of one's own, which may well be a loop
LEVEL = 0.95


class NonsenseError(Exception):
    """A function of one's own that raised, or gave what cannot be drawn."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """Functions that take the place of the course's; None: the course's."""

    fit_power_law: Callable[..., Any] | None = None  # (x, y) -> (coefficient, exponent)
    isoflop_optimum: Callable[..., Any] | None = None  # (params, loss) -> N
    bootstrap_interval: Callable[..., Any] | None = None  # (x, y, draws, level) -> (low, high)
    forecast: Callable[..., Any] | None = None  # (runs, flops) -> loss

    def ask(self, name: str, wanted: str, fits: Callable[[list[float]], bool], *inputs: Any) -> list[float]:
        """The numbers that the function of that name gives for copies of the inputs.

        Raises:
            NonsenseError: it raised, or gave something else than `wanted`.
        """
        function = getattr(self, name)
        inputs = tuple(each.clone() if isinstance(each, Tensor) else each for each in inputs)
        try:
            answer = function(*inputs)
        except NotImplementedError:
            raise NonsenseError(f"your {name} is not written yet") from None
        except BaseException as error:  # whatever it is, an interrupt too, the widget lives on
            raise NonsenseError(f"your {name} raised {_told(error, function)}") from None
        found = _numbers(answer)
        if found is None or not fits(found):
            raise NonsenseError(f"your {name} gave {reprlib.repr(answer)}; wanted {wanted}")
        return found


def _told(error: BaseException, function: Callable[..., Any]) -> str:
    """In words, and where in the function."""
    words = " ".join("".join(traceback.format_exception_only(error)).split())
    source = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    return words[:300] + (f" (in line {lines[-1]} of its cell)" if lines else "")


def _numbers(answer: Any) -> list[float] | None:
    """Of a number, or of a row of them."""
    try:
        values = [answer] if np.ndim(answer) == 0 else list(answer)
        return None if any(isinstance(value, (str, bytes)) for value in values) else [float(value) for value in values]
    except (TypeError, ValueError, RuntimeError):
        return None


def _positive(found: list[float]) -> bool:
    return len(found) == 1 and 0 < found[0] < math.inf


def quick_fits(table: Table, keep: Bool[Tensor, " n"], flops: float, own: Own) -> tuple[list[Way], list[list[Curve]]]:
    """By vertices and by best runs: the laws carried to `flops`, and the curves of each budget."""
    runs = table.rows(keep)
    if not len(runs):
        return [Way(name=name, says=("No run is left.",)) for name in ("vertices", "best runs")], [[], []]
    optima = isoflop_optima(runs.flops, runs.params, runs.loss, level=LEVEL).optima
    vertices, said = [], {}
    for optimum in optima:
        curve, problem = _vertex(optimum, runs.rows(runs.flops == optimum.flops), own)
        vertices.append(curve)
        said.setdefault(problem, []).append(power(optimum.flops))
    says = [f"{problem} ({', '.join(budgets)} FLOP)" for problem, budgets in said.items() if problem]
    best = [
        replace(curve, optimum=Estimate(value=each.best_run, unit="parameters"), loss=each.best_loss)
        for curve, each in zip(vertices, optima, strict=True)
    ]
    drawn = [curve for curve in vertices if math.isfinite(curve.optimum.value)]
    compared = [curve for curve, each in zip(best, optima, strict=True) if each.sizes > 1]
    alone = [power(each.flops) for each in optima if each.sizes == 1]
    lacks = [f"1 size: there is nothing to compare. ({', '.join(alone)} FLOP)"] if alone else []
    return [_way("vertices", drawn, flops, own, says), _way("best runs", compared, flops, own, lacks)], [vertices, best]


def _vertex(optimum: IsoflopOptimum, runs: Table, own: Own) -> tuple[Curve, str]:
    """The parabola of a budget with its vertex, NaN where a law cannot use it; and what is wrong."""
    n, none = runs.params.tolist(), Estimate(value=math.nan, unit="parameters")
    curve = Curve(flops=optimum.flops, line=(), optimum=none, loss=math.nan)
    if optimum.sizes < 3:
        return curve, optimum.params.message
    height = parabola(runs.params, runs.loss)
    x = np.geomspace(min(n) / 1.25, max(n) * 1.25, 60)
    curve = replace(curve, line=list(zip(x.tolist(), height(x).tolist(), strict=True)))
    if own.isoflop_optimum is None:
        found = optimum.params if optimum.inside else none
        return replace(curve, optimum=found, loss=optimum.loss), optimum.params.message
    try:
        (size,) = own.ask("isoflop_optimum", "N, one number above 0", _positive, runs.params, runs.loss)
    except NonsenseError as error:
        return curve, f"{error}."
    if not min(n) < size < max(n):
        return curve, f"your isoflop_optimum gave {size:.4g}, which is not between the sizes tried."
    found = Estimate(value=size, unit="parameters")
    return replace(curve, optimum=found, loss=float(height(np.array(size)))), ""


def _way(name: str, curves: Sequence[Curve], flops: float, own: Own, says: Sequence[str]) -> Way:
    points = [(curve.flops, curve.optimum) for curve in curves]
    empty = Way(name=name, points=points, says=says)
    if len(points) < 3:
        needs = f"A law needs 3 budgets with a best N; here are {len(points)}."
        return replace(empty, says=[*says, needs])
    rows = ([c for c, _ in points], [n.value for _, n in points], [curve.loss for curve in curves])
    budgets, sizes, losses = (torch.tensor(row, dtype=torch.float64, device="cpu") for row in rows)
    try:
        exponent, size = _law(budgets, sizes, own)
        _, loss = _law(budgets, losses, own)
    except (NonsenseError, ValueError) as error:
        return replace(empty, says=[*says, f"{error}."])
    says = [*says]
    if own.bootstrap_interval is not None:
        try:
            exponent = _bootstrapped(exponent, budgets, sizes, own)
        except NonsenseError as error:
            says.append(f"{error}.")
    line = [(c, size(c)) for c in np.geomspace(float(budgets.min()), flops, 24).tolist()]
    n = replace(size(flops), unit="parameters")
    return replace(empty, exponent=exponent, params=n, loss=loss(flops), line=line, says=says)


def _law(x: Tensor, y: Tensor, own: Own) -> tuple[Estimate, Callable[[float], Estimate]]:
    """The exponent, and the law at any budget."""
    if own.fit_power_law is None:
        fit = fit_power_law(x, y, level=LEVEL)
        return fit.exponent, fit.at
    wanted = "(coefficient, exponent), two finite numbers, the first above 0"

    def fits(found: list[float]) -> bool:
        return len(found) == 2 and 0 < found[0] < math.inf and math.isfinite(found[1])

    coefficient, exponent = own.ask("fit_power_law", wanted, fits, x, y)
    return Estimate(value=exponent), partial(_at, coefficient, exponent)


def _at(coefficient: float, exponent: float, flops: float) -> Estimate:
    log = math.log(coefficient) + exponent * math.log(flops)
    return Estimate(value=math.exp(log) if abs(log) < 700 else math.inf if log > 0 else 0.0)


def _bootstrapped(exponent: Estimate, x: Tensor, y: Tensor, own: Own) -> Estimate:
    """With the interval that a bootstrap of one's own gives for resamples that have a slope."""
    draws = torch.randint(len(x), (DRAWS, len(x)), generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    draws = draws[x[draws].amax(1) > x[draws].amin(1)]

    def fits(found: list[float]) -> bool:
        return len(found) == 2 and -math.inf < found[0] <= found[1] < math.inf

    wanted = "(low, high), two finite numbers, the lower first"
    low, high = own.ask("bootstrap_interval", wanted, fits, x, y, draws, LEVEL)
    return replace(exponent, low=low, high=high, interval=f"{LEVEL:.0%} bootstrap, yours")


def slow_fits(table: Table, keep: Bool[Tensor, " n"], flops: float, own: Own) -> list[Way]:
    """By the parametric law, and by a forecast of one's own."""
    runs = table.rows(keep)
    ways = [_parametric(runs, flops)]
    if own.forecast is not None:
        triples = list(zip(*(column.tolist() for column in (runs.params, runs.tokens, runs.loss)), strict=True))
        try:
            (loss,) = own.ask("forecast", "a loss, one number above 0", _positive, triples, flops)
            ways.append(Way(name="your forecast", loss=Estimate(value=loss)))
        except NonsenseError as error:
            ways.append(Way(name="your forecast", says=(f"{error}.",)))
    return ways


def _parametric(runs: Table, flops: float) -> Way:
    name = "parametric law"
    try:
        fit = fit_parametric(runs.params, runs.tokens, runs.loss, resamples=RESAMPLES, level=LEVEL)
        best = fit.allocation(flops)
        line = [(c, fit.allocation(c).params) for c in np.geomspace(float(runs.flops.min()), flops, 12).tolist()]
    except ValueError as error:
        return Way(name=name, says=(f"{error}.",))
    says = (fit.message,) if fit.message else ()
    return Way(name=name, exponent=fit.a, params=best.params, loss=best.loss, line=line, says=says)
