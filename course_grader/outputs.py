"""Grades as other programs read them: a CSV file for spreadsheets, and Gradescope's results.json."""

import csv
import io
import json
import re
import unicodedata
from calendar import month_abbr, month_name
from collections.abc import Mapping, Sequence
from pathlib import Path

from course_grader import by_hand
from course_grader.by_hand import NOTHING, Entered, Entries
from course_grader.inert import plain
from course_grader.records import Record, write

MOST_STOPPED = 3  # cells that stopped, described per student; the rest are counted
MOST_SAID = 300  # characters of one description
BYTE_ORDER_MARK = "\ufeff"  # Excel reads UTF-8 only with it

# A spreadsheet runs a cell that begins with one of these, at its start or after what may separate cells elsewhere.
FORMULA = re.compile(r"(^|[;,|\t])(\s*)(?=[=+\-@＝＋－＠])")
# A spreadsheet reads these as numbers, dates, times, truth values or errors, and shows something else.
SIGNS = r"[\d\s.,:/'%()+\-$€£¥_]*"
MONTH = "|".join(name for name in ("sept", *month_name, *month_abbr) if name)
CHANGED = re.compile(
    rf"{SIGNS}\d{SIGNS}(e[+-]?\d+{SIGNS}|[ap]m?\s*)?"
    rf"|\d{SIGNS}({MONTH}){SIGNS}|({MONTH})[\s.,/-]*\d{SIGNS}"
    r"|true|false|wahr|falsch|vrai|faux|verdadero|falso|vero|#.*",
    re.IGNORECASE,
)


def problems(record: Record) -> list[str]:
    """What an instructor should know: why a submission could not be graded as usual, and which cells stopped.

    A wrong answer is not a problem.
    """
    if record.problem:
        said = [record.problem]
    else:
        said = [f"{mark.exercise}: {mark.message}" for mark in record.marks if mark.stopped]
    said += record.stopped[:MOST_STOPPED]
    if more := len(record.stopped) - MOST_STOPPED:
        said += [f"{more} more cells stopped"] * (more > 0)
    return [_short(plain(each)) for each in said]


def table(records: Sequence[Record], entries: Entries | None = None) -> str:
    """A CSV file, one row per student, sorted by name: points per exercise, what people entered, and problems.

    Points are those that count: a score that a person entered in formgrader replaces the grader's, and the column
    "entered" says so.

    Every text is quoted, and invisible characters are written as escapes. A text that a spreadsheet would run as a
    formula gets an apostrophe. A name that it would change, such as 0012345, 1e5 or 2024-01-02, is written as the
    formula ="0012345": Excel and LibreOffice show exactly the text, and look it up as the text. An apostrophe or a tab
    would become a part of the name there, and no lookup by id would find it.
    """
    entries = entries or {}
    exercises = list(dict.fromkeys(mark.exercise for record in records for mark in record.marks))
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["student", "assignment", "points", "of", *exercises, "attempt", "entered", "comments", "problem"])
    for record in sorted(records, key=lambda each: each.student):
        entered = entries.get(record.student, {})
        points = {mark.exercise: by_hand.points(mark, _of(entered, mark.exercise)) for mark in record.marks}
        comments = "; ".join(f"{name}: {each.comment}" for name, each in entered.items() if each.comment)
        writer.writerow([
            _name(record.student), _cell(record.assignment), _whole(by_hand.total(record, entered)), _whole(record.of),
            *(_whole(points[name]) if name in points else "" for name in exercises), record.attempt,
            _cell(_entered(record, entered)), _cell(comments), _cell("; ".join(problems(record))),
        ])  # fmt: skip
    return file.getvalue()


def gradescope(record: Record, entered: Mapping[str, Entered] | None = None) -> str:
    """Gradescope's results.json of one student. Names and messages are plain text, which Gradescope escapes."""
    entered = entered or {}
    tests = []
    for number, mark in enumerate(record.marks, 1):
        by_a_person = _of(entered, mark.exercise)
        points = by_hand.points(mark, by_a_person)
        said = [mark.message, *_said(mark.points, by_a_person)]
        said += [f"Comment: {by_a_person.comment}"] if by_a_person.comment else []
        tests.append({
            "name": mark.exercise, "number": str(number), "score": points, "max_score": mark.of,
            "status": "passed" if points >= mark.of else "failed",
            "output": plain("\n".join(said), keep="\n"), "output_format": "text",
        })  # fmt: skip
    result = {
        "score": by_hand.total(record, entered), "execution_time": record.seconds,
        "output": plain("\n".join(each for each in (record.problem, *record.stopped) if each), keep="\n"),
        "output_format": "text", "test_output_format": "text", "visibility": "visible", "stdout_visibility": "hidden",
        "tests": tests,
    }  # fmt: skip
    return json.dumps(result, indent=1, allow_nan=False) + "\n"


def write_outputs(folder: Path, records: Sequence[Record], entries: Entries | None = None) -> None:
    """Writes grades.csv for the class, and gradescope/STUDENT.json."""
    entries = entries or {}
    write(folder / "grades.csv", BYTE_ORDER_MARK + table(records, entries))
    for record in records:
        write(folder / "gradescope" / f"{record.slug}.json", gradescope(record, entries.get(record.student)))


def remove_others(folder: Path, records: Sequence[Record]) -> None:
    """Removes pages of students who have no record any more, and those that an earlier version named otherwise: they
    show marks that do not count. Other files stay.
    """
    current = {record.slug for record in records}
    for path in [*(folder / "feedback").glob("*.html"), *(folder / "gradescope").glob("*.json")]:
        if path.stem not in current and re.search("-[0-9a-f]{16}$", path.stem):
            path.unlink(missing_ok=True)


def _of(entered: Mapping[str, Entered], exercise: str) -> Entered:
    return entered.get(exercise, NOTHING)


def _entered(record: Record, entered: Mapping[str, Entered]) -> str:
    said = [
        f"{mark.exercise}: {each}" for mark in record.marks for each in _said(mark.points, _of(entered, mark.exercise))
    ]
    said += [f"{name}: look again" for name, each in entered.items() if each.look_again]
    return "; ".join(said)


def _said(points: float, entered: Entered) -> list[str]:
    """What a person entered in place of the grader's points, or on top of them."""
    said, credit = [], entered.extra_credit
    if entered.score is not None:
        said.append(f"{_points(entered.score)} entered by hand instead of {points:g}")
    if credit:
        said.append(f"{_points(abs(credit))} {'added' if credit > 0 else 'subtracted'} by hand")
    return said


def _points(number: float) -> str:
    return f"{number:g} point{'' if number == 1 else 's'}"


def _name(text: str) -> str:
    shown = plain(text)
    if CHANGED.fullmatch(unicodedata.normalize("NFKC", shown).strip()):
        quoted = shown.replace('"', '""')
        return f'="{quoted}"'
    return _cell(text)


def _cell(text: str) -> str:
    return FORMULA.sub(r"\1\2'", plain(text))


def _short(text: str) -> str:
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]} ..."


def _whole(points: float) -> float:
    """20 for 20.0, so that a column has one format."""
    return int(points) if points == int(points) else points
