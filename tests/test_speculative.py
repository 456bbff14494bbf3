"""Verification case by case, against a slow reading of the rule, and as a distribution."""

import math

import pytest
import torch
from scipy.stats import chisquare

from course_lib.speculative import tokens_per_step, verify_greedy, verify_sampled


def logits_for(*tokens: int, z: int = 6) -> torch.Tensor:
    """Rows whose largest logit is at each of `tokens`."""
    return 3 * torch.eye(z)[list(tokens)] + 0.1 * torch.rand(len(tokens), z)


@pytest.mark.parametrize(
    ("draft", "target", "out"),
    [
        ([], [4], [4]),
        ([2, 3], [2, 3, 5], [2, 3, 5]),
        ([2, 3], [2, 1, 5], [2, 1]),
        ([2, 3], [0, 3, 5], [0]),
        ([2, 3, 1], [2, 0, 1, 4], [2, 0]),
    ],
)
def test_greedy(draft: list[int], target: list[int], out: list[int], device: str) -> None:
    tokens = torch.tensor(draft, dtype=torch.int64, device=device)
    assert verify_greedy(tokens, logits_for(*target).to(device)).tolist() == out


def by_rule(draft: list[int], q: torch.Tensor, p: torch.Tensor, u: list[float]) -> list[int]:
    def draw(weights: list[float]) -> int:
        total = 0.0
        for token, weight in enumerate(weights):
            total += weight / sum(weights)
            if total > u[-1]:
                return token
        raise AssertionError

    for j, token in enumerate(draft):
        if u[j] * float(q[j, token]) >= float(p[j, token]):
            rest = [max(float(a) - float(b), 0.0) for a, b in zip(p[j], q[j], strict=True)]
            return [*draft[:j], draw(rest)]
    return [*draft, draw(p[-1].tolist())]


@pytest.mark.parametrize("k", [0, 1, 3])
def test_sampled_follows_the_rule(k: int) -> None:
    z = 5
    for _ in range(300):
        q, p = torch.rand(k, z, dtype=torch.float64).softmax(-1), (3 * torch.rand(k + 1, z).double()).softmax(-1)
        draft, u = torch.randint(z, (k,)), torch.rand(k + 1, dtype=torch.float64)
        assert verify_sampled(draft, q, p, u).tolist() == by_rule(draft.tolist(), q, p, u.tolist())


def test_sampled_gives_the_distribution_of_the_target() -> None:
    """Every place of 15,000 verified drafts of four, more than 50,000 tokens in all."""
    z, k, draws = 4, 4, 15_000
    generator = torch.Generator().manual_seed(1)
    p = 0.2 + torch.rand(k + 1, z, generator=generator, dtype=torch.float64)
    q = p[:k] * (0.8 + 0.4 * torch.rand(k, z, generator=generator, dtype=torch.float64))
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    drafts = torch.stack([row.multinomial(draws, replacement=True, generator=generator) for row in q], dim=1)
    uniforms = torch.rand(draws, k + 1, generator=generator, dtype=torch.float64)
    counts = torch.zeros(k + 1, z, dtype=torch.float64)
    for draft, u in zip(drafts, uniforms, strict=True):
        out = verify_sampled(draft, q, p, u)
        counts[torch.arange(len(out)), out] += 1
    assert counts.sum() > 50_000 and (counts.sum(-1)[:-1] > counts.sum(-1)[1:]).all()
    for seen, wanted in zip(counts, p, strict=True):
        assert chisquare(seen.numpy(), (wanted * seen.sum()).numpy()).pvalue > 0.001


def test_equal_distributions_accept_everything() -> None:
    p = torch.rand(3, 5).softmax(-1)
    out = verify_sampled(torch.tensor([1, 4]), p[:2], p, torch.tensor([0.99999, 0.99999, 0.5]))
    assert out[:2].tolist() == [1, 4]


def test_a_token_without_a_chance_is_never_drawn() -> None:
    p = torch.tensor([[0.0, 0.5, 0.5, 0.0]])
    empty = torch.zeros(0, dtype=torch.int64)
    assert verify_sampled(empty, torch.zeros(0, 4), p, torch.tensor([0.0])).tolist() == [1]
    for largest in (torch.tensor([1 - 2**-24]), torch.tensor([1 - 2**-53], dtype=torch.float64)):
        for scale in (1.0, 0.995, 1.003, 1 + 2**-23, 1 - 2**-24):  # the sum of a rounded row is not 1
            assert verify_sampled(empty, torch.zeros(0, 4), p * scale, largest).tolist() == [2]


def test_a_refused_draft_is_replaced_from_the_target_where_rounding_leaves_no_residual() -> None:
    """p is q but for rounding, and below it at the drafted token alone: max(p - q, 0) is 0 everywhere."""
    q = torch.tensor([[0.5 + 2**-24, 0.5]])
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    for last, token in [(0.1, 0), (0.49, 0), (0.5, 1), (0.99, 1)]:
        uniforms = torch.tensor([1 - 2**-24, last])
        assert float(uniforms[0] * q[0, 0]) >= 0.5, "the draft is refused"
        assert verify_sampled(torch.tensor([0]), q, p, uniforms).tolist() == [token]


