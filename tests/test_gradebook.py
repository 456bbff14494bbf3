"""nbgrader's own code reads what we wrote: its export, its feedback, and the API behind its formgrader."""

import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config.loader import Config, PyFileConfigLoader

from course_grader import by_hand, formgrader, gradebook, release
from course_grader.records import Record
from tests.entered import book, enter, export
from tests.records import ASSIGNMENT, CELLS, EVIL, NAMES, RELEASE, record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader asks another program for the version of its tables, which takes seconds."""
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")


def write(folder: Path, *records: Record) -> None:
    for each in records:
        formgrader.write_notebook(folder, each, RELEASE)
    formgrader.write_config(folder)
    gradebook.write_gradebook(folder, RELEASE, records)


def api(folder: Path) -> NbGraderAPI:
    """With the configuration that stands in the folder."""
    config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config())
    config.Exchange.root = str(folder / "exchange")
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def test_nbgrader_exports_every_student_with_the_right_points(tmp_path: Path) -> None:
    records = [record(name, earned=n) for n, name in enumerate(NAMES)]
    write(tmp_path, *records)
    rows = export(tmp_path)
    assert sorted(row["student_id"] for row in rows) == sorted(map(gradebook.identity, records))
    expected = {gradebook.identity(each): (each.points, each.of) for each in records}
    assert {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in rows} == expected
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_the_command_line_of_nbgrader_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # without the environment's own programs, as under course.py
    write(tmp_path, record("ann", earned=3))
    version = sqlite3.connect(tmp_path / "gradebook.db").execute("select version_num from alembic_version").fetchone()
    assert len(version[0]) == 12
    from nbgrader.apps import ExportApp

    monkeypatch.chdir(tmp_path)
    ExportApp.clear_instance()
    ExportApp.launch_instance(["--to", "export.csv"])
    assert (tmp_path / "export.csv").read_text().splitlines()[1] == "hw1_mla,,,ann,ann,,,8.0,0.0,8.0,20.0"


def test_points_stand_at_the_cells_of_the_release(tmp_path: Path) -> None:
    write(tmp_path, record("ann", earned=3))
    with book(tmp_path) as opened:
        grades = opened.find_submission(ASSIGNMENT, "ann").notebooks[0].grades
        found = {grade.name: (grade.score, grade.max_score, grade.needs_manual_grade) for grade in grades}
    assert found == {f"check_{mark.exercise}": (mark.points, mark.of, False) for mark in record("ann", earned=3).marks}
    asked = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in RELEASE.cells}
    assert set(found) <= asked


def test_marking_again_changes_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, record("ann", earned=2), record("bob", earned=1))
    write(tmp_path, record("ann", earned=6))
    assert {row["student_id"]: row["score"] for row in export(tmp_path)} == {"ann": "20.0", "bob": "2.0"}
    counts = "select count(*) from student", "select count(*) from grade", "select count(*) from comment"
    database = sqlite3.connect(tmp_path / "gradebook.db")
    assert [database.execute(count).fetchone()[0] for count in counts] == [2, 12, 12]


def look(folder: Path, exercise: str, student: str = "ann") -> tuple[float, float, bool]:
    """The judge's points, those that count, and whether formgrader asks for a look."""
    with book(folder) as opened:
        grade: Any = opened.find_grade(f"check_{exercise}", ASSIGNMENT, ASSIGNMENT, student)
        return grade.auto_score, grade.score, grade.needs_manual_grade


def test_what_a_person_graded_stays_and_is_looked_at_again_where_the_mark_changed(tmp_path: Path) -> None:
    write(tmp_path, record("ann", earned=2))
    enter(tmp_path, "ann", "rotate", score=1.5)
    enter(tmp_path, "ann", "compress", score=0.5)
    write(tmp_path, record("ann", earned=2))
    assert look(tmp_path, "rotate") == (3, 1.5, False), "the same mark: no need to look again"
    write(tmp_path, record("ann", earned=3))
    assert look(tmp_path, "compress") == (3, 0.5, True) and look(tmp_path, "rotate") == (3, 1.5, False)


