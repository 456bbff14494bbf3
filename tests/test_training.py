"""One training loop: what a step does, that it can be stopped anywhere, and that it really learns."""

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checkpoint, corpus
from course_lib.config import mini
from course_lib.corpus import Corpus
from course_lib.model import MiniDeepSeek
from course_lib.moe import recorded_routing
from course_lib.mtp import mtp_loss
from course_lib.routing import expert_load, sequence_balance_loss
from course_lib.training import DivergedError, Objective, Recipe, Training, held_out_loss
from tests.conftest import tiny_heads, tiny_moe

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
    assert Recipe(steps=3, learning_rate=1.0, warmup=2).rate(2) == 1.0, "the peak, where the last step comes after it"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"steps": 0}, "steps: expected >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected > 0, got 0.0"),
        ({"final_fraction": float("nan")}, "final_fraction: expected >= 0, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas: expected 0 <= beta < 1, got \(0.9, 1.0\)"),
        (
            {"bias_speed": -1.0, "clip": float("nan")},
            "clip: expected > 0, got nan; bias_speed: expected >= 0, got -1.0",
        ),
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


def adamw_by_hand(
    weight: Tensor,
    gradient: Tensor,
    state: list[Tensor],
    step: int,
    rate: float,
    decay: float,
    betas: tuple[float, float],
) -> None:
    """arXiv:1711.05101 algorithm 2, as PyTorch orders it; `step` from 1, `state` two moments."""
    for moment, beta, value in zip(state, betas, (gradient, gradient**2), strict=True):
        moment.copy_(beta * moment + (1 - beta) * value)
    first, second = (moment / (1 - beta**step) for moment, beta in zip(state, betas, strict=True))
    weight.copy_(weight - rate * decay * weight - rate * first / (second.sqrt() + 1e-8))


@pytest.mark.parametrize("clip", [0.5, 1e9], ids=["clipped", "free"])
def test_five_steps_by_hand(text: Corpus, device: str, clip: float) -> None:
    """AdamW with our betas, decay on matrices only, clipping by the norm of all gradients, and the schedule."""
    betas, decay = (0.8, 0.9), 0.3
    recipe = Recipe(
        steps=5, batch_size=3, length=11, learning_rate=0.02, warmup=2, final_fraction=0.2,
        betas=betas, weight_decay=decay, clip=clip,
    )  # fmt: skip
    run, model = training(text, recipe, device), training(text, recipe, device).model
    state = {name: [torch.zeros_like(weight), torch.zeros_like(weight)] for name, weight in model.named_parameters()}
    rates = [0.01, 0.02, 0.02, *(0.02 * (0.2 + 0.8 * (1 + math.cos(math.pi * part)) / 2) for part in (0.5, 1.0))]
    for number, (step, rate) in enumerate(zip(run.run(), rates, strict=True), 1):
        batch = text.batch(number - 1, 3, 11, seed=0, device=device)
        model.zero_grad()
        F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients.values()))
        assert norm > 0.5, "or nothing is clipped"
        assert (step.gradient_norm, step.learning_rate) == (
            pytest.approx(norm, rel=1e-9),
            pytest.approx(rate, rel=1e-12),
        )
        with torch.no_grad():
            for name, weight in model.named_parameters():
                gradient = gradients[name] * min(1, clip / (norm + 1e-6))
                decay_here = decay if weight.ndim > 1 else 0.0
                adamw_by_hand(weight, gradient, state[name], number, rate, decay_here, betas)
        for name, weight in run.model.named_parameters():
            torch.testing.assert_close(weight.data, dict(model.named_parameters())[name].data, rtol=0, atol=1e-12)


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


def wrong_shape(bias: Tensor, load: Tensor, speed: float) -> Tensor:
    return bias[:-1]


def nothing(bias: Tensor, load: Tensor, speed: float) -> None:
    bias += speed


@pytest.mark.parametrize(("rule", "got"), [(wrong_shape, r"got shape \(11,\)"), (nothing, "got NoneType")])
def test_a_bias_rule_that_returns_something_else_is_refused_before_anything_moves(
    text: Corpus, rule: Any, got: str
) -> None:
    through, failing = training(text), training(text)
    list(through.run())
    right, failing.update_bias = failing.update_bias, rule
    with pytest.raises(ValueError, match=rf"update_bias must return a tensor of shape \(12,\), one .*; {got}"):
        list(failing.run())
    failing.update_bias = right
    list(failing.run())
    assert_identical(failing, through)


