"""What is kept of each submission: its marks, the code that was marked, and the secret behind its inputs."""

import hashlib
import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from course_grader import notebook
from course_grader.notebook import Page
from course_grader.submissions import Submission
from course_lib import files

EARLIER = "earlier"  # folder of the records that were replaced, below the current ones


@dataclass(frozen=True)
class Mark:
    exercise: str
    points: float
    of: float
    message: str
    stopped: bool = False  # the function, or its cell, was ended from outside
    found: bool = False  # the worker's claim that, after the cells had run, there was a function of that name
    lent: list[str] = field(default_factory=list)  # the course's functions that it was judged with, and called


@dataclass(frozen=True)
class Record:
    """What one submission earned."""

    student: str
    assignment: str
    attempt: int  # 1 for the first notebook that was marked; a notebook with other code is the next attempt
    digest: str  # sha256 of the notebook; empty if no file could be read, or if it must be marked again
    sandbox: str
    seconds: float
    marks: list[Mark]
    problem: str = ""  # why the notebook could not be read or run
    cells: list[str] = field(default_factory=list)  # the code that was marked
    stopped: list[str] = field(default_factory=list)  # a sentence for each cell that raised or was ended
    unread: bool = False  # `problem` says why the last file could not be read; marks and code are of an earlier one

    @property
    def slug(self) -> str:
        return Submission(self.student, Path()).slug

    @property
    def code(self) -> str:
        """A hash of all the code that was marked."""
        return hashlib.sha256("\0".join(self.cells).encode(errors="backslashreplace")).hexdigest()

    @property
    def graded(self) -> bool:
        """Whether the marks are those of a notebook that was run. All other records have no points."""
        return not self.problem or (self.unread and bool(self.cells or self.points))

    @property
    def final(self) -> bool:
        """Not so if grading failed for a reason that is not the notebook's."""
        return bool(self.digest) or not self.cells

    @property
    def points(self) -> float:
        return round(sum(mark.points for mark in self.marks), 2)

    @property
    def of(self) -> float:
        return sum(mark.of for mark in self.marks)


@dataclass(frozen=True)
class Due:
    """What a run has to do."""

    kept: list[Record]  # graded before; their file is unchanged, or cannot be read any more
    missing: list[Submission]  # to be marked


