"""The three kinds of sandbox: each runs honest work, starts again after a death, and leaves nothing behind."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from course_grader import processes, sandbox
from course_grader.judge import judge, seed
from course_grader.limits import Limits, LostError, ShortageError
from course_grader.sandbox import Sandbox, Session, UnavailableError, best_kind, why_none
from tests.hostile import HONEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading is for Linux")
boxed = pytest.mark.usefixtures("bubblewrap")
LIMITS = Limits(cell_seconds=30, call_seconds=30, seconds=120)


@pytest.fixture(params=["private", "alone", "bare"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param != "bare":
        request.getfixturevalue("bubblewrap")
    if request.param == "private" and best_kind() != "private":
        pytest.skip("no namespaces in namespaces here")
    return request.param


def ready(session: Session) -> Session:
    while "ready" not in session.receive(LIMITS.cell_seconds):
        pass
    return session


def asked(session: Session, name: str) -> Any:
    session.begin(name)
    answer = session.ask({"arguments": []})["answer"]
    session.finish()
    return answer


def test_each_kind_runs_honest_work_and_starts_again_after_a_death(kind: str) -> None:
    seeds = partial(seed, b"secret", "somebody", attempt=1)
    deadly = "import os\ndef rotate(x, positions, theta=10000.0): os._exit(1)"
    cells = ["open('notes.txt', 'w').write('a file of my own')", deadly, *HONEST.values()]
    with Sandbox(LIMITS, kind=kind, warm=False) as box:
        marks = judge(box, cells, "hw1_mla", lambda name: seeds(exercise=name)).marks
    points = {mark.exercise: mark.points for mark in marks if mark.points}
    assert points == {"kv_cache_elements": 2, "attention_flops": 3}
    assert [mark.exercise for mark in marks if mark.stopped] == ["rotate"]


def test_nothing_is_left_behind(kind: str) -> None:
    child = "import os, time\ndef folder():\n    if os.fork() == 0: time.sleep(1000)\n    return os.getcwd()"
    with Sandbox(LIMITS, kind=kind, warm=False) as box:
        session = ready(box.open([(0, child)]))
        session.begin("folder")
        folder, started = session.ask({"arguments": []})["answer"], processes.tree(session.process)
        assert len(started) >= 3
        session.close()
    deadline = time.monotonic() + 30
    while any(map(alive, started)):
        assert time.monotonic() < deadline, "a process lives on"
        time.sleep(0.02)
    assert folder == "/tmp" or not Path(folder).exists()


def alive(process: int) -> bool:
    """Not so one that has ended and that its new parent has not looked at yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@boxed
def test_an_environment_below_tmp_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the course was cloned into /tmp."""
    place = tmp_path / "an environment"
    place.mkdir()
    (place / "module.py").write_text("answer = 42")
    monkeypatch.setattr(sandbox, "SYSTEM", (*sandbox.SYSTEM, str(place)))
    look = f"""
import os, sys
sys.path.append({str(place)!r})
import module
open('/tmp/mine', 'w').write('x')
try:
    open({str(place / "module.py")!r}, 'w')
    changed = True
except OSError:
    changed = False
def seen():
    return [module.answer, changed, *sorted(os.listdir({str(tmp_path)!r}))]
"""
    (tmp_path / "beside it").write_text("hidden")
    with Sandbox(LIMITS, warm=False) as box:
        for _ in range(2):  # of two submissions, the second does not see what the first has written
            session = ready(box.open([(0, look)]))
            assert asked(session, "seen") == [42, False, "an environment"]
            session.close()


@boxed
def test_work_is_measured_from_outside() -> None:
    cell = """
import time
x = b""
def burn():
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
def rest():
    time.sleep(0.3)
"""
    with Sandbox(LIMITS, warm=False) as box:
        session = ready(box.open([(0, cell)]))
        spent = {name: watched(session, name) for name in ("rest", "burn", "rest")}
        session.close()
    assert 0.3 <= spent["burn"] < 2
    assert spent["rest"] < 0.2


def watched(session: Session, name: str) -> float:
    session.begin(name)
    while len(processes.tree(session.process)) < 2:  # until the process of the exercise is there
        time.sleep(0.01)
    before = processes.seconds(session.process)
    session.ask({"arguments": []})
    after = processes.seconds(session.process)
    session.finish()
    return sum(after.values()) - sum(before.values())


def test_processes_that_are_paused_do_nothing() -> None:
    cell = "import time\nclock = iter(lambda: time.process_time(), None)\ndef spin():\n    while True: next(clock)"
    with Sandbox(LIMITS, warm=False) as box:
        session = ready(box.open([(0, cell)]))
        session.begin("spin")
        session.tell({"arguments": [], "id": "0"})
        time.sleep(0.3)
        with processes.paused(session.process):
            time.sleep(0.05)
            stopped = used(session)
            time.sleep(0.3)
            assert used(session) == stopped > 0
            with processes.resumed(session.process):
                time.sleep(0.3)
            assert used(session) > stopped
        session.close()


def used(session: Session) -> float:
    return sum(processes.seconds(session.process).values())


def test_pytorch_is_imported_by_the_first_tensor() -> None:
    cell = "import sys\ndef loaded(): return 'torch' in sys.modules\ndef twice(x): return 2 * x"
    with Sandbox(LIMITS, kind="bare", warm=False) as box:
        session = ready(box.open([(0, cell)]))
        assert asked(session, "loaded") is False, "or every grading run begins two seconds later"
        session.begin("twice")
        reply = session.ask({"arguments": [torch.arange(3)]})
        session.close()
    assert torch.equal(reply["answer"], torch.tensor([0, 2, 4])) and reply["changed"] == []


def test_a_sandbox_that_does_not_start_is_no_fault_of_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    with pytest.raises(UnavailableError, match="'bare' does not start here: could not be started"):
        judge(Sandbox(LIMITS, kind="bare"), [], "hw1_mla", lambda name: 0)


def test_without_bubblewrap_there_is_the_bare_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert best_kind.__wrapped__() == "bare"


def test_a_shortage_is_no_proof_that_a_sandbox_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any, **__: Any) -> Session:
        raise ShortageError("the machine ran short of memory")

    monkeypatch.setattr(Sandbox, "open", short)
    with pytest.raises(UnavailableError, match=r"could not be tried: the machine ran short of memory\."):
        best_kind.__wrapped__()


def test_a_trial_that_the_kernel_killed_for_memory_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> Session:
        monkeypatch.setattr(processes, "memory_kills", lambda: 10**9)
        raise LostError("ended its process")

    monkeypatch.setattr(Sandbox, "open", lost)
    with pytest.raises(UnavailableError, match="short of memory"):
        best_kind.__wrapped__()


def test_bubblewrap_itself_says_why_it_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_none() == "bubblewrap is not installed; install it with sudo apt install bubblewrap"
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    assert why_none() == "bubblewrap does not work here (bwrap: setting up uid map: Permission denied)"


def test_a_worker_that_is_gone_is_told() -> None:
    with Sandbox(LIMITS, kind="bare", warm=False) as box:
        session = box.open([(0, "import os; os._exit(0)")])
        with pytest.raises(LostError, match="ended its process"):
            ready(session)
        session.close()
