"""What is written with drafts is what is written without, and the counts add up."""

from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency

from course_lib.generation import ACCEPTED, FREE, PLAIN, REPLACED, generate
from course_lib.model import MiniDeepSeek
from tests.conftest import tiny_heads, tiny_moe
from tests.typecheck import shape_checks


def model(depths: int, **changes: Any) -> MiniDeepSeek:
    """Peaked enough that drafts are sometimes right: small modules tend to repeat what the embedding says."""
    torch.manual_seed(2)
    config = tiny_moe(num_nextn_predict_layers=depths, vocab_size=7, initializer_range=0.25, **changes)
    return MiniDeepSeek(config).double().eval()


def by_hand(model: MiniDeepSeek, prompt: torch.Tensor, new: int) -> torch.Tensor:
    """Greedy, without a cache, one sequence at a time."""
    rows = []
    for tokens in prompt[:, None]:
        for _ in range(new):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
        rows.append(tokens[0, -new:])
    return torch.stack(rows)


@pytest.mark.parametrize("use_cache", [True, False])
def test_plain_greedy(use_cache: bool, device: str) -> None:
    tiny = model(0).to(device)
    prompt = torch.randint(7, (3, 5), device=device)
    result = generate(tiny, prompt, 12, use_cache=use_cache)
    assert torch.equal(result.tokens, by_hand(tiny, prompt, 12))
    assert (result.passes, result.tokens_per_pass, result.offered) == (12, 1.0, 0)
    assert result.cache_bytes == (tiny.config.num_hidden_layers * (14 + 6) * 8 * 3 * 16 if use_cache else 0)


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("depths", [1, 3])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("length", [1, 6])
def test_drafts_change_nothing(depths: int, normed: bool, length: int, device: str) -> None:
    tiny = model(depths, mtp_normed_hidden=normed).to(device)
    prompts = torch.randint(7, (5, length), device=device)
    kinds: Counter[str] = Counter()
    for number, plain in enumerate(generate(tiny, prompts, 12).tokens):
        with shape_checks(number == 0):
            result = generate(tiny, prompts[number : number + 1], 12, speculate=True)
        assert torch.equal(result.tokens[0], plain)
        assert len(result.origins) == 12 and result.passes <= 12
        kinds.update(result.origins)
    assert kinds[PLAIN] == 5 and min(kinds[ACCEPTED], kinds[REPLACED]) > 0, kinds
    assert kinds[FREE] > 0 or depths > 1


def test_the_drafts_are_told_and_the_writing_can_be_watched() -> None:
    tiny, prompt, seen = model(2), torch.randint(7, (1, 5)), []
    result = generate(tiny, prompt, 40, speculate=True, watch=lambda so_far: seen.append(so_far.tokens.shape[1]))
    assert len(seen) == result.passes and seen == sorted(set(seen)) and seen[-1] == 40
    for origin, drafted, token in zip(result.origins, result.drafted, result.tokens[0].tolist(), strict=True):
        assert (drafted is None) == (origin in (PLAIN, FREE))
        assert drafted is None or (drafted == token) == (origin == ACCEPTED)


def test_a_verification_of_ones_own() -> None:
    tiny, prompt = model(2), torch.randint(7, (1, 5))
    doubtful = generate(tiny, prompt, 12, speculate=True, verify=lambda draft, logits: logits[:1].argmax(-1))
    assert torch.equal(doubtful.tokens, generate(tiny, prompt, 12).tokens)
    assert (doubtful.passes, doubtful.accepted) == (12, 0)
    credulous = generate(
        tiny, prompt, 12, speculate=True, temperature=1.0, verify=lambda draft, q, p, u: torch.cat([draft, draft[:1]])
    )
    assert credulous.acceptance == 1.0
    with pytest.raises(ValueError, match="of a draft of 2 verify kept 0 tokens, wanted 1 to 3"):
        generate(tiny, prompt, 12, speculate=True, verify=lambda draft, logits: draft[:0])


def test_a_thousand_prompts_in_batches() -> None:
    tiny = model(2)
    for number, prompts in enumerate(torch.randint(7, (1000, 4)).split(250)):
        with shape_checks(number == 0):
            result = generate(tiny, prompts, 10, speculate=True)
            assert torch.equal(result.tokens, generate(tiny, prompts, 10).tokens)


def test_drafts_are_those_of_the_modules_on_the_text_so_far() -> None:
    """Cached drafting offers what a fresh pass over the whole text would, so acceptance is what the modules deserve."""
    tiny, prompt = model(2), torch.randint(7, (1, 5))
    written = generate(tiny, prompt, 20).tokens
    result = generate(tiny, prompt, 20, speculate=True)
    text, position, offered, accepted = torch.cat([prompt, written], dim=1), 6, 0, 0
    while position < 25:
        known, right = text[:, :position], True
        for depth in (1, 2):
            draft = int(tiny.predict_ahead(known)[depth][0, -1].argmax())
            offered += right
            right = right and draft == int(generate(tiny, known, 1).tokens)
            known = torch.cat([known, torch.tensor([[draft]])], dim=1)
            position += right
            accepted += right
        position += 1
    assert (result.offered, result.accepted) == (offered, accepted)
    assert result.acceptance == accepted / offered


def test_sampled_drafts_follow_the_model() -> None:
    """Three tokens from many prompts that are the same, with and without drafts: one distribution."""
    tiny, many = model(1), torch.tensor([[3, 1]]).repeat(1_200, 1)
    plain, parts = generate(tiny, many, 3, temperature=1.3, top_p=0.9, seed=1).tokens, []
    for seed, part in enumerate(many.split(12)):
        with shape_checks(seed == 0):
            parts.append(generate(tiny, part, 3, temperature=1.3, top_p=0.9, seed=seed, speculate=True).tokens)
    counts = [Counter(map(tuple, tokens.tolist())) for tokens in (plain, torch.cat(parts))]
    common = [each for each in counts[0] if min(c[each] for c in counts) >= 20]
    table = [[c[each] for each in common] for c in counts]
    result: Any = chi2_contingency(table)
    assert result.pvalue > 0.001


def test_temperature_and_top_p() -> None:
    tiny, prompt = model(0), torch.tensor([[3, 1]]).repeat(4000, 1)
    probs = (tiny(prompt[:1])[0, -1] / 0.7).softmax(-1)
    ordered = probs.sort(descending=True).values
    kept = int((ordered.cumsum(0) - ordered < 0.6).sum())
    drawn = generate(tiny, prompt, 1, temperature=0.7, top_p=0.6).tokens
    assert set(drawn.flatten().tolist()) == set(probs.topk(kept).indices.tolist())
    again = generate(tiny, prompt, 1, temperature=0.7, top_p=0.6).tokens
    assert torch.equal(again, drawn)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"new_tokens": 0}, "want a prompt and new tokens, got 5 and 0"),
        ({"temperature": -1.0}, "want temperature >= 0 and 0 < top_p <= 1, got -1.0 and 1.0"),
        ({"top_p": 0.0}, "got 0.0 and 0.0"),
        ({"speculate": True}, "drafts come from MTP modules"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    tiny = MiniDeepSeek(tiny_heads(2))
    with pytest.raises(ValueError, match=reason):
        generate(tiny, torch.randint(37, (1, 5)), **{"new_tokens": 4, **settings})
