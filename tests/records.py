"""Records as the judge makes them, with all that a hostile student could have put into them."""

import csv
import io

import nbformat

from course_grader import release
from course_grader.records import Mark, Record
from course_lib.exercises import BANK

ASSIGNMENT = "hw1_mla"
RELEASE = nbformat.read(release.ASSIGNMENTS / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", as_version=4)
EVIL = "<img src=x onerror=alert(1)>&\"'`$$\\href{javascript:alert(1)}{x}$$[a](javascript:alert(1))\x1b[31m\u202e\0\r"
NAMES = [
    "ann", "a.b@c.edu", "=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "a;=1", "＝1",
    'Müller, "Zoë"', "two\nlines", "\u202egnp.eman", "\x1b[2J", "undecodable\udc80", "<script>alert(1)</script>",
    "../../etc/passwd", "%00", "*", "{{ 7 }}", "علی\u200cرضا", "x" * 200, "'; drop table student; --", "NULL", "0",
]  # fmt: skip
CELLS = [
    RELEASE.cells[2].source,
    "def rotate(x):\n    return 'an older one'",
    "helper = '</pre><script>alert(1)</script>'",
    "%%html\n<img src=x onerror=alert(2)>",
    "def rotate(x, positions, theta):\n    return x",
]


def record(student: str, earned: int = 0, message: str = "as it should be.", problem: str = "") -> Record:
    """All points in the first `earned` exercises, none in the others."""
    marks = [
        Mark(each.name, each.points if number < earned else 0, each.points, f"Case 1 of 4: {message}")
        for number, each in enumerate(BANK[ASSIGNMENT].values())
    ]
    return Record(student, ASSIGNMENT, 1, "0" * 64, "private", 0.25, marks, problem, CELLS)


def rows(text: str) -> list[dict[str, str]]:
    """Of a CSV file, with or without a byte-order mark."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
