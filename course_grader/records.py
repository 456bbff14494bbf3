"""What is kept of each submission: its marks, the code that was marked, and the secret behind its inputs."""

import json
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course_grader.submissions import Submission
from course_lib import files


@dataclass(frozen=True)
class Mark:
    exercise: str
    points: float
    of: float
    message: str
    stopped: bool = False  # it did not end by itself
    found: bool = False  # once the cells have run there is a function of that name; so the worker says


@dataclass(frozen=True)
class Record:
    """What one submission earned."""

    student: str
    assignment: str
    attempt: int  # 1 for the first notebook of this student that was marked; another notebook is another attempt
    digest: str  # of the notebook; empty where there was none, and where it is to be marked again
    sandbox: str
    seconds: float
    marks: list[Mark]
    problem: str = ""  # why the notebook could not be read or run
    cells: list[str] = field(default_factory=list)  # the code that was marked, for whoever shows it
    stopped: list[str] = field(default_factory=list)  # a sentence for each cell that raised or was ended

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
            record = Record(**{**content, "marks": [Mark(**mark) for mark in content["marks"]]})
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


def write(path: Path, text: str, mode: int = 0o644, *, lasting: bool = False) -> None:
    """As `files.write_text`, but leaves a file that has this text already, and writes "?" for what UTF-8 cannot say."""
    data = text.encode(errors="replace")
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    with files.replacing(path, mode=mode, lasting=lasting) as part:
        part.write_bytes(data)
