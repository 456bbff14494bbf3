"""Fits on paper: lines in logarithms, parabolas of equal compute, exponents side by side, the plane of a law."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from course_lib.figures.scaling import COLOURS, SHAPES, power
from course_lib.fit_data import Column
from course_lib.isoflop import IsoflopFit, run_budgets
from course_lib.parametric import ParametricLaw
from course_lib.power_law import PowerLawFit
from course_lib.quantity import Estimate

PUBLISHED, OURS = "#666666", "#D55E00"
FAINT = 0.15  # opacity of bands
BAR, DIAMOND = 10, 6  # points: the bar of an interval is seen beside its vertex and behind a flat curve
Row = NDArray[np.float64]


def numbers(column: Column) -> Row:
    return np.array([float(value) for value in column])


def power_law_figure(
    laws: Mapping[str, tuple[Column, Column, PowerLawFit]], xlabel: str, ylabel: str, *, until: float | None = None
) -> Figure:
    """Measured (x, y) of each name with its line and the line's interval; below, how far each point is off its line.

    The line goes on, dashed, to x = `until`.
    """
    figure = Figure(figsize=(7.5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for (name, (x, y, fit)), colour, marker in zip(laws.items(), cycle(COLOURS), cycle(SHAPES)):
        points, ends = numbers(x), (min(numbers(x)), max(numbers(x)))
        a = fit.exponent
        kind = f" ({a.low:.3g} to {a.high:.3g})" if a.has_interval else ""
        upper.plot(points, numbers(y), marker, color=colour, label=f"{name}: exponent {a.value:.3g}{kind}")
        _line(upper, fit, np.geomspace(*ends, 60), colour, "-")
        if until is not None:
            _line(upper, fit, np.geomspace(ends[1], until, 60), colour, "--")
        lower.plot(points, 100 * np.expm1(numbers(fit.residuals)), marker, color=colour)
    lower.axhline(0, color="0.4", linewidth=0.8)
    upper.set(xscale="log", yscale="log", ylabel=ylabel)
    lower.set(xlabel=xlabel, ylabel="off the line [%]")
    for axis in (upper.yaxis, lower.xaxis):
        _plain(axis)
    upper.legend(frameon=False, fontsize=9)
    _open(upper, lower)
    return figure


def _plain(axis: Axis) -> None:
    """Small numbers in digits, at 1, 2, 4, 10, 20 and so on: a few measurements may pass but one power of ten."""
    low, high = axis.get_view_interval()
    if low > 1e-3 and high < 1e5:
        axis.set_major_locator(LogLocator(subs=(1, 2, 4)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, fit: PowerLawFit, x: Row, colour: str, style: str) -> None:
    at = [fit.at(float(value)) for value in x]
    axes.plot(x, [each.value for each in at], style, color=colour, linewidth=1.4)
    axes.fill_between(x, [each.low for each in at], [each.high for each in at], color=colour, alpha=FAINT, linewidth=0)


def parabola(params: Column, loss: Column) -> Callable[[Row], Row]:
    """The least-squares parabola of loss in ln N through the runs of one budget, to be drawn."""
    log_n = np.log(numbers(params))
    centre = log_n.mean()  # near 0, powers do not cancel
    coefficients = np.polyfit(log_n - centre, numbers(loss), 2)
    return lambda n: np.polyval(coefficients, np.log(n) - centre)


def isoflop_figure(
    flops: Column, params: Column, loss: Column, fit: IsoflopFit, *, ylabel: str = "loss [nats per byte]"
) -> Figure:
    """Loss over size, one parabola per budget; a diamond at each vertex, with its interval."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    budgets = numbers(run_budgets(flops, tolerance=fit.tolerance))
    n, y = numbers(params), numbers(loss)
    for optimum, colour, marker in zip(fit.optima, cycle(COLOURS), cycle(SHAPES)):
        mine = budgets == optimum.flops
        axes.plot(n[mine], y[mine], marker, color=colour, label=f"{power(optimum.flops)} FLOP")
        if optimum.sizes < 3:
            continue
        x = np.geomspace(n[mine].min() / 1.2, n[mine].max() * 1.2, 80)
        axes.plot(x, parabola(n[mine], y[mine])(x), color=colour, linewidth=1.4)
        if optimum.inside:
            _vertex(axes, optimum.params, optimum.loss, colour, (float(n.min()) / 2, float(n.max()) * 2))
    axes.set(xscale="log", xlabel="N: parameters without embedding", ylabel=ylabel)
    axes.plot([], [], "D-", color="0.8", linewidth=BAR, solid_capstyle="butt", markerfacecolor="white",
              markeredgecolor="black", markersize=DIAMOND, label="vertex, interval")  # fmt: skip
    axes.legend(frameon=False, fontsize=9)
    _open(axes)
    return figure


