"""Panels as SVG text, side by side or one below the other: axes, ticks, marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import MaxNLocator

from course_lib.figures.scaling import Ends

WIDTH, TOP, HEIGHT, PANEL = 450, 30, 290, 380  # px: width of a picture; top, height and width of its panel
LEFT, BOTTOM = 52, 365  # px: where the panel begins, where the picture ends
CORNERS = {
    "s": "m-4 -4h8v8h-8z", "^": "m0 -5.5l5 9h-10z", "v": "m0 5.5l5 -9h-10z",
    "D": "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "*": "m0 -9l2.6 6l6.4 .5l-4.9 4.2l1.6 6.3l-5.7 -3.4l-5.7 3.4l1.6 -6.3l-4.9 -4.2l6.4 -.5z",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """From numbers to places [px]; x is logarithmic."""

    x_ends: Ends
    y_ends: Ends
    log_y: bool

    def x(self, value: float) -> float:
        return LEFT + PANEL * _part(value, self.x_ends, True)

    def y(self, value: float) -> float:
        return TOP + HEIGHT * (1 - _part(value, self.y_ends, self.log_y))

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)

    def frame(self) -> str:
        """A frame that cuts off what leaves it."""
        box = f'{LEFT}" y="{TOP}" width="{PANEL}" height="{HEIGHT}"'
        return (
            f'<rect x="{box} fill="none" stroke="#888"/>'
            f'<svg x="{box} viewBox="{LEFT} {TOP} {PANEL} {HEIGHT}" overflow="hidden">'
        )


def side_by_side(summary: str, panels: Sequence[Sequence[str]], legend: Sequence[tuple[str, str]]) -> str:
    """Pictures that go below each other on a narrow page, in its text colour; the first one says all in words.

    `legend`: marks, drawn around (9, 9), and their words.
    """
    said = [f'role="img" aria-label="{escape(summary)}"', *['aria-hidden="true"'] * (len(panels) - 1)]
    pictures = "".join(
        f'<svg {words} viewBox="0 0 {WIDTH} {BOTTOM}" fill="currentColor" '
        f'style="flex:1 1 {WIDTH - 20}px;max-width:{WIDTH}px;font:12px sans-serif">{"".join(parts)}</svg>'
        for words, parts in zip(said, panels, strict=True)
    )
    keys = "".join(
        f'<span style="white-space:nowrap"><svg width="22" height="18" fill="currentColor" '
        f'style="vertical-align:-4px">{mark}</svg>{escape(words)}</span>'
        for mark, words in legend
    )
    wrap = "display:flex;flex-wrap:wrap;align-items:flex-start"
    return (
        f'<div style="{wrap}">{pictures}</div>'
        f'<div aria-hidden="true" style="{wrap};gap:4px 18px;font:12px sans-serif;margin:4px 0 8px {LEFT - 9}px">'
        f"{keys}</div>"
    )


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


def title(panel: Panel, words: str) -> str:
    return f'<text x="{LEFT - 40}" y="{TOP - 12}" font-weight="bold">{escape(words)}</text>'


def tick_below(panel: Panel, at: float, words: str) -> str:
    x, bottom = panel.x(at), TOP + HEIGHT
    return (
        f'<path d="M{x:.1f} {bottom}v4" stroke="#888"/>'
        f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{words}</text>'
    )


def tick_beside(panel: Panel, at: float, words: str) -> str:
    y = panel.y(at)
    return (
        f'<path d="M{LEFT - 4} {y:.1f}h4" stroke="#888"/>'
        f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
    )


def name_below(panel: Panel, words: str) -> str:
    return f'<text x="{LEFT + PANEL / 2}" y="{TOP + HEIGHT + 33}" text-anchor="middle">{escape(words)}</text>'


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
