"""A table that went round in January 2025: four models, what was said of each, and whether a source says so too."""

from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.claims import Claim, claims, plain

SUPPORTED, CONTRADICTED, WITHOUT = "supported", "contradicted", "without source"
SIGNS = {SUPPORTED: "\N{CHECK MARK}", CONTRADICTED: "\N{MULTIPLICATION X}", WITHOUT: "?"}
# colours that the colour-blind tell apart (Okabe and Ito); sign and word say the same once more
COLOURS = {SUPPORTED: "#009E73", CONTRADICTED: "#D55E00", WITHOUT: "#999999"}
# what the verdict on a claim means for a number in a cell
MARKS = {
    "right": SUPPORTED, "imprecise": SUPPORTED, "contradicted": CONTRADICTED, "misread": CONTRADICTED,
    "no public source": WITHOUT,
}  # fmt: skip
MODELS = ("GPT-4", "Gemini", "Claude", "DeepSeek-V3")


@dataclass(frozen=True)
class Cell:
    """One entry of the table, and the claim in claims.json that judges it, by how it begins."""

    row: str
    model: str
    said: str
    claim: str
    mark: str = ""  # where a claim speaks of several cells that fare differently; empty: as its verdict says

    @property
    def judged_by(self) -> Claim:
        (found,) = [claim for claim in claims() if claim.claim.startswith(self.claim)]
        return found

    @property
    def verdict(self) -> str:
        return self.mark or MARKS[self.judged_by.verdict]


TOKENS, HOURS = "GPT-4 learned from 10T tokens", "Training GPT-4, Gemini and Claude took"
ACTIVE = "GPT-4 and Gemini put every parameter"
CELLS = (
    Cell("made by", "GPT-4", "DeepAI", "GPT-4 was made by"),
    Cell("made by", "Claude", "AnthAI", "Claude was made by"),
    Cell("cost", "GPT-4", "$5 billion", "OpenAI spent $5 billion"),
    Cell("cost", "Gemini", "$4 billion", "Gemini cost $4 billion"),
    Cell("cost", "Claude", "$3.5 billion", "Gemini cost $4 billion"),
    Cell("cost", "DeepSeek-V3", "$5.6 million", "DeepSeek-V3 was developed on a budget"),
    Cell("training data", "GPT-4", "10T tokens", TOKENS),
    Cell("training data", "Gemini", "12T tokens", TOKENS),
    Cell("training data", "Claude", "11T tokens", TOKENS),
    Cell("training data", "DeepSeek-V3", "14.8T tokens", TOKENS, SUPPORTED),
    Cell("parameters", "GPT-4", "175 billion", "GPT-4 has 175 billion"),
    Cell("parameters", "Gemini", "540 billion", "Gemini has 540 billion"),
    Cell("parameters", "Claude", "400 billion", "Claude has 400 billion"),
    Cell("parameters", "DeepSeek-V3", "671 billion", "DeepSeek-V3 has more than 671"),
    Cell("active for a token", "GPT-4", "all", ACTIVE, WITHOUT),
    Cell("active for a token", "Gemini", "all", ACTIVE),
    Cell("active for a token", "DeepSeek-V3", "37 billion", "DeepSeek-V3 has more than 671"),
    Cell("GPU hours", "GPT-4", "5 million", HOURS),
    Cell("GPU hours", "Gemini", "4.5 million", HOURS),
    Cell("GPU hours", "Claude", "4 million", HOURS),
    Cell("GPU hours", "DeepSeek-V3", "2.788 million", "Training DeepSeek-V3 took 2.788"),
)


def press_html(cells: Sequence[Cell] = CELLS) -> str:
    """The table, each cell with sign, word and colour of its verdict, and a number that leads to the reading below."""
    readings = list(dict.fromkeys(cell.judged_by for cell in cells))
    placed = {(cell.row, cell.model): _entry(cell, readings.index(cell.judged_by) + 1) for cell in cells}
    heads = "".join(f"<th scope='col'>{model}</th>" for model in MODELS)
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{row}</th>"
        + "".join(placed.get((row, model), "<td></td>") for model in MODELS)
        + "</tr>"
        for row in dict.fromkeys(cell.row for cell in cells)
    )
    notes = "".join(f"<li>{plain(each.reading)} <i>{plain(each.source)}</i></li>" for each in readings)
    return f"<table><tr><td></td>{heads}</tr>{rows}</table><ol>{notes}</ol>"


def _entry(cell: Cell, note: int) -> str:
    style = f"text-align:left;border-left:6px solid {COLOURS[cell.verdict]}"
    mark = f"{SIGNS[cell.verdict]} {cell.verdict}"
    return f"<td style='{style}'>{plain(cell.said)} [{note}]<br><b>{mark}</b></td>"
