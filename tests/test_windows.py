"""What Windows lacks is hidden from the course's code: it can still be imported, and every test collected."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HIDE = f"""
import builtins, os, sys

ABSENT = {{"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}}
original = builtins.__import__

def without_them(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {{}}).get("__file__") or ""
    ours = importer.startswith({str(ROOT)!r}) and "site-packages" not in importer
    if ours and name.partition(".")[0] in ABSENT:
        raise ModuleNotFoundError(f"No module named {{name!r}}, imported by {{importer}}", name=name)
    return original(name, globals, locals, fromlist, level)

builtins.__import__ = without_them
"""
IMPORT_ALL = """
import importlib, pathlib
sys.path.insert(0, "course_grader/inside")  # its modules run as scripts
for package in ("course_lib", "course_grader"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        if path.stem != "__main__":
            importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print("imported")
"""
GRADE = """
from unittest import mock
import typer.testing
import course_grader.command
from course_grader.__main__ import app
with mock.patch("sys.platform", "win32"), mock.patch("platform.system", lambda: "Windows"):
    result = typer.testing.CliRunner().invoke(app, ["grade", "submitted", "--assignment", "hw1_mla"])
print(result.exit_code, " ".join(result.output.split()))
"""


def without(code: str) -> str:
    """What the code prints on a Python that lacks them; a failure shows all it said."""
    result = subprocess.run([sys.executable, "-c", HIDE + code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result.stdout


def test_every_module_can_be_imported() -> None:
    assert without(IMPORT_ALL).endswith("imported\n")


def test_every_test_file_can_be_collected() -> None:
    arguments = ["tests", "--collect-only", "-q", "-q", "-p", "no:cacheprovider"]
    collected = without(f"import pytest\nsys.exit(pytest.main({arguments!r}))")
    files = {line.partition(":")[0] for line in collected.splitlines()}
    assert {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py")} <= files


def test_grading_says_that_it_needs_linux() -> None:
    code, said = without(GRADE).split(maxsplit=1)
    assert code == "2" and "grading needs Linux" in said and "this is Windows" in said
