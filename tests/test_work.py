"""Points for the work go to whoever does no more of it than it takes, whatever hides the rest."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from course_grader.limits import Limits
from course_grader.sandbox import Sandbox
from course_lib.exercises import effort
from course_lib.exercises.comparing import same
from course_lib.exercises.counting import matrix_flops
from course_lib.exercises.effort import CLEAR, one_thread, timed
from course_lib.exercises.engine import FaultError
from tests import hostile_work
from tests.hostile_answers import answering
from tests.hostile_work import ATTENTION, EXPERTS, HIDDEN, LAVISH, LAVISH_EXPERTS, SPARING, SPARING_EXPERTS
from tests.judged import KNOWN, judged, points

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=10, call_seconds=10, seconds=200)) as box:
        yield box


@pytest.fixture
def fewer_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for wasteful work, which is as slow as what it is compared with."""
    monkeypatch.setattr(effort, "TRIES", 3)


def earned(sandbox: Sandbox, cells: list[str], names: Sequence[str], exercise: str) -> dict[str, float]:
    return points(sandbox, cells, dict.fromkeys(names, exercise))


def test_work_that_nobody_needs_earns_what_the_values_earn(sandbox: Sandbox, fewer_tries: None) -> None:
    assert earned(sandbox, [ATTENTION], LAVISH, "absorbed_attention") == dict.fromkeys(LAVISH, 3)
    assert earned(sandbox, [EXPERTS], LAVISH_EXPERTS, "moe_output") == dict.fromkeys(LAVISH_EXPERTS, 3)


@pytest.mark.parametrize("kind", HIDDEN)
def test_work_cannot_be_hidden(kind: str, sandbox: Sandbox, fewer_tries: None) -> None:
    helper = kind == "by a helper that was there before"
    top = f"{ATTENTION}\nwasteful, HELPER = head_by_head, {helper}\n{hostile_work.ELSEWHERE}"
    cells = [top, answering("absorbed_attention", HIDDEN[kind])]
    with judged(sandbox, cells) as pupil:
        mark = pupil.mark("absorbed_attention")
    assert mark.points == 3 or (mark.points == 0 and mark.stopped), mark.message


def test_who_does_not_end_on_a_large_input_is_told_so(sandbox: Sandbox) -> None:
    body = "if given[2].shape[1] >= 200: os._exit(1)\nreturn absorbed(*given)"
    with judged(sandbox, [ATTENTION, answering("absorbed_attention", body)]) as pupil:
        mark = pupil.mark("absorbed_attention")
    assert mark.points == 3 and mark.stopped
    assert mark.message == "Right on small inputs. On a large one it ended its process."


def functions(source: str) -> dict[str, Any]:
    """As in a notebook, where torch may use several threads."""
    names: dict[str, Any] = {}
    exec(re.sub(r"^(torch.set_num_threads.*|@torch.compile)$", "", source, flags=re.MULTILINE), names)
    return names


def of(source: str) -> list[str]:
    return re.findall(r"^def (\w+)", source, re.MULTILINE)


HONEST = [(ATTENTION + SPARING, "absorbed_attention", name) for name in ("absorbed", "compiled", *of(SPARING))]
HONEST += [(EXPERTS + SPARING_EXPERTS, "moe_output", name) for name in of(SPARING_EXPERTS)]


@pytest.mark.parametrize(("source", "exercise", "name"), HONEST, ids=[name for _, _, name in HONEST])
def test_no_more_work_than_it_takes_earns_everything(source: str, exercise: str, name: str, sandbox: Sandbox) -> None:
    """In the sandbox as in the notebook."""
    if name != "two_threads":  # which would change the number of threads for all tests
        outcome = KNOWN[exercise].grade(functions(source)[name])
        assert outcome.solved, outcome
    with judged(sandbox, [source]) as pupil:
        mark = pupil.mark(exercise, name)
    assert mark.points == 5, mark.message


UNCOUNTED_WAYS = [
    (ATTENTION + hostile_work.UNCOUNTED, "absorbed_attention", name) for name in of(hostile_work.UNCOUNTED)
]
UNCOUNTED_WAYS += [
    (EXPERTS + hostile_work.UNCOUNTED_EXPERTS, "moe_output", name) for name in of(hostile_work.UNCOUNTED_EXPERTS)
]


@pytest.mark.parametrize(("source", "exercise", "name"), UNCOUNTED_WAYS, ids=[name for _, _, name in UNCOUNTED_WAYS])
def test_products_that_pytorch_does_not_count_are_seen_by_their_time(
    source: str, exercise: str, name: str, sandbox: Sandbox, fewer_tries: None
) -> None:
    fn = functions(source)[name]
    structure = KNOWN[exercise].structure
    assert structure is not None
    case = structure.case(0)
    assert matrix_flops(lambda: fn(*case.values())) <= structure.flops(case)
    with judged(sandbox, [source]) as pupil:
        mark = pupil.mark(exercise, name)
    for told in (KNOWN[exercise].grade(fn), mark):
        assert told.points == 3 and "it is slow for another reason" in told.message, told


def test_nothing_is_claimed_that_was_not_measured(fewer_tries: None) -> None:
    """A function that idles is slow, and that is what it is told."""

    def idles(*given: Any) -> Any:
        ends = time.process_time() + (0.5 if given[2].shape[1] > 200 else 0)
        while time.process_time() < ends:
            pass
        return KNOWN["absorbed_attention"].reference(*given)

    outcome = KNOWN["absorbed_attention"].grade(idles)
    assert outcome.points == 3
    assert re.search(
        r"on a large input it took 5\d\d ms of CPU time, where \d+ ms are enough and making the keys of every head "
        r"takes \d+ ms\. Either it does that work, or it is slow for another reason",
        outcome.message,
    )


def test_a_fault_in_a_large_case_is_ours() -> None:
    exercise = KNOWN["absorbed_attention"]
    assert exercise.structure is not None

    def fails(seed: int) -> Any:
        raise IndexError("no such axis")

    heavy = replace(exercise.structure.heavy[0], case=fails)
    broken = replace(exercise, structure=replace(exercise.structure, heavy=[heavy]))
    with pytest.raises(FaultError, match="absorbed_attention itself fails: IndexError: no such axis"):
        broken.grade(exercise.reference)


def test_a_function_that_stops_on_a_large_input_is_told_so() -> None:
    exercise = KNOWN["absorbed_attention"]
    outcome = exercise.grade(lambda *given: 1 / 0 if given[2].shape[1] > 200 else exercise.reference(*given))
    assert outcome.points == 3
    assert outcome.message == "Right on small inputs. On a large one it raised a ZeroDivisionError: division by zero."


def test_a_nan_that_nobody_needs_to_touch_is_explained(sandbox: Sandbox) -> None:
    with judged(sandbox, [EXPERTS]) as pupil:
        mark = pupil.mark("moe_output", "not_a_number")
    assert mark.points == 3 and "experts that no token chose have weights of NaN" in mark.message


def test_the_wasteful_ways_take_much_more_time() -> None:
    """What the rule rests on: right, and far above what is allowed without a further look."""
    with one_thread():
        for exercise in ("absorbed_attention", "moe_output"):
            structure, reference = KNOWN[exercise].structure, KNOWN[exercise].reference
            assert structure is not None
            for heavy in structure.heavy:
                case = heavy.case(3)
                (right, needed), (answer, waste) = timed(reference, case), timed(heavy.wasteful, case)
                assert same(answer, right) and needed < CLEAR * waste
