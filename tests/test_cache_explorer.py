"""The cache explorer without a browser: set a control as a hand would, read the picture."""

import re
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.text import Annotation

from course_lib.accounting import cache_bytes, parameters, serving
from course_lib.config import published
from course_lib.figures.cache import LEFT, RIGHT, cache_figure
from course_lib.widgets.cache import CacheExplorer


def widths(explorer: CacheExplorer) -> list[float]:
    """Widths of the cache bars [px], top to bottom; every second rectangle is for weights."""
    svg = ElementTree.fromstring(explorer.picture.value)
    return [float(rect.attrib["width"]) for rect in svg.iter("rect")][1::2]


def label(explorer: CacheExplorer) -> str:
    return ElementTree.fromstring(explorer.picture.value).attrib["aria-label"]


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


def test_bars_beyond_the_axis_stop_there_and_say_so() -> None:
    explorer = CacheExplorer(models=("llama-2-7b", "deepseek-v3"), context=2**20, users=128)
    first, second = widths(explorer)
    assert first == second == RIGHT - LEFT
    assert explorer.picture.value.count("» ") == 2
    assert "0 users fit *; deepseek-v3 9.43 TB, 1 user fit *" in label(explorer)
    assert "* longer than this model was built for" in explorer.picture.value


def test_weights_that_do_not_fit_are_named() -> None:
    explorer = CacheExplorer(models=("deepseek-v3", "llama-3-8b"))
    explorer.weights.value = True
    assert "deepseek-v3 18.4 GB, weights alone 1.34 TB; llama-3-8b 34.4 GB, 14 users fit" in label(explorer)


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
    shown = [cast(Annotation, text).get_text().removeprefix("» ") for text in axes.texts]
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
