"""Who handed in what: nbgrader's `submitted/` tree, or a folder of notebooks named by student."""

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Submission:
    student: str
    path: Path

    @property
    def slug(self) -> str:
        """A file name that is this student's alone, on every file system."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", self.student)[:40].strip("._-") or "student"
        return f"{plain}-{hashlib.sha256(self.student.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def collect(folder: Path, assignment: str) -> list[Submission]:
    """Sorted by student. In a tree, STUDENT/ASSIGNMENT/ASSIGNMENT.ipynb, or the only notebook in that folder.

    A student whose folder has no notebook, or several and none of that name, is handed in as the missing file: she is
    marked with nothing rather than forgotten.

    Raises:
        ValueError: no such folder, or nothing in it that could be a submission.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of submissions")
    inside = list(folder.iterdir())
    tree = [Submission(path.name, _notebook(path / assignment)) for path in inside if (path / assignment).is_dir()]
    flat = [Submission(path.stem, path) for path in inside if _is_notebook(path) and not path.is_dir()]
    if twice := [name for name, times in Counter(each.student for each in tree + flat).items() if times > 1]:
        raise ValueError(f"{folder} has more than one submission of {', '.join(sorted(twice))}: keep one")
    if not tree and not flat:
        raise ValueError(f"{folder} holds neither STUDENT/{assignment}/{assignment}.ipynb nor STUDENT.ipynb")
    return sorted(tree + flat, key=lambda each: each.student)


def left_out(folder: Path, assignment: str) -> list[str]:
    """What lies beside the submissions and is none, as `ann.zip` or a folder without the assignment: somebody may have
    meant it to be one.
    """
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = [path.name for path in inside if not path.is_dir() and not _is_notebook(path)]
    return sorted(files + [f"{path.name}/" for path in inside if path.is_dir() and not (path / assignment).is_dir()])


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb" and not path.name.startswith(".")  # as macOS's `._hw1_mla.ipynb`


def _notebook(folder: Path) -> Path:
    """Behind a link there may be the solutions, or another student's work: then there is none."""
    if folder.is_symlink() or folder.parent.is_symlink():
        return Path(os.devnull)
    named, all_of_them = folder / f"{folder.name}.ipynb", [path for path in folder.iterdir() if _is_notebook(path)]
    return all_of_them[0] if len(all_of_them) == 1 else named
