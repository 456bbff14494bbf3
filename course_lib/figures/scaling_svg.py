"""The scaling explorer's picture and numbers as HTML, in the text colour of the page it stands on."""

import math
from functools import partial
from html import escape

from course_lib.figures.panels import (
    HEIGHT,
    TOP,
    Panel,
    cross,
    linear_ticks,
    log_ticks,
    marker,
    name_below,
    side_by_side,
    tick_beside,
    ticks_below,
    title,
)  # fmt: skip
from course_lib.figures.scaling import AXES, HELD, Curve, Dot, ScalingPicture, power, short
from course_lib.figures.svg import CHARACTER, LINE
from course_lib.figures.tables import table
from course_lib.quantity import Estimate

GREY = "#888"
PAPER = "var(--jp-layout-color0,Canvas)"
HALO = f"paint-order:stroke;stroke:{PAPER};stroke-width:4px"  # keeps lines off the letters
BAR = 'stroke-width="4"'  # an interval, opaque: on a dark page half of a dark blue cannot be seen


def scaling_html(picture: ScalingPicture) -> str:
    """The picture, its numbers, and what must be said of them."""
    panels = (partial(_losses, picture), partial(_optima, picture))
    pictures = side_by_side(picture.summary, panels, _legend(picture))
    return f"<div>{pictures}{table(*picture.table, bold=picture.drawn)}{_notes(picture)}</div>"


def _losses(picture: ScalingPicture, width: int) -> list[str]:
    """Loss over size."""
    panel = Panel(width, picture.params_ends, picture.loss_ends, False)
    parts = [*title(picture.titles[0], width), name_below(panel, AXES["params"])]
    parts += ticks_below(panel, [(n, short(n)) for n in log_ticks(panel.x_ends)])
    parts += [tick_beside(panel, loss, f"{loss:g}") for loss in linear_ticks(panel.y_ends)]
    parts.append(panel.frame())
    for curve in picture.curves:
        parts += _curve(curve, panel, picture.look(curve.flops)[0])
    parts += [_dot(picture, dot, panel.x(dot.params), panel.y(dot.loss)) for dot in picture.dots]
    return [*parts, *_bet(picture, panel), *_budget_names(picture, panel), "</svg>"]


def _curve(curve: Curve, panel: Panel, tint: str) -> list[str]:
    """Parabola, best size and its interval."""
    x, y, parts = panel.x(curve.optimum.value), panel.y(curve.loss), []
    if curve.line:
        parts.append(f'<path class="parabola" d="{panel.path(curve.line)}" fill="none" stroke="{tint}"/>')
    if curve.optimum.has_interval:
        ends = f"M{panel.x(curve.optimum.low):.1f} {y:.1f}H{panel.x(curve.optimum.high):.1f}"
        parts.append(f'<path class="interval" d="{ends}" stroke="{tint}" {BAR}/>')
    if math.isfinite(curve.optimum.value):
        parts.append(f'<path class="vertex" d="M{x:.1f} {y - 9:.1f}v18" stroke="{tint}" stroke-width="2.5"/>')
    return parts


def _bet(picture: ScalingPicture, panel: Panel) -> list[str]:
    """The forecast with its intervals, across and along."""
    n, loss = picture.way.params, picture.way.loss
    if n is None or loss is None:
        return []
    x, y, lines = panel.x(n.value), panel.y(loss.value), []
    if n.has_interval:
        lines.append(f"M{panel.x(n.low):.1f} {y:.1f}H{panel.x(n.high):.1f}")
    if loss.has_interval:
        lines.append(f"M{x:.1f} {panel.y(loss.low):.1f}V{panel.y(loss.high):.1f}")
    return [*(f'<path class="bet" d="{d}" stroke="currentColor" stroke-opacity="0.45"/>' for d in lines), cross(x, y)]


