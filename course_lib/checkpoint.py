"""A training on disk, to resume, and a model on disk, to use. Each file is written completely or not at all."""

import csv
import hashlib
import io
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_lib import files
from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from course_lib.training import History, Step, Training

# the files in the folder of a training
CHECKPOINT, MODEL, CONFIG, LOG = "checkpoint.safetensors", "model.safetensors", "config.json", "log.csv"
LOG_EVERY = 20  # steps per row of a log
FORMAT = 2  # of a checkpoint: its metadata lists its tensors
_NUMBERS = ("loss", "learning_rate", "gradient_norm", "seconds")  # of a Step; its other fields are tensors


def save(training: Training, path: Path) -> None:
    """Writes all that `resume` needs."""
    tensors = {f"model.{name}": weight for name, weight in training.model.state_dict().items()}
    names = _parameter_names(training)
    for index, state in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{key}.{names[index]}": value for key, value in state.items()}
    history = training.history
    if history.steps:
        numbers = [[getattr(step, name) for name in _NUMBERS] for step in history.steps]
        tensors["history.numbers"] = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        tensors |= {"history.load": history.load, "history.bias": history.bias}
    meta = {"format": FORMAT, "tensors": sorted(tensors), "validation": history.validation, **_identity(training)}
    _write(path, tensors, {key: json.dumps(value) for key, value in meta.items()})


def resume(training: Training, path: Path) -> None:
    """Puts `training` where the saved one was. Config, recipe and text must be the same; the device may be another.

    Raises:
        ValueError: the file is damaged or belongs to another training; the message says how. Nothing is changed then.
        FileNotFoundError: there is no such file.
    """
    tensors, meta = _read(path)
    here = json.loads(json.dumps(_identity(training)))
    if unlike := "; ".join(_differences(meta, here)):
        raise ValueError(f"{path} is of another training: {unlike}. Use another folder (--out) for this one")
    _refuse_damage(path, tensors, meta["tensors"], _shapes(training, tensors))
    places = {name: index for index, name in enumerate(_parameter_names(training))}
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for full_name, tensor in _under("optimizer.", tensors).items():
        key, name = full_name.split(".", 1)
        state[places[name]][key] = tensor
    training.model.load_state_dict(_under("model.", tensors))
    training.optimizer.load_state_dict(training.optimizer.state_dict() | {"state": dict(state)})
    training.history.steps[:] = _steps(_under("history.", tensors))
    training.history.validation = {int(step): loss for step, loss in meta["validation"].items()}


def save_model(model: MiniDeepSeek, folder: Path) -> None:
    """Writes `model.safetensors` and the `config.json` that says how to build it."""
    _write(folder / MODEL, model.state_dict(), {})
    files.write_text(folder / CONFIG, json.dumps(_spelled(model.config), indent=2) + "\n")


def load_model(folder: Path) -> MiniDeepSeek:
    """The model that `save_model` wrote, on the CPU and frozen: ready to be used, not to be trained.

    Raises:
        FileNotFoundError: this folder holds no finished model.
        ValueError: a damaged file, or weights that do not fit the config.
    """
    if missing := [name for name in (MODEL, CONFIG) if not (folder / name).is_file()]:
        unfinished = "; its training is not finished: run the same train command again" if _begun(folder) else ""
        raise FileNotFoundError(f"{folder} holds no model: {' and '.join(missing)} not found{unfinished}")
    path = folder / MODEL
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    with torch.device("cpu"):
        model = MiniDeepSeek(ModelConfig.from_json(folder / CONFIG))
    _refuse_damage(path, weights, [], {name: tuple(weight.shape) for name, weight in model.state_dict().items()})
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def write_log(history: History, path: Path) -> None:
    """A CSV whose rows are means over LOG_EVERY steps; max_violation is empty if the model has no experts."""
    steps = history.steps
    experts = bool(steps) and len(steps[0].load) > 0
    violation = history.max_violation.mean(-1).tolist() if experts else [math.nan] * len(steps)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *_NUMBERS, "max_violation"])
    for start in range(0, len(steps), LOG_EVERY):
        part = steps[start : start + LOG_EVERY]
        means = [statistics.mean(getattr(step, name) for step in part) for name in _NUMBERS]
        row = [*means, statistics.mean(violation[start : start + LOG_EVERY])]
        writer.writerow([start + len(part), *("" if math.isnan(value) else f"{value:.4g}" for value in row)])
    files.write_text(path, text.getvalue())


