"""What is on disk is enough to go on, whatever killed the process that wrote it."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from course_lib import checkpoint, corpus, runs
from course_lib.model import MiniDeepSeek
from course_lib.training import Recipe, Training
from tests.conftest import tiny_heads, tiny_moe

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
    runs.train(str(folder / "text"), folder / "config.json", 1, recipe, folder / out, "cpu")


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAIN, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_training_killed_at_random_moments_goes_on_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(corpus.read("stories", 20_000))
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), tmp_path)
    path, draw, kills = tmp_path / "killed" / "checkpoint.safetensors", random.Random(0), 0
    killed = start(tmp_path)
    for _ in range(2):  # once the first checkpoint of this process is there, at any moment, mostly amid a save
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
