"""What comes out of grading, from records made by hand: the CSV and Gradescope's file."""

import csv
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from course_grader import inert, outputs
from course_lib.exercises import BANK
from tests.records import ASSIGNMENT, EVIL, NAMES, record, rows

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


COLUMNS = ["attempt", "entered", "comments", "problem"]

# The CSV -----------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_a_student() -> None:
    lazy = replace(record("bob", problem="The file is no notebook: it has no cells."), attempt=3)
    marks = [
        replace(mark, message="It took too long. Run it.", stopped=True) if not n else mark
        for n, mark in enumerate(lazy.marks)
    ]
    stuck = replace(lazy, student="cy", marks=marks, problem="")
    found = rows(outputs.table([stuck, lazy, record("ann", earned=2)]))
    assert list(found[0]) == ["student", "assignment", "points", "of", *BANK[ASSIGNMENT], *COLUMNS]
    assert [row["student"] for row in found] == ["ann", "bob", "cy"]
    assert {name: float(found[0][name]) for name in ("points", "of", "kv_cache_elements", "rotate", "compress")} == {
        "points": 5, "of": 20, "kv_cache_elements": 2, "rotate": 3, "compress": 0,
    }  # fmt: skip
    assert [row["attempt"] for row in found] == ["1", "3", "3"]
    assert [row["problem"] for row in found] == [
        "", "The file is no notebook: it has no cells.", "kv_cache_elements: It took too long. Run it."
    ]  # fmt: skip


def test_points_are_written_one_way() -> None:
    ann, earned = record("ann"), [2.0, 3, 1.8]
    marks = [replace(mark, points=points) for mark, points in zip(ann.marks, earned, strict=False)]
    (found,) = rows(outputs.table([replace(ann, marks=marks)]))
    assert [found[mark.exercise] for mark in marks] == ["2", "3", "1.8"]
    assert (found["points"], found["of"]) == ("6.8", "8")


def acts(cell: str, starts: str) -> bool:
    """As a formula of a student's; ours only repeat a name."""
    return cell.lstrip().startswith(tuple(starts)) and not re.match(r'="[-+%\d]+"', cell)


@pytest.mark.parametrize(
    "name",
    [
        "0012345", "1e5", "1E+10", "2024-01-02", "1/2", "TRUE", "false", "WAHR", "12345678901234567", "12:30", "5%",
        "1,234", "1.2.3", "-5", "+49 30", "(5)", "$5", "5 €", "MAR1", "sept2", "3-Mar", "2 January 2024",
        "Dec 12, 2024", "12 pm", "5 a", "#N/A", "１２", " 7", "1 1/2", "٣", "0",
    ],
)  # fmt: skip
def test_a_name_that_a_spreadsheet_would_change_is_a_text_there(name: str) -> None:
    (row,) = rows(outputs.table([record(name)]))
    assert row["student"] == f'="{name}"'


@pytest.mark.parametrize(
    "name",
    ["ann", "ann2", "a1", "e5", "s0012345", "12345abc", "0x10", "martin3", "may", "Augusta 1", "Zoë", "李小龙", "NULL",
     "true love", "1st", "3 pigs", "u2024-01-02", "Ünal 7"],
)  # fmt: skip
def test_any_other_name_is_written_as_it_is(name: str) -> None:
    (row,) = rows(outputs.table([record(name)]))
    assert row["student"] == name


@pytest.mark.parametrize("name", ['="0012345"', '="0"&A1', '0" & A1', "=0012345", "=1e5", "@5", "＝5", "٣=1"])
def test_a_name_that_looks_like_our_formula_is_no_formula(name: str) -> None:
    (row,) = rows(outputs.table([record(name)]))
    assert not row["student"].startswith("=") and row["student"].replace("'", "") == name


@pytest.mark.parametrize("name", ["1" + " " * 240 + "x", "1 " * 120 + "x", "1%" * 120 + "e", "1e" * 120, "1-Mar" * 48])
def test_no_name_takes_long(name: str) -> None:
    began = time.perf_counter()
    outputs.table([record(name)])
    assert time.perf_counter() - began < 1


def test_the_file_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    outputs.write_outputs(tmp_path, [record("Zoë"), record("李小龙")])
    assert (tmp_path / "grades.csv").read_bytes().startswith(b'\xef\xbb\xbf"student"')
    assert {path.name[:-22] for path in (tmp_path / "gradescope").iterdir()} == {"Zoë", "李小龙"}


def test_cells_that_stopped_are_problems_and_only_the_first_are_described() -> None:
    stopped = [f"cell {number} stopped: NameError: {'x' * (1000 if number == 2 else 1)}" for number in range(1, 9)]
    ann = replace(record("ann"), stopped=stopped)
    first, second, third, more = outputs.problems(ann)
    assert (first, third, more) == (stopped[0], stopped[2], "5 more cells stopped")
    assert second.startswith(stopped[1][:100]) and len(second) < 310
    (row,) = rows(outputs.table([ann]))
    assert row["problem"] == "; ".join([first, second, third, more])
    assert json.loads(outputs.gradescope(ann))["output"].splitlines() == stopped
    assert outputs.problems(replace(ann, stopped=stopped[:3])) == [first, second, third]


def test_no_name_breaks_the_table_or_runs_in_a_spreadsheet() -> None:
    text = outputs.table([record(name, problem=name) for name in NAMES])
    found = rows(text)
    assert len(text.splitlines()) == len(found) + 1 == len(NAMES) + 1
    assert len({row["student"] for row in found}) == len(NAMES), "no two names look the same"
    assert {row["student"] for row in found} >= {"ann", "a.b@c.edu", 'Müller, "Zoë"', "NULL", "two\\nlines"}
    assert all(None not in row for row in found)
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    assert not any(acts(cell, "=+-@＝＋－＠\t\r") for cell in cells)
    assert {cell for cell in cells if cell.startswith("=")} == {'="+1"', '="-1"', '="0"', '="%00"'}, (
        "text, to a spreadsheet"
    )
    # the same file, opened where cells are separated otherwise
    for other in ";\t|":
        for line in csv.reader(io.StringIO(text), delimiter=other):
            assert not any(acts(cell, "=+-@＝") for cell in line), line
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\ud800-\udfff]", text)


# Gradescope --------------------------------------------------------------------------------------------------------


def test_gradescope_is_told_the_points_of_every_exercise() -> None:
    result = json.loads(outputs.gradescope(record("ann", earned=2, message=EVIL)))
    assert (result["score"], result["execution_time"]) == (5, 0.25) and "max_score" not in result
    assert result["score"] == sum(test["score"] for test in result["tests"])
    assert [test["name"] for test in result["tests"]] == list(BANK[ASSIGNMENT])
    assert [test["status"] for test in result["tests"]] == ["passed"] * 2 + ["failed"] * 4
    first = result["tests"][0]
    assert (first["score"], first["max_score"], first["number"]) == (2, 2, "1")
    assert first["output"] == "Case 1 of 4: " + inert.plain(EVIL)
    assert {result["output_format"], first["output_format"], result["test_output_format"]} == {"text"}
