"""The balance lab without a browser: run a few steps, stop halfway, go on; read the picture."""

import re
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from course_lib import routing
from course_lib.figures.balance import BODY, CLASSES, PANEL, BalancePicture, balance_figure, balance_svg
from course_lib.training import History, Recipe
from course_lib.widgets import balance
from course_lib.widgets.balance import BalanceLab

SMALL: dict[str, Any] = {"steps": 6, "experts": 8}


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(balance, "STORIES", 20_000)
    monkeypatch.setattr(balance, "Recipe", partial(Recipe, batch_size=2, length=32))
    yield
    balance._text.cache_clear()


def same(a: History, b: History) -> bool:
    return a.loss == b.loss and torch.equal(a.load, b.load) and torch.equal(a.bias, b.bias)


def course_route(scores: Any, bias: Any, top_k: int, n_group: int = 1, topk_group: int = 1, scale: float = 1.0) -> Any:
    groups = {"n_group": n_group, "topk_group": topk_group}
    indices = routing.choose_experts(scores.detach(), top_k, bias=bias, **groups)
    return indices, routing.gate_weights(scores, indices, normalise=True, scale=scale)


class Interrupting:
    """The course's router, and a key pressed on the `at`-th call."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        return course_route(*given)


def test_an_interrupt_keeps_the_history_and_running_again_goes_on_to_the_bit() -> None:
    lab = BalanceLab(**SMALL, route=Interrupting(at=5))  # two layers a step: in the third step
    lab.run()
    assert len(lab.history.steps) == 3 and lab.progress.value == 3
    assert "Stopped after 3 of 6 steps" in lab.status.value and "After 3 of 6 steps" in lab.picture.value
    lab.run()
    stopped = lab.history
    assert len(stopped.steps) == 6 and "Complete" in lab.status.value
    lab.start_over.click()
    assert lab.history.steps == [] and "nothing trained yet" in lab.picture.value
    lab.run()
    assert lab.history is not stopped and same(lab.history, stopped)


@pytest.mark.parametrize("method", ["_draw", "_begin"])
def test_an_interrupt_between_two_steps_or_before_the_first(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, real = BalanceLab(**SMALL), getattr(BalanceLab, method)

    def interrupted(self: BalanceLab) -> Any:
        monkeypatch.setattr(BalanceLab, method, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(BalanceLab, method, interrupted)
    lab.run()
    assert lab.history.steps == []
    lab.run()
    assert len(lab.history.steps) == 6


def test_a_finished_training_stays_and_a_changed_control_starts_anew() -> None:
    lab = BalanceLab(**SMALL)
    lab.run()
    first = lab.history
    lab.run()
    assert lab.history is first and "Complete, 6 steps" in lab.status.value
    lab.controls["balance"].value = "nothing"
    assert "the next <code>.run()</code> begins a new training" in lab.status.value
    assert "After 6 of 6 steps" in lab.picture.value
    lab.run()
    assert lab.history is not first and len(lab.history.steps) == 6
    assert first.bias.any() and not lab.history.bias.any()
    assert lab.history.loss[0] == first.loss[0], "all trainings of a lab begin with the same weights"


def test_controls_reach_the_training() -> None:
    lab = BalanceLab(steps=3)
    lab.controls["balance"].value, lab.controls["alpha"].value, lab.controls["speed"].value = "both", 0.1, 0.001
    for name, value in {"experts": 32, "top_k": 3, "n_group": 4, "topk_group": 2, "steps": 2}.items():
        lab.controls[name].value = value
    assert "No step of 2 trained yet" in lab.picture.value and lab.progress.max == 2
    lab.run()
    assert lab.training is not None
    recipe, config = lab.training.recipe, lab.training.model.config
    assert (recipe.sequence_alpha, recipe.bias_speed, recipe.steps) == (0.1, 0.001, 2)
    assert (config.n_routed_experts, config.num_experts_per_tok, config.n_group, config.topk_group) == (32, 3, 4, 2)
    assert lab.history.load.shape == (2, 2, 32)


@pytest.mark.parametrize(
    ("by", "alpha_off", "speed_off"),
    [("nothing", True, True), ("loss", False, True), ("bias", True, False), ("both", False, False)],
)
def test_only_what_is_used_can_be_set(by: str, alpha_off: bool, speed_off: bool) -> None:
    lab = BalanceLab()
    lab.controls["balance"].value = by
    assert (lab.controls["alpha"].disabled, lab.controls["speed"].disabled) == (alpha_off, speed_off)
    recipe = lab.settings.recipe
    assert (recipe.sequence_alpha == 0, recipe.bias_speed == 0) == (alpha_off, speed_off)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts": 4, "top_k": 5}, "“experts chosen” 5 is more than 1 of 1 groups hold"),
        ({"top_k": 4, "n_group": 8}, "“experts chosen” 4 is more than 1 of 8 groups hold"),
        ({"n_group": 3}, "“groups” 3 does not divide “experts” 16"),
        ({"n_group": 2, "topk_group": 4}, "“open groups” 4 is more than “groups” 2"),
        ({"text": "no-such-text"}, "no text &#x27;no-such-text&#x27;"),
    ],
)
def test_what_cannot_be_is_said_and_mended(settings: dict[str, Any], message: str) -> None:
    lab = BalanceLab(**{**settings, "steps": 1})
    lab.run()
    assert "Not started" in lab.status.value and message in lab.status.value
    assert lab.history.steps == []
    for name, value in {"experts": 8, "top_k": 2, "n_group": 1, "topk_group": 1, "text": "stories"}.items():
        lab.controls[name].value = value
    lab.run()
    assert len(lab.history.steps) == 1 and "Complete" in lab.status.value


def test_functions_of_a_student_drive_it() -> None:
    seen: list[tuple[Any, ...]] = []

    def route(scores: Any, bias: Any, *rest: Any) -> Any:
        seen.append((tuple(scores.shape), tuple(bias.shape), *rest))
        return course_route(scores, bias, *rest)

    def wrong_way(bias: Any, load: Any, speed: float) -> Any:
        return routing.update_bias(bias, load, -speed)

    lab = BalanceLab(steps=3, experts=8, top_k=3, n_group=2, route=route)
    lab.run()
    assert seen == [((64, 8), (8,), 3, 2, 1, 1.0)] * 6  # two layers, three steps
    right = lab.history
    lab.route = None
    lab.run()
    assert same(lab.history, right) and lab.history is not right
    lab.update_bias = wrong_way
    lab.run()
    assert torch.equal(lab.history.bias[1], -right.bias[1]) and right.bias[1].any()

    lab.route = lambda scores, bias, *rest: course_route(scores, -bias, *rest)
    lab.update_bias = None
    lab.run()
    assert not torch.equal(lab.history.load[1], right.load[1])


def test_an_error_in_a_students_function_reaches_the_cell() -> None:
    lab = BalanceLab(**SMALL, update_bias=lambda bias, load, speed: bias + no_such_name)  # type: ignore  # noqa: F821
    with pytest.raises(NameError):
        lab.run()
    assert "An error stopped the training in step 1" in lab.status.value
    lab.update_bias = None
    lab.run()
    assert len(lab.history.steps) == 6


# figures: 12 steps of 2 experts chosen among 4; layer 2 even, layer 3 all to the first two
EVEN, WORST = [4, 4, 4, 4], [8, 8, 0, 0]
PICTURE = BalancePicture(
    layers=["layer 2", "layer 3"], experts=4, top_k=2, steps=24, load=[[EVEN, WORST]] * 12,
    max_violation=[[0.0, 1.0]] * 12, bias=[[[0.1, -0.1, 0, 0]] * 2] * 12, loss=[4.0] * 6 + [2.0] * 6, floor=0.5,
)  # fmt: skip


def area(picture: BalancePicture, colour: str) -> float:
    """All that one class covers [px²]."""
    svg = ElementTree.fromstring(balance_svg(picture))
    paths = [path.attrib["d"] for path in svg.iter("path") if path.get("fill") == colour]
    corners = re.findall(r"M([\d.]+) [\d.]+H([\d.]+)v([\d.]+)H", "".join(paths))
    return sum((float(right) - float(left)) * float(height) for left, right, height in corners)


def test_colours_cover_what_the_load_was() -> None:
    none, fair, twice = (area(PICTURE, colour) for colour in ("#08306b", "#eeeeee", "#f16913"))
    assert fair == pytest.approx(2 * none, rel=0.01) == pytest.approx(2 * twice, rel=0.01)
    assert fair == pytest.approx(PANEL / 2 * (BODY / 2 - 26), rel=0.01), "half of the steps, all experts of one layer"
    assert sum(area(PICTURE, colour) for colour in CLASSES) == pytest.approx(2 * fair, rel=0.01)


def test_the_picture_in_words() -> None:
    first, second = ElementTree.fromstring(balance_svg(PICTURE))
    label = first.attrib["aria-label"]
    assert second.get("aria-hidden") == "true", "the first one speaks for both"
    assert label.startswith("After 12 of 24 steps: loss 2.00. layer 2: MaxVio 0.00, the busiest expert has 1.00")
    assert "layer 3: MaxVio 1.00, the busiest expert has 2.00 and the idlest 0.00 of a fair share" in label
    assert "worst: 1, one expert has every token" in balance_svg(PICTURE)
    assert "floor of the text: 0.50" in balance_svg(PICTURE)


def test_many_steps_are_averaged_into_few_columns() -> None:
    load = np.random.default_rng(0).integers(1, 300, (400, 2, 64)).tolist()
    long = BalancePicture(
        layers=["layer 2", "layer 3"], experts=64, top_k=8, steps=400, load=load, loss=[2.0] * 400,
        max_violation=[[0.3, 0.4]] * 400, bias=[[[0.0] * 64] * 2] * 400,
    )  # fmt: skip
    assert long.bin == 7 and long.shares.shape == (58, 2, 64)
    np.testing.assert_allclose(long.shares.mean(-1), 1)
    first = np.asarray(load)[:7, 0].sum(0)
    np.testing.assert_allclose(long.shares[0, 0], first / first.mean())
    assert long.edges(58)[-1] == 400
    assert len(balance_svg(long)) < 400_000


def test_the_static_picture_shows_the_same() -> None:
    figure = balance_figure(PICTURE)
    axes = {each.get_title(loc="left"): each for each in figure.axes}
    assert {"layer 2: load of its experts", "MaxVio", "loss [nats per byte]"} <= set(axes)
    shares = np.asarray(axes["layer 3: load of its experts"].collections[0].get_array())
    np.testing.assert_allclose(shares[:, 0], [2, 2, 0, 0])
    assert axes["layer 3: load of its experts"].get_ylim() == (3.5, -0.5), "expert 0 is the middle of the first row"
    assert [each.get_xlabel() for each in figure.axes] == ["", "step", "", "", "step"]
    lines = [np.asarray(line.get_ydata())[0] for line in axes["MaxVio"].lines[:2]]
    assert lines == [0, 1]
    empty = BalancePicture(layers=["layer 2"], experts=4, top_k=2, steps=5)
    assert len(balance_figure(empty).axes) == 4 and "nothing trained yet" in balance_svg(empty)
    assert "run this cell" in repr(BalanceLab())
