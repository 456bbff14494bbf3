"""A training on disk, to go on from, and a model on disk, to use. A file is written whole or not at all."""

import csv
import hashlib
import json
import math
import os
import statistics
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from course_lib.training import History, Step, Training

LOG_EVERY = 20  # steps that a row of a log stands for
_NUMBERS = ("loss", "learning_rate", "gradient_norm", "seconds")  # of a Step; the others are tensors


def save(training: Training, path: Path) -> None:
    """Writes all that `resume` needs."""
    tensors = {f"model.{name}": weight for name, weight in training.model.state_dict().items()}
    for name, parameter in training.model.named_parameters():
        state = training.optimizer.state[parameter]
        tensors |= {f"optimizer.{key}.{name}": value for key, value in state.items()}
    steps = training.history.steps
    if steps:
        numbers = [[getattr(step, name) for name in _NUMBERS] for step in steps]
        tensors["history.numbers"] = torch.tensor(numbers, dtype=torch.float64)
        tensors |= {"history.load": training.history.load, "history.bias": training.history.bias}
    meta = _identity(training) | {"validation": training.history.validation}
    _write(path, tensors, {key: json.dumps(value) for key, value in meta.items()})


def resume(training: Training, path: Path) -> None:
    """Puts `training` where the one that was saved stood: the same model config, recipe and text, step for step.

    Raises:
        ValueError: it was another training; the message names what differs. Nothing is changed then.
    """
    with safe_open(path, framework="pt") as file:
        meta = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    here = json.loads(json.dumps(_identity(training)))
    if unlike := "; ".join(_differences(meta, here)):
        raise ValueError(f"{path} is of another training: {unlike}")
    training.model.load_state_dict(_under("model.", tensors))
    for key in ("step", "exp_avg", "exp_avg_sq"):
        values = _under(f"optimizer.{key}.", tensors)
        for name, parameter in training.model.named_parameters():
            if name in values:
                place = "cpu" if key == "step" else parameter.device
                training.optimizer.state[parameter][key] = values[name].to(place)
    training.history.steps[:] = _steps(_under("history.", tensors))
    training.history.validation = {int(step): loss for step, loss in meta["validation"].items()}


def save_model(model: MiniDeepSeek, folder: Path) -> None:
    """Writes `model.safetensors` and the `config.json` that says how to build it."""
    _write(folder / "model.safetensors", model.state_dict(), {})
    (folder / "config.json").write_text(json.dumps(_spelled(model.config), indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path) -> MiniDeepSeek:
    """The model that `save_model` wrote, ready to be used, not to be trained."""
    model = MiniDeepSeek(ModelConfig.from_json(folder / "config.json"))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval().requires_grad_(False)


def write_log(history: History, path: Path) -> None:
    """A CSV whose rows are means over LOG_EVERY steps; max_violation stays empty where there are no experts."""
    steps = history.steps
    experts = bool(steps) and len(steps[0].load) > 0
    violation = history.max_violation.mean(-1).tolist() if experts else [math.nan] * len(steps)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *_NUMBERS, "max_violation"])
        for start in range(0, len(steps), LOG_EVERY):
            part = steps[start : start + LOG_EVERY]
            means = [statistics.mean(getattr(step, name) for step in part) for name in _NUMBERS]
            row = [*means, statistics.mean(violation[start : start + LOG_EVERY])]
            writer.writerow([start + len(part), *("" if math.isnan(value) else f"{value:.4g}" for value in row)])


def _write(path: Path, tensors: dict[str, Tensor], meta: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}  # tied ones twice
    save_file(copies, unfinished, meta)
    os.replace(unfinished, path)


def _spelled(config: ModelConfig) -> dict[str, Any]:
    """As in config.json; `extra` holds what the model does not use."""
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "extra"}
    if config.rope_scaling is not None:
        settings["rope_scaling"] = asdict(config.rope_scaling)
    return settings


def _identity(training: Training) -> dict[str, Any]:
    """What must agree for one training to be the continuation of another."""
    text = hashlib.sha256(training.corpus.training.numpy().tobytes()).hexdigest()
    config = _spelled(training.model.config)
    return {"config": config, "recipe": asdict(training.recipe), "text": {"name": training.corpus.name, "sha256": text}}


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {there.get(part, {}).get(name)} there and {value} here"
        for part, values in here.items()
        for name, value in values.items()
        if there.get(part, {}).get(name) != value
    ]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _steps(history: dict[str, Tensor]) -> list[Step]:
    if not history:
        return []
    rows = zip(history["numbers"].tolist(), history["load"], history["bias"], strict=True)
    return [Step(**dict(zip(_NUMBERS, numbers, strict=True)), load=load, bias=bias) for numbers, load, bias in rows]
