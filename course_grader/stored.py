"""Notebooks as they are stored: every cell run, and nothing kept that changes from run to run."""

import copy
import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT = ("deletable", "editable", "jupyter", "nbgrader", "tags")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PICTURES = Path(__file__).resolve().parents[1] / "notebooks/pictures"
EMBEDDED = re.compile(r'(<img\b[^>]*\bdata-picture="([\w-]+)"[^>]*?) src="[^"]*"')
QUIET = {"OMP_WAIT_POLICY": "PASSIVE"}  # on a busy machine spinning threads slow small models tenfold


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with all outputs, run in `folder` from a fresh kernel; a cell that fails raises."""
    from nbclient import NotebookClient  # here: grading runs no kernel, and its import takes long

    client: Any = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout=300,
        coalesce_streams=True,  # or the number of outputs depends on when the kernel flushed them
        extra_arguments=["--log-level=ERROR"],  # a kernel on loopback warns about its unencrypted transport
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=QUIET | os.environ)


def normalised(notebook: NotebookNode, ids: Iterable[str]) -> NotebookNode:
    """The same cells and outputs under these ids, without what changes from run to run. Widgets keep only their text.

    A widget's view names a model that lives in the kernel of that run: reopened, it would say "model not found".
    """
    cells = []
    for old, cell_id in zip(copy.deepcopy(notebook).cells, ids, strict=True):
        kept = {key: old.metadata[key] for key in KEPT if key in old.metadata}
        cell = NotebookNode(old, id=cell_id, metadata=NotebookNode(kept))
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            output.pop("transient", None)
        cells.append(cell)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=NotebookNode(metadata))


def embedded(notebook: NotebookNode) -> NotebookNode:
    """The notebook itself, with the current drawings of notebooks/pictures in its text, so that it needs no other file.

    `<img alt="..." data-picture="NAME" src="">` in Markdown shows NAME.svg.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = EMBEDDED.sub(_with_svg, cell.source)
    return notebook


def _with_svg(tag: re.Match[str]) -> str:
    svg = (PICTURES / f"{tag[2]}.svg").read_bytes().replace(b"\r\n", b"\n")
    return f'{tag[1]} src="data:image/svg+xml;base64,{b64encode(svg).decode()}"'


def digest(text: str) -> str:
    """Enough of a hash for an id."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
