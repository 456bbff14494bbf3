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
    bounds = [psutil.virtual_memory().available]
    for file in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            bounds.append(int(Path(file).read_text()))
    if sys.platform == "linux":
        process = psutil.Process()
        limit, _ = process.rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY:
            bounds.append(max(limit - process.memory_info().vms, 0))
    return min(bounds)
