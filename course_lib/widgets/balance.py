"""The balance lab: watch the load of experts while a small model trains."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import ipywidgets as widgets
import torch

from course_lib import corpus, routing
from course_lib.config import ModelConfig, mini
from course_lib.corpus import Corpus
from course_lib.figures.balance import BalancePicture, balance_svg
from course_lib.model import MiniDeepSeek
from course_lib.moe import Router
from course_lib.training import History, Recipe, Training, UpdateBias
from course_lib.widgets.controls import choice, in_a_row, named

# what the settings are called in a config, and beside their controls
LABELS = {
    "num_experts_per_tok": "experts chosen",
    "n_routed_experts": "experts",
    "topk_group": "open groups",
    "n_group": "groups",
}
BALANCE = {"nothing": "nothing", "a loss": "loss", "a bias": "bias", "both": "both"}
SMALL_TO_LARGE = [0.0001, 0.001, 0.01, 0.1]
MOST_STEPS = 400  # about a minute on 2 cores
DRAW_EVERY = 4  # steps
STOP = "Interrupt the kernel (■) to stop."
STORIES = 1_000_000  # bytes: more than the longest training here reads
WIDE = {"description_width": "120px"}

# scores [m, e], bias [e], top_k, n_group, topk_group, scale -> indices [m, k], weights [m, k]
Route = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the controls say."""

    balance: str = "bias"  # by "nothing", "loss", "bias" or "both"
    alpha: float = 0.01  # weight of the sequence-wise loss
    speed: float = 0.01  # how far a bias moves in a step
    experts: int = 16
    top_k: int = 2
    n_group: int = 1
    topk_group: int = 1
    text: str = "stories"
    steps: int = 120

    @property
    def config(self) -> ModelConfig:
        return mini(
            n_routed_experts=self.experts,
            num_experts_per_tok=self.top_k,
            n_group=self.n_group,
            topk_group=self.topk_group,
        )

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            steps=self.steps,
            learning_rate=5e-3,
            sequence_alpha=self.alpha if self.balance in ("loss", "both") else 0.0,
            bias_speed=self.speed if self.balance in ("bias", "both") else 0.0,
        )


class BalanceLab(widgets.VBox):
    """Controls and a picture of the load; `run()`, in a cell of its own, reads the controls and trains.

    Interrupt the kernel to stop it, and run that cell again to go on. Keywords are the fields of Settings. Functions of
    your own take the place of the course's: `route(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0)` chooses
    experts and weighs them, `update_bias(bias, load, speed)` moves the biases after each step.
    """

    def __init__(self, *, route: Route | None = None, update_bias: UpdateBias | None = None, **settings: Any) -> None:
        first = Settings(**settings)
        self.route, self.update_bias = route, update_bias
        self.training: Training | None = None
        self._trained: tuple[Settings, Route | None, UpdateBias | None] | None = None
        self.controls = _controls(first)
        self.start_over = widgets.Button(description="start over", tooltip="forget this training")
        self.progress = widgets.IntProgress(value=0, min=0, max=first.steps, layout={"width": "240px"})
        self.progress_text, self.status, self.picture = widgets.HTML(), widgets.HTML(), widgets.HTML()
        left = [self.controls[name] for name in ("alpha", "speed", "steps")]
        right = [self.controls[name] for name in ("experts", "top_k", "n_group", "topk_group")]
        super().__init__(
            [
                named("balance by", self.controls["balance"]),
                named("text", self.controls["text"]),
                in_a_row(widgets.VBox([*left, self.start_over]), widgets.VBox(right)),
                in_a_row(self.progress, self.progress_text),
                self.status,
                self.picture,
            ]
        )
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self.start_over.on_click(self._forget)
        self._forget()

    @property
    def settings(self) -> Settings:
        """What the controls say now."""
        return Settings(**{name: control.value for name, control in self.controls.items()})

    @property
    def history(self) -> History:
        """The steps of the present training; none before the first."""
        return self.training.history if self.training else History()

    @property
    def shown(self) -> BalancePicture:
        """What the picture shows now."""
        settings = self._trained[0] if self._trained else self.settings
        return picture(settings, self.history, self.training.corpus.floor if self.training else None)

    def run(self) -> None:
        """Trains to the last step, or until the kernel is interrupted; goes on if the controls are as they were."""
        try:
            self._train(self._begin())
        except KeyboardInterrupt:
            self._progress()
            self._draw()
            self._say(self._next())
        except _RefusedError as refusal:
            self._say(f"<b>Not started.</b> {escape(str(refusal))}")
        except BaseException:  # part of a step may be done, so there is nothing to go on from
            self._say(f"An error stopped the training in step {len(self.history.steps) + 1}; the cell says which.")
            self.training = self._trained = None
            raise

    def _begin(self) -> Training:
        """The training that the controls ask for: the one under way, or a new one."""
        wanted = (self.settings, self.route, self.update_bias)
        if self.training is not None and wanted == self._trained:
            self._say(f"Going on. {STOP}")
            return self.training
        done = f"Something was changed after {len(self.history.steps)} steps: this is a new training. "
        self._say((done if self.training else "") + STOP)
        settings = self.settings
        try:
            config, recipe, text = settings.config, settings.recipe, _text(settings.text)
        except (ValueError, OSError) as error:
            raise _RefusedError(_in_labels(str(error))) from error
        model = _untrained(config)
        if self.route is not None:
            _route_by(self.route, model)
        self.training = Training(model, text, recipe, update_bias=self.update_bias or routing.update_bias)
        self._trained = wanted
        self.progress.max = settings.steps
        self._progress()
        return self.training

    def _train(self, training: Training) -> None:
        first, steps, began = training.step, training.recipe.steps, time.perf_counter()
        self._draw()
        for _ in training.run():
            a_step = (time.perf_counter() - began) / (training.step - first)
            self._progress(f", {a_step * (steps - training.step):.0f} s left")
            if training.step % DRAW_EVERY == 0 or training.step == steps:
                self._draw()
        self._progress()
        self._say(self._next())

    def _progress(self, left: str = "") -> None:
        done = self.progress.value = len(self.history.steps)
        words = f"step {done} of {self.progress.max}"
        if done:
            step = self.history.steps[-1]
            violations = " and ".join(f"{value:.2f}" for value in routing.max_violation(step.load).tolist())
            words += f": loss {step.loss:.2f}, MaxVio {violations}{left}"
        self.progress_text.value = words

    def _next(self) -> str:
        """What the next run() will do."""
        done, steps = len(self.history.steps), self.progress.max
        if self.training is None:
            return "Set the controls, then run the cell with <code>.run()</code> in it. It reads them when it starts."
        if (self.settings, self.route, self.update_bias) != self._trained:
            return f"Changed after {done} steps: the next <code>.run()</code> begins a new training."
        if done == steps:
            return f"Complete, {steps} steps. Change a control or press <i>start over</i>, then run that cell again."
        return f"Stopped after {done} of {steps} steps. Run that cell again to go on, to the bit as if never stopped."

    def _changed(self, change: Any = None) -> None:
        balance = self.controls["balance"].value
        self.controls["alpha"].disabled = balance not in ("loss", "both")
        self.controls["speed"].disabled = balance not in ("bias", "both")
        if self.training is None:  # what was trained stays in sight until the next run
            self.progress.max = self.settings.steps
            self._progress()
            self._draw()
        self._say(self._next())

    def _forget(self, button: Any = None) -> None:
        self.training = self._trained = None
        self._changed()

    def _say(self, what: str) -> None:
        self.status.value = f'<div aria-live="polite" style="line-height:1.4">{what}</div>'

    def _draw(self) -> None:
        self.picture.value = balance_svg(self.shown)

    def __repr__(self, **_: object) -> str:
        return "BalanceLab: run this cell and the next to train; a picture of a run stands beside it"


