"""Every graded notebook: its release comes from its source, earns nothing, and comes to life with the solutions."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from nbformat import NotebookNode

from course_grader import release
from course_lib.exercises import BANK
from tests.graded import (
    DISTRUSTED,
    WAITING,
    all_printed,
    by_id,
    code_cells,
    grades,
    prose,
    read,
    said_here,
    secrets,
    solved,
    verdicts,
    with_bodies,
)
from tests.notebook_rules import cell_problems, shown_without_text

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 20


@pytest.fixture(params=release.sources())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(name: str) -> Path:
    return release.sources()[name]


@pytest.fixture
def source(path: Path) -> NotebookNode:
    return read(path)


# The source ----------------------------------------------------------------------------------------------------------


def test_every_exercise_has_one_solution_and_then_its_check(name: str, source: NotebookNode) -> None:
    solutions, checks = by_id(source, "solution"), by_id(source, "grade")
    assert list(solutions) == list(BANK[name])
    assert list(checks) == [f"check_{exercise}" for exercise in BANK[name]]
    for exercise in BANK[name].values():
        cell, locked = solutions[exercise.name], checks[f"check_{exercise.name}"]
        assert re.search(rf"^def {exercise.name}\(", cell.source, re.MULTILINE)
        assert [cell.source.count(f"### {end} SOLUTION") for end in ("BEGIN", "END")] == [1, 1]
        assert locked.source == f"check({exercise.name})"
        assert locked.metadata.nbgrader.locked and locked.metadata.nbgrader.points == exercise.points
        assert source.cells.index(locked) == source.cells.index(cell) + 1


def test_the_page_keeps_the_rules(source: NotebookNode) -> None:
    problems = [
        problem for cell in source.cells for problem in cell_problems(cell) if "lines, more than" not in problem
    ]
    assert problems == []
    assert list(shown_without_text(source)) == []
    code = code_cells(source)
    assert max(len(cell.source.splitlines()) for cell in code) <= MAX_LINES
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "stored as it ran"
    assert code[0].source == (ROOT / "notebooks/source/bootstrap.txt").read_text(encoding="utf-8").rstrip()


def test_links_lead_somewhere(path: Path, source: NotebookNode) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", prose(source))
    assert links
    for folder in (path.parent, release.target(path).parent):
        assert [link for link in links if not (folder / link).exists()] == []


def test_points_add_up_as_the_page_says(name: str, source: NotebookNode) -> None:
    exercises = BANK[name].values()
    assert f"{sum(exercise.points for exercise in exercises):g} points" in source.cells[0].source
    for exercise in exercises:
        assert f"| `{exercise.name}` | {exercise.points:g} |" in source.cells[0].source


def test_the_solutions_earn_everything_and_bring_the_page_to_life(name: str) -> None:
    for exercise, said in verdicts(solved(name)).items():
        points = f"{BANK[name][exercise].points:g}"
        assert said.startswith(f"{exercise}: ✓ {points} of {points} points. Right"), said
    assert all(earned == of for earned, of in grades(solved(name)).values())
    said = all_printed(solved(name))
    assert not any(words in said for words in (WAITING, DISTRUSTED, "stopped"))


# What the solutions bring to life ------------------------------------------------------------------------------------


def test_hw1_writes_with_its_own_attention() -> None:
    said = all_printed(solved("hw1_mla"))
    assert "one pass and pieces agree to 1e-9: True" in said
    numbers = re.search(r"cached: ([\d,]+) numbers; you count ([\d,]+)", said)
    assert numbers is not None and numbers[1] == numbers[2]
    forms = re.findall(r"reads +(\d+) bytes, (\w+)", said)
    assert forms[0] == ("60", "expanded") and forms[1:] == [("1", "absorbed")] * 2
    written = re.findall(r"(?:from the cache|all read again): +(.+)", said)
    assert len(written) == 2 and written[0] == written[1]


def test_hw2_trains_with_its_own_routing() -> None:
    said = all_printed(solved("hw2_moe"))
    assert "your layer and the course's make the same: True" in said
    assert "MaxVio of the last 20 steps is under half of that of the first 20: True" in said
    assert "you count 671B, 37.6B active, 36.6B without the embedding" in said


def test_hw3_writes_the_same_text_with_its_own_drafts() -> None:
    said = all_printed(solved("hw3_mtp"))
    assert "the same: True" in said
    written = re.findall(r"(.+): (\d+) passes, .* The same text: (\w+)", said)
    assert [(name, same) for name, _, same in written] == [("your drafts", "True"), ("spoiled drafts", "True")]
    assert int(written[0][1]) < 84 and int(written[1][1]) > 114
    assert re.findall(r"measured (\S+), your formula (\S+)", said)[0] == ("2.77", "2.77")


def test_hw4_runs_its_explorer_on_the_student_and_opens_nothing_before_the_bet() -> None:
    page = solved("hw4_scaling")
    assert "Set PLAYED to True when you have bet" in all_printed(page), "running the whole page opens nothing"
    results = [output for cell in code_cells(page) for output in cell.outputs if output.output_type == "execute_result"]
    texts = [output.data.get("text/plain", "") for output in results]
    assert any(text.startswith("ScalingExplorer: run this cell") for text in texts)
    assert any(text.startswith("BuyAndBet: run this cell") for text in texts)
    board = next(cell for cell in code_cells(page) if "board_figure(game.shown)" in cell.source)
    assert any("data:image/png" in output.get("data", {}).get("text/html", "") for output in board.outputs)
    score = next(i for i, cell in enumerate(page.cells) if cell.source.startswith("PLAYED"))
    assert score > page.cells.index(board), "the game comes before the cell that opens the run"


# The release ---------------------------------------------------------------------------------------------------------


def test_the_release_keeps_the_rules(path: Path) -> None:
    cells = read(release.target(path)).cells
    problems = [problem for cell in cells for problem in cell_problems(cell) if "lines, more than" not in problem]
    assert problems == []


def test_the_release_is_what_the_source_gives(path: Path) -> None:
    assert not release.stale(path), "run: python3 course.py release"
    assert release.released(path) == release.released(path)


def test_no_solution_is_in_the_release(path: Path, source: NotebookNode) -> None:
    notebook = read(release.target(path))
    text = "\n".join(cell.source for cell in notebook.cells)
    lines = list(secrets(source))
    assert len(lines) > 30
    assert [line for line in lines if line in text] == []
    assert "SOLUTION" not in text
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_every_unwritten_function_says_so_and_raises_nothing_else(name: str, path: Path) -> None:
    for exercise, cell in by_id(read(release.target(path)), "solution").items():
        names: dict[str, Any] = {"torch": torch}
        exec(cell.source, names)
        for case in BANK[name][exercise].cases(0):
            with pytest.raises(NotImplementedError):
                names[exercise](*case.values())


def needy(said: dict[str, str]) -> list[str]:
    """What cells say that need the student's functions."""
    return [text for source, text in said.items() if "when_written(" in source]


