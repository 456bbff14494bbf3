"""What the kernel reports about a process and its descendants, and about the machine.

Grading works on Linux only, and the other modules of course_grader get at the kernel through this one. It can be
imported on every system, so that `course.py grade` can explain itself and every test file can be collected.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from course_lib import host

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def tree(root: int) -> list[int]:
    """A process and its descendants, as the kernel lists them."""
    found, new = [root], [root]
    while new:
        new = [child for parent in new for child in _children(parent)]
        found += new
    return found


def end(root: int) -> None:
    """Kills them all. With the first process of a namespace the kernel kills the rest of it."""
    _signal(root, signal.SIGKILL)


def hold(root: int) -> None:
    """From now on they can start neither processes nor threads: the CPU time of a child that its parent does not wait
    for would be lost.

    Raises:
        RuntimeError: they start processes too fast.
    """
    import resource  # here: Windows has no such module

    held: set[int] = set()
    for _ in range(100):
        if not (new := set(tree(root)) - held):
            return
        for process in new:
            with suppress(ProcessLookupError, FileNotFoundError), _as_the_user_of(process):
                resource.prlimit(process, resource.RLIMIT_NPROC, (0, 0))
        held |= new
    raise RuntimeError("starts processes faster than they can be held")


@contextmanager
def paused(root: int) -> Iterator[None]:
    """Stops them all for a while; call `hold` first, or new ones keep running."""
    _signal(root, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(root, signal.SIGCONT)


@contextmanager
def resumed(root: int) -> Iterator[None]:
    """Lets them all run for a while."""
    _signal(root, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(root, signal.SIGSTOP)


def _signal(root: int, number: int) -> None:
    for process in tree(root):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


@contextmanager
def _as_the_user_of(process: int) -> Iterator[None]:
    """Only the same real user may set limits; root could do without this, but not in every container."""
    if os.geteuid() != 0:
        yield
        return
    status = Path(f"/proc/{process}/status").read_text()
    user, group = (int(re.findall(rf"^{name}:\t(\d+)", status, re.MULTILINE)[0]) for name in ("Uid", "Gid"))
    before = os.getresgid(), os.getresuid()
    try:
        os.setresgid(group, -1, -1)
        os.setresuid(user, -1, -1)
        yield
    finally:
        os.setresuid(*before[1])
        os.setresgid(*before[0])


# Time ----------------------------------------------------------------------------------------------------------------


def seconds(root: int) -> dict[int, float]:
    """CPU time of each process, including children that have ended and been waited for."""
    return {process: _seconds(process, children=True) for process in tree(root)}


class Meter:
    """The CPU time of a process and its descendants from now on (`used`), and the time for which other programs have
    kept them from running (`denied`), both in seconds and up to the last `look`.

    Denied is what the thread that waited longest for a CPU has waited, less the CPU time of the others in the tree, as
    they may be what it waited for. Children that end between two looks go uncounted.
    """

    def __init__(self, root: int) -> None:
        self.used, self.denied, self._waited = 0.0, 0.0, 0.0
        self._root = root
        self._processes, self._threads = self._now()

    def look(self) -> None:
        spent, threads = self._now()
        used = sum(max(0, now - self._processes.get(process, 0)) for process, now in spent.items())
        longest = its_own = 0.0
        for thread, (ran, waited) in threads.items():
            ran_before, waited_before = self._threads.get(thread, (0, 0))
            longest, its_own = max((longest, its_own), (waited - waited_before, ran - ran_before))
        self.used += used
        self._waited += longest - (used - its_own)
        self.denied = max(0.0, self._waited)
        self._processes |= spent  # those that the kernel's list leaves out for once are not counted twice
        self._threads |= threads

    def _now(self) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
        alive = tree(self._root)
        return (
            {process: _seconds(process, children=False) for process in alive},
            {thread: times for process in alive for thread, times in _thread_times(process).items()},
        )


def _seconds(process: int, *, children: bool) -> float:
    """To the nanosecond for threads that are alive; in ticks with those, and the children, that have ended."""
    ever = 0.0
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ever = sum(int(field) for field in fields[11 : 15 if children else 13]) / TICKS
    return max(sum(ran for ran, _ in _thread_times(process).values()), ever)


def _thread_times(process: int) -> dict[int, tuple[float, float]]:
    """Of each thread, the seconds for which it has run, and for which it has waited for a CPU."""
    found = {}
    for task in _threads(process):
        with suppress(OSError):  # it ends as we look
            ran, waited, *_ = (task / "schedstat").read_text().split()
            found[int(task.name)] = int(ran) / 1e9, int(waited) / 1e9
    return found


# Memory --------------------------------------------------------------------------------------------------------------


def memory(root: int, enough: int = 0) -> int:
    """Bytes that they all use. A page that several share is split between them, which the kernel takes long to work
    out; where counting it in full for each gives no more than `enough` bytes, that number is the answer.
    """
    alive = tree(root)
    whole = sum(_whole(process) for process in alive)
    return whole if whole <= enough else sum(_parts(process) for process in alive)


def _whole(process: int) -> int:
    return _bytes(process, "status", "VmRSS:", "VmSwap:")


def _parts(process: int) -> int:
    """In full where its pages cannot be looked at, so that nothing is gained by hiding them."""
    return _bytes(process, "smaps_rollup", "Pss:", "SwapPss:") or _whole(process)


def memory_left() -> tuple[int, int]:
    """Bytes of the machine's memory, or of the container's: what is free or could be freed, and all of it."""
    return host.unused_memory(), host.total_memory()


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory, in containers too, since the machine started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _children(process: int) -> list[int]:
    found = []
    for task in _threads(process):
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _threads(process: int) -> list[Path]:
    with suppress(OSError):
        return [Path(f"/proc/{process}/task/{number}") for number in os.listdir(f"/proc/{process}/task")]
    return []


def _bytes(process: int, file: str, *names: str) -> int:
    """The sum of these lines of a file in /proc; 0 if it cannot be read."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    return 0
