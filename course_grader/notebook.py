"""A submitted notebook as what counts of it: the sources of its code cells. Its metadata and outputs decide nothing."""

import codecs
import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_BYTES, MOST_CELLS, MOST_CODE = 20 << 20, 5_000, 10 << 20
NOT_ORDINARY = "There is no ordinary file of that name; links are not followed."


class UnreadableError(ValueError):
    """Why a file is no notebook, in a sentence."""


@dataclass(frozen=True)
class Page:
    """What one reading of a notebook's file gave: digest and cells are of the same bytes, even if it changes now."""

    digest: str = ""  # sha256; empty where there is no file that can be read
    cells: list[str] = field(default_factory=list)
    problem: str = ""  # why it is no notebook


def read(path: Path) -> Page:
    digest = ""
    try:
        content = _content(path)
        digest = hashlib.sha256(content).hexdigest()
        return Page(digest, code_cells(content))
    except UnreadableError as error:
        return Page(digest, problem=str(error))


def code_cells(content: bytes) -> list[str]:
    """In order; of nbformat 3 or 4, and of whatever else looks like either.

    Raises:
        UnreadableError: no notebook, one without cells, or one with far too many.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableError("The file is encoded in UTF-16. Save it as UTF-8.")
    text = content.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise UnreadableError("The file is empty.")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableError("The file is no notebook: its text is no JSON. Was the upload cut short?") from None
    sources = [_source(cell) for cell in _cells(notebook) if _is_code(cell)]
    if len(sources) > MOST_CELLS or sum(map(len, sources)) > MOST_CODE:
        raise UnreadableError(
            f"The notebook has {len(sources):,} code cells with {sum(map(len, sources)):,} characters; up to "
            f"{MOST_CELLS:,} with {MOST_CODE:,} are run."
        )
    return sources


def _content(path: Path) -> bytes:
    """The bytes of an ordinary file: a link may lead to the solutions or to another student, and a pipe never ends.

    Raises:
        UnreadableError: there is no such file, or it is too large.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError(NOT_ORDINARY)
            if status.st_size > MOST_BYTES:
                raise UnreadableError(
                    f"The file has {status.st_size:,} bytes; up to {MOST_BYTES:,} are read. Clear its outputs."
                )
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        raise UnreadableError(_instead_of(path)) from None
    except OSError as error:
        reason = NOT_ORDINARY if error.errno == errno.ELOOP else f"The file cannot be read: {error.strerror}."
        raise UnreadableError(reason) from None


def _instead_of(path: Path) -> str:
    """What a student's own folder holds instead, as `hw1_mla.zip`: it may have been meant."""
    missing = f"There is no {path.name}"
    with suppress(OSError):
        others = sorted(name for name in os.listdir(path.parent) if not name.startswith("."))
        if others and path.parent.name == path.stem:
            return f"{missing} in the folder, but {', '.join(others[:5])}. Hand in one notebook of that name."
    return f"{missing}."


def _cells(notebook: Any) -> list[Any]:
    if isinstance(notebook, dict):
        if isinstance(notebook.get("cells"), list):
            return notebook["cells"]
        if isinstance(notebook.get("worksheets"), list):  # nbformat 3
            sheets = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
            return [cell for cells in sheets if isinstance(cells, list) for cell in cells]
    raise UnreadableError("The file is no notebook: it has no cells.")


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def _source(cell: dict[str, Any]) -> str:
    """`source` is one text or a list of lines; nbformat 3 calls it `input`."""
    source = cell.get("source", cell.get("input", ""))
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))
