"""Stored lessons keep the rules, the rules and strict nbval can fail, and notebooks come from their scripts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_grader import colab
from notebooks import build
from tests.notebook_rules import KERNEL, MAX_BYTES, WIDGET_VIEW, problems, shown_text

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "notebooks/source").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_keeps_the_rules(path: Path) -> None:
    assert problems(nbformat.read(path, as_version=4), path.stat().st_size) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_is_built_from_its_script(script: Path) -> None:
    assert not build.stale(script), f"run: python notebooks/build.py {script.stem}"


def test_every_notebook_has_a_script() -> None:
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in SCRIPTS]


def lesson() -> NotebookNode:
    """Text, three executed cells, text."""
    code = [new_code_cell(f"print({n})", execution_count=n, outputs=[said(f"{n}\n")]) for n in (1, 2, 3)]
    cells = [new_markdown_cell("# Title"), *code, new_markdown_cell("Summary")]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def said(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def shown(**data: str) -> NotebookNode:
    return new_output("display_data", {kind.replace("_", "/"): value for kind, value in data.items()})


def drawn(words: str) -> NotebookNode:
    html = f'<img alt="{words}" src="data:image/png;base64,aGk=">'
    return new_output("display_data", {"text/html": html, "text/plain": words})


WORDS = "Two bars: 7 for the dense model, 9 for the mixture."


def cell(**changes: object) -> Callable[[NotebookNode], None]:
    """Changes to the cell in the middle, which has code before and after it."""
    return lambda notebook: notebook.cells[2].update(changes)


def first(**changes: object) -> Callable[[NotebookNode], None]:
    """Changes to the first code cell, which has text before it."""
    return lambda notebook: notebook.cells[1].update(changes)


def title(text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[0].update(source=f"# Title\n\n{text}")


def mark(by_comment: NotebookNode, by_tag: NotebookNode) -> None:
    by_comment.source = f"# NBVAL_IGNORE_OUTPUT\n{by_comment.source}"
    by_tag.metadata.tags = ["nbval-skip"]


WIDGET = "from course_lib.widgets.cache import CacheExplorer\nCacheExplorer()"


BROKEN: list[tuple[str, Callable[[NotebookNode], object]]] = [
    ("execution counts [1, None, 3]", cell(execution_count=None)),
    ("execution counts [1, 7, 3]", cell(execution_count=7)),
    ("cell 3: stores stderr", cell(outputs=[said("careful\n", name="stderr")])),
    ("cell 3: stores an error, ValueError", cell(outputs=[new_output("error", ename="ValueError", traceback=[])])),
    ("cell 3: stores the view of a widget", cell(outputs=[new_output("display_data", {WIDGET_VIEW: {}})])),
    ("stores widget state", lambda notebook: notebook.metadata.update(widgets={})),
    ("kernelspec is not", lambda notebook: notebook.metadata.update(kernelspec={**KERNEL, "name": "my-env"})),
    ("cell 3: 16 lines, more than 15", cell(source="x = 1\n" * 16)),
    ("cell 3: an nbval marker that does not stand alone", cell(source="x = 1  # NBVAL_SKIP")),
    ("2 of 3 code cells carry an nbval marker", lambda notebook: mark(notebook.cells[1], notebook.cells[2])),
    ("machine, /tmp/", cell(outputs=[said("saved to /tmp/ab12/model.pt")])),
    ("machine, /home/", cell(source="open('/home/ada/text')")),
    ("machine, C:\\Users", cell(outputs=[shown(text_html="<b>C:\\Users\\Ada</b>")])),
    ("cell 3: no text beside", cell(outputs=[drawn(WORDS)])),
    ("cell 2: a picture without alternative text", first(outputs=[drawn("")])),
    ("cell 2: a picture without alternative text", first(outputs=[drawn("A line.")])),
    ("cell 2: a picture without alternative text", first(outputs=[shown(text_html='<svg role="img"></svg>')])),
    ("cell 2: a picture without alternative text: image/png", first(outputs=[shown(image_png="aGk=")])),
    ("cell 1: a picture without alternative text", title('<img src="a.png">')),
    ("cell 1: a picture without alternative text", title("![](a.png)")),
    ("cell 3: no text beside", cell(outputs=[shown(text_html=f'<svg aria-label="{WORDS}"></svg>')])),
    ("cell 1: MathJax may pair", title(r"An hour at \$2, in all \$5.576M")),
    ("cell 1: MathJax may pair", title("An hour at $2, in all $5.576M")),
    ("cell 1: MathJax may pair", title("$5/$6 an hour")),
    ("cell 1: MathJax may pair", title("&#36;5 or &#36;6")),
    ("cell 1: MathJax may pair", title(r"With $x$ hours \$2")),
    ("cell 1: MathJax may pair", title("| hours | rent |\n|---|---|\n| 1 | $2 |\n| 2 | $4 |")),
    ("cell 3: MathJax may pair", cell(outputs=[shown(text_html="<td><b>$2</b> or $4</td>")])),
    ("cell 3: MathJax may pair", cell(outputs=[shown(text_markdown="$2 or $4")])),
    ("cell 3: no text beside", cell(source=WIDGET, outputs=[shown(text_plain="CacheExplorer()")])),
]


def test_readers_find_every_lesson_and_assignment() -> None:
    start, readme = ROOT / "notebooks/source/00_start_here.py", ROOT / "README.md"
    for notebook in NOTEBOOKS:
        assert f"](notebooks/{notebook.name})" in readme.read_text(encoding="utf-8")
        assert f"]({notebook.name})" in start.read_text(encoding="utf-8") or notebook.stem == start.stem
    for release in (ROOT / "assignments/release").glob("*/*.ipynb"):
        link = release.relative_to(ROOT).as_posix()
        assert f"]({link})" in readme.read_text(encoding="utf-8")
        lessons = [path for path in NOTEBOOKS if f"](../{link})" in path.read_text(encoding="utf-8")]
        assert start.stem in [path.stem for path in lessons] and len(lessons) > 2, "lesson 00, and those it belongs to"


def test_a_lesson_that_trains_says_on_which_device() -> None:
    trains, says = set(), set()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        if any("Training(" in cell.source for cell in notebook.cells if cell.cell_type == "code"):
            trains.add(path.stem)
        if any("training on cpu" in str(text) for cell in notebook.cells for text in shown_text(cell)):
            says.add(path.stem)
    assert says == trains == {"04_load_balancing", "05_mtp", "06_mini_deepseek"}


def test_the_bootstrap_cell_is_folded_everywhere() -> None:
    for path in colab.notebooks():
        cell = nbformat.read(path, as_version=4).cells[1]
        assert cell.source == colab.bootstrap() and cell.metadata["jupyter"] == {"source_hidden": True}, path


def test_a_good_lesson_keeps_the_rules() -> None:
    assert problems(lesson(), size=MAX_BYTES - 1) == []


@pytest.mark.parametrize(
    "text",
    ["One sum, \\$10M, alone.", "$x$ and $2^{-9}$, then $a_\\text{b}$.", "$$a = 1,\n b = 2$$", "`$2` or `$4`",
     "```\necho $HOME $PATH\n```", "2 dollars or\n\n4 dollars"],
)  # fmt: skip
def test_formulas_code_and_a_single_sum_keep_the_rules(text: str) -> None:
    notebook = lesson()
    title(text)(notebook)
    assert problems(notebook, size=1) == []


@pytest.mark.parametrize(("expected", "spoil"), BROKEN)
def test_a_broken_rule_is_reported(expected: str, spoil: Callable[[NotebookNode], object]) -> None:
    notebook = lesson()
    spoil(notebook)
    (problem,) = problems(notebook, size=1)
    assert expected in problem


def test_a_big_file_is_reported() -> None:
    (problem,) = problems(lesson(), size=MAX_BYTES)
    assert "bytes" in problem


def nbval(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_nbval_rejects_a_wrong_output_and_only_that(tmp_path: Path) -> None:
    notebook = lesson()
    notebook.cells[2].outputs = [said("3\n")]
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    done = nbval("-c", "pyproject.toml", str(tmp_path / "wrong.ipynb"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout


@pytest.mark.parametrize(("words", "summary"), [(WORDS, "3 passed"), (WORDS.replace("9", "8"), "1 failed, 2 passed")])
def test_nbval_compares_the_words_of_a_picture_and_not_its_bytes(words: str, summary: str, tmp_path: Path) -> None:
    notebook = lesson()
    notebook.cells[2].source = f"display({drawn(words).data!r}, raw=True)"
    notebook.cells[2].outputs = [drawn(WORDS)]
    notebook.cells[2].outputs[0].data["text/html"] = drawn(WORDS).data["text/html"].replace("aGk=", "bG8/+w==")
    nbformat.write(notebook, tmp_path / "drawn.ipynb")
    done = nbval("-c", "pyproject.toml", "-p", "conftest", str(tmp_path / "drawn.ipynb"))
    assert summary in done.stdout, done.stdout + done.stderr


SCRIPT = """\
# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---
# %% [markdown]
# # A slider

