"""From small runs to a forecast: parabolas of equal compute, the line through their optima, carried further."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.quantity import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito; shapes say the same
SHAPES = ("o", "s", "^", "D", "v")
HELD = "#E69F00"
AXES = {"params": "N: parameters without embedding", "flops": "C: budget [FLOP]"}
Ends = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A training run."""

    params: float
    flops: float
    loss: float
    used: bool  # by the fits
    held: bool = False  # the one that the forecast is about
    ringed: bool = False  # the controls point at it


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One budget: its parabola, and its best size as measured by the way that is drawn."""

    flops: float
    line: Sequence[tuple[float, float]]  # N, loss
    optimum: Estimate  # N; NaN where there is none
    loss: float  # there


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to measure: what it says, or what is wrong."""

    name: str
    exponent: Estimate | None = None  # of N in C
    params: Estimate | None = None  # best at the forecast's budget
    loss: Estimate | None = None  # there
    line: Sequence[tuple[float, Estimate]] = ()  # FLOP, N
    points: Sequence[tuple[float, Estimate]] = ()  # FLOP, N, that the line goes through
    says: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ScalingPicture:
    """What the picture shows."""

    dots: Sequence[Dot]
    curves: Sequence[Curve]
    ways: Sequence[Way]
    drawn: int  # of the ways
    forecast_at: float  # FLOP
    loss_unit: str
    params_ends: Ends
    loss_ends: Ends
    flops_ends: Ends

    @property
    def way(self) -> Way:
        return self.ways[self.drawn]

    @property
    def held(self) -> Dot | None:
        """The best of the runs that were kept for the forecast, if they are shown."""
        return min((dot for dot in self.dots if dot.held), key=lambda dot: dot.loss, default=None)

    @property
    def budgets(self) -> list[float]:
        """FLOP."""
        return sorted({dot.flops for dot in self.dots if not dot.held})

    def look(self, flops: float) -> tuple[str, str]:
        """Colour and shape of a budget."""
        if flops not in self.budgets:
            return HELD, "*"
        place = self.budgets.index(flops)
        return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]

    @property
    def titles(self) -> tuple[str, str]:
        """Of the two panels: loss over size, best size over budget."""
        exponent = f": N ∝ C^{written(self.way.exponent)}" if self.way.exponent else ""
        return f"loss [{self.loss_unit}], one parabola a budget", f"best N by {self.way.name}{exponent}"

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: each way, then the run that was kept when it is shown."""
        held, at = self.held, f"{power(self.forecast_at)} FLOP"
        heads = ["measured by", "exponent a of N ∝ C^a", f"best N at {at}", f"loss there [{self.loss_unit}]"]
        rows = [[way.name, written(way.exponent), written(way.params), written(way.loss, 4)] for way in self.ways]
        if held is not None:
            heads.append("off the run there")
            for row, way in zip(rows, self.ways, strict=True):
                row.append("-" if way.loss is None else f"{way.loss.value / held.loss - 1:+.1%}")
            rows.append([f"the run at {at}", "", short(held.params), f"{held.loss:.4g}", ""])
        return heads, rows

    @property
    def note(self) -> str:
        """How to read the table."""
        exponents = [way.exponent for way in self.ways if way.exponent is not None and way.exponent.has_interval]
        kinds = "; ".join(dict.fromkeys(each.interval for each in exponents))
        floor = "Loss by vertices and by best runs: a straight line in logarithms, which knows no floor."
        return f"{floor} Intervals: {kinds}." if kinds else floor

    @property
    def says(self) -> list[str]:
        """All that a reader must know of what went wrong, once."""
        return list(dict.fromkeys(f"{way.name}: {words}" for way in self.ways for words in way.says))

    def reason(self, characters: int) -> list[str]:
        """Why the way that is drawn has no law, in lines of at most so many characters; nothing where it has one."""
        return [] if self.way.line else [line for words in self.way.says for line in wrap(words, characters)]

    @property
    def summary(self) -> str:
        """The picture in words."""
        used = [dot for dot in self.dots if dot.used]
        parts = [f"{len(used)} runs of {len({dot.flops for dot in used})} budgets are fitted"]
        way = self.way
        parts += [f"exponent {written(way.exponent)}", f"best N {written(way.params)}", f"loss {written(way.loss, 4)}"]
        words = "; ".join(parts) + f" at {power(self.forecast_at)} FLOP, by {way.name}"
        if self.held is not None:
            words += f"; the run there has N {short(self.held.params)}, loss {self.held.loss:.4g}"
        return ". ".join([words, *way.says])


def power(value: float) -> str:
    """A budget in few characters: 1e12, 3e12, 2.5e13."""
    digits, exponent = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def short(value: float) -> str:
    """A size in few characters: 950, 13.6k, 1.2M."""
    if not math.isfinite(value) or value >= 1e15:
        return "∞" if value > 0 else "-"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{float(f'{value / size:.3g}'):g}{letter}"
    return f"{value:.3g}"


def written(each: Estimate | None, digits: int = 3) -> str:
    """A value and its interval; sizes in few characters."""
    if each is None:
        return "-"

    def said(value: float) -> str:
        return short(value) if each.unit == "parameters" else f"{value:.{digits}g}".replace("inf", "∞")

    return said(each.value) + (f" ({said(each.low)} to {said(each.high)})" if each.has_interval else "")


def scaling_figure(picture: ScalingPicture) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    panels = figure.subplot_mosaic([["losses", "optima"], ["numbers", "numbers"]], height_ratios=(4, 1))
    _draw_losses(picture, panels["losses"])
    _draw_optima(picture, panels["optima"])
    for axes, title in zip(panels.values(), picture.titles, strict=False):
        axes.set_title(title, loc="left", fontsize=9.5)
        axes.spines[["top", "right"]].set_visible(False)
    heads, rows = picture.table
    panels["numbers"].set_axis_off()
    numbers = panels["numbers"].table(rows, colLabels=heads, loc="center", cellLoc="left", edges="horizontal")
    numbers.auto_set_font_size(False)
    numbers.set_fontsize(9)
    for (row, _), cell in numbers.get_celld().items():
        cell.get_text().set_fontweight("bold" if row == picture.drawn + 1 else "normal")
    return figure


def _draw_losses(picture: ScalingPicture, axes: Axes) -> None:
    for curve in picture.curves:
        tint, _ = picture.look(curve.flops)
        if curve.line:
            axes.plot(*zip(*curve.line, strict=True), color=tint, linewidth=1.2)
        low, high = _within(curve.optimum, picture.params_ends)
        axes.hlines(curve.loss, low, high, color=tint, linewidth=5, alpha=0.45)
        axes.plot(curve.optimum.value, curve.loss, "|", color=tint, markersize=14, markeredgewidth=2)
    for dot in picture.dots:
        tint, shape = picture.look(dot.flops)
        face = tint if dot.used or dot.held else "white"
        axes.plot(dot.params, dot.loss, shape, color=tint, markerfacecolor=face, markersize=13 if dot.held else 6)
    for flops in picture.budgets:
        tint, shape = picture.look(flops)
        axes.plot([], [], shape, color=tint, label=f"{power(flops)} FLOP")
    axes.legend(loc="lower left", frameon=False, fontsize=9)  # beside the curves, the forecast's line would cut names
    n, loss = picture.way.params, picture.way.loss
    if n is not None and loss is not None:
        axes.hlines(loss.value, *_within(n, picture.params_ends), color="0.6", linewidth=1)
        axes.vlines(n.value, *_within(loss, picture.loss_ends), color="0.6", linewidth=1)
        axes.plot(n.value, loss.value, "kx", markersize=9, markeredgewidth=2)
    axes.set(xscale="log", xlim=picture.params_ends, ylim=picture.loss_ends, xlabel=AXES["params"])


def _draw_optima(picture: ScalingPicture, axes: Axes) -> None:
    way = picture.way
    if way.line:
        budgets = [flops for flops, _ in way.line]
        axes.plot(budgets, [n.value for _, n in way.line], color="black", linewidth=1.4)
        axes.fill_between(budgets, [n.low for _, n in way.line], [n.high for _, n in way.line], color="0.5", alpha=0.25)
    for flops, n in way.points:
        tint, shape = picture.look(flops)
        axes.vlines(flops, *_within(n, picture.params_ends), color=tint, linewidth=5, alpha=0.45)
        axes.plot(flops, n.value, shape, color=tint)
    axes.text(0.5, 0.5, "\n".join(picture.reason(48)), transform=axes.transAxes, ha="center", va="center", fontsize=9)
    axes.axvline(picture.forecast_at, color="0.6", linestyle=":")
    if way.params is not None:
        axes.plot(picture.forecast_at, way.params.value, "kx", markersize=9, markeredgewidth=2)
    if (held := picture.held) is not None:
        axes.plot(held.flops, held.params, "*", color=HELD, markersize=13)
    axes.set(xscale="log", yscale="log", xlim=picture.flops_ends, ylim=picture.params_ends, xlabel=AXES["flops"])
    axes.set_ylabel(AXES["params"])
    axes.annotate("× forecast", (picture.forecast_at, picture.params_ends[0]), (-6, 6), textcoords="offset points",
                  ha="right", fontsize=9)  # fmt: skip


def _within(each: Estimate, ends: Ends) -> Ends:
    """Its interval, as far as the picture reaches; without one, no length."""
    low, high = (each.low, each.high) if each.has_interval else (each.value, each.value)
    return max(low, ends[0]), min(high, ends[1])
