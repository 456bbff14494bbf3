"""The drawing of a whole model says its config's numbers, and no word leaves its box."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from course_lib.config import mini, published, published_names
from course_lib.figures.anatomy import anatomy_figure


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def squares(figure: Figure) -> list[str]:
    gids = [patch.get_gid() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [gid for gid in gids if gid]


def test_v3_with_its_numbers() -> None:
    figure = anatomy_figure(published("deepseek-v3"))
    for number in ("3 blocks", "58 blocks", "129,280 × 7,168", "c = 512", "r = 64", "576 cached", "128 × (128 + 64)"):
        assert number in words(figure)
    assert len(squares(figure)) == 256
    assert squares(figure).count("expert, chosen") == 8


@pytest.mark.parametrize(
    ("changes", "there", "missing"),
    [
        ({}, ["MLA inside", "1 block", "2 blocks", "32 cached"], ["MTP"]),
        ({"num_nextn_predict_layers": 1}, ["MTP", "the same head"], ["first of"]),
        ({"num_nextn_predict_layers": 2}, ["MTP, the first of 2"], []),
        ({"n_routed_experts": 0}, ["3 blocks", "dense inside", "192 wide"], ["router", "experts"]),
        (
            {"kv_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0},
            ["MHA", "128 cached"],
            [],
        ),
    ],
)
def test_parts_come_and_go_with_the_config(changes: dict, there: list[str], missing: list[str]) -> None:
    text = words(anatomy_figure(mini(**changes)))
    assert [part for part in there if part not in text] == []
    assert [part for part in missing if part in text] == []


@pytest.mark.parametrize("name", published_names())
def test_words_stay_inside_their_boxes(name: str) -> None:
    figure = anatomy_figure(published(name))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes, renderer = figure.axes[0], canvas.get_renderer()
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    for text in axes.texts:
        extent = text.get_window_extent(renderer)
        assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1, text.get_text()
        if text.get_gid() == "in a box":
            corners = extent.min, extent.max
            assert any(all(box.contains(*corner) for corner in corners) for box in boxes), text.get_text()
