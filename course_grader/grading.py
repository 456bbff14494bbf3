"""A class: every submission marked once, whatever happens in between."""

import hashlib
import json
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from course_grader import inert, judge, notebook
from course_grader.sandbox import Limits, Sandbox, UnavailableError
from course_grader.submissions import Submission
from course_lib import files
from course_lib.exercises import BANK
from course_lib.sweep import backend


@dataclass(frozen=True)
class Page:
    """What one reading of a notebook's file gave: digest and cells are of the same bytes, even if it changes now."""

    digest: str = ""  # sha256; empty where there is no file that can be read
    cells: list[str] = field(default_factory=list)
    problem: str = ""  # why it is no notebook


@dataclass(frozen=True)
class Record:
    """What one submission earned."""

    student: str
    assignment: str
    attempt: int  # 1 for the first notebook of this student that was marked; another notebook is another attempt
    digest: str  # of the notebook; empty where there was none, and where it is to be marked again
    sandbox: str
    seconds: float
    marks: list[judge.Mark]
    problem: str = ""  # why the notebook could not be read or run
    cells: list[str] = field(default_factory=list)  # the code that was marked, for whoever shows it

    @property
    def slug(self) -> str:
        return Submission(self.student, Path()).slug

    @property
    def points(self) -> float:
        return round(sum(mark.points for mark in self.marks), 2)

    @property
    def of(self) -> float:
        return sum(mark.of for mark in self.marks)


class Store:
    """A folder of records, one file each, written whole or not at all, and the secret that inputs are drawn from."""

    def __init__(self, folder: Path, assignment: str) -> None:
        self.folder, self.assignment = folder / assignment / "records", assignment

    def __getitem__(self, submission: Submission) -> Record | None:
        path = self.folder / f"{submission.slug}.json"
        return self._read(path) if path.exists() else None

    def records(self) -> list[Record]:
        """All of them, by student.

        Raises:
            ValueError: a file that is no record.
        """
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return sorted(found, key=lambda record: record.student)

    def keep(self, record: Record) -> None:
        write(self.folder / f"{record.slug}.json", json.dumps(asdict(record), indent=1), lasting=True)

    def _read(self, path: Path) -> Record:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            record = Record(**{**content, "marks": [judge.Mark(**mark) for mark in content["marks"]]})
            if path.name != f"{record.slug}.json" or not 0 <= record.points <= record.of:  # a copy, or edited by hand
                raise ValueError
            return record
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no record of grades; move it away, and its student is marked anew") from None

    def secret(self) -> bytes:
        """Made once for a folder of grades; whoever has it can work out the inputs.

        Raises:
            ValueError: the file that is there holds no secret.
        """
        path = self.folder.parent / "secret"
        if not path.exists():
            write(path, secrets.token_hex(32), mode=0o600, lasting=True)
        if not re.fullmatch(r"[0-9a-f]{64}\n?", text := path.read_text(errors="replace")):
            raise ValueError(f"{path} is damaged; bring it back, or move it away, and later inputs come from a new one")
        return bytes.fromhex(text)


def grade(
    submissions: Sequence[Submission], store: Store, *, jobs: int = 1, cluster: str | None = None, again: bool = False,
    limits: Limits | None = None, kind: str | None = None,
) -> Iterator[Record]:  # fmt: skip
    """Marks what is not marked yet, `jobs` at a time, and gives each record as it comes; those of before come first.

    A notebook that has changed since is a new attempt, with new inputs; one that is gone keeps its marks. `again` marks
    all anew.
    """
    secret, missing = store.secret(), []
    for submission in submissions:
        before = store[submission]
        if before and not again and read(submission.path).digest in ("", before.digest):
            yield before
        else:
            missing.append((submission, before.attempt + 1 if before else 1))
    one = partial(mark, assignment=store.assignment, secret=secret, limits=limits, kind=kind)
    # read as they are needed, so that a large class does not fill the memory; workers may be where the files are not
    work = (delayed(one)(submission.student, attempt, read(submission.path)) for submission, attempt in missing)
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


def read(path: Path) -> Page:
    digest = ""
    try:
        content = notebook.read(path)
        digest = hashlib.sha256(content).hexdigest()
        return Page(digest, notebook.code_cells(content))
    except notebook.UnreadableError as error:
        return Page(digest, problem=str(error))


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
    marks = [judge.Mark(each.name, 0, each.points, "Not marked.") for each in BANK[assignment].values()]
    seeds = partial(judge.seed, secret, student, attempt=attempt)
    try:
        if not problem:
            marks = judge.judge(box, page.cells, assignment, lambda name: seeds(exercise=name))
            if not any(each.points or inert.place(page.cells, each.exercise) is not None for each in marks):
                problem = "It defines none of the functions that are asked for. Is it another assignment?"
    except UnavailableError:
        raise
    except Exception as error:
        problem, digest = f"It could not be marked: {type(error).__name__} {error}", ""
        box.close()
    seconds = round(time.monotonic() - began, 2)
    return Record(student, assignment, attempt, digest, box.kind, seconds, marks, problem, page.cells)


@cache
def _sandbox(limits: Limits | None, kind: str | None, thread: int) -> Sandbox:
    """Kept warm. A thread has its own: the kernel ends a sandbox with the thread that started it."""
    torch.set_num_threads(1)
    return Sandbox(limits, kind=kind, number=thread)


def write(path: Path, text: str, mode: int = 0o644, *, lasting: bool = False) -> None:
    """As `files.write_text`, but leaves a file that has this text already, and writes "?" for what UTF-8 cannot say."""
    data = text.encode(errors="replace")
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    with files.replacing(path, mode=mode, lasting=lasting) as part:
        part.write_bytes(data)
