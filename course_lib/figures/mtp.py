"""A text written with checked drafts: where each token came from, and what the last pass did."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Patch, Rectangle

from course_lib.quantity import counted

WORDS = {
    "prompt": "prompt",
    "plain": "without a draft",
    "accepted": "draft stood",
    "replaced": "draft replaced",
    "free": "free, after drafts that all stood",
}
# Colours that the colour-blind tell apart (Okabe and Ito); the line below a token says the same once more.
COLOURS = {"plain": "#999999", "accepted": "#0072B2", "replaced": "#D55E00", "free": "#009E73"}
LINES = {"accepted": "solid", "replaced": "double", "free": "dotted"}
GREY, TINT = 0.75, 0.35  # how much is seen of the prompt, and of the colour behind a token: for light and dark pages
UNREADABLE = "\ufffd"  # a byte that is no character, or not yet
COLUMNS, FONT = 90, "DejaVu Sans Mono"  # of the static picture; matplotlib brings the font


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one pass of the model wrote. Tokens are bytes."""

    tokens: Sequence[int]
    origins: Sequence[str]  # of each token: plain, accepted, replaced or free
    drafted: Sequence[int | None]  # the draft of each token, where there was one
    offered: int = 0  # drafts that were judged
    accepted: int = 0  # drafts that stood, those that the text had no room for among them


@dataclass(frozen=True)
class Cell:
    """One character, in the colour of its last byte."""

    text: str  # as it is shown
    origin: str
    step: int  # the pass that wrote it, from 1; 0 for the prompt
    note: str


@dataclass(frozen=True, kw_only=True)
class DraftedText:
    """A text as far as it is shown."""

    prompt: str
    passes: Sequence[Pass] = ()  # those shown
    total: int = 0  # passes there are
    depth: int = 0  # drafts a pass; 0 without
    expected: float = float("nan")  # tokens of a pass with drafts, from the acceptance alone

    @cached_property
    def cells(self) -> list[Cell]:
        facts: list[tuple[int, str, int | None]] = [(0, "prompt", None)] * len(self._prompt)
        for step, one in enumerate(self.passes, 1):
            facts += [(step, *fact) for fact in zip(one.origins, one.drafted, strict=True)]
        cells, end = [], 0
        for character, raw in _characters(self._prompt + self._written):
            end += len(raw)
            step, origin, drafted = facts[end - 1]
            note = f"pass {step}: {WORDS[origin]}" if step else WORDS[origin]
            if drafted is not None and (origin, drafted) != ("accepted", raw[-1]):
                note += f"; the draft was {quoted(bytes([drafted]))}"
            if len(raw) > 1:
                note += f"; last of {len(raw)} bytes"
            cells.append(Cell("↵\n" if character == "\n" else character or UNREADABLE, origin, step, note))
        return cells

    @property
    def counts(self) -> dict[str, int]:
        """Tokens of each origin."""
        written = Counter(origin for one in self.passes for origin in one.origins)
        return {kind: len(self._prompt) if kind == "prompt" else written[kind] for kind in WORDS}

    @property
    def last_pass(self) -> str:
        """What the last pass did."""
        if not self.passes:
            return f"Before pass 1 of {self.total}" if self.total else "Nothing written yet"
        last, head = self.passes[-1], f"Pass {len(self.passes)} of {self.total}"
        if not last.offered:
            return f"{head} wrote {quoted(bytes(last.tokens))} without a draft"
        drafts = bytes(draft for draft in last.drafted if draft is not None)
        stood = bytes(token for token, origin in zip(last.tokens, last.origins, strict=True) if origin == "accepted")
        parts = [f"{quoted(stood)} stood"] * bool(stood)
        own, origin, drafted = quoted(bytes(last.tokens[-1:])), last.origins[-1], last.drafted[-1]
        if origin == "free":
            parts.append(f"{own} came free")
        elif origin == "replaced" and drafted is not None:
            parts.append(f"{quoted(bytes([drafted]))} was replaced by {own}")
        if self.depth > last.offered:
            parts.append(f"{self.depth - last.offered} more not judged")
        if len(last.tokens) <= last.accepted:
            parts.append("no room for more")
        return f"{head} drafted {quoted(drafts)}: {', '.join(parts)}"

    @property
    def numbers(self) -> list[str]:
        """Passes, tokens and acceptance so far."""
        if not self.passes:
            return []
        passes, judging = len(self.passes), [one for one in self.passes if one.offered]
        written, rate = counted(len(self._written), "token"), len(self._written) / passes
        words = [f"{written} (bytes) in {counted(passes, 'pass')}: {rate:.2f} per pass"]
        if judging:
            offered, accepted = sum(one.offered for one in judging), sum(one.accepted for one in judging)
            words += [
                f"of {counted(offered, 'judged draft')} {accepted} stood: {accepted / offered:.0%}",
                f"tokens per pass with drafts: {1 + accepted / len(judging):.2f}, "
                f"expected at this acceptance {self.expected:.2f}",
            ]
        return words

    @property
    def legend(self) -> dict[str, str]:
        """What to say of each kind of token."""
        kinds = [kind for kind, count in self.counts.items() if count or (kind in LINES and self.depth)]
        return {kind: f"{WORDS[kind]}: {self.counts[kind]}" for kind in kinds}

    @property
    def summary(self) -> str:
        """The picture in words."""
        said = [self.last_pass, *self.numbers, *self.legend.values()]
        return f"{'. '.join(said)}. The text ends {quoted(self._written[-30:])}"

    @property
    def _prompt(self) -> bytes:
        return self.prompt.encode("utf-8", "replace")

    @property
    def _written(self) -> bytes:
        return bytes(token for one in self.passes for token in one.tokens)