def test_the_release_runs_to_its_end_and_earns_nothing(name: str, path: Path) -> None:
    said = said_here(read(release.target(path)))
    for exercise in BANK[name].values():
        nothing = f"{exercise.name}: ✗ 0 of {exercise.points:g} points. Not written yet.\n"
        assert said[f"check({exercise.name})"] == nothing
    waiting = [WAITING in text for text in needy(said)]
    assert all(waiting) and len(waiting) > 3
    if name == "hw4_scaling":
        assert WAITING not in next(text for source, text in said.items() if "BuyAndBet(" in source), "the game is open"


def test_nbgrader_will_find_locked_checks_and_open_solutions(path: Path) -> None:
    notebook = read(release.target(path))
    for cell in by_id(notebook, "grade").values():
        assert cell.metadata.editable is False and cell.metadata.deletable is False
        assert cell.metadata.nbgrader.checksum
    for cell in by_id(notebook, "solution").values():
        assert cell.metadata.get("editable", True) and cell.metadata.deletable is False


def test_wrong_functions_do_not_stop_the_page_and_are_named(name: str, source: NotebookNode) -> None:
    said = said_here(with_bodies(source, **dict.fromkeys(BANK[name], "return None")))
    assert len([text for text in said.values() if "✗ 0 of" in text]) == len(BANK[name])
    assert [text for text in needy(said) if DISTRUSTED not in text] == []
