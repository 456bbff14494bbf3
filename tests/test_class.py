"""A class, graded for real from the command line: killed, stopped, twice at once, without a sandbox."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from course_grader import command, grading, judge, processes
from course_grader.notebook import Page
from course_grader.sandbox import best_kind
from tests.dask_cluster import patiently
from tests.small_class import alive, arguments, check_everybody, eight_students, here, records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading is for Linux")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return eight_students(tmp_path)


def started(folder: Path, *further: str) -> "subprocess.Popen[str]":
    """With two jobs, and a group of processes of its own, as a shell starts it in the foreground."""
    run = [sys.executable, "-m", "course_grader", *arguments(folder, "--jobs", "2", *further)]
    return subprocess.Popen(
        run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background may ignore it
    )  # fmt: skip


@pytest.mark.usefixtures("bubblewrap")
def test_a_run_that_is_killed_and_one_that_is_stopped_go_on(few: Path) -> None:
    with started(few) as first:
        patiently(lambda: len(records(few)) >= 1)
        code, said = here(few, "--resume")
        assert code == 2 and "another run is at work on" in said
        family = processes.tree(first.pid)
        assert len(family) > 6, "the run, two workers, and their sandboxes"
        first.kill()
    kept = records(few)
    assert 1 <= len(kept) < 8
    patiently(lambda: not any(map(alive, family)), seconds=20)
    with started(few, "--resume") as second:
        patiently(lambda: len(records(few)) >= len(kept) + 1)
        os.killpg(second.pid, signal.SIGINT)  # Ctrl-C
        said, _ = second.communicate()
    assert second.returncode == 130 and said.strip().splitlines()[-1].startswith("Stopped. What is marked is kept:")
    assert "Traceback" not in said
    assert len(kept) + 1 <= len(records(few)) < 8
    kept |= records(few)
    code, said = here(few, "--resume", "--jobs", "1")
    assert code == 0 and "8 notebooks: 5.00 of 20 points on average" in said
    check_everybody(few)
    assert {path: path.read_bytes() for path in kept} == kept, "nobody was marked again"


def at_once(number: int, task: Callable[[], Any]) -> list[Any]:
    """What a task gives in so many threads that are all there at the same time."""
    found, together = [], threading.Barrier(number)

    def one() -> None:
        together.wait()
        found.append(task())
        together.wait()

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_share_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[object] = []
    monkeypatch.setattr(judge, "judge", lambda box, *_: boxes.append(box) or judge.Judged([], []))
    options: Any = {"assignment": "hw1_mla", "secret": b"", "limits": None, "kind": "bare"}
    at_once(3, lambda: [grading.mark("ann", 1, Page("0"), **options) for _ in range(2)])
    assert len(boxes) == 6 and len(set(map(id, boxes))) == 3


@pytest.fixture
def without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", str(tmp_path))
    best_kind.cache_clear()
    yield
    best_kind.cache_clear()


@pytest.mark.usefixtures("without_bubblewrap")
def test_without_bubblewrap_it_refuses_or_warns_in_red(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "console", Console(force_terminal=True, color_system="standard", highlight=False))
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")  # a program, and seconds
    code, said = here(few, "--require-sandbox")
    assert code == 2 and "NO SANDBOX" in said and not (few / "out").exists()
    for number in range(2, 8):
        (few / "in" / f"student{number}.ipynb").unlink()
    code, said = here(few, "--jobs", "1")
    assert code == 0 and said.startswith("\x1b[1;31mNO SANDBOX") and "2 of these were marked without one" in said
    found = [json.loads(text) for text in records(few).values()]
    assert [(each["sandbox"], sum(mark["points"] for mark in each["marks"])) for each in found] == [("bare", 5)] * 2
