"""nbgrader's formgrader in a browser: what people enter there is in every output, and is asked about again."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from course_grader import by_hand
from course_grader.records import Store
from course_grader.submissions import Submission
from tests.entered import export
from tests.lab import CHROMIUM, chromium_page, jupyter_lab, screenshot
from tests.records import ASSIGNMENT, CELLS, rows
from tests.test_grade_command import Calls, handed_in, marked, run

__all__ = ["handed_in", "marked"]  # fixtures
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here: formgrader is not tried in a browser")


@contextmanager
def formgrader(grades: Path, home: Path, student: str) -> Iterator[Page]:
    """Opened on the submission of a student."""
    with sqlite3.connect(grades / "gradebook.db") as database:
        (notebook,) = database.execute(
            "select n.id from submitted_notebook n join submitted_assignment a on a.id = n.assignment_id "
            "where a.student_id = ?", [student],
        ).fetchone()  # fmt: skip
    with jupyter_lab(home, grades) as lab, chromium_page() as page:
        page.goto(f"{lab.url}/login?token={lab.token}&next=/formgrader/submissions/{notebook}/")
        yield page


def save(box: Locator, text: str) -> None:
    with box.page.expect_response(lambda response: response.request.method == "PUT") as response:
        box.fill(text)
        box.dispatch_event("change")
    assert response.value.ok


def test_what_is_entered_in_formgrader_is_in_every_output(handed_in: Path, marked: Calls, tmp_path: Path) -> None:
    grades, ann = tmp_path / "grades", Submission("ann", Path())
    store = Store(grades, ASSIGNMENT)
    assert run(handed_in)[0] == 0
    first = store[ann]
    assert first is not None
    with formgrader(grades, tmp_path / "home", "ann") as page:
        score = page.locator("#check_compress")
        expect(score).to_have_attribute("placeholder", "0")  # the judge's
        save(score, "2.5")
        save(page.locator("#check_rotate_extra_credit"), "0.25")
        save(page.locator("#compress-comment"), "Mind the axis: `dim=-1`.\n<script>alert(1)</script>")
        screenshot(page, "formgrader")

        code, text = run(handed_in, "--resume")
        assert code == 0 and "5.92 of 20 points on average" in text  # (5 + 5 + 7.75)/3
        (row,) = (row for row in rows((grades / ASSIGNMENT / "grades.csv").read_text("utf-8")) if "ann" in row.values())
        assert (row["points"], row["compress"], row["rotate"]) == ("7.75", "2.5", "3.25")
        result = json.loads((grades / f"{ASSIGNMENT}/gradescope/{first.slug}.json").read_text())
        assert result["score"] == 7.75 == sum(test["score"] for test in result["tests"])
        feedback = (grades / f"{ASSIGNMENT}/feedback/{first.slug}.html").read_text("utf-8")
        assert (
            "<strong>7.75</strong> of 20 points" in feedback and "Mind the axis: <code>dim=-1</code>.\n&lt;" in feedback
        )
        assert {row["student_id"]: row["score"] for row in export(grades)}["ann"] == "7.75"

        second = replace(first, attempt=2, cells=[*CELLS, "y = 1"])
        store.keep(second)
        assert run(handed_in, "--resume")[0] == 0
        assert by_hand.read(grades / "gradebook.db", [second])["ann"]["compress"].look_again
        page.reload()
        resolve = page.locator(".mark-graded:visible")
        expect(resolve).to_have_count(1)
        with page.expect_response(lambda response: response.request.method == "PUT"):
            resolve.click()
        assert run(handed_in, "--resume")[0] == 0
        assert not by_hand.read(grades / "gradebook.db", [second])["ann"]["compress"].look_again
