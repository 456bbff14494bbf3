"""Every notebook opens in Colab and installs the course there; one command says where the course is."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from packaging.requirements import Requirement

from course_grader import colab, release
from notebooks import build
from tests.graded import read

ROOT = Path(__file__).resolve().parents[1]
CHOOSER = "https://colab.research.google.com/github/"


def badge_link(notebook: NotebookNode) -> str:
    """Where the badge on the first line leads."""
    found = re.match(r'<a href="([^"]+)"[^>]*><img alt="Open in Colab" src="data:image/svg', notebook.cells[0].source)
    assert found
    return found[1]


@pytest.mark.parametrize("path", list(colab.notebooks()), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_notebook_has_the_badge_and_the_bootstrap_cell(path: Path) -> None:
    notebook = read(path)
    assert badge_link(notebook).startswith(CHOOSER)
    assert colab.stamped(read(path), colab.page_of(path)) == notebook, "run: python3 course.py colab OWNER/REPO"
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0] == colab.bootstrap()


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A small copy of the course: one lesson, one graded notebook and its release."""
    kept = [path for path in colab.notebooks() if path.stem in ("00_start_here", "hw1_mla")]
    for path in [*(path.relative_to(ROOT) for path in kept), colab.BOOTSTRAP]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def test_one_command_sets_the_repository_everywhere(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: read(path) for path in colab.notebooks(course)}
    assert colab.main(["ada/deepseek-course"], course) == 0
    assert "3 notebooks changed" in capsys.readouterr().out
    links = {path.relative_to(course).as_posix(): badge_link(read(path)) for path in before}
    hw1 = "assignments/release/hw1_mla/hw1_mla.ipynb"
    opened = {page: f"{CHOOSER}ada/deepseek-course/blob/main/{page}" for page in ("notebooks/00_start_here.ipynb", hw1)}
    assert links == {**opened, "assignments/source/hw1_mla/hw1_mla.ipynb": opened[hw1]}
    for path, old in before.items():
        new = read(path)
        assert 'REPOSITORY = "ada/deepseek-course"' in new.cells[1].source
        assert [cell.id for cell in new.cells] == [cell.id for cell in old.cells]
        assert new.cells[2:] == old.cells[2:], "outputs and all else stay"


def test_a_second_time_changes_nothing_and_another_name_replaces_the_first(course: Path) -> None:
    colab.main(["ada/deepseek-course"], course)
    first = {path: path.read_bytes() for path in colab.notebooks(course)}
    colab.main(["https://github.com/ada/deepseek-course.git"], course)
    assert {path: path.read_bytes() for path in first} == first
    colab.main(["grace/course"], course)
    assert not any(b"ada/" in path.read_bytes() for path in [*first, course / colab.BOOTSTRAP])
    assert not list(course.rglob("*.part"))


def test_release_and_build_draw_from_the_same_place(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "BOOTSTRAP", course / colab.BOOTSTRAP)
    script, source = course / "notebooks/source/00_start_here.py", course / "assignments/source/hw1_mla/hw1_mla.ipynb"
    shutil.copy(ROOT / "notebooks/source/00_start_here.py", script)
    shutil.copy(build.target(ROOT / "notebooks/source/00_start_here.py"), build.target(script))
    release.write(source)
    colab.main(["ada/deepseek-course"], course)
    assert not build.stale(script)
    assert not release.stale(source)
    assert build.normalise(build.read(script)).cells[1].id == read(build.target(script)).cells[1].id
    colab.BOOTSTRAP.write_text(colab.bootstrap().replace("ada", "grace"), encoding="utf-8")
    assert build.stale(script)
    assert release.stale(source)


