"""What people enter in nbgrader's formgrader: scores, extra credit and comments, read from gradebook.db.

Points count as in nbgrader's own export: a manual score replaces the judge's, and extra credit is added to it.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from course_grader.records import Mark, Record

# nbgrader writes ids into folders, web pages and CSV lines without quoting them
PLAIN_ID = re.compile(r"(?!.*-[0-9a-f]{8,}$)\w[\w.@-]{0,59}")  # must not look like the id made for another student
MOST_POINTS = 1_000_000  # a score or extra credit; more is a slip, and sums of it may not be numbers
WAIT = 10  # seconds for a formgrader that is saving at this moment

# formgrader shows the box for a score below check_NAME, and the one for a comment below the cell NAME
GRADES = """
SELECT submitted_assignment.student_id, base_cell.name, manual_score, extra_credit, needs_manual_grade
FROM grade
JOIN base_cell ON base_cell.id = grade.cell_id
JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
JOIN assignment ON assignment.id = submitted_assignment.assignment_id
WHERE assignment.name = ?
"""
COMMENTS = """
SELECT submitted_assignment.student_id, base_cell.name, manual_comment
FROM comment
JOIN base_cell ON base_cell.id = comment.cell_id
JOIN submitted_notebook ON submitted_notebook.id = comment.notebook_id
JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
JOIN assignment ON assignment.id = submitted_assignment.assignment_id
WHERE assignment.name = ? AND manual_comment IS NOT NULL
"""


class GradebookError(Exception):
    """Why gradebook.db could not be read or brought up to date, in one sentence without a full stop."""


@dataclass(frozen=True)
class Entered:
    """What a person entered for one exercise of one student."""

    score: float | None = None  # replaces the judge's points
    extra_credit: float = 0.0  # added to either; may be negative
    comment: str = ""
    look_again: bool = False  # entered for other code, or before the judge's points changed; saving again clears it

    @property
    def anything(self) -> bool:
        return self.score is not None or self.extra_credit != 0 or bool(self.comment)


NOTHING = Entered()
Entries = Mapping[str, Mapping[str, Entered]]  # by Record.student, then by exercise; only where something was entered


def read(database: Path, records: Sequence[Record]) -> Entries:
    """What people entered for the students of `records`, all of one assignment. A missing database has no entries.

    Raises:
        GradebookError: the database is locked, damaged, or not one that this version of nbgrader writes.
    """
    if not records or not database.exists():
        return {}
    students = {identity(record): record.student for record in records}
    exercises = {mark.exercise for record in records for mark in record.marks}
    found: dict[str, dict[str, Entered]] = {}
    try:
        with opened(database) as connection:
            assignment = (records[0].assignment,)
            for student, cell, score, credit, again in connection.execute(GRADES, assignment):
                if student in students and (name := cell.removeprefix("check_")) in exercises:
                    place = f"for {name} of {student}"
                    entered = Entered(_number(score, place), _number(credit, place) or 0.0, look_again=bool(again))
                    found.setdefault(students[student], {})[name] = entered
            for student, name, comment in connection.execute(COMMENTS, assignment):
                if student in students and name in exercises:
                    entries = found.setdefault(students[student], {})
                    entries[name] = replace(entries.get(name, NOTHING), comment=str(comment).strip())
    except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GradebookError(f"{database} could not be read: {reason}") from None
    kept = {student: {n: e for n, e in entries.items() if e.anything} for student, entries in found.items()}
    return {student: entries for student, entries in kept.items() if entries}


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """The database for reading only, while formgrader may use it."""
    # not mode=ro: after a crash, SQLite must be able to roll back what a writer left half-done
    address = f"file:{quote(str(database.resolve()))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=WAIT)) as connection:
        connection.execute("PRAGMA query_only = 1")
        yield connection


def points(mark: Mark, entered: Entered = NOTHING) -> float:
    """The points that count for one exercise. Can exceed `mark.of`, or be negative, if a person said so."""
    return round((mark.points if entered.score is None else entered.score) + entered.extra_credit, 2)


def total(record: Record, entries: Mapping[str, Entered]) -> float:
    """The points that count for a submission: never below 0, as in nbgrader's export."""
    return round(max(0.0, sum(points(mark, entries.get(mark.exercise, NOTHING)) for mark in record.marks)), 2)


def identity(record: Record) -> str:
    """The student's id in the gradebook: the name if nbgrader can take it, else a plain id for this student only.

    Must stay the same from version to version: what people entered is found by it.
    """
    if PLAIN_ID.fullmatch(record.student):
        return record.student
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", record.student)[:40].strip("._-") or "student"
    return f"{plain}-{hashlib.sha256(record.student.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def _number(value: object, place: str) -> float | None:
    if value is None or (isinstance(value, int | float) and abs(value) <= MOST_POINTS):
        return value
    raise ValueError(f"the score {place} is {value!r}, not a number up to {MOST_POINTS:,}")
