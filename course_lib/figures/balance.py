"""Who gets the tokens while a model trains: load, MaxVio, loss and balance biases over the steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Load in fair shares: blue gets too little, grey about its share, orange too much. Blue and orange differ for the
# colour-blind too, and both darken with the distance from a fair share.
CLASSES = {
    "#08306b": "< 1/8", "#2171b5": "1/8", "#6baed6": "1/4", "#c6dbef": "1/2",
    "#eeeeee": "fair", "#fdd0a2": "1.25", "#f16913": "2", "#8c2d04": "> 4",
}  # fmt: skip
BOUNDS = (1 / 8, 1 / 4, 1 / 2, 0.8, 1.25, 2, 4)  # between one class and the next
LEGEND = "in fair shares: blue too few tokens, grey 0.8 to 1.25, orange too many"
LAYERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito
COLUMNS = 60  # at most; steps that share one are averaged

BODY, BOTTOM = 324, 376  # px: end of the panels, end of the picture
LOADS, PANEL, CHARTS, CHART = 66, 404, 46, 350  # px: where heatmaps and charts begin, how wide they are
HALO = "paint-order:stroke;stroke:var(--jp-layout-color0,Canvas);stroke-width:4px"  # keeps lines off the letters

HIDDEN = 'aria-hidden="true"'  # the first picture says all in words

Lines = NDArray[np.float64]  # column, line


@dataclass(frozen=True, kw_only=True)
class BalancePicture:
    """A training as far as it went."""

    layers: Sequence[str]  # names of those with experts
    experts: int
    top_k: int
    steps: int  # planned
    load: Sequence[Sequence[Sequence[int]]] = ()  # step, layer, expert: tokens
    max_violation: Sequence[Sequence[float]] = ()  # step, layer
    bias: Sequence[Sequence[Sequence[float]]] = ()  # step, layer, expert
    loss: Sequence[float] = ()  # nats per byte
    floor: float | None = None  # that no model beats on average

    @property
    def bin(self) -> int:
        """Steps to a column."""
        return -(-self.steps // COLUMNS)

    @property
    def worst(self) -> float:
        """MaxVio when all tokens choose the same `top_k` experts."""
        return max(self.experts / self.top_k - 1, 0)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Column, layer, expert: load in fair shares."""
        load = self.binned(self.load)
        return load / load.mean(-1, keepdims=True)

    def binned(self, values: Sequence[object]) -> NDArray[np.float64]:
        """Means over the steps of each column."""
        array = np.asarray(values, dtype=float)
        return np.stack([array[start : start + self.bin].mean(0) for start in range(0, len(array), self.bin)])

    def edges(self, columns: int) -> NDArray[np.float64]:
        """Steps at which columns begin and end."""
        return np.minimum(np.arange(columns + 1.0) * self.bin, len(self.loss))

    @property
    def summary(self) -> str:
        """The picture in words."""
        if not self.loss:
            return f"No step of {self.steps} trained yet"
        last = zip(self.layers, self.binned(self.max_violation)[-1], self.shares[-1], strict=True)
        layers = "; ".join(
            f"{name}: MaxVio {violation:.2f}, the busiest expert has {share.max():.2f} and the idlest "
            f"{share.min():.2f} of a fair share"
            for name, violation, share in last
        )
        return f"After {len(self.loss)} of {self.steps} steps: loss {self.binned(self.loss)[-1]:.2f}. {layers}"


@dataclass(frozen=True)
class Chart:
    """One panel of lines, each group of them in the colour of a layer."""

    title: str
    groups: Sequence[Lines]
    ends: tuple[float, float]  # of the axis, which goes on a little for the words
    mark: float | None = None  # dashed, with words
    words: str = ""
    names: Sequence[str] = ()  # of the groups, where the chart is to say them
    colours: Sequence[str] = LAYERS

    @property
    def limits(self) -> tuple[float, float]:
        low, high = self.ends
        return low * 1.1, high + 0.3 * (high - low)