@pytest.mark.parametrize(
    "address",
    ["ada/c.o_urse-1", " ada/c.o_urse-1\n", "https://github.com/ada/c.o_urse-1", "http://www.github.com/ada/c.o_urse-1/",
     "https://github.com/ada/c.o_urse-1.git", "git@github.com:ada/c.o_urse-1.git", "github.com/ada/c.o_urse-1"],
)  # fmt: skip
def test_an_address_is_reduced_to_owner_and_name(address: str) -> None:
    assert colab.owner_and_name(address) == "ada/c.o_urse-1"


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada/", "/course", "ada/course/more", "ada/..", "ada/.git", "ada_/course", "ada-/course", "a da/course",
     'ada/"course', "ada/course\nimport os", "ада/course", "ada/курс", "https://example.org/ada/course",
     "https://github.com/ada/course/tree/main", "https://github.com.example.org/ada/course", "OWNER/"],
)  # fmt: skip
def test_what_is_no_repository_is_refused_and_nothing_is_written(
    address: str, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (course / colab.BOOTSTRAP).read_bytes()
    with pytest.raises(SystemExit) as stop:
        colab.main([address], course)
    assert stop.value.code == 2
    assert "no repository on GitHub: wanted OWNER/REPO" in capsys.readouterr().err
    assert (course / colab.BOOTSTRAP).read_bytes() == before


# The bootstrap cell --------------------------------------------------------------------------------------------------

PIP = """\
import json, sys
from pathlib import Path
here, arguments = Path(__file__).parent, sys.argv[1:]
pins = Path(arguments[arguments.index("-c") + 1]).read_text().splitlines()
asked = here / "asked.jsonl"
with asked.open("a") as file:
    print(json.dumps([arguments, pins]), file=file)
if (here / "fails.txt").exists():
    sys.exit("ERROR: no such repository")
(here / "course_lib").mkdir(exist_ok=True)
for name in ("__init__", "config"):
    (here / f"course_lib/{name}.py").touch()
print("Collecting git+https")
print("Successfully installed deepseek-course-0.1.0 jaxtyping-0.3.11")
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of packages without the course, with a pip that notes what it is asked and installs an empty course."""
    folder = tmp_path / "packages"
    put(folder, "torch", "2.11.0+cpu")
    (folder / "pip.py").write_text(PIP)
    return folder


def put(folder: Path, name: str, version: str) -> None:
    about = folder / f"{name.replace(' ', '_')}-{version or 0}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def run_cell(*packages: Path, repository: str = "ada/course") -> subprocess.CompletedProcess[str]:
    """The cell, twice, in a Python that sees these folders of packages only; then what it is there for."""
    cell = colab.REPOSITORY.sub(f'REPOSITORY = "{repository}"', colab.bootstrap())
    see = f"import sys; sys.path[:0] = {[str(each) for each in packages]}"
    lines = [see, f"exec({cell!r})", f"exec({cell!r})", "from course_lib import config; print('imported')"]
    command = [sys.executable, "-I", "-S", "-c", "\n".join(lines)]
    environment = {**os.environ, "PYTHONPATH": str(packages[0])}  # where `python -m pip` finds that pip
    return subprocess.run(command, capture_output=True, text=True, cwd=packages[0].parent, env=environment)


def asked(machine: Path) -> list[tuple[list[str], list[str]]]:
    """What pip was called with, and the lines of its constraints, call by call."""
    lines = (machine / "asked.jsonl").read_text().splitlines() if (machine / "asked.jsonl").exists() else []
    return [json.loads(line) for line in lines]


def test_the_cell_installs_once_and_says_so_in_a_line(machine: Path) -> None:
    done = run_cell(machine)
    assert done.stderr == ""
    said = "Successfully installed deepseek-course-0.1.0 jaxtyping-0.3.11; nothing that was here has moved."
    assert done.stdout.splitlines() == [said, "imported"]
    ((arguments, pins),) = asked(machine)
    assert arguments[0] == "install" and arguments[-1] == "git+https://github.com/ada/course"
    assert pins == ["torch===2.11.0+cpu"]
    assert [path.name for path in machine.parent.iterdir()] == ["packages"], "nothing is written beside the notebook"


def test_where_the_course_is_the_cell_does_and_says_nothing(machine: Path) -> None:
    done = run_cell(machine, ROOT, repository="")
    assert (done.stdout, done.stderr, asked(machine)) == ("imported\n", "", [])


def test_what_a_constraint_cannot_say_is_left_out_and_the_first_of_two_counts(machine: Path) -> None:
    odd = [("debian", "2.22.1ubuntu1"), ("none", ""), ("bad name", "1"), ("-bad", "1"), ("_", "1"), ("bad", "1 or so")]
    for name, version in odd:
        put(machine, name, version)
    for name, version in {"Torch": "1.0", "typing_extensions": "4.15.0"}.items():
        put(machine.parent / "system", name, version)
    put(machine, "Typing-Extensions", "4.16.0")
    (machine / "broken-1.dist-info").mkdir()
    assert "imported" in run_cell(machine, machine.parent / "system").stdout
    pins = asked(machine)[0][1]
    assert {"torch===2.11.0+cpu", "typing-extensions===4.16.0", "debian===2.22.1ubuntu1"} <= set(pins)
    assert [pin for pin in pins if pin.startswith(("bad", "-", "_")) or " " in pin] == []
    for pin in pins:
        Requirement(pin)  # or pip would refuse the whole file
    assert len({Requirement(pin).name for pin in pins}) == len(pins)


def test_an_installation_that_fails_shows_what_pip_said(machine: Path) -> None:
    (machine / "fails.txt").touch()
    done = run_cell(machine)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("ERROR: no such repository\nThe course is not installed; see why above")


def test_without_a_repository_it_says_what_to_do_and_runs_nothing(machine: Path) -> None:
    done = run_cell(machine, repository="")
    assert done.stderr.startswith("This copy cannot fetch the course: ") and "README" in done.stderr
    assert asked(machine) == []


def test_a_mere_folder_of_the_same_name_is_not_the_course(machine: Path) -> None:
    (machine.parent / "drive/course_lib").mkdir(parents=True)
    assert run_cell(machine, machine.parent / "drive").stdout.endswith("imported\n")
    assert len(asked(machine)) == 1
