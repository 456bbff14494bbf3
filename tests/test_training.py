"""One training loop: what a step does, that it can be stopped anywhere, and that it really learns."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from course_lib import checkpoint, corpus
from course_lib.config import mini
from course_lib.corpus import Corpus
from course_lib.model import MiniDeepSeek
from course_lib.moe import recorded_routing
from course_lib.mtp import mtp_loss
from course_lib.routing import expert_load, sequence_balance_loss
from course_lib.training import Objective, Recipe, Training, held_out_loss
from tests.conftest import tiny_heads, tiny_moe

ROOT = Path(__file__).parents[1]
RECIPE = Recipe(steps=6, batch_size=4, length=11, warmup=2, bias_speed=0.01, sequence_alpha=0.1)


@pytest.fixture(scope="module")
def text() -> Corpus:
    return corpus.load("stories", 40_000)


def training(text: Corpus, recipe: Recipe = RECIPE, device: str = "cpu", **changes: Any) -> Training:
    torch.manual_seed(3)
    return Training(MiniDeepSeek(tiny_moe(vocab_size=256, **changes)).double().to(device), text, recipe)


def test_the_rate_rises_then_falls_by_half_a_cosine() -> None:
    recipe = Recipe(steps=12, learning_rate=1.0, warmup=2, final_fraction=0.2)
    rates = [recipe.rate(step) for step in range(12)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[11] == pytest.approx(0.2)
    assert rates[5] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 3 / 9)) / 2)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"steps": 0}, "steps: wanted >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: wanted > 0, got 0.0"),
        ({"bias_speed": -1.0, "clip": float("nan")}, "clip: wanted > 0, got nan; bias_speed: wanted >= 0, got -1.0"),
    ],
)
def test_impossible_recipes_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Recipe(**{"steps": 5, **wrong})


def test_a_first_step_by_hand(text: Corpus, device: str) -> None:
    """AdamW's first step moves every weight by the rate against the sign of its gradient, after decay."""
    run = training(text, device=device)
    by_hand = training(text, device=device).model
    batch = text.batch(0, 4, 11, seed=0, device=device)
    with recorded_routing(by_hand) as routings:
        logits = by_hand(batch[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    scores, indices = (x.unflatten(0, (4, 11)) for x in (routings[0].scores, routings[0].indices))
    total = loss + sequence_balance_loss(scores, indices, 0.1)
    total.backward()
    before = {name: weight.clone() for name, weight in by_hand.named_parameters()}
    step = next(run.run())
    rate = 3e-3 / 2
    assert step.loss == pytest.approx(loss.item(), rel=1e-6)
    gradients = [weight.grad for weight in by_hand.parameters() if weight.grad is not None]
    assert step.gradient_norm == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in gradients)), rel=1e-5)
    for name, weight in run.model.named_parameters():
        gradient = dict(by_hand.named_parameters())[name].grad
        assert gradient is not None
        decayed = before[name] * (1 - rate * 0.1 * (weight.ndim > 1))
        sure = gradient.abs() > 1e-4  # Adam's eps matters below
        torch.testing.assert_close(weight[sure], (decayed - rate * gradient.sign())[sure], rtol=0, atol=2e-6)
    load = expert_load(routings[0].indices, 12)
    assert torch.equal(step.load[0], load.cpu())
    moved = 0.01 * (load.double().mean() - load).sign()
    torch.testing.assert_close(run.routers[0].bias, moved, rtol=0, atol=1e-12)
    assert step.bias.count_nonzero() == 0, "the bias that routed the first step"


def states(run: Training) -> list[torch.Tensor]:
    return [*run.model.state_dict().values(), torch.tensor(run.history.loss), run.history.load, run.history.bias]


def assert_identical(one: Training, other: Training) -> None:
    for a, b in zip(states(one), states(other), strict=True):
        assert torch.equal(a, b)


