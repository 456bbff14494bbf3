"""When time is short, no more of a notebook is run than what defines the functions that are asked for."""

import ast
import time
from collections.abc import Iterator
from typing import Any

import pytest

from course_grader import release
from course_grader.inside.needed import needed, statements
from course_grader.judge import Judged, judge
from course_grader.notebook import code_cells
from course_grader.sandbox import Limits, Sandbox
from course_lib.exercises import BANK
from tests.honest import NEEDED, NOT_NEEDED
from tests.hostile import HONEST

sandboxed = pytest.mark.usefixtures("bubblewrap")


def parse(source: str) -> tuple[str, ast.Module]:
    return "", ast.parse(source)


def kept(*cells: str, names: tuple[str, ...] = ("f",)) -> str:
    page = [each for cell in cells for each in statements(ast.parse(cell), parse)]
    return "\n".join(ast.unparse(each.node) for each in needed(page, names))


def outcome(*cells: str) -> Any:
    """What f() gives when only what it needs was run. `slow()` is not defined: nothing may run it."""
    names: dict[str, Any] = {}
    exec(kept(*cells), names)
    return names["f"]()


@pytest.mark.parametrize("cells", NEEDED.values(), ids=NEEDED)
def test_a_function_has_all_that_it_needs(cells: list[str]) -> None:
    assert outcome(*cells) == 3


@pytest.mark.parametrize("cell", NOT_NEEDED)
def test_what_only_uses_it_is_left_out(cell: str) -> None:
    found = kept("def f(): return 3", cell)
    assert found == "def f():\n    return 3"


def test_settings_of_modules_are_kept() -> None:
    cells = [
        "import torch",
        "torch.set_default_dtype(torch.float64)",
        "ax.set_title('x')",
        "def f(): return torch.ones(1)",
    ]
    assert "set_default_dtype" in kept(*cells) and "set_title" not in kept(*cells)


def test_a_statement_that_does_not_compile_is_an_error() -> None:
    with pytest.raises(SyntaxError):
        statements(ast.parse("return 3"), parse)


@pytest.mark.parametrize("name", BANK)
def test_on_our_pages_what_is_needed_is_little_and_enough(name: str) -> None:
    cells = [cell for cell in code_cells(release.sources()[name].read_bytes()) if not cell.startswith("REPOSITORY")]
    names: dict[str, Any] = {}
    text = kept(*cells, names=tuple(BANK[name]))
    assert len(text) < sum(map(len, cells)) / 2 and "show_figure(" not in text
    exec(text, names)
    for exercise in BANK[name].values():
        assert exercise.grade(names[exercise.name]).solved


# In the sandbox ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=1, call_seconds=1, seconds=8)) as box:
        yield box


def judged(sandbox: Sandbox, *cells: str) -> Judged:
    return judge(sandbox, cells, "hw1_mla", lambda name: 7)


def points(found: Judged) -> dict[str, float]:
    return {mark.exercise: mark.points for mark in found.marks if mark.points}


RIGHT = {"kv_cache_elements": 2, "attention_flops": 3}
ONLY = "only those that define the functions and what they use were run"
SLOW = "import time\ntime.sleep(0.7)"


@sandboxed
def test_many_slow_cells_cost_no_points(sandbox: Sandbox) -> None:
    kv, flops = HONEST.values()
    found = judged(sandbox, kv, *[SLOW] * 8, f"%%time\n{flops.strip()}", *[SLOW] * 8)
    assert points(found) == RIGHT
    assert found.stopped == [f"the cells took more than 4 s: {ONLY}"]


@sandboxed
def test_slow_lines_below_the_functions_cost_no_points(sandbox: Sandbox) -> None:
    cells = [f"{text}\n{SLOW}\nundefined" for text in HONEST.values()]
    assert points(judged(sandbox, *cells, *[SLOW] * 8)) == RIGHT


@sandboxed
def test_many_endless_cells_cost_no_points(sandbox: Sandbox) -> None:
    found = judged(sandbox, *HONEST.values(), *["import os; os._exit(1)"] * 7)
    assert points(found) == RIGHT
    assert found.stopped[0] == f"more than 5 cells hang or end the process: {ONLY}"
    assert found.stopped[1:] == [f"cell {n} ended its process and was left out" for n in range(3, 8)]


@sandboxed
def test_what_cannot_be_found_is_explained(sandbox: Sandbox) -> None:
    hidden = "import sys\nsetattr(sys.modules['__main__'], 'kv_cache_elements', len)"
    message = judged(sandbox, *[SLOW] * 8, hidden).marks[0].message
    assert message.endswith(f"there is no such function. Note that the cells took more than 4 s: {ONLY}.")


@sandboxed
def test_quick_cells_all_run(sandbox: Sandbox) -> None:
    began = time.monotonic()
    found = judged(sandbox, "x = 1\nN = []", *HONEST.values(), "N.append(x)", "raise ValueError(N)")
    assert points(found) == RIGHT and found.stopped == ["cell 5 stopped: ValueError: [1]"]
    assert time.monotonic() - began < 60


@sandboxed
def test_a_text_that_breaks_the_parser_costs_only_itself(sandbox: Sandbox) -> None:
    breaks = "x = " + "-" * 50_000 + "1"
    assert points(judged(sandbox, *HONEST.values(), *[SLOW] * 8, breaks, "(" * 150 + ")" * 150)) == RIGHT
