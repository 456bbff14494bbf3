"""What one submission may use, and what happens when it uses more or when the machine has less.

A submission loses points only for what its own processes do. Where other programs take the CPU or the memory, marking
stops with a ShortageError, and the notebook is marked again while no other one runs.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from course_grader import processes

GIB = 1 << 30
LEAST_MEMORY, LEAST_PROCESSES = GIB // 2, 8  # what a worker needs to start
PATIENCE = 3  # times its limit that a wait may last by the clock, where other programs keep the submission waiting
LEAST_LEFT = 0.03  # part of the machine's memory; with less, the machine is short of memory
MEMORY_SECONDS = 10  # how long a worker may wait for memory before it starts
WATCH_SECONDS = 0.1  # between two looks at a worker


class LostError(Exception):
    """The worker is gone, or must go; the text says what it did: "took too long"."""


class ShortageError(Exception):
    """The machine did not have what the limits promise, and the submission is not to blame."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one submission, all its processes together. Times count as Budget says.

    Raises:
        ValueError: a limit that is not a number, or too low, or a time above the time for everything.
    """

    cell_seconds: float = 60
    call_seconds: float = 20
    seconds: float = 240  # for everything
    memory: float = 4 * GIB  # bytes
    processes: int = 64  # threads count as well
    file_bytes: int = 64 << 20  # of one file

    def __post_init__(self) -> None:
        for name, value in (("cell", self.cell_seconds), ("call", self.call_seconds), ("submission", self.seconds)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"the seconds per {name} must be a number above 0, not {value}")
        parts = {"--cell-seconds": self.cell_seconds, "--call-seconds": self.call_seconds}
        if more := [f"{option} {value:g}" for option, value in parts.items() if value > self.seconds]:
            those = "those" if len(more) > 1 else "that"
            raise ValueError(f"--seconds {self.seconds:g} is less than {' and '.join(more)}: lower {those}, too")
        if not (math.isfinite(self.memory) and self.memory >= LEAST_MEMORY):
            least = f"at least {LEAST_MEMORY / GIB:g} GiB, which PyTorch alone needs"
            raise ValueError(f"the memory must be {least}, not {self.memory / GIB:.3g} GiB")
        if self.processes < LEAST_PROCESSES:
            raise ValueError(f"{self.processes} processes and threads are too few: at least {LEAST_PROCESSES}")

    def of_process(self, kind: str) -> dict[str, int]:
        """By the names of setrlimit. Address space is not memory: PyTorch alone maps several GiB."""
        limits = {
            "AS": int(self.memory) + 8 * GIB, "FSIZE": self.file_bytes, "NOFILE": 256, "CPU": int(self.seconds) + 1,
            "CORE": 1,  # 0 would still let the system's own program collect a dump
        }  # fmt: skip
        # outside a sandbox every process of the user would count
        return limits if kind == "bare" else {**limits, "NPROC": self.processes}


def await_memory() -> None:
    """To be called before a worker starts: the kernel takes a moment to get back the memory of one that was killed."""
    ends = time.monotonic() + MEMORY_SECONDS
    while _low_memory() and time.monotonic() < ends:
        time.sleep(WATCH_SECONDS)


def _low_memory() -> bool:
    available, total = processes.memory_left()
    return available < LEAST_LEFT * total


class Budget:
    """What one submission has used so far, over all the workers that it has had.

    Of the time that passes, what other programs keep it waiting for a CPU does not count; CPU time of several processes
    at once counts in full. `alone`: no other submission is being marked.
    """

    def __init__(self, limits: Limits, *, alone: bool = False) -> None:
        self.limits, self._alone = limits, alone
        self.shortage: ShortageError | None = None
        self._began, self._judge = time.monotonic(), time.thread_time()
        self._spent, self._most = 0.0, 0  # seconds in earlier waits; most memory seen, in bytes
        self._available, self._kills = processes.memory_left()[0], processes.memory_kills()
        self._looked = self._began

    @contextmanager
    def waiting(self, process: int, seconds: float) -> Iterator["Wait"]:
        """A wait for a worker, which may take so many seconds of the submission's time."""
        if self.shortage:
            raise self.shortage
        wait = Wait(self, process, seconds)
        try:
            yield wait
        finally:
            self._spent += wait.spent()

    def spent(self) -> float:
        """Seconds, with the judge's own CPU time for this submission."""
        return self._spent + time.thread_time() - self._judge

    def elapsed(self) -> float:
        """Seconds by the clock."""
        return time.monotonic() - self._began

    def settle(self) -> None:
        """To be called when all is marked.

        Raises:
            ShortageError: something was lost to a shortage, also where it looked like the submission's own end.
        """
        if self.shortage:
            raise self.shortage
        if processes.memory_kills() != self._kills and not self._explains_shortage():
            self.short_of("memory")

    def watch_memory(self, process: int) -> None:
        """By the clock: bytes that arrive one by one must not delay it."""
        if (now := time.monotonic()) < self._looked + WATCH_SECONDS:
            return
        self._looked = now
        used = processes.memory(process, enough=int(self.limits.memory))
        self._most = max(self._most, used)
        if used > self.limits.memory:
            raise LostError(f"used more than {self.limits.memory / GIB:.3g} GiB of memory")
        if _low_memory():
            self._most = processes.memory(process)
            if self._explains_shortage():
                raise LostError(f"used {self._most / GIB:.2g} GiB of memory, and the machine had no more")
            self.short_of("memory")

    def _explains_shortage(self) -> bool:
        """Alone, it used more than half of what there was, and more than ordinary work needs. Next to others a
        submission is never blamed.
        """
        ordinary = min(GIB, self.limits.memory / 2)
        return self._alone and self._most > max(ordinary, self._available / 2)

    def short_of(self, what: str) -> NoReturn:
        self.shortage = ShortageError(f"the machine ran short of {what}")
        raise self.shortage


class Wait:
    """One wait for a worker."""

    def __init__(self, budget: Budget, process: int, seconds: float) -> None:
        self._budget, self._process, self._seconds = budget, process, seconds
        self._began = self._looked = time.monotonic()
        self._meter: processes.Meter | None = None  # most waits are over before it is needed

    def check(self) -> None:
        """To be called again and again.

        Raises:
            LostError: the submission has used what it may use.
            ShortageError: its time by the clock is over, and other programs have used most of that.
        """
        self._budget.watch_memory(self._process)
        if (now := time.monotonic()) < self._looked + WATCH_SECONDS:
            return
        self._looked = now
        if self._meter:
            self._meter.look()
        else:
            self._meter = processes.Meter(self._process)
        limits, spent = self._budget.limits, self.spent()
        if spent > self._seconds or self._budget.spent() + spent > limits.seconds:
            raise LostError("took too long")
        if self._passed() > PATIENCE * self._seconds or self._budget.elapsed() > PATIENCE * limits.seconds:
            self._budget.short_of("CPU time")

    def spent(self) -> float:
        """Seconds that count."""
        if not self._meter:
            return self._passed()
        return max(self._meter.used, self._passed() - self._meter.denied)

    def _passed(self) -> float:
        return time.monotonic() - self._began
