"""What students are told about cells that stop while their notebook is graded."""

from collections.abc import Iterator

import pytest

from course_grader.judge import Judged, judge
from course_grader.sandbox import Limits, Sandbox
from tests.hostile import HONEST

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=2, call_seconds=2, seconds=60)) as box:
        yield box


def judged(sandbox: Sandbox, *cells: str) -> Judged:
    return judge(sandbox, cells, "hw1_mla", lambda name: 7)


STOPS = {
    "import no_such_module": "ModuleNotFoundError: No module named 'no_such_module'",
    "from sys import no_such_name": "ImportError: cannot import name 'no_such_name' from 'sys' (unknown location)",
    "x = 1\nif x\n    y = 2": "SyntaxError in line 2: expected ':'",
    "x = 1\n  y = 2": "IndentationError in line 2: unexpected indent",
    "undefined_name": "NameError: name 'undefined_name' is not defined",
    "assert False": "AssertionError",
    "raise ValueError('two\\nlines \\x1b[31m\\u202e')": r"ValueError: two lines \x1b[31m\u202e",
    "raise ValueError('x' * 1000)": f"ValueError: {'x' * 188} ...",
    "class Odd(Exception):\n    def __str__(self): raise self\nraise Odd": "Odd",
}


def test_each_cell_that_stops_is_told_with_its_number_and_its_error(sandbox: Sandbox) -> None:
    told = judged(sandbox, "x = 1", *STOPS, *HONEST.values())
    assert told.stopped == [f"cell {number} stopped: {error}" for number, error in enumerate(STOPS.values(), 2)]
    assert sum(mark.points for mark in told.marks) == 5


@pytest.mark.parametrize("end", ["exit()", "raise SystemExit", "import sys; sys.exit(1)", "raise KeyboardInterrupt"])
def test_a_cell_that_ends_on_purpose_has_not_stopped(end: str, sandbox: Sandbox) -> None:
    assert judged(sandbox, end).stopped == []


def test_cells_that_hang_or_end_the_worker_are_told(sandbox: Sandbox) -> None:
    told = judged(sandbox, "while True: pass", "import os; os._exit(0)")
    assert told.stopped == ["cell 1 took too long and was left out", "cell 2 ended its process and was left out"]


def test_of_many_cells_that_stop_the_first_are_told(sandbox: Sandbox) -> None:
    told = judged(sandbox, *["1 / 0"] * 25)
    assert len(told.stopped) == 21 and told.stopped[-1] == "5 more cells stopped"
