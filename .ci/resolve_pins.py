"""Resolve the course with constraints.txt for every Python and system that it supports; needs the network.

Prints a line per combination. Fails if one has no solution, if a package has no wheel there, or if one is not pinned.
`python .ci/resolve_pins.py FILE` checks other pins.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11.0", "3.11.2", "3.12.0", "3.13.0", "3.14.0")
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux Arm": "aarch64-manylinux_2_28",
    "macOS 14 Arm": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
INSTALLER = "pip\n"  # course.py installs it besides what pyproject.toml names


def resolve(pins: Path, python: str, platform: str) -> tuple[list[str], str]:
    """The requirements that install the course with all extras, and why there are none."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    which = ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:"]
    files = ["--all-extras", "--constraint", str(pins), "pyproject.toml", "-"]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
    result = subprocess.run(
        [*command, *which, *files], cwd=ROOT, env=environment, input=INSTALLER, capture_output=True, text=True
    )
    if result.returncode:
        return [], result.stderr.strip()
    return [line for line in result.stdout.splitlines() if line and not line.startswith("#")], ""


def unpinned(requirements: list[str], pins: Path) -> list[str]:
    """Those of `requirements` that `pins` does not fix to the same version."""
    lines = (line.partition("#")[0].strip() for line in pins.read_text(encoding="utf-8").splitlines())
    pinned = {_pin(line) for line in lines if line}
    return [line for line in requirements if not line.startswith("deepseek-course") and _pin(line) not in pinned]


def _pin(line: str) -> tuple[str, str]:
    requirement = Requirement(line)
    return canonicalize_name(requirement.name), str(requirement.specifier)


def check(pins: Path, python: str, system: str) -> str:
    """Why the pins do not work there; empty if they do."""
    requirements, problem = resolve(pins, python, SYSTEMS[system])
    missing = unpinned(requirements, pins)
    if not problem and not requirements:
        problem = "uv names no package"
    if missing:
        problem = f"{pins.name} does not pin {', '.join(missing)}"
    print(
        f"Python {python:7} {system:15}", "FAILED\n" + problem if problem else f"{len(requirements)} packages, pinned"
    )
    return problem


def main(arguments: list[str]) -> int:
    pins = Path(arguments[0]).resolve() if arguments else ROOT / "constraints.txt"
    with ThreadPoolExecutor(4) as threads:
        return int(any(list(threads.map(lambda each: check(pins, *each), product(PYTHONS, SYSTEMS)))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
