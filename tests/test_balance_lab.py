"""The balance lab without a browser: run a few steps, stop halfway, go on; read the picture."""

import re
import signal
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from io import BytesIO
from threading import Event, main_thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from course_lib import routing
from course_lib.figures.balance import CLASSES, LOADS, BalancePicture, balance_figure, balance_html
from course_lib.training import History, Recipe
from course_lib.widgets import balance
from course_lib.widgets.balance import BalanceLab, Settings
from tests import drawn

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
    assert len(lab.history.steps) == 3 and "step 3 of 6: loss" in lab.progress.value
    assert lab.button.description == "Continue" and not lab.button.disabled
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


def test_the_time_left_is_that_of_the_steps_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second in each of the two layers, in a training that is interrupted in step 3."""
    route, said = Interrupting(at=5), list[str]()
    monkeypatch.setattr(balance, "time", SimpleNamespace(perf_counter=lambda: float(route.calls)))
    lab = BalanceLab(**SMALL, route=route)
    lab.progress.observe(lambda change: said.append(change["new"]), names="value")
    lab.run()
    lab.run()
    assert re.findall(r"(\d+) s left", "".join(said)) == ["10", "8", "4", "2", "0"]


def test_the_picture_is_drawn_again_while_it_trains() -> None:
    lab, drawings = BalanceLab(steps=9, experts=8), list[str]()
    lab.picture.observe(lambda change: drawings.append(drawn.label(change["new"])), names="value")
    lab.run()
    assert re.findall(r"After (\d) of 9 steps", " ".join(drawings)) == ["4", "8", "9"]


def test_a_finished_training_stays_and_a_changed_control_starts_anew() -> None:
    lab = BalanceLab(**SMALL)
    lab.run()
    first = lab.history
    lab.run()
    assert lab.history is first and "Complete, 6 steps" in lab.status.value
    lab.controls["balance"].value = "nothing"
    assert "Changed after 6 steps: <i>Train</i> begins a new training." in lab.status.value
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
    assert "None of 2 steps trained yet" in lab.picture.value and "step 0 of 2" in lab.progress.value
    lab.run()
    assert lab.training is not None
    recipe, config = lab.training.recipe, lab.training.model.config
    assert (recipe.sequence_alpha, recipe.bias_speed, recipe.steps) == (0.1, 0.001, 2)
    assert (config.n_routed_experts, config.num_experts_per_tok, config.n_group, config.topk_group) == (32, 3, 4, 2)
    assert lab.history.load.shape == (2, 2, 32)


def test_controls_take_any_first_value_and_buttons_name_their_choice() -> None:
    first = Settings(alpha=0.3, speed=0.5, experts=48, top_k=20, n_group=24, topk_group=17, steps=900)
    lab = BalanceLab(**asdict(first))
    assert lab.settings == first
    assert lab.controls["balance"].tooltips == tuple(f"balance by: {name}" for name in balance.BALANCE)


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
    assert len(lab.history.steps) == 1 and "Complete, 1 step." in lab.status.value
    if "text" not in settings:
        for name, value in settings.items():
            lab.controls[name].value = value
        lab.button.click()
        assert "Not started" in lab.status.value and "still shows the training before" in lab.status.value
        assert 'value="0"' in lab.progress.value and "not started" in lab.progress.value, "not a full bar"
        assert "After 1 of 1 step:" in drawn.label(lab.picture.value) and not lab.thread.is_alive()


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


def broken(bias: Any, load: Any, speed: float) -> Any:
    return bias + no_such_name  # type: ignore  # noqa: F821


def test_an_error_in_a_students_function_reaches_the_cell() -> None:
    lab = BalanceLab(**SMALL, update_bias=broken)
    with pytest.raises(NameError):
        lab.run()
    assert "An error stopped the training in step 1" in lab.status.value
    assert lab.button.description == "Train" and not lab.button.disabled
    lab.update_bias = None
    lab.run()
    assert len(lab.history.steps) == 6


# The button


class Waiting:
    """The course's router, which waits on its `at`-th call until it is let go."""

    def __init__(self, at: int) -> None:
        self.at, self.calls, self.reached, self.released = at, 0, Event(), Event()

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.reached.set()
            assert self.released.wait(60)
        return course_route(*given)


def pressed(lab: BalanceLab) -> None:
    lab.button.click()
    lab.thread.join(60)
    assert not lab.thread.is_alive()


