"""What nbgrader's formgrader and its feedback show: its settings, and a notebook per student."""

import re
import textwrap
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_grader import inert
from course_grader.by_hand import identity
from course_grader.records import Record, write
from course_grader.release import ASSIGNMENTS
from course_grader.stored import digest

COURSE = "deepseek"
MOST_SHOWN = 200  # cells other than the answers
MISSING = "# None of the submitted cells defines it."
UNRECOGNIZED = "# The cell that defines it was not recognized; all other cells are at the end."
# No such kernel exists, so that cells cannot be run by accident.
NO_KERNEL = {"kernelspec": {"name": "none", "display_name": "none: students' code, only to be read"}}

CONFIG = '''"""nbgrader's settings for these grades. Start its tools, and JupyterLab for formgrader, in this folder."""

from pathlib import Path

c = get_config()  # type: ignore # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = {course!r}
c.CourseDirectory.root = str(Path(__file__).parent)
c.CourseDirectory.source_directory = {source!r}
{release}
# nbgrader counts these folders, which are empty: its own autograder would run students' code with all your rights.
c.CourseDirectory.submitted_directory = "submitted-and-marked"
'''
# Not the course's own, as in earlier versions: formgrader's "Generate" writes there.
RELEASE = 'c.CourseDirectory.release_directory = "release"'
COURSES_OWN = re.compile(r"""^c\.CourseDirectory\.release_directory = .*assignments/release['"]$""", re.MULTILINE)


def write_config(folder: Path) -> None:
    """Write the settings for nbgrader's tools. An existing file stays as it is, except for our own dangerous line."""
    if (path := folder / "nbgrader_config.py").exists():
        settings = COURSES_OWN.sub(RELEASE, path.read_text(encoding="utf-8"))
    else:
        settings = CONFIG.format(course=COURSE, source=str(ASSIGNMENTS / "source"), release=RELEASE)
    write(path, settings)


def write_notebook(folder: Path, record: Record, release: NotebookNode) -> None:
    """Write the notebook where formgrader and nbgrader's feedback expect it, and an empty folder for formgrader to
    count.
    """
    name, place = record.assignment, Path(identity(record), record.assignment)
    text = nbformat.writes(notebook(record, release)) + "\n"
    write(folder / "autograded" / place / f"{name}.ipynb", text)
    (folder / "submitted-and-marked" / place).mkdir(parents=True, exist_ok=True)


def notebook(record: Record, release: NotebookNode) -> NotebookNode:
    """The release with the student's code in its cells and the judge's words below them.

    Nothing else comes from the student: no outputs, no Markdown, no metadata.
    """
    answers = inert.answers(record.cells, [mark.exercise for mark in record.marks])
    made, marks = deepcopy(release), {f"check_{mark.exercise}": mark for mark in record.marks}
    made.metadata = NotebookNode({**NO_KERNEL, "language_info": {"name": "python"}})
    for cell in made.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            found = marks[f"check_{name}"].found or marks[f"check_{name}"].points
            cell.source = answers[name] or (UNRECOGNIZED if found else MISSING)
        elif mark := marks.get(name):
            said = f"{mark.points:g} of {mark.of:g} points. {inert.plain(mark.message)}"
            lines = textwrap.fill(said, 100) + "\n"  # formgrader cuts off longer lines
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
        rest[MOST_SHOWN:] = [f"# and {len(rest) - MOST_SHOWN:,} more cells"]
    title = [nbformat.v4.new_markdown_cell("## Other cells of the submission", id=digest("further"))]
    return title * bool(rest) + [
        nbformat.v4.new_code_cell(text, id=digest(f"further {number}")) for number, text in enumerate(rest)
    ]
