"""A training's rent and energy with their ranges, and which assumption the energy hangs on most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.cost import Swing
from course_lib.figures.svg import HALO, LINE, axis_end, drawing, fitted, paragraph, text_around
from course_lib.quantity import Estimate

# colours that the colour-blind tell apart (Okabe and Ito); every bar also has its words
RENT, ENERGY, ONE = "#0072B2", "#E69F00", "#56B4E9"
NAMES = {  # of the assumptions, by the name that functions have for them
    "mfu": "MFU, guessed",
    "watts": "draw of the GPU",
    "host": "rest of the machine",
    "pue": "building (PUE)",
}
BAR, GAP, EDGE = 18, 8, 4  # px: height of a bar, room below it, room at both ends


@dataclass(frozen=True, kw_only=True)
class CostPicture:
    """What the picture shows; its axes are fixed by the published run while everything fits on them."""

    title: str  # two lines
    rent: Estimate  # USD
    energy: Estimate  # MWh
    swings: Sequence[Swing]  # MWh, one an assumption
    rent_limit: float  # USD: the least that the axis shows
    energy_limit: float  # MWh: the least that the axis shows
    rule: float  # MWh: rated power of the GPU x hours
    carbon: Mapping[str, Estimate]  # t, by grid

    @property
    def rent_end(self) -> float:
        """Right end of the axis of rent [USD]."""
        return axis_end(self.rent_limit, self.rent.value)

    @property
    def energy_end(self) -> float:
        """Right end of the axis of energy [MWh]."""
        return axis_end(self.energy_limit, max(self.energy.high, self.rule, *(swing.high for swing in self.swings)))

    @property
    def rent_label(self) -> str:
        return money(self.rent.value)

    @property
    def energy_label(self) -> str:
        energy = self.energy
        return f"{energy.value / 1e3:.2f} GWh ({energy.low / 1e3:.2f} to {energy.high / 1e3:.2f})"

    def swing_label(self, swing: Swing) -> str:
        return f"{swing.low / 1e3:.2f} to {swing.high / 1e3:.2f} GWh"

    @property
    def rule_label(self) -> str:
        return f"GPU rating x hours: {self.rule / 1e3:.2f} GWh"

    @property
    def note(self) -> str:
        return "CO2: " + "; ".join(f"{each.value:,.0f} t on the {grid} grid" for grid, each in self.carbon.items())

    @property
    def summary(self) -> str:
        """The picture in words."""
        alone = "; ".join(f"{swing.name} alone: {self.swing_label(swing)}" for swing in self.swings)
        parts = [
            f"{self.title.replace(chr(10), ', ')}: rent {self.rent_label}",
            f"energy {self.energy_label}",
            alone,
            self.rule_label,
        ]
        return ". ".join([*parts, self.note])


def money(dollars: float) -> str:
    return f"${dollars / 1e9:.2f}B" if dollars >= 1e9 else f"${dollars / 1e6:.2f}M"


def cost_html(picture: CostPicture) -> str:
    """The picture for a page of any width."""
    return fitted(partial(cost_svg, picture), picture.summary)


def cost_svg(picture: CostPicture, width: int) -> str:
    """The picture, `width` px wide, in the text colour of the page that it stands on."""
    room = width - 2 * EDGE
    per_dollar, per_mwh = room / picture.rent_end, room / picture.energy_end
    energy, rule = picture.energy, EDGE + per_mwh * picture.rule
    parts, y = paragraph(0, 14, picture.title.replace("\n", ", "), width, "font-weight:bold")
    row, y = _bar(y, width, f"rent: {picture.rent_label}", 0, per_dollar * picture.rent.value, RENT)
    parts, above = [*parts, *row], y - 8
    row, y = _bar(y, width, f"energy: {picture.energy_label}", 0, per_mwh * energy.value, ENERGY)
    parts += [*row, _whisker(y - BAR / 2 - GAP - 14, per_mwh * energy.low, per_mwh * energy.high)]
    for swing in picture.swings:
        said = f"{swing.name} alone: {picture.swing_label(swing)}"
        row, y = _bar(y, width, said, per_mwh * swing.low, per_mwh * swing.high, ONE)
        parts += row
    line = f'<path class="rule" d="M{rule:.1f} {above}V{y - 10}" stroke="currentColor" stroke-dasharray="6 4"/>'
    note, bottom = paragraph(0, y + 5 + 2 * LINE, picture.note, width)
    labels = text_around(rule, y + 4, picture.rule_label, width)
    return drawing(width, bottom - 10, [line, *parts, labels, *note])


def _bar(y: float, width: int, words: str, start: float, end: float, colour: str) -> tuple[list[str], float]:
    """Words, the first line at `y`, with a bar below, and the `y` of the next words."""
    parts, below = paragraph(EDGE, y, words, width - EDGE, HALO)
    top = below - LINE + 8
    bar = f'<rect x="{EDGE + start:.1f}" y="{top}" width="{end - start:.2f}" height="{BAR}" fill="{colour}"/>'
    return [bar, *parts], top + BAR + GAP + 14


def _whisker(y: float, low: float, high: float) -> str:
    """From low to high, with a stroke at each end."""
    path = f"M{EDGE + low:.1f} {y}H{EDGE + high:.1f}" + "".join(f"M{EDGE + end:.1f} {y - 6}v12" for end in (low, high))
    return f'<path class="whisker" d="{path}" stroke="currentColor" stroke-width="2" fill="none"/>'


def cost_figure(picture: CostPicture) -> Figure:
    """The same picture for page and print."""
    count = len(picture.swings)
    figure = Figure(figsize=(9, 2.2 + 0.34 * count), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.4 + count))
    above.barh(["rent"], [picture.rent.value / 1e6], color=RENT)
    _write(above, picture.rent.value / 1e6, 0, picture.rent_label)
    above.set(xlim=(0, picture.rent_end / 1e6), xlabel="million dollars")
    figure.suptitle(picture.title, fontsize=11, parse_math=False)
    energy, limit = picture.energy, picture.energy_end / 1e3
    ends = [[energy.value - energy.low], [energy.high - energy.value]]
    below.barh([0], [energy.value / 1e3], color=ENERGY, xerr=[[end[0] / 1e3] for end in ends], capsize=4)
    _write(below, energy.high / 1e3, 0, picture.energy_label)
    for row, swing in enumerate(picture.swings, 1):
        below.barh([row], [swing.width / 1e3], left=swing.low / 1e3, color=ONE)
        _write(below, swing.high / 1e3, row, picture.swing_label(swing))
    below.axvline(picture.rule / 1e3, color="black", linestyle="--", linewidth=1)
    below.set_yticks(range(count + 1), ["energy", *(f"{swing.name} alone" for swing in picture.swings)])
    below.set(xlim=(0, limit), xlabel=f"GWh; dashed: {picture.rule_label}\n{picture.note}")
    below.invert_yaxis()
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def tornado_figure(swings: Sequence[Swing], result: Estimate, label: str, scale: float = 1.0) -> Figure:
    """Which assumption matters most: the result as each goes from end to end, the widest on top.

    `label`: what the axis shows, and in which unit. `scale`: units of the result in one of the axis.
    """
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(swings)), layout="constrained")
    axes = figure.subplots()
    for row, swing in enumerate(swings):
        axes.barh([row], [swing.width / scale], left=swing.low / scale, color=ONE)
        ends = f"{swing.low / scale:.2f} to {swing.high / scale:.2f}"
        axes.annotate(ends, (swing.high / scale, row), (5, 0), textcoords="offset points", va="center")
    middle = result.value / scale
    axes.axvline(middle, color="black", linewidth=1)
    axes.annotate(
        f"{middle:.2f}, every assumption in its middle", (middle, 1), (0, 3),
        xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha="center", annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(range(len(swings)), [NAMES.get(swing.name, swing.name) for swing in swings])
    axes.set(xlim=(0, 1.25 * max(swing.high for swing in swings) / scale), xlabel=label)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _write(axes: Axes, end: float, row: int, label: str) -> None:
    axes.annotate(
        label, (end, row), (5, 0), textcoords="offset points", va="center", annotation_clip=False, parse_math=False
    )
