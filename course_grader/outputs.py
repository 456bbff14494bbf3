"""Grades as other tools read them: a CSV for spreadsheets, and Gradescope's results.json."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from course_grader.inert import plain
from course_grader.records import Record, write

# What a spreadsheet runs when a cell begins with it: at the start, and behind what may separate cells elsewhere.
FORMULA = re.compile(r"(^|[;,|\t])(\s*)(?=[=+\-@＝＋－＠])")


def problems(record: Record) -> list[tuple[str, str]]:
    """Where a submission could not be marked as others are, and why; an answer that is only wrong is no problem."""
    if record.problem:
        return [("notebook", plain(record.problem))]
    return [(mark.exercise, plain(mark.message)) for mark in record.marks if mark.stopped]


def table(records: Sequence[Record]) -> str:
    """A CSV, one row a student, sorted by name: points of each exercise, and what went wrong.

    Every text is quoted, has its control characters as escapes, and has an apostrophe before whatever a spreadsheet
    would take for a formula.
    """
    exercises = list(dict.fromkeys(mark.exercise for record in records for mark in record.marks))
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["student", "assignment", "points", "of", *exercises, "attempt", "problem"])
    for record in sorted(records, key=lambda each: each.student):
        points = {mark.exercise: mark.points for mark in record.marks}
        wrong = "; ".join(f"{where}: {what}" for where, what in problems(record))
        writer.writerow([
            _cell(record.student), _cell(record.assignment), _short(record.points), _short(record.of),
            *(_short(points[name]) if name in points else "" for name in exercises), record.attempt, _cell(wrong),
        ])  # fmt: skip
    return file.getvalue()


def _cell(text: str) -> str:
    return FORMULA.sub(r"\1\2'", plain(text))


def _short(points: float) -> float:
    """20 for 20.0: one column, one way to write a number."""
    return int(points) if points == int(points) else points


def gradescope(record: Record) -> str:
    """Gradescope's results.json of one student; its names and messages are text, which Gradescope escapes."""
    tests = [
        {
            "name": mark.exercise, "number": str(number), "score": mark.points, "max_score": mark.of,
            "status": "passed" if mark.points == mark.of else "failed",
            "output": plain(mark.message, keep="\n"), "output_format": "text",
        }
        for number, mark in enumerate(record.marks, 1)
    ]  # fmt: skip
    result = {
        "score": record.points, "max_score": record.of, "execution_time": record.seconds,
        "output": plain(record.problem, keep="\n"), "output_format": "text", "test_output_format": "text",
        "visibility": "visible", "stdout_visibility": "hidden", "tests": tests,
    }  # fmt: skip
    return json.dumps(result, indent=1, allow_nan=False) + "\n"


def write_outputs(folder: Path, records: Sequence[Record]) -> None:
    """grades.csv of a class, and gradescope/ of each of its students."""
    write(folder / "grades.csv", table(records))
    for record in records:
        write(folder / "gradescope" / f"{record.slug}.json", gradescope(record))
