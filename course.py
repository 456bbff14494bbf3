#!/usr/bin/env python3
"""How DeepSeek works, by building it. This script installs what a command needs into .venv and runs the command there.

To learn
    python3 course.py lab                     open the course in JupyterLab: start here
    python3 course.py doctor                  check this machine and say how to fix what is missing
    python3 course.py params deepseek-v3      count a model's parameters (a path to a config.json works too)
    python3 course.py train                   train a small DeepSeek on a text
    python3 course.py write                   write text with it or with the model that comes with the course
    python3 course.py sweep balance           train many small models and compare them
To check
    python3 course.py test                    run every test and every notebook
    python3 course.py bench decode            measure a claim of benchmarks/RESULTS.md
To teach (see INSTRUCTORS.md)
    python3 course.py release                 make the students' copies of the graded notebooks
    python3 course.py colab OWNER/REPO        make Colab open your copy on GitHub (changes every notebook)
    python3 course.py grade submitted --assignment hw1_mla      grade a class (on Linux)

With --cpu, any command installs PyTorch's CPU build, which saves several GB on Linux; later installations keep it.
All other arguments go to the command: `course.py test -k mla`, `course.py lab --no-browser`, `course.py train --help`.
On Windows, type `py course.py`. The script itself needs only the standard library.
"""

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple


class Machine(NamedTuple):
    """What decides whether PyTorch and the other packages have wheels for this Python."""

    python: "tuple[int, int]" = sys.version_info[:2]
    implementation: str = platform.python_implementation()
    free_threaded: bool = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    bits: int = 64 if sys.maxsize > 2**32 else 32
    system: str = platform.system()
    build: str = sysconfig.get_platform()
    processor: str = platform.machine()
    macos: str = platform.mac_ver()[0]
    c_library: str = "{} {}".format(*platform.libc_ver())


HERE = Machine()


def python_problem(here: Machine = HERE) -> "str | None":
    """Why the course cannot be installed with this Python on this system, in one sentence."""
    if not (3, 11) <= here.python <= (3, 14):
        version = ".".join(map(str, here.python))
        return f"This course needs Python 3.11 to 3.14, but {sys.executable} is Python {version}."
    if here.implementation != "CPython" or here.free_threaded:
        name = f"the free-threaded build of {here.implementation}" if here.free_threaded else here.implementation
        return f"This course needs the standard CPython build, but {sys.executable} is {name}."
    if here.bits != 64:
        return f"This course needs a 64-bit Python, but {sys.executable} is a {here.bits}-bit build."
    return _system_problem(here)


def _system_problem(here: Machine) -> "str | None":
    supported = "This course runs on Linux (x86-64, Arm), macOS 14 or newer (Apple silicon) and Windows (x86-64)"
    if here.system == "Linux":
        if here.processor not in ("x86_64", "aarch64"):
            return f"{supported}, but not on Linux with {here.processor} processors."
        library, _, version = here.c_library.partition(" ")
        if library != "glibc" or _numbers(version) < (2, 28):
            found = here.c_library.strip() or "another C library, such as musl"
            return f"On Linux this course needs glibc 2.28 or newer, but this system has {found}."
        return None
    if here.system == "Darwin":
        if here.processor != "arm64":
            return f"{supported}, but this is macOS on Intel or an Intel build of Python."
        if _numbers(here.macos) < (14,):
            return f"{supported}, but this is macOS {here.macos}."
        return None
    if here.system == "Windows":
        if here.build != "win-amd64" or here.processor.upper() == "ARM64":
            return f"{supported}, but this is a {here.build} Python on {here.processor}."
        return None
    return f"{supported}, but this is {here.system or 'an unknown system'}."


def _numbers(version: str) -> "tuple[int, ...]":
    return tuple(int(number) for number in re.findall(r"\d+", version))


if sys.version_info < (3, 11):  # noqa: UP036  (Python 3.6 can read this file, but not run what follows)
    sys.exit(python_problem())

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed.json"
NEEDS = {  # the extras of pyproject.toml that each command needs
    "lab": ["lab"], "doctor": [], "params": [], "train": [], "write": [], "sweep": [], "test": ["test"],
    "bench": ["test"], "release": ["grade"], "colab": ["grade"], "grade": ["grade"],
}  # fmt: skip
ROOM = 2e9  # bytes that an installation with PyTorch's CPU build takes
FAILED, USAGE, INTERRUPTED = 1, 2, 130  # exit codes of this script and of every command; 128 + N: ended by signal N