@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_a_training_that_diverges_stays_at_the_step_before(text: Corpus, device: str, spoiled: str) -> None:
    run = training(text, device=device)
    good = list(run.run(2))[-1]
    before = [value.clone() for value in run.model.state_dict().values()]
    norm: Any = run.model.norm
    hook = (
        norm.register_forward_hook(lambda _module, _inputs, out: out * math.inf)
        if spoiled == "loss"
        else norm.weight.register_hook(lambda gradient: gradient * math.nan)
    )
    with pytest.raises(DivergedError, match=rf"step 3 diverged.*{good.loss:.4g}.*Lower the learning rate, .* 0.003"):
        list(run.run())
    hook.remove()
    assert run.step == 2
    for value, old in zip(run.model.state_dict().values(), before, strict=True):
        assert torch.equal(value, old)
    through = training(text, device=device)
    list(through.run())
    list(run.run())
    assert run.history.loss == pytest.approx(through.history.loss, rel=1e-9)


def test_a_text_shorter_than_a_sequence_is_refused_at_once(text: Corpus) -> None:
    short = replace(text, training=text.training[:11])
    with pytest.raises(ValueError, match=r"windows of 11 \+ 1 bytes do not fit the training text of 11 bytes"):
        training(short)


def test_a_frozen_model_is_refused(text: Corpus) -> None:
    model = training(text).model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"all parameters of this model are frozen; call model.requires_grad_\(\)"):
        Training(model, text, RECIPE)


def test_results_come_back_on_the_cpu(text: Corpus, device: str) -> None:
    run = training(text, device=device)
    step, evaluation = next(run.run()), run.evaluate(sequences=3)
    for result in (step.load, step.bias, run.history.load, run.history.bias, evaluation.load):
        assert result.device == torch.device("cpu")
    numbers = [step.loss, step.gradient_norm, evaluation.loss, evaluation.max_violation]
    assert {type(number) for number in (*numbers, held_out_loss(run.model, text, 500))} == {float}


def test_the_default_device_changes_nothing(text: Corpus, tmp_path: Path) -> None:
    """Whatever PyTorch would make elsewhere by default, a training keeps on the model's device and on the CPU."""
    through, run, resumed = training(text), training(text), training(text)
    list(through.run())
    usual = (through.evaluate(sequences=3), held_out_loss(through.model, text, 900))
    checkpoint.save_model(through.model, tmp_path)
    torch.set_default_device("meta")
    try:
        list(run.run(3))
        checkpoint.save(run, tmp_path / "run")
        checkpoint.resume(resumed, tmp_path / "run")
        list(resumed.run())
        elsewhere = (resumed.evaluate(sequences=3), held_out_loss(resumed.model, text, 900))
        loaded = checkpoint.load_model(tmp_path)
    finally:
        torch.set_default_device(None)
    assert_identical(resumed, through)
    assert (elsewhere[0].loss, elsewhere[1]) == (usual[0].loss, usual[1])
    assert {weight.device.type for weight in loaded.state_dict().values()} == {"cpu"}


def test_freed_memory_is_returned_now_and_then(text: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("course_lib.training.TRIM_EVERY", 2)
    run = training(text)
    monkeypatch.setattr("course_lib.host.return_freed_memory", lambda: calls.append(run.step))
    list(run.run())
    assert calls == [2, 4, 6]


def test_biases_need_a_model_that_has_them(text: Corpus) -> None:
    with pytest.raises(ValueError, match='set topk_method = "noaux_tc"'):
        training(text, topk_method="greedy")


def test_mtp_depths_learn_too_and_their_experts_are_balanced(text: Corpus) -> None:
    run = training(text, num_nextn_predict_layers=2)
    before = [weight.clone() for weight in run.model.mtp.parameters()]
    batch = text.batch(0, 4, 11, seed=0)
    logits = run.model.predict_ahead(batch[:, :-1])
    loss, added, load = Objective(run.model, replace(RECIPE, sequence_alpha=0.0))(batch)
    assert loss.item() == pytest.approx(F.cross_entropy(logits[0].flatten(0, 1), batch[:, 1:].flatten()).item())
    assert added.item() == pytest.approx(mtp_loss(logits[1:], batch, 0.3).item())
    assert load.shape == (3, 12)
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
        name="short", training=torch.arange(13, dtype=torch.uint8), validation=torch.randint(256, (41,)).byte()
    )
    model = training(short).model
    text, losses = short.validation.long(), []
    for i in range(1, 41):
        start = (i - 1) // length * length
        losses.append(F.cross_entropy(model(text[None, start:i])[0, -1], text[i]))
    assert held_out_loss(model, short, length) == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)


@pytest.mark.real_cuda("the virtual device has no autocast")
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