def test_a_draft_that_the_target_never_writes_is_refused_at_every_uniform() -> None:
    """u q < p is false at p = 0, also at u = 0 and where q underflows."""
    p = torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    for q0 in (0.5, 1e-30, 0.0):
        q = torch.tensor([[q0, 1 - q0, 0.0]])
        for first in (0.0, 1e-45, 0.5):
            assert verify_sampled(torch.tensor([0]), q, p, torch.tensor([first, 0.5])).tolist() == [2]
    certain = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert verify_sampled(torch.tensor([0]), certain[:1], certain, torch.tensor([0.0, 0.0])).tolist() == [0, 1]


HALF = [0.5, 0.5]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("q", "p", "uniforms", "reason"),
    [
        ([[NAN, 0.5]], [HALF, HALF], [0.5, 0.5], r"draft_probs\[0\] must be >= 0 and sum to 1: its minimum is nan"),
        ([HALF], [HALF, [0.5, NAN]], [0.5, 0.5], r"target_probs\[1\] must be .* its minimum is nan"),
        ([HALF], [[-0.5, 1.5], HALF], [0.5, 0.5], r"target_probs\[0\] must be .* its minimum is -0\.5, its sum 1"),
        ([[INF, 0.0]], [HALF, HALF], [0.5, 0.5], r"draft_probs\[0\] must be .* its sum inf"),
        ([[0.5, 0.4]], [HALF, HALF], [0.5, 0.5], r"draft_probs\[0\] must be .* its sum 0\.9"),
        ([HALF], [HALF, [0.0, 0.0]], [0.5, 0.5], r"target_probs\[1\] must be .* its sum 0"),
        ([HALF], [[2.0, 1.0], HALF], [0.5, 0.5], r"target_probs\[0\] must be .* its sum 3"),  # logits, perhaps
        ([HALF], [HALF, HALF], [0.5, 1.0], r"uniforms must be in \[0, 1\), got \[0\.5, 1\.0\]"),
        ([HALF], [HALF, HALF], [-0.5, 0.5], r"uniforms must be in \[0, 1\)"),
        ([HALF], [HALF, HALF], [0.5, NAN], r"uniforms must be in \[0, 1\)"),
    ],
)
def test_numbers_that_are_no_probabilities_are_refused(
    q: list[list[float]], p: list[list[float]], uniforms: list[float], reason: str, device: str
) -> None:
    rows = (torch.tensor(each, device=device) for each in (q, p, uniforms))
    with pytest.raises(ValueError, match=reason):
        verify_sampled(torch.tensor([0], device=device), *rows)


def test_the_rounding_of_narrow_numbers_is_allowed() -> None:
    q, p = (torch.randn(rows, 50_000).softmax(-1).bfloat16() for rows in (2, 3))
    assert verify_sampled(torch.tensor([7, 8]), q, p, torch.rand(3, dtype=torch.float64)).dtype == torch.int64


@pytest.mark.parametrize("row", [[NAN, 1.0, 2.0], [1.0, INF, 2.0], [-INF, -INF, -INF]])
def test_greedy_refuses_logits_that_are_no_numbers(row: list[float], device: str) -> None:
    good = [0.0, 3.0, -INF]  # a token that is masked out is no harm
    assert verify_greedy(torch.tensor([1], device=device), torch.tensor([good, good], device=device)).tolist() == [1, 1]
    for rows in ([row, good], [good, row]):
        with pytest.raises(ValueError, match="target_logits: wanted a finite maximum in each row, got"):
            verify_greedy(torch.tensor([1], device=device), torch.tensor(rows, device=device))


@pytest.mark.parametrize("k", [0, 1, 4])
def test_sampled_on_a_device_is_what_it_is_on_the_cpu(k: int, device: str) -> None:
    for _ in range(20):
        q, p = torch.rand(k, 5).softmax(-1), (3 * torch.rand(k + 1, 5)).softmax(-1)
        draft, u = torch.randint(5, (k,)), torch.rand(k + 1, dtype=torch.float64)
        got = verify_sampled(draft.to(device), q.to(device), p.to(device), u.to(device))
        assert got.device.type == device and got.tolist() == verify_sampled(draft, q, p, u).tolist()


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="a draft of 2 wants 3 rows of the target, got 2"):
        verify_greedy(torch.tensor([1, 2]), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"wants draft_probs \(1, 4\) and 2 uniforms, got \(1, 4\) and 1"):
        verify_sampled(torch.tensor([1]), torch.zeros(1, 4), torch.ones(2, 4), torch.zeros(1))


def test_tokens_per_step_is_the_mean_of_a_simulation() -> None:
    assert tokens_per_step(1.0, 3) == 4.0
    assert tokens_per_step(0.0, 3) == 1.0
    kept = (torch.rand(200_000, 3) < 0.8).long().cumprod(-1).sum(-1) + 1
    assert tokens_per_step(0.8, 3) == pytest.approx(kept.double().mean().item(), abs=4 * 1.2 / math.sqrt(200_000))