def main(arguments: list[str]) -> int:
    cpu = "--cpu" in arguments
    command, *further = [argument for argument in arguments if argument != "--cpu"] or ["--help"]
    if command in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    problem = command_problem(command)
    if problem:
        print(problem, file=sys.stderr)
        return USAGE
    problem = python_problem() or venv_problem()
    if problem:
        print(problem, file=sys.stderr)
        return FAILED
    on_cluster = any(argument.partition("=")[0] == "--cluster" for argument in further)
    code = install(NEEDS[command] + ["cluster"] * on_cluster, cpu)
    if code:
        return code
    if command != "bench":  # threads that spin while they wait slow down other processes many times over
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    folder = ROOT if command in ("lab", "test") else None  # other commands take paths relative to the user's folder
    code = run([str(PYTHON), *argv_for(command, further)], folder)
    if command == "doctor" and code not in (0, USAGE, INTERRUPTED) and is_broken():
        say(f"The installation is broken: delete the folder {VENV.name} and run the command again.")
    return code


def argv_for(command: str, further: list[str]) -> list[str]:
    """Arguments that make .venv's Python run the command."""
    if command == "test":  # one process more than cores, since browsers, kernels and sandboxes make some wait
        processes = f"--numprocesses={(os.cpu_count() or 1) + 1}"
        return ["-m", "pytest", "--nbval", processes, "--dist=loadfile", "--no-loadscope-reorder", *further]
    if command == "colab":
        return ["-m", "course_grader.colab", *further]
    package = "course_grader" if command in ("release", "grade") else "course_lib"
    return ["-m", package, command, *further]


def command_problem(command: str, system: str = HERE.system) -> str | None:
    """Why the command cannot be run here, in one sentence."""
    if command not in NEEDS:
        return f"Unknown command {command!r}. Commands: {', '.join(NEEDS)}. `course.py` alone explains them."
    if command == "grade" and system != "Linux":
        return f"Grading needs Linux, whose kernel isolates the students' code; this is {system}."
    return None


def venv_problem(version: tuple[int, int] = HERE.python) -> str | None:
    """Why this Python cannot make a virtual environment, and how to fix that."""
    if PYTHON.exists() or importlib.util.find_spec("ensurepip"):
        return None
    package = f"python{version[0]}.{version[1]}-venv"
    return f"This Python cannot make virtual environments. On Debian and Ubuntu: sudo apt install {package}"


def install(extras: list[str], cpu: bool = False) -> int:
    """Bring .venv up to date, which does nothing if it already is. Returns an exit code."""
    installed = read_stamp()
    extras = sorted({*extras, *installed.get("extras", [])})
    remake = not PYTHON.exists() or installed.get("python") != sys.version or (cpu and has_cuda_build())
    cpu = cpu or installed.get("cpu", False)
    if not remake and installed == fingerprint(extras, cpu):
        return 0
    start = time.monotonic()
    code = (make_venv() if remake else 0) or install_packages(extras, cpu)
    if code == INTERRUPTED:
        say("The installation was interrupted. Run the command again to continue it.")
    if code:
        return code
    write_stamp(fingerprint(extras, cpu))
    say(f"Installed in {time.monotonic() - start:.0f} s")
    return 0


def make_venv() -> int:
    free = shutil.disk_usage(ROOT).free
    if not PYTHON.exists() and free < ROOM:
        say(f"Only {free / 1e9:.1f} GB of disk space are free, and an installation takes about {ROOM / 1e9:.0f} GB.")
        return FAILED
    say(f"Making {VENV.name} with Python {platform.python_version()}")
    return run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def install_packages(extras: list[str], cpu: bool) -> int:
    write_stamp({"python": sys.version, "extras": extras, "cpu": cpu})  # what to continue if this is interrupted
    target = f".[{','.join(extras)}]" if extras else "."
    say(f"Installing {target} (once, in a few minutes; PyTorch is most of it)")
    code = (
        run(pip("--quiet", "--upgrade", "pip"))  # an old one searches longer and says less
        or check_pins()
        or (install_cpu_build() if cpu else 0)
        or run(pip("--only-binary", ":all:", "-e", target))
    )
    if code not in (0, INTERRUPTED):
        say("The installation failed for the reason above.")
    return code


