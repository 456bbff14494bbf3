"""The folder that a student works in: copies of all lessons and homework, so that using them never changes the clone.

It lies in the clone, git ignores it, and JupyterLab shows nothing else. Copies keep the paths that the originals have,
so that links between notebooks work in both.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import replacing, write_text

FOLDER = "my_course"
FIRST = "notebooks/00_start_here.ipynb"
ORIGINALS = ("notebooks/*.ipynb", "assignments/release/*/*.ipynb")
SETTINGS = Path(__file__).parent / "lab_settings"  # of JupyterLab, for this server only
RECORD = ".copied.json"  # path of each copy -> digest of the original that it was made from


@dataclass
class Update:
    """What `update` did; paths are relative to the folder."""

    copied: list[str] = field(default_factory=list)  # new here, or a newer version of what had not been edited
    kept: list[str] = field(default_factory=list)  # edited by the student, although the course has a newer version


def update(root: Path, folder: Path) -> Update:
    """Copies the notebooks of the clone `root` that `folder` lacks or has in an older version.

    A copy whose cells the student has edited is never replaced. One that was only run is, because its cells still are
    those of the original.
    """
    done, record = Update(), _record(folder)
    for original in sorted(path for pattern in ORIGINALS for path in root.glob(pattern)):
        name, version = original.relative_to(root).as_posix(), digest(original)
        copy = folder / name
        if copy.exists() and record.get(name) == version:
            continue
        if copy.exists() and digest(copy) not in (record.get(name), version):
            done.kept.append(name)
            continue
        if not copy.exists() or digest(copy) != version:
            with replacing(copy) as part:
                shutil.copyfile(original, part)
            done.copied.append(name)
        record[name] = version
    write_text(folder / RECORD, json.dumps(record, indent=1))
    return done


def lab_arguments(root: Path, further: list[str]) -> list[str]:
    """What JupyterLab is started with: the folder as all that it shows, our page for printing and style, a notebook."""
    templates = root / "notebooks" / "templates"
    arguments = [
        "--ServerApp.root_dir=.",
        f"--HTMLExporter.extra_template_basedirs={templates}",
        "--HTMLExporter.template_name=course",
        "--LabApp.custom_css=True",
        f"--ServerApp.tornado_settings=static_custom_path={SETTINGS / 'custom'}",
    ]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        arguments.append("--allow-root")  # as in most containers
    named = any(argument.endswith(".ipynb") for argument in further)
    return [*arguments, *([] if named else [FIRST]), *further]


def digest(notebook: Path) -> str:
    """Of what the cells say, without outputs; of all bytes where the file is not a notebook."""
    data = notebook.read_bytes()
    try:
        cells = [[cell["cell_type"], "".join(cell["source"])] for cell in json.loads(data)["cells"]]
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _record(folder: Path) -> dict[str, str]:
    """Without a record that can be read, every copy counts as edited, so nothing is lost."""
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