def test_stopping_and_going_on_changes_nothing(text: Corpus) -> None:
    through, halting = training(text), training(text)
    list(through.run())
    assert [len(list(halting.run(2))) for _ in range(4)] == [2, 2, 2, 0]
    assert_identical(halting, through)


def test_an_interrupt_waits_for_the_step_to_be_whole(text: Corpus) -> None:
    through, halting = training(text), training(text)
    list(through.run())
    hook = halting.model.norm.register_forward_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        list(halting.run())
    hook.remove()
    assert halting.step == 1
    list(halting.run())
    assert_identical(halting, through)


def refuse(bias: torch.Tensor, load: torch.Tensor, speed: float) -> torch.Tensor:
    raise TypeError("not that way")


def test_a_bias_rule_that_fails_leaves_the_training_where_it_was(text: Corpus) -> None:
    through, failing = training(text), training(text)
    list(through.run())
    right, failing.update_bias = failing.update_bias, refuse
    with pytest.raises(TypeError, match="not that way"):
        list(failing.run())
    failing.update_bias = right
    list(failing.run())
    assert_identical(failing, through)


def test_a_checkpoint_goes_on_to_the_bit(text: Corpus, tmp_path: Path) -> None:
    through, halting = training(text), training(text)
    list(through.run())
    list(halting.run(3))
    halting.evaluate(sequences=5)
    checkpoint.save(halting, tmp_path / "a" / "b.safetensors")
    again = training(text)
    checkpoint.resume(again, tmp_path / "a" / "b.safetensors")
    assert (again.step, again.history.validation) == (3, halting.history.validation)
    list(again.run())
    assert_identical(again, through)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.safetensors"]


def test_a_checkpoint_of_another_training_is_refused(text: Corpus, tmp_path: Path) -> None:
    run = training(text)
    checkpoint.save(run, tmp_path / "run.safetensors")
    other = training(corpus.load("stories", 39_000), replace(RECIPE, steps=9), hidden_size=24)
    with pytest.raises(ValueError, match="hidden_size is 26 there and 24 here; steps is 6 there and 9 here; sha256 is"):
        checkpoint.resume(other, tmp_path / "run.safetensors")


def test_biases_need_a_model_that_has_them(text: Corpus) -> None:
    with pytest.raises(ValueError, match='set topk_method = "noaux_tc"'):
        training(text, topk_method="greedy")


def test_mtp_depths_learn_too_and_their_experts_are_balanced(text: Corpus) -> None:
    run = training(text, num_nextn_predict_layers=2)
    before = [weight.clone() for weight in run.model.mtp.parameters()]
    batch = text.batch(0, 4, 11, seed=0)
    logits = run.model.predict_ahead(batch[:, :-1])
    loss, added, routings = Objective(run.model, replace(RECIPE, sequence_alpha=0.0))(batch)
    assert loss.item() == pytest.approx(F.cross_entropy(logits[0].flatten(0, 1), batch[:, 1:].flatten()).item())
    assert added.item() == pytest.approx(mtp_loss(logits[1:], batch, 0.3).item())
    assert len(routings) == 3
    list(run.run(2))
    assert run.history.load.shape == (2, 3, 12)
    assert run.history.bias[1].count_nonzero(dim=-1).min() > 0
    assert all(not torch.equal(a, b) for a, b in zip(before, run.model.mtp.parameters(), strict=True))
    assert run.evaluate(sequences=3).load.shape == (1, 12), "the main model alone"


def test_models_without_experts_train_too(text: Corpus) -> None:
    run = Training(MiniDeepSeek(tiny_heads(3, vocab_size=256)), text, Recipe(steps=2, batch_size=2, length=9))
    assert len(list(run.run())) == 2
    assert run.history.load.shape == (2, 0, 0)
    assert run.evaluate(sequences=3).loss == run.history.validation[2]


