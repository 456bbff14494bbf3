"""The page of hw1, with right functions and wrong ones; what nbgrader makes of it; the command that releases it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbformat import NotebookNode
from typer.testing import CliRunner

from course_grader import release
from course_grader.__main__ import app
from course_lib.config import published_names
from course_lib.exercises import BANK
from course_lib.exercises.hw1_rotate import POSITIVE_EXPONENT, turn
from course_lib.exercises.hw1_scores import MASK_OF_100, attention_with
from course_lib.widgets.cache import CacheExplorer
from tests.graded import code_cells, grades, printed, prose, read, run, said_here, with_bodies

SOURCE = release.sources()["hw1_mla"]
EXERCISES = BANK["hw1_mla"]

Page = Callable[..., list[str]]


@pytest.fixture(scope="module")
def source() -> NotebookNode:
    return read(SOURCE)


def test_the_page_says_in_which_order_the_axes_of_attention_come(source: NotebookNode) -> None:
    assert "Return `b s h v`, not `b h s v`" in prose(source)
    assert {EXERCISES[name].axes for name in ("expanded_attention", "absorbed_attention")} == {"b s h v"}


# The page with wrong functions ---------------------------------------------------------------------------------------


@pytest.fixture
def page(source: NotebookNode) -> Page:
    """Runs the page with other solutions, and gives what it says, less the checks."""

    def said(**answers: str) -> list[str]:
        lines = "".join(said_here(with_bodies(source, **answers)).values()).splitlines()
        return [line for line in lines if " points. " not in line]

    return said


def test_wrong_functions_do_not_stop_the_page(page: Page) -> None:
    said = page(**dict.fromkeys(EXERCISES, "return None"))
    *others, last = EXERCISES
    assert [f"{', '.join(others)} and {last} are not right" in line for line in said].count(True) == 2
    stops = [line for line in said if "trust" not in line]
    assert stops.pop(0).startswith("It stopped here: Data cannot be log-scaled")  # matplotlib's words for no FLOPs
    assert stops == [
        "It stopped here.",
        "It stopped here.",
        "It stopped here: your kv_cache_elements gave None for deepseek-v3; wanted a positive integer",
        "It stopped here: your kv_cache_elements gave None for deepseek-v3; wanted a positive integer",
    ]


def test_a_plot_of_wrong_counts_is_remarked(page: Page) -> None:
    remark, *rest = page(attention_flops="return query_tokens * key_tokens")
    assert remark == ("Do not trust this cell yet: attention_flops is not right, see `check` above. Then run it again.")
    assert not any("stopped" in line for line in rest)


def test_the_explorer_says_which_count_it_cannot_draw(page: Page) -> None:
    assert page(kv_cache_elements="return 0")[-4:] == 2 * [
        "Do not trust this cell yet: kv_cache_elements is not right, see `check` above. Then run it again.",
        "It stopped here: your kv_cache_elements gave 0 for deepseek-v3; wanted a positive integer",
    ]


def test_a_wrong_function_is_named_and_no_shapes_are(page: Page) -> None:
    said = page(rotate="return x[..., ::2]")
    assert [line for line in said if "rotate and compress are not right" in line] and "It stopped here." in said
    assert not any("size" in line or "shape" in line for line in said)


def test_nbgrader_itself_gives_the_points_earned(source: NotebookNode) -> None:
    """Its autograde takes the value of a cell for the points; a cell without one would earn all of them."""
    answers = dict.fromkeys(EXERCISES, "return None") | {
        "rotate": "import warnings; warnings.warn('careful'); return x",
        "absorbed_attention": "return expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset)",
    }
    del answers["expanded_attention"], answers["attention_flops"]
    cells = code_cells(with_bodies(source, **answers))
    needed = [cell for cell in cells if cell.metadata.get("nbgrader") or "import check" in cell.source]
    needed.append(nbformat.v4.new_code_cell("import sys; print('torch._dynamo' in sys.modules)"))
    half = run(nbformat.v4.new_notebook(cells=needed))
    assert grades(half) == {
        "kv_cache_elements": (0, 2), "rotate": (0, 3), "compress": (0, 3),
        "expanded_attention": (4, 4), "absorbed_attention": (3, 5), "attention_flops": (3, 3),
    }  # fmt: skip
    assert printed(half.cells[-1]) == "False\n", "counting matrix products loaded a compiler, which takes seconds"


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of its own, which the command finds."""
    path = tmp_path / "source/hw1_mla/hw1_mla.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(SOURCE.read_bytes())
    monkeypatch.setattr("course_grader.__main__.sources", lambda: release.sources(tmp_path))
    return path


