from nbformat.v4 import new_code_cell, new_output

from course_lib.claims import claims, claims_html
from tests.notebook_rules import stray_dollars

VERDICTS = {
    "right", "about right", "imprecise", "misread", "overstated", "contradicted", "no public source", "unsupported",
    "opinion",
}  # fmt: skip


def test_every_claim_is_judged_and_sourced() -> None:
    assert len(claims()) == 41
    for claim in claims():
        assert claim.verdict in VERDICTS
        assert claim.lesson in {"", "01", "02", "03", "04", "05", "06", "07", "08"}
        assert claim.said_in in {"blog", "slides"}
        assert claim.claim.endswith((".", "?")) and claim.reading.endswith(".")
        assert claim.source or claim.verdict in ("opinion", "unsupported", "no public source"), claim.claim


def test_the_table_keeps_verdicts_folded() -> None:
    table = claims_html(claims())
    assert table.count("<details>") == table.count("</details>") == 41
    assert "<script" not in table


def test_money_in_claims_is_not_taken_for_a_formula() -> None:
    table = new_output("display_data", {"text/html": claims_html(claims())})
    assert "$</span>" in table.data["text/html"]
    assert list(stray_dollars(new_code_cell(outputs=[table]))) == []
