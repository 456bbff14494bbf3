"""A training's rent and energy with their ranges, and which assumption the energy hangs on most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.cost import Swing
from course_lib.quantity import Estimate

# colours that the colour-blind tell apart (Okabe and Ito); every bar also has its words
RENT, ENERGY, ONE = "#0072B2", "#E69F00", "#56B4E9"
NAMES = {  # of the assumptions, by the name that functions have for them
    "mfu": "MFU, guessed",
    "watts": "draw of the GPU",
    "host": "rest of the machine",
    "pue": "building (PUE)",
}
HALO = "paint-order:stroke;stroke:var(--jp-layout-color0,Canvas);stroke-width:5px"  # keeps lines off the letters
LEFT, RIGHT, WIDTH, ROW, HEAD = (
    180,
    500,
    720,
    32,
    16,
)  # px: bars start, bars end at the latest, whole picture, one bar, words above


@dataclass(frozen=True, kw_only=True)
class CostPicture:
    """What the picture shows. Its axes are those of the published run, so that bars grow when an assumption does."""

    title: str  # two lines
    rent: Estimate  # USD
    energy: Estimate  # MWh
    swings: Sequence[Swing]  # MWh, one an assumption
    rent_limit: float
    energy_limit: float
    rule: float  # MWh: rated power of the GPU x hours
    carbon: Mapping[str, Estimate]  # t, by grid

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


def cost_svg(picture: CostPicture) -> str:
    """The picture as SVG text, in the text colour of the page it stands on."""
    bottom = HEAD + ROW * (3 + len(picture.swings))
    per_dollar, per_mwh = (RIGHT - LEFT) / picture.rent_limit, (RIGHT - LEFT) / picture.energy_limit
    energy, rule = picture.energy, min(LEFT + per_mwh * picture.rule, RIGHT)
    parts = [
        f'<svg role="img" aria-label="{escape(picture.summary)}" viewBox="0 0 {WIDTH} {bottom + 44}" width="100%" '
        f'style="max-width:{WIDTH}px;font:13px sans-serif" fill="currentColor">',
        *(
            f'<text x="0" y="{14 + 18 * i}" font-weight="bold">{escape(line)}</text>'
            for i, line in enumerate(picture.title.split("\n"))
        ),
        _bar(1, "rent", 0, per_dollar * picture.rent.value, RENT, picture.rent_label),
        f'<line x1="{rule:.1f}" x2="{rule:.1f}" y1="{HEAD + 2 * ROW - 4}" y2="{bottom}" stroke="currentColor" '
        'stroke-dasharray="6 4"/>',
        _bar(2, "energy", 0, per_mwh * energy.value, ENERGY, picture.energy_label, per_mwh * energy.high),
        _whisker(2, per_mwh * energy.low, per_mwh * energy.high),
    ]
    for row, swing in enumerate(picture.swings, 3):
        ends = per_mwh * swing.low, per_mwh * swing.high
        parts.append(_bar(row, f"{swing.name} alone", *ends, ONE, picture.swing_label(swing)))
    parts += [
        f'<text x="{rule:.1f}" y="{bottom + 16}" text-anchor="middle">{picture.rule_label}</text>',
        f'<text x="0" y="{bottom + 38}">{escape(picture.note)}</text></svg>',
    ]
    return "".join(parts)


def _bar(row: int, name: str, start: float, end: float, colour: str, label: str, reach: float = 0) -> str:
    """One bar; `reach`: where its label may begin. A bar that would leave the picture stops, and » says so."""
    top, width = HEAD + ROW * row, RIGHT - LEFT
    beyond, start, end = max(end, reach) > width, min(start, width), min(end, width)
    at = LEFT + min(max(end, reach), width) + 6
    return (
        f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LEFT + start:.1f}" y="{top}" width="{end - start:.1f}" height="{ROW - 12}" fill="{colour}"/>'
        f'<text x="{at:.1f}" y="{top + 15}" style="{HALO}">{"» " * beyond}{escape(label)}</text>'
    )


def _whisker(row: int, low: float, high: float) -> str:
    """From low to high, with a stroke at each end that is in the picture."""
    middle, ends = HEAD + ROW * row + (ROW - 12) / 2, [min(each, RIGHT - LEFT) for each in (low, high)]
    path = f"M{LEFT + ends[0]:.1f} {middle}H{LEFT + ends[1]:.1f}"
    path += "".join(f"M{LEFT + each:.1f} {middle - 6}v12" for each in (low, high) if each <= RIGHT - LEFT)
    return f'<path d="{path}" stroke="currentColor" stroke-width="2" fill="none"/>'


def cost_figure(picture: CostPicture) -> Figure:
    """The same picture for page and print."""
    count = len(picture.swings)
    figure = Figure(figsize=(9, 2.2 + 0.34 * count), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.4 + count))
    above.barh(["rent"], [picture.rent.value / 1e6], color=RENT)
    _write(above, picture.rent.value / 1e6, 0, picture.rent_label, picture.rent_limit / 1e6)
    above.set(xlim=(0, picture.rent_limit / 1e6), xlabel="million dollars")
    figure.suptitle(picture.title, fontsize=11, parse_math=False)
    energy, limit = picture.energy, picture.energy_limit / 1e3
    ends = [[energy.value - energy.low], [energy.high - energy.value]]
    below.barh([0], [energy.value / 1e3], color=ENERGY, xerr=[[end[0] / 1e3] for end in ends], capsize=4)
    _write(below, energy.high / 1e3, 0, picture.energy_label, limit)
    for row, swing in enumerate(picture.swings, 1):
        below.barh([row], [swing.width / 1e3], left=swing.low / 1e3, color=ONE)
        _write(below, swing.high / 1e3, row, picture.swing_label(swing), limit)
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


def _write(axes: Axes, end: float, row: int, label: str, limit: float) -> None:
    text = "» " * (end > limit) + label
    axes.annotate(
        text, (min(end, limit), row), (5, 0), textcoords="offset points", va="center", annotation_clip=False,
        parse_math=False,
    )  # fmt: skip