# %% tags=["nbval-skip"]
from ipywidgets import IntSlider
IntSlider(3)

# %% [markdown]
# Look at the line.

# %%
import matplotlib.pyplot as plt
from course_lib.figures import show_figure
figure, axes = plt.subplots()
show_figure(figure, "An empty pair of axes, from 0 to 1 on both sides.")

# %%
print("twice")

# %%
print("twice")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/lesson.py"
    path.write_text(SCRIPT)
    return path


def test_two_builds_are_the_same_to_the_byte(script: Path) -> None:
    assert build.stale(script)
    assert build.build(script)
    assert not build.stale(script)
    first = build.target(script).read_bytes()
    assert build.build(script)
    assert build.target(script).read_bytes() == first
    assert problems(nbformat.reads(first.decode(), as_version=4), len(first)) == []


def test_check_names_what_is_stale_and_runs_nothing(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.build(script)
    assert build.main(["--check"], folder=script.parent.parent) == 0
    before = build.target(script).read_bytes()
    script.write_text(SCRIPT.replace("A slider", "The slider"))
    assert build.main(["--check"], folder=script.parent.parent) == 1
    assert "lesson: stale" in capsys.readouterr().out
    assert build.target(script).read_bytes() == before


@pytest.mark.parametrize(
    ("code", "reason"), [("1 / 0", "ZeroDivisionError"), ("import sys\nprint('careful', file=sys.stderr)", "Cell 1")]
)
def test_a_failed_build_says_why_and_keeps_the_old_notebook(
    code: str, reason: str, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build.target(script).write_text("old")
    script.write_text(f"# %%\n{code}\n")
    assert build.main(["lesson"], folder=script.parent.parent) == 1
    assert reason in capsys.readouterr().out
    assert [path.read_text() for path in script.parent.parent.glob("*.*")] == ["old"]