def _vertex(axes: Axes, params: Estimate, loss: float, colour: str, ends: tuple[float, float]) -> None:
    """An interval without end stops at the ends of the picture."""
    if params.has_interval:
        axes.hlines(loss, max(params.low, ends[0]), min(params.high, ends[1]), color=colour, linewidth=BAR, alpha=0.35)
    axes.plot(params.value, loss, "D", color="white", markeredgecolor=colour, markersize=DIAMOND, zorder=5)


def exponents_figure(
    exponents: Mapping[str, Estimate],
    *,
    ours: Collection[str] = (),
    xlabel: str = "a: optimal N grows as C^a",
    ends: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """One row a name, first on top; `ours` in another colour, and the interval of what has one."""
    figure = Figure(figsize=(8, 0.36 * len(exponents) + 1.1), layout="constrained")
    axes = figure.subplots()
    for row, (name, a) in enumerate(exponents.items()):
        colour, marker = (OURS, "D") if name in ours else (PUBLISHED, "o")
        text = f"{a.value:.3g}"
        if a.has_interval:
            axes.hlines(row, max(a.low, ends[0]), min(a.high, ends[1]), color=colour, linewidth=2)
            for end, beyond, arrow in ((ends[0], a.low < ends[0], "<"), (ends[1], a.high > ends[1], ">")):
                if beyond:
                    axes.plot(end, row, arrow, color=colour, clip_on=False)
            text += f" ({a.low:.2f} to {a.high:.2f})"
        axes.plot(a.value, row, marker, color=colour, clip_on=False)
        axes.annotate(text, (1, row), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=9, color=colour, annotation_clip=False)  # fmt: skip
    axes.axvline(0.5, color="0.4", linestyle=":", linewidth=1)
    axes.set_title("dotted: N and D grow alike", fontsize=9, loc="center", color="0.3")
    axes.set_yticks(range(len(exponents)), list(exponents))
    axes.set(xlim=ends, ylim=(len(exponents) - 0.5, -0.5), xlabel=xlabel)
    _open(axes)
    return figure


def contour_figure(
    law: ParametricLaw, params: Column, tokens: Column, loss: Column, budgets: Sequence[float], *,
    token: str = "byte",
) -> Figure:  # fmt: skip
    """The law over N and D, dark where the loss is low, and runs as dots in the colour of what was measured.

    A dot that stands out is a run that the law misses. Budgets are C = 6ND [FLOP]. `token` says what a token is here.
    """
    n, d, y = (numbers(column) for column in (params, tokens, loss))
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.subplots()
    best = [law.allocation(budget) for budget in budgets]
    x_ends = min(n.min(), best[0][0]) / 1.6, max(n.max(), best[-1][0]) * 1.6
    y_ends = min(d.min(), best[0][1]) / 1.6, max(d.max(), best[-1][1]) * 1.6
    grid_n, grid_d = np.meshgrid(np.geomspace(*x_ends, 80), np.geomspace(*y_ends, 80))
    field = numbers(law.loss(grid_n.ravel(), grid_d.ravel())).reshape(grid_n.shape)
    levels = np.geomspace(min(field.min(), y.min()), max(field.max(), y.max()), 16)
    drawn = axes.contourf(grid_n, grid_d, field, levels, cmap="cividis")
    axes.contour(grid_n, grid_d, field, levels, colors="white", linewidths=0.4)
    halo = [withStroke(linewidth=4, foreground="white")]  # a dot may have the very colour below it
    axes.scatter(n, d, c=drawn.to_rgba(y), edgecolors="black", s=100, linewidths=1, zorder=4, path_effects=halo)
    axes.plot(*zip(*best, strict=True), color="white", linewidth=2)
    lines = axes.contour(grid_n, grid_d, 6 * grid_n * grid_d, budgets, colors="white", linestyles="--", linewidths=1)
    axes.set(xscale="log", yscale="log", xlim=x_ends, ylim=y_ends)
    names = {budget: f"{power(budget)} FLOP" for budget in budgets}
    for name in axes.clabel(lines, fmt=names, fontsize=8, inline=False):  # needs the scales
        name.set(text=f"{name.get_text()}\n", va="bottom", rotation_mode="anchor")  # above the line, or dots hide it
    axes.set(xlabel="N: parameters without embedding", ylabel=f"D: {token}s trained on")
    axes.set_title("solid: best N and D of each budget; dashed: budgets; dots: runs, as measured", fontsize=9)
    figure.colorbar(drawn, label=f"loss [nats per {token}]", format="%.2f")
    return figure


def _open(*panels: Axes) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
