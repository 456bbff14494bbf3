"""Panels as SVG text, side by side or one below the other: axes, ticks, marks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

from matplotlib.ticker import MaxNLocator

from course_lib.figures.scaling import Ends
from course_lib.figures.svg import CHARACTER, LINE, drawing, fitted, lines, text

TOP, HEIGHT = 48, 290  # px: top and height of a panel
LEFT, RIGHT, BOTTOM = 58, 14, 389  # px: where a panel begins, room right of it, where the picture ends
WIDTHS = (290, 410)  # px: of one picture; two of the wider ones stand side by side in JupyterLab at 1280 px
CORNERS = {
    "s": "m-4 -4h8v8h-8z", "^": "m0 -5.5l5 9h-10z", "v": "m0 5.5l5 -9h-10z",
    "D": "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "*": "m0 -9l2.6 6l6.4 .5l-4.9 4.2l1.6 6.3l-5.7 -3.4l-5.7 3.4l1.6 -6.3l-4.9 -4.2l6.4 -.5z",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """From numbers to places [px] in a picture `width` px wide; x is logarithmic."""

    width: int
    x_ends: Ends
    y_ends: Ends
    log_y: bool

    @property
    def across(self) -> int:
        """Width of the panel alone."""
        return self.width - LEFT - RIGHT

    def x(self, value: float) -> float:
        return LEFT + self.across * _part(value, self.x_ends, True)

    def y(self, value: float) -> float:
        return TOP + HEIGHT * (1 - _part(value, self.y_ends, self.log_y))

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)

    def frame(self) -> str:
        """A frame that cuts off what leaves it."""
        box = f'{LEFT}" y="{TOP}" width="{self.across}" height="{HEIGHT}"'
        return (
            f'<rect x="{box} fill="none" stroke="#888"/>'
            f'<svg x="{box} viewBox="{LEFT} {TOP} {self.across} {HEIGHT}" overflow="hidden">'
        )


def side_by_side(summary: str, panels: Sequence[Callable[[int], list[str]]], legend: Sequence[tuple[str, str]]) -> str:
    """Pictures that go below each other on a narrow page, in its text colour; the first one says all in words.

    `panels`: the parts of each picture for a width [px]. `legend`: marks, drawn around (9, 9), and their words.
    """
    pictures = "".join(
        f'<div style="flex:1 1 {WIDTHS[-1]}px;min-width:0;max-width:{WIDTHS[-1] + 20}px">'
        f"{fitted(partial(_drawn, panel), '' if i else summary, WIDTHS)}</div>"
        for i, panel in enumerate(panels)
    )
    keys = "".join(
        f'<span><svg width="22" height="18" fill="currentColor" style="vertical-align:-4px">{mark}</svg>'
        f"{escape(words)}</span>"
        for mark, words in legend
    )
    wrap = "display:flex;flex-wrap:wrap;align-items:flex-start"
    return (
        f'<div style="{wrap}">{pictures}</div>'
        f'<div aria-hidden="true" style="{wrap};gap:4px 18px;font:13px sans-serif;margin:4px 0 8px">{keys}</div>'
    )


def _drawn(panel: Callable[[int], list[str]], width: int) -> str:
    return drawing(width, BOTTOM, panel(width))


def _part(value: float, ends: Ends, log: bool) -> float:
    """0 at the first end, 1 at the other; what is far out of the picture comes nearer, so that all can be drawn."""
    low, high = (math.log(end) for end in ends) if log else ends
    at = (math.log(value) if value > 0 else -math.inf) if log else value
    return min(max((at - low) / (high - low), -5), 5)


def log_ticks(ends: Ends) -> list[float]:
    """1, 2 and 5 of each power of ten; the powers alone where that is enough."""
    low, high = (math.floor(math.log10(end)) for end in ends)
    digits = (1,) if high - low > 3 else (1, 2, 5)
    places = [digit * 10.0**k for k in range(low, high + 1) for digit in digits]
    return [place for place in places if ends[0] <= place <= ends[1]]


def linear_ticks(ends: Ends) -> list[float]:
    return [
        float(place) for place in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(*ends) if ends[0] <= place <= ends[1]
    ]


def title(words: str, width: int) -> list[str]:
    """Above the panel, in one line or two."""
    broken = lines(words, width - 20)  # bold letters are wider
    return [text(0, TOP - 12 - LINE * i, line, style="font-weight:bold") for i, line in enumerate(reversed(broken))]


def ticks_below(panel: Panel, named: Sequence[tuple[float, str]]) -> list[str]:
    """Places and their names, without those whose name would lie on the next one to the right."""
    parts, free, bottom = [], math.inf, TOP + HEIGHT
    for at, words in sorted(named, reverse=True):
        x, half = panel.x(at), CHARACTER * len(words) / 2
        if x + half < free:
            parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#888"/>{text(x, bottom + 17, words, anchor="middle")}')
            free = x - half - 4
    return parts


def tick_beside(panel: Panel, at: float, words: str) -> str:
    y = panel.y(at)
    return f'<path d="M{LEFT - 4} {y:.1f}h4" stroke="#888"/>{text(LEFT - 7, y + 4, words, anchor="end")}'


def name_below(panel: Panel, words: str) -> str:
    return text(LEFT + panel.across / 2, TOP + HEIGHT + 36, words, anchor="middle")


def marker(kind: str, x: float, y: float, fill: str, stroke: str, name: str) -> str:
    style = f'class="{name}" fill="{fill}" stroke="{stroke}" stroke-width="1.6"'
    if kind == "o":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {style}/>'
    return f'<path d="M{x:.1f} {y:.1f}{CORNERS[kind]}" {style}/>'


def cross(x: float, y: float) -> str:
    return (
        f'<path class="forecast" d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" fill="none" stroke="currentColor" '
        'stroke-width="2.5"/>'
    )
