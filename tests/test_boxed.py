"""The model in the box is what its record says, and drafts change nothing of what it writes."""

import bz2
import gzip
import lzma
import math
import os

import pytest
import torch

from course_lib import boxed, corpus
from course_lib.generation import generate
from course_lib.model import MiniDeepSeek
from course_lib.training import held_out_loss
from tests.typecheck import shape_checks

NEEDS_TEXT = pytest.mark.skipif(
    "COURSE_DATA" not in os.environ, reason="needs a folder with tinyshakespeare.txt in COURSE_DATA"
)
COMPRESSORS = {
    "gzip": lambda data: gzip.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}
PROMPTS = ("ROMEO:\n", "To be, or not to be", "KING RICHARD III:\nNow ", "\n\n")


@pytest.fixture(scope="module")
def model() -> MiniDeepSeek:
    return boxed.load().double()  # or a near tie might fall another way on another machine


def test_it_is_small_whole_and_has_one_depth(model: MiniDeepSeek) -> None:
    assert sum(file.stat().st_size for file in boxed.FOLDER.iterdir()) < 5_000_000
    assert model.config.is_mla and model.config.moe_layers and len(model.mtp) == 1
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_its_log_is_of_the_training_that_the_record_names() -> None:
    record, log = boxed.record(), boxed.log()
    assert f"--steps {record['steps']} " in record["command"] and log[-1]["step"] == record["steps"]
    losses = [row["loss"] for row in log]
    assert losses[0] > 3 and sum(losses[-5:]) / 5 < record["nats_per_character"] < record["nanogpt"]
    assert max(row["max_violation"] for row in log[-20:]) < 1


def test_it_has_learned_english(model: MiniDeepSeek) -> None:
    """On lines that are not in its text, far below what letters alone would cost."""
    tokens = corpus.encode("The morning light is on the quiet hills,\nAnd I shall speak of thee with all my heart.\n")
    loss = torch.nn.functional.cross_entropy(model(tokens[None, :-1])[0], tokens[1:]).item()
    assert loss < 2.3 < math.log(27)


def test_drafts_change_nothing_and_many_stand(model: MiniDeepSeek) -> None:
    prompts = [corpus.encode(prompt)[None] for prompt in PROMPTS]
    with shape_checks(False):  # those of tests/test_generation.py are enough
        drafted = [generate(model, prompt, 25, speculate=True) for prompt in prompts]
        plain = [generate(model, prompt, 25) for prompt in prompts]
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(drafted, plain, strict=True))
    assert sum(result.accepted for result in drafted) > 0.5 * sum(result.offered for result in drafted)


@NEEDS_TEXT
def test_the_record_is_measured(model: MiniDeepSeek) -> None:
    record, text = boxed.record(), corpus.load("tinyshakespeare")
    assert held_out_loss(model, text, record["window"]) == pytest.approx(record["nats_per_character"], abs=1e-3)
    data = text.validation.numpy().tobytes()
    for name, compress in COMPRESSORS.items():
        assert len(compress(data)) * 8 * math.log(2) / len(data) == pytest.approx(record[name], abs=1e-3)
