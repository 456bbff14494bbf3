"""Messages about cells that stop while a notebook is graded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from course_grader import release
from course_grader.judge import Judged, judge
from course_grader.notebook import code_cells
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
    assert {mark.exercise: mark.points for mark in told.marks if mark.found} == {
        "kv_cache_elements": 2,
        "attention_flops": 3,
    }


@pytest.mark.parametrize("end", ["exit()", "raise SystemExit", "import sys; sys.exit(1)", "raise KeyboardInterrupt"])
def test_a_cell_that_ends_on_purpose_has_not_stopped(end: str, sandbox: Sandbox) -> None:
    assert judged(sandbox, end).stopped == []


def test_cells_that_hang_or_end_the_worker_are_told(sandbox: Sandbox) -> None:
    told = judged(sandbox, "while True: pass", "import os; os._exit(0)")
    assert told.stopped == ["cell 1 took too long and was left out", "cell 2 ended its process and was left out"]


def test_of_many_cells_that_stop_the_first_are_told(sandbox: Sandbox) -> None:
    told = judged(sandbox, *["1 / 0"] * 25)
    assert len(told.stopped) == 21 and told.stopped[-1] == "5 more cells stopped"


# Functions that lack something because of a stopped cell -------------------------------------------------------------


KV, FLOPS = HONEST.values()
SHOWS = "It raised {}. Run `check(kv_cache_elements)` in the notebook: it shows the line and the values."
STOP = "ModuleNotFoundError: No module named 'no_such_module'"
GONE = "Cell 1 mentions `kv_cache_elements`, but after the cells have run there is no such function."
MISSING = {
    f"import no_such_module\n{KV}": f"`kv_cache_elements` is not defined because cell 1 stopped: {STOP}.",
    "1 / 0\nkv_cache_elements, x = f, 1": "`kv_cache_elements` is not defined because cell 1 stopped: "
    "ZeroDivisionError: division by zero.",
    f"if True:\n    1 / 0\n{KV.strip()}": "`kv_cache_elements` is not defined because cell 1 stopped: "
    "ZeroDivisionError: division by zero.",
    KV.replace("return layers *", "return layers −"): "`kv_cache_elements` is not defined because cell 1 "
    "stopped: SyntaxError in line 5: invalid character '−' (U+2212).",
    f"{KV}\nwhile True: pass": "Cell 1 took too long and was left out: keep in it only what `kv_cache_elements` needs.",
    f"{KV}\ndel kv_cache_elements": GONE,
    "kv_cache_elements = 3": GONE,
    "x = 1": "The notebook defines no function `kv_cache_elements`.",
    "from course_lib.config import published\nWIDTHS = [1, 2][published('x').layers + 5]\nraise ValueError\n" + KV:
    "`kv_cache_elements` is not defined because cell 1 stopped: ValueError (`course_lib` is not available during "
    "grading).",
}  # fmt: skip


@pytest.mark.parametrize(("cell", "message"), MISSING.items())
def test_a_missing_function_says_why(cell: str, message: str, sandbox: Sandbox) -> None:
    mark = judged(sandbox, cell).marks[0]
    assert (mark.points, mark.found, mark.message) == (0, False, message)


UNDEFINED = {
    "import no_such_module, torch, math": "torch.ones(1)",
    "import no_such_module\nimport numpy as torch": "torch.ones(1)",
    "import no_such_module\nfrom os import path as torch": "torch.ones(1)",
    "import no_such_module\nwith open('x') as torch: pass": "torch",
    "import no_such_module\nfor torch in range(3): pass": "torch",
    "import no_such_module\ntorch += 1": "torch",
    "import no_such_module\nclass torch: pass": "torch",
    "import no_such_module\ndef torch(): pass": "torch()",
    "%%time\nimport no_such_module\nimport torch": "torch",
}


@pytest.mark.parametrize(("cell", "use"), UNDEFINED.items())
def test_a_name_of_a_stopped_cell_is_explained_where_it_is_missed(cell: str, use: str, sandbox: Sandbox) -> None:
    told = judged(
        sandbox, "x = 1", cell, f"def kv_cache_elements(config): return helper()\ndef helper(): return {use}", FLOPS
    )
    why = f"`torch` is not defined because cell 2 stopped: {STOP}."
    assert told.marks[0].message == f"It raised a NameError: {why}"
    assert told.stopped == [f"cell 2 stopped: {STOP}"] and told.marks[-1].points == 3


def test_a_name_of_a_cell_that_was_left_out_is_explained_too(sandbox: Sandbox) -> None:
    message = (
        judged(sandbox, "width = 3\nwhile True: pass", "def kv_cache_elements(config): return width").marks[0].message
    )
    assert (
        message
        == "It raised a NameError. The missing name may be defined in what was left out: cell 1, which took too long."
    )


def test_names_that_a_function_makes_up_are_not_shown(sandbox: Sandbox) -> None:
    """They could say what the inputs were."""
    cells = ["import no_such_module\nimport torch", "def kv_cache_elements(config): raise NameError(name=str(config))"]
    assert judged(sandbox, *cells).marks[0].message == SHOWS.format("a NameError on case 1 of 5")


def test_what_cells_say_once_inputs_are_inside_is_not_shown(tmp_path: Path) -> None:
    """A worker that starts again runs the cells again, and without bubblewrap these may know what the last one knew."""
    kept = str(tmp_path / "kept")
    tells = f"import os\nif os.path.exists({kept!r}): raise ValueError(open({kept!r}).read())"
    keeps = KV.replace("    layers =", f"    open({kept!r}, 'w').write(str(config)); os._exit(1)\n    layers =")
    with Sandbox(Limits(cell_seconds=9, call_seconds=9, seconds=60), kind="bare", warm=False) as box:
        told = judged(box, tells, keeps, FLOPS)
    assert Path(kept).exists() and told.stopped == [] and told.marks[-1].points == 3


# The course's package, which is empty --------------------------------------------------------------------------------


EMPTY = "It uses `course_lib`, which is not available during grading. Write it without course_lib."
COURSE = (
    "from course_lib import accounting, config\nimport course_lib.rope as rope\nV3 = config.published('deepseek-v3')\n"
)
RELIES = {
    "its answer": "def kv_cache_elements(config): return accounting.cache_elements(config)",
    "a part of its answer": "def kv_cache_elements(config): return [1, (V3.layers, 2)]",
    "what is there already": "def kv_cache_elements(config): return V3",
    "a wrong value": "def kv_cache_elements(config): return int(V3.num_hidden_layers) * 3",
    "an error": "def kv_cache_elements(config): return [1, 2][accounting.layers(config) + 7 and int(V3.x) + 5]",
    "an import": "def kv_cache_elements(config):\n    from course_lib.rope import count\n    return count(config)",
    "a helper": "def helper(config): return rope.count(config)\ndef kv_cache_elements(config): return helper(config)",
    "a tensor": "import torch\ndef kv_cache_elements(config): return torch.ones(2) * V3.x",
}  # fmt: skip


@pytest.mark.parametrize("code", RELIES.values(), ids=RELIES)
def test_a_function_that_relies_on_the_course_is_told_that_it_is_empty(code: str, sandbox: Sandbox) -> None:
    mark = judged(sandbox, COURSE + code).marks[0]
    assert mark.points == 0 and mark.message.endswith(EMPTY), mark.message


def test_one_that_does_not_is_not(sandbox: Sandbox) -> None:
    beside = f"{COURSE}from course_lib.exercises import check, when_written\n" + KV.replace(
        "return layers", "return 1 + layers"
    )
    mark = judged(sandbox, beside, "check(kv_cache_elements)\nprint(V3.x)").marks[0]
    assert mark.points == 0 and "course_lib" not in mark.message
    right = judged(sandbox, COURSE + KV.replace("    layers =", "    print(V3.x)\n    layers =")).marks[0]
    assert right.points == 2 and "course_lib" not in right.message


def test_colab_in_the_imports_costs_nothing(sandbox: Sandbox) -> None:
    cells = code_cells(release.sources()["hw1_mla"].read_bytes())
    cells[1] = f"from google.colab import drive\ndrive.mount('/content/drive')\n{cells[1]}"
    told = judged(sandbox, *cells)
    assert sum(mark.points for mark in told.marks) == 20 and told.stopped == []
