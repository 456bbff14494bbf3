"""What comes out of grading, from records made by hand: the CSV, Gradescope's file, the pages, and the command."""

import base64
import csv
import hashlib
import importlib.util
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from course_grader import command, feedback, grading, inert, outputs
from course_grader.__main__ import app
from course_grader.grading import Record, Store
from course_grader.submissions import Submission
from course_lib.exercises import BANK
from tests.records import ASSIGNMENT, CELLS, EVIL, NAMES, RELEASE, record

Calls = list[dict[str, Any]]

# Text of students --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë Müller", "Zoë Müller"),
        ("a\x1b[2J\0", r"a\x1b[2J\x00"),
        ("\u202egnp", r"\u202egnp"),
        ("a\u200bb\u2028\ufeff\xad", r"a\u200bb\u2028\ufeff\xad"),
        ("\udc80\U000e0041", r"\udc80\U000e0041"),
        ("a\nb\tc", "a\nb\\tc"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert inert.plain(text, keep="\n") == shown


def test_the_cell_that_defines_a_function_last_is_shown() -> None:
    cells = [
        "def f(x): return 1", "  async def f(x):\n    return 2\ndef g(): pass", "f == 3\nprint('def f(')", "# def f(x)",
        "fg = 1\ndef ff(x): pass",
    ]  # fmt: skip
    assert inert.answers(cells, ["f", "g", "h", "ff"]) == {
        "f": cells[1], "g": "# in the same cell as f, above", "h": "", "ff": cells[4],
    }  # fmt: skip
    assert inert.place(["h = lambda x: x", "h(1)"], "h") == 0


def test_a_cell_is_shown_as_far_as_a_page_should_hold_it() -> None:
    shown = inert.code("def f():\r\n\treturn '\x1b'\n" + "x" * 30_000)
    assert shown.startswith("def f():\n\treturn '\\x1b'\nxxx") and len(shown) < 20_100
    assert shown.endswith("\n# ... and 10,022 more characters, which are not shown")


# The CSV -----------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_has_a_row_a_student() -> None:
    lazy = replace(record("bob", problem="The file is no notebook: it has no cells."), attempt=3)
    marks = [
        replace(mark, message="It took too long. Run it.", stopped=True) if not n else mark
        for n, mark in enumerate(lazy.marks)
    ]
    stuck = replace(lazy, student="cy", marks=marks, problem="")
    found = rows(outputs.table([stuck, lazy, record("ann", earned=2)]))
    assert list(found[0]) == ["student", "assignment", "points", "of", *BANK[ASSIGNMENT], "attempt", "problem"]
    assert [row["student"] for row in found] == ["ann", "bob", "cy"]
    assert {name: float(found[0][name]) for name in ("points", "of", "kv_cache_elements", "rotate", "compress")} == {
        "points": 5, "of": 20, "kv_cache_elements": 2, "rotate": 3, "compress": 0,
    }  # fmt: skip
    assert [row["attempt"] for row in found] == ["1", "3", "3"]
    assert [row["problem"] for row in found] == [
        "", "notebook: The file is no notebook: it has no cells.", "kv_cache_elements: It took too long. Run it."
    ]  # fmt: skip


def test_no_name_breaks_the_table_or_runs_in_a_spreadsheet() -> None:
    text = outputs.table([record(name, problem=name) for name in NAMES])
    found = rows(text)
    assert len(text.splitlines()) == len(found) + 1 == len(NAMES) + 1
    assert len({row["student"] for row in found}) == len(NAMES), "no two names look the same"
    assert {row["student"] for row in found} >= {"ann", "a.b@c.edu", 'Müller, "Zoë"', "NULL", "two\\nlines"}
    for line in csv.reader(io.StringIO(text)):
        assert all(None not in line and not cell.lstrip().startswith(tuple("=+-@＝＋－＠\t\r")) for cell in line)
    # the same file, opened where cells are separated otherwise
    for other in ";\t|":
        for line in csv.reader(io.StringIO(text), delimiter=other):
            assert not any(cell.lstrip().startswith(tuple("=+-@＝")) for cell in line), line
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\ud800-\udfff]", text)


# Gradescope --------------------------------------------------------------------------------------------------------


def test_gradescope_is_told_the_points_of_every_exercise() -> None:
    result = json.loads(outputs.gradescope(record("ann", earned=2, message=EVIL)))
    assert (result["score"], result["max_score"], result["execution_time"]) == (5, 20, 0.25)
    assert result["score"] == sum(test["score"] for test in result["tests"])
    assert [test["name"] for test in result["tests"]] == list(BANK[ASSIGNMENT])
    assert [test["status"] for test in result["tests"]] == ["passed"] * 2 + ["failed"] * 4
    first = result["tests"][0]
    assert (first["score"], first["max_score"], first["number"]) == (2, 2, "1")
    assert first["output"] == "Case 1 of 4: " + inert.plain(EVIL)
    assert {result["output_format"], first["output_format"], result["test_output_format"]} == {"text"}


