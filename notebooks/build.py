#!/usr/bin/env python3
"""Builds the notebooks from their percent scripts in source/: runs every cell and stores what it shows.

python notebooks/build.py                 build every notebook that differs from its script
python notebooks/build.py 01_kv_cache     build this one, changed or not
python notebooks/build.py --check         run nothing; name the stale notebooks and fail if there are any

Two builds of one script are the same to the byte, unless a cell shows a time or a random number.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

from course_grader.colab import stamped, unstamped
from course_grader.stored import digest, embedded, executed, normalised
from course_lib import files

FOLDER = Path(__file__).resolve().parent


class StderrError(Exception):
    """A cell ran, but warned or logged: a reader would ask what went wrong."""


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to build, without .ipynb; none: the stale ones")
    parser.add_argument("--check", action="store_true", help="only name the stale ones")
    options = parser.parse_args(arguments)

    scripts = {script.stem: script for script in sorted((folder / "source").glob("*.py"))}
    if unknown := set(options.names) - set(scripts):
        parser.error(f"no script for {', '.join(sorted(unknown))}; there are: {', '.join(scripts)}")
    named = [scripts[name] for name in options.names] or list(scripts.values())
    if options.check:
        old = [script.stem for script in named if stale(script)]
        print("\n".join(f"{name}: stale, run python notebooks/build.py {name}" for name in old) or "nothing is stale")
        return int(bool(old))
    built = [build(script) for script in named if options.names or stale(script)]
    return int(not all(built))


def target(script: Path) -> Path:
    return script.parent.parent / f"{script.stem}.ipynb"


def stale(script: Path) -> bool:
    """Whether the cells of the notebook differ from those of its script. Outputs are left to nbval."""
    return not target(script).exists() or cells(read(script)) != cells(nbformat.read(target(script), as_version=4))


def build(script: Path) -> bool:
    """Write the notebook of `script`, or say why not and leave the old one as it is."""
    start, notebook = time.perf_counter(), read(script)
    print(f"{script.stem}: ", end="", flush=True)
    try:
        executed(notebook, target(script).parent)
        refuse_stderr(notebook)
    except (CellControlSignal, DeadKernelError, StderrError) as error:
        print(f"not built. {error}")
        return False
    with files.replacing(target(script)) as part:
        nbformat.write(normalise(notebook), part)
    print(f"{len(notebook.cells)} cells in {time.perf_counter() - start:.0f} s")
    return True


def refuse_stderr(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise StderrError(f"Cell {number} wrote to stderr:\n\n{cell.source}\n\n{output.text}")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """A cell's id comes from what it says, so that a new cell changes no other; a repeated one is numbered."""
    seen, ids = Counter[str](), []
    for cell in notebook.cells:
        name = digest(f"{cell.cell_type}\n{unstamped(cell.source)}")
        seen[name] += 1
        ids.append(f"{name}-{seen[name]}")
    return normalised(notebook, ids)


def read(script: Path) -> NotebookNode:
    """The script as a notebook, with a badge over its title; a cell tagged `bootstrap` is source/bootstrap.txt."""
    return stamped(embedded(jupytext.read(script, fmt="py:percent")), f"notebooks/{target(script).name}")


def cells(notebook: NotebookNode) -> list[tuple[str, str, list[str], dict[str, bool]]]:
    """What the script decides: type, source, tags, and whether Lab folds the cell."""
    return [(c.cell_type, c.source, c.metadata.get("tags", []), c.metadata.get("jupyter", {})) for c in notebook.cells]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
