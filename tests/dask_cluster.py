"""A Dask cluster as a user starts one: a scheduler and two worker processes, on ports that are free."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client

ROOT = Path(__file__).parents[1]


def patiently(ready: Callable[[], Any], seconds: float = 120) -> None:
    """Waits; this long only where something is broken, or the machine is very busy."""
    for _ in range(int(seconds / 0.02)):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing after {seconds} s")


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    """Gives the scheduler's address. Workers find the course and the modules of these tests."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    host = ["--host", "127.0.0.1", "--no-dashboard"]
    quiet: Any = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*dask, "scheduler", *host, "--port", "0", "--scheduler-file", str(file)], **quiet)]
    try:
        patiently(lambda: file.exists() and file.read_text().endswith("}"))
        scheduler = json.loads(file.read_text())["address"]
        worker = [*dask, "worker", scheduler, *host, "--nworkers", "2", "--nthreads", "1"]
        started.append(subprocess.Popen(worker, **quiet))
        with Client(scheduler, timeout=120) as client:
            client.wait_for_workers(2, timeout=120)
        yield scheduler
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
