"""What to tell a student about cells that did not run to their end: which one began it, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from course_grader import inert

CELL = re.compile(r"cell (\d+) (.+)", re.DOTALL)  # a sentence of `Record.stopped` about one cell
MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^\W\d]\w*)")
MISSING_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
MOST_LINE = 60  # characters


@dataclass(frozen=True)
class Stopped:
    """A cell that stopped, and the later cells that stopped because of it."""

    message: str
    cell: int | None = None  # number among the code cells, from 1; None if the message is about several cells
    line: str = ""  # the first line of the cell
    later: list["Stopped"] = field(default_factory=list)


def grouped(sentences: Sequence[str], cells: Sequence[str]) -> list[Stopped]:
    """The sentences of a record, in order.

    A cell that lacks a name which an earlier stopped cell mentions is listed below the cell that began it.
    """
    found: list[Stopped] = []
    began: dict[int, Stopped] = {}  # by number of a stopped cell: the one that began it
    for sentence in sentences:
        match = CELL.fullmatch(sentence)
        if match is None or not 0 < (number := int(match[1])) <= len(cells):
            found.append(Stopped(sentence))
            continue
        one = Stopped(_advice(match[2]), number, _first_line(cells[number - 1]))
        name = MISSING_NAME.search(match[2])
        cause = next((n for n in began if name and re.search(rf"\b{name[1]}\b", cells[n - 1])), None)
        if cause is None:
            found.append(one)
            began[number] = one
        else:
            began[cause].later.append(one)
            began[number] = began[cause]
    return found


def _advice(message: str) -> str:
    if module := MISSING_MODULE.search(message):
        return (
            f"stopped: `{module[1]}` is not available where notebooks are graded. Remove the import if no graded "
            "function needs it, or ask your instructor to add it."
        )
    return message.rstrip(": ")  # errors without a text


def _first_line(code: str) -> str:
    line = next((line.strip() for line in code.splitlines() if line.strip()), "")
    return inert.plain(line if len(line) <= MOST_LINE else f"{line[:MOST_LINE].rstrip()} ...")
