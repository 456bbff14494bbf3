"""A class, graded for real from the command line: killed, stopped, twice at once, without a sandbox."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joblib import parallel_config
from rich.console import Console

from course_grader import command, grading, judge, processes
from course_grader.limits import ShortageError
from course_grader.notebook import Page
from course_grader.records import Mark, Record, Store
from course_grader.sandbox import best_kind
from course_grader.submissions import collect
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
        assert code == 2 and "another run is using" in said
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
    assert second.returncode == 130 and said.strip().splitlines()[-1].startswith("Stopped. What is graded is kept:")
    assert "Traceback" not in said
    assert len(kept) + 1 <= len(records(few)) < 8
    kept |= records(few)
    code, said = here(few, "--resume", "--jobs", "1")
    assert code == 0 and "5.00 of 20 points on average" in said and "graded now" in said
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


# When the machine is short of something ------------------------------------------------------------------------------

Marked = list[tuple[str, bool]]


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Marked:
    """Marking in threads, where "short" meets a shortage unless it is alone, and "shorter" even then: each first line
    of a notebook as it is marked, and whether it is told to be alone."""
    calls: Marked = []
    at_work = list[str]()

    def judged(box: Any, cells: list[str], *_: Any) -> judge.Judged:
        calls.append((cells[0], box.alone))
        at_work.append(cells[0])
        time.sleep(0.05)
        assert not box.alone or at_work == [cells[0]]
        at_work.remove(cells[0])
        if cells[0] == "shorter" or (cells[0] == "short" and not box.alone):
            raise ShortageError("the machine ran short of memory")
        return judge.Judged([Mark("rotate", 3, 3, "Right.")], [])

    monkeypatch.setattr(judge, "judge", judged)
    monkeypatch.setattr(grading, "parallel_config", lambda *_, **__: parallel_config("threading"))
    return calls


def graded(folder: Path, *pages: str, **options: Any) -> Iterator[Record]:
    """Notebooks by student, each named by its only cell."""
    handed_in = folder / "in"
    handed_in.mkdir(exist_ok=True)
    for page in pages:
        cells = [{"cell_type": "code", "source": page}]
        (handed_in / f"{page}.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    store = Store(folder / "out", "hw1_mla")
    return grading.grade(collect(handed_in, "hw1_mla"), store, kind="bare", **options)


def test_who_met_a_shortage_is_marked_again_alone_at_the_end(tmp_path: Path, marked: Marked) -> None:
    found = list(graded(tmp_path, "good", "fine", "short", jobs=2))
    assert marked[-1] == ("short", True) and sorted(marked[:-1]) == [("fine", False), ("good", False), ("short", False)]
    assert sorted(each.student for each in found) == ["fine", "good", "short", "short"]
    first, second = (each for each in found if each.student == "short")
    assert (first.digest, first.points) == ("", 0) and "short of memory. It is marked again at the end" in first.problem
    assert second.digest and (second.points, second.problem, second.attempt) == (3, "", 1)
    assert [(each.student, each.points) for each in graded(tmp_path, jobs=2)] == [
        ("fine", 3),
        ("good", 3),
        ("short", 3),
    ]


def test_a_run_that_is_stopped_before_marks_it_when_it_goes_on(tmp_path: Path, marked: Marked) -> None:
    for record in graded(tmp_path, "good", "fine", "short", jobs=2):
        if record.student == "short":
            break
    del marked[:]
    assert {each.student: each.points for each in graded(tmp_path, jobs=1)}["short"] == 3
    assert ("short", True) in marked


def test_who_is_short_alone_keeps_no_mark(tmp_path: Path, marked: Marked) -> None:
    """With one job everybody is alone, and there is nothing to repeat."""
    (record,) = graded(tmp_path, "shorter", jobs=1)
    assert not record.digest and "No other notebook was being marked" in record.problem
    (record,) = graded(tmp_path, "shorter", jobs=2)
    assert marked == [("shorter", True)] * 2 and not record.digest


def command_line(process: int) -> bytes:
    """Empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.usefixtures("bubblewrap")
def test_a_killed_process_that_marks_is_told(few: Path) -> None:
    with started(few) as run:
        patiently(lambda: len(records(few)) >= 1)
        judges = [child for child in processes.tree(run.pid)[1:] if b"popen_loky" in command_line(child)]
        for child in judges:
            os.kill(child, signal.SIGKILL)
        said, _ = run.communicate()
    assert judges and run.returncode == 2, said
    assert "A process that marks notebooks was killed, perhaps for lack of memory" in " ".join(
        re.sub("[│╭╮╰╯─]", " ", said).split()
    )


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
    assert code == 0 and said.startswith("\x1b[1;31mNO SANDBOX") and "2 notebooks were graded without a sandbox" in said
    found = [json.loads(text) for text in records(few).values()]
    assert [(each["sandbox"], sum(mark["points"] for mark in each["marks"])) for each in found] == [("bare", 5)] * 2
