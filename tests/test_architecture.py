"""Imports go down only: numbers, arithmetic and functions, modules, assembly, what people look at."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {
        "architectures",
        "config",
        "config_json",
        "config_keys",
        "config_rope",
        "config_rules",
        "claims",
        "press_table",
        "grammar",
        "stories",
        "quantity",
        "fetch",
        "files",
        "devices",
        "host",
        "distributed",
    },
    {
        "accounting",
        "rope",
        "routing",
        "speculative",
        "precision",
        "pipeline",
        "all_to_all",
        "cache",
        "doctor",
        "batched_fit",
        "design",
        "fit_data",
        "power_law",
        "isoflop",
        "parametric",
        "scaling_data",
        "scaling",
        "exponents",
        "cost",
        "cost_data",
    },
    {"attention", "mla", "moe", "block", "mtp", "preflight"},
    {
        "model",
        "weights",
        "corpus",
        "generation",
        "training",
        "checkpoint",
        "boxed",
        "sweep",
        "isoflop_runs",
        "experiments",
        "exercises",
    },
    {"figures", "widgets", "count_table"},
    {"__main__", "runs", "workspace"},
]
WITHOUT_TORCH = {
    "architectures", "config", "config_json", "config_keys", "config_rope", "config_rules",
    "claims", "grammar", "stories", "accounting", "count_table", "figures", "quantity", "pipeline",
    "cost", "cost_data", "press_table", "fetch", "files", "host", "preflight",
}  # fmt: skip
# within a floor, the few that may look at a neighbour
BESIDE = {
    ("cost_data", "cost"), ("press_table", "claims"),
    ("config", "config_json"), ("config", "config_rules"), ("config_rules", "config"),
    ("config_json", "architectures"), ("config_json", "config_keys"), ("config_json", "config_rope"),
    ("config_json", "files"),
    ("mla", "attention"), ("block", "attention"), ("block", "mla"), ("block", "moe"), ("mtp", "block"),
    ("model", "weights"), ("stories", "grammar"), ("widgets", "figures"),
    ("training", "corpus"), ("training", "model"), ("checkpoint", "training"), ("checkpoint", "model"),
    ("boxed", "checkpoint"), ("boxed", "model"),
    ("generation", "model"), ("__main__", "runs"), ("__main__", "workspace"),
    ("power_law", "fit_data"), ("isoflop", "fit_data"), ("isoflop", "power_law"),
    ("parametric", "fit_data"), ("parametric", "batched_fit"), ("exponents", "parametric"),
    ("scaling", "power_law"), ("scaling", "isoflop"), ("scaling", "parametric"), ("scaling", "scaling_data"),
    ("scaling", "fit_data"), ("exponents", "fit_data"), ("design", "fit_data"), ("batched_fit", "fit_data"),
    ("parametric", "design"),
    ("experiments", "corpus"), ("experiments", "model"), ("experiments", "training"), ("experiments", "sweep"),
    ("experiments", "isoflop_runs"), ("isoflop_runs", "corpus"), ("isoflop_runs", "model"), ("isoflop_runs", "sweep"),
    ("isoflop_runs", "training"),
}  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(ROOT / "course_lib").parts[0].removesuffix(".py")


def imported(source: str) -> set[str]:
    """Full names of all modules that a source imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(name: str, source: str) -> list[str]:
    floor = {each: level for level, rooms in enumerate(FLOORS) for each in rooms}
    wrong = []
    for module in imported(source):
        parts = module.split(".")
        if parts[0] == "torch" and name in WITHOUT_TORCH:
            wrong.append(f"{name} imports torch")
        if parts[0] != "course_lib" or len(parts) < 2 or parts[1] not in floor or parts[1] == name:
            continue
        if parts[1] == "exercises" and name != "__main__":
            wrong.append(f"{name} imports exercises, which are for notebooks and graders")
        if floor[parts[1]] >= floor[name] and (name, parts[1]) not in BESIDE:
            wrong.append(f"{name} imports {parts[1]}, which is not below it")
    return wrong


FILES = [
    path
    for path in sorted((ROOT / "course_lib").rglob("*.py"))
    if path.parent.name + path.name != "course_lib__init__.py"
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    assert any(room(path) in floor for floor in FLOORS), f"give {room(path)} a floor"
    assert wrong_imports(room(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rope", "from course_lib.mla import MLA"),
        ("rope", "def f():\n    import course_lib.model"),
        ("attention", "from course_lib import mla"),
        ("config", "import torch.nn"),
        ("widgets", "from course_lib import exercises"),
        ("model", "from course_lib.widgets.cache import CacheExplorer"),
    ],
)
def test_the_rule_can_fail(name: str, source: str) -> None:
    assert wrong_imports(name, source)


def test_course_py_needs_the_standard_library_only() -> None:
    roots = {name.split(".")[0] for name in imported((ROOT / "course.py").read_text(encoding="utf-8"))}
    assert roots <= set(sys.stdlib_module_names)


def test_every_file_of_the_library_is_installed() -> None:
    """Colab installs the package, so a file that package-data forgets is missing there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    installed = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    library = ROOT / "course_lib"
    there = {path for path in library.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there - installed == set()
