"""One token before a router: how well each expert fits, which groups are open, who is chosen and with what gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

# colours that the colour-blind tell apart (Okabe and Ito); who is chosen or shut out also stands in words and numbers
CHOSEN, OPEN, CLOSED, BIASED = "#0072B2", "#56B4E9", "#999999", "#D55E00"
LEFT, WIDTH, GAP = 8, 720, 14  # px: bars start, whole picture, between two groups
TOP, BOTTOM = 100, 290  # px: ends of the axis
NARROW = 120  # px: in a group with less, each line of words becomes two
SPACE = "␣"
SMALL = "font-size:12px"


@dataclass(frozen=True)
class RoutedToken:
    """What the picture shows, in plain numbers; experts and groups are counted from 0. A group is a machine."""

    tokens: Sequence[str]
    position: int  # of the token that is routed
    scores: Sequence[float]  # affinities, one an expert
    biased: Sequence[float]  # what the choice looks at
    n_group: int
    open_experts: frozenset[int]
    best: frozenset[int]  # would be chosen if every group were open
    gates: Mapping[int, float]  # of the chosen experts
    limits: tuple[float, float]  # of the axis

    @property
    def group_size(self) -> int:
        return len(self.scores) // self.n_group

    @property
    def groups(self) -> list[range]:
        return [range(i * self.group_size, (i + 1) * self.group_size) for i in range(self.n_group)]

    @property
    def visited(self) -> list[int]:
        """Groups with a chosen expert."""
        return sorted({expert // self.group_size for expert in self.gates})

    @property
    def shut_out(self) -> frozenset[int]:
        """Experts that lose their place because their group is closed."""
        return self.best - self.open_experts

    def header(self, group: int) -> tuple[str, str]:
        """Two lines above a group."""
        if self.n_group == 1:
            return "one group", "nothing is closed"
        members = self.groups[group]
        state = "open" if members[0] in self.open_experts else "closed"
        return f"machine {group}: {state}", f"best two: {sum(sorted(self.biased[i] for i in members)[-2:]):.2f}"

    def colour(self, expert: int) -> str:
        return CHOSEN if expert in self.gates else OPEN if expert in self.open_experts else CLOSED

    def mark(self, expert: int) -> str:
        """What stands above a bar: the gate of a chosen expert."""
        if expert in self.gates:
            return f"{self.gates[expert]:.2f}"
        return "shut\nout" if expert in self.shut_out else ""

    def height(self, expert: int) -> float:
        """Upper end of all that is drawn for an expert."""
        return max(self.scores[expert], self.biased[expert])

    def is_biased(self, expert: int) -> bool:
        return self.biased[expert] != self.scores[expert]

    @property
    def result(self) -> str:
        gates, machines = sum(self.gates.values()), f"{len(self.visited)} of {self.n_group} machines"
        where = f" on {machines} ({', '.join(map(str, self.visited))})" if self.n_group > 1 else ""
        return f"{len(self.gates)} of {len(self.scores)} experts{where}; gates sum to {gates:.2f}"

    @property
    def summary(self) -> str:
        """The picture in words."""
        word = self.tokens[self.position].replace(" ", "space")
        chosen = ", ".join(f"{expert} with gate {gate:.2f}" for expert, gate in sorted(self.gates.items()))
        out = f"; shut out: {', '.join(map(str, sorted(self.shut_out)))}" if self.shut_out else ""
        moved = "".join(
            f"; expert {i} is biased from {self.scores[i]:.2f} to {self.biased[i]:.2f}"
            for i in range(len(self.scores))
            if self.is_biased(i)
        )
        return f"Token {self.position}, {word}: {self.result}. Experts {chosen}{out}{moved}"


LEGEND = ((CHOSEN, "chosen, its gate above"), (OPEN, "open, not chosen"), (CLOSED, "machine is closed"))


def routing_svg(routed: RoutedToken) -> str:
    """The picture as SVG text, in the text colour of the page it stands on."""
    low, high = routed.limits
    scale = (BOTTOM - TOP) / (high - low)
    zero = BOTTOM + scale * low
    pitch = (WIDTH - 2 * LEFT - GAP * (routed.n_group - 1)) / len(routed.scores)
    parts = [_head(routed.summary, BOTTOM + 92), _sentence(routed)]
    for group, members in enumerate(routed.groups):
        left, width = LEFT + members[0] * pitch + group * GAP, pitch * len(members)
        dashes = "" if members[0] in routed.open_experts else ' stroke-dasharray="5 5"'
        parts.append(
            f'<rect x="{left:.1f}" y="34" width="{width:.1f}" height="{BOTTOM + 6}" rx="6" fill="none" '
            f'stroke="currentColor" stroke-opacity="0.5"{dashes}/>'
        )
        parts += _lines(left + width / 2, 51, _fitted(routed.header(group), width))
        parts.append(_line(left, left + width, zero))
        for expert in members:
            parts.append(_expert(routed, expert, left + (expert - members[0] + 0.5) * pitch, pitch, zero, scale))
    return "".join([*parts, *_legend(routed), "</svg>"])


def problem_svg(message: str) -> str:
    """What stands in place of the picture when the controls ask for something that cannot be."""
    said = f"No such routing: {message}. Move a control back."
    return f'{_head(said, 60)}<text x="{LEFT}" y="34" font-weight="bold">{escape(said)}</text></svg>'


def _head(label: str, height: float) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" width="100%" '
        f'style="max-width:{WIDTH}px;font:13px sans-serif" fill="currentColor">'
    )


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" style="{style}">{escape(text)}</text>'


def _lines(x: float, y: float, lines: Sequence[str], style: str = "") -> list[str]:
    return [_text(x, y + 14 * i, line, style) for i, line in enumerate(lines)]


def _fitted(header: Sequence[str], width: float) -> list[str]:
    return [part for line in header for part in (line.split(": ") if width < NARROW else [line])]


def _line(left: float, right: float, y: float) -> str:
    return f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor"/>'


def _sentence(routed: RoutedToken) -> str:
    shown = [escape(token.replace(" ", SPACE)) for token in routed.tokens]
    here = routed.position
    shown[here] = f'<tspan font-weight="bold" text-decoration="underline">{shown[here]}</tspan>'
    return (
        f'<text x="{LEFT}" y="20" style="font:17px monospace">{"".join(shown)}'
        f'<tspan dx="16" style="font:13px sans-serif">token {here} of {len(shown)}</tspan></text>'
    )


def _expert(routed: RoutedToken, expert: int, middle: float, pitch: float, zero: float, scale: float) -> str:
    """Bar, outline of the biased score, gate above, number and affinity below."""
    bar, score, biased = 0.56 * pitch, scale * routed.scores[expert], scale * routed.biased[expert]
    parts = [
        f'<rect class="affinity" x="{middle - bar / 2:.1f}" y="{zero - score:.2f}" width="{bar:.1f}" '
        f'height="{score:.2f}" fill="{routed.colour(expert)}"/>'
    ]
    if routed.is_biased(expert):
        parts.append(
            f'<rect class="biased" x="{middle - bar / 2 - 4:.1f}" y="{zero - max(biased, 0):.2f}" '
            f'width="{bar + 8:.1f}" height="{abs(biased):.2f}" fill="none" stroke="{BIASED}" stroke-width="2.5" '
            'stroke-dasharray="5 3"/>'
        )
    if mark := routed.mark(expert):
        style = "font-weight:bold" if expert in routed.gates else SMALL
        lines = mark.split("\n")
        above = zero - scale * max(routed.height(expert), 0) + 8 - 14 * len(lines)
        parts += _lines(middle, above, lines, style)
    parts.append(_text(middle, BOTTOM + 17, str(expert), "font-weight:bold"))
    parts.append(_text(middle, BOTTOM + 33, f"{routed.scores[expert]:.2f}", SMALL))
    return "".join(parts)


def _legend(routed: RoutedToken) -> list[str]:
    x, y, parts = float(LEFT), BOTTOM + 62, []
    for colour, words in LEGEND:
        parts.append(f'<rect x="{x:.0f}" y="{y - 11}" width="14" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 19:.0f}" y="{y}">{words}</text>')
        x += 26 + 7.2 * len(words)
    parts.append(
        f'<rect x="{x:.0f}" y="{y - 11}" width="14" height="12" fill="none" stroke="{BIASED}" stroke-width="2.5" '
        f'stroke-dasharray="5 3"/><text x="{x + 19:.0f}" y="{y}">affinity + bias, to choose</text>'
    )
    return [*parts, f'<text x="{LEFT}" y="{y + 22}" font-weight="bold">{routed.result}</text>']


def routing_figure(routed: RoutedToken) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    axes = figure.subplots()
    low, high = routed.limits
    places = {expert: expert + 0.6 * group for group, members in enumerate(routed.groups) for expert in members}
    for group, members in enumerate(routed.groups):
        middle = (places[members[0]] + places[members[-1]]) / 2
        axes.text(middle, high, "\n".join(routed.header(group)), ha="center", va="bottom", fontsize=9)
        axes.hlines(0, places[members[0]] - 0.5, places[members[-1]] + 0.5, color="black", linewidth=0.8)
    for expert, x in places.items():
        axes.bar(x, routed.scores[expert], width=0.6, color=routed.colour(expert))
        if routed.is_biased(expert):
            axes.bar(x, routed.biased[expert], width=0.75, fill=False, edgecolor=BIASED, linestyle="--", linewidth=2)
        mark, bold = routed.mark(expert), "bold" if expert in routed.gates else "normal"
        axes.annotate(
            mark, (x, max(routed.height(expert), 0)), (0, 3), textcoords="offset points", ha="center", fontsize=9,
            fontweight=bold,
        )  # fmt: skip
    axes.set_ylim(low, high)
    axes.set_xticks(list(places.values()), [f"{expert}\n{routed.scores[expert]:.2f}" for expert in places], fontsize=9)
    handles = [axes.bar(0, 0, color=colour, label=words) for colour, words in LEGEND]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    shown = "".join(token.replace(" ", SPACE) for token in routed.tokens)
    word = routed.tokens[routed.position].replace(" ", SPACE)
    axes.set_title(f"{shown}: token {routed.position}, {word}. {routed.result}", fontsize=10, pad=34)
    axes.set_xlabel("expert, and its affinity below")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_yticks([])
    return figure
