"""Graded notebooks for tests: their cells by role, what they print, and how they run."""

import copy
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import nbformat
from nbformat import NotebookNode
from nbgrader.utils import determine_grade

from course_grader import release

WAITING = "This cell comes to life when"
DISTRUSTED = "Do not trust this cell yet"


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def by_id(notebook: NotebookNode, role: str) -> dict[str, NotebookNode]:
    """Cells by grade_id; `role` is "grade" or "solution"."""
    cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get(role)]
    found = {cell.metadata.nbgrader.grade_id: cell for cell in cells}
    assert len(found) == len(cells), "a grade_id stands twice"
    return found


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")


def all_printed(notebook: NotebookNode) -> str:
    return "".join(map(printed, code_cells(notebook)))


def verdicts(notebook: NotebookNode) -> dict[str, str]:
    """What the check of each exercise says."""
    return {name.removeprefix("check_"): printed(cell) for name, cell in by_id(notebook, "grade").items()}


def grades(notebook: NotebookNode) -> dict[str, tuple[float | None, float]]:
    """Points by exercise as nbgrader reads them from a run: those earned, and all there are."""
    return {name.removeprefix("check_"): determine_grade(cell) for name, cell in by_id(notebook, "grade").items()}


def secrets(source: NotebookNode) -> Iterator[str]:
    """Lines of the solutions, but not those that any program has."""
    for cell in by_id(source, "solution").values():
        body = cell.source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
        yield from (line.strip() for line in body.splitlines() if len(line.strip()) > len("else:"))


def run(notebook: NotebookNode) -> NotebookNode:
    """Run to its end, in a folder of its own; a cell that raises stops it and fails."""
    with tempfile.TemporaryDirectory() as folder:
        return release.executed(copy.deepcopy(notebook), Path(folder))


def said_here(notebook: NotebookNode) -> dict[str, str]:
    """What each code cell prints, by its source, when the page runs in this process, which is quicker than in a kernel.

    Pictures are left out: outside a notebook, IPython prints the data of what it is to display.
    """
    names: dict[str, Any] = {}
    said = {}
    for cell in code_cells(notebook):
        with (
            patch.object(plt, "show", lambda: plt.close()),
            patch("IPython.display.display", lambda *_, **__: None),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            exec(cell.source, names)
        assert not err.getvalue(), "nbgrader gives no points to a cell that writes there"
        said[cell.source] = out.getvalue()
    return said


@cache  # several tests look at the same run
def solved(name: str) -> NotebookNode:
    """The source, run."""
    return run(read(release.sources()[name]))


def with_bodies(source: NotebookNode, **bodies: str) -> NotebookNode:
    """The source with other solutions, by name, one line each."""
    notebook = copy.deepcopy(source)
    for name, cell in by_id(notebook, "solution").items():
        if name in bodies:
            cell.source = re.sub(r"### BEGIN.*END SOLUTION", lambda _, n=name: bodies[n], cell.source, flags=re.DOTALL)
    return notebook
