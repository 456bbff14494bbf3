"""Engineering in pictures: errors of eight-bit products, pipelines as Gantt charts, nodes that tokens visit."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from course_lib.pipeline import Span, idle

# Okabe and Ito; a backward is orange, its two halves are lighter
WORK = {"F": "#0072B2", "B": "#D55E00", "I": "#E69F00", "W": "#F0E442"}
OUTLINE = "black"  # of work that goes in DualPipe's second direction
WORDS = {"F": "forward", "B": "backward", "I": "backward, input only", "W": "backward, weights only"}
LINES = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00")


def precision_figure(
    factors: Sequence[float], curves: Mapping[str, Sequence[float]], channels: Mapping[str, Sequence[float]], tile: int
) -> Figure:
    """Left: error of a product against the size of the outliers, one line a format. Right: error of each channel."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(curves, LINES, strict=False))
    for name, errors in curves.items():
        style = "o-" if "tile" in name else "s--"
        left.loglog(factors, errors, style, color=colours[name], label=name, markersize=4)
    left.axhline(1, color="0.7", linewidth=0.8)
    left.set(xlabel="outlier channels are so many times larger", ylabel="relative error, ordinary channels")
    left.set_ylim(8e-3, 15)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    for name, errors in channels.items():
        right.semilogy(errors, ".", color=colours[name], label=name, markersize=2)
    width = max(len(errors) for errors in channels.values())
    for edge in range(0, width + 1, tile):
        right.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
    right.set(xlabel=f"channel; grey lines part tiles of {tile}", ylabel="relative error of its numbers")
    right.set(xlim=(0, width), ylim=(1e-3, 2))  # outliers that are exact lie below
    right.legend(frameon=False, fontsize=8, markerscale=5, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def pipeline_figure(schedules: Mapping[str, Sequence[Span]]) -> Figure:
    """Schedules one below the other on the same clock, a row a rank. White is waiting."""
    figure = Figure(figsize=(10, 1.75 * len(schedules) + 0.5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(schedules), 1, sharex=True))
    last = max(span.end for spans in schedules.values() for span in spans)
    for axes, (name, spans) in zip(panels, schedules.items(), strict=True):
        _gantt(axes, name, spans)
        axes.set_xlim(0, last * 1.002)
    panels[-1].set_xlabel("time, in forwards of one micro-batch")
    kinds = [Patch(facecolor=WORK[kind], label=WORDS[kind]) for kind in WORK]
    other_end = Patch(facecolor="white", edgecolor=OUTLINE, label="outlined: came in at the last rank (DualPipe)")
    figure.legend(
        handles=[*kinds, other_end], loc="outside lower center", ncols=len(kinds) + 1, frameon=False, fontsize=8
    )
    return figure


def _gantt(axes: Axes, name: str, spans: Sequence[Span]) -> None:
    for span in spans:
        height = 0.84 / len(span.task)
        for row, part in enumerate(span.task):
            axes.barh(
                span.rank - 0.42 + (row + 0.5) * height, span.end - span.start, height, left=span.start,
                color=WORK[part.kind], edgecolor=OUTLINE if part.direction else "white", linewidth=0.6,
                zorder=2 if part.direction else 1,  # else white edges of its neighbours hide the outline
            )  # fmt: skip
    waiting, ranks, end = idle(spans), 1 + max(span.rank for span in spans), max(span.end for span in spans)
    axes.axvline(end, color="0.4", linewidth=0.8, linestyle=":")
    axes.set_title(f"{name}: done at {end:g}, each rank waits {max(waiting):g}", loc="left", fontsize=10)
    axes.set_ylim(ranks - 0.5, -0.5)
    axes.set(ylabel="rank", yticks=range(ranks))
    axes.spines[["top", "right"]].set_visible(False)


def nodes_figure(shares: Mapping[str, Sequence[float]]) -> Figure:
    """Share of tokens by the number of nodes that hold their experts; the first value is for one node."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for i, (name, values) in enumerate(shares.items()):
        at = np.arange(1, len(values) + 1) + (i - (len(shares) - 1) / 2) * width
        axes.bar(at, values, width, color=LINES[(2 * i + 1) % len(LINES)], label=name)
    axes.set(xlabel="nodes that hold the token's experts", ylabel="share of tokens", ylim=(0, 1.05))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
