"""A class: every submission marked once, whatever happens in between."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from course_grader import inert, judge
from course_grader.notebook import Page, read
from course_grader.records import Mark, Record, Store
from course_grader.sandbox import Limits, Sandbox, UnavailableError
from course_grader.submissions import Submission
from course_lib.exercises import BANK
from course_lib.sweep import backend


def grade(
    submissions: Sequence[Submission], store: Store, *, jobs: int = 1, cluster: str | None = None, again: bool = False,
    limits: Limits | None = None, kind: str | None = None,
) -> Iterator[Record]:  # fmt: skip
    """Marks what is not marked yet, `jobs` at a time, and yields each record as it comes, those of before first.

    A notebook that has changed since is a new attempt, with new inputs. One that cannot be read any more keeps its
    marks. `again` marks unchanged ones as well, with the same inputs.
    """
    secret, due = store.secret(), store.due(submissions, again=again)
    yield from due.kept
    missing = due.missing
    one = partial(mark, assignment=store.assignment, secret=secret, limits=limits, kind=kind)
    # read as they are needed, so that a large class does not fill the memory; workers may be where the files are not
    pages = ((each, read(each)) for each in missing)
    work = (delayed(one)(each.student, store.attempt(each, page), page) for each, page in pages)
    with (
        parallel_config("loky", initializer=_leave_with, initargs=(os.getpid(),)),
        backend(cluster if missing else None, one),
    ):
        options: Any = {"batch_size": 1, "return_as": "generator_unordered"}
        results: Any = Parallel(n_jobs=jobs, **options)(work)
        with tqdm(total=len(missing), desc=store.assignment, unit="notebook", disable=None if missing else True) as bar:
            for record in results:
                store.keep(record)
                bar.update()
                yield record


def _leave_with(parent: int) -> None:
    """A worker's start. It ends, and with it its sandbox, when the run is killed: joblib would keep it for minutes.
    Ctrl-C is the run's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def mark(
    student: str, attempt: int, page: Page, *, assignment: str, secret: bytes, limits: Limits | None, kind: str | None
) -> Record:
    """One submission, in this thread's sandbox. A problem is noted, and the next one is marked; where the fault may be
    the judge's own, the record has no digest, and is made again when the run is resumed.

    Raises:
        UnavailableError: there is no sandbox. That is nobody's mark.
    """
    box = _sandbox(limits, kind, threading.get_native_id())
    began, problem, digest = time.monotonic(), page.problem, page.digest
    stopped: list[str] = []
    marks = [Mark(each.name, 0, each.points, "Not marked.") for each in BANK[assignment].values()]
    seeds = partial(judge.seed, secret, student, attempt=attempt)
    try:
        if not problem:
            judged = judge.judge(box, page.cells, assignment, lambda name: seeds(exercise=name))
            marks, stopped = judged.marks, judged.stopped
            if not any(each.points or inert.place(page.cells, each.exercise) is not None for each in marks):
                problem = "It defines none of the functions that are asked for. Is it another assignment?"
    except UnavailableError:
        raise
    except Exception as error:
        problem, digest = f"It could not be marked: {type(error).__name__} {error}", ""
        box.close()
    seconds = round(time.monotonic() - began, 2)
    return Record(student, assignment, attempt, digest, box.kind, seconds, marks, problem, page.cells, stopped)


@cache
def _sandbox(limits: Limits | None, kind: str | None, thread: int) -> Sandbox:
    """Kept warm. A thread has its own: the kernel ends a sandbox with the thread that started it."""
    torch.set_num_threads(1)
    return Sandbox(limits, kind=kind, number=thread)