class _RefusedError(Exception):
    """Settings that do not go together, or a text that cannot be read."""


def picture(settings: Settings, history: History, floor: float | None = None) -> BalancePicture:
    """A training as plain numbers, ready to be drawn."""
    config, begun = mini(), bool(history.steps)  # not settings.config: impossible ones are drawn too, untrained
    return BalancePicture(
        layers=[f"layer {i + 1}" for i in range(config.num_hidden_layers) if config.is_moe(i)],
        experts=settings.experts,
        top_k=settings.top_k,
        steps=settings.steps,
        load=history.load.tolist() if begun else (),
        max_violation=history.max_violation.tolist() if begun else (),
        bias=history.bias.tolist() if begun else (),
        loss=history.loss,
        floor=floor,
    )


def _in_labels(message: str) -> str:
    """A message about a config, in the words of the controls."""
    for name, label in LABELS.items():
        message = message.replace(name, f"\u201c{label}\u201d")
    return message.removeprefix("config mini: ")


def _controls(first: Settings) -> dict[str, Any]:
    """One control for each field of Settings, by its name; a first value that is no option becomes one."""

    def among(name: str, options: list[Any], label: str) -> Any:
        value = getattr(first, name)
        return widgets.SelectionSlider(options=sorted({*options, value}), value=value, description=label, style=WIDE)

    def number(name: str, low: int, high: int, label: str) -> Any:
        value = getattr(first, name)
        return widgets.BoundedIntText(
            value=value, min=low, max=max(high, value), description=label, style=WIDE, layout={"width": "220px"}
        )

    texts = [*corpus.TEXTS, *({first.text} - {*corpus.TEXTS})]
    return {
        "balance": choice("balance by", BALANCE, value=first.balance),
        "alpha": among("alpha", SMALL_TO_LARGE, "alpha of the loss"),
        "speed": among("speed", SMALL_TO_LARGE, "speed of the bias"),
        "experts": among("experts", [4, 8, 16, 32, 64], "experts"),
        "top_k": number("top_k", 1, 16, "experts chosen"),
        "n_group": number("n_group", 1, 16, "groups"),
        "topk_group": number("topk_group", 1, 16, "open groups"),
        "text": choice("text", texts, value=first.text),
        "steps": number("steps", 1, MOST_STEPS, "steps"),
    }


def _untrained(config: ModelConfig) -> MiniDeepSeek:
    """The same one every time, so that two trainings differ in their settings only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MiniDeepSeek(config)


def _route_by(route: Route, model: MiniDeepSeek) -> None:
    """Put `route` in the place of every router's own."""

    def through(router: Router) -> Callable[[Any], tuple[Any, Any]]:
        c = router.config
        top_k, groups, scale = c.num_experts_per_tok, (c.n_group, c.topk_group), c.routed_scaling_factor

        def routed(scores: Any) -> tuple[Any, Any]:
            indices, weights = route(scores, router.bias, top_k, *groups, scale)
            return indices.long(), weights  # any integers are right

        return routed

    for module in model.modules():
        if isinstance(module, Router):
            setattr(module, "route", through(module))  # noqa: B010


@cache
def _text(name: str) -> Corpus:
    return corpus.load(name, STORIES if name == "stories" else None)
