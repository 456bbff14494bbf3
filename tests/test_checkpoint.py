"""What is on disk is enough to go on, whatever killed the process that wrote it."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_lib import checkpoint, corpus, preflight, runs
from course_lib.config import ModelConfig
from course_lib.corpus import Corpus
from course_lib.model import MiniDeepSeek
from course_lib.training import History, Recipe, Step, Training
from tests.conftest import tiny_heads, tiny_moe
from tests.test_training import RECIPE, assert_identical, states, training

ROOT = Path(__file__).parents[1]
TRAIN = """
import sys
from pathlib import Path
from course_lib import runs
from tests.test_checkpoint import train
runs.SAVE_EVERY = 0
train(Path(sys.argv[1]), "killed")
"""


def train(folder: Path, out: str) -> None:
    recipe = Recipe(steps=60, batch_size=2, length=24, bias_speed=0.01)
    config = preflight.byte_model(folder / "config.json", 1)
    runs.train(str(folder / "text"), config, recipe, folder / out, torch.device("cpu"))


@pytest.fixture(scope="module")
def text() -> Corpus:
    return corpus.load("stories", 40_000)


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAIN, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_training_killed_at_random_moments_goes_on_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(corpus.read("stories", 20_000))
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), tmp_path)
    path, draw, kills = tmp_path / "killed" / "checkpoint.safetensors", random.Random(0), 0
    killed = start(tmp_path)
    for _ in range(2):  # once the first checkpoint of this process is there, at any moment, mostly during a save
        began, give_up = time.time(), time.monotonic() + 120
        while not (path.exists() and path.stat().st_mtime > began) and killed.poll() is None:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        time.sleep(draw.random() * 0.3)
        killed.send_signal(signal.SIGKILL)
        kills += killed.wait() == -signal.SIGKILL
        killed = start(tmp_path)
    assert kills > 0
    train(tmp_path, "through")  # here, meanwhile
    assert killed.wait(120) == 0
    one, other = load_file(tmp_path / "through" / path.name), load_file(path)
    assert one.keys() == other.keys() and len(one["history.numbers"]) == 60
    for name, tensor in one.items():
        seconds = 3 if name == "history.numbers" else None  # all but the last column, which is time
        assert torch.equal(tensor[..., :seconds], other[name][..., :seconds]) if tensor.ndim else tensor == other[name]


def test_a_checkpoint_goes_on_to_the_bit(text: Corpus, tmp_path: Path, device: str) -> None:
    """On one GPU too, for a model this small."""
    through, halting = training(text, device=device), training(text, device=device)
    list(through.run())
    list(halting.run(3))
    halting.evaluate(sequences=5)
    checkpoint.save(halting, tmp_path / "a" / "b.safetensors")
    again = training(text, device=device)
    checkpoint.resume(again, tmp_path / "a" / "b.safetensors")
    assert (again.step, again.history.validation) == (3, halting.history.validation)
    list(again.run())
    assert_identical(again, through)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.safetensors"]


def test_a_checkpoint_of_another_training_is_refused(text: Corpus, tmp_path: Path) -> None:
    run = training(text)
    list(run.run(1))
    checkpoint.save(run, tmp_path / "run.safetensors")
    other = training(corpus.load("stories", 39_000), replace(RECIPE, steps=9), hidden_size=24)
    with pytest.raises(ValueError, match="hidden_size is 26 there and 24 here; steps is 6 there and 9 here; the text "):
        checkpoint.resume(other, tmp_path / "run.safetensors")
    assert other.step == 0
    double = training(text)
    double.model.float()
    with pytest.raises(ValueError, match=r"dtype is torch\.float64 there and torch\.float32 here"):
        checkpoint.resume(double, tmp_path / "run.safetensors")


@pytest.mark.parametrize(
    "config", [tiny_moe(vocab_size=256, num_nextn_predict_layers=1), tiny_heads(2, vocab_size=256)]
)
def test_every_kind_of_model_is_resumed_on_another_device(
    text: Corpus, tmp_path: Path, device: str, config: ModelConfig
) -> None:
    def begin(place: str) -> Training:
        torch.manual_seed(3)
        return Training(MiniDeepSeek(config).double().to(place), text, Recipe(steps=5, batch_size=2, length=9))

    through, halting, there, back = begin("cpu"), begin("cpu"), begin(device), begin("cpu")
    list(through.run())
    list(halting.run(2))
    checkpoint.save(halting, tmp_path / "run")
    checkpoint.resume(there, tmp_path / "run")
    list(there.run(2))
    checkpoint.save(there, tmp_path / "run")
    checkpoint.resume(back, tmp_path / "run")
    list(back.run())
    assert back.step == 5
    assert back.history.loss == pytest.approx(through.history.loss, rel=1e-9)
    for weight, expected in zip(back.model.parameters(), through.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9)


def test_a_training_under_way_goes_back_to_where_a_checkpoint_was_saved(text: Corpus, tmp_path: Path) -> None:
    through, run = training(text), training(text)
    list(through.run())
    checkpoint.save(run, tmp_path / "start")
    list(run.run(2))
    checkpoint.resume(run, tmp_path / "start")
    assert run.step == 0
    list(run.run())
    assert_identical(run, through)


def rewritten(path: Path, change: Any) -> None:
    """The checkpoint at `path`, with its tensors changed and its metadata as they are."""
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, meta)


def drop(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def put(name: str, tensor: Tensor) -> Any:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop("model.norm.weight"), "it lacks model.norm.weight"),
        (drop("optimizer.exp_avg.norm.weight"), "it lacks optimizer.exp_avg.norm.weight"),
        (drop("optimizer.step.head.weight"), "it lacks optimizer.step.head.weight"),
        (drop("history.load"), "it lacks history.load"),
        (lambda tensors: [tensors.pop(name) for name in list(tensors) if "optimizer" in name], r"it lacks .* more\)"),
        (put("model.more", torch.ones(2)), "model.more is unknown"),
        (put("model.norm.weight", torch.ones(27)), r"norm.weight has shape \(27,\), expected \(26,\)"),
        (put("optimizer.exp_avg_sq.norm.weight", torch.ones(3)), r"norm.weight has shape \(3,\), expected \(26,\)"),
        (put("history.bias", torch.ones(2, 1, 12)), r"history.bias has shape \(2, 1, 12\), expected \(3, 1, 12\)"),
    ],
)
def test_a_damaged_checkpoint_changes_nothing(text: Corpus, tmp_path: Path, change: Any, reason: str) -> None:
    run, other, path = training(text), training(text), tmp_path / "run.safetensors"
    list(run.run(3))
    checkpoint.save(run, path)
    rewritten(path, change)
    list(other.run(1))
    before = [value.clone() for value in states(other)]
    with pytest.raises(ValueError, match=rf"run\.safetensors is damaged.*{reason}"):
        checkpoint.resume(other, path)
    assert all(map(torch.equal, states(other), before))
    through = training(text)
    list(through.run(2))
    list(other.run(1))
    assert_identical(other, through)


@pytest.mark.parametrize("size", [0, 5, 300, 20_000, -1])
def test_a_file_that_was_cut_off_is_refused(text: Corpus, tmp_path: Path, size: int) -> None:
    run, path = training(text), tmp_path / "run.safetensors"
    list(run.run(1))
    checkpoint.save(run, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"run\.safetensors is damaged .*Delete it to start again"):
        checkpoint.resume(training(text), path)


def test_a_file_that_is_no_checkpoint_is_refused(text: Corpus, tmp_path: Path) -> None:
    for meta in (None, {"recipe": "{}"}, {"format": "1"}):
        save_file({"model.norm.weight": torch.ones(26)}, tmp_path / "old", meta)
        with pytest.raises(ValueError, match="old is not a checkpoint of this version of the course"):
            checkpoint.resume(training(text), tmp_path / "old")


def test_a_model_comes_back(tmp_path: Path) -> None:
    for config in (tiny_moe(num_nextn_predict_layers=2), tiny_heads(2)):
        model = MiniDeepSeek(config)
        checkpoint.save_model(model, tmp_path)
        again = checkpoint.load_model(tmp_path)
        assert again.config == config and not again.training
        assert not any(parameter.requires_grad for parameter in again.parameters())
        for name, weight in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], weight)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_without_a_whole_model_is_explained(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=r"run holds no model: model.safetensors and config.json not found$"):
        checkpoint.load_model(folder)
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-9])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        checkpoint.load_model(folder)
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), folder)
    checkpoint.save_model(MiniDeepSeek(tiny_moe(hidden_size=24)), tmp_path / "other")
    (tmp_path / "other" / "config.json").replace(folder / "config.json")
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or of another model: .* expected \(37, 24\)"):
        checkpoint.load_model(folder)
    (folder / "model.safetensors").rename(folder / "checkpoint.safetensors")
    with pytest.raises(FileNotFoundError, match=r"model.safetensors not found; its training is not finished: run the"):
        checkpoint.load_model(folder)


def test_a_log_has_means_of_the_steps(tmp_path: Path) -> None:
    for name, config in (("experts", tiny_moe(vocab_size=256)), ("dense", tiny_heads(2, vocab_size=256))):
        run = Training(MiniDeepSeek(config), corpus.load("stories", 10_000), Recipe(steps=25, batch_size=2, length=9))
        list(run.run())
        checkpoint.write_log(run.history, tmp_path / name)
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["20", "25"]
        assert abs(float(rows[1]["loss"]) - sum(run.history.loss[20:]) / 5) < 1e-3
        assert (rows[0]["max_violation"] == "") == (name == "dense")


def test_the_violation_in_a_log_is_the_mean_over_layers_and_the_steps_of_its_row(tmp_path: Path) -> None:
    def step(*load: list[int]) -> Step:
        return Step(1.0, 1.0, 1.0, 1.0, torch.tensor(load), torch.zeros(2, 2))

    history = History([step([3, 1], [2, 2])] * 20 + [step([4, 0], [4, 0])] * 5)
    checkpoint.write_log(history, tmp_path / "log.csv")
    with (tmp_path / "log.csv").open(newline="") as file:
        assert [row["max_violation"] for row in csv.DictReader(file)] == ["0.25", "1"]
