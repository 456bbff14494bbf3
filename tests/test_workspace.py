"""Students work in copies: the clone stays as it was, updates reach them, and no edited page is lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from course_lib import workspace

ROOT = Path(__file__).parents[1]
LESSON, HOMEWORK = "notebooks/01_kv_cache.ipynb", "assignments/release/hw1_mla/hw1_mla.ipynb"


def notebook(source: str | list[str], **cell: Any) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": source, **cell}], "metadata": {}})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in (LESSON, HOMEWORK):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(notebook("print(1)"))
    (tmp_path / "assignments/source").mkdir()
    (tmp_path / "assignments/source/hw1_mla.ipynb").write_text(notebook("the solution"))
    return tmp_path


def test_lessons_and_homework_are_copied_once_and_solutions_are_not(clone: Path) -> None:
    folder = clone / workspace.FOLDER
    assert workspace.update(clone, folder).copied == [HOMEWORK, LESSON]
    assert workspace.update(clone, folder) == workspace.Update()
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {LESSON, HOMEWORK, workspace.RECORD}


def test_a_newer_version_replaces_a_copy_that_was_only_run(clone: Path) -> None:
    folder = clone / workspace.FOLDER
    workspace.update(clone, folder)
    (folder / LESSON).write_text(notebook(["print", "(1)"], outputs=["1"], execution_count=3))  # as Lab saves it
    (clone / LESSON).write_text(notebook("print(2)"))
    assert workspace.update(clone, folder) == workspace.Update(copied=[LESSON])
    assert (folder / LESSON).read_text() == notebook("print(2)")


@pytest.mark.parametrize("text", [notebook("my answer"), "", "not JSON", '{"cells": 3}'])
def test_what_the_student_changed_is_kept_whatever_it_is(clone: Path, text: str) -> None:
    folder = clone / workspace.FOLDER
    workspace.update(clone, folder)
    (folder / LESSON).write_text(text)
    assert workspace.update(clone, folder) == workspace.Update()  # nothing newer, so nothing to report
    (clone / LESSON).write_text(notebook("print(2)"))
    assert workspace.update(clone, folder) == workspace.Update(kept=[LESSON])
    assert (folder / LESSON).read_text() == text
    (folder / LESSON).rename(folder / "notebooks/mine.ipynb")
    assert workspace.update(clone, folder) == workspace.Update(copied=[LESSON])
    assert (folder / "notebooks/mine.ipynb").read_text() == text


@pytest.mark.parametrize("record", ["", "[1]", '{"half'])
def test_a_record_that_cannot_be_read_loses_nothing(clone: Path, record: str) -> None:
    folder = clone / workspace.FOLDER
    workspace.update(clone, folder)
    (folder / LESSON).write_text(notebook("my answer"))
    (folder / workspace.RECORD).write_text(record)
    assert workspace.update(clone, folder) == workspace.Update(kept=[LESSON])
    assert (folder / LESSON).read_text() == notebook("my answer")


def test_copies_like_their_originals_need_no_record(clone: Path) -> None:
    folder = clone / workspace.FOLDER
    workspace.update(clone, folder)
    (folder / workspace.RECORD).unlink()
    assert workspace.update(clone, folder) == workspace.Update()
    (clone / LESSON).write_text(notebook("print(2)"))
    assert workspace.update(clone, folder) == workspace.Update(copied=[LESSON])


def test_links_between_notebooks_and_git_hold_for_the_copies() -> None:
    originals = {path.relative_to(ROOT).as_posix() for pattern in workspace.ORIGINALS for path in ROOT.glob(pattern)}
    assert {LESSON, HOMEWORK, workspace.FIRST} <= originals
    assert f"/{workspace.FOLDER}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_lab_opens_the_first_lesson_or_the_one_named() -> None:
    arguments = workspace.lab_arguments(ROOT, ["--no-browser"])
    assert arguments[-2:] == [workspace.FIRST, "--no-browser"]
    assert workspace.FIRST not in workspace.lab_arguments(ROOT, ["notebooks/01_kv_cache.ipynb"])
    folder, template = (argument.partition("=")[2] for argument in arguments[1:3])
    assert (Path(folder) / template / "index.html.j2").exists()


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_lab_is_allowed_to_run_as_root_where_it_must(user: int, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace.os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in workspace.lab_arguments(ROOT, [])) == allowed


def test_the_command_starts_lab_in_the_folder_with_the_settings_of_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a jupyterlab that only says where and how it was started."""
    (tmp_path / "jupyterlab").mkdir()
    (tmp_path / "jupyterlab/__init__.py").touch()
    (tmp_path / "jupyterlab/__main__.py").write_text(
        "import json, os, sys\nprint(json.dumps([sys.argv, os.getcwd(), os.environ['JUPYTER_CONFIG_PATH']]))"
    )
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/theirs")
    program = (
        "import sys; from pathlib import Path; import course_lib.__main__ as m, course_lib.workspace as w\n"
        f"sys.path.insert(0, {str(tmp_path)!r}); w.FOLDER = {str(tmp_path / 'work')!r}\n"
        "m.app(['lab', '--no-browser', '--port', '1'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    arguments, folder, settings = json.loads(result.stdout.splitlines()[-1])
    assert arguments[1:] == workspace.lab_arguments(ROOT, ["--no-browser", "--port", "1"])
    assert Path(folder) == (tmp_path / "work").resolve() and (tmp_path / "work" / workspace.FIRST).exists()
    assert settings.split(":")[-1] == "/theirs"
    overrides = Path(settings.split(":")[0]) / "labconfig/default_setting_overrides.json"
    assert json.loads(overrides.read_text(encoding="utf-8"))["@jupyterlab/apputils-extension:notification"]
