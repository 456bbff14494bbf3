"""course.py decides what to install and what to run; environment.yml asks for the same."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """course.py as if it stood in an empty folder; commands are noted instead of run."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, path in {"ROOT": tmp_path, "VENV": tmp_path / ".venv"}.items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, "PYTHON", module.VENV / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", module.VENV / "installed.json")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    module.commands, module.codes = [], {}  # pyright: ignore[reportAttributeAccessIssue]

    def run(command: list[str], folder: Path | None = None) -> int:
        module.commands.append(command)
        if "venv" in command:
            module.PYTHON.parent.mkdir(parents=True)
            module.PYTHON.write_text("")
        return module.codes.get("pip" if "pip" in command else "other", 0)

    monkeypatch.setattr(module, "run", run)
    return module


def test_a_first_run_makes_the_environment_and_a_second_does_not(course: ModuleType) -> None:
    assert course.main(["test", "-k", "mla"]) == 0
    venv, pip, pytest_command = course.commands
    assert venv[1:3] == ["-m", "venv"]
    assert pip[-4:] == ["-c", "constraints.txt", "-e", ".[lab,test]"]
    parallel = [f"--numprocesses={(os.cpu_count() or 1) + 1}", "--dist=loadfile", "--no-loadscope-reorder"]
    assert pytest_command[1:] == ["-m", "pytest", "--nbval", *parallel, "-k", "mla"]
    course.commands.clear()
    assert course.main(["params", "deepseek-v3"]) == 0
    assert [command[1:] for command in course.commands] == [["-m", "course_lib", "params", "deepseek-v3"]]


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed_again(course: ModuleType, file: str) -> None:
    course.main(["lab"])
    (course.ROOT / file).write_text("changed")
    course.commands.clear()
    course.main(["lab"])
    assert [command[2] for command in course.commands] == ["pip", "course_lib"]


def test_a_command_that_needs_more_adds_to_what_is_there(course: ModuleType) -> None:
    for command, extras in (("params", "."), ("lab", ".[lab]"), ("test", ".[lab,test]"), ("lab", None)):
        course.commands.clear()
        course.main([command])
        assert [c[-1] for c in course.commands if "pip" in c] == ([extras] if extras else [])


def test_what_is_for_instructors_goes_to_the_grader(course: ModuleType) -> None:
    assert course.main(["release", "--check"]) == 0
    assert course.commands[-1][1:] == ["-m", "course_grader", "release", "--check"]
    assert [command[-1] for command in course.commands if "pip" in command] == [".[test]"]


def test_the_repository_is_set_with_what_the_lab_needs(course: ModuleType) -> None:
    assert course.main(["colab", "ada/course"]) == 0
    assert course.commands[-1][1:] == ["-m", "course_grader.colab", "ada/course"]
    assert [command[-1] for command in course.commands if "pip" in command] == [".[lab]"]


def test_a_failed_installation_stops_and_is_tried_again(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    course.codes["pip"] = 7
    assert course.main(["lab"]) == 7
    assert "Run the command again" in capsys.readouterr().out
    course.codes.clear()
    course.commands.clear()
    assert course.main(["lab"]) == 0
    assert [command[2] for command in course.commands] == ["pip", "course_lib"]


def test_another_python_makes_a_new_environment(course: ModuleType) -> None:
    course.main(["lab"])
    stamp = json.loads(course.STAMP.read_text())
    course.STAMP.write_text(json.dumps({**stamp, "python": "3.9.0"}))
    course.PYTHON.unlink()
    course.PYTHON.parent.rmdir()
    course.commands.clear()
    course.main(["lab"])
    assert [command[2] for command in course.commands] == ["venv", "pip", "course_lib"]


def test_what_stands_in_the_way_is_said(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs Python 3.11 or newer; this is 3.9" in course.why_not((3, 9))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "sudo apt install python3.12-venv" in course.why_not((3, 12))
    assert course.main(["lab"]) == 1
    assert course.commands == []


def test_a_command_that_is_none_installs_nothing(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert course.main(["lba"]) == 1
    assert course.commands == [] and "no command 'lba'. These are: lab, doctor, params" in capsys.readouterr().err


def test_a_full_disk_is_told_before_the_installation(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(course.shutil, "disk_usage", lambda path: SimpleNamespace(free=0.5e9))
    assert course.main(["lab"]) == 1
    assert course.commands == [] and "Only 0.5 GB of disk are free" in capsys.readouterr().out


def test_doctor_says_how_to_mend_an_environment_that_does_not_work(
    course: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    course.codes["other"] = 1
    course.main(["params"])
    assert "delete" not in capsys.readouterr().out
    course.VENV.mkdir(exist_ok=True)
    assert course.main(["doctor"]) == 1
    assert "delete the folder .venv" in capsys.readouterr().out


def test_every_command_that_is_explained_is_one(course: ModuleType) -> None:
    assert sorted(re.findall(r"python3 course\.py (\w+)", course.__doc__ or "")) == sorted(course.NEEDS)


def test_without_arguments_it_explains_itself() -> None:
    result = subprocess.run([sys.executable, ROOT / "course.py"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "python3 course.py lab" in result.stdout and "python3 course.py test" in result.stdout


def test_conda_asks_for_what_pip_asks_for() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    extras = ",".join(project["optional-dependencies"])
    assert pip == ["-c constraints.txt", f"-e .[{extras}]"]
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert python.removeprefix("python=") in project["requires-python"]


def test_binder_installs_from_a_copy_of_the_whole_repository() -> None:
    """repo2docker copies all first where a pip line names a local file, and prefers these to environment.yml."""
    files = {path.name for path in ROOT.iterdir()}
    assert {"environment.yml", "constraints.txt", "pyproject.toml"} <= files
    assert files.isdisjoint({"binder", ".binder", "Dockerfile"})


def test_every_dependency_is_pinned_and_no_pin_has_an_address() -> None:
    pins = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {re.split(r"[\[><=]", name)[0].lower() for names in [project["dependencies"], *extras] for name in names}
    assert wanted <= pinned
