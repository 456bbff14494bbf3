"""The cache explorer without a browser: set a control as a hand would, read the picture."""

import re
from typing import Any, cast

import pytest
import torch
from matplotlib.text import Annotation

from course_lib.accounting import cache_bytes, parameters, serving
from course_lib.config import published
from course_lib.figures.cache import NOTHING, CacheBars, cache_figure
from course_lib.figures.svg import WIDTHS
from course_lib.widgets.cache import MEMORY, CacheExplorer
from tests import drawn

ACROSS = WIDTHS[-1] - 8  # px: length of the axis


def widths(explorer: CacheExplorer, name: str = "cache") -> list[float]:
    """Widths of the bars [px], top to bottom."""
    rects = drawn.shown(explorer.picture.value).iter("rect")
    return [float(rect.attrib["width"]) for rect in rects if rect.get("class") == name]


def line(explorer: CacheExplorer) -> float:
    """Where the memory of the GPU ends [px from the start of the bars]."""
    (path,) = [
        each.attrib["d"] for each in drawn.shown(explorer.picture.value).iter("path") if each.get("class") == "memory"
    ]
    return float(path[1:].split(" ")[0]) - 4


def label(explorer: CacheExplorer) -> str:
    return drawn.label(explorer.picture.value)


def test_bars_are_as_long_as_the_caches() -> None:
    explorer = CacheExplorer(models=("deepseek-v3", "llama-3-8b"), context=8192, users=4)
    v3, llama = widths(explorer)
    assert llama / v3 == pytest.approx(131072 / 70272, rel=0.01)
    assert "Caches of 4 users with 8,192 tokens each: deepseek-v3 2.3 GB, 138 users fit" in label(explorer)


def test_controls_move_the_bars() -> None:
    explorer = CacheExplorer(models=("deepseek-v3", "llama-3-8b"), context=8192, users=4)
    before = widths(explorer)
    explorer.context.value = 16384
    assert widths(explorer) == pytest.approx([2 * width for width in before], abs=0.2)
    explorer.element.value = 1
    assert widths(explorer) == pytest.approx(before, abs=0.2)
    explorer.users.value = 8
    assert widths(explorer) == pytest.approx([2 * width for width in before], abs=0.2)
    explorer.memory.value = 180  # the axis is the GPU's
    assert widths(explorer) == pytest.approx([2 * width * 80 / 180 for width in before], abs=0.2)
    explorer.models["mixtral-8x7b"].value = explorer.models["llama-3-8b"].value = True
    assert len(widths(explorer)) == 3 and "mixtral-8x7b" in label(explorer)
    for name in ("deepseek-v3", "llama-3-8b"):
        explorer.models[name].value = False
    assert len(widths(explorer)) == 1 and "mixtral-8x7b" in label(explorer)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("memory", MEMORY.values())
@pytest.mark.parametrize(("context", "users"), [(512, 1), (2**15, 8), (2**17, 3), (2**18, 31), (2**20, 128)])
def test_no_bar_is_cut_off_and_all_share_one_scale(weights: bool, memory: int, context: int, users: int) -> None:
    explorer = CacheExplorer(context=context, users=users)
    explorer.memory.value, explorer.weights.value = memory, weights
    caches, loads, at = widths(explorer), widths(explorer, "weights"), line(explorer)
    assert max(cache + load for cache, load in zip(caches, loads, strict=True)) <= ACROSS + 0.01
    for (_, row), cache, load in zip(explorer.bars.rows, caches, loads, strict=True):
        assert cache == pytest.approx(row.cache_bytes * at / (memory * 1e9), rel=0.02, abs=0.1)
        assert load == pytest.approx(row.weight_bytes * at / (memory * 1e9), rel=0.02, abs=0.1)
        assert (load > 0) == weights
    assert "0 GB" in drawn.words(explorer.picture.value) and "»" not in explorer.picture.value


def test_the_axis_is_named_at_its_end() -> None:
    explorer = CacheExplorer(models=("llama-2-7b", "deepseek-v3"), context=2**20, users=128)
    assert drawn.words(explorer.picture.value)[-2] == "100 TB"  # 70.4 TB is the longest
    assert "0 users fit *; deepseek-v3 9.43 TB, 1 user fits *" in label(explorer)
    assert "* longer than this model was built for" in explorer.picture.value
    explorer.users.value = 1
    assert drawn.words(explorer.picture.value)[-2] == "1 TB"
    explorer.context.value = 512
    assert drawn.words(explorer.picture.value)[-1] == "104 GB"  # the GPU and a little more


def test_a_bar_of_weights_and_cache_is_told_as_what_it_is() -> None:
    explorer = CacheExplorer(models=("deepseek-v3", "llama-3-8b"))
    explorer.weights.value = True
    told = "deepseek-v3 weights 1.34 TB + cache 18.4 GB, the weights alone do not fit; "
    assert told + "llama-3-8b weights 16.1 GB + cache 34.4 GB, 14 users fit *" in label(explorer)
    explorer.context.value = 2**18
    assert "the weights alone do not fit *; llama" in label(explorer), "the star, whatever fits"


def test_one_is_not_many_and_none_is_told() -> None:
    explorer = CacheExplorer(models=("deepseek-v3",), context=512, users=1)
    assert label(explorer).startswith("Caches of 1 user with 512 tokens: deepseek-v3 0.036 GB, 2,223 users fit")
    config, serving = explorer.bars.rows[0]
    assert CacheBars([(config, serving)], context=1, users=2, memory=80).title == "2 users, 1 token each"
    explorer.models["deepseek-v3"].value = False
    assert label(explorer) == f"Caches of 1 user with 512 tokens: {NOTHING}"
    for width in WIDTHS:
        assert " ".join(drawn.words(explorer.picture.value, width)) == NOTHING


def test_users_that_fit_count_weights_and_whole_caches() -> None:
    config = published("llama-3-8b")
    each, weights = cache_bytes(config, 1000), 2 * parameters(config).total
    for spare, users in ((0, 3), (-1, 2), (each - 1, 3)):
        memory = weights + 3 * each + spare
        assert serving(config, context=1000, users=1, memory_bytes=memory, bytes_per_weight=2).users_that_fit == users
    assert serving(config, context=1000, users=1, memory_bytes=1e9, bytes_per_weight=2).users_that_fit == 0


def test_the_static_picture_shows_the_same() -> None:
    explorer = CacheExplorer()
    axes = cache_figure(explorer.bars).axes[0]
    shown = [cast(Annotation, text).get_text() for text in axes.texts]
    assert shown == [explorer.bars.label(config, serving) for config, serving in explorer.bars.rows]
    assert re.search("run this cell", repr(explorer))


UNCOUNTABLE = [0, -3, 2.5, None, "many", torch.ones(2), torch.ones(()), torch.ones((), device="meta")]


@pytest.mark.parametrize("answer", UNCOUNTABLE)
def test_a_count_that_cannot_be_drawn_is_told(answer: object) -> None:
    def mine(config: dict[str, Any]) -> Any:
        return 5 if config["name"] == "llama-3-8b" else answer

    with pytest.raises(ValueError, match=r"your mine gave .+ for llama-2-7b; wanted a positive integer"):
        CacheExplorer(models=("llama-3-8b", "llama-2-7b"), elements=mine)


@pytest.mark.parametrize("answer", [7, torch.tensor(7)])
def test_a_count_may_be_any_integer(answer: Any) -> None:
    (_, row), *_ = CacheExplorer(context=1024, users=1, elements=lambda config: answer).bars.rows
    assert row.cache_bytes == 2 * 1024 * 7
