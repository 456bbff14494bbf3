"""What a stored lesson must be, so that strict nbval means something and the page reads well without a kernel."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

MAX_BYTES = 1_000_000
MAX_LINES = 15
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MARKER = re.compile(r"NBVAL_(IGNORE_OUTPUT|SKIP)")
MARKER_TAGS = {"nbval-ignore-output", "nbval-skip"}
OWN_PATH = re.compile(r"(?<![\w.~/])/(?:tmp|root|home|work|Users|var/folders)/|\b[A-Z]:\\+Users", re.IGNORECASE)
WIDGET_IMPORT = re.compile(r"from course_lib\.widgets\S* import (\([^)]*\)|.+)")


def problems(notebook: NotebookNode, size: int) -> list[str]:
    """Every broken rule, with the number of its cell; `size` is that of the file in bytes."""
    cells = list(enumerate(notebook.cells, 1))
    found = [f"cell {number}: {what}" for number, cell in cells for what in cell_problems(cell)]
    found += [f"cell {number}: no text beside what it shows" for number in shown_without_text(notebook)]
    found += [f"cell {number}: a picture without alternative text" for number, cell in cells if is_mute(cell)]
    return found + list(whole_problems(notebook, size))


def whole_problems(notebook: NotebookNode, size: int) -> Iterator[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"not executed in order from a fresh kernel: execution counts {counts}"
    if 3 * (marked := sum(map(is_marked, code))) > len(code):
        yield f"{marked} of {len(code)} code cells carry an nbval marker, more than a third"
    if size >= MAX_BYTES:
        yield f"the file has {size} bytes, {MAX_BYTES} or more"
    if "widgets" in notebook.metadata:
        yield "stores widget state"
    if notebook.metadata.get("kernelspec") != KERNEL:
        yield f"kernelspec is not {KERNEL}"


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    for path in filter(None, map(OWN_PATH.search, [cell.source, *map(str, shown_text(cell))])):
        yield f"a path of the author's machine, {path[0]}"
    if cell.cell_type != "code":
        return
    lines = cell.source.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines, more than {MAX_LINES}"
    if any("NBVAL_" in line and not re.fullmatch(r"#\s*NBVAL_\w+", line.strip()) for line in lines):
        yield "an nbval marker that does not stand alone on a comment line is ignored"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"stores an error, {output.ename}"
        if output.get("name") == "stderr":
            yield "stores stderr"
        if WIDGET_VIEW in output.get("data", {}):
            yield "stores the view of a widget whose model is gone"


def shown_text(cell: NotebookNode) -> Iterator[object]:
    """All that outputs say; pictures are left out, their base64 may spell anything."""
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        yield from (value for kind, value in output.get("data", {}).items() if not kind.startswith("image/"))


def is_marked(cell: NotebookNode) -> bool:
    return bool(MARKER.search(cell.source)) or not MARKER_TAGS.isdisjoint(cell.metadata.get("tags", []))


def is_mute(cell: NotebookNode) -> bool:
    pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    return not all(output.metadata.get("image/png", {}).get("alt") for output in pictures)


def shown_without_text(notebook: NotebookNode) -> Iterator[int]:
    """Numbers of code cells that show a picture or a widget of ours and have no sentence before or after them."""
    imports = (names for cell in notebook.cells for names in WIDGET_IMPORT.findall(cell.source))
    widgets = set(re.findall(r"\w+", " ".join(imports)))
    texts = [cell.cell_type == "markdown" and bool(cell.source.strip()) for cell in notebook.cells]
    for index, cell in enumerate(notebook.cells):
        shown = [item for output in cell.get("outputs", []) for item in output.get("data", {}).items()]
        picture = any(kind.startswith("image/") or "plotly" in kind or "<svg" in value for kind, value in shown)
        live = shown and not widgets.isdisjoint(re.findall(r"\w+", cell.source))
        if (picture or live) and not any(texts[max(index - 1, 0) : index + 2]):
            yield index + 1
