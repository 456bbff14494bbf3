"""Shapes in annotations are checked while tests run; what pytest must not collect."""

import gc
import os
from pathlib import Path

import pytest

# Where a container wants no bytecode written, each process of the tests would compile the course anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# readline sets these two in processes of pytest-xdist, and rich's consoles would keep the width that they then have.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)

# In notebook kernels too: the tensors of tests are tiny, and other processes of the tests want the other cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (the hook looks it up by name)

# Before the first import of course_lib: its modules that name shapes, but for two that make thousands of small calls.
OFTEN = ("course_lib.speculative", "course_lib.batched_fit")
COURSE = Path(__file__).parent / "course_lib"
SHAPED = {path for path in COURSE.rglob("*.py") if "jaxtyping" in path.read_text(encoding="utf-8")}
NAMES = [".".join(path.relative_to(COURSE.parent).with_suffix("").parts) for path in sorted(SHAPED)]
install_import_hook([name for name in NAMES if name not in OFTEN], "tests.typecheck.checked")

pytest_plugins = ["tests.devices"]
collect_ignore = ["notebooks/source", "notebooks/build.py"]

# Files that take longest are run first, so that no process has a long one left when the others are done.
LONGEST_FIRST = (
    "test_browser", "06_mini_deepseek", "test_assignments", "05_mtp", "test_exercises",
    "04_load_balancing", "test_judge", "test_class", "test_sandbox", "test_generation", "test_training",
    "test_checkpoint", "test_distributed", "test_windows", "test_atomic_writes", "test_train_command",
    "test_boxed", "test_cluster", "test_notebooks", "07_scaling_laws", "test_parity",
    "test_parametric",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("nbval_sanitize_with", None):  # in pyproject: relative to the caller
        config.option.nbval_sanitize_with = str(COURSE.parent / "notebooks/nbval.cfg")


def pytest_collection_finish() -> None:
    gc.freeze()  # a tenth of the time goes into looking for garbage among all that was imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    # torch.manual_seed asks every kind of device, and writes a stack down for each that sleeps: 3 ms
    torch.manual_seed(0) if torch.cuda.is_available() else torch.default_generator.manual_seed(0)
