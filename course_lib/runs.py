"""What `course.py train` and `course.py sweep` do, with progress, and going on where they were stopped."""

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from course_lib import checkpoint, corpus
from course_lib.config import ModelConfig, mini
from course_lib.experiments import EXPERIMENTS
from course_lib.model import MiniDeepSeek
from course_lib.sweep import sweep
from course_lib.training import Recipe, Training

SAVE_EVERY = 30  # seconds that a crash may cost
console = Console()


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(text: str, config: Path | None, mtp_depths: int | None, recipe: Recipe, out: Path, device: str) -> None:
    """Trains, saving to `out`/checkpoint.safetensors; a checkpoint of the same training is gone on from.

    What is left at the end is `checkpoint.load_model(out)`, and `out`/log.csv.

    Under `torchrun` every process takes its share of each batch, and the first one shows and saves.

    Raises:
        ValueError: an unknown text, a config that cannot be built, or a checkpoint of another training.
    """
    first = _join_processes()
    torch.manual_seed(recipe.seed)
    shape = mini() if config is None else replace(ModelConfig.from_json(config), vocab_size=corpus.VOCABULARY)
    if mtp_depths is not None:
        shape = replace(shape, num_nextn_predict_layers=mtp_depths)
    training = Training(MiniDeepSeek(shape).to(device), corpus.load(text), recipe)
    path = out / "checkpoint.safetensors"
    if path.exists():
        checkpoint.resume(training, path)
    try:
        _run(training, path if first else None)
    finally:
        if first:
            checkpoint.save(training, path)
            console.print(f"{path}: {training.step} of {recipe.steps} steps; the same command goes on from there")
    evaluation = training.evaluate(sequences=64)
    if first:
        checkpoint.save(training, path)
        checkpoint.save_model(training.model, out)
        checkpoint.write_log(training.history, out / "log.csv")
        floor = "" if training.corpus.floor is None else f"; no model can be below {training.corpus.floor:.3f}"
        console.print(f"validation loss {evaluation.loss:.3f} nats per byte{floor}")
        if len(evaluation.load):
            console.print(f"global MaxVio {evaluation.max_violation:.2f}, mean over layers of experts")
        console.print(f"the model: course_lib.checkpoint.load_model({str(out)!r}); its log: {out / 'log.csv'}")
    if dist.is_initialized():
        dist.destroy_process_group()


def run_sweep(
    name: str, seeds: list[int], options: dict[str, object], out: Path, workers: int, cluster: str | None
) -> None:
    """Runs what is missing of an experiment, then prints the mean over seeds of every number it noted.

    Raises:
        ValueError: an option that the experiment does not take.
    """
    experiment = EXPERIMENTS[name]
    if foreign := [option for option in options if option not in experiment.takes]:
        raise ValueError(f"{name} takes no --{foreign[0]}, but --{', --'.join(experiment.takes)}")
    rows = sweep(experiment.runs(seeds, **options), experiment.train, out, workers=workers, cluster=cluster)
    table = Table(title=f"{experiment.about}: mean ± standard deviation over seeds", box=None)
    for heading in experiment.compares:
        table.add_column(heading)
    for heading in ("seeds", *experiment.shows):
        table.add_column(heading, justify="right")
    for kind in dict.fromkeys(tuple(row[column] for column in experiment.compares) for row in rows):
        of_kind = [row for row in rows if tuple(row[column] for column in experiment.compares) == kind]
        values = [_spread(float(row[column]) for row in of_kind) for column in experiment.shows]
        table.add_row(*kind, str(len(of_kind)), *values)
    console.print(table)
    console.print(f"every run is a row of {out}")


def _run(training: Training, path: Path | None) -> None:
    saved = time.monotonic()
    bar = tqdm(training.run(), total=training.recipe.steps, initial=training.step, unit="step", disable=path is None)
    for step in bar:
        violation = f", MaxVio {training.history.max_violation[-1].mean().item():.2f}" if len(step.load) else ""
        bar.set_postfix_str(f"loss {step.loss:.3f}{violation}")
        if path and time.monotonic() - saved > SAVE_EVERY:
            checkpoint.save(training, path)
            saved = time.monotonic()


def _join_processes() -> bool:
    """Whether this process is the first, or the only one."""
    if "RANK" not in os.environ:  # torchrun sets it
        return True
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" then means this one
    return dist.get_rank() == 0


def _spread(values: Iterable[float]) -> str:
    numbers = list(values)
    mean = f"{statistics.mean(numbers):.3f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.3f}"
