"""Routing against lists and sorting, one token at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from course_lib.routing import (
    affinities,
    choose_experts,
    expert_balance_loss,
    expert_load,
    gate_weights,
    max_violation,
    sequence_balance_loss,
    update_bias,
)
from tests import reference


@pytest.mark.parametrize("scoring_func", ["sigmoid", "softmax"])
def test_affinities_of_each_token_with_each_centroid(scoring_func: str, device: str) -> None:
    x, centroids = (torch.randn(n, 5, dtype=torch.float64, device=device) for n in (7, 4))
    for token, scores in zip(x, affinities(x, centroids, scoring_func), strict=True):
        products = torch.stack([(token * centroid).sum() for centroid in centroids])
        wanted = 1 / (1 + (-products).exp()) if scoring_func == "sigmoid" else products.exp() / products.exp().sum()
        torch.testing.assert_close(scores, wanted, rtol=0, atol=1e-14)


def test_affinities_of_narrow_tensors_are_wide() -> None:
    x, centroids = (10 * torch.randn(n, 50).bfloat16() for n in (7, 4))
    scores = affinities(x, centroids, "sigmoid")
    assert scores.dtype == torch.float32
    torch.testing.assert_close(
        scores.double(), affinities(x.double(), centroids.double(), "sigmoid"), rtol=0, atol=1e-6
    )


@pytest.mark.real_cuda("the virtual device has no autocast")
def test_mixed_precision_leaves_affinities_alone(device: str) -> None:
    x, centroids = (torch.randn(n, 50, device=device) for n in (7, 4))
    with torch.autocast(device, torch.bfloat16):
        assert (x @ centroids.mT).dtype == torch.bfloat16
        inside = affinities(x, centroids, "sigmoid")
    assert torch.equal(inside, affinities(x, centroids, "sigmoid"))


def test_another_scoring_function_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted 'sigmoid' or 'softmax', got 'tanh'"):
        affinities(torch.ones(2, 3), torch.ones(4, 3), "tanh")


@pytest.mark.few_on_virtual_cuda(4)
@pytest.mark.parametrize(
    ("top_k", "n_group", "topk_group", "group_best"),
    [(1, 1, 1, 2), (3, 1, 1, 2), (12, 1, 1, 2), (3, 4, 2, 2), (6, 4, 2, 2), (1, 4, 1, 2), (3, 4, 2, 1), (5, 3, 3, 3)],
)
@pytest.mark.parametrize("bias_size", [0.0, 3.0], ids=["no bias", "biased below zero"])
def test_chosen_experts(
    top_k: int, n_group: int, topk_group: int, group_best: int, bias_size: float, device: str
) -> None:
    scores = torch.rand(40, 12, dtype=torch.float64, device=device)
    bias = bias_size * torch.randn(12, dtype=torch.float64, device=device)
    groups = {"n_group": n_group, "topk_group": topk_group, "group_best": group_best}
    chosen = choose_experts(scores, top_k, bias=bias if bias_size else None, **groups)
    for row, experts in zip(scores.tolist(), chosen.tolist(), strict=True):
        wanted = reference.route(row, bias.tolist(), top_k, n_group, topk_group, group_best)
        assert sorted(experts) == sorted(wanted)


def test_a_closed_group_stays_closed_when_open_scores_are_negative() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.1, 0.2, 0.3]])
    bias = torch.tensor([-2.0, -2.0, -2.0, -3.0, -3.0, -3.0])
    assert sorted(choose_experts(scores, 3, bias=bias, n_group=2, topk_group=1)[0].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"top_k": 2, "n_group": 5}, "n_group 5 does not divide 12 experts"),
        ({"top_k": 7, "n_group": 4, "topk_group": 2}, "cannot choose 7 experts from 2 of 4 groups of 3"),
        ({"top_k": 0}, "cannot choose 0 experts"),
        ({"top_k": 2, "n_group": 12, "topk_group": 4}, "groups of 1 have no 2 best experts"),
    ],
)
def test_impossible_choices_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        choose_experts(torch.rand(3, 12), **settings)


@pytest.mark.parametrize("normalise", [False, True])
def test_gates_are_the_unbiased_scores_of_the_chosen(normalise: bool) -> None:
    scores = torch.rand(6, 9, dtype=torch.float64)
    indices = choose_experts(scores, 4, bias=torch.randn(9, dtype=torch.float64))
    weights = gate_weights(scores, indices, normalise=normalise, scale=2.5)
    for row, experts, gates in zip(scores, indices.tolist(), weights, strict=True):
        total = sum(row[i] for i in experts) if normalise else 1.0
        wanted = torch.stack([2.5 * row[i] / total for i in experts])
        torch.testing.assert_close(gates, wanted, rtol=0, atol=1e-14)


def test_gates_of_scores_that_are_all_zero_are_zero() -> None:
    assert gate_weights(torch.zeros(1, 4), torch.tensor([[0, 2]]), normalise=True).tolist() == [[0.0, 0.0]]


def test_load_counts_experts_without_tokens() -> None:
    assert expert_load(torch.tensor([[0, 2], [2, 1], [2, 0]]), 5).tolist() == [2, 1, 3, 0, 0]


def test_max_violation() -> None:
    loads = torch.tensor([[3, 3, 3, 3], [12, 0, 0, 0], [4, 2, 3, 3]])
    assert max_violation(loads).tolist() == pytest.approx([0.0, 3.0, 1 / 3])


def test_bias_steps_by_the_sign_of_what_is_missing() -> None:
    bias, load = torch.tensor([0.5, -0.25, 0.0, 0.125]), torch.tensor([9, 1, 5, 5])
    assert update_bias(bias, load, 0.125).tolist() == [0.375, -0.125, 0.0, 0.125]
    assert bias.tolist() == [0.5, -0.25, 0.0, 0.125]


def loss_by_loops(scores: Tensor, indices: Tensor, alpha: float, normalise: bool) -> float:
    t, e = scores.shape
    total = 0.0
    for i in range(e):
        f = sum(i in row for row in indices.tolist()) * e / (indices.shape[1] * t)
        p = sum(float(row[i] / row.sum()) if normalise else float(row[i]) for row in scores) / t
        total += alpha * f * p
    return total


def test_balance_losses() -> None:
    scores = torch.rand(3, 7, 5, dtype=torch.float64)
    indices = scores.topk(2, dim=-1).indices
    by_sequence = [loss_by_loops(s, i, 0.3, normalise=True) for s, i in zip(scores, indices, strict=True)]
    assert float(sequence_balance_loss(scores, indices, 0.3)) == pytest.approx(sum(by_sequence) / 3, rel=1e-12)
    whole = loss_by_loops(scores.flatten(0, 1), indices.flatten(0, 1), 0.3, normalise=False)
    assert float(expert_balance_loss(scores, indices, 0.3)) == pytest.approx(whole, rel=1e-12)
    load = expert_load(indices, 5)
    shares = [expert_balance_loss(scores[i, None], indices[i, None], 0.3, load=load) for i in range(3)]
    assert float(sum(shares)) / 3 == pytest.approx(whole, rel=1e-12), "what each of three processes adds to its loss"


def test_the_loss_of_even_routing_is_alpha_and_its_gradient_lowers_busy_experts() -> None:
    even = torch.full((1, 4, 4), 0.5, dtype=torch.float64)
    assert float(sequence_balance_loss(even, torch.tensor([[[0], [1], [2], [3]]]), 0.1)) == pytest.approx(0.1)
    even.requires_grad_()
    sequence_balance_loss(even, torch.tensor([[[0], [0], [0], [1]]]), 0.1).backward()
    pull = even.grad.sum((0, 1))  # type: ignore[union-attr]
    assert pull[0] > pull[1] > pull[2] == pull[3]
