"""A class of eight students, graded from the command line, and what one looks at afterwards."""

import csv
import json
import re
from pathlib import Path

from typer.testing import CliRunner

from course_grader.__main__ import app
from tests.hostile import HONEST

SLOWLY = "import time\ntime.sleep(0.8)"  # so that there is a middle to be stopped in


def eight_students(folder: Path) -> Path:
    """They earn 5 points each."""
    cells = [{"cell_type": "code", "source": source} for source in [SLOWLY, *HONEST.values()]]
    (folder / "in").mkdir()
    for number in range(8):
        (folder / "in" / f"student{number}.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    return folder


def arguments(folder: Path, *further: str) -> list[str]:
    return ["grade", str(folder / "in"), "--assignment", "hw1_mla", "--out", str(folder / "out"), *further]


def here(folder: Path, *further: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments(folder, *further), env={"COLUMNS": "400"})
    return result.exit_code, " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


def records(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "out/hw1_mla/records").glob("*.json")}


def alive(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def check_everybody(folder: Path) -> None:
    """Each was marked, once, and got what is due, wherever one looks."""
    found = [json.loads(text) for text in records(folder).values()]
    assert sorted(each["student"] for each in found) == sorted(f"student{number}" for number in range(8))
    assert {each["attempt"] for each in found} == {1}
    with (folder / "out/hw1_mla/grades.csv").open(encoding="utf-8-sig") as file:
        assert [row["points"] for row in csv.DictReader(file)] == ["5"] * 8
    assert len(list((folder / "out/hw1_mla/feedback").glob("*.html"))) == 8