def charts(picture: BalancePicture) -> list[Chart]:
    """MaxVio, loss and biases."""
    violation, bias, loss = (
        picture.binned(values) if picture.loss else np.zeros((0, *shape))
        for values, shape in (
            (picture.max_violation, (len(picture.layers),)),
            (picture.bias, (len(picture.layers), picture.experts)),
            (picture.loss, ()),
        )
    )
    layers = range(len(picture.layers))
    reach = max(float(np.abs(bias).max(initial=0)), 0.01)
    return [
        Chart(
            "MaxVio", [violation[:, [i]] for i in layers], (0, max(picture.worst, 1)), picture.worst,
            f"worst: {picture.worst:.3g}, one expert has every token", picture.layers,
        ),
        Chart(
            "loss [nats per byte]", [loss[:, None]], (0, max(6, float(loss.max(initial=0)))), picture.floor,
            "" if picture.floor is None else f"floor of the text: {picture.floor:.2f}", colours=("#888888",),
        ),
        Chart("balance biases, one line an expert", [bias[:, i] for i in layers], (-reach, reach), 0),
    ]  # fmt: skip


def balance_svg(picture: BalancePicture) -> str:
    """The picture as SVG text, in the text colour of the page it stands on."""
    loads = [*_heatmaps(picture), _axis(LOADS, PANEL, picture.steps), *_legend()]
    lines = [_axis(CHARTS, CHART, picture.steps)]
    height = BODY / 3 - 26
    for i, chart in enumerate(charts(picture)):
        lines += _chart(picture, chart, top=BODY / 3 * i + 18, height=height)
    said = f'role="img" aria-label="{escape(picture.summary)}"'
    return (
        '<div style="display:flex;flex-wrap:wrap;align-items:flex-start">'
        f"{_svg(said, LOADS + PANEL + 10, loads)}{_svg(HIDDEN, CHARTS + CHART + 4, lines)}</div>"
    )


def _svg(said: str, width: float, parts: Sequence[str]) -> str:
    """As wide as it is, if the page is; two of them go below each other where it is not."""
    return (
        f'<svg {said} viewBox="0 0 {width} {BOTTOM}" fill="currentColor" '
        f'style="flex:1 1 {width - 20}px;max-width:{width}px;font:12px sans-serif">{"".join(parts)}</svg>'
    )


def _heatmaps(picture: BalancePicture) -> list[str]:
    """One frame a layer; cells of one class share a path, and neighbours in time a rectangle of it."""
    height, parts = BODY / len(picture.layers) - 26, []
    classes = np.digitize(picture.shares, BOUNDS) if picture.loss else np.zeros((0, len(picture.layers), 0), int)
    x = LOADS + PANEL / picture.steps * picture.edges(len(classes))
    for layer, name in enumerate(picture.layers):
        top, row = BODY / len(picture.layers) * layer + 18, height / picture.experts
        first, last = (middle + 4 for middle in (top + row / 2, top + height - row / 2))  # px: where names stand
        parts += [
            f'<text x="{LOADS}" y="{top - 5:.0f}" font-weight="bold">{escape(name)}: load of its experts</text>',
            f'<rect x="{LOADS}" y="{top:.1f}" width="{PANEL}" height="{height:.1f}" fill="none" stroke="#888"/>',
            f'<text x="{LOADS - 6}" y="{first:.1f}" text-anchor="end">expert 0</text>',
            f'<text x="{LOADS - 6}" y="{last:.1f}" text-anchor="end">{picture.experts - 1}</text>',
        ]
        paths = {colour: "" for colour in CLASSES}
        for expert, cells in enumerate(classes[:, layer].T):
            starts = [0, *(np.flatnonzero(np.diff(cells)) + 1), len(cells)]
            for start, end in pairwise(starts):
                colour = list(CLASSES)[cells[start]]
                paths[colour] += f"M{x[start]:.1f} {top + row * expert:.1f}H{x[end]:.1f}v{row:.1f}H{x[start]:.1f}z"
        parts += [
            f'<path fill="{colour}" d="{path}" shape-rendering="crispEdges"/>' for colour, path in paths.items() if path
        ]
    if not picture.loss:
        parts.append(f'<text x="{LOADS + 12}" y="50">nothing trained yet: run the cell with .run() in it</text>')
    return parts


def _axis(left: float, width: float, steps: int) -> str:
    return (
        f'<text x="{left}" y="{BODY + 8}">step 0</text>'
        f'<text x="{left + width}" y="{BODY + 8}" text-anchor="end">{steps}</text>'
    )


def _legend() -> list[str]:
    step, top = (PANEL + LOADS) / len(CLASSES), BODY + 18
    swatches = [
        f'<rect x="{step * i:.0f}" y="{top}" width="14" height="12" fill="{colour}" stroke="#888"/>'
        f'<text x="{step * i + 18:.0f}" y="{top + 11}">{escape(words)}</text>'
        for i, (colour, words) in enumerate(CLASSES.items())
    ]
    return [*swatches, f'<text x="0" y="{top + 28}">{LEGEND}</text>']


