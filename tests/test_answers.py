"""No answer that is wrong earns a point, says what the inputs were, or costs the function after it."""

import re
from collections.abc import Iterator

import pytest

from course_grader.records import Mark
from course_grader.sandbox import Limits, Sandbox
from tests.hostile import HONEST
from tests.hostile_answers import ANSWERS, ENDLESS, FORGER, FRAMES, FUNCTIONS, TOP, answering
from tests.judged import judged

pytestmark = pytest.mark.usefixtures("bubblewrap")
BY_KIND = {"a number": "attention_flops", "a tensor": "rotate", "two tensors": "compress"}  # what is asked for
LEAKS = re.compile(r"/|\\|<|[^\x20-\x7e]|tensor\(|num_|_dim|\d{3}|\d\.\d|=")  # paths, markup, inputs, values


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    limits = Limits(cell_seconds=5, call_seconds=2, seconds=100, memory=1 << 30)
    with Sandbox(limits) as box:
        yield box


def marked(sandbox: Sandbox, cells: list[str], names: dict[str, str], exercise: str) -> dict[str, Mark]:
    """Functions of one notebook, by their kinds, all judged as this exercise; now and then comes a right one."""
    marks: dict[str, Mark] = {}
    with judged(sandbox, [*cells, *HONEST.values()]) as pupil:
        for number, (kind, name) in enumerate(names.items()):
            marks[kind] = pupil.mark(exercise, name)
            if number % 5 == 4:
                assert pupil.mark("kv_cache_elements").points == 2, f"after {kind}"
    return marks


def assert_nothing(marks: dict[str, Mark]) -> None:
    """No points, and no word of inputs or values."""
    assert {kind: mark.points for kind, mark in marks.items() if mark.points} == {}
    assert {kind: mark.message for kind, mark in marks.items() if LEAKS.search(mark.message.replace("//", ""))} == {}


def functions(bodies: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """A cell for each body, and the name of the function in it by kind."""
    names = {kind: f"function_{number}" for number, kind in enumerate(bodies)}
    return [answering(names[kind], body) for kind, body in bodies.items()], names


@pytest.mark.parametrize("exercise", BY_KIND.values(), ids=BY_KIND)
def test_no_answer_earns_or_tells_anything(exercise: str, sandbox: Sandbox) -> None:
    cells, names = functions(ANSWERS | (ENDLESS if exercise == "attention_flops" else {}))
    assert_nothing(marked(sandbox, [TOP, *cells], names, exercise))


def test_nothing_that_stands_for_a_function_earns_or_tells_anything(sandbox: Sandbox) -> None:
    names = {kind: f"function_{number}" for number, kind in enumerate(FUNCTIONS)}
    cells = [f"{names[kind]} = {expression}" for kind, expression in FUNCTIONS.items()]
    assert_nothing(marked(sandbox, cells, names, "attention_flops"))


def test_no_frame_earns_or_tells_anything(sandbox: Sandbox) -> None:
    cells, names = functions({kind: f"everywhere({data})\nreturn 1" for kind, data in FRAMES.items()})
    assert_nothing(marked(sandbox, [TOP + FORGER, *cells], names, "attention_flops"))


def test_a_right_answer_would_be_seen(sandbox: Sandbox) -> None:
    body = HONEST["attention_flops"].split(":\n", 1)[1].replace("\n    ", "\n").strip()
    cells, names = functions({"right": f"config, query_tokens, key_tokens, absorb = given\n{body}"})
    assert marked(sandbox, [TOP, *cells], names, "attention_flops")["right"].points == 3
