"""Which cell defines a function, as far as its text tells."""

import time

import pytest

from course_grader.inert import place

DEFINES = [
    "def rotate(x):", "  async  def  rotate (x):", "class rotate:", "rotate = f", "rotate: Callable = lambda x: x",
    "rotate: Callable[[int], int] = f", "rotate, x = f, 1", "x, rotate = 1, f", "(x, rotate) = 1, f", "*rotate, x = f",
    "[rotate, x] = f, 1", "rotate = turn = f", "turn = rotate = f", "from mine import rotate",
    "from mine import a, rotate", "from mine import (\n    a,\n    rotate,\n)", "import rotate", "import a as rotate",
    "from mine import f as rotate", "exec('def rotate(x): return 1')", "code = 'def rotate(x): pass'; exec(code)",
    'exec("""\ndef rotate(x): pass\n""")', "globals()['rotate'] = f", "setattr(main, 'rotate', f)",
    "x = 1\nif x:\n\trotate = f",
]  # fmt: skip
DOES_NOT = [
    "rotate(3)", "rotate == 3", "x.rotate = 3", "f(x, rotate=3)", "print('def rotate(')", "# def rotate(x)",
    "import rotate as r", "from mine import rotate as r", "rotated = 3", "def rotate_all(): pass", "x = rotate",
    "assert rotate == 3, x", "y = rotate(x, z=1)", "from rotate import x", "import rotate.x as y", "rotate.x = 3",
    "x = {'rotate': 3}", "rotate[0] = 1", "check(rotate)", "globals()['rotate'] == f", "rotate", "del rotate",
]  # fmt: skip


@pytest.mark.parametrize("text", DEFINES)
def test_a_cell_that_defines_a_function_is_found(text: str) -> None:
    assert place(["x", text, "rotate(1)\nx = rotate"], "rotate") == 1


@pytest.mark.parametrize("text", DOES_NOT)
def test_a_cell_that_only_uses_it_is_not(text: str) -> None:
    assert place(["x", text], "rotate") is None


def test_a_plain_definition_comes_before_one_by_exec() -> None:
    assert place(["def rotate(x): pass", "exec('def rotate(x): pass')"], "rotate") == 0


@pytest.mark.parametrize(
    "part",
    ["rotate,", "rotate:", "import ", "exec ", "setattr(", "from x import (", "=", f"{'x' * 199} rotate\n", "def "],
)
def test_no_text_takes_long_to_search(part: str) -> None:
    began = time.process_time()
    assert place([part * (1_000_000 // len(part))], "turn") is None
    assert time.process_time() - began < 2


def test_a_cell_of_megabytes_that_does_not_mention_a_function_takes_no_time() -> None:
    cells = ["x = 1\n" * 300_000, "def rotate(x): return x"]
    began = time.perf_counter()
    for _ in range(20):
        assert place(cells, "compress") is None and place(cells, "rotate") == 1
    assert time.perf_counter() - began < 1
