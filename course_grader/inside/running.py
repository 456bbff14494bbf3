"""Runs the cells of a notebook one by one, and reports those that stop."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import needed
import stand_in
import wire
from notebook_cells import Notebook

Cells = Sequence[tuple[int, str]]  # the number of each cell and its source
MOST_NAMES = 200  # that are reported of a cell
SPARE_PROCESSES = 8  # reserved for the exercises: cells cannot use them
SECONDS_TO_END = 5  # for ending the processes that cells have left running


@dataclass(frozen=True)
class Part:
    """A cell, or the statements of it that are needed."""

    number: int
    run: Callable[[], None]
    statements: Callable[[], list[needed.Statement]]


def run_cells(channel: socket.socket, cells: Cells, only: Collection[str], kind: str) -> dict[str, Any]:
    """Returns the names of the notebook after all cells. An error in one cell does not stop the next.

    With `only`, nothing is run except the statements that bind these names, and what those use.
    """
    notebook, me = Notebook(), os.getpid()
    for part in _needed(channel, notebook, cells, only) if only else _whole(notebook, cells):
        wire.send(channel, {"began": part.number})
        report = _run(part)
        _take_off_hooks()
        if os.getpid() != me:  # a process that the cell has forked and that did not end with the cell
            os._exit(0)
        if report:
            wire.send(channel, report)
    _end_what_was_left(kind)
    wire.send(channel, {"ready": True})
    return notebook.names


def _whole(notebook: Notebook, cells: Cells) -> Iterator[Part]:
    for number, source in cells:
        yield Part(number, partial(notebook.run, source), partial(_statements, notebook, source))


def _needed(channel: socket.socket, notebook: Notebook, cells: Cells, only: Collection[str]) -> Iterator[Part]:
    found: list[tuple[int, str, list[needed.Statement]]] = []
    for number, source in cells:
        wire.send(channel, {"began": number})  # some texts crash Python's parser: the judge then knows which
        try:
            place, tree = notebook.parse(source)
            found.append((number, place, needed.statements(tree, notebook.parse)))
        except Exception as error:
            wire.send(channel, {"stopped": number, "error": _described(error)})
    kept = {id(each) for each in needed.needed([each for _, _, page in found for each in page], only)}
    for number, place, page in found:
        if chosen := [each for each in page if id(each) in kept]:
            run = partial(notebook.run_statements, [each.node for each in chosen], place)
            yield Part(number, run, lambda chosen=chosen: chosen)


def _run(part: Part) -> dict[str, Any] | None:
    """What to report if it stops with an error."""
    stand_in.Uses.seen = False
    try:
        part.run()
    except (SystemExit, KeyboardInterrupt):  # exit(), and other ways to end a cell on purpose
        return None
    except BaseException as error:
        report: dict[str, Any] = {"stopped": part.number, "error": _described(error)}
        if stand_in.Uses.seen and not isinstance(error, ImportError | NameError | SyntaxError):
            report["hollow"] = True  # it may have stopped because course_lib is empty here
        with suppress(Exception):  # a cell that does not parse binds nothing that we could know
            binds = set().union(*(each.binds for each in part.statements()))
            report["binds"] = sorted(binds)[:MOST_NAMES]
        return report
    return None


def _statements(notebook: Notebook, source: str) -> list[needed.Statement]:
    return needed.statements(notebook.parse(source)[1], notebook.parse)


def _described(error: BaseException) -> str:
    """The type and the text of an error; for a syntax error in a cell, also the line."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and str(error.filename).startswith("<cell "):
        return f"{kind} in line {error.lineno}: {error.msg}"
    try:
        return f"{kind}: {error}".removesuffix(": ")
    except Exception:  # a notebook's own error may have no text
        return kind


def _take_off_hooks() -> None:
    """Removes what a cell has arranged to be called later, which would disturb other cells or functions."""
    sys.settrace(None)
    sys.setprofile(None)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)


def _end_what_was_left(kind: str) -> None:
    """Ends the processes that cells have started and left running, so that they do not disturb the calls.

    Threads cannot be ended, but the processes of the exercises do not inherit them, and have SPARE_PROCESSES to start.
    """
    import resource  # here, so that this module can be imported on Windows

    ends = time.monotonic() + SECONDS_TO_END
    with suppress(ChildProcessError):  # no child is left
        while time.monotonic() < ends:
            if kind == "private":  # this is process 1 of its namespace, where -1 means all others
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                _kill_children()
            os.waitpid(-1, 0)
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _kill_children() -> None:
    """A grandchild whose parent has ended becomes a child, by PR_SET_CHILD_SUBREAPER."""
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
