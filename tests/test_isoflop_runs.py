"""The course's own scaling runs: what is varied, what is noted, and that the note is true."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from course_lib import corpus
from course_lib import isoflop_runs as module
from course_lib.isoflop_runs import SHAPES, isoflop_runs, recipe_for, shape, size, train_isoflop
from course_lib.model import MiniDeepSeek
from course_lib.scaling import load_sweep
from course_lib.sweep import sweep


@pytest.mark.parametrize("layers_width", SHAPES, ids=str)
def test_n_counts_what_a_token_is_multiplied_with(layers_width: tuple[int, int]) -> None:
    layers, width = layers_width
    model = MiniDeepSeek(shape(layers, width))
    assert size(layers, width) == sum(p.numel() for p in model.parameters()) - 256 * width
    assert size(layers, width) == pytest.approx(12 * layers * width**2 + 256 * width, rel=0.05)


def test_each_size_is_about_twice_the_one_before() -> None:
    sizes = [size(*each) for each in SHAPES]
    assert all(1.6 < after / before < 2.2 for before, after in pairwise(sizes))


def test_budgets_are_spent_whatever_the_size() -> None:
    runs = isoflop_runs([4, 6], [1e12, 1e13], 5)
    assert len(runs) == 2 * 2 * 5 == len({tuple(run.items()) for run in runs})
    for run in runs:
        recipe = recipe_for(**run)  # type: ignore[arg-type]
        tokens = recipe.steps * recipe.batch_size * recipe.length
        params = size(run["layers"], run["hidden_size"])  # type: ignore[arg-type]
        assert 6 * params * tokens == pytest.approx(run["budget"], rel=2e-3)
        assert recipe.seed == run["seed"]


def test_sizes_lie_on_either_side_of_the_expected_best() -> None:
    for budget in (1e12, 3e12, 1e13, 1e14):
        sizes = [size(run["layers"], run["hidden_size"]) for run in isoflop_runs([0], [budget])]  # type: ignore[arg-type]
        expected = 70_000 * math.sqrt(budget / 1e12)
        assert sizes == sorted(sizes) and sizes[1] < expected < sizes[3]


def test_a_wish_for_too_many_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"want 1 to 12 sizes, and budgets of 1e6 FLOP or more, got 13 and"):
        isoflop_runs([0], [1e9], 13)
    with pytest.raises(ValueError, match="budgets of 1e6 FLOP or more"):
        isoflop_runs([0], [1e12, 1e5])


def test_a_run_is_a_row_that_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION", 30_000)  # fewer stories to write and to judge
    runs = isoflop_runs([3], [2e7], 2)
    sweep(runs, train_isoflop, tmp_path / "log.csv")
    table = load_sweep(tmp_path / "log.csv")
    assert table.params.tolist() == sorted(size(*each) for each in SHAPES[:2])
    assert table.flops.tolist() == [2e7, 2e7]
    for row in table.cells:
        assert row["command"] == "course.py sweep isoflop --budgets 2e+07 --seeds 3"
        assert row["torch"] == torch.__version__
        assert 4.5 < float(row["loss"]) < 5.8, "few steps from ln 256 = 5.5"


def test_the_loss_is_of_text_that_no_run_saw() -> None:
    small, large = (corpus.load("stories", 10 * n) for n in (30_000, 33_000))
    assert torch.equal(small.validation, large.validation[:30_000])
    assert not torch.equal(small.validation[:1000], small.training[:1000])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no sweep at .*; course.py sweep isoflop makes one"),
        ("budget,params,tokens,loss\n", "holds no isoFLOP runs: it is empty"),
        ("strategy,seed\nbias,0\n", "holds no isoFLOP runs: no column 'budget'"),
    ],
)
def test_what_is_no_sweep_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_sweep(path)
