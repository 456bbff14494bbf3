"""What `course.py grade` does with a class, and what it says: marking itself is stood in for."""

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner

from course_grader import command, gradebook, grading, release
from course_grader.__main__ import app
from course_grader.by_hand import identity
from course_grader.limits import GIB, Limits
from course_grader.notebook import read
from course_grader.records import Record, Store
from course_grader.submissions import Submission
from course_grader.up_to_date import up_to_date
from course_lib import host
from tests.entered import enter
from tests.records import ASSIGNMENT, CELLS, RELEASE, record, rows

Calls = list[dict[str, Any]]


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Marking without a sandbox: everybody earns the first two exercises. What was asked for is noted."""
    calls: Calls = []

    def grade(submissions: list[Submission], store: Store, **options: Any) -> Iterator[Record]:
        calls.append({"students": [each.student for each in submissions], **options})
        for each in submissions:
            page = read(each)
            made = record(each.student, earned=2 if page.cells else 0, problem=page.problem)
            made = replace(made, attempt=store.attempt(each, page), digest=page.digest)
            made = replace(made, cells=page.cells, unread=bool(page.problem))
            yield store.keep(made)

    monkeypatch.setattr(grading, "grade", grade)
    monkeypatch.setattr(command, "best_kind", lambda: "private")
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")
    return calls


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    folder = tmp_path / "submitted"
    folder.mkdir()
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in CELLS]
    for name in ("ann", "bob", "Zoë, M."):
        (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5}))
    return folder


def run(folder: Path, *further: str, assignment: str = ASSIGNMENT) -> tuple[int, str]:
    arguments = ["grade", str(folder), "--assignment", assignment, "--out", str(folder.parent / "grades"), *further]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    return result.exit_code, " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_class_is_marked_and_everything_is_written(handed_in: Path, marked: Calls) -> None:
    code, text = run(handed_in, "--jobs", "3")
    assert code == 0, text
    assert marked == [
        {
            "students": ["Zoë, M.", "ann", "bob"],
            "jobs": 3,
            "cluster": None,
            "again": False,
            "kind": "private",
            "limits": Limits(),
        }
    ]
    assert "5.00 of 20 points on average sandbox: bubblewrap 3 notebooks: 3 graded now" in text
    assert (
        "of all points no points" in text
        and "rotate 3.00 3 3 0" in text
        and "compress 0.00 3 0 3" in text
        and "NO SANDBOX" not in text
    )
    out = handed_in.parent / "grades"
    slugs = [record(name).slug for name in ("ann", "bob", "Zoë, M.")]
    files = contents(out)
    assert set(files) == {
        ".lock", "gradebook.db", "nbgrader_config.py", f"{ASSIGNMENT}/grades.csv",
        *(f"{ASSIGNMENT}/{kind}" for slug in slugs for kind in
          (f"records/{slug}.json", f"gradescope/{slug}.json", f"feedback/{slug}.html")),
        *(f"autograded/{name}/{ASSIGNMENT}/{ASSIGNMENT}.ipynb" for name in ("ann", "bob", identity(record("Zoë, M.")))),
    }  # fmt: skip
    assert [row["points"] for row in rows(files[f"{ASSIGNMENT}/grades.csv"].decode())] == ["5"] * 3
    assert b'<span class="k">return</span>' in files[f"{ASSIGNMENT}/feedback/{slugs[0]}.html"]


def test_limits_are_passed_on(handed_in: Path, marked: Calls) -> None:
    code, text = run(
        handed_in, "--cell-seconds", "30", "--call-seconds", "5.5", "--seconds", "99", "--memory", "1.5",
        "--processes", "20", "--jobs", "1",
    )  # fmt: skip
    assert code == 0, text
    assert marked[0]["limits"] == Limits(cell_seconds=30, call_seconds=5.5, seconds=99, memory=1.5 * GIB, processes=20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds", "nan"], "seconds"),
        (["--cell-seconds", "300"], "--seconds 240 is less than --cell-seconds 300: lower that, too"),
        (["--seconds", "10"], "--seconds 10 is less than --cell-seconds 60 and --call-seconds 20: lower those, too"),
        (["--memory", "4GB"], "--memory takes GiB as a number, such as 4"),
        (["--memory", "0.1"], "the memory must be at least 0.5 GiB"),
        (["--processes", "1"], "1 processes and threads are too few"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: list[str], said: str, handed_in: Path, marked: Calls) -> None:
    code, text = run(handed_in, *options)
    assert code == 2 and said in text and not marked


def test_jobs_are_as_many_as_fit_into_the_memory(
    handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "cpu_count", lambda: 6)
    monkeypatch.setattr(host, "total_memory", lambda: int(15.6 * GIB))
    run(handed_in)
    again = "--student", "bob"
    run(handed_in, "--memory", "2", *again)
    run(handed_in, "--jobs", "4", "--memory", "3.8", *again)
    run(handed_in, "--jobs", "40", "--cluster", "tcp://there:1", *again)
    assert [call["jobs"] for call in marked] == [3, 6, 4, 40]
    code, text = run(handed_in, "--jobs", "5", *again)
    assert code == 2 and len(marked) == 4
    assert (
        "5 notebooks at a time may use up to 20 GiB of memory, and this machine has 15.6 GiB: --jobs 3 or --memory 2.8 "
        "fits"
    ) in text
    monkeypatch.setattr(host, "total_memory", lambda: int(3.85 * GIB))
    assert (
        "one notebook may use up to 4 GiB of memory, and this machine has 3.85 GiB: --memory 3.4 fits"
        in (run(handed_in, *again)[1])
    )


def test_records_that_are_there_are_not_mixed_with_new_ones(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    before = contents(handed_in.parent / "grades")
    code, text = run(handed_in)
    assert text.startswith("Error: ") and "Usage" not in text
    assert code == 2 and "already has 3 records of hw1_mla, and nothing was done. Add --resume" in text
    assert contents(handed_in.parent / "grades") == before and len(marked) == 1
    assert run(handed_in, "--resume")[0] == 0
    assert len(marked) == 1, "nothing is missing"
    (handed_in / "bob.ipynb").write_text('{"cells": []}')
    assert run(handed_in, "--resume")[0] == 0
    assert marked[1]["students"] == ["bob"] and not marked[1]["again"]


def test_one_student_is_graded_again(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    before = contents(handed_in.parent / "grades" / ASSIGNMENT)
    code, text = run(handed_in, "--student", "bob")
    assert code == 0 and marked[1]["students"] == ["bob"] and marked[1]["again"]
    assert contents(handed_in.parent / "grades" / ASSIGNMENT) == before, "the same notebook, the same attempt"
    assert "3 notebooks: 1 graded now, 2 unchanged" in text
    (handed_in / "bob.ipynb").write_text('{"cells": [{"cell_type": "code", "source": "x"}]}')
    run(handed_in, "--student", "bob")
    after = contents(handed_in.parent / "grades" / ASSIGNMENT)
    bob = record("bob").slug
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed - {"grades.csv", f"records/{bob}.json", f"feedback/{bob}.html"} == {
        name for name in after if name.startswith(f"records/earlier/{bob}.attempt-1.")
    } and len(changed) == 4  # fmt: skip
    assert [row["attempt"] for row in rows(after["grades.csv"].decode())] == ["1", "1", "2"]


def test_a_student_is_named_as_the_grades_show_it(handed_in: Path, marked: Calls) -> None:
    (handed_in / "two\nlines.ipynb").write_text("{}")
    assert run(handed_in, "--student", r"two\nlines")[0] == 0
    assert marked[0]["students"] == ["two\nlines"]


def test_a_name_as_macos_writes_it_is_found(handed_in: Path, marked: Calls) -> None:
    decomposed = unicodedata.normalize("NFD", "Zoë, M.")
    (handed_in / "Zoë, M..ipynb").rename(handed_in / f"{decomposed}.ipynb")
    assert run(handed_in)[0] == run(handed_in, "--student", decomposed)[0] == 0
    assert marked[-1]["students"] == ["Zoë, M."]


def test_a_student_is_found_whatever_the_case_if_only_one_can_be_meant(handed_in: Path, marked: Calls) -> None:
    assert run(handed_in, "--student", "ANN")[0] == 0 and marked[-1]["students"] == ["ann"]
    (handed_in / "Bob.ipynb").write_text("{}")
    assert run(handed_in, "--student", "BOB")[1].endswith("no submission of 'BOB'; similar names: Bob, bob")
    assert run(handed_in, "--student", "BOBB")[1].endswith("similar names: bob")


def test_what_is_no_submission_is_skipped_by_name(handed_in: Path, marked: Calls) -> None:
    (handed_in / "ian.zip").write_text("")
    assert "Skipped ian.zip: not a submission of hw1_mla" in run(handed_in)[1]


@pytest.mark.parametrize("place", ["", "grades", "a/b"])
def test_grades_among_the_submissions_are_refused(place: str, handed_in: Path, marked: Calls) -> None:
    """The next run would take grades/hw1_mla/ for a student's folder."""
    code, text = run(handed_in, "--out", str(handed_in / place))
    assert code == 2 and "is in the folder of submissions" in text and not marked
    assert sorted(path.name for path in handed_in.iterdir()) == ["Zoë, M..ipynb", "ann.ipynb", "bob.ipynb"]


