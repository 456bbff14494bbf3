"""One token before a router: how well each expert fits, which groups are open, who is chosen and with what gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from math import ceil
from typing import TypeVar

from matplotlib.figure import Figure

from course_lib.figures.svg import CHARACTER, LINE, drawing, fitted, key, paragraph, swatch, text
from course_lib.quantity import counted

# colours that the colour-blind tell apart (Okabe and Ito); who is chosen or shut out also stands in words and numbers
CHOSEN, OPEN, CLOSED, BIASED = "#0072B2", "#56B4E9", "#999999", "#D55E00"
PITCH, GAP = 34, 12  # px: the least room per expert, and between two groups
BARS = 150  # px: height of the axis
MONOSPACE = 10.3  # px: width of a character of the sentence
SPACE = "␣"
BOLD = "font-weight:bold"
T = TypeVar("T")


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
    def place(self) -> str:
        """Which of the tokens it is."""
        return f"token {self.position}, counted from 0 to {len(self.tokens) - 1}"

    @property
    def result(self) -> str:
        gates, machines = sum(self.gates.values()), f"{len(self.visited)} of {self.n_group} machines"
        where = f" on {machines} ({', '.join(map(str, self.visited))})" if self.n_group > 1 else ""
        return f"{len(self.gates)} of {counted(len(self.scores), 'expert')}{where}; gates sum to {gates:.2f}"

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


def routing_html(routed: RoutedToken) -> str:
    """The picture for a page of any width."""
    return fitted(partial(routing_svg, routed), routed.summary)


def problem_html(message: str) -> str:
    """Stands in for the picture when the controls ask for a routing that cannot be."""
    said = f"No such routing: {message}. Move a control back."
    return f'<div role="img" aria-label="{escape(said)}" style="font:bold 13px sans-serif">{escape(said)}</div>'


def routing_svg(routed: RoutedToken, width: int) -> str:
    """The picture, `width` px wide, in the text colour of the page that it stands on."""
    parts, y = _sentence(routed, width)
    rows = _rows(routed, width)
    for experts in rows:
        row, y = _row(routed, experts, len(rows[0]), width, y)
        parts += row
    legend = [(swatch(colour), words) for colour, words in LEGEND]
    legend.append((_outline(1, 0, 12, 12), "affinity + bias, to choose"))
    keys, y = key(legend, y + LINE, width)
    result, y = paragraph(0, y, routed.result, width, BOLD)
    return drawing(width, y - 8, [*parts, *keys, *result])


def _rows(routed: RoutedToken, width: int) -> list[list[int]]:
    """The experts of each row: whole groups where one fits, or else parts of a group."""
    groups = int((width + GAP) / (routed.group_size * PITCH + GAP))
    if groups:
        return [[expert for group in row for expert in group] for row in _evenly(routed.groups, groups)]
    return [list(row) for group in routed.groups for row in _evenly(group, int(width / PITCH))]


def _evenly(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """In order, in parts of about equal length, none longer than `most`."""
    length = ceil(len(items) / ceil(len(items) / most))
    return [items[i : i + length] for i in range(0, len(items), length)]


def _row(routed: RoutedToken, experts: Sequence[int], most: int, width: int, top: float) -> tuple[list[str], float]:
    """Frames of the groups with their bars, of which a row has `most`, and the `y` below."""
    groups = [(i, [e for e in experts if e in members]) for i, members in enumerate(routed.groups)]
    groups = [(i, members) for i, members in groups if members]
    pitch = (width - GAP * (ceil(most / routed.group_size) - 1) - 2) / most
    heads = [[line for words in routed.header(i) for line in _narrow(words, pitch * len(m))] for i, m in groups]
    low, high = routed.limits
    above = top + LINE * max(map(len, heads)) + 2 * LINE + 8  # room for "shut out" above the highest bar
    scale = BARS / (high - low)
    zero, bottom = above + scale * high, above + BARS + 2 * LINE + 6
    parts, left = [], 1.0
    for (_, members), head in zip(groups, heads, strict=True):
        wide = pitch * len(members)
        dashes = "" if members[0] in routed.open_experts else ' stroke-dasharray="5 5"'
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{bottom - top:.1f}" rx="6" fill="none" '
            f'stroke="currentColor" stroke-opacity="0.5"{dashes}/>'
        )
        parts += [text(left + wide / 2, top + LINE * (i + 1), line, anchor="middle") for i, line in enumerate(head)]
        parts.append(f'<path d="M{left:.1f} {zero:.1f}h{wide:.1f}" stroke="currentColor"/>')
        for i, expert in enumerate(members):
            parts += _expert(routed, expert, left + (i + 0.5) * pitch, pitch, zero, scale, bottom)
        left += wide + GAP
    return parts, bottom + 10


def _narrow(words: str, width: float) -> list[str]:
    return words.split(": ") if len(words) * CHARACTER > width else [words]


def _sentence(routed: RoutedToken, width: int) -> tuple[list[str], float]:
    """All tokens, the present one marked, in as many lines as they need."""
    rows, room = [[]], int(width / MONOSPACE)
    for i, token in enumerate(routed.tokens):
        if sum(len(other) for _, other in rows[-1]) + len(token) > room:
            rows.append([])
        rows[-1].append((i, token.replace(" ", SPACE)))
    parts = []
    for y, row in enumerate(rows):
        spans = "".join(
            f'<tspan font-weight="bold" text-decoration="underline">{escape(token)}</tspan>'
            if i == routed.position
            else escape(token)
            for i, token in row
        )
        parts.append(f'<text y="{20 + 22 * y}" style="font:17px monospace">{spans}</text>')
    bottom = 20 + 22 * len(rows)
    return [*parts, text(0, bottom - 2, routed.place)], bottom + 8


def _outline(x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="biased" x="{x:.1f}" y="{y:.2f}" width="{width:.1f}" height="{height:.2f}" fill="none" '
        f'stroke="{BIASED}" stroke-width="2.5" stroke-dasharray="5 3"/>'
    )


def _expert(
    routed: RoutedToken, expert: int, middle: float, pitch: float, zero: float, scale: float, bottom: float
) -> list[str]:
    """Bar, outline of the biased score, gate above, number and affinity below."""
    bar, score, biased = 0.56 * pitch, scale * routed.scores[expert], scale * routed.biased[expert]
    parts = [
        f'<rect class="affinity" x="{middle - bar / 2:.1f}" y="{zero - score:.2f}" width="{bar:.1f}" '
        f'height="{score:.2f}" fill="{routed.colour(expert)}"/>'
    ]
    if routed.is_biased(expert):
        parts.append(_outline(middle - bar / 2 - 4, zero - max(biased, 0), bar + 8, abs(biased)))
    above = routed.mark(expert).split("\n")
    y = zero - scale * max(routed.height(expert), 0) - 6 - 15 * (len(above) - 1)
    parts += [
        text(middle, y + 15 * i, line, anchor="middle", style=BOLD if expert in routed.gates else "")
        for i, line in enumerate(above)
        if line
    ]
    parts.append(text(middle, bottom - LINE - 6, str(expert), anchor="middle", style=BOLD))
    parts.append(text(middle, bottom - 6, f"{routed.scores[expert]:.2f}", anchor="middle"))
    return parts


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