OTHER = [*CELLS[:-1], "def rotate(x, positions, theta):\n    return -x"]


def test_other_code_with_the_same_points_asks_for_a_second_look(tmp_path: Path) -> None:
    ann = record("ann", earned=1)
    write(tmp_path, ann, record("bob"))
    enter(tmp_path, "ann", "rotate", score=2.5, comment="nearly")
    enter(tmp_path, "ann", "kv_cache_elements", credit=1)
    enter(tmp_path, "bob", "rotate", score=1)
    again = replace(ann, attempt=2, digest="1" * 64, cells=OTHER)
    write(tmp_path, again, record("bob"))
    assert look(tmp_path, "rotate") == (0, 2.5, True), "it stays, and is looked at again"
    assert look(tmp_path, "kv_cache_elements") == (2, 3, True), "so is extra credit"
    assert look(tmp_path, "compress") == (0, 0, False), "nobody graded that"
    assert look(tmp_path, "rotate", "bob") == (0, 1, False)
    (found,) = by_hand.read(tmp_path / "gradebook.db", [again]).values()
    assert found["rotate"] == by_hand.Entered(2.5, comment="nearly", look_again=True)
    write(tmp_path, again, record("bob"))
    assert look(tmp_path, "rotate")[2], "nobody has looked yet"
    enter(tmp_path, "ann", "rotate", score=2.5)
    write(tmp_path, again, record("bob"))
    assert look(tmp_path, "rotate") == (0, 2.5, False), "somebody has"
    write(tmp_path, replace(again, cells=[], problem="The file is empty."), record("bob"))
    assert look(tmp_path, "rotate")[2]


def test_the_same_code_asks_for_nothing(tmp_path: Path) -> None:
    """A regrade, a new version of the file with other outputs, and a first grade for a later attempt."""
    ann = record("ann", earned=1)
    write(tmp_path, ann, replace(record("bob"), attempt=3))
    enter(tmp_path, "ann", "rotate", score=2.5)
    enter(tmp_path, "bob", "rotate", score=2.5)
    write(tmp_path, replace(ann, attempt=2, digest="1" * 64, seconds=9.0), replace(record("bob"), attempt=3, digest=""))
    assert not look(tmp_path, "rotate")[2] and not look(tmp_path, "rotate", "bob")[2]


def test_a_comment_on_other_code_asks_for_a_second_look(tmp_path: Path) -> None:
    """It stands on the student's page, where it may no longer be true."""
    ann, bob = record("ann"), record("bob")
    write(tmp_path, ann, bob)
    enter(tmp_path, "ann", "rotate", comment="The second line is wrong.")
    enter(tmp_path, "bob", "rotate", comment=" ")
    write(tmp_path, *(replace(each, attempt=2, cells=["other"]) for each in (ann, bob)))
    found = by_hand.read(tmp_path / "gradebook.db", [ann, bob])
    assert found == {"ann": {"rotate": by_hand.Entered(comment="The second line is wrong.", look_again=True)}}
    assert not look(tmp_path, "compress")[2] and not look(tmp_path, "rotate", "bob")[2]


def test_a_lock_does_not_make_the_second_look_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = gradebook._address
    monkeypatch.setattr(gradebook, "_address", lambda path: address(path).update_query_dict({"timeout": "0.1"}))
    write(tmp_path, record("ann"))
    enter(tmp_path, "ann", "rotate", score=2.5)
    lock = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None)
    lock.execute("begin exclusive")
    with pytest.raises(gradebook.GradebookError):
        write(tmp_path, replace(record("ann"), cells=OTHER))
    lock.execute("rollback")
    write(tmp_path, replace(record("ann"), cells=OTHER))
    assert look(tmp_path, "rotate")[2]


