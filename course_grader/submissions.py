"""Who handed in what: nbgrader's `submitted/` tree, or a folder of notebooks named by student."""

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAME_BYTES = 80  # of a student's name in the name of a file; whole names stay well below the 255 that systems allow
DEPTH = 2  # folders below STUDENT/ASSIGNMENT/ in which a notebook is looked for: archives are often unpacked into one
RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\.|$)", re.IGNORECASE)  # devices on Windows
MACOS = "__MACOSX"  # where its archives keep what zip cannot hold
ICLOUD = ".icloud"  # `.ann.ipynb.icloud` stands for ann.ipynb, which macOS has not downloaded
SHOWN = 5  # files named in a reason


@dataclass(frozen=True)
class Submission:
    student: str  # in Unicode normal form C, since macOS may write the same name in form D
    path: Path
    problem: str = ""  # why no notebook can be read, in a sentence; `path` does not count then
    note: str = ""  # where the notebook was found, if not in its usual place

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that belong to this student only."""
        return hashlib.sha256(self.student.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def slug(self) -> str:
        """A file name for this student only, on every file system: the letters of the name in any script, and the key.

        Students whose names differ only by case get different keys, so their files never meet on macOS or Windows.
        """
        name = unicodedata.normalize("NFC", self.student)
        name = re.sub(r"_+", "_", "".join(each if _plain(each) else "_" for each in name))
        name = name.encode()[:NAME_BYTES].decode(errors="ignore").strip("._-")
        while name and unicodedata.category(name[0])[0] == "M":  # a combining mark with no letter to stand on
            name = name[1:]
        return f"{'_' if RESERVED.match(name) else ''}{name or 'student'}-{self.key}"


def collect(folder: Path, assignment: str) -> list[Submission]:
    """Sorted by student. In a tree: STUDENT/ASSIGNMENT/ASSIGNMENT.ipynb, or the only notebook in that folder or,
    failing that, in the folders below it.

    A student without a readable notebook, or with two submissions, is included with the reason in `problem`. Nobody is
    forgotten, and no other student is affected.

    Raises:
        ValueError: the folder is missing or unreadable, or holds nothing that could be a submission.
    """
    students: dict[str, list[tuple[str, Submission]]] = {}
    for path in _entries(folder):
        if found := _submission(path, assignment):
            label = path.name if found.path == path else f"{path.name}/{assignment}/"
            students.setdefault(found.student, []).append((label, found))
    if not students:
        raise ValueError(f"{folder} holds neither STUDENT/{assignment}/{assignment}.ipynb nor STUDENT.ipynb")
    return [found[0][1] if len(found) == 1 else _several(student, found) for student, found in sorted(students.items())]


def left_out(folder: Path, assignment: str) -> list[str]:
    """Names in the folder that are not submissions, for example `ann.zip` or a folder without the assignment. They may
    have been meant as one. Folders end in a slash.
    """
    entries = (path for path in _entries(folder) if path.name[0] != "." or path.name.endswith(ICLOUD))
    others = [path for path in entries if _submission(path, assignment) is None]
    return [_label(path) for path in others]


def notes(submissions: list[Submission]) -> list[str]:
    """What an instructor should know about the names and places of submissions that are graded as usual."""
    said = [f"{each.student}: {each.note}" for each in submissions if each.note]
    alike: dict[str, list[str]] = {}
    for each in submissions:
        alike.setdefault(each.student.casefold(), []).append(each.student)
    names = [" and ".join(group) for group in alike.values() if len(group) > 1]
    return said + [f"{each} differ only by case, and are graded as different students" for each in names]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of submissions")
    try:
        os.lstat(folder / ".")  # without the permission to enter it, every file in it would look broken
        return sorted(folder.iterdir())
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from None


def _submission(path: Path, assignment: str) -> Submission | None:
    """What one entry of the folder of submissions is; None if it is not a submission."""
    inside, flat = path / assignment, _is_notebook(path.name)
    if path.name == MACOS:
        return None
    try:
        kind = stat.S_IFMT(os.lstat(inside).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        kind = 0
    except OSError as error:
        return _unreadable(_name(path.stem if flat else path.name), inside, error)
    if kind == stat.S_IFLNK or (kind == stat.S_IFDIR and path.is_symlink()):
        # It may lead to the solutions, or to another student's work.
        return Submission(_name(path.name), inside, problem="The folder is a link; links are not followed.")
    if kind == stat.S_IFDIR:
        try:
            return _in_folder(_name(path.name), inside)
        except OSError as error:
            return _unreadable(_name(path.name), inside, error)
    return Submission(_name(path.stem), path) if flat else None


def _unreadable(student: str, folder: Path, error: OSError) -> Submission:
    place = f"{folder.parent.name}/{folder.name}/"
    return Submission(student, folder, problem=f"{place} cannot be read: {error.strerror}.")


def _in_folder(student: str, folder: Path) -> Submission:
    """The notebook that counts in STUDENT/ASSIGNMENT/."""
    wanted = folder / f"{folder.name}.ipynb"
    here = list(_notebooks(folder, 0))
    if wanted in here:
        return Submission(student, wanted)
    everywhere = list(_notebooks(folder, DEPTH))
    for group in ([path for path in everywhere if path.name == wanted.name], here, everywhere):
        if len(group) == 1:
            (path,) = group
            place = path.relative_to(folder.parent)
            return Submission(student, path, note="" if path in here else f"read from {place}, below the usual folder")
    others = [str(path.relative_to(folder)) for path in everywhere] or _listing(folder)
    if not others:
        return Submission(student, wanted, problem=f"The folder is empty: it has no {wanted.name}.")
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    found = f"{', '.join(others[:SHOWN])}{more}"
    return Submission(
        student, wanted,
        problem=f"The folder has no file {wanted.name}, only {found}. Hand in one notebook of that name.",
    )  # fmt: skip


def _notebooks(folder: Path, depth: int) -> Iterator[Path]:
    """Notebooks in a folder and `depth` levels below it. Links to files are included, folders behind links are not.

    Raises:
        OSError: the folder itself cannot be read. An unreadable folder below it counts as empty.
    """
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda each: each.name)
    for entry in found:
        path = folder / entry.name
        if not entry.is_dir(follow_symlinks=False):
            if _is_notebook(entry.name):
                yield path
        elif depth and not _hidden(entry.name):
            with suppress(OSError):
                yield from list(_notebooks(path, depth - 1))


def _several(student: str, found: list[tuple[str, Submission]]) -> Submission:
    labels = [label for label, _ in found]
    spelled_alike = len({unicodedata.normalize("NFC", label) for label in labels}) < len(labels)
    hint = " (the same name in two Unicode normal forms)" if spelled_alike else ""
    first = found[0][1]
    return Submission(student, first.path, problem=f"Several submissions: {' and '.join(labels)}{hint}. Keep one.")


def _listing(folder: Path) -> list[str]:
    return [_label(path) for path in sorted(folder.iterdir()) if not _hidden(path.name)]


def _label(path: Path) -> str:
    return f"{path.name}/" if os.path.isdir(path) else path.name


def _name(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(character: str) -> bool:
    """Letters, their marks, and digits, of every script: no controls, no spaces, nothing that turns the direction."""
    return character in "._-" or unicodedata.category(character)[0] in "LMN"


def _hidden(name: str) -> bool:
    return (name.startswith(".") and not name.endswith(ICLOUD)) or name == MACOS


def _is_notebook(name: str) -> bool:
    return name.lower().endswith(".ipynb") and not name.startswith(".")  # as macOS's `._hw1_mla.ipynb`