# Pages -------------------------------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.code: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        before = [tag for tag, _ in self.tags[-2:]]
        (self.code if before == ["pre", "code"] and data.strip() else self.text).append(data)


WORDS = "html head meta title style body h1 h2 p bdi table thead tbody tr th td a code section strong pre"
TAGS = set(WORDS.split(" "))
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "href", "id"}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_on_a_page_acts(name: str) -> None:
    evil = replace(record(name, earned=1, message=EVIL, problem=EVIL), cells=[*CELLS, f"def compress(): {EVIL}"])
    page = feedback.page(evil, RELEASE)
    seen = Seen(page)
    assert {tag for tag, _ in seen.tags} == TAGS
    attributes = {(key, value) for _, attributes in seen.tags for key, value in attributes.items()}
    assert {key for key, _ in attributes} <= ATTRIBUTES
    assert {value for key, value in attributes if key == "href"} == {f"#{each}" for each in BANK[ASSIGNMENT]}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", page)
    assert inert.plain(name) in seen.text
    page.encode("utf-8")


def test_a_page_forbids_scripts_and_allows_its_own_style_only() -> None:
    page = feedback.page(record("ann"), RELEASE)
    (policy,) = (a["content"] for tag, a in Seen(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    assert page.index("Content-Security-Policy") < page.index("<title>"), "it holds for what comes after it"
    assert "http:" not in page and "https:" not in page and "url(" not in page


def test_a_page_shows_points_messages_headings_and_the_students_own_code() -> None:
    page = Seen(feedback.page(replace(record("ann", earned=2, message=EVIL), attempt=2), RELEASE))
    words = " ".join(page.text)
    assert "hw1: latent attention, built by you" in page.text and "5 of 20 points" in page.text
    assert ", attempt 2" in words and "2. Where a token stands" in page.text and "3 of 3 points" in page.text
    assert "Case 1 of 4: " + inert.plain(EVIL) in page.text
    assert page.code == ["def rotate(x, positions, theta):\n    return x"]
    assert page.text.count("No cell defines it.") == 5
    unread = feedback.page(replace(record("ann", problem="The file is empty."), cells=[]), RELEASE)
    assert "The file is empty." in unread and "No cell defines it." not in unread


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Marking without a sandbox: everybody earns the first two exercises. What was asked for is noted."""
    calls: Calls = []

    def grade(submissions: list[Submission], store: Store, **options: Any) -> Iterator[Record]:
        calls.append({"students": [each.student for each in submissions], **options})
        for each in submissions:
            if store[each] is None or options["again"]:
                before = store[each]
                made = replace(record(each.student, earned=2), attempt=before.attempt + 1 if before else 1)
                store.keep(made)
            found = store[each]
            assert found is not None
            yield found

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
        {"students": ["Zoë, M.", "ann", "bob"], "jobs": 3, "cluster": None, "again": False, "kind": "private"}
    ]
    assert "3 notebooks: 5.00 of 20 points on average" in text and "sandbox: private (3)" in text
    assert "rotate 3.00 3 3 0" in text and "compress 0.00 3 0 3" in text and "NO SANDBOX" not in text
    out = handed_in.parent / "grades"
    slugs = [record(name).slug for name in ("ann", "bob", "Zoë, M.")]
    files = contents(out)
    assert set(files) == {
        ".lock", "gradebook.db", "nbgrader_config.py", f"{ASSIGNMENT}/grades.csv",
        *(f"{ASSIGNMENT}/{kind}" for slug in slugs for kind in
          (f"records/{slug}.json", f"gradescope/{slug}.json", f"feedback/{slug}.html")),
        *(f"autograded/{name}/{ASSIGNMENT}/{ASSIGNMENT}.ipynb" for name in ("ann", "bob", slugs[2])),
    }  # fmt: skip
    assert [row["points"] for row in rows(files[f"{ASSIGNMENT}/grades.csv"].decode())] == ["5"] * 3
    assert b"return x</code>" in files[f"{ASSIGNMENT}/feedback/{slugs[0]}.html"]


def test_records_that_are_there_are_not_mixed_with_new_ones(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    before = contents(handed_in.parent / "grades")
    code, text = run(handed_in)
    assert code == 2 and "has 3 records of hw1_mla already, and nothing was done. Add --resume" in text
    assert contents(handed_in.parent / "grades") == before and len(marked) == 1
    assert run(handed_in, "--resume")[0] == 0
    assert len(marked) == 2 and not marked[1]["again"]


def test_one_student_is_marked_anew(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    before = contents(handed_in.parent / "grades" / ASSIGNMENT)
    code, text = run(handed_in, "--student", "bob")
    assert code == 0 and marked[1]["students"] == ["bob"] and marked[1]["again"]
    after = contents(handed_in.parent / "grades" / ASSIGNMENT)
    assert {name for name in before if before[name] != after[name]} == {
        "grades.csv", f"records/{record('bob').slug}.json", f"feedback/{record('bob').slug}.html",
    }  # fmt: skip
    assert [row["attempt"] for row in rows(after["grades.csv"].decode())] == ["1", "1", "2"]
    assert "3 notebooks (2 of them marked before, and not in this run)" in text
    assert run(handed_in, "--student", "Bob")[1].endswith("there is no submission of 'Bob'; near it: bob")


def test_a_student_is_named_as_the_grades_show_it(handed_in: Path, marked: Calls) -> None:
    (handed_in / "two\nlines.ipynb").write_text("{}")
    assert run(handed_in, "--student", r"two\nlines")[0] == 0
    assert marked[0]["students"] == ["two\nlines"]


def test_who_was_marked_before_stays_where_others_come_later(handed_in: Path, marked: Calls) -> None:
    run(handed_in)
    for name in ("ann", "bob"):
        (handed_in / f"{name}.ipynb").unlink()
    (handed_in / "late.ipynb").write_text("{}")
    code, text = run(handed_in, "--resume")
    table = (handed_in.parent / "grades" / ASSIGNMENT / "grades.csv").read_text()
    assert code == 0 and [row["student"] for row in rows(table)] == ["Zoë, M.", "ann", "bob", "late"]
    assert "4 notebooks (2 of them marked before" in text


def test_every_problem_has_its_line(handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(record("ann", problem="The file has no cells.\x1b[2J[red]"), sandbox="bare")
    stuck = record("bob", message="")
    stuck.marks[1] = replace(stuck.marks[1], message="It took too long. Run it in the notebook.", stopped=True)
    made = [broken, stuck, record("Zoë, M.")]
    store = Store(handed_in.parent / "grades", ASSIGNMENT)
    monkeypatch.setattr(grading, "grade", lambda *_, **__: [store.keep(each) or each for each in made])
    code, text = run(handed_in)
    assert code == 0
    assert r"ann, notebook: The file has no cells.\x1b[2J[red]" in text
    assert "bob, rotate: It took too long." in text and "with a problem: 2" in text
    assert "sandbox: bare (1), private (2)" in text and "1 of these were marked without one, with all" in text
    assert "NO SANDBOX" not in text, "there is one now"


def test_without_a_sandbox_it_warns_or_refuses(handed_in: Path, marked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "best_kind", lambda: "bare")
    code, text = run(handed_in, "--require-sandbox")
    assert code == 2 and "does not protect against a hostile student" in text and not marked
    assert not (handed_in.parent / "grades").exists()
    code, text = run(handed_in)
    assert code == 0 and text.startswith("NO SANDBOX")


def test_a_cluster_chooses_its_own_sandbox_unless_one_is_required(
    handed_in: Path, marked: list[dict[str, Any]]
) -> None:
    run(handed_in, "--cluster", "tcp://there:1")
    run(handed_in, "--cluster", "tcp://there:1", "--require-sandbox", "--resume")
    assert [call["kind"] for call in marked] == [None, "private"]


def test_a_gradebook_that_cannot_be_written_costs_nothing_else(handed_in: Path, marked: Calls) -> None:
    (handed_in.parent / "grades").mkdir()
    (handed_in.parent / "grades/gradebook.db").write_text("no database at all, but some text")
    code, text = run(handed_in)
    assert code == 1
    assert "gradebook.db could not be brought up to date: file is not a database. The marks are safe in" in text
    assert len(rows((handed_in.parent / "grades" / ASSIGNMENT / "grades.csv").read_text())) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"assignment": "hw9"}, "no assignment 'hw9'; there are: hw1_mla"),
        ({"folder": "absent"}, "absent is no folder of submissions"),
        ({"platform": "darwin"}, "grading is for Linux"),
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
        (OSError(28, "No space left on device"), "grades/hw1_mla: No space left on device. What is marked is kept"),
        (PermissionError(13, "Permission denied", "x/secret"), "x/secret: Permission denied. What is marked is kept"),
        (ConnectionError("nobody answers"), "Invalid value: nobody answers. What is marked is kept"),
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
    assert code == 130 and "with --resume goes on" in text


def test_course_py_hands_over_to_the_grader() -> None:
    path = Path(__file__).parents[1] / "course.py"
    spec = importlib.util.spec_from_file_location("course", path)
    assert spec is not None and spec.loader is not None
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    assert course.hand_over("grade", ["in", "--resume"]) == ["-m", "course_grader", "grade", "in", "--resume"]
    assert course.NEEDS["grade"] == ["test"]