def test_a_gradebook_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    """It does not say which code a score was entered for: a first attempt is the only one there was."""
    first, second = record("ann"), replace(record("bob"), attempt=2)
    write(tmp_path, first, second)
    enter(tmp_path, "ann", "rotate", score=2.5)
    enter(tmp_path, "bob", "rotate", score=2.5)
    with sqlite3.connect(tmp_path / "gradebook.db") as database:
        database.execute(f"drop table {gradebook.GRADED_CODE.name}")
    write(tmp_path, first, second)
    assert look(tmp_path, "rotate") == (0, 2.5, False) and look(tmp_path, "rotate", "bob") == (0, 2.5, True)
    assert len(by_hand.read(tmp_path / "gradebook.db", [first, second])) == 2


def test_formgrader_finds_submissions_and_their_notebooks(tmp_path: Path) -> None:
    records = [record(name, earned=n) for n, name in enumerate(NAMES)]
    write(tmp_path, *records)
    view = api(tmp_path)
    (assignment,) = (each for each in view.get_assignments() if each["name"] == ASSIGNMENT)
    assert (assignment["num_submissions"], assignment["max_score"]) == (len(NAMES), 20)
    submissions = view.get_notebook_submissions(ASSIGNMENT, ASSIGNMENT)
    assert {each["student"]: each["score"] for each in submissions} == {
        gradebook.identity(each): each.points for each in records
    }
    assert all(each["autograded"] for each in view.get_submissions(ASSIGNMENT))


def test_nbgrader_makes_its_feedback_and_nothing_in_it_acts(tmp_path: Path) -> None:
    write(tmp_path, record("ann", earned=3, message=EVIL))
    result = api(tmp_path).generate_feedback(ASSIGNMENT)
    assert result["success"], result
    text = (tmp_path / f"feedback/ann/{ASSIGNMENT}/{ASSIGNMENT}.html").read_text(encoding="utf-8")
    assert "Score: 8.0 / 20.0" in text and "Case 1 of 4" in text
    assert "<img src=x" not in text and "<script>alert" not in text and "&lt;img src=x" in text


def test_nbgraders_own_autograder_finds_nothing_to_run(tmp_path: Path) -> None:
    write(tmp_path, record("ann"))
    before = (tmp_path / f"autograded/ann/{ASSIGNMENT}/{ASSIGNMENT}.ipynb").read_text(encoding="utf-8")
    assert not api(tmp_path).autograde(ASSIGNMENT, "ann")["success"]
    assert (tmp_path / f"autograded/ann/{ASSIGNMENT}/{ASSIGNMENT}.ipynb").read_text(encoding="utf-8") == before


def test_of_a_student_a_notebook_has_code_and_nothing_else() -> None:
    made = formgrader.notebook(record("ann", message=EVIL), RELEASE)
    nbformat.validate(made)
    released = {cell.id: cell for cell in RELEASE.cells}
    for cell in made.cells:
        old = released.get(cell.id)
        if cell.cell_type == "markdown":
            assert cell.source == (old.source if old else "## Other cells of the submission")
        assert cell.metadata == (old.metadata if old else {})
        for output in cell.get("outputs", []):
            assert output.output_type == "stream" and "\x1b" not in output.text
    further = [cell.source for cell in made.cells if cell.id not in released and cell.cell_type == "code"]
    assert further[0] == CELLS[1], "an earlier definition is shown too"
    assert further[1:] == ["helper = '</pre><script>alert(1)</script>'", "%%html\n<img src=x onerror=alert(2)>"]
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in made.cells}
    assert by_id["rotate"] == "def rotate(x, positions, theta):\n    return x"
    assert by_id["compress"] == "# None of the submitted cells defines it."
    assert all(len(line) <= 100 for cell in made.cells for o in cell.get("outputs", []) for line in o.text.splitlines())
    assert by_id["check_rotate"] == "check(rotate)"


