"""Time and memory: a submission answers for what its own processes use, and not for what others leave it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from course_grader import limits, processes
from course_grader.judge import judge
from course_grader.limits import GIB, Budget, Limits, LostError, ShortageError
from course_grader.sandbox import Sandbox
from tests.test_inside import asked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading is for Linux")
SHORT = Limits(cell_seconds=1, call_seconds=1, seconds=60)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cell_seconds": float("nan")}, "the seconds per cell must be a number above 0, not nan"),
        ({"call_seconds": 0}, "the seconds per call must be a number above 0, not 0"),
        ({"seconds": float("inf")}, "the seconds per submission must be a number above 0, not inf"),
        ({"seconds": 30}, "--seconds 30 is less than --cell-seconds 60: lower that, too"),
        ({"memory": GIB // 4}, "must be at least 0.5 GiB, which PyTorch alone needs, not 0.25 GiB"),
        ({"memory": float("nan")}, "not nan GiB"),
        ({"processes": 2}, "2 processes and threads are too few"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Limits(**wrong)


# Time ----------------------------------------------------------------------------------------------------------------


@contextmanager
def spinning(number: int, cpu: int) -> Iterator[None]:
    """So many processes that take all they get of a CPU, each with a share of its own."""
    children = []
    for _ in range(number):
        if (child := os.fork()) == 0:
            os.setsid()
            os.sched_setaffinity(0, {cpu})
            while True:
                pass
        children.append(child)
    try:
        yield
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


BUSY = """
import time
def asked():
    ends = time.process_time() + 0.6
    while time.process_time() < ends: pass
    return True
"""


def test_who_is_kept_waiting_for_a_cpu_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.6 s of CPU time take several seconds by the clock, though 1 s is the limit."""
    monkeypatch.setattr(limits, "PATIENCE", 1000)
    before, cpu = os.sched_getaffinity(0), min(os.sched_getaffinity(0))
    with Sandbox(SHORT, kind="bare", warm=False) as box, spinning(6, cpu):
        os.sched_setaffinity(0, {cpu})  # the worker inherits it
        try:
            box.open([]).close()
            os.sched_setaffinity(0, before)
            began = time.monotonic()
            assert asked(box, BUSY) is True
            assert time.monotonic() - began > 1.2
        finally:
            os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    "body",
    ["while True: pass", "import time; time.sleep(1e6)", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"],
)
def test_whatever_it_does_instead_of_answering_its_time_ends(body: str) -> None:
    with Sandbox(SHORT, kind="bare", warm=False) as box:
        began = time.monotonic()
        with pytest.raises(LostError, match="took too long"):
            asked(box, f"def asked():\n    {body}")
        assert time.monotonic() - began < 20


class Counted:
    """Instead of what the kernel counts: shares of a second, per second."""

    used_share, denied_share = 0.0, 0.0

    def __init__(self, root: int) -> None:
        self._began, self.used, self.denied = time.monotonic(), 0.0, 0.0

    def look(self) -> None:
        passed = time.monotonic() - self._began
        self.used, self.denied = passed * self.used_share, passed * self.denied_share


def waited(budget: Budget, seconds: float) -> float:
    """How long a wait of so many seconds lasts; what ends it is passed on."""
    began = time.monotonic()
    with suppress(LostError), budget.waiting(os.getpid(), seconds) as wait:
        while True:
            wait.check()
            time.sleep(0.01)
    return time.monotonic() - began


def test_several_processes_at_once_use_up_the_time_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "Meter", Counted)
    monkeypatch.setattr(Counted, "used_share", 20)
    assert waited(Budget(SHORT), 20) < 15, "20 s of CPU time"


def test_a_wait_ends_by_the_clock_as_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "Meter", Counted)
    monkeypatch.setattr(Counted, "denied_share", 0.95)
    budget = Budget(SHORT)
    with pytest.raises(ShortageError, match="short of CPU time"):
        waited(budget, 0.3)
    assert budget.shortage and budget.spent() < 0.3
    with pytest.raises(ShortageError):
        waited(budget, 10)  # at once: what was lost is lost
    with pytest.raises(ShortageError):
        budget.settle()


def test_all_waits_together_have_a_limit() -> None:
    budget = Budget(SHORT)
    for _ in range(2):
        with budget.waiting(os.getpid(), 20):
            time.sleep(0.1)
    assert budget.spent() >= 0.2
    budget._spent = SHORT.seconds - 0.2
    assert waited(budget, 20) < 15


