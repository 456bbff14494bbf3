"""Marks a class: every submission once, whatever happens in between."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from course_grader import inert, judge
from course_grader.limits import GIB, LEAST_MEMORY, Limits, ShortageError
from course_grader.notebook import Page, read
from course_grader.records import Mark, Record, Store
from course_grader.sandbox import Sandbox, UnavailableError
from course_grader.submissions import Submission
from course_lib import host
from course_lib.exercises import BANK
from course_lib.sweep import backend

MOST_NAMED = 3  # functions that tell which assignment a notebook is
SHORT_NEXT_TO_OTHERS = "It is marked again at the end of the run, alone, or with the next --resume."
FOR_THE_SYSTEM = 0.1  # part of the memory that defaults and proposals leave to other programs
SHORT_ALONE = "No other notebook was being marked. Close other programs, then mark it with --resume."


def fitting_jobs(wanted: int | None, limits: Limits) -> int:
    """How many notebooks to mark at a time: as many as wanted, or else as there are cores and memory for.

    Raises:
        ValueError: the memory that the notebooks may use is more than this machine has.
    """
    total = host.total_memory()
    free = (1 - FOR_THE_SYSTEM) * total
    fit = int(free / limits.memory)
    jobs = wanted or max(1, min(cpu_count(), fit))
    if jobs * limits.memory <= total:
        return jobs
    ways = [f"--jobs {fit}"] if fit else []
    if (most := free / jobs) >= LEAST_MEMORY:
        ways.append(f"--memory {math.floor(10 * most / GIB) / 10}")
    notebooks = f"{jobs} notebooks at a time" if jobs > 1 else "one notebook"
    needed, there = (f"{size / GIB:.3g} GiB" for size in (jobs * limits.memory, total))
    fits = f": {' or '.join(ways)} fits" if ways else ""
    raise ValueError(f"{notebooks} may use up to {needed} of memory, and this machine has {there}{fits}")


def grade(
    submissions: Sequence[Submission], store: Store, *, jobs: int = 1, cluster: str | None = None, again: bool = False,
    limits: Limits | None = None, kind: str | None = None,
) -> Iterator[Record]:  # fmt: skip
    """Marks what is not marked yet, `jobs` at a time, and yields each record as it comes, those of before first.

    A notebook that has changed since is a new attempt, with new inputs. A file that cannot be read changes no marks of
    an earlier notebook. `again` marks unchanged ones as well, with the same inputs. Notebooks that cannot be marked for
    a reason that is not theirs, such as a shortage of memory, are marked again at the end, one at a time; these yield
    two records.

    Raises:
        UnavailableError: no sandbox can be started, or a process that marks was killed.
    """
    secret, due = store.secret(), store.due(submissions, again=again)
    for record in due.kept:
        yield store.keep(record)
    missing, unfinished = due.missing, list[Submission]()
    one = partial(mark, assignment=store.assignment, secret=secret, limits=limits, kind=kind)

    def marked(missing: Sequence[Submission], *, alone: bool) -> Iterator[tuple[Submission, Record]]:
        # read when needed, so that a large class does not fill the memory; workers may be where the files are not
        pages = ((each, read(each)) for each in missing)
        work = (delayed(one)(each.student, store.attempt(each, page), page, alone=alone) for each, page in pages)
        options: Any = {"batch_size": 1, "return_as": "generator_unordered"}
        results: Any = Parallel(n_jobs=jobs, **options)(work)
        by_student = {each.student: each for each in missing}
        for record in results:
            stored = store.keep(record)
            yield by_student[record.student], stored if record.unread else record

    with (
        parallel_config("loky", initializer=_leave_with, initargs=(os.getpid(),)),
        backend(cluster if missing else None, one),
        tqdm(total=len(missing), desc=store.assignment, unit="notebook", disable=None if missing else True) as bar,
        _killed_workers_told(),
    ):
        at_once = len(missing) if cluster else min(jobs, len(missing))
        for submission, record in marked(missing, alone=at_once == 1):
            if at_once > 1 and not record.final:
                unfinished.append(submission)
            else:
                bar.update()
            yield record
        for submission in unfinished:
            for _, record in marked([submission], alone=True):
                bar.update()
                yield record


@contextmanager
def _killed_workers_told() -> Iterator[None]:
    try:
        yield
    except TerminatedWorkerError:
        raise UnavailableError("A process that marks notebooks was killed, perhaps for lack of memory.") from None


def _leave_with(parent: int) -> None:
    """Initializes a worker process, which then ends, with its sandbox, as soon as the run is killed; joblib would keep
    it for minutes. Ctrl-C is left to the run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def mark(
    student: str, attempt: int, page: Page, *, assignment: str, secret: bytes, limits: Limits | None, kind: str | None,
    alone: bool = False,
) -> Record:  # fmt: skip
    """Marks one submission in this thread's sandbox, while no other one is being marked if `alone`.

    Where the fault may be ours or the machine's, the record has no digest, and the notebook is to be marked again.

    Raises:
        UnavailableError: no sandbox can be started. That says nothing about the submission.
    """
    box = _sandbox(limits, kind, threading.get_native_id())
    box.alone = alone
    began, problem, digest = time.monotonic(), page.problem, page.digest
    stopped: list[str] = []
    marks = [Mark(each.name, 0, each.points, "Not marked.") for each in BANK[assignment].values()]
    seeds = partial(judge.seed, secret, student, attempt=attempt)
    try:
        if not problem:
            judged = judge.judge(box, page.cells, assignment, lambda name: seeds(exercise=name))
            marks, stopped = judged.marks, judged.stopped
            if not any(x.points or x.found or inert.place(page.cells, x.exercise) is not None for x in marks):
                problem = f"It defines none of the functions that are asked for. {_other(page.cells, assignment)}"
    except UnavailableError:
        raise
    except ShortageError as shortage:
        problem, digest = f"Not marked yet: {shortage}. {SHORT_ALONE if alone else SHORT_NEXT_TO_OTHERS}", ""
    except Exception as error:
        problem, digest = f"It could not be marked: {type(error).__name__} {error}", ""
        box.close()
    seconds = round(time.monotonic() - began, 2)
    unread = bool(page.problem)
    return Record(student, assignment, attempt, digest, box.kind, seconds, marks, problem, page.cells, stopped, unread)


def _other(cells: Sequence[str], assignment: str) -> str:
    """Which of our other assignments these cells look like."""
    defined = {
        name: [each for each in exercises if inert.place(cells, each) is not None]
        for name, exercises in BANK.items() if name != assignment
    }  # fmt: skip
    likely = max(defined, key=lambda name: len(defined[name]))
    if not defined[likely]:
        return "Is it another assignment?"
    names = [*defined[likely][:MOST_NAMED], *["..."] * (len(defined[likely]) > MOST_NAMED)]
    return f"This looks like {likely}: it defines {', '.join(names)}."


@cache
def _sandbox(limits: Limits | None, kind: str | None, thread: int) -> Sandbox:
    """Each thread keeps one, since the kernel ends a sandbox together with the thread that started it."""
    torch.set_num_threads(1)
    return Sandbox(limits, kind=kind, number=thread)
