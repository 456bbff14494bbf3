"""What a stored lesson must be, so that strict nbval means something and the page reads well without a kernel."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from course_grader.formulas import CODE_OR_FORMULA

MAX_BYTES = 1_000_000
MAX_LINES = 15
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MARKER = re.compile(r"NBVAL_(IGNORE_OUTPUT|SKIP)")
MARKER_TAGS = {"nbval-ignore-output", "nbval-skip"}
OWN_PATH = re.compile(r"(?<![\w.~/])/(?:tmp|root|home|work|Users|var/folders)/|\b[A-Z]:\\+Users", re.IGNORECASE)
EMBEDDED = re.compile(r"data:image/[\w+.-]+;base64,[\w+/=]+")
PICTURE = re.compile(r"<(?:img|svg)\b[^>]*>")
MIN_WORDS = 40  # letters of an alternative text; fewer do not say what there is to see
TAG = re.compile(r"<[^>]*>")
FORMULA = "(formula)"  # in place of one
HTML_BLOCK = re.compile(r"</?(?:p|div|li|td|th|tr|table|details|summary|h\d|pre)\b[^>]*>")
WIDGET_IMPORT = re.compile(r"from course_lib\.widgets\S* import (\([^)]*\)|.+)")


def problems(notebook: NotebookNode, size: int) -> list[str]:
    """Every broken rule, with the number of its cell; `size` is that of the file in bytes."""
    cells = list(enumerate(notebook.cells, 1))
    found = [f"cell {number}: {what}" for number, cell in cells for what in cell_problems(cell)]
    found += [f"cell {number}: no text beside what it shows" for number in shown_without_text(notebook)]
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
    for picture in pictures_without_words(cell):
        yield f"a picture without alternative text: {picture[:60]}"
    for block in stray_dollars(cell):
        yield f"MathJax may pair the dollar signs of: {block[:60]}"
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
        data = output.get("data", {})
        yield from (EMBEDDED.sub("", str(value)) for kind, value in data.items() if not kind.startswith("image/"))


def pictures_without_words(cell: NotebookNode) -> Iterator[str]:
    """Pictures that say nothing to a reader who cannot see them.

    An output of type image/png or image/svg+xml never says anything: JupyterLab draws both without alternative text.
    """
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    yield from (kind for each in data for kind in each if kind.startswith("image/"))
    for output in (str(each.get("text/html", "")) for each in data):
        yield from (tag for tag in PICTURE.findall(output) if len(words_of(tag)) < MIN_WORDS)
    if cell.cell_type == "markdown":
        yield from (tag for tag in PICTURE.findall(cell.source) if not words_of(tag))
        yield from re.findall(r"!\[\s*\]\([^)]*\)", cell.source)


def words_of(tag: str) -> str:
    found = re.search(r"""\s(?:alt|aria-label)=(["'])(.*?)\1""", tag)
    return found[2].strip() if found else ""


def stray_dollars(cell: NotebookNode) -> Iterator[str]:
    r"""Blocks of text in which a dollar sign outside of formulas could be taken for the start or end of one.

    JupyterLab drops the backslash of `\$` before MathJax looks for pairs, so `\$2 are \$5` turns into a formula.
    MathJax pairs any two signs of a block. One alone is harmless, unless a formula is next to it.
    """
    for text in typeset_text(cell):
        rest = CODE_OR_FORMULA.sub(lambda found: found["ticks"] or found["fence"] or FORMULA, text)
        for block in re.split(r"\n\s*\n", rest):
            if block.count("$") + block.count("&#36;") > (0 if FORMULA in block else 1):
                yield block.strip()


def typeset_text(cell: NotebookNode) -> Iterator[str]:
    """What MathJax reads: Markdown, and the words of HTML. Plain text it leaves alone."""
    if cell.cell_type == "markdown":
        yield cell.source
    for data in (output.get("data", {}) for output in cell.get("outputs", [])):
        yield str(data.get("text/markdown", ""))
        html = str(data.get("text/html", "")).replace("<span>$</span>", "")  # in HTML MathJax joins no two elements
        yield TAG.sub("", HTML_BLOCK.sub("\n\n", html))


def is_marked(cell: NotebookNode) -> bool:
    return bool(MARKER.search(cell.source)) or not MARKER_TAGS.isdisjoint(cell.metadata.get("tags", []))


def shown_without_text(notebook: NotebookNode) -> Iterator[int]:
    """Numbers of code cells that show a picture or a widget of ours and have no sentence before or after them."""
    imports = (names for cell in notebook.cells for names in WIDGET_IMPORT.findall(cell.source))
    widgets = set(re.findall(r"\w+", " ".join(imports)))
    texts = [cell.cell_type == "markdown" and bool(cell.source.strip()) for cell in notebook.cells]
    for index, cell in enumerate(notebook.cells):
        shown = [item for output in cell.get("outputs", []) for item in output.get("data", {}).items()]
        picture = any(
            kind.startswith("image/") or "plotly" in kind or PICTURE.search(str(value)) for kind, value in shown
        )
        live = shown and not widgets.isdisjoint(re.findall(r"\w+", cell.source))
        if (picture or live) and not any(texts[max(index - 1, 0) : index + 2]):
            yield index + 1
