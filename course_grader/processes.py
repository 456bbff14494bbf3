"""What the kernel says of a process and all that it started. Linux only."""

import os
import signal
from contextlib import suppress
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


def seconds(root: int) -> float:
    """CPU time of them all, of those too that have ended and been waited for."""
    return sum(_seconds(process) for process in tree(root))


def memory(root: int) -> int:
    """Bytes in use by them all; a page that several share counts in parts."""
    return sum(_field(process, "smaps_rollup", "Pss:") for process in tree(root))


def peak(root: int) -> int:
    """The most that any one of them has used, in bytes."""
    return max(_field(process, "status", "VmHWM:") for process in tree(root))


def _children(process: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _seconds(process: int) -> float:
    """To the nanosecond for its threads of now; in ticks, with threads and children that have ended."""
    now, ever = 0.0, 0.0
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            now += int((task / "schedstat").read_text().split()[0]) / 1e9
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ever = sum(int(field) for field in fields[11:15]) / TICKS
    return max(now, ever)


def _field(process: int, file: str, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
