"""Grades in nbgrader's gradebook, and the notebooks that its formgrader and its feedback show beside them."""

import logging
import os
import re
import sysconfig
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import nbformat
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
from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from course_grader import inert
from course_grader.by_hand import GradebookError, identity
from course_grader.records import Record, write
from course_grader.release import ASSIGNMENTS
from course_grader.stored import digest
from course_lib import files

COURSE = "deepseek"
MOST_SHOWN = 200  # cells beside the answers
# Nobody can run a cell by accident of a kernel that is not there.
NO_KERNEL = {"kernelspec": {"name": "none", "display_name": "none: students' code, to be read"}}

CONFIG = '''"""nbgrader's view of these grades. Run its tools, and JupyterLab for its formgrader, in this folder."""

from pathlib import Path

c = get_config()  # type: ignore # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = {course!r}
c.CourseDirectory.root = str(Path(__file__).parent)
c.CourseDirectory.source_directory = {source!r}
c.CourseDirectory.release_directory = {release!r}
# nbgrader counts these folders, which are empty: its own autograder would run students' code with all that you may do.
c.CourseDirectory.submitted_directory = "submitted-and-marked"
'''


def write_gradebook(folder: Path, release: NotebookNode, records: Sequence[Record]) -> None:
    """Points of every exercise, in `folder`/gradebook.db. What a person has graded there stays, marked for a new look
    where the judge has changed its mind.

    Raises:
        GradebookError: the database is locked, broken, or of an assignment with other exercises. Nothing else is lost.
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
    """All in one transaction: nbgrader's own ways make several for each student, each slower than the one before."""
    session, book = gradebook.db, gradebook.find_notebook(records[0].assignment, records[0].assignment)
    cells = {cell.name.removeprefix("check_"): cell.id for cell in book.grade_cells}
    if unknown := {mark.exercise for record in records for mark in record.marks} - set(cells):
        raise ValueError(f"the release asks for no {', '.join(sorted(unknown))}")
    books, students = _books(session, book), set(session.scalars(select(Student.id)))
    mine = select(Grade).join(SubmittedNotebook).where(SubmittedNotebook.notebook_id == book.id)
    grades: dict[Any, Any] = {(grade.notebook_id, grade.cell_id): grade for grade in session.scalars(mine)}
    for record in records:
        if (student := identity(record)) not in students:
            # formgrader shows who has no name as "None, None"
            session.add(Student(id=student, last_name=_readable(record.student), first_name=""))
        if student not in books:
            books[student] = _submit(session, book, student)
        for mark in record.marks:
            key = books[student], cells[mark.exercise]
            if (grade := grades.get(key)) is None:
                session.add(grade := Grade(notebook_id=key[0], cell_id=key[1]))
            _change(grade, mark.points)
    session.commit()


def _submit(session: Any, book: Notebook, student: str) -> str:
    """The id of a new submitted notebook, without grades yet."""
    whole, part = new_uuid(), new_uuid()
    session.add(SubmittedAssignment(id=whole, assignment_id=book.assignment_id, student_id=student))
    session.add(SubmittedNotebook(id=part, assignment_id=whole, notebook_id=book.id))
    session.add_all(Comment(notebook_id=part, cell_id=cell.id) for cell in book.solution_cells)
    return part


def _change(grade: Any, points: float) -> None:
    if grade.auto_score != points:
        grade.auto_score, grade.needs_manual_grade = points, grade.manual_score is not None


def _books(session: Any, book: Notebook) -> dict[str, str]:
    """The ids of submitted notebooks that are there already, by student."""
    rows = select(SubmittedAssignment.student_id, SubmittedNotebook.id).join(
        SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id
    )
    return dict(session.execute(rows.where(SubmittedNotebook.notebook_id == book.id)).all())


def _readable(name: str) -> str:
    """Letters and digits of a name, which no page and no spreadsheet takes for anything else."""
    return re.sub(r"[^\w.]+", " ", name).strip(" .")[:100]


def _address(path: Path) -> Any:
    return URL.create("sqlite", database=str(path))


def _create(path: Path) -> None:
    """Whole or not at all: nbgrader takes one whose making was interrupted for complete."""
    if not path.exists():
        with files.replacing(path) as part:
            Gradebook(_address(part), COURSE).close()


@contextmanager
def _for_nbgrader() -> Iterator[None]:
    """nbgrader calls a program that lies beside this Python, by its name, and prints the trace of every error."""
    logger, path = logging.getLogger("tornado.application"), os.environ.get("PATH", "")
    before, logger.disabled = logger.disabled, True
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        yield
    finally:
        logger.disabled, os.environ["PATH"] = before, path


def write_config(folder: Path) -> None:
    """For nbgrader's tools; one that is there stays as it is."""
    if not (path := folder / "nbgrader_config.py").exists():
        places = {name: str(ASSIGNMENTS / name) for name in ("source", "release")}
        write(path, CONFIG.format(course=COURSE, **places))


def write_notebook(folder: Path, record: Record, release: NotebookNode) -> None:
    """The notebook where formgrader and nbgrader's feedback look for it, and an empty folder that formgrader counts."""
    name, place = record.assignment, Path(identity(record), record.assignment)
    text = nbformat.writes(notebook(record, release)) + "\n"
    write(folder / "autograded" / place / f"{name}.ipynb", text)
    (folder / "submitted-and-marked" / place).mkdir(parents=True, exist_ok=True)


def notebook(record: Record, release: NotebookNode) -> NotebookNode:
    """The release with the student's code in its cells and the judge's words below them, and nothing else of the
    student's: no outputs, no Markdown, no metadata."""
    answers = inert.answers(record.cells, [mark.exercise for mark in record.marks])
    made, marks = deepcopy(release), {f"check_{mark.exercise}": mark for mark in record.marks}
    made.metadata = NotebookNode({**NO_KERNEL, "language_info": {"name": "python"}})
    for cell in made.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell.source = answers[name] or "# No cell of the submission defines it."
        elif mark := marks.get(name):
            said = f"{mark.points:g} of {mark.of:g} points. {inert.plain(mark.message)}"
            lines = textwrap.fill(said, 100) + "\n"  # formgrader cuts off what does not fit
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=lines)]
    made.cells += _further(record, release)
    return made


def _further(record: Record, release: NotebookNode) -> list[NotebookNode]:
    """Code of the submission that is neither an answer nor in the release."""
    asked = {"", *(cell.source.strip() for cell in release.cells)}
    used = {inert.place(record.cells, mark.exercise) for mark in record.marks}
    rest = [inert.code(text) for n, text in enumerate(record.cells) if n not in used and text.strip() not in asked]
    if record.problem:
        rest.insert(0, f"# Not marked. {inert.plain(record.problem)}")
    if len(rest) > MOST_SHOWN:
        rest[MOST_SHOWN:] = [f"# and {len(rest) - MOST_SHOWN:,} cells more"]
    title = [nbformat.v4.new_markdown_cell("## Of the submission, and not in the release", id=digest("further"))]
    return title * bool(rest) + [
        nbformat.v4.new_code_cell(text, id=digest(f"further {number}")) for number, text in enumerate(rest)
    ]
