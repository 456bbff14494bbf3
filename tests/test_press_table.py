"""The press table: every cell has a verdict of its own, and it is the one that claims.json gives."""

import re
from collections import Counter

from course_lib.claims import claims
from course_lib.press_table import CELLS, COLOURS, CONTRADICTED, MARKS, MODELS, SIGNS, SUPPORTED, WITHOUT, press_html


def test_every_cell_is_judged_by_one_claim_that_speaks_of_it() -> None:
    assert len({(cell.row, cell.model) for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        claim = cell.judged_by
        assert claim in claims() and cell.model in MODELS
        number = re.sub(r"[^0-9.]", "", cell.said)
        in_words = cell.said == "4.5 million" and "4M to 5M GPU hours" in claim.claim
        assert in_words or number in claim.claim + claim.reading, f"{cell}: {claim.claim} {claim.reading}"
        assert cell.verdict in (SUPPORTED, CONTRADICTED, WITHOUT)


def test_marks_of_a_cells_own_say_what_the_reading_says() -> None:
    own = {(cell.row, cell.model): cell for cell in CELLS if cell.mark}
    assert set(own) == {("training data", "DeepSeek-V3"), ("active for a token", "GPT-4")}
    assert "14.8T, is published" in own["training data", "DeepSeek-V3"].judged_by.reading
    assert "For GPT-4 it cannot be checked" in own["active for a token", "GPT-4"].judged_by.reading
    for cell in CELLS:
        assert cell.judged_by.verdict in MARKS


def test_only_deepseeks_column_has_sources() -> None:
    supported = [cell.model for cell in CELLS if cell.verdict == SUPPORTED]
    assert set(supported) == {"DeepSeek-V3"}
    assert Counter(cell.verdict for cell in CELLS) == {WITHOUT: 13, CONTRADICTED: 4, SUPPORTED: 4}


def test_the_page_marks_by_colour_sign_and_word() -> None:
    page = press_html()
    for verdict, colour in COLOURS.items():
        cells = sum(cell.verdict == verdict for cell in CELLS)
        assert page.count(colour) == page.count(f"<b>{SIGNS[verdict]} {verdict}</b>") == cells
    notes = len({cell.claim for cell in CELLS})
    assert page.count("<li>") == notes and f"[{notes}]" in page and f"[{notes + 1}]" not in page
    assert "$" not in page.replace("<span>$</span>", "")
    empty = press_html([cell for cell in CELLS if cell.row == "made by"])
    assert empty.count("<td></td>") == 3  # the corner, Gemini and DeepSeek-V3