def _chart(picture: BalancePicture, chart: Chart, *, top: float, height: float) -> list[str]:
    low, high = chart.limits

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    named = zip(chart.names, chart.groups, chart.colours, strict=False) if picture.loss else ()
    legend = "".join(
        f'<tspan fill="{colour}" dx="10">▬</tspan><tspan dx="4">{escape(name)}: {group[-1, 0]:.2f}</tspan>'
        for name, group, colour in named
    )
    parts = [
        f'<text x="{CHARTS}" y="{top - 5:.0f}"><tspan font-weight="bold">{chart.title}</tspan>{legend}</text>',
        f'<rect x="{CHARTS}" y="{top:.1f}" width="{CHART}" height="{height:.1f}" fill="none" stroke="#888"/>',
        *(f'<text x="{CHARTS - 5}" y="{y(end) + 4:.0f}" text-anchor="end">{end:.2g}</text>' for end in chart.ends),
    ]
    for group, colour in zip(chart.groups, chart.colours, strict=False):
        edges = picture.edges(len(group))
        x = CHARTS + CHART / picture.steps * (edges[1:] + edges[:-1]) / 2
        lines = ["L".join(f"{a:.1f} {y(b):.1f}" for a, b in zip(x, line, strict=True)) for line in group.T]
        path = "".join("M" + line for line in lines if line)
        width = 1 if group.shape[1] > 1 else 2
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    if chart.mark is not None:
        at = y(chart.mark)
        parts += [
            f'<path d="M{CHARTS} {at:.1f}h{CHART}" stroke="currentColor" stroke-dasharray="5 4"/>',
            f'<text x="{CHARTS + CHART - 4}" y="{at - 5:.1f}" text-anchor="end" style="{HALO}">{chart.words}</text>',
        ]
    return parts


def balance_figure(picture: BalancePicture) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1.15, 1)))
    _draw_loads(picture, list(np.atleast_1d(left.subplots(len(picture.layers), 1, sharex=True))))
    panels = right.subplots(3, 1, sharex=True)
    for axes, chart in zip(panels, charts(picture), strict=True):
        _draw_chart(picture, chart, axes)
    panels[-1].set_xlabel("step")
    return figure


def _draw_loads(picture: BalancePicture, panels: list[Axes]) -> None:
    colours, norm = ListedColormap(list(CLASSES)), BoundaryNorm([0, *BOUNDS, np.inf], len(CLASSES))
    for layer, (axes, name) in enumerate(zip(panels, picture.layers, strict=True)):
        axes.set_title(f"{name}: load of its experts", loc="left", fontsize=11)
        axes.set(ylabel="expert", xlim=(0, picture.steps))
        axes.set_ylim(picture.experts - 0.5, -0.5)
        axes.locator_params(axis="y", integer=True)
        if picture.loss:
            shares = picture.shares[:, layer].T
            rows = np.arange(picture.experts + 1) - 0.5  # ticks stand at the middle of rows
            axes.pcolormesh(picture.edges(shares.shape[1]), rows, shares, cmap=colours, norm=norm)
    panels[-1].set_xlabel("step")
    swatches = [panels[0].plot([], [], "s", color=colour, markeredgecolor="0.5")[0] for colour in CLASSES]
    figure = panels[0].get_figure()
    if figure is not None:
        figure.legend(
            swatches, list(CLASSES.values()), loc="outside lower center", ncols=len(CLASSES), frameon=False,
            fontsize=8, handletextpad=0, columnspacing=0.9,
            title="in fair shares: blue too few tokens, grey about fair, orange too many", title_fontsize=8,
        )  # fmt: skip


def _draw_chart(picture: BalancePicture, chart: Chart, axes: Axes) -> None:
    axes.set(xlim=(0, picture.steps), ylim=chart.limits)
    axes.set_title(chart.title, loc="left", fontsize=11)
    for group, colour in zip(chart.groups, chart.colours, strict=False):
        edges = picture.edges(len(group))
        axes.plot((edges[1:] + edges[:-1]) / 2, group, color=colour, linewidth=0.7 if group.shape[1] > 1 else 1.8)
    if chart.mark is not None:
        axes.axhline(chart.mark, color="black", linestyle="--", linewidth=0.8)
        axes.annotate(
            chart.words, (picture.steps, chart.mark), (-4, 4),
            textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
    if chart.names:
        place = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": len(chart.names), "frameon": False}
        axes.legend(axes.lines[: len(chart.names)], chart.names, fontsize=8, **place)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
