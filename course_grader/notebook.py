"""Reads a submitted notebook. Only the sources of its code cells count, not its outputs, Markdown or metadata."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_grader.submissions import Submission
from course_lib import files

MOST_BYTES, MOST_CELLS, MOST_CODE = 20 << 20, 5_000, 2 << 20  # of a file, in a notebook, characters in all its cells
INSTEAD = {  # what is often handed in by mistake, as `files.parsed` calls it
    "a web page": "This is a web page. Download the notebook itself (on GitHub: Download raw file).",
    "a script": "This is a Python script. Hand in the notebook it was exported from.",
}
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a link could lead to other people's work; a pipe never ends


class UnreadableError(ValueError):
    """Why a file is not a notebook, in a sentence."""


@dataclass(frozen=True)
class Page:
    """What one reading of a file gave. Digest and cells come from the same bytes, even if it changes meanwhile."""

    digest: str = ""  # sha256; empty if no file could be read
    cells: list[str] = field(default_factory=list)
    problem: str = ""  # why it is not a notebook


def read(submission: Submission) -> Page:
    if submission.problem:
        return Page(problem=submission.problem)
    digest = ""
    try:
        content = _content(submission.path)
        digest = hashlib.sha256(content).hexdigest()
        return Page(digest, code_cells(content))
    except UnreadableError as error:
        return Page(digest, problem=str(error))


def code_cells(content: bytes) -> list[str]:
    """The sources in order, from nbformat 3 or 4 and from anything that looks like either.

    Raises:
        UnreadableError: not a notebook, or one with far too much code.
    """
    try:
        notebook = files.parsed(content, errors="replace")
    except ValueError as error:
        raise UnreadableError(_instead(str(error))) from None
    sources = [_source(cell) for cell in _cells(notebook) if _is_code(cell)]
    if len(sources) > MOST_CELLS or sum(map(len, sources)) > MOST_CODE:
        raise UnreadableError(
            f"The notebook has {len(sources):,} code cells with {sum(map(len, sources)):,} characters. The limits are "
            f"{MOST_CELLS:,} cells and {MOST_CODE:,} characters."
        )
    return sources


def _instead(what: str) -> str:
    known = next((said for start, said in INSTEAD.items() if what.startswith(start)), "")
    return known or f"The file is {what}. Hand in a notebook (.ipynb) that opens in Jupyter."


def _content(path: Path) -> bytes:
    """The bytes of an ordinary file.

    Raises:
        UnreadableError: there is no such file, it cannot be read, or it is too large.
    """
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, FLAGS)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError(f"{path.name} is a pipe or a device; only ordinary files are read.")
            if status.st_size > MOST_BYTES:
                raise UnreadableError(
                    f"The file has {status.st_size:,} bytes; the limit is {MOST_BYTES:,}. Clear its outputs."
                )
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        raise UnreadableError(f"There is no {path.name}.") from None
    except IsADirectoryError:
        raise UnreadableError(f"{path.name} is a folder; only ordinary files are read.") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableError(f"{path.name} is a link; links are not followed.") from None
        raise UnreadableError(f"{path.name} cannot be read: {error.strerror}.") from None


def _cells(notebook: Any) -> list[Any]:
    if isinstance(notebook, dict):
        if isinstance(notebook.get("cells"), list):
            return notebook["cells"]
        if isinstance(notebook.get("worksheets"), list):  # nbformat 3
            sheets = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
            return [cell for cells in sheets if isinstance(cells, list) for cell in cells]
    raise UnreadableError("The file is JSON, but not a notebook: it has no cells.")


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def _source(cell: dict[str, Any]) -> str:
    """`source` is one string or a list of lines; nbformat 3 calls it `input`."""
    source = cell.get("source", cell.get("input", ""))
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))
