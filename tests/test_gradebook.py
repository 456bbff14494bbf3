"""nbgrader's own code reads what we wrote: its export, its feedback, and the API behind its formgrader."""

import csv
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from traitlets.config.loader import Config, PyFileConfigLoader

from course_grader import gradebook
from course_grader.records import Record
from tests.records import ASSIGNMENT, CELLS, EVIL, NAMES, RELEASE, record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader asks another program for the version of its tables, which takes seconds."""
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "")


def book(folder: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{folder / 'gradebook.db'}", gradebook.COURSE)


def export(folder: Path) -> list[dict[str, str]]:
    """What `nbgrader export` writes, read line by line: it quotes nothing."""
    with book(folder) as gradebook_:
        CsvExportPlugin(to=str(folder / "export.csv")).export(gradebook_)
    return list(csv.DictReader((folder / "export.csv").read_text(encoding="utf-8").splitlines()))


def write(folder: Path, *records: Record) -> None:
    for each in records:
        gradebook.write_notebook(folder, each, RELEASE)
    gradebook.write_config(folder)
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


def test_what_a_person_graded_stays_and_is_looked_at_again_where_the_mark_changed(tmp_path: Path) -> None:
    write(tmp_path, record("ann", earned=2))

    def cell(name: str, manual: float | None = None) -> tuple[Any, ...]:
        with book(tmp_path) as opened:
            grade: Any = opened.find_grade(f"check_{name}", ASSIGNMENT, ASSIGNMENT, "ann")
            if manual is not None:
                grade.manual_score = manual
                opened.db.commit()
            return grade.auto_score, grade.score, grade.needs_manual_grade

    cell("rotate", manual=1.5)
    cell("compress", manual=0.5)
    write(tmp_path, record("ann", earned=2))
    assert cell("rotate") == (3, 1.5, False), "the same mark: no need to look again"
    write(tmp_path, record("ann", earned=3))
    assert cell("compress") == (3, 0.5, True) and cell("rotate") == (3, 1.5, False)


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
    made = gradebook.notebook(record("ann", message=EVIL), RELEASE)
    nbformat.validate(made)
    release = {cell.id: cell for cell in RELEASE.cells}
    for cell in made.cells:
        old = release.get(cell.id)
        if cell.cell_type == "markdown":
            assert cell.source == (old.source if old else "## Of the submission, and not in the release")
        assert cell.metadata == (old.metadata if old else {})
        for output in cell.get("outputs", []):
            assert output.output_type == "stream" and "\x1b" not in output.text
    further = [cell.source for cell in made.cells if cell.id not in release and cell.cell_type == "code"]
    assert further[0] == CELLS[1], "an earlier definition is shown too"
    assert further[1:] == ["helper = '</pre><script>alert(1)</script>'", "%%html\n<img src=x onerror=alert(2)>"]
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in made.cells}
    assert by_id["rotate"] == "def rotate(x, positions, theta):\n    return x"
    assert by_id["compress"] == "# No cell of the submission defines it."
    assert all(len(line) <= 100 for cell in made.cells for o in cell.get("outputs", []) for line in o.text.splitlines())
    assert by_id["check_rotate"] == "check(rotate)"


def test_a_notebook_that_was_not_marked_says_so() -> None:
    made = gradebook.notebook(replace(record("ann", problem=f"No notebook: {EVIL}"), cells=[]), RELEASE)
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


def test_a_locked_gradebook_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_broken_gradebook_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gradebook.db").write_bytes(content)
    with pytest.raises(gradebook.GradebookError, match=r"gradebook.db could not be brought up to date: \w+"):
        write(tmp_path, record("ann"))
    assert (tmp_path / "gradebook.db").read_bytes() == content


def test_a_record_of_another_release_is_told(tmp_path: Path) -> None:
    old = record("ann")
    old.marks[0] = replace(old.marks[0], exercise="turn")
    with pytest.raises(gradebook.GradebookError, match="up to date: the release asks for no turn"):
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