def _write(path: Path, tensors: Mapping[str, Tensor], meta: dict[str, str]) -> None:
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}  # tied ones twice
    with files.replacing(path) as unfinished:
        save_file(copies, unfinished, meta)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, on the CPU, and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Delete it to start again") from None
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this version of the course. Use another folder, or delete it")
    return tensors, meta


def _begun(folder: Path) -> bool:
    return (folder / CHECKPOINT).is_file()


def _parameter_names(training: Training) -> list[str]:
    """In the order in which the optimizer numbers the parameters."""
    names = {parameter: name for name, parameter in training.model.named_parameters()}
    return [names[parameter] for group in training.optimizer.param_groups for parameter in group["params"]]


def _shapes(training: Training, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """What a whole checkpoint of this training holds, given how many steps and which trained parameters are in it."""
    shapes = {f"model.{name}": tuple(weight.shape) for name, weight in training.model.state_dict().items()}
    trained = {name.split(".", 2)[2] for name in tensors if name.startswith("optimizer.")}
    for name, parameter in training.model.named_parameters():
        if name in trained:
            moment = tuple(parameter.shape)
            shapes |= {f"optimizer.{key}.{name}": moment for key in ("exp_avg", "exp_avg_sq")}
            shapes[f"optimizer.step.{name}"] = ()
    if trained or any(name.startswith("history.") for name in tensors):
        steps = len(tensors.get("history.numbers", ()))
        per_layer = (steps, len(training.routers), training.model.config.n_routed_experts)
        shapes |= {"history.numbers": (steps, len(_NUMBERS)), "history.load": per_layer, "history.bias": per_layer}
    return shapes


def _refuse_damage(
    path: Path, tensors: Mapping[str, Tensor], listed: list[str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"it lacks {name}" for name in sorted({*listed, *shapes} - set(tensors))]
    problems += [f"{name} is unknown" for name in sorted(set(tensors) - set(shapes))]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"{path} is damaged or of another model: {problems[0]}{more}")


def _spelled(config: ModelConfig) -> dict[str, Any]:
    """As in config.json; `extra` holds what the model does not use."""
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "extra"}
    if config.rope_scaling is not None:
        settings["rope_scaling"] = asdict(config.rope_scaling)
    return settings


def _identity(training: Training) -> dict[str, dict[str, Any]]:
    """What must agree for one training to be the continuation of another."""
    text = hashlib.sha256(training.corpus.training.cpu().numpy().tobytes()).hexdigest()
    return {
        "config": _spelled(training.model.config) | {"dtype": str(training.model.embedding.weight.dtype)},
        "recipe": asdict(training.recipe),
        "text": {"name": training.corpus.name, "sha256": text},
    }


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is unlike, in words for the user."""
    names = [of.get("text", {}).get("name") for of in (there, here)]
    found = [
        f"{name} is {there.get(part, {}).get(name)} there and {value} here"
        for part, values in here.items()
        for name, value in values.items()
        if part != "text" and there.get(part, {}).get(name) != value
    ]
    if names[0] != names[1]:
        return [*found, f"the text is {names[0]} there and {names[1]} here"]
    return found if there.get("text") == here["text"] else [*found, f"the text {names[0]} has changed since"]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _steps(history: dict[str, Tensor]) -> list[Step]:
    if not history:
        return []
    rows = zip(history["numbers"].tolist(), history["load"], history["bias"], strict=True)
    return [Step(**dict(zip(_NUMBERS, numbers, strict=True)), load=load, bias=bias) for numbers, load, bias in rows]
