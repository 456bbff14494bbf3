"""Small dense models on stories, several sizes for each budget of compute: the course's own scaling runs."""

import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from course_lib import corpus, devices
from course_lib.accounting import parameters
from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from course_lib.sweep import Row
from course_lib.training import Recipe, Training, held_out_loss

LENGTH = 128  # bytes of a sequence
VALIDATION = 400_000  # bytes, the same for all runs
SHAPES = (  # layers and width; each has about twice the parameters of the one before
    (2, 16), (2, 24), (2, 32), (2, 48), (2, 72), (3, 80), (3, 112), (4, 128), (4, 176), (5, 224), (6, 288), (7, 384),
)  # fmt: skip


def shape(layers: int, hidden_size: int) -> ModelConfig:
    """A dense model with 12 layers width^2 parameters besides the vocabulary, as in arXiv:2401.02954 s3.2."""
    return ModelConfig(
        vocab_size=corpus.VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=round(hidden_size / 3) * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 16,
        initializer_range=0.05,
    )


def size(layers: int, hidden_size: int) -> int:
    """N: parameters that a token is multiplied with, so the output head counts and the embedding does not."""
    return parameters(shape(layers, hidden_size)).active_without_embedding


def isoflop_runs(seeds: list[int], budgets: Sequence[float] = (1e12, 3e12, 1e13), sizes: int = 5) -> list[Row]:
    """For each budget the `sizes` shapes around the size that a first look at 1e12 FLOP found good."""
    if not 1 <= sizes <= len(SHAPES) or min(budgets) < 1e6:
        raise ValueError(f"want 1 to {len(SHAPES)} sizes, and budgets of 1e6 FLOP or more, got {sizes} and {budgets}")
    return [
        {"budget": budget, "layers": layers, "hidden_size": width, "seed": seed}
        for seed in seeds
        for budget in budgets
        for layers, width in _around(70_000 * (budget / 1e12) ** 0.5, sizes)
    ]


def train_isoflop(budget: float, layers: int, hidden_size: int, seed: int) -> Row:
    """Trains until 6ND = budget, on text with few repetitions; the loss is in nats per byte, on 400 kB.

    On a GPU if this process has one, and the row says which.
    """
    device = devices.choose()
    params, recipe = size(layers, hidden_size), recipe_for(budget, layers, hidden_size, seed)
    torch.manual_seed(seed)
    seen = recipe.steps * recipe.batch_size * LENGTH
    text = corpus.load("stories", max(2 * seen, 10 * VALIDATION))
    text = replace(text, validation=text.validation[:VALIDATION])
    training = Training(MiniDeepSeek(shape(layers, hidden_size)).to(device), text, recipe)
    began = time.process_time()
    for _ in training.run():
        pass
    seconds = time.process_time() - began
    return {
        "params": params,
        "tokens": seen,
        "loss": round(held_out_loss(training.model, text, LENGTH), 4),
        "learning_rate": round(recipe.learning_rate, 6),
        "batch_size": recipe.batch_size,
        "cpu_seconds": round(seconds),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": f"course.py sweep isoflop --budgets {budget:g} --seeds {seed}",
    }


def recipe_for(budget: float, layers: int, hidden_size: int, seed: int) -> Recipe:
    """The batch grows with the budget, with about the exponent of arXiv:2401.02954 eq 1; the rate falls with width.

    Both were looked for at 1e12 FLOP, where another seed changes a loss by 0.01 to 0.04 nats.
    """
    batch = max(round(8 * (budget / 1e12) ** (1 / 3)), 1)
    steps = max(round(budget / (6 * size(layers, hidden_size) * batch * LENGTH)), 1)
    rate = 5e-3 * math.sqrt(64 / hidden_size)
    return Recipe(
        steps=steps, batch_size=batch, length=LENGTH, learning_rate=rate, warmup=max(steps // 20, 20), seed=seed
    )


def _around(params: float, sizes: int) -> list[tuple[int, int]]:
    """As many shapes, next to each other, as close as can be to a size."""
    nearest = sorted(SHAPES, key=lambda each: abs(math.log(size(*each) / params)))
    return sorted(nearest[:sizes], key=lambda each: size(*each))