def test_the_button_trains_beside_the_kernel_stops_and_goes_on_to_the_bit() -> None:
    waiting = Waiting(at=5)  # two layers a step: in the third step
    lab = BalanceLab(**SMALL, route=waiting)
    assert lab.button.description == "Train" and "press <i>Train</i>. It trains on the CPU." in lab.status.value
    lab.button.click()
    assert waiting.reached.wait(60) and lab.thread is not main_thread() and lab.thread.is_alive()
    assert lab.button.description == "Stop" and not lab.button.disabled
    assert "Training on the CPU. Press <i>Stop</i> to stop." in lab.status.value
    assert "step 2 of 6" in lab.progress.value and "s left" in lab.progress.value
    lab.controls["speed"].value = 0.1  # not read now
    assert "Training on the CPU" in lab.status.value
    lab.controls["speed"].value = 0.01
    lab.button.click()
    assert "Stopping after the step under way" in lab.status.value
    waiting.released.set()
    lab.thread.join(60)
    assert "Stopped after 3 of 6 steps. Press <i>Continue</i> to go on, to the bit" in lab.status.value
    assert lab.button.description == "Continue" and len(lab.history.steps) == 3
    assert "step 3 of 6" in lab.progress.value and "left" not in lab.progress.value
    assert drawn.label(lab.picture.value).startswith("After 3 of 6 steps")
    pressed(lab)
    stopped = lab.history
    assert len(stopped.steps) == 6 and "Complete, 6 steps" in lab.status.value and lab.button.description == "Train"
    lab.button.click()
    assert lab.history is stopped and "Complete, 6 steps" in lab.status.value
    lab.start_over.click()
    assert "press <i>Train</i>" in lab.status.value and "nothing trained yet" in lab.picture.value
    pressed(lab)
    assert lab.history is not stopped and same(lab.history, stopped)


def test_a_training_that_is_forgotten_while_it_runs_does_not_touch_the_next() -> None:
    waiting = Waiting(at=3)
    lab = BalanceLab(**SMALL, route=waiting)
    lab.button.click()
    assert waiting.reached.wait(60)
    left = lab.thread
    lab.start_over.click()
    assert lab.button.description == "Train" and "step 0 of 6" in lab.progress.value
    lab.run()
    after, shown = lab.history, (lab.picture.value, lab.status.value, lab.progress.value, lab.button.description)
    assert len(after.steps) == 6 and left.is_alive()
    waiting.released.set()
    left.join(60)
    assert not left.is_alive() and len(after.steps) == 6
    assert (lab.picture.value, lab.status.value, lab.progress.value, lab.button.description) == shown


def test_a_cell_goes_on_with_what_the_button_began() -> None:
    waiting = Waiting(at=3)
    lab = BalanceLab(**SMALL, route=waiting)
    lab.button.click()
    assert waiting.reached.wait(60)
    waiting.released.set()
    history = lab.history
    lab.run()
    assert lab.history is history and len(history.steps) == 6 and not lab.thread.is_alive()
    assert "Complete" in lab.status.value and lab.button.description == "Train"


def test_a_cell_that_trains_cannot_hear_the_button() -> None:
    seen: list[tuple[str, bool]] = []

    def route(*given: Any) -> Any:
        seen.append((lab.button.description, lab.button.disabled))
        return course_route(*given)

    lab = BalanceLab(**SMALL, route=route)
    lab.run()
    assert set(seen) == {("Stop", True)} and not lab.button.disabled


def test_an_error_in_the_background_is_told_with_its_line() -> None:
    lab = BalanceLab(**SMALL, update_bias=broken)
    pressed(lab)
    assert "An error stopped the training in step 1." in lab.status.value
    assert "NameError: name &#x27;no_such_name&#x27; is not defined (in broken, line" in lab.status.value
    assert lab.button.description == "Train" and lab.history.steps == []
    lab.update_bias = None
    pressed(lab)
    assert len(lab.history.steps) == 6


def test_it_trains_where_it_says() -> None:
    with pytest.raises(ValueError, match="tpu"):
        BalanceLab(device="tpu")
    seen: list[str] = []

    def route(scores: Any, bias: Any, *rest: Any) -> Any:
        seen.append(f"{scores.device} {bias.device} {torch.ones(1).device}")
        return course_route(scores, bias, *rest)

    lab, plain = BalanceLab(**SMALL, route=route), BalanceLab(**SMALL)
    plain.run()
    try:
        torch.set_default_device("meta")  # nothing can be computed there
        lab.run()
    finally:
        torch.set_default_device(None)
    assert set(seen) == {"cpu cpu cpu"} and same(lab.history, plain.history)