def test_evaluation_is_the_mean_over_bytes_and_the_load_of_all(text: Corpus) -> None:
    run = training(text)
    result = run.evaluate(sequences=20)
    windows = text.windows(20, 11)
    logits = run.model(windows[:, :-1])
    assert result.loss == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item(), rel=1e-5
    )
    assert result.load.sum().item() == 20 * 11 * 3
    assert result.max_violation == pytest.approx((result.load.max() / (20 * 11 * 3 / 12) - 1).item())


@pytest.mark.parametrize("length", [7, 8, 16, 41])
def test_held_out_loss_counts_every_byte_but_the_first_once(length: int) -> None:
    short = Corpus(
        name="short", training=torch.arange(9, dtype=torch.uint8), validation=torch.randint(256, (41,)).byte()
    )
    model = training(short).model
    text, losses = short.validation.long(), []
    for i in range(1, 41):
        start = (i - 1) // length * length
        losses.append(F.cross_entropy(model(text[None, start:i])[0, -1], text[i]))
    assert held_out_loss(model, short, length) == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)


def test_mixed_precision_multiplies_in_bfloat16_and_keeps_the_rest_wide(text: Corpus, device: str) -> None:
    recipe = replace(RECIPE, mixed_precision=True, mtp_weight=0.3)
    seen: dict[str, torch.dtype] = {}

    def run(recipe: Recipe) -> Training:
        torch.manual_seed(3)
        config = tiny_moe(vocab_size=256, num_nextn_predict_layers=1)
        return Training(MiniDeepSeek(config).to(device), text, recipe)

    mixed, wide = run(recipe), run(replace(recipe, mixed_precision=False))
    for name, module in mixed.model.named_modules():
        module.register_forward_hook(
            lambda _m, _i, out, name=name: seen.update({name: out.dtype}) if isinstance(out, torch.Tensor) else None
        )
    list(mixed.run())
    list(wide.run())
    assert {seen["head"], seen["blocks.1.attention.kv_down"], seen["mtp.0.proj"]} == {torch.bfloat16}
    assert {seen["blocks.1"], seen["mtp.0.block"], seen["norm"], seen["blocks.0.attention.latent_norm"]} == {
        torch.float32
    }
    assert {weight.dtype for weight in mixed.model.parameters()} == {torch.float32}
    assert mixed.history.loss != wide.history.loss
    assert mixed.history.loss == pytest.approx(wide.history.loss, rel=5e-3)


def test_it_learns_and_the_bias_evens_the_load() -> None:
    """The real thing in small: 45 steps on stories halve the loss, and balanced experts stay in use."""
    text, violation = corpus.load("stories", 400_000), {}
    for speed in (0.0, 0.02):
        torch.manual_seed(0)
        run = Training(MiniDeepSeek(mini()), text, Recipe(steps=45, length=64, learning_rate=5e-3, bias_speed=speed))
        list(run.run())
        assert run.history.loss[-1] < 0.5 * run.history.loss[0]
        violation[speed] = run.history.max_violation[-10:].mean().item()
    assert violation[0.02] < 1.5 < violation[0.0]


WORKER = """
import sys, torch, torch.distributed as dist
from course_lib import corpus
from course_lib.mtp import mtp_loss
from course_lib.training import Objective, Recipe, Training, held_out_loss
from tests.test_training import RECIPE, training
dist.init_process_group("gloo")
run = training(corpus.load("stories", 40_000))
list(run.run())
if dist.get_rank() == 0:
    torch.save((run.history.loss, run.history.load, run.model.state_dict()), sys.argv[1])
dist.destroy_process_group()
"""


def test_two_processes_train_the_same_model(text: Corpus, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(tmp_path / "worker.py"), str(tmp_path / "out.pt")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    loss, load, weights = torch.load(tmp_path / "out.pt")
    alone = training(text)
    list(alone.run())
    assert loss == pytest.approx(alone.history.loss, rel=1e-10)
    assert torch.equal(load, alone.history.load)
    for name, weight in alone.model.state_dict().items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-10)
