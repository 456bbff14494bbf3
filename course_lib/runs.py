"""What `course.py train`, `write` and `sweep` do, with progress; what was stopped continues."""

import codecs
import math
import re
import shlex
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from course_lib import boxed, checkpoint, corpus, devices, distributed, files, host, preflight
from course_lib.config import ModelConfig
from course_lib.corpus import Corpus
from course_lib.experiments import EXPERIMENTS
from course_lib.generation import Generation, generate
from course_lib.model import MiniDeepSeek
from course_lib.routing import max_violation
from course_lib.sweep import sweep
from course_lib.training import DivergedError, Recipe, Training

SAVE_EVERY = 30  # seconds of training that a crash may cost
PROMPT = "Once upon a time"
UNPRINTABLE = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n"} | {127: "\ufffd"}  # for a terminal
console = Console(highlight=False, soft_wrap=True)


def train(
    text: str,
    config: ModelConfig,
    recipe: Recipe,
    out: Path,
    device: torch.device,
    *,
    mixed_precision: bool | None = None,
) -> None:
    """Trains, saving to `out`/checkpoint.safetensors; an existing checkpoint is resumed.

    In the end `out` also holds the model for `checkpoint.load_model` and log.csv. `mixed_precision` None: if the device
    multiplies bfloat16 natively. Under `torchrun` each process takes its share of each batch, and the first one shows
    progress and saves.

    Raises:
        ValueError: an unknown or too short text, a model that does not fit the memory, a batch that the processes
            cannot share, a checkpoint that is damaged or of another training, or another process at work in `out`.
        OSError: `out` cannot be written to.
        DivergedError: the loss is no longer finite; the last checkpoint stays as it is.
        KeyboardInterrupt: after Ctrl-C, when everything is saved.
    """
    with distributed.joined(device) as own:
        first = distributed.rank() == 0
        place = "this GPU" if own.type == "cuda" else "this machine"
        preflight.refuse_too_large(config, _memory(own), place)
        share = max(recipe.batch_size // distributed.processes(), 1)
        preflight.refuse_large_batch(config, share * recipe.length, _memory(own), place)
        if recipe.length <= (depths := config.num_nextn_predict_layers):
            raise ValueError(f"{depths} MTP depths need a --length above {depths}, got {recipe.length}")
        if first:
            preflight.refuse_unwritable(
                out, (checkpoint.CHECKPOINT, checkpoint.MODEL, checkpoint.CONFIG, checkpoint.LOG)
            )
        data = corpus.load(text)
        data.windows(1, recipe.length)  # raises before the training, not after it, if the validation text is too short
        native = devices.has_bfloat16(own)
        recipe = replace(recipe, mixed_precision=native if mixed_precision is None else mixed_precision)
        if first:
            _announce(own, recipe.mixed_precision, native)
            with files.locked(
                out / ".lock", f"another training is writing to {out}; wait for it or take another --out"
            ):
                _train(data, config, recipe, out, own)
        else:
            _train(data, config, recipe, out, own)


def write(
    model: Path | None,
    prompt: str,
    tokens: int,
    device: torch.device,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    speculate: bool | None,
) -> None:
    """Prints `prompt` and `tokens` bytes more, as they come; what it took goes to stderr.

    `model` is the folder of a training; None takes the model in the box. `speculate` None: if it has MTP depths.

    Raises:
        ValueError: an empty prompt, settings out of range, a damaged model, or one whose tokens are not bytes.
        FileNotFoundError: no finished model in that folder.
    """
    if not prompt:
        raise ValueError("the prompt is empty; give the model at least one character to continue")
    writer = (boxed.load() if model is None else checkpoint.load_model(model)).to(device)
    if writer.config.vocab_size != corpus.VOCABULARY:
        raise ValueError(f"the tokens of {model} are not bytes: it has {writer.config.vocab_size:,} of them, not 256")
    drafts = bool(len(writer.mtp)) if speculate is None else speculate
    if drafts and not len(writer.mtp):
        raise ValueError("this model has no MTP depth to draft with: leave out --speculate")
    show, began = _Printer(prompt), time.perf_counter()
    try:
        result = generate(
            writer, corpus.encode(prompt)[None].to(device), tokens,
            temperature=temperature, top_p=top_p, seed=seed, speculate=drafts, watch=show,
        )  # fmt: skip
    finally:
        show.end()
    took = f"{tokens} bytes in {time.perf_counter() - began:.1f} s on {device}"
    drafted = (
        f"; {result.tokens_per_pass:.2f} per pass, {result.acceptance:.0%} of the drafts accepted" if drafts else ""
    )
    print(f"[{'the model in the box' if model is None else model}: {took}{drafted}]", file=sys.stderr)


def run_sweep(
    name: str, seeds: list[int], options: dict[str, object], out: Path, workers: int, cluster: str | None
) -> None:
    """Runs what is missing of an experiment, then prints the mean over seeds of every number it noted.

    Raises:
        ValueError: an option that the experiment does not take, or another sweep at work on `out`.
    """
    experiment = EXPERIMENTS[name]
    if foreign := [option for option in options if option not in experiment.takes]:
        raise ValueError(f"{name} takes no --{foreign[0]}, but --{', --'.join(experiment.takes)}")
    place = "the workers' devices" if cluster else experiment.device()
    console.print(f"{name}: trains on {place}, rows go to {out}")
    try:
        rows = sweep(experiment.runs(seeds, **options), experiment.train, out, workers=workers, cluster=cluster)
    except KeyboardInterrupt:
        console.print(f"Stopped. Each finished run is a row of {out}; the same command trains the rest")
        raise
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
    console.print(f"each run is a row of {out}")


def _train(data: Corpus, config: ModelConfig, recipe: Recipe, out: Path, device: torch.device) -> None:
    first, path = distributed.rank() == 0, out / checkpoint.CHECKPOINT
    torch.manual_seed(recipe.seed)
    training = Training(MiniDeepSeek(config).to(device), data, recipe)
    if path.exists():
        checkpoint.resume(training, path)
    distributed.refuse_different(training.step, f"steps of this training are done; do all processes see {path}?")
    if training.step < recipe.steps:
        _run(training, path if first else None)
    evaluation = training.evaluate(sequences=64)
    if not first:
        return
    checkpoint.save(training, path)
    checkpoint.save_model(training.model, out)
    checkpoint.write_log(training.history, out / checkpoint.LOG)
    console.print(f"{training.step} of {recipe.steps} steps are done: {path}")
    floor = "" if data.floor is None else f"; no model can be below {data.floor:.3f}"
    console.print(f"validation loss {evaluation.loss:.3f} nats per byte{floor}")
    if not evaluation.loss < (guessing := math.log(config.vocab_size)):
        console.print(f"That is no better than guessing ({guessing:.3f}): try a lower --learning-rate.", style="bold")
    if len(evaluation.load):
        console.print(f"global MaxVio {evaluation.max_violation:.2f}, mean over layers of experts")
    console.print(f"log of the training: {out / 'log.csv'}")
    console.print(f"to let it write: {_write_command(out, data)}")


def _run(training: Training, path: Path | None) -> None:
    """Trains to the end with a progress bar, and saves now and then. After Ctrl-C it saves and says how to go on."""
    steps, saved = training.recipe.steps, time.monotonic()
    bar = tqdm(total=steps, initial=training.step, unit="step", disable=path is None)
    try:
        with bar:  # closed, and so drawn for the last time, before anything else is printed
            try:
                for _ in training.run():
                    _show(bar, training)
                    if path and time.monotonic() - saved > SAVE_EVERY:
                        checkpoint.save(training, path)
                        saved = time.monotonic()
            finally:
                _show(bar, training)  # Ctrl-C has waited for one more step
    except DivergedError as error:
        kept = f" {path} is as it was before." if path and path.exists() else ""
        raise DivergedError(f"{error}{kept}") from None
    except KeyboardInterrupt:
        if path:
            checkpoint.save(training, path)
            console.print(f"Stopped after {training.step} of {steps} steps; the same command continues from {path}")
        raise


def _show(bar: tqdm, training: Training) -> None:
    if training.step:
        step = training.history.steps[-1]
        violation = f", MaxVio {max_violation(step.load).mean().item():.2f}" if len(step.load) else ""
        bar.set_postfix_str(f"loss {step.loss:.3f}{violation}", refresh=False)
        bar.update(training.step - bar.n)


def _announce(device: torch.device, mixed_precision: bool, native: bool) -> None:
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    console.print(f"training on {name}, products in {'bfloat16' if mixed_precision else 'float32'}")
    if mixed_precision and not native:
        console.print(f"{device} has no bfloat16 arithmetic and emulates it: --no-mixed-precision is faster here")


def _memory(device: torch.device) -> int:
    """Bytes that can still be taken on the device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else host.available_memory()


def _write_command(out: Path, data: Corpus) -> str:
    """With a prompt from the text, so that the model continues what it knows."""
    text = corpus.decode(data.validation[:2000].long())
    words = re.search(r"[A-Z][a-z]*( [a-z]+){2,3}", text)
    prompt = words.group() if words else PROMPT
    return f"python3 course.py write --model {shlex.quote(str(out))} --prompt {shlex.quote(prompt)}"


class _Printer:
    """Prints a prompt and what is generated from it, in whole characters; control characters are replaced."""

    def __init__(self, prompt: str) -> None:
        self.decoder, self.shown, self.before = codecs.getincrementaldecoder("utf-8")(errors="replace"), 0, prompt

    def __call__(self, result: Generation) -> None:
        fresh = bytes(result.tokens[0, self.shown :].tolist())
        self.shown += len(fresh)
        self._print(self.before + self.decoder.decode(fresh))
        self.before = ""

    def end(self) -> None:
        if self.shown:
            self._print(self.decoder.decode(b"", final=True) + "\n")

    def _print(self, text: str) -> None:
        print(text.translate(UNPRINTABLE), end="", flush=True)


def _spread(values: Iterable[float]) -> str:
    numbers = list(values)
    mean = f"{statistics.mean(numbers):.3f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.3f}"
