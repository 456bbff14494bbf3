"""A class: everybody is marked once, whatever was handed in."""

import hashlib
import json
import math
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from course_grader import grading
from course_grader.grading import grade
from course_grader.judge import Judged
from course_grader.notebook import read
from course_grader.records import Mark, Record, Store, write
from course_grader.sandbox import Limits, UnavailableError
from course_grader.submissions import Submission, collect, left_out
from tests.hostile import HONEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading is for Linux")
sandboxed = pytest.mark.usefixtures("bubblewrap")


def page(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells], "nbformat": 4})


RIGHT = Mark("rotate", 3, 3, "Right.")


def handed_in(folder: Path, **pages: str) -> list[Submission]:
    folder.mkdir(exist_ok=True)
    for student, text in pages.items():
        (folder / f"{student}.ipynb").write_text(text)
    return collect(folder, "hw1_mla")


CLASS = {
    "all right": page(*HONEST.values()),
    "half": page(HONEST["kv_cache_elements"]),
    "cut short": page(*HONEST.values())[:-40],
    "empty": "",
    "of another kind": "[1, 2]",
    "Zoë O'Neil, =1+1": page(HONEST["attention_flops"]),
}
POINTS = {"all right": 5, "half": 2, "cut short": 0, "empty": 0, "of another kind": 0, "Zoë O'Neil, =1+1": 3}


@sandboxed
def test_everybody_is_marked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submissions, store = handed_in(tmp_path / "in", **CLASS), Store(tmp_path / "out", "hw1_mla")
    records = list(grade(submissions, store))
    assert {record.student: record.points for record in records} == POINTS
    assert [record.student for record in records if record.problem] == ["cut short", "empty", "of another kind"]
    files = {path: path.read_bytes() for path in store.folder.iterdir()}
    monkeypatch.setattr(grading, "mark", lambda *_, **__: pytest.fail("marked before"))
    assert sorted(grade(submissions, store), key=name) == sorted(records, key=name)
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == files


@sandboxed
def test_a_cell_that_does_not_end_is_told_to_whom_it_costs_something(tmp_path: Path) -> None:
    endless = HONEST["kv_cache_elements"] + "\nwhile True: import time; time.sleep(0.01)"
    pages = handed_in(tmp_path / "in", ann=page(endless, HONEST["attention_flops"]))
    (record,) = grade(pages, Store(tmp_path / "out", "hw1_mla"), limits=Limits(cell_seconds=1))
    marks = {mark.exercise: mark for mark in record.marks}
    assert (record.points, record.problem, marks["attention_flops"].stopped) == (3, "", False)
    assert marks["kv_cache_elements"].message.startswith("Cell 1 took too long and was left out: keep in it only")
    assert marks["kv_cache_elements"].stopped, "a line for the instructor"


def name(record: Record) -> str:
    return record.student


@sandboxed
def test_another_notebook_is_another_attempt_with_other_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path / "out", "hw1_mla")
    (first,) = grade(handed_in(tmp_path / "in", ada=CLASS["half"]), store)
    (second,) = grade(handed_in(tmp_path / "in", ada=CLASS["all right"]), store)
    assert [(each.attempt, each.points) for each in (first, second)] == [(1, 2), (2, 5)]


def test_marking_again_is_the_same_attempt_with_the_same_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(grading.judge, "judge", lambda *given: seeds.append(given[3]("rotate")) or Judged([RIGHT], []))
    submissions, store = handed_in(tmp_path / "in", ada=CLASS["half"]), Store(tmp_path / "out", "hw1_mla")
    for _ in range(2):
        (record,) = grade(submissions, store, kind="bare", again=True)
        assert record.attempt == 1
    (changed,) = grade(handed_in(tmp_path / "in", ada=CLASS["all right"]), store, kind="bare")
    assert changed.attempt == 2 and seeds[0] == seeds[1] != seeds[2]


def pretend(monkeypatch: pytest.MonkeyPatch, judged: Any) -> None:
    """Marking without a sandbox: `judged` gets the cells, and gives marks or raises."""
    monkeypatch.setattr(grading.judge, "judge", lambda box, cells, *_: Judged(judged(cells), []))


