"""The cost explorer without a browser: set a control as a hand would, read the picture."""

import itertools
from typing import Any, cast

import pytest
from matplotlib.text import Annotation

from course_lib.cost import Swing, between
from course_lib.cost_data import RUNS, V3
from course_lib.figures.cost import EDGE, CostPicture, cost_figure, cost_html, tornado_figure
from course_lib.figures.svg import WIDTHS
from course_lib.widgets.cost import CostExplorer
from tests import drawn


def bars(explorer: CostExplorer) -> list[tuple[float, float]]:
    """Start and width [px] of rent, energy, and each assumption, top to bottom."""
    return [
        (float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in drawn.shown(explorer.picture.value).iter("rect")
    ]


def label(explorer: CostExplorer) -> str:
    return drawn.label(explorer.picture.value)


def test_the_first_state_is_the_published_run() -> None:
    said = label(CostExplorer())
    for words in (
        "DeepSeek-V3, 2.664M h of pre-training at 39.1% of the BF16 peak, 2.788M h in all, $2.00 per GPU hour",
        "hour: rent $5.58M",
        "energy 2.97 GWh (2.25 to 3.81)",
        "GPU rating x hours: 1.95 GWh",
        "CO2: 169 t on the French grid; 1,273 t on the average US grid",
    ):
        assert words in said


def test_controls_move_the_bars() -> None:
    explorer = CostExplorer()
    (_, rent), (_, energy), *_ = bars(explorer)
    explorer.price.value = 4.0
    assert bars(explorer)[0][1] == pytest.approx(2 * rent, abs=0.2)
    assert bars(explorer)[1][1] == energy
    explorer.price.value = 2.0
    explorer.hours.value = 2 + 0.124 / 2.664  # twice as many in all
    assert bars(explorer)[0][1] == pytest.approx(2 * rent, abs=0.2)
    assert bars(explorer)[1][1] == pytest.approx(2 * energy, abs=0.2)
    explorer.watts.value = (266, 350)
    assert bars(explorer)[1][1] == pytest.approx(energy, abs=0.2)
    explorer.pue.value = (1.0, 1.0)
    assert bars(explorer)[1][1] == pytest.approx(energy / 1.2, abs=0.2)
    explorer.host.value = (0.0, 0.0)
    assert bars(explorer)[1][1] == pytest.approx(energy / 1.2 / 1.44, abs=0.2)


def test_hours_and_mfu_are_tied() -> None:
    explorer = CostExplorer()
    published = explorer.mfu.value
    assert explorer.hours.value == 1 and published == pytest.approx(39.06, abs=0.005)
    explorer.hours.value = 2.0
    assert explorer.mfu.value == pytest.approx(published / 2)
    explorer.mfu.value = 50.0
    assert explorer.hours.value == pytest.approx(published / 50)
    assert "2.081M h of pre-training at 50.0% of the BF16 peak, 2.205M h in all" in label(explorer)
    for slider, end in itertools.product((explorer.hours, explorer.mfu), ("min", "max")):
        slider.value = getattr(slider, end)
        assert explorer.hours.value * explorer.mfu.value == pytest.approx(published)
        assert 13 < explorer.mfu.value <= 100


def test_a_handle_that_a_browser_puts_on_the_next_step_moves_nothing() -> None:
    explorer = CostExplorer()
    before = label(explorer)
    explorer.mfu.value = 39.1
    assert label(explorer) == before
    explorer.mfu.value = 39.2
    assert "at 39.2% of the BF16 peak" in label(explorer) and explorer.hours.value == pytest.approx(39.060758 / 39.2)
    before = label(explorer)
    explorer.hours.value = 1.0
    assert label(explorer) == before
    explorer.hours.value = 1.01
    assert "2.691M h of pre-training" in label(explorer)


@pytest.mark.parametrize("first", RUNS)
def test_another_run_brings_its_own_hours(first: str) -> None:
    explorer = CostExplorer(run=first)
    explorer.hours.value = 1.5
    for name in (*(set(RUNS) - {first}), first):
        explorer.run.value = name
        assert explorer.hours.value == 1 and label(explorer) == label(CostExplorer(run=name))
    explorer.run.value = "Llama 3.1 405B"
    assert "30.840M h in all" in label(explorer) and "rent $61.68M" in label(explorer)
    assert explorer.mfu.value == pytest.approx(35.8, abs=0.05)


def test_the_widest_assumption_comes_first_and_stands_around_the_value() -> None:
    explorer = CostExplorer()
    assert [swing.name for swing in explorer.shown.swings] == [
        "draw of the GPU", "building (PUE)", "rest of the machine",
    ]  # fmt: skip
    explorer.pue.value = (1.0, 2.0)
    assert explorer.shown.swings[0].name == "building (PUE)"
    (_, (left, energy), *alone) = bars(explorer)
    assert all(start < left + energy < start + width for start, width in alone)


def test_no_bar_is_cut_off() -> None:
    explorer = CostExplorer()
    _, rent = bars(explorer)[0]
    explorer.price.value = 4.5
    assert bars(explorer)[0][1] == pytest.approx(2.25 * rent, abs=0.2), "while it fits the axis stays"
    for control in (explorer.price, explorer.hours):
        control.value = control.max
    for ends in (explorer.watts, explorer.host, explorer.pue):
        ends.value = (ends.min, ends.max)
    right = WIDTHS[-1] - EDGE
    assert all(start > 0 and start + width <= right + 0.1 for start, width in bars(explorer))
    shown = explorer.shown
    per_dollar, per_mwh = bars(explorer)[0][1] / shown.rent.value, bars(explorer)[1][1] / shown.energy.value
    assert right - EDGE == pytest.approx(per_dollar * 1e8, abs=0.3)  # $80M on an axis of $100M
    for (start, width), swing in zip(bars(explorer)[2:], shown.swings, strict=True):
        assert (start - EDGE, width) == pytest.approx((per_mwh * swing.low, per_mwh * swing.width), abs=0.2)
    paths = {each.get("class"): each.get("d", "") for each in drawn.shown(explorer.picture.value).iter("path")}
    low, high = (float(end.split(" ")[0]) for end in paths["whisker"].split("M")[2:])
    assert (low, high) == pytest.approx(
        [EDGE + per_mwh * end for end in (shown.energy.low, shown.energy.high)], abs=0.2
    )
    assert float(paths["rule"][1:].split(" ")[0]) == pytest.approx(EDGE + per_mwh * shown.rule, abs=0.2)


@pytest.mark.parametrize("hours", [1.0, 1.4, 1.95, 2.2, 2.6, 3.0])
@pytest.mark.parametrize("watts", [(100, 120), (532, 700), (600, 1000)])
def test_the_range_of_the_energy_fits_too(hours: float, watts: tuple[int, int]) -> None:
    explorer = CostExplorer()
    explorer.watts.value, explorer.hours.value = watts, hours
    (whisker,) = [
        each.attrib["d"] for each in drawn.shown(explorer.picture.value).iter("path") if each.get("class") == "whisker"
    ]
    start, end = (float(tick.split(" ")[0]) for tick in whisker.split("M")[2:])
    energy, per_mwh = explorer.shown.energy, bars(explorer)[1][1] / explorer.shown.energy.value
    assert (start, end) == pytest.approx((EDGE + per_mwh * energy.low, EDGE + per_mwh * energy.high), abs=0.2)
    assert end <= WIDTHS[-1] - EDGE + 0.1


def test_the_static_picture_shows_the_same() -> None:
    explorer = CostExplorer()
    above, below = cost_figure(explorer.shown).axes
    shown = [cast(Annotation, text).get_text() for axes in (above, below) for text in axes.texts]
    assert shown == [
        explorer.shown.rent_label, explorer.shown.energy_label,
        *(explorer.shown.swing_label(swing) for swing in explorer.shown.swings),
    ]  # fmt: skip
    assert above.patches[0].get_width() == pytest.approx(5.576)  # type: ignore[attr-defined]
    assert below.patches[0].get_width() == pytest.approx(explorer.shown.energy.value / 1e3)  # type: ignore[attr-defined]
    assert "run this cell" in repr(explorer)


def test_names_are_escaped() -> None:
    changes: dict[str, Any] = {
        "title": "a <b> & c", "rent": V3.hours, "energy": between(1e3, 3e3), "swings": [Swing("<x>", 1, 2)],
        "rent_limit": 1e7, "energy_limit": 1e4, "rule": 5e2, "carbon": {"<y>": V3.hours},
    }  # fmt: skip
    page = cost_html(CostPicture(**changes))
    assert "&lt;x&gt;" in page and "a <b> & c" in drawn.label(page)


def test_the_tornado() -> None:
    result = between(1e3, 3e3)
    (axes,) = tornado_figure([Swing("wide", 1e3, 3e3), Swing("pue", 1.8e3, 2.2e3)], result, "energy [GWh]", 1e3).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["wide", "building (PUE)"]
    assert axes.get_xlabel() == "energy [GWh]"
    spans = [(bar.get_x(), bar.get_width()) for bar in axes.patches]  # type: ignore[attr-defined]
    assert spans == [pytest.approx((1, 2)), pytest.approx((1.8, 0.4))]
    *ends, middle = [cast(Annotation, text).get_text() for text in axes.texts]
    assert ends == ["1.00 to 3.00", "1.80 to 2.20"] and middle.startswith("2.00, every assumption")
