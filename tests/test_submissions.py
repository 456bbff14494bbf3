"""What a folder of submissions may look like, and what each broken file in it says. No file affects another student."""

import errno
import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from course_grader import notebook, submissions
from course_grader.grading import grade
from course_grader.notebook import read
from course_grader.records import Store
from course_grader.submissions import Submission, collect, left_out, notes
from course_lib.config import ModelConfig
from tests.hostile import HONEST

linux = pytest.mark.skipif(sys.platform != "linux", reason="grading is for Linux")
NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": "x = 1"}], "nbformat": 4})
NAME = "hw1_mla"


def put(path: Path, text: str = NOTEBOOK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def reasons(folder: Path) -> dict[str, str]:
    """By student, why there is no notebook; nothing if there is one."""
    return {each.student: read(each).problem for each in collect(folder, NAME)}


# Trees ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["hw1_mla.ipynb", "other.ipynb", "old/hw1_mla.ipynb"], "hw1_mla.ipynb"),
        (["my homework.ipynb", "notes.txt", "old/x.ipynb", "old/y.ipynb"], "my homework.ipynb"),
        (["hw1_mla/hw1_mla.ipynb"], "hw1_mla/hw1_mla.ipynb"),
        (["ann/hw1_mla.ipynb", "ann/scratch.ipynb"], "ann/hw1_mla.ipynb"),
        (["ann/hw1_mla/homework.IPYNB"], "ann/hw1_mla/homework.IPYNB"),
        (["scratch.ipynb", "hw1_mla/hw1_mla.ipynb"], "hw1_mla/hw1_mla.ipynb"),
        (["hw1_mla.ipynb/hw1_mla.ipynb"], "hw1_mla.ipynb/hw1_mla.ipynb"),
        (
            ["x/hw1_mla.ipynb", "__MACOSX/._hw1_mla.ipynb", "__MACOSX/y.ipynb", ".ipynb_checkpoints/z.ipynb"],
            "x/hw1_mla.ipynb",
        ),
    ],
)
def test_the_notebook_that_counts_is_found_below_its_folder(files: list[str], wanted: str, tmp_path: Path) -> None:
    for file in files:
        put(tmp_path / "ann" / NAME / file)
    (found,) = collect(tmp_path, NAME)
    assert (found.student, found.path) == ("ann", tmp_path / "ann" / NAME / wanted) and not read(found).problem
    deeper = [f"ann: read from {NAME}/{wanted}, below the usual folder"] if "/" in wanted else []
    assert notes([found]) == deeper


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([".DS_Store"], "The folder is empty: it has no hw1_mla.ipynb."),
        (["v2.ipynb", "v1.ipynb"], "only v1.ipynb, v2.ipynb. Hand in one notebook of that name."),
        (["hw1_mla/readme.txt"], "The folder has no file hw1_mla.ipynb, only hw1_mla/. Hand in"),
        (["hw1_mla.ipynb/readme.txt"], "The folder has no file hw1_mla.ipynb, only hw1_mla.ipynb/. Hand in"),
        (["a/hw1_mla.ipynb", "b/hw1_mla.ipynb"], "only a/hw1_mla.ipynb, b/hw1_mla.ipynb. Hand in"),
        ([f"{n}.txt" for n in range(9)], "only 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more. Hand in"),
    ],
)
def test_what_lies_there_instead_is_named(files: list[str], reason: str, tmp_path: Path) -> None:
    for file in files:
        put(tmp_path / "ann" / NAME / file)
    assert reason in reasons(tmp_path)["ann"]


def test_two_submissions_of_one_student_are_both_named(tmp_path: Path) -> None:
    for file in ("ann.ipynb", "ann.IPYNB", f"bob/{NAME}/{NAME}.ipynb", "bob.ipynb", "cy.ipynb"):
        put(tmp_path / file)
    for form in ("NFC", "NFD"):
        put(tmp_path / f"{unicodedata.normalize(form, 'Zoë')}.ipynb")
    found = reasons(tmp_path)
    assert found["ann"] == "Several submissions: ann.IPYNB and ann.ipynb. Keep one."
    assert found["bob"] == "Several submissions: bob/hw1_mla/ and bob.ipynb. Keep one."
    assert "Zoë.ipynb (the same name in two Unicode normal forms). Keep one." in found["Zoë"]
    assert found["cy"] == "" and len(found) == 4


