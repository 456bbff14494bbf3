"""What people enter in formgrader is read back as nbgrader itself counts it."""

import sqlite3
from pathlib import Path

import pytest

from course_grader import by_hand, gradebook
from course_grader.by_hand import Entered
from course_grader.records import Record
from tests.entered import enter, export
from tests.records import NAMES, RELEASE, record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader asks another program for the version of its tables, which takes seconds."""
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")


def write(folder: Path, *records: Record) -> None:
    gradebook.write_gradebook(folder, RELEASE, records)


def read(folder: Path, *records: Record) -> by_hand.Entries:
    return by_hand.read(folder / "gradebook.db", records)


def test_nothing_is_entered_where_nobody_entered_anything(tmp_path: Path) -> None:
    ann = record("ann", earned=2)
    assert read(tmp_path, ann) == {} and not (tmp_path / "gradebook.db").exists()
    write(tmp_path, ann)
    assert read(tmp_path, ann) == {} == read(tmp_path)


def test_scores_credit_and_comments_are_read(tmp_path: Path) -> None:
    ann, bob = record("ann", earned=2), record("bob", earned=1)
    write(tmp_path, ann, bob)
    enter(tmp_path, "ann", "compress", score=2.5, comment=" The idea is right.\nMind the axis. ")
    enter(tmp_path, "ann", "rotate", credit=0.5)
    enter(tmp_path, "bob", "rotate", score=0, credit=-1)
    found = read(tmp_path, ann, bob)
    assert found == {
        "ann": {
            "compress": Entered(2.5, comment="The idea is right.\nMind the axis."),
            "rotate": Entered(extra_credit=0.5),
        },
        "bob": {"rotate": Entered(0, -1)},
    }
    marks = {mark.exercise: mark for mark in ann.marks}
    assert by_hand.points(marks["compress"], found["ann"]["compress"]) == 2.5, "instead of the judge's 0"
    assert by_hand.points(marks["rotate"], found["ann"]["rotate"]) == 3.5, "on top of the judge's 3"
    assert by_hand.points(marks["rotate"]) == 3
    assert read(tmp_path, bob) == {"bob": found["bob"]}, "only students of these records"


def test_totals_equal_those_of_nbgraders_export(tmp_path: Path) -> None:
    """Also for names that are not ids, a total below 0, and points above the maximum."""
    records = [record(name, earned=n % 7) for n, name in enumerate(NAMES)]
    write(tmp_path, *records)
    for n, each in enumerate(records[2:]):
        enter(tmp_path, by_hand.identity(each), "compress", score=[None, 0, 2.5, 7, 1 / 3][n % 5], comment="see me")
        enter(tmp_path, by_hand.identity(each), "rotate", credit=[None, 0.25, -30, 4][n % 4])
    found = read(tmp_path, *records)
    assert len(found) == len(records) - 2
    ours = {by_hand.identity(each): by_hand.total(each, found.get(each.student, {})) for each in records}
    theirs = {row["student_id"]: float(row["score"]) for row in export(tmp_path)}
    assert ours == pytest.approx(theirs, abs=0.005)
    assert 0 in ours.values() and max(ours.values()) > 20


def test_only_this_assignment_counts(tmp_path: Path) -> None:
    write(tmp_path, record("ann"))
    enter(tmp_path, "ann", "rotate", score=1)
    with sqlite3.connect(tmp_path / "gradebook.db") as database:
        database.execute("update assignment set name = 'another'")
    assert read(tmp_path, record("ann")) == {}


def test_a_locked_gradebook_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "WAIT", 0.1)
    write(tmp_path, record("ann"))
    lock = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None)
    lock.execute("begin exclusive")
    with pytest.raises(gradebook.GradebookError, match=r"gradebook.db could not be read: database is locked"):
        read(tmp_path, record("ann"))
    lock.execute("rollback")
    assert read(tmp_path, record("ann")) == {}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_not_a_gradebook_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gradebook.db").write_bytes(content)
    with pytest.raises(gradebook.GradebookError, match=r"gradebook.db could not be read: \w+"):
        read(tmp_path, record("ann"))
    assert (tmp_path / "gradebook.db").read_bytes() == content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("alter table grade rename column manual_score to score_by_hand", "no such column: manual_score"),
        ("drop table comment", "no such table: comment"),
        ("update grade set manual_score = 'two'", "the score for kv_cache_elements of ann is 'two', not a number"),
        ("update grade set extra_credit = 9e999", "the score for kv_cache_elements of ann is inf, not a number"),
        (
            "update grade set manual_score = 1e308",
            r"the score for kv_cache_elements of ann is 1e\+308, not a number up to",
        ),
    ],
)
def test_a_gradebook_of_another_nbgrader_is_reported(tmp_path: Path, change: str, reason: str) -> None:
    write(tmp_path, record("ann"))
    with sqlite3.connect(tmp_path / "gradebook.db") as database:
        database.execute(change)
    with pytest.raises(gradebook.GradebookError, match=f"gradebook.db could not be read: {reason}"):
        read(tmp_path, record("ann"))


def test_a_name_with_signs_in_the_path_is_not_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "50% of #3?mode=memory"
    write(folder, record("ann"))
    enter(folder, "ann", "rotate", score=1)
    assert read(folder, record("ann")) == {"ann": {"rotate": Entered(1)}}


def test_nothing_can_be_written_while_reading(tmp_path: Path) -> None:
    write(tmp_path, record("ann"))
    with (
        by_hand.opened(tmp_path / "gradebook.db") as database,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        database.execute("delete from grade")