def _optima(picture: ScalingPicture, width: int) -> list[str]:
    """Best size over budget."""
    panel = Panel(width, picture.flops_ends, picture.params_ends, True)
    way, at = picture.way, panel.x(picture.forecast_at)
    parts = [*title(picture.titles[1], width), name_below(panel, AXES["flops"])]
    parts += ticks_below(panel, [(flops, power(flops)) for flops in (*picture.budgets, picture.forecast_at)])
    parts += [tick_beside(panel, n, short(n)) for n in log_ticks(panel.y_ends)]
    parts += [panel.frame(), f'<path d="M{at:.1f} {TOP}v{HEIGHT}" stroke="{GREY}" stroke-dasharray="2 4"/>']
    band = [(flops, n) for flops, n in way.line if n.has_interval]
    if band:
        edge = panel.path([(c, n.low) for c, n in band] + [(c, n.high) for c, n in reversed(band)])
        parts.append(f'<path class="band" d="{edge}z" fill="{GREY}" fill-opacity="0.25" stroke="{GREY}"/>')
    if way.line:
        line = panel.path([(c, n.value) for c, n in way.line])
        parts.append(f'<path class="law" d="{line}" fill="none" stroke="currentColor" stroke-width="1.6"/>')
    for flops, n in way.points:
        parts.append(_point(panel, flops, n, *picture.look(flops)))
    if (held := picture.held) is not None:
        parts.append(_dot(picture, held, panel.x(held.flops), panel.y(held.params)))
    if way.params is not None:
        parts.append(cross(at, panel.y(way.params.value)))
    return [*parts, *_reason(picture, panel), "</svg>"]


def _reason(picture: ScalingPicture, panel: Panel) -> list[str]:
    """Why there is no law, where it would be."""
    left, right = (panel.x(end) for end in panel.x_ends)
    lines = picture.reason(int((right - left - 24) / CHARACTER))
    first = TOP + (HEIGHT - LINE * len(lines)) / 2 + LINE
    return [
        f'<text class="reason" x="{(left + right) / 2:.1f}" y="{first + LINE * i:.1f}" text-anchor="middle" '
        f'style="{HALO}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]


def _point(panel: Panel, flops: float, n: Estimate, tint: str, shape: str) -> str:
    x, parts = panel.x(flops), ""
    if n.has_interval:
        ends = f"M{x:.1f} {panel.y(n.low):.1f}V{panel.y(n.high):.1f}"
        parts = f'<path class="interval" d="{ends}" stroke="{tint}" {BAR}/>'
    return parts + marker(shape, x, panel.y(n.value), tint, tint, "optimum")


def _dot(picture: ScalingPicture, dot: Dot, x: float, y: float) -> str:
    tint, shape = picture.look(dot.flops)
    name = "held" if dot.held else "run" if dot.used else "left-out"
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="currentColor"/>'
    return marker(shape, x, y, PAPER if name == "left-out" else tint, tint, name) + ring * dot.ringed


def _budget_names(picture: ScalingPicture, panel: Panel) -> list[str]:
    """Right of the last run of each, lower at the edge; a name that would lie on the one above it goes down."""
    parts, free, edge = [], -math.inf, panel.width - 94
    ends = [max((d for d in picture.dots if d.flops == c), key=lambda dot: dot.params) for c in picture.budgets]
    for dot in sorted(ends, key=lambda dot: -dot.loss):
        x, y = panel.x(dot.params) + 14, panel.y(dot.loss) + 11  # below the parabola, which rises there
        y = max(y + 18 * (x > edge), free)
        free = y + 14
        parts.append(f'<text x="{min(x, edge):.1f}" y="{y:.1f}" style="{HALO}">{power(dot.flops)} FLOP</text>')
    return parts


def _legend(picture: ScalingPicture) -> list[tuple[str, str]]:
    items = [
        (marker("o", 9, 9, GREY, GREY, "key"), "run"),
        (marker("o", 9, 9, "none", GREY, "key"), "left out"),
        (f'<path d="M9 0v18" stroke="{GREY}" stroke-width="2.5"/>', "best N of a budget"),
        (f'<path d="M0 9h18" stroke="{GREY}" {BAR}/>', "95% interval"),
        (cross(9, 9), f"forecast for {power(picture.forecast_at)} FLOP"),
    ]
    return items if picture.held is None else [*items, (marker("*", 9, 9, HELD, HELD, "key"), "the run there")]


def _notes(picture: ScalingPicture) -> str:
    lines = "".join(f'<div class="said">{escape(words)}</div>' for words in picture.says)
    mark = "border-left:3px solid #D55E00;padding-left:8px" if lines else ""
    return (
        f'<div style="font:12px sans-serif;opacity:0.75;margin:4px">{escape(picture.note)}</div>'
        f'<div aria-live="polite" style="font:13px sans-serif;line-height:1.5;margin:4px;{mark}">{lines}</div>'
    )