def test_a_notebook_that_is_gone_keeps_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda cells: [Mark("rotate", 3, 3, "Right.")])
    submissions, store = handed_in(tmp_path / "in", ada=CLASS["half"]), Store(tmp_path / "out", "hw1_mla")
    before = list(grade(submissions, store, kind="bare"))
    submissions[0].path.unlink()
    for now, reason in ((None, "no ada.ipynb"), ("{}", "has no cells"), ("<html>", "web page")):
        if now:
            submissions[0].path.write_text(now)
        (record,) = grade(submissions, store, kind="bare")
        assert (record.attempt, record.points, record.unread) == (1, 3, True) and reason in record.problem
        assert store.records() == [record]
    submissions[0].path.write_text(CLASS["half"])
    assert list(grade(submissions, store, kind="bare")) == before == store.records()
    pretend(monkeypatch, lambda cells: [Mark("rotate", 0, 3, "Wrong.")])
    submissions[0].path.write_text(page())
    (worse,) = grade(submissions, store, kind="bare")
    assert (worse.attempt, worse.points, worse.unread) == (2, 0, False), "a notebook, and so it counts"


def test_a_fault_of_the_judges_is_no_mark_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: list[str]) -> list[Mark]:
        raise RuntimeError("a mistake in the judge")

    pretend(monkeypatch, fails)
    submissions, store = handed_in(tmp_path / "in", ada=CLASS["half"]), Store(tmp_path / "out", "hw1_mla")
    (first,) = grade(submissions, store, kind="bare")
    assert first.problem == "It could not be marked: RuntimeError a mistake in the judge" and first.points == 0
    pretend(monkeypatch, lambda cells: [Mark("rotate", 3, 3, "Right.")])
    (second,) = grade(submissions, store, kind="bare")
    assert (second.attempt, second.points, second.problem) == (1, 3, ""), "the same code, so the same attempt"


def test_replaced_records_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, "hw1_mla")
    made = [
        Record("Zoë", "hw1_mla", attempt, digest, "bare", seconds, [RIGHT], cells=["x"])
        for attempt, digest, seconds in ((1, "a", 0.1), (1, "a", 0.2), (1, "a", 0.1), (2, "b", 0.1))
    ]
    texts = []
    for each in made:
        store.keep(each)
        store.keep(each)
        texts.append((store.folder / f"{each.slug}.json").read_text())
    assert store.records() == [made[-1]], "only the newest counts"
    earlier = {path.name: path.read_text() for path in (store.folder / "earlier").iterdir()}
    assert sorted(earlier.values()) == sorted(set(texts[:-1]))
    assert all(re.fullmatch(r"Zoë-\w{16}\.attempt-1\.\w{8}\.json", name) for name in earlier)


def test_records_of_earlier_versions_are_found_and_replaced(tmp_path: Path) -> None:
    """They had fewer fields, and only ASCII letters in their names."""
    store, student = Store(tmp_path, "hw1_mla"), Submission("李小龙", tmp_path / "x.ipynb")
    old = {
        "student": "李小龙", "assignment": "hw1_mla", "attempt": 1, "digest": "a", "sandbox": "bare", "seconds": 1,
        "marks": [{"exercise": "rotate", "points": 3, "of": 3, "message": "", "stopped": False}],
    }  # fmt: skip
    path = store.folder / f"student-{student.key}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(old))
    before = store[student]
    assert before is not None and store.records() == [before] and (before.points, before.stopped) == (3, [])
    store.keep(replace(before, attempt=2, digest="b"))
    assert [each.attempt for each in store.records()] == [2] and len(list((store.folder / "earlier").iterdir())) == 1


def test_two_records_of_one_student_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, "hw1_mla")
    store.keep(Record("ann", "hw1_mla", 1, "a", "bare", 1, [RIGHT]))
    (path,) = store.folder.glob("*.json")
    path.with_name(f"copy of {path.name}").write_text(path.read_text())
    with pytest.raises(ValueError, match=r"has two records of ann\. Move one of them away"):
        store.records()


