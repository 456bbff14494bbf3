"""Grades in nbgrader's gradebook, and the notebooks that its formgrader and its feedback show with them."""

import logging
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.api import (
    Comment,
    Grade,
    Gradebook,
    Notebook,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
    new_uuid,
)
from nbgrader.preprocessors import SaveCells
from sqlalchemy import Column, MetaData, String, Table, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from course_grader.by_hand import GradebookError, identity
from course_grader.formgrader import COURSE
from course_grader.records import Record
from course_lib import files

# Ours, in nbgrader's database: which code the grades of a submitted notebook belong to.
GRADED_CODE = Table(
    "course_graded_code", MetaData(), Column("notebook_id", String(32), primary_key=True), Column("code", String(64))
)


def write_gradebook(folder: Path, release: NotebookNode, records: Sequence[Record]) -> None:
    """Write the judge's points for every exercise into `folder`/gradebook.db.

    Manual scores, extra credit and comments stay. formgrader asks for a second look at them if the student's code is
    not the one they were entered for, or if the judge's points have changed.

    Raises:
        GradebookError: the database is locked, damaged, or has other exercises for this assignment. It is unchanged.
    """
    if not records:
        return
    path, assignment = (folder / "gradebook.db").resolve(), records[0].assignment
    path.parent.mkdir(parents=True, exist_ok=True)
    address = _address(path)
    try:
        with _for_nbgrader():
            _create(path)
            with Gradebook(address, COURSE) as gradebook:
                gradebook.update_or_create_assignment(assignment)
                resources = {"notebook": assignment, "assignment": assignment, "db_url": address}
                SaveCells().preprocess(deepcopy(release), ResourcesDict(nbgrader=resources))
                _enter(gradebook, records)
    # nbgrader's own errors are ValueErrors
    except (SQLAlchemyError, ValueError, RuntimeError, OSError, SubprocessError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise GradebookError(f"{path} could not be brought up to date: {reason}") from None


def _enter(gradebook: Gradebook, records: Sequence[Record]) -> None:
    """In one transaction. nbgrader's own functions take several per student, each slower than the one before."""
    session, book = gradebook.db, gradebook.find_notebook(records[0].assignment, records[0].assignment)
    cells = {cell.name.removeprefix("check_"): cell.id for cell in book.grade_cells}
    if unknown := {mark.exercise for record in records for mark in record.marks} - set(cells):
        raise ValueError(f"the release has no exercise {', '.join(sorted(unknown))}")
    books, students = _books(session, book), set(session.scalars(select(Student.id)))
    mine = select(Grade).join(SubmittedNotebook).where(SubmittedNotebook.notebook_id == book.id)
    grades: dict[Any, Any] = {(grade.notebook_id, grade.cell_id): grade for grade in session.scalars(mine)}
    codes, commented = _codes(session), _commented(session, book)
    for record in records:
        if (student := identity(record)) not in students:
            # formgrader shows a student without a name as "None, None"
            session.add(Student(id=student, last_name=_readable(record.student), first_name=""))
        if student not in books:
            books[student] = _submit(session, book, student)
        other_code = _remember_code(session, codes, books[student], record)
        for mark in record.marks:
            key = books[student], cells[mark.exercise]
            if (grade := grades.get(key)) is None:
                session.add(grade := Grade(notebook_id=key[0], cell_id=key[1]))
            _change(grade, mark.points, other_code, (books[student], mark.exercise) in commented)
    session.commit()


def _submit(session: Any, book: Notebook, student: str) -> str:
    """The id of a new submitted notebook, without grades yet."""
    whole, part = new_uuid(), new_uuid()
    session.add(SubmittedAssignment(id=whole, assignment_id=book.assignment_id, student_id=student))
    session.add(SubmittedNotebook(id=part, assignment_id=whole, notebook_id=book.id))
    session.add_all(Comment(notebook_id=part, cell_id=cell.id) for cell in book.solution_cells)
    return part


def _change(grade: Any, points: float, other_code: bool, commented: bool) -> None:
    if grade.auto_score != points or other_code:
        by_hand = commented or grade.manual_score is not None or bool(grade.extra_credit)
        grade.auto_score, grade.needs_manual_grade = points, by_hand


def _commented(session: Any, book: Notebook) -> set[tuple[str, str]]:
    """Submitted notebooks and exercises on which a person has commented."""
    mine = select(Comment).join(SubmittedNotebook).where(SubmittedNotebook.notebook_id == book.id)
    comments: list[Any] = list(session.scalars(mine))
    return {(each.notebook_id, each.name) for each in comments if str(each.manual_comment or "").strip()}


def _codes(session: Any) -> Mapping[str, str]:
    """By submitted notebook, a hash of the code that its grades are for."""
    GRADED_CODE.create(session.connection(), checkfirst=True)
    return dict(session.execute(select(GRADED_CODE.c.notebook_id, GRADED_CODE.c.code)).all())


def _remember_code(session: Any, codes: Mapping[str, str], notebook_id: str, record: Record) -> bool:
    """True if the grades of this notebook were given for other code than the record's.

    The whole code counts, not only the cell of an exercise: a function may call others.
    """
    code = record.code
    if notebook_id not in codes:  # new, or of an earlier version of the course, which did not keep the code
        session.execute(insert(GRADED_CODE).values(notebook_id=notebook_id, code=code))
        return record.attempt > 1
    if other := codes[notebook_id] != code:
        session.execute(update(GRADED_CODE).where(GRADED_CODE.c.notebook_id == notebook_id).values(code=code))
    return other


def _books(session: Any, book: Notebook) -> dict[str, str]:
    """The ids of submitted notebooks that are in the database already, by student."""
    rows = select(SubmittedAssignment.student_id, SubmittedNotebook.id).join(
        SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id
    )
    return dict(session.execute(rows.where(SubmittedNotebook.notebook_id == book.id)).all())


def _readable(name: str) -> str:
    """The letters and digits of a name, which are harmless on every page and in every spreadsheet."""
    return re.sub(r"[^\w.]+", " ", name).strip(" .")[:100]


def _address(path: Path) -> Any:
    return URL.create("sqlite", database=str(path))


def _create(path: Path) -> None:
    """Whole or not at all: nbgrader would take an interrupted, incomplete database for a complete one."""
    if not path.exists():
        with files.replacing(path) as part:
            Gradebook(_address(part), COURSE).close()


@contextmanager
def _for_nbgrader() -> Iterator[None]:
    """nbgrader calls a program that is installed next to this Python by its name, and prints a traceback per error."""
    logger, path = logging.getLogger("tornado.application"), os.environ.get("PATH", "")
    before, logger.disabled = logger.disabled, True
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        yield
    finally:
        logger.disabled, os.environ["PATH"] = before, path
