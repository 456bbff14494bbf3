"""A class: every submission marked once, whatever happens in between."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from course_grader import judge, notebook
from course_grader.sandbox import Limits, Sandbox
from course_grader.submissions import Submission
from course_lib.exercises import BANK
from course_lib.sweep import backend


@dataclass(frozen=True)
class Record:
    """What one submission earned."""

    student: str
    assignment: str
    attempt: int  # 1 for the first notebook of this student that was marked; another notebook is another attempt
    digest: str  # sha256 of the notebook
    sandbox: str
    seconds: float
    marks: list[judge.Mark]
    problem: str = ""  # why the notebook could not be read or run

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

    def keep(self, submission: Submission, record: Record) -> None:
        write(self.folder / f"{submission.slug}.json", json.dumps(asdict(record), indent=1))

    def _read(self, path: Path) -> Record:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return Record(**{**content, "marks": [judge.Mark(**mark) for mark in content["marks"]]})
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no record of grades; move it away, and its student is marked anew") from None

    def secret(self) -> bytes:
        """Made once for a folder of grades; whoever has it can work out the inputs."""
        path = self.folder.parent / "secret"
        if not path.exists():
            write(path, secrets.token_hex(32), mode=0o600)
        return bytes.fromhex(path.read_text())


def grade(
    submissions: list[Submission], store: Store, *, jobs: int = 1, cluster: str | None = None, again: bool = False,
    limits: Limits | None = None, kind: str | None = None,
) -> Iterator[Record]:  # fmt: skip
    """Marks what is not marked yet, `jobs` at a time, and gives each record as it comes; those of before come first.

    A notebook that has changed since is a new attempt, with new inputs; `again` marks all anew.
    """
    secret, missing = store.secret(), []
    for submission in submissions:
        before, digest = store[submission], digest_of(submission.path)
        if before and before.digest == digest and not again:
            yield before
        else:
            missing.append((submission, before.attempt + 1 if before else 1, digest))
    one = partial(mark, assignment=store.assignment, secret=secret, limits=limits, kind=kind)
    with backend(cluster if missing else None, one):
        results: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(one)(*each) for each in missing)
        bar = tqdm(total=len(missing), desc=store.assignment, unit="notebook", disable=not missing)
        for submission, record in results:
            store.keep(submission, record)
            bar.update()
            yield record
        bar.close()


def mark(
    submission: Submission, attempt: int, digest: str, *, assignment: str, secret: bytes, limits: Limits | None,
    kind: str | None,
) -> tuple[Submission, Record]:  # fmt: skip
    """One submission, in this process's sandbox. Never raises: a problem is noted, and the next one is marked."""
    began, problem, box = time.monotonic(), "", _sandbox(limits, kind)
    marks = [judge.Mark(each.name, 0, each.points, "Not marked.") for each in BANK[assignment].values()]
    seeds = partial(judge.seed, secret, submission.student, attempt=attempt)
    try:
        cells = notebook.code_cells(submission.path)
        marks = judge.judge(box, cells, assignment, lambda name: seeds(exercise=name))
    except notebook.UnreadableError as error:
        problem = str(error)
    except Exception as error:
        problem = f"It could not be marked: {type(error).__name__} {error}"
        box.close()
    seconds = round(time.monotonic() - began, 2)
    return submission, Record(submission.student, assignment, attempt, digest, box.kind, seconds, marks, problem)


_SANDBOXES: dict[int, Sandbox] = {}


def _sandbox(limits: Limits | None, kind: str | None) -> Sandbox:
    """One for each process, kept warm."""
    if os.getpid() not in _SANDBOXES:
        torch.set_num_threads(1)
        _SANDBOXES[os.getpid()] = Sandbox(limits, kind=kind, number=os.getpid())
    return _SANDBOXES[os.getpid()]


def digest_of(path: Path) -> str:
    """Of the notebook's bytes; empty where there are none."""
    with suppress(notebook.UnreadableError):
        return hashlib.sha256(notebook.content(path)).hexdigest()
    return ""


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(opened, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