@pytest.mark.parametrize("now", ["gone", "unreadable", "twice", "too large"])
@pytest.mark.parametrize("again", [False, True])
def test_a_notebook_that_cannot_be_read_any_more_keeps_its_marks_and_is_reported(
    now: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda cells: [RIGHT])
    folder, store = tmp_path / "in", Store(tmp_path / "out", "hw1_mla")
    path = folder / "ada" / "hw1_mla" / "hw1_mla.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(CLASS["half"])
    before = list(grade(collect(folder, "hw1_mla"), store, kind="bare"))
    match now:
        case "gone":
            path.unlink()
        case "unreadable":
            path.unlink()
            path.symlink_to("elsewhere")
        case "twice":
            (folder / "ada.ipynb").write_text(CLASS["half"])
        case _:
            path.write_text(CLASS["half"] + " " * (20 << 20))
    found = collect(folder, "hw1_mla")
    due = store.due(found, again=again)
    said = f"{read(found[0]).problem} The points are those of attempt 1."
    kept = [replace(before[0], problem=said, unread=True)]
    assert due.kept == kept and not due.missing
    assert list(grade(found, store, kind="bare", again=again)) == kept == store.records()


def test_a_file_that_vanishes_at_the_last_moment_costs_no_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda cells: [RIGHT])
    submissions, store = handed_in(tmp_path / "in", ada=CLASS["half"]), Store(tmp_path / "out", "hw1_mla")
    (before,) = grade(submissions, store, kind="bare")
    monkeypatch.setattr(grading, "read", lambda each: each.path.unlink() or read(each))
    (record,) = grade(submissions, store, kind="bare", again=True)
    assert store.records() == [record] and (record.points, record.cells) == (before.points, before.cells)
    assert record.problem == "There is no ada.ipynb. The points are those of attempt 1."


def test_a_fault_of_ours_while_marking_again_costs_no_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda cells: [RIGHT])
    store = Store(tmp_path / "out", "hw1_mla")
    (before,) = grade(handed_in(tmp_path / "in", ada=CLASS["half"]), store, kind="bare")

    def fails(_: list[str]) -> list[Mark]:
        raise RuntimeError("a mistake in the judge")

    pretend(monkeypatch, fails)
    (record,) = grade(handed_in(tmp_path / "in"), store, kind="bare", again=True)
    assert record.problem.startswith("It could not be marked") and store.records() == [before]
    (record,) = grade(handed_in(tmp_path / "in", ada=CLASS["all right"]), store, kind="bare")
    assert store.records() == [record] and record.attempt == 2, "of other code the old marks say nothing"


def test_the_reason_why_there_is_no_notebook_is_kept_up_to_date(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "out", "hw1_mla"), tmp_path / "in"
    (folder / "ada" / "hw1_mla").mkdir(parents=True)
    for name in (None, "notes.txt", "more.txt"):
        if name:
            (folder / "ada" / "hw1_mla" / name).touch()
        list(grade(collect(folder, "hw1_mla"), store, kind="bare"))
        (record,) = store.records()
        assert record.attempt == 1 and (name or "folder is empty") in record.problem
    handed_in(folder / "ada" / "hw1_mla", ada=page("x = 1"))
    pages = collect(folder, "hw1_mla")
    assert store.attempt(pages[0], read(pages[0])) == 1, "the first notebook"


def test_where_there_is_no_sandbox_nobody_gets_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: list[str]) -> list[Mark]:
        raise UnavailableError("none here")

    pretend(monkeypatch, fails)
    submissions, store = handed_in(tmp_path / "in", ada=CLASS["half"]), Store(tmp_path / "out", "hw1_mla")
    with pytest.raises(UnavailableError, match="none here"):
        list(grade(submissions, store, kind="bare"))
    assert store.records() == []


