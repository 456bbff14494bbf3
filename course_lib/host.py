"""What a long training needs from its process and its machine: Ctrl-C at the right moment, and memory."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

# limits of containers: cgroups version 2, and version 1
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# by the file of the limit: the file with what is used, and the line of memory.stat with the cache that can be freed
CGROUP_USAGE = {
    "memory.max": ("memory.current", "inactive_file"),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file"),
}


@contextmanager
def defer_ctrl_c() -> Iterator[None]:
    """Raises KeyboardInterrupt only after the block, so that what it does is never half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def return_freed_memory() -> None:
    """Gives freed memory back to the system. glibc keeps it in pieces too small for the next training step: without
    this, 2,000 steps of 40 MB end at 7 GB.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def available_memory() -> int:
    """Bytes of main memory that this process can still take: what is free, within the limits set by the container
    and by `ulimit -v`.
    """
    bounds = [unused_memory()]
    if sys.platform == "linux":
        process = psutil.Process()
        limit, _ = process.rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY:
            bounds.append(max(limit - process.memory_info().vms, 0))
    return min(bounds)


def unused_memory() -> int:
    """Bytes of main memory that are free or could be freed, within the limit of the container."""
    left = [limit - _used_in_container(file) for file, limit in _container_limits().items()]
    return max(0, min([psutil.virtual_memory().available, *left]))


def total_memory() -> int:
    """Bytes of main memory, or the limit of the container if that is less."""
    return min([psutil.virtual_memory().total, *_container_limits().values()])


def _container_limits() -> dict[Path, int]:
    found = {}
    for file in map(Path, CGROUP_LIMITS):
        with suppress(OSError, ValueError):  # no such file, or "max"
            found[file] = int(file.read_text())
    return found


def _used_in_container(limit: Path) -> int:
    """Without what caches of files hold, which is given back when it is needed."""
    usage, cache = CGROUP_USAGE[limit.name]
    with suppress(OSError):
        used = int(limit.with_name(usage).read_text())
        lines = limit.with_name("memory.stat").read_text().splitlines()
        return used - sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
    return 0
