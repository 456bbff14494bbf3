"""What the kernel says about a process and all its descendants.

Grading works on Linux only, and other modules of course_grader call the kernel through this one. It can be imported on
every system, so that `course.py grade` can explain itself and every test file can be collected.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def tree(root: int) -> list[int]:
    """A process and its descendants, by the kernel's own list."""
    found, new = [root], [root]
    while new:
        new = [child for parent in new for child in _children(parent)]
        found += new
    return found


def end(root: int) -> None:
    """Kill them all. With the first process of a namespace the kernel kills the rest of it."""
    for process in tree(root):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def hold(root: int) -> None:
    """From now on they can start neither processes nor threads: a child that nobody waits for ends uncounted."""
    import resource  # here: Windows has no such module

    held: set[int] = set()
    for _ in range(100):
        if not (new := set(tree(root)) - held):
            return
        for process in new:
            with suppress(ProcessLookupError, FileNotFoundError), _as_the_user_of(process):
                resource.prlimit(process, resource.RLIMIT_NPROC, (0, 0))
        held |= new
    raise RuntimeError("it starts processes faster than they can be held")


@contextmanager
def _as_the_user_of(process: int) -> Iterator[None]:
    """Limits are set by the same real user; root could do without, but not in every container."""
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


def seconds(root: int) -> dict[int, float]:
    """CPU time of each, with that of children that have ended and been waited for."""
    return {process: _seconds(process) for process in tree(root)}


def memory(root: int) -> int:
    """Bytes in use by them all; a page that several share counts in parts, which the kernel takes long to count."""
    return sum(_field(process, "smaps_rollup", "Pss:") for process in tree(root))


def uses_more(root: int, most: int) -> bool:
    """Whether they use more memory than so many bytes; parts are counted only where whole pages are too many."""
    whole = sum(_field(process, "status", "VmRSS:") for process in tree(root))
    return whole > most and memory(root) > most


def peaks(root: int) -> dict[int, int]:
    """The most that each has used since it began, or since `forget_peaks`, in bytes."""
    return {process: _field(process, "status", "VmHWM:") for process in tree(root)}


def forget_peaks(root: int) -> None:
    for process in tree(root):
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def _children(process: int) -> list[int]:
    found = []
    for task in _threads(process):
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _seconds(process: int) -> float:
    """To the nanosecond for its threads of now; in ticks, with threads and children that have ended."""
    now, ever = 0.0, 0.0
    for task in _threads(process):
        with suppress(OSError):  # it ends as we look, and counts in `ever`
            now += int((task / "schedstat").read_text().split()[0]) / 1e9
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ever = sum(int(field) for field in fields[11:15]) / TICKS
    return max(now, ever)


def memory_left() -> float:
    """The part of the machine's memory that is free or could be freed."""
    sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(sizes["MemAvailable"].split()[0]) / int(sizes["MemTotal"].split()[0])


def _threads(process: int) -> list[Path]:
    with suppress(OSError):
        return [Path(f"/proc/{process}/task/{number}") for number in os.listdir(f"/proc/{process}/task")]
    return []


def _field(process: int, file: str, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
