"""Who gets the tokens while a model trains: load, MaxVio, loss and balance biases over the steps."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from course_lib.figures.svg import HALO, LINE, drawing, fitted, paragraph, swatch, text
from course_lib.quantity import counted

# Load in fair shares: blue gets too little, grey about its share, orange too much. Blue and orange differ for the
# colour-blind too, and both darken with the distance from a fair share.
CLASSES = {
    "#08306b": "< 1/8", "#2171b5": "1/8", "#6baed6": "1/4", "#c6dbef": "1/2",
    "#eeeeee": "fair", "#fdd0a2": "1.25", "#f16913": "2", "#8c2d04": "> 4",
}  # fmt: skip
BOUNDS = (1 / 8, 1 / 4, 1 / 2, 0.8, 1.25, 2, 4)  # between one class and the next
LEGEND = "in fair shares: blue too few tokens, grey 0.8 to 1.25, orange too many"
NOTHING = "nothing trained yet: press Train"
LAYERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito
COLUMNS = 60  # at most; steps that share one are averaged

BODY = 324  # px: end of the panels
LOADS, CHARTS = 66, 46  # px: where heat maps and charts begin

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
            return f"None of {counted(self.steps, 'step')} trained yet"
        last = zip(self.layers, self.binned(self.max_violation)[-1], self.shares[-1], strict=True)
        layers = "; ".join(
            f"{name}: MaxVio {violation:.2f}, the busiest expert has {share.max():.2f} and the idlest "
            f"{share.min():.2f} of a fair share"
            for name, violation, share in last
        )
        return (
            f"After {len(self.loss)} of {counted(self.steps, 'step')}: loss {self.binned(self.loss)[-1]:.2f}. {layers}"
        )


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
            f"worst possible: {picture.worst:.3g}", picture.layers,
        ),
        Chart(
            "loss [nats per byte]", [loss[:, None]], (0, max(6, float(loss.max(initial=0)))), picture.floor,
            "" if picture.floor is None else f"floor of the text: {picture.floor:.2f}", colours=("#888888",),
        ),
        Chart("balance biases, one line per expert", [bias[:, i] for i in layers], (-reach, reach), 0),
    ]  # fmt: skip


def balance_html(picture: BalancePicture) -> str:
    """The picture for a page of any width: the loads speak for both."""
    pieces = ((loads_svg, picture.summary, (290, 400, 470)), (charts_svg, "", (290, 400)))
    return '<div style="display:flex;flex-wrap:wrap;align-items:flex-start">' + "".join(
        f'<div style="flex:1 1 {0.88 * widths[-1]:.0f}px;min-width:0;max-width:{widths[-1]}px">'
        f"{fitted(partial(draw, picture), said, widths)}</div>"
        for draw, said, widths in pieces
    ) + "</div>"  # fmt: skip


def loads_svg(picture: BalancePicture, width: int) -> str:
    """One frame per layer, in which each expert has a row and some steps share a column."""
    across, height, parts = width - LOADS - 2, BODY / len(picture.layers) - 26, []
    for layer, name in enumerate(picture.layers):
        top, row = BODY / len(picture.layers) * layer + 18, height / picture.experts
        first, last = (middle + 4 for middle in (top + row / 2, top + height - row / 2))  # px: where names stand
        box = f'x="{LOADS}" y="{top:.1f}" width="{across}" height="{height:.1f}"'
        parts += [
            text(0, top - 5, f"{name}: load of its experts", style="font-weight:bold"),
            text(LOADS - 6, max(first, top + 12), "expert 0", anchor="end"),
            text(LOADS - 6, last, f"{picture.experts - 1}", anchor="end"),
        ]
        if picture.loss:
            parts.append(_heat_map(picture, layer, top, across, height))
        parts.append(f'<rect {box} fill="none" stroke="#888"/>')
    if not picture.loss:
        parts += paragraph(LOADS + 8, 50, NOTHING, across - 16)[0]
    keys, y = _classes(width, BODY + 32)
    words, y = paragraph(0, y, LEGEND, width)
    return drawing(width, y - 8, [*parts, _axis(LOADS, across, picture.steps), *keys, *words])


def _heat_map(picture: BalancePicture, layer: int, top: float, across: float, height: float) -> str:
    """A pixel per cell, stretched; the last column may cover fewer steps than the others, and is cut there."""
    classes = np.digitize(picture.shares[:, layer], BOUNDS).T
    done, columns = len(picture.loss), classes.shape[1]
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in CLASSES], dtype=np.uint8)
    png = BytesIO()
    imsave(png, colours[classes], format="png")
    data = b64encode(png.getvalue()).decode()
    return (
        f'<svg x="{LOADS}" y="{top:.1f}" width="{across * done / picture.steps:.2f}" height="{height:.1f}" '
        f'viewBox="0 0 {done} 1" preserveAspectRatio="none" overflow="hidden"><image class="load" '
        f'width="{columns * picture.bin}" height="1" preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{data}"/></svg>'
    )


def _axis(left: float, width: float, steps: int) -> str:
    return text(left, BODY + 8, "step 0") + text(left + width, BODY + 8, f"{steps}", anchor="end")


def _classes(width: int, y: float) -> tuple[list[str], float]:
    """The colours in rows of equal steps, and the `y` below."""
    per_row = len(CLASSES) if width > 58 * len(CLASSES) else len(CLASSES) // 2
    step = width / per_row
    parts = [
        f'<g transform="translate({step * (i % per_row):.0f} {y - 11 + LINE * (i // per_row)})">{swatch(colour)}'
        f"{text(19, 11, words)}</g>"
        for i, (colour, words) in enumerate(CLASSES.items())
    ]
    return parts, y + LINE * len(CLASSES) / per_row


def charts_svg(picture: BalancePicture, width: int) -> str:
    """MaxVio, loss and biases, one below the other."""
    across, height = width - CHARTS - 2, BODY / 3 - 26
    parts = [_axis(CHARTS, across, picture.steps)]
    for i, chart in enumerate(charts(picture)):
        parts += _chart(picture, chart, top=BODY / 3 * i + 18, across=across, height=height)
    return drawing(width, BODY + 14, parts)


def _chart(picture: BalancePicture, chart: Chart, *, top: float, across: float, height: float) -> list[str]:
    low, high = chart.limits

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    named = zip(chart.names, chart.groups, chart.colours, strict=False) if picture.loss else ()
    legend = "".join(
        f'<tspan fill="{colour}" dx="10">▬</tspan><tspan dx="4">{escape(name)}: {group[-1, 0]:.2f}</tspan>'
        for name, group, colour in named
    )
    parts = [
        f'<text y="{top - 5:.0f}"><tspan font-weight="bold">{chart.title}</tspan>{legend}</text>',
        f'<rect x="{CHARTS}" y="{top:.1f}" width="{across}" height="{height:.1f}" fill="none" stroke="#888"/>',
        *(text(CHARTS - 5, y(end) + 4, f"{end:.2g}", anchor="end") for end in chart.ends),
    ]
    for group, colour in zip(chart.groups, chart.colours, strict=False):
        edges = picture.edges(len(group))
        x = CHARTS + across / picture.steps * (edges[1:] + edges[:-1]) / 2
        lines = ["L".join(f"{a:.1f} {y(b):.1f}" for a, b in zip(x, line, strict=True)) for line in group.T]
        path = "".join("M" + line for line in lines if line)
        stroke = 1 if group.shape[1] > 1 else 2
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>')
    if chart.mark is not None:
        at = y(chart.mark)
        parts += [
            f'<path d="M{CHARTS} {at:.1f}h{across}" stroke="currentColor" stroke-dasharray="5 4"/>',
            text(CHARTS + across - 4, at - 5, chart.words, anchor="end", style=HALO),
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