class Store:
    """A folder of records, one file per student, and the secret from which inputs are drawn.

    A record is written whole or not at all. The one that it replaces moves to records/earlier/.
    """

    def __init__(self, folder: Path, assignment: str) -> None:
        self.folder, self.assignment = folder / assignment / "records", assignment

    def __getitem__(self, submission: Submission) -> Record | None:
        return self._read(path) if (path := self._path(submission)).exists() else None

    def records(self) -> list[Record]:
        """All current ones, sorted by student.

        Raises:
            ValueError: a file is not a record, or a student has two.
        """
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        if twice := [name for name, number in Counter(each.student for each in found).items() if number > 1]:
            raise ValueError(f"{self.folder} has two records of {', '.join(twice)}. Move one of them away.")
        return sorted(found, key=lambda record: record.student)

    def due(self, submissions: Sequence[Submission], *, again: bool = False) -> Due:
        """Compares the submissions with the records; `again` marks unchanged ones as well.

        A notebook that has changed is to be marked. A file that is not a notebook, or that is gone, changes no marks of
        a notebook that was graded before: the record of that one is kept, with the reason in `problem`.
        """
        due = Due([], [])
        for submission in submissions:
            before, page = self[submission], notebook.read(submission)
            if before is not None and before.graded:
                if page.problem:
                    due.kept.append(_with_unread(before, page.problem))
                elif page.digest == before.digest and not again:
                    due.kept.append(replace(before, problem="", unread=False))
                else:
                    due.missing.append(submission)
            elif before is None or (again and page.digest) or not _same(before, page):
                due.missing.append(submission)
            else:
                due.kept.append(before)
        return due

    def attempt(self, submission: Submission, page: Page) -> int:
        """The number of this attempt. The same notebook has the same number, and so the same inputs."""
        before = self[submission]
        if before is None or not (page.digest and _was_read(before)):
            return 1 if before is None else before.attempt
        same = page.digest == before.digest if before.digest else page.cells == before.cells
        return before.attempt if same else before.attempt + 1

    def keep(self, record: Record) -> Record:
        """Stores a record, and returns what counts now. The marks of a notebook that was graded before stay if there is
        no new notebook, or if grading the same code again failed, so that the student loses no points.
        """
        path = self._path(Submission(record.student, Path()))
        before = self._read(path) if path.exists() else None
        if before and before.digest and not record.digest and not record.unread and record.cells == before.cells:
            return before
        if before and record.unread and not record.cells and before.graded:
            record = _with_unread(before, record.problem)
        text = json.dumps(asdict(record), indent=1)
        if before:
            replaced = path.read_text(encoding="utf-8")
            if replaced != text:
                # named by its content, so that nothing is overwritten, however often a run is interrupted here
                number = hashlib.sha256(replaced.encode()).hexdigest()[:8]
                name = f"{path.stem}.attempt-{before.attempt}.{number}.json"
                write(self.folder / EARLIER / name, replaced, lasting=True)
        write(path, text, lasting=True)
        return record

    def _path(self, submission: Submission) -> Path:
        """Found by the student's key: earlier versions of the course spelled the name in another way."""
        known = self.folder.glob(f"*-{submission.key}.json")
        return next(known, self.folder / f"{submission.slug}.json")

    def _read(self, path: Path) -> Record:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            record = Record(**{**content, "marks": [Mark(**mark) for mark in content["marks"]]})
            if not _well_formed(record):  # edited by hand
                raise TypeError
            key = Submission(record.student, Path()).key
            if not path.stem.endswith(f"-{key}") or record.assignment != self.assignment:  # a copy
                raise ValueError
            return record
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is not a record of grades. Move it away, and its student will be marked again."
            ) from None

    def secret(self) -> bytes:
        """Made once per folder of grades. Anyone who has it can compute the inputs.

        Raises:
            ValueError: the existing file does not hold a secret.
        """
        path = self.folder.parent / "secret"
        if not path.exists():
            write(path, secrets.token_hex(32), mode=0o600, lasting=True)
        if not re.fullmatch(r"[0-9a-f]{64}\n?", text := path.read_text(errors="replace")):
            raise ValueError(f"{path} is damaged. Restore it, or move it away and later inputs will use a new one.")
        return bytes.fromhex(text)


def _well_formed(record: Record) -> bool:
    """Every field has its type, and no mark has more points than there are."""
    marks = record.marks
    texts = [record.student, record.assignment, record.digest, record.sandbox, record.problem]
    lists = record.cells, record.stopped, *(mark.lent for mark in marks)
    texts += [each for mark in marks for each in (mark.exercise, mark.message)]
    return (
        all(isinstance(each, list) for each in lists)
        and all(isinstance(each, str) for each in (*texts, *(item for each in lists for item in each)))
        and isinstance(record.attempt, int) and record.attempt >= 1
        and isinstance(record.unread, bool)
        and isinstance(record.seconds, int | float)
        and len({mark.exercise for mark in marks}) == len(marks) > 0
        and all(mark.of > 0 and math.isfinite(mark.of) and 0 <= mark.points <= mark.of for mark in marks)
    )  # fmt: skip


def _was_read(record: Record) -> bool:
    """The notebook could be read, whether or not marking it then failed."""
    return bool(record.digest or record.cells)


def _same(record: Record, page: Page) -> bool:
    """Nothing new was handed in since this record, which has no marks."""
    return record.digest == page.digest and (record.problem if record.unread else "") == page.problem


def _with_unread(graded: Record, problem: str) -> Record:
    said = f"{problem} The points are those of attempt {graded.attempt}."
    return replace(graded, problem=said, unread=True)


def write(path: Path, text: str, mode: int = 0o644, *, lasting: bool = False) -> None:
    """Like `files.write_text`, but leaves a file with this text alone, and writes "?" for what UTF-8 cannot encode."""
    data = text.encode(errors="replace")
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    with files.replacing(path, mode=mode, lasting=lasting) as part:
        part.write_bytes(data)
