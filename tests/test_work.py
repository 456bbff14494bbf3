"""Points for the work go to whoever does no more of it than it takes, whatever hides the rest."""

from collections.abc import Iterator, Sequence

import pytest

from course_grader import measuring
from course_grader.sandbox import Limits, Sandbox
from tests.hostile_answers import answering
from tests.hostile_work import ATTENTION, ELSEWHERE, EXPERTS, HIDDEN, LAVISH, LAVISH_EXPERTS, SPARING, SPARING_EXPERTS
from tests.judged import judged, points

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=10, call_seconds=10, seconds=200)) as box:
        yield box


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tries are there for honest work on a busy machine."""
    monkeypatch.setattr(measuring, "TRIES", 1)


def earned(sandbox: Sandbox, cells: list[str], names: Sequence[str], exercise: str) -> dict[str, float]:
    return points(sandbox, cells, dict.fromkeys(names, exercise))


def test_work_that_nobody_needs_earns_what_the_values_earn(sandbox: Sandbox, once: None) -> None:
    assert earned(sandbox, [ATTENTION], LAVISH, "absorbed_attention") == dict.fromkeys(LAVISH, 3)
    assert earned(sandbox, [EXPERTS], LAVISH_EXPERTS, "moe_output") == dict.fromkeys(LAVISH_EXPERTS, 3)


@pytest.mark.parametrize("kind", HIDDEN)
def test_work_cannot_be_hidden(kind: str, sandbox: Sandbox, once: None) -> None:
    top = f"{ATTENTION}\nwasteful, HELPER = head_by_head, {kind == 'by a helper that was there before'}\n{ELSEWHERE}"
    cells = [top, answering("absorbed_attention", HIDDEN[kind])]
    with judged(sandbox, cells) as pupil:
        mark = pupil.mark("absorbed_attention")
    assert mark.points == 3 or (mark.points == 0 and mark.stopped), mark.message


def test_who_does_not_end_on_a_large_input_is_told_what_the_work_may_be(sandbox: Sandbox) -> None:
    body = "if given[2].shape[1] >= 200: os._exit(1)\nreturn absorbed(*given)"
    with judged(sandbox, [ATTENTION, answering("absorbed_attention", body)]) as pupil:
        mark = pupil.mark("absorbed_attention")
    assert mark.points == 3 and mark.stopped
    assert "On a large one it ended its process. But the work" in mark.message


def test_no_more_work_than_it_takes_earns_everything(sandbox: Sandbox) -> None:
    names = ["absorbed", "fold_first", "broadcast", "loops", "coarse", "two_threads"]
    assert earned(sandbox, [ATTENTION, SPARING], names, "absorbed_attention") == dict.fromkeys(names, 5)
    names = ["pairs", "masks", "gathered"]
    assert earned(sandbox, [EXPERTS, SPARING_EXPERTS], names, "moe_output") == dict.fromkeys(names, 5)
