"""The first graded notebook: its release comes from its source, earns nothing, and comes to life with the solutions."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from nbformat import NotebookNode
from nbgrader.utils import determine_grade
from typer.testing import CliRunner

from course_grader import release
from course_grader.__main__ import app
from course_lib.config import published_names
from course_lib.exercises import BANK, Exercise
from course_lib.widgets.cache import CacheExplorer
from tests.notebook_rules import cell_problems, shown_without_text

ROOT = Path(__file__).resolve().parents[1]
SOURCE = release.sources()["hw1_mla"]
EXERCISES = BANK["hw1_mla"]
WAITING = "This cell comes to life when"
MAX_LINES = 20

Page = Callable[..., list[str]]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def graded(notebook: NotebookNode, role: str) -> dict[str, NotebookNode]:
    """Cells by grade_id; `role` is "grade" or "solution"."""
    cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get(role)]
    found = {cell.metadata.nbgrader.grade_id: cell for cell in cells}
    assert len(found) == len(cells), "a grade_id stands twice"
    return found


def printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")


@pytest.fixture(scope="module")
def source() -> NotebookNode:
    return read(SOURCE)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The release as a student finds it, run to its end; a cell that raises stops it and fails."""
    return release.executed(read(release.target(SOURCE)), tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    return release.executed(read(SOURCE), tmp_path_factory.mktemp("solved"))


# The source ----------------------------------------------------------------------------------------------------------


def test_every_exercise_has_one_solution_and_then_its_check(source: NotebookNode) -> None:
    solutions, checks = graded(source, "solution"), graded(source, "grade")
    assert list(solutions) == list(EXERCISES)
    assert list(checks) == [f"check_{name}" for name in EXERCISES]
    for name, exercise in EXERCISES.items():
        cell, locked = solutions[name], checks[f"check_{name}"]
        assert re.search(rf"^def {name}\(", cell.source, re.MULTILINE)
        assert [cell.source.count(f"### {end} SOLUTION") for end in ("BEGIN", "END")] == [1, 1]
        assert locked.source == f"check({name})"
        assert locked.metadata.nbgrader.locked and locked.metadata.nbgrader.points == exercise.points
        assert source.cells.index(locked) == source.cells.index(cell) + 1


def test_the_page_keeps_the_rules(source: NotebookNode) -> None:
    problems = [
        problem for cell in source.cells for problem in cell_problems(cell) if "lines, more than" not in problem
    ]
    assert problems == []
    assert list(shown_without_text(source)) == []
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    assert max(len(cell.source.splitlines()) for cell in code) <= MAX_LINES
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "stored as it ran"
    assert code[0].source == (ROOT / "notebooks/source/bootstrap.txt").read_text(encoding="utf-8").rstrip()


def test_links_lead_somewhere(source: NotebookNode) -> None:
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", text)
    assert links
    for folder in (SOURCE.parent, release.target(SOURCE).parent):
        assert [link for link in links if not (folder / link).exists()] == []


def test_the_page_says_in_which_order_the_axes_of_attention_come(source: NotebookNode) -> None:
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    assert "Return `b s h v`, not `b h s v`" in text
    assert {EXERCISES[name].axes for name in ("expanded_attention", "absorbed_attention")} == {"b s h v"}


def test_the_solutions_earn_everything(solved: NotebookNode) -> None:
    for name, exercise in EXERCISES.items():
        said = printed(graded(solved, "grade")[f"check_{name}"])
        assert said.startswith(f"{name}: ✓ {exercise.points:g} of {exercise.points:g} points. Right"), said
        assert determine_grade(graded(solved, "grade")[f"check_{name}"]) == (exercise.points,) * 2


def test_with_the_solutions_everything_comes_to_life(solved: NotebookNode) -> None:
    said = "".join(printed(cell) for cell in solved.cells if cell.cell_type == "code")
    assert WAITING not in said and "Do not trust" not in said and "It stopped" not in said
    assert "one pass and pieces agree to 1e-9: True" in said
    numbers = re.search(r"cached: ([\d,]+) numbers; you count ([\d,]+)", said)
    assert numbers is not None and numbers[1] == numbers[2]
    forms = re.findall(r"reads +(\d+) bytes, (\w+)", said)
    assert forms[0] == ("60", "expanded") and forms[1:] == [("1", "absorbed")] * 2
    written = re.findall(r"(?:from the cache|all read again): +(.+)", said)
    assert len(written) == 2 and written[0] == written[1]


# The release ---------------------------------------------------------------------------------------------------------


def test_the_release_is_what_the_source_gives() -> None:
    assert not release.stale(SOURCE), "run: python3 course.py release"
    assert release.released(SOURCE) == release.released(SOURCE)


def secrets(source: NotebookNode) -> Iterator[str]:
    """Lines of the solutions, but not those that any program has."""
    for cell in graded(source, "solution").values():
        body = cell.source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
        yield from (line.strip() for line in body.splitlines() if len(line.strip()) > len("else:"))


def test_no_solution_is_in_the_release(source: NotebookNode) -> None:
    notebook = read(release.target(SOURCE))
    text = "\n".join(cell.source for cell in notebook.cells)
    lines = list(secrets(source))
    assert len(lines) > 30
    assert [line for line in lines if line in text] == []
    assert "SOLUTION" not in text
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_every_unwritten_function_says_so_and_raises_nothing_else() -> None:
    for name, cell in graded(read(release.target(SOURCE)), "solution").items():
        names: dict[str, Any] = {"torch": torch}
        exec(cell.source, names)
        for case in EXERCISES[name].cases(0):
            with pytest.raises(NotImplementedError):
                names[name](*case.values())


def test_the_release_runs_to_its_end_and_earns_nothing(student: NotebookNode) -> None:
    checks = graded(student, "grade")
    for name, exercise in EXERCISES.items():
        said = printed(checks[f"check_{name}"])
        assert said == f"{name}: ✗ 0 of {exercise.points:g} points. Not written yet.\n"
        assert determine_grade(checks[f"check_{name}"]) == (0, exercise.points)
    said = "".join(printed(cell) for cell in student.cells if cell.cell_type == "code")
    assert said.count(WAITING) == 5
    assert said.count("comes to life when attention_flops is written. Then run it again.") == 1
    assert not any(output.get("name") == "stderr" for cell in student.cells for output in cell.get("outputs", []))


def test_nbgrader_will_find_locked_checks_and_open_solutions() -> None:
    notebook = read(release.target(SOURCE))
    for cell in graded(notebook, "grade").values():
        assert cell.metadata.editable is False and cell.metadata.deletable is False
        assert cell.metadata.nbgrader.checksum
    for cell in graded(notebook, "solution").values():
        assert cell.metadata.get("editable", True) and cell.metadata.deletable is False


# The page with wrong functions ---------------------------------------------------------------------------------------


def with_answers(source: NotebookNode, answers: dict[str, str]) -> list[NotebookNode]:
    """Code cells of the page, in which some solutions are these lines instead."""
    notebook = copy.deepcopy(source)
    for name, cell in graded(notebook, "solution").items():
        if name in answers:
            cell.source = re.sub(r"### BEGIN.*END SOLUTION", answers[name], cell.source, flags=re.DOTALL)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def page(source: NotebookNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Page:
    """Runs the page's cells in this process, quicker than a kernel, and gives what they say, less the checks."""
    monkeypatch.setattr(plt, "show", lambda: plt.close())

    def run(**answers: str) -> list[str]:
        names: dict[str, Any] = {}
        for cell in with_answers(source, answers):
            exec(cell.source, names)
        lines = capsys.readouterr().out.splitlines()
        assert len([line for line in lines if " points. " in line]) == len(EXERCISES)
        return [line for line in lines if " points. " not in line]

    return run


def test_wrong_functions_do_not_stop_the_page(page: Page) -> None:
    said = page(**dict.fromkeys(EXERCISES, "return None"))
    *others, last = EXERCISES
    assert [f"{', '.join(others)} and {last} are not right" in line for line in said].count(True) == 2
    assert [line for line in said if "trust" not in line] == [
        "It stopped here.",
        "It stopped here.",
        "It stopped here: your kv_cache_elements gave None for deepseek-v3; wanted a positive integer",
        "It stopped here: your kv_cache_elements gave None for deepseek-v3; wanted a positive integer",
    ]


def test_a_plot_of_wrong_counts_is_remarked(page: Page) -> None:
    remark, *rest = page(attention_flops="return query_tokens * key_tokens")
    assert remark == ("Do not trust this cell yet: attention_flops is not right, see `check` above. Then run it again.")
    assert not any("stopped" in line for line in rest)


def test_the_explorer_says_which_count_it_cannot_draw(page: Page) -> None:
    assert page(kv_cache_elements="return 0")[-4:] == 2 * [
        "Do not trust this cell yet: kv_cache_elements is not right, see `check` above. Then run it again.",
        "It stopped here: your kv_cache_elements gave 0 for deepseek-v3; wanted a positive integer",
    ]


def test_a_wrong_function_is_named_and_no_shapes_are(page: Page) -> None:
    said = page(rotate="return x[..., ::2]")
    assert [line for line in said if "rotate and compress are not right" in line] and "It stopped here." in said
    assert not any("size" in line or "shape" in line for line in said)


def test_nbgrader_itself_gives_the_points_earned(source: NotebookNode, tmp_path: Path) -> None:
    """Its autograde takes the value of a cell for the points; a cell without one would earn all of them."""

    def points(notebook: NotebookNode) -> dict[str, tuple[float | None, float]]:
        return {name[6:]: determine_grade(cell) for name, cell in graded(notebook, "grade").items()}

    answers = dict.fromkeys(EXERCISES, "return None") | {
        "rotate": "import warnings; warnings.warn('careful'); return x",
        "absorbed_attention": "return expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset)",
    }
    del answers["expanded_attention"], answers["attention_flops"]
    cells = with_answers(source, answers)
    needed = [cell for cell in cells if cell.metadata.get("nbgrader") or "import check" in cell.source]
    needed.append(nbformat.v4.new_code_cell("import sys; print('torch._dynamo' in sys.modules)"))
    half = release.executed(nbformat.v4.new_notebook(cells=needed), tmp_path)
    assert points(half) == {
        "kv_cache_elements": (0, 2), "rotate": (0, 3), "compress": (0, 3),
        "expanded_attention": (4, 4), "absorbed_attention": (3, 5), "attention_flops": (3, 3),
    }  # fmt: skip
    assert printed(half.cells[-1]) == "False\n", "counting matrix products loaded a compiler, which takes seconds"


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of its own, which the command finds."""
    path = tmp_path / "source/hw1_mla/hw1_mla.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(SOURCE.read_bytes())
    monkeypatch.setattr("course_grader.__main__.sources", lambda: release.sources(tmp_path))
    return path


def test_the_command_writes_the_same_bytes_and_checks_them(copied: Path) -> None:
    assert CliRunner().invoke(app, ["release", "--check"]).exit_code == 1
    assert not release.target(copied).exists()
    assert CliRunner().invoke(app, ["release"]).exit_code == 0
    assert release.target(copied).read_bytes() == release.target(SOURCE).read_bytes()
    assert CliRunner().invoke(app, ["release", "hw1_mla", "--check"]).exit_code == 0
    copied.write_text(copied.read_text(encoding="utf-8").replace("built by you", "made by you"), encoding="utf-8")
    stale = CliRunner().invoke(app, ["release", "--check"])
    assert stale.exit_code == 1 and "hw1_mla: stale" in stale.output


def test_an_unknown_assignment_is_named() -> None:
    result = CliRunner().invoke(app, ["release", "hw9"])
    assert result.exit_code == 2 and "hw9" in result.output


def test_points_add_up_as_the_page_says(source: NotebookNode) -> None:
    exercises: list[Exercise] = list(EXERCISES.values())
    assert f"{sum(exercise.points for exercise in exercises):g} points" in source.cells[0].source
    for exercise in exercises:
        assert f"| `{exercise.name}` | {exercise.points:g} |" in source.cells[0].source


def test_the_cache_explorer_draws_the_count_it_is_given() -> None:
    def bytes_shown(count: Callable[[dict[str, Any]], int] | None) -> list[int]:
        return [serving.cache_bytes for _, serving in CacheExplorer(tuple(published_names()), elements=count).bars.rows]

    reference = EXERCISES["kv_cache_elements"].reference
    assert bytes_shown(reference) == bytes_shown(None)
    assert bytes_shown(lambda config: 3 * reference(config)) == [3 * size for size in bytes_shown(None)]
