"""Where the course is on GitHub is said in one place; from there it is drawn into every notebook (`course.py colab`).

The place is REPOSITORY in notebooks/source/bootstrap.txt, which is the first code cell of every notebook. From it
comes the badge above a notebook's title, too; that of a graded source opens its release.
"""

import argparse
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib import files

ROOT = Path(__file__).resolve().parents[1]
BOOTSTRAP = Path("notebooks/source/bootstrap.txt")
BRANCH = "main"
COLAB = "https://colab.research.google.com/github/"
UNKNOWN = f'{COLAB}" title="Colab will ask which repository on GitHub has your copy of the course'
# a part of the notebook, which may be handed out alone and opened without a network
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="110" height="20"><rect width="110" height="20" rx="4" \
fill="#f9ab00"/><text x="55" y="14" text-anchor="middle" font-family="sans-serif" font-size="12">Open in Colab</text>\
</svg>"""
BADGE = re.compile(rf"""\A<a href="{re.escape(COLAB)}.*\n*""")
REPOSITORY = re.compile(r'^REPOSITORY = "(.*?)"', re.MULTILINE)
ADDRESS = re.compile(r"(?:(?:https?://)?(?:www\.)?github\.com/|git@github\.com:)?([^/\s]+)/([^/\s]+)/?")


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="course.py colab", description="Say where Colab finds the course.")
    parser.add_argument("repository", metavar="OWNER/REPO", help="a public repository on GitHub; its address will do")
    try:
        name = owner_and_name(parser.parse_args(arguments).repository)
    except ValueError as error:
        parser.error(str(error))
    bootstrap = (root / BOOTSTRAP).read_text(encoding="utf-8")
    files.write_text(root / BOOTSTRAP, REPOSITORY.sub(f'REPOSITORY = "{name}"', bootstrap, count=1))
    changed = [path for path in notebooks(root) if stamp(path, root)]
    print(f"{name}, branch {BRANCH}: {len(changed)} notebooks changed. Push them: Colab sees what is on GitHub.")
    return 0


def owner_and_name(address: str) -> str:
    """OWNER/REPO of an address on GitHub.

    Raises:
        ValueError: there can be no such repository; the text says what is wanted.
    """
    if found := ADDRESS.fullmatch(address.strip()):
        owner, name = found[1], found[2].removesuffix(".git")
        if re.fullmatch(r"[a-zA-Z\d](-?[a-zA-Z\d])*", owner) and re.fullmatch(r"\.*[\w-][\w.-]*", name, re.ASCII):
            return f"{owner}/{name}"
    raise ValueError(f"{address!r} is no repository on GitHub: wanted OWNER/REPO, or https://github.com/OWNER/REPO")


def bootstrap(root: Path = ROOT) -> str:
    """The first code cell of every notebook."""
    return (root / BOOTSTRAP).read_text(encoding="utf-8").rstrip()


def repository(root: Path = ROOT) -> str:
    """OWNER/REPO of the course on GitHub, or an empty text if it has not been set."""
    found = REPOSITORY.search(bootstrap(root))
    assert found, f"no line REPOSITORY in {BOOTSTRAP}"
    return found[1]


def badge(page: str, root: Path = ROOT) -> str:
    """A line that opens `page`, a path in the repository."""
    name = repository(root)
    link = f"{COLAB}{name}/blob/{BRANCH}/{page}" if name else UNKNOWN
    picture = b64encode(PICTURE.encode()).decode()
    return f'<a href="{link}"><img alt="Open in Colab" src="data:image/svg+xml;base64,{picture}"></a>'


def stamped(notebook: NotebookNode, page: str, root: Path = ROOT) -> NotebookNode:
    """The notebook itself, with the badge of `page` over its title and the bootstrap cell as they should be."""
    for cell in notebook.cells:
        if "bootstrap" in cell.metadata.get("tags", []):
            cell.source = bootstrap(root)
            cell.metadata.jupyter = NotebookNode(source_hidden=True)  # JupyterLab folds it to a bar
    if notebook.cells and notebook.cells[0].cell_type == "markdown":
        notebook.cells[0].source = f"{badge(page, root)}\n\n{unstamped(notebook.cells[0].source)}"
    return notebook


def unstamped(source: str) -> str:
    """A cell without what `stamped` puts into it, so that the id of a cell may depend on the rest."""
    return REPOSITORY.sub('REPOSITORY = ""', BADGE.sub("", source))


def notebooks(root: Path = ROOT) -> Iterator[Path]:
    """All that are stamped."""
    for pattern in ("notebooks/*.ipynb", "assignments/source/*/*.ipynb", "assignments/release/*/*.ipynb"):
        yield from sorted(root.glob(pattern))


def page_of(path: Path) -> str:
    """What the badge of the notebook at `path` opens."""
    if path.parent.name == "notebooks":
        return f"notebooks/{path.name}"
    return f"assignments/release/{path.parent.name}/{path.name}"


def stamp(path: Path, root: Path = ROOT) -> bool:
    """Stamp a notebook where it is, outputs and all else as they were. False where nothing had to change."""
    before = path.read_text(encoding="utf-8")
    after = nbformat.writes(stamped(nbformat.reads(before, as_version=4), page_of(path), root)) + "\n"
    if changed := after != before:
        files.write_text(path, after)
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
