"""SVG that stays readable on a page of any width: words are never smaller than 11 px, and nothing is cut off."""

import math
from collections.abc import Callable, Sequence
from html import escape
from textwrap import wrap

SMALLEST = 0.87  # of its size, to which a picture may shrink: 13 px become 11.3
WIDTHS = (290, 410, 720)  # px: a phone, JupyterLab at 800 px with its file browser, JupyterLab at 1280 px
CHARACTER = 7.6  # px: the average width of a character of 13 px in a wide font
LINE = 18  # px from one line of words to the next
HALO = "paint-order:stroke;stroke:var(--jp-layout-color0,Canvas);stroke-width:5px"  # keeps lines off the letters


def fitted(draw: Callable[[int], str], summary: str, widths: Sequence[int] = WIDTHS) -> str:
    """What `draw` makes for each of the widths [px, ascending]; the page shows the one that it has room for.

    The rules are container queries, so a picture follows the width of its cell without a kernel. `summary` says the
    picture in words; where it is empty, another picture speaks for this one.
    """
    bounds = [0, *(math.floor(SMALLEST * width) for width in widths[1:]), math.inf]
    said = f'role="img" aria-label="{escape(summary)}"' if summary else 'aria-hidden="true"'
    parts = [f'<div {said} style="container-type:inline-size;width:100%">']
    for width, low, high in zip(widths, bounds, bounds[1:], strict=False):
        name = f"course-{low}-{high}"  # equal names have equal rules, whichever picture of the page brings them
        hidden = f".{name}{{display:none}}"
        rules = f"@container not (min-width:{low}px){{{hidden}}}"
        if high < math.inf:
            rules += f"@container (min-width:{high}px){{{hidden}}}"
        parts.append(f'<style>{rules}</style><div class="{name}">{draw(width)}</div>')
    return "".join([*parts, "</div>"])


def drawing(width: float, height: float, parts: Sequence[str]) -> str:
    """An SVG in the text colour of the page, no wider than `width` [px]."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" fill="currentColor" '
        f'style="display:block;width:100%;max-width:{width:g}px;font:13px sans-serif">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def text_around(x: float, y: float, words: str, width: float) -> str:
    """Words in the middle of `x`, or as near to it as a picture `width` px wide allows."""
    half = min(CHARACTER * len(words), width) / 2
    return text(min(max(x, half), width - half), y, words, anchor="middle")


def lines(words: str, width: float) -> list[str]:
    """Broken between words so that no line is wider than `width` [px]."""
    return wrap(words, max(int(width / CHARACTER), 1), break_long_words=False, break_on_hyphens=False)


def paragraph(x: float, y: float, words: str, width: float, style: str = "") -> tuple[list[str], float]:
    """Lines of words, the first one at `y`, and the `y` of what may come below."""
    broken = lines(words, width)
    return [text(x, y + LINE * i, line, style=style) for i, line in enumerate(broken)], y + LINE * len(broken)


def key(items: Sequence[tuple[str, str]], y: float, width: float) -> tuple[list[str], float]:
    """A legend in as many lines as it needs: marks, drawn in a box of 14 by 12 px at (0, 0), and their words."""
    parts, x = [], 0.0
    for mark, words in items:
        indent = 20 if mark else 0
        room = indent + CHARACTER * len(words)
        if x and x + room > width:
            x, y = 0.0, y + LINE
        parts.append(f'<g transform="translate({x:.0f} {y - 11:.0f})">{mark}</g>{text(x + indent, y, words)}')
        x += room + 14
    return parts, y + LINE


def swatch(colour: str) -> str:
    """A mark for `key`."""
    return f'<rect width="14" height="12" fill="{colour}" stroke="#888"/>'


def axis_end(least: float, largest: float) -> float:
    """Where an axis from 0 ends: at `least`, or else at the first 1, 2 or 5 of a power of ten that holds `largest`."""
    if largest <= least:
        return least
    power = 10.0 ** math.floor(math.log10(largest))
    return next(digit * power for digit in (1, 2, 5, 10) if largest <= digit * power * (1 + 1e-9))
