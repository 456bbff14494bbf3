"""The release of an assignment: its source without solutions and outputs, made by nbgrader's own preprocessors."""

import copy
import hashlib
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)

ASSIGNMENTS = Path(__file__).resolve().parents[1] / "assignments"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
STUB = {"python": "raise NotImplementedError"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# the order of nbgrader's generate_assignment, without what needs its database or starts a kernel
STEPS = (
    LockCells,
    ClearSolutions,
    ClearOutput,
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
)


def sources(assignments: Path = ASSIGNMENTS) -> dict[str, Path]:
    """Every source notebook, by its name."""
    return {path.stem: path for path in sorted((assignments / "source").glob("*/*.ipynb"))}


def target(source: Path) -> Path:
    return source.parents[2] / "release" / source.parent.name / source.name


def released(source: Path) -> str:
    """The text of the release that `source` gives."""
    notebook, resources = normalise(nbformat.read(source, as_version=4)), ResourcesDict()
    for step in STEPS:
        options = {"code_stub": STUB} if step is ClearSolutions else {}
        notebook, _ = step(**options).preprocess(notebook, resources)
    return text(normalise(notebook))


def stale(source: Path) -> bool:
    """Whether the release at hand is another than the one that `source` gives."""
    return not target(source).exists() or target(source).read_text(encoding="utf-8") != released(source)


def write(source: Path) -> None:
    target(source).parent.mkdir(parents=True, exist_ok=True)
    target(source).write_text(released(source), encoding="utf-8", newline="\n")


def run(source: Path) -> None:
    """Run a source notebook and store what its cells show."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow small tensors on a busy machine
    notebook = executed(nbformat.read(source, as_version=4), source.parent)
    source.write_text(text(normalise(notebook)), encoding="utf-8", newline="\n")


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with all outputs, run in `folder` from a fresh kernel; a cell that fails raises."""
    client: Any = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout=300,
        coalesce_streams=True,  # or the number of outputs depends on when the kernel flushed them
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The same cells without what changes from run to run. What nbgrader needs to know stays."""
    cells = []
    for number, old in enumerate(copy.deepcopy(notebook).cells):
        kept = {key: old.metadata[key] for key in ("deletable", "editable", "nbgrader", "tags") if key in old.metadata}
        name = old.metadata.get("nbgrader", {}).get("grade_id", number)
        digest = hashlib.sha256(f"{old.cell_type} {name}".encode()).hexdigest()[:12]
        cell = NotebookNode(old, id=digest, metadata=NotebookNode(kept))
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)  # it names a model that lived in that kernel
            output.pop("transient", None)
        cells.append(cell)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=NotebookNode(metadata))


def text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"