def _characters(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each character of UTF-8 and its bytes; an empty one for what cannot be shown, or is half a character."""
    while data:
        character, size = "", 1
        for length in range(1, 5):
            try:
                character, size = data[:length].decode(), length
            except UnicodeDecodeError:
                continue
            break
        yield character if character.isprintable() or character == "\n" else "", data[:size]
        data = data[size:]


def quoted(data: bytes) -> str:
    """Bytes in quotes; blanks and newlines are seen, and what cannot be shown is spelled."""
    seen = {"\n": "↵", " ": "␣"}
    spelled = ("".join(f"\\x{byte:02x}" for byte in raw) if not c else seen.get(c, c) for c, raw in _characters(data))
    return f"“{''.join(spelled)}”"


def _style() -> str:
    """For the spans below; kept in a style sheet, or each character would carry it."""
    kinds = "".join(
        f".draft-{kind}{{background:{colour}{round(255 * TINT):02x};"
        f"text-decoration:{LINES.get(kind, 'none')} underline {colour} 2px}}"
        for kind, colour in COLOURS.items()
    )
    return (
        f"<style>{kinds}.draft-prompt{{opacity:{GREY}}}.draft-replaced{{font-weight:bold}}"
        ".draft-text{font:14px/1.75 monospace;white-space:break-spaces;overflow-wrap:anywhere;max-width:820px;"
        "padding:6px 8px;margin-top:6px;border:1px solid #8888;text-underline-offset:3px}"
        ".draft-now{outline:2px solid currentColor;outline-offset:1px}"
        ".draft-legend i{font-style:normal;padding:0 3px;margin-right:5px;text-underline-offset:3px}"
        ".draft-legend span{margin-right:16px;display:inline-block}</style>"
    )


def draft_html(text: DraftedText) -> str:
    """The picture as HTML, in the text colour of the page it stands on; the last pass is outlined."""
    runs = []
    for step, cells in groupby(text.cells, key=lambda cell: cell.step):
        spans = "".join(
            f'<span class="draft-{cell.origin}" title="{escape(cell.note)}">{escape(cell.text)}</span>'
            for cell in cells
        )
        runs.append(f'<span class="draft-now">{spans}</span>' if step and step == len(text.passes) else spans)
    legend = " ".join(f'<span><i class="draft-{kind}">abc</i>{words}</span>' for kind, words in text.legend.items())
    return (
        f'{_style()}<div style="line-height:1.6"><div>{"; ".join(text.numbers)}</div>'
        f'<div class="draft-legend">{legend}</div><div><b>{escape(text.last_pass)}</b></div>'
        f'<div class="draft-text" role="img" aria-label="{escape(text.summary)}">{"".join(runs)}</div></div>'
    )


def picture(text: DraftedText) -> Figure:
    """The same picture for page and print."""
    places, row, column = [], 0, 0
    for cell in text.cells:
        if column == COLUMNS:
            row, column = row + 1, 0
        places.append((cell, row, column))
        row, column = (row + 1, 0) if cell.text.endswith("\n") else (row, column + 1)
    rows = row + 1
    figure = Figure(figsize=(10, 0.23 * rows + 1.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, COLUMNS + 0.5), ylim=(rows + 0.1, -0.1))
    axes.set_axis_off()
    for cell, row, column in places:
        _draw(cell, row, column, axes, now=bool(cell.step) and cell.step == len(text.passes))
    title = "\n".join([_drawable(text.last_pass), "; ".join(text.numbers[:2]), *text.numbers[2:]])
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    handles = [
        Patch(facecolor=(COLOURS.get(kind, "white"), TINT), edgecolor=COLOURS.get(kind, "#dddddd"), label=words)
        for kind, words in text.legend.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _draw(cell: Cell, row: int, column: int, axes: Axes, now: bool) -> None:
    if colour := COLOURS.get(cell.origin):
        axes.add_patch(Rectangle((column, row), 1, 0.95, color=colour, alpha=TINT, linewidth=0))
    for line in {"solid": [0.92], "double": [0.88, 0.99], "dotted": [0.92]}.get(LINES.get(cell.origin, ""), []):
        style = ":" if LINES[cell.origin] == "dotted" else "-"
        axes.hlines(row + line, column, column + 1, colors=COLOURS[cell.origin], linestyles=style, linewidth=1.3)
    if now:
        axes.add_patch(Rectangle((column, row - 0.05), 1, 1.1, fill=False, edgecolor="black", linewidth=1.2))
    axes.text(
        column + 0.5, row + 0.45, _drawable(cell.text.rstrip("\n")), ha="center", va="center_baseline", family=FONT,
        fontsize=11.5, fontweight="bold" if cell.origin == "replaced" else "normal",
        alpha=GREY if cell.origin == "prompt" else 1,
    )  # fmt: skip


def _drawable(words: str) -> str:
    """The font has not every character of the world."""
    known = get_font(findfont(FONT))
    return "".join(c if known.get_char_index(ord(c)) else UNREADABLE for c in words)
