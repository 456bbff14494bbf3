"""The layer of experts against a loop over tokens, and what no value can show."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.model import MiniDeepSeek
from course_lib.moe import MoE, recorded_routing, routed_experts
from tests import reference
from tests.conftest import tiny_moe

CHANGES: dict[str, dict[str, Any]] = {
    "as in V3": {},
    "as in V2": {"topk_method": "group_limited_greedy", "scoring_func": "softmax", "norm_topk_prob": False},
    "greedy": {"topk_method": "greedy", "scoring_func": "softmax"},
    "one group": {"n_group": 1, "topk_group": 1},
    "top 1": {"num_experts_per_tok": 1},
    "all experts": {"num_experts_per_tok": 12, "n_group": 1, "topk_group": 1},
    "none shared": {"n_shared_experts": 0},
}


def layer_and_tokens(device: str = "cpu", **changes: Any) -> tuple[MoE, torch.Tensor]:
    config = tiny_moe(initializer_range=0.4, **changes)
    layer = MoE(config).double().to(device)
    if layer.router.bias is not None:
        layer.router.bias.normal_(std=0.5)
    return layer, torch.randn(3, 19, config.hidden_size, dtype=torch.float64, device=device)


@pytest.mark.few_on_virtual_cuda(3)
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_values_and_gradients_are_those_of_a_loop_over_tokens(changes: dict[str, Any], device: str) -> None:
    layer, x = layer_and_tokens(device, **changes)
    x.requires_grad_()
    inputs = [x, *layer.parameters()]
    direction = torch.randn_like(x)
    ours, wanted = layer(x), reference.moe(layer, layer.router.config, x.flatten(0, 1)).view_as(x)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)
    for gradient, right in zip(
        torch.autograd.grad((ours * direction).sum(), inputs),
        torch.autograd.grad((wanted * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(gradient, right, rtol=0, atol=1e-12 * max(1.0, right.abs().max().item()))


def test_experts_that_nobody_chose_may_hold_anything() -> None:
    layer, x = layer_and_tokens(n_group=1, topk_group=1)
    assert layer.router.bias is not None
    layer.router.bias[[0, 5, 11]] = -10.0
    expected = layer(x)
    with torch.no_grad():
        layer.gate_up[[0, 5, 11]] = layer.down[[0, 5, 11]] = torch.nan
    x.requires_grad_()
    again = layer(x)
    again.sum().backward()
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("skew", [0.0, 1.0, 5.0, 50.0], ids=["even", "uneven", "skewed", "collapsed"])
def test_work_is_that_of_the_chosen_experts(skew: float) -> None:
    m, e, k, d, f = 200, 16, 4, 6, 10
    x, gate_up, down = torch.randn(m, d), torch.randn(e, 2 * f, d), torch.randn(e, d, f)
    indices = (torch.rand(m, e) - skew * torch.arange(e) / e).topk(k).indices
    with FlopCounterMode(display=False) as counter:
        routed_experts(x, indices, torch.rand(m, k), gate_up, down)
    experts, mixing = 2 * 3 * m * k * d * f, 2 * m * k * d
    assert experts + mixing <= counter.get_total_flops() <= 1.25 * experts + mixing


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_single_token(tokens: int) -> None:
    layer, x = layer_and_tokens()
    x = x[:1, :tokens]
    wanted = reference.moe(layer, layer.router.config, x[0])
    torch.testing.assert_close(layer(x)[0], wanted, rtol=0, atol=1e-12)


def test_the_bias_moves_the_choice_but_takes_no_gradient() -> None:
    layer, x = layer_and_tokens()
    before = layer.router(x.flatten(0, 1))
    assert layer.router.bias is not None
    layer.router.bias += 100 * torch.eye(12, dtype=torch.float64)[7]
    after = layer.router(x.flatten(0, 1))
    assert (after.indices == 7).any(-1).all() and not (before.indices == 7).any(-1).all()
    assert torch.equal(after.scores, before.scores)
    assert "router.bias" in layer.state_dict() and not any("bias" in name for name, _ in layer.named_parameters())


def test_routing_is_recorded_layer_by_layer_and_only_inside_the_block() -> None:
    model = MiniDeepSeek(tiny_moe(num_hidden_layers=3))
    tokens = torch.randint(37, (2, 9))
    with recorded_routing(model) as record:
        model(tokens)
    model(tokens)
    assert [tuple(routing.indices.shape) for routing in record] == [(18, 3), (18, 3)]
    torch.testing.assert_close(record[0].weights.sum(-1), torch.full((18,), 2.5))