def test_the_meter_tells_others_from_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By thread: what it has run, and what it has waited."""
    states = iter([
        {1: (0, 0), 2: (5, 5)},
        {1: (1, 9), 2: (6, 6)},  # it ran 2 s, and a thread waited 9 s, of which the other one may be the reason for 1
        {1: (1, 9), 2: (9, 9), 3: (4, 5)},  # a new one; they may be the reason for each other's waiting
        {3: (4, 6)},
    ])  # fmt: skip

    def now(self: processes.Meter) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
        threads = {thread: (float(ran), float(waited)) for thread, (ran, waited) in next(states).items()}
        return {thread: ran for thread, (ran, _) in threads.items()}, threads

    monkeypatch.setattr(processes.Meter, "_now", now)
    meter, found = processes.Meter(0), []
    for _ in range(3):
        meter.look()
        found.append((meter.used, meter.denied))
    assert found == [(2, 8), (9, 10), (9, 11)]


def test_a_submission_that_others_keep_waiting_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when each of its waits is short."""
    budget = Budget(SHORT)
    with budget.waiting(os.getpid(), 1) as wait:
        monkeypatch.setattr(limits, "WATCH_SECONDS", 0)
        wait.check()
    monkeypatch.setattr(budget, "elapsed", lambda: limits.PATIENCE * SHORT.seconds + 1)
    with budget.waiting(os.getpid(), 1) as wait, pytest.raises(ShortageError, match="short of CPU time"):
        wait.check()


# Memory --------------------------------------------------------------------------------------------------------------


def machine(monkeypatch: pytest.MonkeyPatch, *left: float, used: float) -> None:
    """GiB of 8 that are left, look by look, and GiB that the submission uses."""
    looks = iter(left)
    monkeypatch.setattr(processes, "memory_left", lambda: (int(next(looks) * GIB), 8 * GIB))
    monkeypatch.setattr(processes, "memory", lambda *_, **__: int(used * GIB))


def watched(budget: Budget) -> None:
    budget._looked = 0
    budget.watch_memory(1)


def test_next_to_others_nobody_is_blamed_for_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 6, 0.1, used=3.9)
    with pytest.raises(ShortageError, match="short of memory"):
        watched(Budget(SHORT))


def test_alone_it_is_blamed_for_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 4, 0.1, used=3.87)
    with pytest.raises(LostError, match=r"used 3\.9 GiB of memory, and the machine had no more"):
        watched(Budget(SHORT, alone=True))


@pytest.mark.parametrize(("at_first", "used"), [(6, 0.2), (7.9, 3.9), (0.3, 0.2), (1.0, 0.9)])
def test_alone_it_is_not_blamed_for_what_others_use(
    at_first: float, used: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, at_first, 0.1, used=used)
    with pytest.raises(ShortageError):
        watched(Budget(SHORT, alone=True))


def test_above_its_limit_it_is_always_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 6, used=4.1)
    with pytest.raises(LostError, match="used more than 4 GiB of memory"):
        watched(Budget(SHORT))


@pytest.mark.parametrize(("alone", "used", "blamed"), [(False, 3.9, False), (True, 0.2, False), (True, 3.9, True)])
def test_a_process_that_the_kernel_killed_for_memory_did_not_end_by_itself(
    alone: bool, used: float, blamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([3, 4])
    monkeypatch.setattr(processes, "memory_kills", lambda: next(kills))
    machine(monkeypatch, 4, 2, used=used)
    budget = Budget(SHORT, alone=alone)
    watched(budget)
    if blamed:
        budget.settle()
    else:
        with pytest.raises(ShortageError, match="short of memory"):
            budget.settle()


def test_memory_that_cannot_be_looked_into_counts_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = processes.memory(os.getpid(), enough=1 << 50)
    read: Callable[..., int] = processes._bytes
    monkeypatch.setattr(
        processes, "_bytes", lambda process, file, *names: 0 if "smaps" in file else read(process, file, *names)
    )
    assert processes.memory(os.getpid()) > 0.9 * whole > 0


def test_a_shortage_is_no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes: while cells run, in a call, or between."""
    for first_short in range(1, 12):
        looks = iter(range(1000))
        monkeypatch.setattr(
            Budget,
            "watch_memory",
            lambda self, _, at=first_short, looks=looks: next(looks) < at or self.short_of("memory"),
        )
        with Sandbox(SHORT, kind="bare", warm=False) as box, pytest.raises(ShortageError):
            judge(box, ["def rotate(x, positions, theta): return x"], "hw1_mla", lambda _: 1)


def test_a_worker_starts_when_the_memory_of_the_last_one_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a submission: else the next worker, small as it is, would meet the shortage."""
    left, looked = iter([5, 0.1, 0.2, 5]), list[float]()

    def memory_left() -> tuple[int, int]:
        looked.append(next(left, 5))
        return int(looked[-1] * GIB), 8 * GIB

    monkeypatch.setattr(processes, "memory_left", memory_left)
    with Sandbox(SHORT, kind="bare", warm=False) as box:
        budget = box.budget()
        box.open([], budget).close()
        assert looked[:4] == [5, 0.1, 0.2, 5] and not budget.shortage
        monkeypatch.setattr(limits, "MEMORY_SECONDS", 0)
        left = iter([0.1])
        box.open([], budget).close()  # it does not wait for ever
