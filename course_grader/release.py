"""The release of an assignment: its source without solutions and outputs, made by nbgrader's own preprocessors."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_grader.colab import page_of, stamped
from course_grader.stored import digest, embedded, executed, normalised
from course_lib import files

ASSIGNMENTS = Path(__file__).resolve().parents[1] / "assignments"
STUB = {"python": "raise NotImplementedError"}


def sources(assignments: Path = ASSIGNMENTS) -> dict[str, Path]:
    """Every source notebook, by its name."""
    return {path.stem: path for path in sorted((assignments / "source").glob("*/*.ipynb"))}


def target(source: Path) -> Path:
    return source.parents[2] / "release" / source.parent.name / source.name


def released(source: Path) -> str:
    """The text of the release that `source` gives."""
    # here: grading makes no release, and importing these takes a second
    from nbconvert.exporters.exporter import ResourcesDict
    from nbgrader import preprocessors as steps

    notebook, resources = normalise(read(source)), ResourcesDict()
    # the order of nbgrader's generate_assignment, without what needs its database or starts a kernel
    for step in (
        steps.LockCells(), steps.ClearSolutions(code_stub=STUB), steps.ClearOutput(), steps.CheckCellMetadata(),
        steps.ClearHiddenTests(), steps.ClearMarkScheme(), steps.ComputeChecksums(), steps.CheckCellMetadata(),
    ):  # fmt: skip
        notebook, _ = step.preprocess(notebook, resources)
    return text(normalise(notebook))


def stale(source: Path) -> bool:
    """Whether the release at hand is another than the one that `source` gives."""
    return not target(source).exists() or target(source).read_text(encoding="utf-8") != released(source)


def write(source: Path) -> None:
    files.write_text(target(source), released(source))


def run(source: Path) -> None:
    """Run a source notebook and store what its cells show."""
    notebook = executed(read(source), source.parent)
    files.write_text(source, text(normalise(notebook)))


def read(source: Path) -> NotebookNode:
    """A source notebook with its badge, bootstrap cell and drawings as they should be."""
    return stamped(embedded(nbformat.read(source, as_version=4)), page_of(source))


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A cell's id comes from its place or its grade_id, so that a release has the ids of its source."""
    named = [(cell, cell.metadata.get("nbgrader", {}).get("grade_id", n)) for n, cell in enumerate(notebook.cells)]
    return normalised(notebook, [digest(f"{cell.cell_type} {name}") for cell, name in named])


def text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"
