"""Whatever stops a write, the file of before is still there and whole, and nothing else is left behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_grader import colab, gradebook, release
from course_grader.records import Mark, Record, Store
from course_lib import checkpoint, corpus, files, sweep
from course_lib.model import MiniDeepSeek
from course_lib.training import History, Step
from notebooks import build
from tests.conftest import tiny_moe
from tests.test_training import assert_identical, training

RECORD = Record("ada", "hw1_mla", 1, "", "bare", 0.5, [Mark("rotate", 3, 3, "Right.")], cells=["pass"] * 99)

# writes version 1 or 2 of its file into a folder
Writer = Callable[[Path, int], None]


def write_checkpoint(folder: Path, version: int) -> None:
    run = training(corpus.load("stories", 40_000))
    list(run.run(version))
    checkpoint.save(run, folder / "run")


def write_model(folder: Path, version: int) -> None:
    torch.manual_seed(version)
    checkpoint.save_model(MiniDeepSeek(tiny_moe(name=f"version {version}")), folder)


def write_log(folder: Path, version: int) -> None:
    steps = [Step(float(version), 1.0, 1.0, 1.0, torch.zeros(0, 0).long(), torch.zeros(0, 0))] * 900
    checkpoint.write_log(History(steps), folder / "log.csv")


def drop_cut_line(folder: Path, version: int) -> None:
    if version == 1:
        files.write_text(folder / "sweep.csv", "seed,loss\n" + 99 * "0,2.5\n" + "1,2.")
    else:
        sweep._drop_cut_line(folder / "sweep.csv")


def keep_record(folder: Path, version: int) -> None:
    Store(folder, "hw1_mla").keep(replace(RECORD, attempt=version))


def create_gradebook(folder: Path, version: int) -> None:
    folder.mkdir(exist_ok=True)
    if version == 2:
        with gradebook._for_nbgrader():
            gradebook._create(folder / "gradebook.db")


def page(version: int) -> NotebookNode:
    """The beginning of every notebook of the course, and one cell."""
    cells = [new_markdown_cell("# Title"), new_code_cell(colab.bootstrap()), new_code_cell(f"version = {version}")]
    cells[1].metadata["tags"] = ["bootstrap"]
    cells[2].metadata["nbgrader"] = {
        "grade": False, "solution": True, "locked": False, "grade_id": "a", "task": False, "schema_version": 3,
    }  # fmt: skip
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def stamp(folder: Path, version: int) -> None:
    path = folder / "notebooks" / "00.ipynb"
    if version == 1:
        path.parent.mkdir(parents=True)
        nbformat.write(page(1), path)
    else:
        colab.stamp(path)


def write_release(folder: Path, version: int) -> None:
    source = folder / "source" / "hw" / "hw.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    if version == 1:
        nbformat.write(page(1), source)
        files.write_text(release.target(source), "old")
    else:
        release.write(source)


def build_notebook(folder: Path, version: int) -> None:
    script = folder / "source" / "lesson.py"
    if version == 1:
        files.write_text(script, "# %%\n1 + 1\n")
        files.write_text(build.target(script), "old")
    else:
        build.build(script)


WRITERS: dict[str, tuple[Writer, str]] = {
    "checkpoint": (write_checkpoint, "run"),
    "model": (write_model, "model.safetensors"),
    "config": (write_model, "config.json"),
    "log": (write_log, "log.csv"),
    "sweep": (drop_cut_line, "sweep.csv"),
    "record": (keep_record, f"hw1_mla/records/{RECORD.slug}.json"),
    "gradebook": (create_gradebook, "gradebook.db"),
    "stamp": (stamp, "notebooks/00.ipynb"),
    "release": (write_release, "release/hw/hw.ipynb"),
    "build": (build_notebook, "lesson.ipynb"),
}


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """The kernel lets no file grow beyond `room` bytes, whatever library writes it."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def interrupted(target: str) -> Iterator[None]:
    """Ctrl-C when the file called `target` is about to get its name."""
    usual = Path.replace

    def stop(path: Path, other: Path) -> Path:
        if other.name == target:
            raise KeyboardInterrupt
        return usual(path, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        yield


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stop", ["a full disk", "an interrupt"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_is_stopped_leaves_the_file_of_before(
    name: str, stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "executed", lambda notebook, folder: notebook)
    write, victim = WRITERS[name]
    dry, real = tmp_path / "dry", tmp_path / "real"
    for folder, version in ((dry, 1), (dry, 2), (real, 1)):
        write(folder, version)
    before = contents(real)
    assert contents(dry)[Path(victim)] != before.get(Path(victim)), "or this test shows nothing"
    size = (dry / victim).stat().st_size
    by_disk = stop == "a full disk"
    stopped = full_disk(size // 2) if by_disk else interrupted(Path(victim).name)
    with stopped, pytest.raises(Exception if by_disk else KeyboardInterrupt):
        write(real, 2)
    after = contents(real)
    assert after.get(Path(victim)) == before.get(Path(victim))
    extra = {path: after[path] for path in after.keys() - before.keys()}
    assert set(extra.values()) <= {before.get(Path(victim))}, "nothing is left behind but the record that was replaced"
    write(real, 2)
    assert contents(real).keys() == contents(dry).keys()


def test_a_training_whose_save_was_stopped_goes_on_from_the_one_before(tmp_path: Path) -> None:
    path, text = tmp_path / "run", corpus.load("stories", 40_000)
    through, run, again = (training(text) for _ in range(3))
    list(through.run())
    list(run.run(2))
    checkpoint.save(run, path)
    list(run.run(2))
    with full_disk(path.stat().st_size // 2), pytest.raises(Exception):  # noqa: B017, PT011 (each library has its own)
        checkpoint.save(run, path)
    with interrupted("run"), pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, path)
    checkpoint.resume(again, path)
    assert again.step == 2
    list(again.run())
    assert_identical(again, through)
