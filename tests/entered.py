"""What a person does in formgrader, and what nbgrader exports, without a browser."""

import csv
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin

from course_grader import gradebook
from tests.records import ASSIGNMENT


def book(folder: Path) -> Gradebook:
    return Gradebook(gradebook._address((folder / "gradebook.db").resolve()), gradebook.COURSE)


def enter(
    folder: Path, student: str, exercise: str, *, score: float | None = None, credit: float | None = None,
    comment: str | None = None,
) -> None:  # fmt: skip
    """As formgrader's API saves it: score and extra credit at the check, the comment at the answer."""
    with book(folder) as opened:
        place = ASSIGNMENT, ASSIGNMENT, student
        grade: Any = opened.find_grade(f"check_{exercise}", *place)
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = score, credit, False
        if comment is not None:
            answer: Any = opened.find_comment(exercise, *place)
            answer.manual_comment = comment
        opened.db.commit()


def export(folder: Path) -> list[dict[str, str]]:
    """What `nbgrader export` writes, read line by line: it quotes nothing."""
    with book(folder) as opened:
        CsvExportPlugin(to=str(folder / "export.csv")).export(opened)
    return list(csv.DictReader((folder / "export.csv").read_text(encoding="utf-8").splitlines()))