def check_pins() -> int:
    """Look up every pin first: pip answers a pin without a match by a search through everything else, without end."""
    pins = [pin for pin in read_pins() if ";" not in pin]  # with a marker: one system's libraries, GBs of them for CUDA
    code, output = look_up(pins)
    if code in (0, INTERRUPTED):
        return code
    missing = re.search(r"No matching distribution found for (\S+)==(\S+)", output)
    if not missing or "connection broken" in output:
        print("\n".join(line for line in output.splitlines() if not line.startswith("Requirement already")))
        return code
    name, version = missing.groups()
    output = look_up([f"{name}=={version}"])[1]  # alone, so that it lists only this package's versions
    needed = re.search(rf"(?<![\w.]){re.escape(version)} Requires-Python ([^;\n]+)", output)
    reason = f"needs Python {needed[1]}" if needed else "has no wheel for this Python and system, or does not exist"
    here = f"Python {platform.python_version()} on {sysconfig.get_platform()}"
    say(f"constraints.txt pins {name}=={version}, which {reason}; this is {here}.")
    return FAILED


def look_up(pins: list[str]) -> tuple[int, str]:
    """Whether pip finds wheels for all of them, without their dependencies; its exit code and output."""
    command = [str(PYTHON), "-m", "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:", *pins]
    return captured(command)


def install_cpu_build() -> int:
    """Install PyTorch's CPU build on Linux; on other systems the ordinary one is for CPUs already."""
    if HERE.system != "Linux":
        return 0
    torch = next(pin for pin in read_pins() if pin.startswith("torch==")) + "+cpu"
    code, _ = captured(pip(torch))  # found at once where pip is configured to see it, or if it is installed already
    if code in (0, INTERRUPTED):
        return code
    code = run(pip("--quiet", "uv")) or run(uv("--torch-backend=cpu", torch))
    if code not in (0, INTERRUPTED):
        say(
            "PyTorch's CPU build could not be installed from PyTorch's own package index, which uv names above. If a "
            "firewall blocks it, install without --cpu: delete the folder .venv and run the command again."
        )
    return code


def pip(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt", *arguments]


def uv(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON), "-c", "constraints.txt", *arguments]


def read_pins() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines())
    return [line for line in lines if line]


def has_cuda_build() -> bool:
    """Whether .venv on Linux has a PyTorch other than the CPU build."""
    found = VENV.glob("lib/python*/site-packages/torch-*.dist-info")
    return any("+cpu" not in folder.name for folder in found)


def is_broken() -> bool:
    """Whether what every command uses cannot even be imported."""
    return captured([str(PYTHON), "-c", "import course_lib.__main__, torch"])[0] not in (0, INTERRUPTED)


def fingerprint(extras: list[str], cpu: bool) -> dict[str, object]:
    """What an installation depends on; a stamp that differs from it makes the next command install again."""
    files = (ROOT / name for name in ("pyproject.toml", "constraints.txt"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return {"python": sys.version, "extras": extras, "cpu": cpu, "files": digest}


def read_stamp() -> dict:
    """What is installed; empty if nothing is, or if the file is damaged, so that .venv is made again."""
    try:
        stamp = {"cpu": False, **json.loads(STAMP.read_text("utf-8"))}
        is_valid = isinstance(stamp["python"], str) and isinstance(stamp["cpu"], bool)
        known = {"cluster"}.union(*NEEDS.values())
        return stamp if is_valid and known.issuperset(stamp["extras"]) else {}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def write_stamp(stamp: dict[str, object]) -> None:
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp), "utf-8")
    part.replace(STAMP)


def say(text: str) -> None:
    print(f"[course] {text}", flush=True)


def run(command: list[str], folder: Path | None = ROOT) -> int:
    """Run a command in `folder` and return its exit code."""
    with subprocess.Popen(command, cwd=folder, text=True) as process:
        return finish(process)[0]


def captured(command: list[str]) -> tuple[int, str]:
    """Run a command in the course's folder; its exit code and what it printed, which the user does not see."""
    with subprocess.Popen(
        command, cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        return finish(process)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process: its exit code and output. Ctrl-C reaches the process too, which ends in its own way."""
    output, interrupted = "", False
    while True:
        try:
            if process.stdout:
                output += process.stdout.read()
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True
            continue
        if interrupted and code:
            return INTERRUPTED, output
        return (128 - code if code < 0 else code), output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
