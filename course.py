#!/usr/bin/env python3
"""How DeepSeek works, by building it. This makes .venv, installs there what a command needs, and hands over to it.

To learn
    python3 course.py lab                     open the course in JupyterLab: start here
    python3 course.py doctor                  check this machine, and say how to mend what it lacks
    python3 course.py params deepseek-v3      count a model's parameters (the path of a config.json works too)
    python3 course.py train                   train a small DeepSeek on a text
    python3 course.py write                   write text with it, or with the model in the box
    python3 course.py sweep balance           train many, for a comparison
To check
    python3 course.py test                    run every test and every notebook
    python3 course.py bench decode            measure a claim of benchmarks/RESULTS.md
To teach (INSTRUCTORS.md says more)
    python3 course.py release                 make the students' copies of graded notebooks
    python3 course.py colab OWNER/REPO        let Colab open your copy on GitHub (changes every notebook)
    python3 course.py grade submitted --assignment hw1_mla      mark a class

Further arguments are passed on: `course.py test -k mla`, `course.py lab --no-browser`, `course.py train --help`.
On Windows write `py course.py`. The script itself needs the standard library only.
"""

from __future__ import annotations  # so that an old Python reaches the message that it is too old

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed.json"  # written last, so an interrupted installation is done again
NEEDS = {
    "lab": ["lab"], "doctor": [], "params": [], "train": [], "write": [], "sweep": [], "test": ["lab", "test"],
    "bench": ["test"], "release": ["test"], "colab": ["lab"], "grade": ["test"],
}  # fmt: skip
ROOM = 2e9  # bytes of an installation with PyTorch for CPUs


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    if problem := why_not() or why_not_this(command):
        print(problem, file=sys.stderr)
        return 1
    if code := install(NEEDS[command]):
        return code
    if command != "bench":  # threads that spin while they wait make two processes at once many times slower
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    folder = ROOT if command in ("lab", "test") else None  # elsewhere a path is meant from where the user stands
    code = run([str(PYTHON), *hand_over(command, arguments[1:])], folder)
    if command == "doctor" and code:
        say(f"What is installed does not work: delete the folder {VENV.name}, and run the command again.")
    return code


def hand_over(command: str, further: list[str]) -> list[str]:
    if command == "test":  # one process more than cores: browsers, kernels and sandboxes make theirs wait
        processes = f"--numprocesses={(os.cpu_count() or 1) + 1}"
        return ["-m", "pytest", "--nbval", processes, "--dist=loadfile", "--no-loadscope-reorder", *further]
    if command == "colab":
        return ["-m", "course_grader.colab", *further]
    package = "course_grader" if command in ("release", "grade") else "course_lib"
    return ["-m", package, command, *further]


def why_not(version: tuple[int, ...] = sys.version_info[:2]) -> str | None:
    """What stands in the way of making .venv, and how to mend it."""
    if version < (3, 11):
        return f"This course needs Python 3.11 or newer; this is {version[0]}.{version[1]} at {sys.executable}."
    if not PYTHON.exists() and importlib.util.find_spec("ensurepip") is None:
        package = f"python{version[0]}.{version[1]}-venv"
        return f"Python's venv module is not complete here. On Debian and Ubuntu: sudo apt install {package}"
    return None


def why_not_this(command: str) -> str | None:
    """Said before anything is installed for it."""
    if command not in NEEDS:
        return f"There is no command {command!r}. These are: {', '.join(NEEDS)}; `course.py` alone explains them."
    return None


def wanted(extras: list[str]) -> dict[str, object]:
    files = (ROOT / name for name in ("pyproject.toml", "constraints.txt"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return {"files": digest, "python": sys.version, "extras": extras}


def install(extras: list[str]) -> int:
    """Bring .venv up to date; does nothing when it is. Returns an exit code."""
    installed = json.loads(STAMP.read_text()) if STAMP.exists() else {"extras": []}
    extras = sorted({*extras, *installed["extras"]})
    if wanted(extras) == installed:
        return 0
    start = time.monotonic()
    if not PYTHON.exists() and (free := shutil.disk_usage(ROOT).free) < ROOM:
        say(f"Only {free / 1e9:.1f} GB of disk are free here, and an installation takes about {ROOM / 1e9:.0f} GB.")
        return 1
    if not PYTHON.exists() or installed.get("python", sys.version) != sys.version:
        say(f"Making {VENV.name} with Python {sys.version.split()[0]}")
        if code := run([sys.executable, "-m", "venv", "--clear", str(VENV)]):
            return code
    STAMP.unlink(missing_ok=True)
    target = f".[{','.join(extras)}]" if extras else "."
    say(f"Installing {target} (once; minutes, most of it PyTorch)")
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt", "-e", target]
    if code := run([str(PYTHON), *pip]):
        say("The installation failed; the lines above say why. Run the command again, it begins anew.")
        return code
    STAMP.write_text(json.dumps(wanted(extras)))
    say(f"Installed in {time.monotonic() - start:.0f} s")
    return 0


def say(text: str) -> None:
    print(f"[course] {text}", flush=True)


def run(command: list[str], folder: Path | None = ROOT) -> int:
    """Run in `folder`; Ctrl-C goes to the command, which ends in its own way."""
    with subprocess.Popen(command, cwd=folder) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
