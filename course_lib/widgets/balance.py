"""The balance lab: watch the load of experts while a small model trains."""

import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache
from html import escape
from threading import Event, RLock, Thread
from typing import Any, cast

import ipywidgets as widgets
import torch

from course_lib import corpus, devices, routing
from course_lib.config import ModelConfig, mini
from course_lib.corpus import Corpus
from course_lib.figures.balance import BalancePicture, balance_html
from course_lib.model import MiniDeepSeek
from course_lib.moe import Router
from course_lib.quantity import counted
from course_lib.training import History, Recipe, Training, UpdateBias
from course_lib.widgets.controls import OptionSlider, choice, in_a_column, in_a_row
from course_lib.widgets.telling import told

# what the settings are called in a config, and next to their controls
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
STORIES = 1_000_000  # bytes: more than the longest training here reads
WIDE = {"description_width": "112px"}

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
    """Controls, a picture of the load, and a button that trains while the notebook stays usable.

    `run()` trains in a cell instead, until it is done or the kernel is interrupted. Keywords are the fields of
    Settings. Your own functions can replace the course's: `route(scores, bias, top_k, n_group=1, topk_group=1,
    scale=1.0)` chooses experts and weighs them, `update_bias(bias, load, speed)` moves the biases after each step.
    Both get tensors on `device`: the CPU by default, where a training that was stopped goes on to the bit as if it
    had not been.

    Raises:
        ValueError: no such device here.
    """

    def __init__(
        self,
        *,
        route: Route | None = None,
        update_bias: UpdateBias | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        first = Settings(**settings)
        self.route, self.update_bias, self.device = route, update_bias, devices.choose(device)
        self.training: Training | None = None
        self.thread, self._job, self._lock = Thread(), None, RLock()
        self._trained: tuple[Settings, Route | None, UpdateBias | None] | None = None
        self.controls = _controls(first)
        self.button = widgets.Button(description="Train", button_style="primary")  # Stop or Continue at times
        self.start_over = widgets.Button(description="start over", tooltip="forget this training")
        self.progress, self.status, self.picture = widgets.HTML(), widgets.HTML(), widgets.HTML()
        left = in_a_column(*(self.controls[name] for name in ("alpha", "speed", "experts")))
        right = in_a_column(*(self.controls[name] for name in ("top_k", "n_group", "topk_group", "steps")))
        super().__init__(
            [
                self.controls["balance"],
                self.controls["text"],
                in_a_row(left, right),
                in_a_row(self.button, self.start_over, self.progress),
                self.status,
                self.picture,
            ]
        )
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self.button.on_click(self._pressed)
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
        if self._job is not None:  # the button started it: go on here
            self._job.stop.set()
            self.thread.join()
        try:
            if (job := self._begin()) is not None:
                self._train(job)
        except KeyboardInterrupt:
            self._end(self._job)
        except BaseException as error:
            self._fail(self._job, error)
            raise

    def _pressed(self, button: Any) -> None:
        with self._lock:
            if self._job is not None:
                self._job.stop.set()
                self._say("Stopping after the step under way ...")
            elif (job := self._begin(background=True)) is not None:  # the kernel goes on listening
                self.thread = Thread(target=copy_context().run, args=(self._in_background, job), daemon=True)
                self.thread.start()

    def _in_background(self, job: "_Job") -> None:
        try:
            self._train(job)
        except BaseException as error:  # whatever a student's function may raise
            self._fail(job, error)

    def _begin(self, background: bool = False) -> "_Job | None":
        """A stretch of the training that the controls ask for; None if it is complete, or cannot be."""
        wanted, again = (self.settings, self.route, self.update_bias), self.training is not None and self._unchanged
        if again and self._complete:
            self._say(self._next())
            return None
        if not again:
            try:
                self.training = self._new_training(wanted[0])
            except _RefusedError as refusal:
                self._refuse(refusal)
                return None
            self._trained = wanted
        self._job = _Job(cast(Training, self.training))
        self.button.description, self.button.button_style = "Stop", "warning"
        self.button.disabled = not background  # a busy kernel would hear the click only after the cell
        stop = "Press <i>Stop</i> to stop." if background else "Interrupt the kernel (■) to stop."
        self._say(f"Training on {self._place}. {stop} Controls are read when a training begins.")
        self._progress()
        self._draw()
        return self._job

    def _new_training(self, settings: Settings) -> Training:
        try:
            config, recipe, text = settings.config, settings.recipe, _text(settings.text)
        except (ValueError, OSError) as error:
            raise _RefusedError(_in_labels(str(error))) from error
        with self.device:
            model = _untrained(config).to(self.device)
            if self.route is not None:
                _route_by(self.route, model)
            return Training(model, text, recipe, update_bias=self.update_bias or routing.update_bias)

    def _refuse(self, refusal: Exception) -> None:
        self._show_progress(0, self.settings.steps, "not started")
        old = "The picture still shows the training before. " if self.history.steps else ""
        self._say(f"<b>Not started.</b> {escape(str(refusal))}. {old}")

    def _train(self, job: "_Job") -> None:
        training, first, began = job.training, job.training.step, time.perf_counter()
        steps = training.recipe.steps
        with self.device:  # tensors that a student's function makes belong there, whatever PyTorch's default is
            for _ in training.run():
                with self._lock:
                    if self._job is not job:  # forgotten meanwhile
                        return
                    per_step = (time.perf_counter() - began) / (training.step - first)
                    self._progress(f", {per_step * (steps - training.step):.0f} s left")
                    if training.step % DRAW_EVERY == 0:
                        self._draw()
                if job.stop.is_set():
                    break
        self._end(job)

    def _end(self, job: "_Job | None") -> None:
        """The last word on a stretch of training, complete or stopped."""
        with self._lock:
            if self._job is job:
                self._job = None
                self._progress()
                self._draw()
                self._settle()

    def _fail(self, job: "_Job | None", error: BaseException) -> None:
        """Part of a step may be done, so there is nothing to go on from."""
        with self._lock:
            if self._job is not job:
                return
            step = len(self.history.steps) + 1
            self._forget()
            what = escape(told(error, self.route, self.update_bias))
            self._say(f"<b>An error stopped the training in step {step}.</b> {what}")

    def _progress(self, left: str = "") -> None:
        done, steps = len(self.history.steps), self._trained[0].steps if self._trained else self.settings.steps
        words = f"step {done} of {steps}"
        if done:
            step = self.history.steps[-1]
            violations = " and ".join(f"{value:.2f}" for value in routing.max_violation(step.load).tolist())
            words += f": loss {step.loss:.2f}, MaxVio {violations}{left}"
        self._show_progress(done, steps, words)

    def _show_progress(self, done: int, steps: int, words: str) -> None:
        bar = f'<progress aria-label="training" value="{done}" max="{steps}" style="max-width:100%"></progress>'
        self.progress.value = f'<div style="line-height:1.4">{bar} {words}</div>'

    def _settle(self) -> None:
        """Button and words while nothing is trained."""
        going_on = bool(self.history.steps) and self._unchanged and not self._complete
        self.button.description, self.button.button_style = "Continue" if going_on else "Train", "primary"
        self.button.disabled = False
        self._say(self._next())

    @property
    def _unchanged(self) -> bool:
        return (self.settings, self.route, self.update_bias) == self._trained

    @property
    def _complete(self) -> bool:
        return self.training is not None and self.training.step == self.training.recipe.steps

    @property
    def _place(self) -> str:
        return "the CPU" if self.device.type == "cpu" else str(self.device)

    def _next(self) -> str:
        """What the button will do."""
        done = counted(len(self.history.steps), "step")
        if self.training is None:
            return f"Set the controls, then press <i>Train</i>. It trains on {self._place}."
        if not self._unchanged:
            return f"Changed after {done}: <i>Train</i> begins a new training."
        if self._complete:
            return f"Complete, {done}. Change a control or press <i>start over</i> to train again."
        exactly = ", to the bit as if never stopped" if self.device.type == "cpu" else ""
        of = counted(self.training.recipe.steps, "step")
        return f"Stopped after {len(self.history.steps)} of {of}. Press <i>Continue</i> to go on{exactly}."

    def _changed(self, change: Any = None) -> None:
        balance = self.controls["balance"].value
        self.controls["alpha"].disabled = balance not in ("loss", "both")
        self.controls["speed"].disabled = balance not in ("bias", "both")
        with self._lock:
            if self._job is not None:  # what is under way goes on as it began
                return
            self._progress()  # what was trained stays in sight until the next training
            if self.training is None:
                self._draw()
            self._settle()

    def _forget(self, button: Any = None) -> None:
        with self._lock:
            if self._job is not None:
                self._job.stop.set()
            self.training = self._trained = self._job = None
            self._changed()

    def _say(self, what: str) -> None:
        self.status.value = f'<div aria-live="polite" style="line-height:1.4">{what}</div>'

    def _draw(self) -> None:
        self.picture.value = balance_html(self.shown)

    def __repr__(self, **_: object) -> str:
        return "BalanceLab: run this cell, then press Train"


@dataclass(frozen=True, eq=False)
class _Job:
    """A stretch of training, in a cell or in the background."""

    training: Training
    stop: Event = field(default_factory=Event)


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
        return OptionSlider(options=sorted({*options, value}), value=value, description=label)

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
    with torch.random.fork_rng(), torch.device("cpu"):
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