def test_a_class_from_macos_keeps_its_names(tmp_path: Path) -> None:
    """macOS may write é as e and an accent; a later download may not. And it adds files of its own."""
    decomposed = unicodedata.normalize("NFD", "Zoë")
    for file in (f"{decomposed}.ipynb", "Ann.ipynb", "ann.ipynb", "._ann.ipynb", f"__MACOSX/{NAME}/._x", ".DS_Store"):
        put(tmp_path / file)
    found = collect(tmp_path, NAME)
    assert [each.student for each in found] == ["Ann", "Zoë", "ann"] and len({each.slug.lower() for each in found}) == 3
    assert notes(found) == ["Ann and ann differ only by case, and are graded as different students"]
    assert left_out(tmp_path, NAME) == ["__MACOSX/"]


def test_what_icloud_has_not_downloaded_is_named(tmp_path: Path) -> None:
    for file in ("ann.ipynb", ".bob.ipynb.icloud", f"cy/{NAME}/.{NAME}.ipynb.icloud", ".DS_Store"):
        put(tmp_path / file)
    assert left_out(tmp_path, NAME) == [".bob.ipynb.icloud"]
    assert "only .hw1_mla.ipynb.icloud. Hand in" in reasons(tmp_path)["cy"]


@contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Root may read everything, so another user does the reading."""
    if os.geteuid() != 0:
        yield
        return
    for path in [folder, *folder.rglob("*")]:
        os.lchown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@linux
def test_unreadable_folders_affect_their_students_only() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        folder = Path(name)
        folder.chmod(0o755)
        for student in ("ann", "bob", "cy", "dan", "eve"):
            put(folder / student / NAME / f"{NAME}.ipynb")
        put(folder / "eve" / NAME / "deeper" / "x.ipynb")
        put(folder / "fay.ipynb")
        closed = [folder / "bob" / NAME, folder / "cy", folder / "dan" / NAME / f"{NAME}.ipynb"]
        closed += [folder / "eve" / NAME / "deeper", folder / "fay.ipynb"]
        modes = [path.stat().st_mode for path in closed]
        with without_privileges(folder):
            for path in closed:
                path.chmod(0)
            found = reasons(folder)
            assert left_out(folder, NAME) == []
            for path, mode in zip(closed, modes, strict=True):
                path.chmod(mode)
    assert found == {
        "ann": "",
        "bob": "bob/hw1_mla/ cannot be read: Permission denied.",
        "cy": "cy/hw1_mla/ cannot be read: Permission denied.",
        "dan": "hw1_mla.ipynb cannot be read: Permission denied.", "eve": "",
        "fay": "fay.ipynb cannot be read: Permission denied.",
    }  # fmt: skip


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOENT])
def test_any_error_of_the_system_is_that_students(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for student in ("ann", "bob"):
        put(tmp_path / student / NAME / f"{NAME}.ipynb")
    real = os.scandir

    def scandir(path: Path) -> object:
        if "bob" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(submissions.os, "scandir", scandir)
    found = reasons(tmp_path)
    assert found["ann"] == "" and os.strerror(number) in found["bob"]


def test_a_folder_that_cannot_be_read_at_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="absent is not a folder of submissions"):
        collect(tmp_path / "absent", NAME)

    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(submissions.os, "lstat", refuse)
    with pytest.raises(ValueError, match="cannot be read: Permission denied"):
        collect(tmp_path, NAME)


@linux
def test_links_pipes_and_vanished_files_have_their_reasons(tmp_path: Path) -> None:
    real = put(tmp_path / "elsewhere" / NAME / f"{NAME}.ipynb")
    folder = tmp_path / "in"
    for student in ("inside", "dangling", "around", "many"):
        (folder / student / NAME).mkdir(parents=True)
    (folder / "whole").symlink_to(real.parents[1])
    (folder / "part").mkdir()
    (folder / "part" / NAME).symlink_to(real.parent)
    (folder / "nowhere").mkdir()
    (folder / "nowhere" / NAME).symlink_to("gone")
    (folder / "inside" / NAME / f"{NAME}.ipynb").symlink_to(real)
    (folder / "dangling" / NAME / f"{NAME}.ipynb").symlink_to("gone")
    (folder / "around" / NAME / f"{NAME}.ipynb").symlink_to(f"{NAME}.ipynb")
    for number in range(3):
        (folder / "many" / NAME / f"{number}.ipynb").symlink_to(real)
    (folder / "flat.ipynb").symlink_to(real)
    (folder / "folder.ipynb").mkdir()
    os.mkfifo(folder / "pipe.ipynb")
    vanished = put(folder / "vanished.ipynb")
    found = collect(folder, NAME)
    vanished.unlink()
    link = "The folder is a link; links are not followed."
    named = "hw1_mla.ipynb is a link; links are not followed."
    assert {each.student: read(each).problem for each in found} == {
        "whole": link, "part": link, "nowhere": link, "inside": named, "dangling": named, "around": named,
        "many": "The folder has no file hw1_mla.ipynb, only 0.ipynb, 1.ipynb, 2.ipynb. Hand in one notebook of "
        "that name.",
        "flat": "flat.ipynb is a link; links are not followed.",
        "folder": "folder.ipynb is a folder; only ordinary files are read.",
        "pipe": "pipe.ipynb is a pipe or a device; only ordinary files are read.",
        "vanished": "There is no vanished.ipynb.",
    }  # fmt: skip


# First bytes ---------------------------------------------------------------------------------------------------------

LINES = json.dumps(json.loads(NOTEBOOK), indent=1)
SCRIPT = "a script; use the file it was exported from"
WEB, LINK = "a web page, not the file shown there; download the file itself", "a link; download the file it leads to"
ARCHIVE, OFFICE = "an archive; unpack it", "an office document; use the file itself"
MERGE = "in the middle of a Git merge: it has conflict markers, first in line "
BROKEN = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\xef\xbb\xbf", "plain text, not JSON"),
    "only a mark": (b"\xef\xbb\xbf\n", "empty"),
    "zeros": (bytes(2_000), "empty: nothing but 2,000 zero bytes"),
    "a page": (b"\n<!DOCTYPE html>\n<html>", WEB),
    "a page without type": (b"<HTML lang='en'>", WEB),
    "a feed": (b"<?xml version='1.0'?><rss/>", WEB),
    "a part of a page": (b"<div class='a'>x</div>", WEB),
    "a zip": (b"PK\3\4" + bytes(99), "a zip archive; unpack it and use the file inside"),
    "an empty zip": (b"PK\5\6" + bytes(18), "a zip archive; unpack it"),
    "Word": (b"PK\3\4" + bytes(26) + b"[Content_Types].xml", OFFICE),
    "Writer": (b"PK\3\4" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.text", OFFICE),
    "old Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OFFICE),
    "RTF": (b"{\\rtf1\\ansi}", OFFICE),
    "gzip": (b"\x1f\x8b\x08" + bytes(9), ARCHIVE),
    "7z": (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    "tar": (b"a.txt" + bytes(252) + b"ustar", ARCHIVE),
    "PDF": (b"%PDF-1.7", "a PDF; use the file it was printed from"),
    "a screenshot": (b"\x89PNG\r\n\x1a\n", "a picture or a film"),
    "a photo": (b"\0\0\0\x18ftypheic", "a picture or a film"),
    "UTF-16 with a mark": (NOTEBOOK.encode("utf-16"), "encoded in UTF-16; save it as UTF-8"),
    "UTF-16, big end first": (("\ufeff" + NOTEBOOK).encode("utf-16-be"), "encoded in UTF-16; save it as UTF-8"),
    "UTF-16 without": (NOTEBOOK.encode("utf-16-le"), "encoded in UTF-16; save it as UTF-8"),
    "UTF-16 without, big": (NOTEBOOK.encode("utf-16-be"), "encoded in UTF-16; save it as UTF-8"),
    "UTF-32": (NOTEBOOK.encode("utf-32"), "encoded in UTF-32; save it as UTF-8"),
    "UTF-32 without": (NOTEBOOK.encode("utf-32-be"), "encoded in UTF-32; save it as UTF-8"),
    "a merge": (b"<<<<<<< HEAD\n" + LINES.encode() + b"\n=======\n>>>>>>> b\n", f"{MERGE}1;"),
    "a merge inside": (LINES.replace(' "nbformat"', '<<<<<<< HEAD\n "nbformat"').encode(), f"{MERGE}8;"),
    "a merge on Windows": (LINES.replace("\n", "\r\n").encode() + b"\r\n>>>>>>>\r\n", f"{MERGE}10;"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer in place of the file"),
    "a program": (b"#!/usr/bin/env python3\nx = 1\n", SCRIPT),
    "code": (b'"""A docstring."""\nimport torch\n', SCRIPT),
    "cells of Jupytext": (b"# ---\n# jupyter\n# ---\n\n# %%\nx = 1", SCRIPT),
    "a letter": (b"Dear all, from me: here is my homework.\n", "plain text, not JSON"),
    "an array": (b"\x93NUMPY\x01\0v\0", "binary data, not text"),
    "a pickle": (b"\x80\x04\x95\0", "binary data, not text"),
    "Google's link": (b'{"doc_id": "1", "email": "a@b"}', "a link to a file in the cloud; download the file itself"),
    "an old one": (b'{"url": "https://docs.google.com/open?id=1"}', "a link to a file in the cloud"),
    "an address": (b"https://colab.research.google.com/drive/1abc\n", LINK),
    "Safari's link": (b'<?xml version="1.0"?>\n<!DOCTYPE plist>\n<plist version="1.0">', LINK),
    "Windows' link": (b"[InternetShortcut]\r\nURL=https://x", LINK),
    "cut short": (LINES.encode()[:-20], "cut short: its JSON stops in the middle, so the upload or download was"),
    "cut short and padded": (LINES.encode()[:-20] + bytes(512), "cut short: its JSON stops in the middle"),
    "two in one": (LINES.encode() * 2, "not JSON: Extra data: line 9 column 2"),
    "a comma too many": (b'{"cells": [],}', "not JSON: Expecting property name enclosed in double quotes: line 1"),
    "of Python": (b"{'cells': []}", "not JSON: Expecting property name"),
    "a number too long": (b'{"a": ' + b"4" * 5000 + b"}", "not JSON: Exceeds the limit"),
    "deep": (b"[" * 100_000, "not JSON that can be read: its lists are nested too deeply"),
}  # fmt: skip


SHORTER = {
    WEB: "This is a web page. Download the notebook itself (on GitHub: Download raw file).",
    SCRIPT: "This is a Python script. Hand in the notebook it was exported from.",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_says_what_it_is_instead_of_a_notebook_or_a_config(kind: str, tmp_path: Path) -> None:
    content, wanted = BROKEN[kind]
    path = tmp_path / "config.json"
    path.write_bytes(content)
    page = read(Submission("ann", path))
    assert page.cells == [] and page.digest
    assert page.problem == SHORTER.get(wanted, page.problem)
    if wanted not in SHORTER:
        assert page.problem.startswith(f"The file is {wanted}")
        assert page.problem.endswith(". Hand in a notebook (.ipynb) that opens in Jupyter.")
    with pytest.raises(ValueError, match=r"config\.json is ") as error:
        ModelConfig.from_json(path)
    assert f"{path} is {wanted}" in str(error.value)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_notebook_cut_short_anywhere_is_recognized(indent: int | None) -> None:
    cell = {"cell_type": "code", "source": ["x = '\\u12 \"'\n"], "execution_count": None, "a": True, "b": -1.5e-3}
    whole = json.dumps({"cells": [cell], "text": "ü☃"}, indent=indent, ensure_ascii=indent is None).encode()
    for size in range(1, len(whole)):
        with pytest.raises(notebook.UnreadableError, match=r"^The file is cut short"):
            notebook.code_cells(whole[:size])


@pytest.mark.parametrize("text", ["[1, 2}", '{"cells": []]', '{"a": 1 "b": 2}', "{} {"])
def test_a_whole_file_with_a_mistake_is_not_called_cut_short(text: str) -> None:
    with pytest.raises(notebook.UnreadableError, match=r"^The file is not JSON: "):
        notebook.code_cells(text.encode())


@pytest.mark.parametrize(
    "padded", [b"%s" + bytes(999), bytes(7) + b"%s", b"\0\xef\xbb\xbf%s\r\n\0", b"\xef\xbb\xbf%s" + bytes(3)]
)
def test_a_notebook_padded_with_zeros_is_read(padded: bytes) -> None:
    assert notebook.code_cells(padded % NOTEBOOK.encode()) == ["x = 1"]


def test_markers_in_the_code_of_a_notebook_are_only_text() -> None:
    source = "<<<<<<< HEAD\nx = 1\n=======\n>>>>>>> b\n#!/bin/sh\n<!DOCTYPE html>"
    content = json.dumps({"cells": [{"cell_type": "code", "source": source}]}).encode()
    assert notebook.code_cells(content) == [source]


# All at once ---------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.usefixtures("bubblewrap")
def test_a_class_with_every_kind_of_broken_file_loses_nobody_elses_points(tmp_path: Path) -> None:
    """Honest students hand in between the broken ones, in both layouts."""
    honest = json.dumps({"cells": [{"cell_type": "code", "source": each} for each in HONEST.values()]})
    folder = tmp_path / "in"
    for number, (content, _) in enumerate(BROKEN.values()):
        put(folder / f"{number:02}.ipynb").write_bytes(content)
    whole = ["05b.ipynb", f"10b/{NAME}/{NAME}.ipynb", f"20b/{NAME}/x/{NAME}.ipynb", "Zoë.ipynb"]
    for name in whole:
        put(folder / name, honest)
    for name in ("twice.ipynb", "twice.IPYNB", f"{'x' * 240}.ipynb"):
        put(folder / name, honest)
    (folder / "folder.ipynb").mkdir()
    (folder / "link.ipynb").symlink_to("05b.ipynb")
    (folder / "link" / NAME).mkdir(parents=True)
    records = {each.student: each for each in grade(collect(folder, NAME), Store(tmp_path / "out", NAME), jobs=2)}
    earned = {name: record.points for name, record in records.items() if record.points}
    assert earned == dict.fromkeys(("05b", "10b", "20b", "Zoë", "x" * 240), 5)
    assert len(records) == len(BROKEN) + 8 and all(each.problem for each in records.values() if not each.points)