def test_the_code_that_was_marked_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that is written anew meanwhile, digest and code are of the same moment."""

    def meanwhile(cells: list[str]) -> list[Mark]:
        submissions[0].path.write_text(page("x = 2"))
        return [Mark(cells[0], 3, 3, "Right.")]

    pretend(monkeypatch, meanwhile)
    submissions, store = handed_in(tmp_path / "in", ada=page("x = 1")), Store(tmp_path / "out", "hw1_mla")
    (first,) = grade(submissions, store, kind="bare")
    assert first.cells == ["x = 1"] and first.marks[0].exercise == "x = 1" and store.records() == [first]
    assert first.digest == hashlib.sha256(page("x = 1").encode()).hexdigest()
    (second,) = grade(submissions, store, kind="bare")
    assert (second.attempt, second.cells) == (2, ["x = 2"])


def test_a_notebook_of_another_assignment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda cells: [Mark("rotate", 3 if "made" in cells[0] else 0, 3, "")])
    pages = {"ann": page("def route(): pass"), "bob": page("def rotate(): pass"), "cy": page("made_otherwise()")}
    found = grade(handed_in(tmp_path / "in", **pages), Store(tmp_path / "out", "hw1_mla"), kind="bare")
    said = {each.student: each.problem for each in found}
    assert said["ann"].endswith("This looks like hw2_moe: it defines route.") and said["bob"] == said["cy"] == ""


def test_what_is_no_record_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda cells: [Mark("rotate", 3, 3, "Right.")])
    store = Store(tmp_path / "out", "hw1_mla")
    list(grade(handed_in(tmp_path / "in", ada=CLASS["half"]), store, kind="bare"))
    (path,) = store.folder.glob("*.json")
    right = path.read_text()
    too_many, no_number = (right.replace('"points": 3', f'"points": {points}') for points in (4, '"3"'))
    no_texts = (right.replace('"stopped": []', f'"stopped": {other}') for other in ("7", "[7]"))
    fields = [
        ("student", 7),
        ("attempt", "x"),
        ("attempt", 0),
        ("assignment", "hw2_moe"),
        ("sandbox", None),
        ("marks", []),
    ]
    fields += [
        ("cells", {"a": "x"}),
        ("cells", "x"),
        ("stopped", "x"),
        ("problem", None),
        ("digest", None),
        ("seconds", "1"),
    ]
    edited = [{**json.loads(right), name: value} for name, value in fields]
    (mark,) = json.loads(right)["marks"]
    for name, value in (
        ("of", 0),
        ("of", math.inf),
        ("points", -1),
        ("points", math.nan),
        ("message", None),
        ("exercise", 7),
        ("lent", "rotate"),
        ("lent", [7]),
    ):
        edited.append({**json.loads(right), "marks": [{**mark, name: value}]})
    edited += [{**json.loads(right), "marks": [mark, mark]}]
    for wrong in ("", "[]", right[:-9], too_many, no_number, *no_texts, *map(json.dumps, edited)):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"ada-\w+\.json is not a record of grades\. Move it away"):
            store.records()
    del mark["lent"]  # a record of an earlier version of the course
    path.write_text(json.dumps({**json.loads(right), "marks": [mark]}))
    assert store.records()[0].marks[0].lent == []
    path.write_text(right)
    copy = path.with_name("copy.json")
    copy.write_text(right)
    with pytest.raises(ValueError, match=r"copy\.json is not a record"):
        store.records()


@pytest.mark.parametrize("text", ["", "zz", "00"])
def test_a_damaged_secret_is_told(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path, "hw1_mla")
    assert store.secret() == store.secret() and len(store.secret()) == 32
    (tmp_path / "hw1_mla" / "secret").write_text(text)
    with pytest.raises(ValueError, match=r"secret is damaged\. Restore it"):
        store.secret()


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.json", "old")

    def fails(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "x.json", "new", lasting=True)
    assert (tmp_path / "x.json").read_text() == "old"


def test_a_file_that_is_right_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, "old")
    os.utime(path, (1, 1))
    write(path, "old")
    assert path.stat().st_mtime == 1
    write(path, "new\udc80")
    assert path.read_bytes() == b"new?" and path.stat().st_mtime > 1


# What is handed in ---------------------------------------------------------------------------------------------------


def test_a_tree_and_a_folder_are_read(tmp_path: Path) -> None:
    for student, file in (("ada", "hw1_mla.ipynb"), ("bob", "my homework.ipynb"), ("eve", "notes.txt")):
        (tmp_path / student / "hw1_mla").mkdir(parents=True)
        (tmp_path / student / "hw1_mla" / file).write_text("{}")
    (tmp_path / "carl.ipynb").write_text("{}")
    found = {each.student: each.path.name for each in collect(tmp_path, "hw1_mla")}
    assert found == {
        "ada": "hw1_mla.ipynb", "bob": "my homework.ipynb", "carl": "carl.ipynb", "eve": "hw1_mla.ipynb"
    }, "eve handed in no notebook, and is not forgotten"  # fmt: skip
    with pytest.raises(ValueError, match=r"holds neither STUDENT/hw2_moe/hw2_moe\.ipynb nor STUDENT\.ipynb"):
        collect(tmp_path / "eve", "hw2_moe")
    (tmp_path / "ann.zip").write_text("")
    (tmp_path / "ada/hw1_mla/._hw1_mla.ipynb").write_text("")  # as macOS leaves them
    (tmp_path / "dan.IPYNB").write_text("{}")
    (tmp_path / "..dot" / "hw1_mla").mkdir(parents=True)
    assert {each.student for each in collect(tmp_path, "hw1_mla")} == {*found, "dan", "..dot"}
    assert left_out(tmp_path, "hw1_mla") == ["ann.zip"]


def test_file_names_are_one_per_student() -> None:
    names = ["ada", "Ada", "a/da", "a_da", "..", "", "ж", "ф", "x" * 300, "x" * 301, "con", "李" * 90, "\u0301", "-rf"]
    slugs = [Submission(student, Path()).slug for student in names]
    assert len({slug.lower() for slug in slugs}) == len(names)
    for slug in slugs:
        assert re.fullmatch(r"[\w.-]+-[0-9a-f]{16}", slug) and slug[0] not in ".-" and len(slug.encode()) <= 100


@pytest.mark.parametrize(
    ("student", "shown"),
    [
        ("李小龙", "李小龙"),
        ("Ünal", "Ünal"),
        ("U\u0308nal", "Ünal"),
        ("محمد", "محمد"),
        ("नमस्ते", "नमस्ते"),  # vowel signs are combining marks
        ("Zoë O'Neil, jr.", "Zoë_O_Neil_jr"),
        ("a\u202egnp.\u200b", "a_gnp"),
        ("con.txt", "_con.txt"),
        ("LPT¹", "_LPT¹"),
        ("conny", "conny"),
        ("undecodable\udc80", "undecodable"),
        ("😀", "student"),
        ("李" * 200, "李" * 26),
    ],
)
def test_file_names_keep_the_letters_of_every_script(student: str, shown: str) -> None:
    assert Submission(student, Path()).slug == f"{shown}-{Submission(student, Path()).key}"


# Notebooks -----------------------------------------------------------------------------------------------------------

CODE = {"cell_type": "code", "source": ["x = 1\n", "y = 2"]}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({"cells": [CODE, {"cell_type": "markdown", "source": "z"}], "nbformat": 4}, ["x = 1\ny = 2"]),
        ({"worksheets": [{"cells": [{"cell_type": "code", "input": "x = 3"}]}], "nbformat": 3}, ["x = 3"]),
        ({"cells": [7, None, {"cell_type": "code"}, {"cell_type": "code", "source": [1, "x"]}]}, ["", "x"]),
        ({"cells": [], "metadata": {"nbgrader": {"points": 99}}}, []),
    ],
)  # fmt: skip
def test_code_cells_are_found(content: Any, wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert read(Submission("a", tmp_path / "a.ipynb")).cells == wanted


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no a.ipynb"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "UTF-16"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "has no cells"),
        (b'{"cells": 3}', "has no cells"),
    ],
)
def test_what_is_no_notebook_is_told(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.ipynb").write_bytes(content)
    page = read(Submission("a", tmp_path / "a.ipynb"))
    assert reason in page.problem and page.cells == []
    assert bool(page.digest) == (content is not None), "so that it is not marked again while it stays as it is"


def test_bytes_that_are_no_text_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(b'{"cells": [{"cell_type": "code", "source": "x = \'\xe9\'"}]}')
    assert read(Submission("a", tmp_path / "a.ipynb")).cells == ["x = '�'"]