def test_the_command_writes_the_same_bytes_and_checks_them(copied: Path) -> None:
    assert CliRunner().invoke(app, ["release", "--check"]).exit_code == 1
    assert not release.target(copied).exists()
    assert CliRunner().invoke(app, ["release"]).exit_code == 0
    assert release.target(copied).read_bytes() == release.target(SOURCE).read_bytes()
    assert CliRunner().invoke(app, ["release", "hw1_mla", "--check"]).exit_code == 0
    copied.write_text(copied.read_text(encoding="utf-8").replace("built by you", "made by you"), encoding="utf-8")
    stale = CliRunner().invoke(app, ["release", "--check"])
    assert stale.exit_code == 1 and "hw1_mla: out of date" in stale.output


def test_an_unknown_assignment_is_named() -> None:
    result = CliRunner().invoke(app, ["release", "hw9"])
    assert result.exit_code == 2 and "hw9" in result.output


def test_the_cache_explorer_draws_the_count_it_is_given() -> None:
    def bytes_shown(count: Callable[[dict[str, Any]], int] | None) -> list[int]:
        return [serving.cache_bytes for _, serving in CacheExplorer(tuple(published_names()), elements=count).bars.rows]

    reference = EXERCISES["kv_cache_elements"].reference
    assert bytes_shown(reference) == bytes_shown(None)
    assert bytes_shown(lambda config: 3 * reference(config)) == [3 * size for size in bytes_shown(None)]


def test_the_page_computes_by_hand_what_the_references_do() -> None:
    page = prose(read(SOURCE))
    plain = {"num_hidden_layers": 2, "num_key_value_heads": 3, "head_dim": 10}
    latent = {**plain, "kv_lora_rank": 30, "qk_rope_head_dim": 8}
    assert [EXERCISES["kv_cache_elements"].reference(config) for config in (plain, latent)] == [120, 76]
    assert "= 120$" in page and "= 76$" in page

    turned = EXERCISES["rotate"].reference(torch.tensor([[1.0, 0, 0, 1]]), torch.tensor([2]), 100.0)
    assert f"= ({', '.join(f'{x:.3f}' for x in turned[0])})$" in page

    sizes = {
        "num_attention_heads": 2, "kv_lora_rank": 3, "qk_nope_head_dim": 4, "qk_rope_head_dim": 1, "v_head_dim": 5,
    }  # fmt: skip
    flops = [EXERCISES["attention_flops"].reference(sizes, 1, 10, absorb) for absorb in (False, True)]
    assert flops == [1480, 388] and "so 1,480 FLOPs" in page and "so 388." in page


# Mistakes that rounding or small scores could hide --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_positive_exponent_is_named_in_either_precision(dtype: torch.dtype) -> None:
    def rotate(x: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
        speeds = theta ** (torch.arange(0, x.shape[-1], 2, dtype=dtype) / x.shape[-1])
        return turn(x.to(torch.promote_types(x.dtype, torch.float32)), positions[:, None] * speeds).to(x.dtype)

    for seed in range(20):
        assert EXERCISES["rotate"].grade(rotate, seed).message == POSITIVE_EXPONENT


@pytest.mark.parametrize("name", ["expanded_attention", "absorbed_attention"])
def test_a_mask_of_100_is_not_enough_and_the_lowest_number_is(name: str) -> None:
    for seed in range(20):
        for adds in (False, True):
            low = EXERCISES[name].grade(attention_with(hidden=-100.0, adds=adds), seed)
            assert low.points == 0 and low.message == MASK_OF_100
            lowest = attention_with(hidden=torch.finfo(torch.float32).min, adds=adds)
            assert EXERCISES["expanded_attention"].grade(lowest, seed).solved
