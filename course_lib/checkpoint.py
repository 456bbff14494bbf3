"""A training on disk: weights, optimizer and history in one safetensors file, which is written whole or not at all."""

import hashlib
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from course_lib.training import Step, Training

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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}  # tied ones twice
    save_file(copies, unfinished, {key: json.dumps(value) for key, value in meta.items()})
    os.replace(unfinished, path)


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


def _identity(training: Training) -> dict[str, Any]:
    """What must agree for one training to be the continuation of another."""
    text = hashlib.sha256(training.corpus.training.numpy().tobytes()).hexdigest()
    config = {
        f.name: getattr(training.model.config, f.name) for f in fields(training.model.config) if f.name != "extra"
    }
    if config["rope_scaling"] is not None:
        config["rope_scaling"] = asdict(config["rope_scaling"])
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