def test_a_terminal_that_cannot_show_a_name_ends_nothing(handed_in: Path, marked: Calls, tmp_path: Path) -> None:
    (handed_in / "李.ipynb").write_text("")
    run(handed_in)
    (handed_in / "李.ipynb").unlink()
    (handed_in / "李.ipynb").symlink_to("ann.ipynb")
    paths = f"submissions=Path({str(handed_in)!r}), out=Path({str(tmp_path / 'grades')!r})"
    program = (
        "from pathlib import Path; from course_grader import command; "
        f"command.grade(command.Order({paths}, assignment={ASSIGNMENT!r}, resume=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u674e: \u674e.ipynb is a link; links are not followed." in done.stdout


def test_pages_of_who_has_no_record_are_removed(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    folder = handed_in.parent / "grades" / ASSIGNMENT
    (handed_in / "ann.ipynb").unlink()
    next((folder / "records").glob("ann-*")).unlink()
    earlier = folder / "feedback" / f"student-{Submission('bob', Path()).key}.html"  # as an earlier version named it
    own = [folder / "feedback" / name for name in ("notes.html", "summary-2026.html")]
    for path in (earlier, *own):
        path.write_text("x")
    assert run(handed_in, "--resume")[0] == 0
    slugs = {Submission(name, Path()).slug for name in ("bob", "Zoë, M.")}
    assert {path.stem for path in (folder / "gradescope").iterdir()} == slugs
    assert {path.stem for path in (folder / "feedback").iterdir()} == slugs | {path.stem for path in own}


def test_who_was_marked_before_stays_where_others_come_later(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    for name in ("ann", "bob"):
        (handed_in / f"{name}.ipynb").unlink()
    (handed_in / "late.ipynb").write_text('{"cells": []}')
    code, text = run(handed_in, "--resume")
    table = (handed_in.parent / "grades" / ASSIGNMENT / "grades.csv").read_text()
    assert code == 0 and [row["student"] for row in rows(table)] == ["Zoë, M.", "ann", "bob", "late"]
    assert "4 notebooks: 1 graded now, 1 unchanged, 2 whose file is gone (ann, bob)" in text


def test_a_run_with_nothing_to_do_loads_neither_the_judge_nor_nbgrader(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    before = contents(handed_in.parent / "grades")
    arguments = [sys.executable, "-X", "importtime", "-m", "course_grader", "grade", str(handed_in), "--resume"]
    arguments += ["--assignment", ASSIGNMENT, "--out", str(handed_in.parent / "grades")]
    done = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"})
    assert done.returncode == 0 and "3 notebooks: 3 unchanged" in done.stdout
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "nbformat" in loaded and not loaded & {"torch", "joblib", "dask", "nbgrader", "nbconvert", "sqlalchemy"}
    assert contents(handed_in.parent / "grades") == before


@pytest.mark.parametrize("damage", ["deleted", "foreign", "of another class", "behind"])
def test_a_gradebook_that_is_not_up_to_date_is_noticed(
    damage: str, handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(handed_in)
    database = handed_in.parent / "grades" / "gradebook.db"
    match damage:
        case "deleted":
            database.unlink()
        case "foreign":
            database.write_text("no database at all, but some text")
        case "of another class":
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("DELETE FROM grade")
                connection.commit()
        case _:
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("UPDATE grade SET auto_score = 1 WHERE auto_score = 2")
                connection.commit()
    assert run(handed_in, "--resume")[0] == (1 if damage == "foreign" else 0) and len(marked) == 1
    if damage != "foreign":
        pages = nbformat.read(release.ASSIGNMENTS / f"release/{ASSIGNMENT}/{ASSIGNMENT}.ipynb", as_version=4)
        assert up_to_date(database, pages, Store(handed_in.parent / "grades", ASSIGNMENT).records())
        monkeypatch.setattr("course_grader.gradebook.write_gradebook", lambda *_: pytest.fail("it is up to date"))
        assert run(handed_in, "--resume")[0] == 0


def test_another_release_or_other_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")
    records, database = [record("ann", earned=2), record("Zoë, M.")], tmp_path / "gradebook.db"
    assert up_to_date(database, RELEASE, []) and not up_to_date(database, RELEASE, records)
    gradebook.write_gradebook(tmp_path, RELEASE, records)
    assert up_to_date(database, RELEASE, records) and up_to_date(database, RELEASE, records[:1])
    assert not up_to_date(database, RELEASE, [records[0], replace(records[1], cells=["x = 1"])])
    assert not up_to_date(database, RELEASE, [*records, record("late")])
    other = deepcopy(RELEASE)
    graded = next(cell for cell in other.cells if cell.metadata.get("nbgrader", {}).get("grade"))
    graded.metadata.nbgrader.points += 1
    assert not up_to_date(database, other, records)
    other = deepcopy(RELEASE)
    next(cell for cell in other.cells if cell.metadata.get("nbgrader", {}).get("solution")).source += "\n"
    assert not up_to_date(database, other, records)


def test_what_people_entered_is_in_every_output(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    folder = handed_in.parent / "grades"
    enter(folder, "bob", "compress", score=2.5, credit=1.0, comment="A good idea.\n=1+1")
    enter(folder, "bob", "rotate", score=3)
    code, text = run(handed_in, "--resume")
    assert code == 0 and "6.17 of 20 points on average" in text
    assert "compress 1.17 3 1 2" in text
    assert "1 student has scores entered by hand" in text, "students, not scores"
    rows_ = {row["student"]: row for row in rows((folder / ASSIGNMENT / "grades.csv").read_text())}
    assert (rows_["bob"]["points"], rows_["bob"]["compress"]) == ("8.5", "3.5")
    assert rows_["bob"]["entered"] == (
        "rotate: 3 points entered by hand instead of 3; compress: 2.5 points entered by hand instead of 0; "
        "compress: 1 point added by hand"
    )
    assert rows_["bob"]["comments"] == r"compress: A good idea.\n=1+1" and rows_["ann"]["entered"] == ""
    result = json.loads((folder / ASSIGNMENT / "gradescope" / f"{record('bob').slug}.json").read_text())
    (test,) = (test for test in result["tests"] if test["name"] == "compress")
    assert result["score"] == 8.5 and (test["score"], test["status"]) == (3.5, "passed")
    assert test["output"].endswith("Comment: A good idea.\n=1+1")


def test_notebooks_in_odd_places_and_unread_ones_are_reported(handed_in: Path, marked: Calls) -> None:
    place = handed_in / "deep" / ASSIGNMENT / "x" / "hw.ipynb"
    place.parent.mkdir(parents=True)
    for path in (place, handed_in / "Bob.ipynb"):
        path.write_text('{"cells": []}')
    code, text = run(handed_in)
    assert code == 0 and "deep: read from hw1_mla/x/hw.ipynb, below the usual folder" in text
    assert "Bob and bob differ only by case, and are graded as different students" in text
    place.unlink()
    code, text = run(handed_in, "--resume")
    assert code == 0 and "deep: The folder has no file hw1_mla.ipynb, only x/. Hand in one" in text
    assert "The points are those of attempt 1." in text and len(marked) == 1


WEB_PAGE = "This is a web page. Download the notebook itself (on GitHub: Download raw file)."


def test_a_file_that_is_not_a_notebook_leaves_the_points_and_says_so_everywhere(handed_in: Path, marked: Calls) -> None:
    """Also a second file of the same student, and until there is a notebook again."""
    run(handed_in)
    folder, right = handed_in.parent / "grades" / ASSIGNMENT, (handed_in / "ann.ipynb").read_text()
    (handed_in / "ann.ipynb").write_text("<!DOCTYPE html><html>")
    (handed_in / "bob.IPYNB").write_text(right)
    for options in (["--resume"], ["--resume"], ["--student", "ann"]):
        code, text = run(handed_in, *options)
        assert code == 0 and len(marked) == 1
        assert f"ann: {WEB_PAGE} The points are those of attempt 1." in text
        assert "3 notebooks: 1 unchanged, 2 whose new file cannot be read (ann, bob)" in text
        assert "2 students have a problem" in text
        table = {row["student"]: row for row in rows((folder / "grades.csv").read_text())}
        assert table["ann"]["problem"] == f"{WEB_PAGE} The points are those of attempt 1."
        assert table["bob"]["problem"].startswith("Several submissions: bob.IPYNB and bob.ipynb. Keep one. The points")
        assert [table[name]["points"] for name in ("ann", "bob")] == ["5", "5"]
        assert {table[name]["attempt"] for name in table} == {"1"}
    (handed_in / "ann.ipynb").write_text(right)
    (handed_in / "bob.IPYNB").unlink()
    assert "3 notebooks: 3 unchanged" in run(handed_in, "--resume")[1] and len(marked) == 1
    assert [row["problem"] for row in rows((folder / "grades.csv").read_text())] == [""] * 3


def test_a_grade_that_fell_is_named(handed_in: Path, marked: Calls) -> None:
    assert ": was" not in run(handed_in)[1]
    (handed_in / "ann.ipynb").write_text('{"cells": []}')
    code, text = run(handed_in, "--resume")
    assert code == 0 and "ann: was 5, now 0" in text and text.count(": was") == 1
    assert "3 notebooks: 1 graded now, 2 unchanged" in text


def test_files_that_never_ran_have_no_sandbox(handed_in: Path, marked: Calls) -> None:
    for path in handed_in.iterdir():
        path.write_text("")
    code, text = run(handed_in)
    assert code == 0 and "sandbox" not in text and "3 students have a problem" in text


def test_every_problem_has_its_line(handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(record("ann", problem="The file has no cells.\x1b[2J[red]"), sandbox="bare")
    stuck = record("bob", message="")
    stuck.marks[1] = replace(stuck.marks[1], message="It took too long. Run it in the notebook.", stopped=True)
    made = [broken, stuck, record("Zoë, M.")]
    store = Store(handed_in.parent / "grades", ASSIGNMENT)
    monkeypatch.setattr(grading, "grade", lambda *_, **__: [store.keep(each) or each for each in made])
    code, text = run(handed_in)
    assert code == 0
    assert r"ann: The file has no cells.\x1b[2J[red]" in text
    assert "bob: rotate: It took too long." in text and "2 students have a problem; 0 have cells" in text
    assert "sandbox: bubblewrap (2), none (1)" in text and "1 notebook was graded without a sandbox, with all" in text
    assert "NO SANDBOX" not in text, "there is one now"


def test_without_a_sandbox_it_warns_or_refuses(handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "best_kind", lambda: "bare")
    monkeypatch.setattr(command, "why_none", lambda: "bubblewrap does not work here (bwrap: Permission denied)")
    code, text = run(handed_in, "--require-sandbox")
    assert "bwrap: Permission denied), so" in text and '"The sandbox does not start"' in text
    assert code == 2 and "nothing protects you from a hostile student" in text and not marked
    assert not (handed_in.parent / "grades").exists()
    code, text = run(handed_in)
    assert code == 0 and text.startswith("NO SANDBOX")


def test_a_cluster_chooses_its_own_sandbox_unless_one_is_required(
    handed_in: Path, marked: list[dict[str, Any]]
) -> None:
    run(handed_in, "--cluster", "tcp://there:1")
    (handed_in / "bob.ipynb").write_text('{"cells": []}')
    run(handed_in, "--cluster", "tcp://there:1", "--require-sandbox", "--resume")
    assert [call["kind"] for call in marked] == [None, "private"]


def test_a_gradebook_that_cannot_be_written_costs_nothing_else(handed_in: Path, marked: Calls) -> None:
    (handed_in.parent / "grades").mkdir()
    (handed_in.parent / "grades/gradebook.db").write_text("no database at all, but some text")
    code, text = run(handed_in)
    assert code == 1
    assert (
        "gradebook.db could not be brought up to date: file is not a database. The grader's points are safe in" in text
    )
    assert len(rows((handed_in.parent / "grades" / ASSIGNMENT / "grades.csv").read_text())) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"assignment": "hw9"}, "no assignment 'hw9'; there are: hw1_mla"),
        ({"folder": "absent"}, "absent is not a folder of submissions"),
        ({"platform": "darwin"}, "grading needs Linux"),
    ],
)
def test_what_cannot_be_done_is_told(
    arguments: dict[str, str],
    reason: str,
    handed_in: Path,
    marked: Calls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", arguments.get("platform", "linux"))
    code, text = run(
        handed_in.parent / arguments.get("folder", "submitted"), assignment=arguments.get("assignment", ASSIGNMENT)
    )
    assert code == 2 and reason in text and not marked


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "grades/hw1_mla: No space left on device. What is graded is kept"),
        (PermissionError(13, "Permission denied", "x/secret"), "x/secret: Permission denied. What is graded is kept"),
        (ConnectionError("nobody answers"), "Error: nobody answers. What is graded is kept"),
    ],
)
def test_what_the_system_refuses_says_where_and_how_to_go_on(
    error: OSError, said: str, handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(grading, "grade", fail)
    code, text = run(handed_in)
    assert code == 2 and said in text


def test_ctrl_c_says_how_to_go_on(handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(grading, "grade", stop)
    code, text = run(handed_in)
    assert code == 130 and "with --resume continues" in text


def test_course_py_hands_over_to_the_grader() -> None:
    path = Path(__file__).parents[1] / "course.py"
    spec = importlib.util.spec_from_file_location("course", path)
    assert spec is not None and spec.loader is not None
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    assert course.argv_for("grade", ["in", "--resume"]) == ["-m", "course_grader", "grade", "in", "--resume"]
    assert course.NEEDS["grade"] == ["grade"]