def test_a_notebook_that_was_not_marked_says_so() -> None:
    made = formgrader.notebook(replace(record("ann", problem=f"No notebook: {EVIL}"), cells=[]), RELEASE)
    assert made.cells[-1].cell_type == "code" and made.cells[-1].source.startswith("# Not marked. No notebook: ")
    assert "\n" not in made.cells[-1].source


@pytest.mark.parametrize("name", NAMES)
def test_any_name_has_an_id_of_its_own_that_nothing_takes_for_more(name: str) -> None:
    made = gradebook.identity(record(name))
    assert re.fullmatch(r"\w[\w.@-]*", made) and len(made.encode()) < 250


def test_nobody_can_take_the_id_of_another() -> None:
    victim = gradebook.identity(record("Zoë, M."))
    assert victim != "Zoë, M."
    assert gradebook.identity(record(victim)) != victim
    assert gradebook.identity(record("ann")) == "ann" and gradebook.identity(record("a.b@c.edu")) == "a.b@c.edu"


def test_a_locked_gradebook_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = gradebook._address
    monkeypatch.setattr(gradebook, "_address", lambda path: address(path).update_query_dict({"timeout": "0.1"}))
    write(tmp_path, record("ann", earned=1))
    lock = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None)
    lock.execute("begin exclusive")
    with pytest.raises(gradebook.GradebookError, match=r"gradebook.db could not be .*: database is locked"):
        write(tmp_path, record("ann", earned=6))
    lock.execute("rollback")
    assert export(tmp_path)[0]["score"] == "2.0"


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_broken_gradebook_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gradebook.db").write_bytes(content)
    with pytest.raises(gradebook.GradebookError, match=r"gradebook.db could not be brought up to date: \w+"):
        write(tmp_path, record("ann"))
    assert (tmp_path / "gradebook.db").read_bytes() == content


def test_a_record_of_another_release_is_reported(tmp_path: Path) -> None:
    old = record("ann")
    old.marks[0] = replace(old.marks[0], exercise="turn")
    with pytest.raises(gradebook.GradebookError, match="up to date: the release has no exercise turn"):
        gradebook.write_gradebook(tmp_path, RELEASE, [old])


def test_a_gradebook_whose_making_fails_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("no program")

    monkeypatch.setattr("nbgrader.api.get_alembic_version", fail)
    with pytest.raises(gradebook.GradebookError, match="no program"):
        write(tmp_path, record("ann"))
    assert not (tmp_path / "gradebook.db").exists()


def test_an_instructors_configuration_stays(tmp_path: Path) -> None:
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()")
    write(tmp_path, record("ann"))
    assert (tmp_path / "nbgrader_config.py").read_text() == "c = get_config()"


def test_formgraders_generate_leaves_the_courses_release_alone(tmp_path: Path) -> None:
    path = release.ASSIGNMENTS / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    before = path.read_bytes(), path.stat().st_mtime_ns
    write(tmp_path, record("ann", earned=2))
    enter(tmp_path, "ann", "rotate", score=2.5, comment="nearly")
    result = api(tmp_path).generate_assignment(ASSIGNMENT)
    assert result["success"], result
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert (tmp_path / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").exists()
    write(tmp_path, record("ann", earned=2))
    assert look(tmp_path, "rotate") == (3, 2.5, False) and export(tmp_path)[0]["score"] == "4.5"


def test_a_configuration_of_an_earlier_version_no_longer_names_the_courses_release(tmp_path: Path) -> None:
    write(tmp_path, record("ann"))
    path = tmp_path / "nbgrader_config.py"
    now = path.read_text()
    old = f"c.CourseDirectory.release_directory = {str(release.ASSIGNMENTS / 'release')!r}"
    path.write_text(now.replace(formgrader.RELEASE, old) + "c.mine = 1\n")
    assert str(release.ASSIGNMENTS / "release") in path.read_text()
    write(tmp_path, record("ann"))
    assert path.read_text() == now + "c.mine = 1\n"
