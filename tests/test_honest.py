"""Work that is right keeps all its points, however odd the notebook around it."""

from collections.abc import Iterator

import pytest

from course_grader import release
from course_grader.judge import judge
from course_grader.notebook import code_cells
from course_grader.sandbox import Limits, Sandbox
from course_lib.exercises import BANK
from tests.honest import KINDS, Work
from tests.judged import SEED, judged

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=20, call_seconds=20, seconds=120)) as box:
        yield box


@pytest.mark.parametrize("work", KINDS.values(), ids=KINDS)
def test_it_earns_everything(work: Work, sandbox: Sandbox) -> None:
    with judged(sandbox, work.cells) as pupil:
        lost = {name: mark.message for name in sorted(work.earns) if (mark := pupil.mark(name)).points != mark.of}
    assert lost == {}


@pytest.mark.parametrize("name", BANK)
def test_the_solved_page_earns_everything(name: str, sandbox: Sandbox) -> None:
    judged = judge(sandbox, code_cells(release.sources()[name].read_bytes()), name, lambda _: SEED)
    assert [(m.exercise, m.points, m.message) for m in judged.marks if m.points != m.of] == []
    assert judged.stopped == []


@pytest.mark.parametrize("name", BANK)
def test_the_unsolved_page_earns_nothing(name: str, sandbox: Sandbox) -> None:
    cells = code_cells(release.target(release.sources()[name]).read_bytes())
    judged = judge(sandbox, cells, name, lambda _: SEED)
    assert {(m.points, m.message) for m in judged.marks} == {(0, "Not written yet.")}
    assert judged.stopped == []
