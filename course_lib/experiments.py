"""The comparisons that lessons show: what is run, and what is noted of each run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from course_lib import corpus, devices
from course_lib.accounting import cache_elements, parameters
from course_lib.config import mini
from course_lib.isoflop_runs import isoflop_runs, train_isoflop
from course_lib.model import MiniDeepSeek
from course_lib.sweep import Row
from course_lib.training import Recipe, Training

EVERY = 20  # steps that a point of a curve is the mean of

# How to keep the load even. V3 used alpha 1e-4 and speed 1e-3 over some hundred thousand steps; these runs are short.
STRATEGIES: dict[str, dict[str, float]] = {
    "none": {"sequence_alpha": 0.0, "bias_speed": 0.0},
    "loss": {"sequence_alpha": 0.01, "bias_speed": 0.0},
    "bias": {"sequence_alpha": 0.0, "bias_speed": 0.01},
    "both": {"sequence_alpha": 0.001, "bias_speed": 0.01},
}

# DeepSeek's three parts, each left out in turn. MHA: heads as wide as the values, about as many parameters as MLA.
# Dense: layers of 128 do as much work per token as one of 192 and two with 2 of 16 routed experts of 32 and one shared.
MODELS: dict[str, dict[str, Any]] = {
    "whole": {"num_nextn_predict_layers": 1},
    "MHA, not MLA": {
        "num_nextn_predict_layers": 1, "head_dim": 16,
        "kv_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0,
    },
    "dense, no experts": {"num_nextn_predict_layers": 1, "n_routed_experts": 0, "intermediate_size": 128},
    "no MTP": {"num_nextn_predict_layers": 0},
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    about: str
    runs: Callable[..., list[Row]]  # of seeds, and of the options it takes
    train: Callable[..., Row]  # a run to what is noted of it
    takes: tuple[str, ...]  # options of the command line
    compares: tuple[str, ...]  # the columns that tell the runs of a seed apart
    shows: tuple[str, ...]  # the columns to compare
    uses_gpu: bool = False  # if there is one; for the mini model it would not be faster

    def device(self) -> str:
        """Where its trainings run on this machine."""
        return str(devices.choose(None if self.uses_gpu else "cpu"))


@cache
def _stories() -> corpus.Corpus:
    """Written once in each process: it takes seconds, and every run of a sweep wants the same."""
    return corpus.load("stories")


def balance_runs(seeds: list[int], steps: int = 800) -> list[Row]:
    return [
        {"strategy": name, **settings, "steps": steps, "seed": seed}
        for seed in seeds
        for name, settings in STRATEGIES.items()
    ]


def train_balance(strategy: str, sequence_alpha: float, bias_speed: float, steps: int, seed: int) -> Row:
    """The mini model on stories; losses in nats per byte, MaxVio as mean over layers."""
    torch.manual_seed(seed)
    recipe = Recipe(steps=steps, learning_rate=5e-3, sequence_alpha=sequence_alpha, bias_speed=bias_speed, seed=seed)
    training = Training(MiniDeepSeek(mini()), _stories(), recipe)
    for _ in training.run():
        pass
    evaluation, history = training.evaluate(sequences=256), training.history
    return {
        "validation_loss": round(evaluation.loss, 4),
        "global_max_violation": round(evaluation.max_violation, 4),
        "seconds": round(sum(step.seconds for step in history.steps), 1),
        "loss_curve": _curve(torch.tensor(history.loss)),
        "max_violation_curve": _curve(history.max_violation.mean(-1)),
    }


def ablation_runs(seeds: list[int], steps: int = 800) -> list[Row]:
    return [{"model": name, "steps": steps, "seed": seed} for seed in seeds for name in MODELS]


def train_ablation(model: str, steps: int, seed: int) -> Row:
    """One part of the mini model left out, on stories; the loss is that of the next token, in nats per byte."""
    torch.manual_seed(seed)
    config = mini(**MODELS[model])
    speed = 0.01 if config.moe_layers else 0.0
    recipe = Recipe(steps=steps, learning_rate=5e-3, bias_speed=speed, seed=seed)
    training = Training(MiniDeepSeek(config), _stories(), recipe)
    for _ in training.run():
        pass
    counts = parameters(config)
    return {
        "validation_loss": round(training.evaluate(sequences=256).loss, 4),
        "cache_elements": cache_elements(config),
        "parameters": counts.total,
        "active_parameters": counts.active,
        "seconds": round(sum(step.seconds for step in training.history.steps), 1),
        "loss_curve": _curve(torch.tensor(training.history.loss)),
    }


def _curve(values: torch.Tensor) -> str:
    return " ".join(f"{part.mean().item():.3f}" for part in values.split(EVERY))


EXPERIMENTS = {
    "balance": Experiment(
        about="four ways to keep the load of experts even",
        runs=balance_runs,
        train=train_balance,
        takes=("steps",),
        compares=("strategy",),
        shows=("validation_loss", "global_max_violation"),
    ),
    "ablations": Experiment(
        about="the mini model whole, and with one part left out",
        runs=ablation_runs,
        train=train_ablation,
        takes=("steps",),
        compares=("model",),
        shows=("validation_loss",),
    ),
    "isoflop": Experiment(
        about="dense models of several sizes for each budget of compute",
        runs=isoflop_runs,
        train=train_isoflop,
        takes=("budgets", "sizes"),
        compares=("budget", "params"),
        shows=("tokens", "loss"),
        uses_gpu=True,
    ),
}