def test_every_device_trains_alike(device: str) -> None:
    places: set[str] = set()

    def route(scores: Any, bias: Any, *rest: Any) -> Any:
        places.update(each.device.type for each in (scores, bias, torch.ones(1)))
        return course_route(scores, bias, *rest)

    settings: dict[str, Any] = {"steps": 2, "experts": 8, "balance": "both"}
    lab, plain = BalanceLab(**settings, device=device, route=route), BalanceLab(**settings)
    plain.run()
    pressed(lab)
    assert "Complete, 2 steps" in lab.status.value and places == {device}
    assert lab.history.loss == pytest.approx(plain.history.loss, rel=1e-4)
    assert torch.equal(lab.history.load[0], plain.history.load[0])
    words = "the CPU" if device == "cpu" else "cuda"
    lab.start_over.click()
    assert f"It trains on {words}" in lab.status.value


# figures: 12 steps of 2 experts chosen among 4; layer 2 even, layer 3 all to the first two
EVEN, WORST = [4, 4, 4, 4], [8, 8, 0, 0]
PICTURE = BalancePicture(
    layers=["layer 2", "layer 3"], experts=4, top_k=2, steps=24, load=[[EVEN, WORST]] * 12,
    max_violation=[[0.0, 1.0]] * 12, bias=[[[0.1, -0.1, 0, 0]] * 2] * 12, loss=[4.0] * 6 + [2.0] * 6, floor=0.5,
)  # fmt: skip


def heat_maps(picture: BalancePicture) -> list[tuple[float, np.ndarray[Any, Any]]]:
    """Of each layer: how much of the panel is covered, and the colour of every pixel."""
    found = []
    for frame in drawn.shown(balance_html(picture)).iter("svg"):
        if (image := frame.find("image")) is not None:
            data = BytesIO(b64decode(image.attrib["href"].removeprefix("data:image/png;base64,")))
            pixels = (255 * imread(data, format="png")[..., :3]).round().astype(int)
            colours = np.array([[f"#{r:02x}{g:02x}{b:02x}" for r, g, b in row] for row in pixels])
            assert frame.attrib["viewBox"] == f"0 0 {len(picture.loss)} 1"
            assert int(image.attrib["width"]) == picture.bin * colours.shape[1] >= len(picture.loss)
            found.append((float(frame.attrib["width"]), colours))
    return found


def test_colours_say_what_the_load_was() -> None:
    (across, even), (_, worst) = heat_maps(PICTURE)
    assert even.shape == worst.shape == (4, 12), "a row per expert, a column per step"
    assert set(even.flat) == {"#eeeeee"} and set(worst[:2].flat) == {"#f16913"} and set(worst[2:].flat) == {"#08306b"}
    assert across == pytest.approx((470 - LOADS - 2) / 2), "half of the steps are done"


@pytest.mark.parametrize(
    ("share", "colour"), [(0.1, 0), (0.2, 1), (0.3, 2), (0.6, 3), (1, 4), (1.5, 5), (3, 6), (5, 7)]
)
def test_each_class_of_load_has_its_colour(share: float, colour: int) -> None:
    load = [[[int(60 * share), *[60] * 59, int(60 * (2 - share)) if share < 2 else 60]]]
    mean = np.mean(load)
    picture = BalancePicture(
        layers=["layer 2"],
        experts=61,
        top_k=1,
        steps=1,
        load=load,
        loss=[1.0],
        max_violation=[[0.0]],
        bias=[[[0.0] * 61]],
    )
    assert load[0][0][0] / mean == pytest.approx(share, rel=0.1)
    ((_, pixels),) = heat_maps(picture)
    assert pixels[0, 0] == list(CLASSES)[colour]


def test_the_picture_in_words() -> None:
    label = drawn.label(balance_html(PICTURE))
    assert label.startswith("After 12 of 24 steps: loss 2.00. layer 2: MaxVio 0.00, the busiest expert has 1.00")
    assert "layer 3: MaxVio 1.00, the busiest expert has 2.00 and the idlest 0.00 of a fair share" in label
    words = drawn.words(balance_html(PICTURE))
    assert "worst possible: 1" in words and "floor of the text: 0.50" in words
    assert [name for name in words if "▬" in name] == ["MaxVio▬layer 2: 0.00▬layer 3: 1.00"]


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
    assert len(balance_html(long)) < 250_000


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
    assert len(balance_figure(empty).axes) == 4 and "nothing trained yet" in balance_html(empty)
    assert "run this cell" in repr(BalanceLab())
