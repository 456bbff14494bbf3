"""Whether gradebook.db already holds what a run would write. nbgrader takes seconds to load, so SQLite is asked."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode

from course_grader import by_hand
from course_grader.records import Record

OF_ASSIGNMENT = """
JOIN notebook ON notebook.id = {table}.notebook_id
JOIN assignment ON assignment.id = notebook.assignment_id
WHERE assignment.name = ?
"""
SOURCES = "SELECT source_cell.name, source FROM source_cell" + OF_ASSIGNMENT.format(table="source_cell")
POINTS = (
    "SELECT base_cell.name, max_score FROM grade_cells JOIN base_cell ON base_cell.id = grade_cells.id"
    + OF_ASSIGNMENT.format(table="base_cell")
)
GRADES = """
SELECT submitted_assignment.student_id, base_cell.name, auto_score, course_graded_code.code
FROM grade
JOIN base_cell ON base_cell.id = grade.cell_id
JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
JOIN assignment ON assignment.id = submitted_assignment.assignment_id
JOIN course_graded_code ON course_graded_code.notebook_id = submitted_notebook.id
WHERE assignment.name = ?
"""
SAVED = ("grade", "solution", "locked", "task")  # nbgrader stores cells with any of these


def up_to_date(database: Path, release: NotebookNode, records: Sequence[Record]) -> bool:
    """True if the database has the release's cells, and the points and code of every record.

    What people entered plays no part. A missing, damaged or foreign database is not up to date.
    """
    if not records:
        return True
    if not database.exists():
        return False
    marks = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in release.cells]
    sources = {meta["grade_id"]: source for meta, source in marks if any(meta.get(key) for key in SAVED)}
    points = {meta["grade_id"]: float(meta["points"]) for meta, _ in marks if meta.get("grade")}
    wanted = {
        (by_hand.identity(record), f"check_{mark.exercise}", float(mark.points), record.code)
        for record in records for mark in record.marks
    }  # fmt: skip
    assignment = (records[0].assignment,)
    try:
        with by_hand.opened(database) as connection:
            return (
                dict(connection.execute(SOURCES, assignment)) == sources
                and dict(connection.execute(POINTS, assignment)) == points
                and wanted <= set(connection.execute(GRADES, assignment))
            )
    except sqlite3.Error:
        return False
