"""Runs for a sweep on a cluster, in a module that its workers import."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from course_lib.sweep import Row
from tests.dask_cluster import patiently

NUMBERS = range(8)


def begun(folder: str) -> Counter[int]:
    """How often each run was begun; each writes a line as it starts."""
    file = Path(folder) / "begun"
    return Counter(int(line) for line in file.read_text().split()) if file.exists() else Counter()


def note(folder: str, number: int) -> Row:
    with (Path(folder) / "begun").open("a") as file:
        file.write(f"{number}\n")
    time.sleep(0.1)
    return {"square": number**2, "process": os.getpid()}


def die_once(folder: str, number: int) -> Row:
    """Runs 0 and 1 wait for each other. Then the worker is killed in the middle of run 3, once, as a machine dies."""
    row = note(folder, number)
    if number < 2:
        patiently(lambda: begun(folder)[0] and begun(folder)[1])
    if number == 3 and begun(folder)[3] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return row


def fail_at_5(folder: str, number: int) -> Row:
    if number == 5:
        raise RuntimeError("out of memory")
    return note(folder, number)


def refuse(folder: str, number: int) -> Row:
    raise AssertionError("this run was done before")


def runs_in(folder: Path) -> list[Row]:
    return [{"folder": str(folder), "number": number} for number in NUMBERS]
