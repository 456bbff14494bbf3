"""What is written with drafts is what is written without, and the counts add up."""

from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency

from course_lib.cache import LayerCache
from course_lib.generation import ACCEPTED, FREE, PLAIN, REPLACED, Generation, _Chooser, generate
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


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_drawn_texts_follow_their_seed(top_p: float, device: str) -> None:
    """Drafted or not, whatever the global generator did before, and another seed gives another text."""
    tiny, prompts = model(2).to(device), torch.randint(7, (6, 3), device=device)
    for speculate in (False, True):
        settings: dict[str, Any] = {"temperature": 1.5, "top_p": top_p, "speculate": speculate}
        text = generate(tiny, prompts, 8, seed=4, **settings)
        torch.rand(7, device=device)  # the global generator goes on
        assert torch.equal(generate(tiny, prompts, 8, seed=4, **settings).tokens, text.tokens)
        assert not torch.equal(generate(tiny, prompts, 8, seed=5, **settings).tokens, text.tokens)
        assert text.tokens.device.type == device and bool(((text.tokens >= 0) & (text.tokens < 7)).all())


@pytest.mark.parametrize("speculate", [False, True])
def test_a_prompt_may_be_on_another_device_than_the_model(speculate: bool, device: str) -> None:
    tiny, prompt, seen = model(1), torch.randint(7, (2, 5)), set[str]()
    expected = generate(tiny, prompt, 6, speculate=speculate).tokens
    for place, of_the_model in [("cpu", device), (device, "cpu"), (device, device)]:
        result = generate(
            tiny.to(of_the_model),
            prompt.to(place),
            6,
            speculate=speculate,
            watch=lambda so_far: seen.add(so_far.tokens.device.type),
        )
        assert result.tokens.device.type == place and torch.equal(result.tokens.cpu(), expected)
        assert seen == {place}
        seen.clear()


def weighed(caches: list[LayerCache]) -> int:
    """Bytes of the rows that are held, one by one."""
    rows = [cache._buffer[:, i] for cache in caches if cache._buffer is not None for i in range(cache.length)]
    return sum(row.numel() * row.element_size() for row in rows)


@pytest.mark.parametrize("depths", [0, 1, 2, 3])
@pytest.mark.parametrize(("batch", "new"), [(1, 1), (1, 2), (2, 9), (3, 14)])
def test_all_that_is_cached_is_counted(depths: int, batch: int, new: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every pass: the rows of each cache that was made, weighed one by one, and by hand at the end."""
    made: list[LayerCache] = []
    begin = LayerCache.__init__

    def noted(self: LayerCache, *args: Any) -> None:
        made.append(self)
        begin(self, *args)

    monkeypatch.setattr(LayerCache, "__init__", noted)
    tiny, prompt = model(depths), torch.randint(7, (batch, 5))
    weights: list[tuple[int, int]] = []

    def watch(so_far: Generation) -> None:
        weights.append((so_far.cache_bytes, weighed(made)))

    result = generate(tiny, prompt, new, speculate=depths > 0, watch=watch)
    assert [counted for counted, _ in weights] == [weight for _, weight in weights]
    assert len(made) == 2 + (2 * depths if depths else 0), "of each MTP depth: rows of its block, and states it reads"
    row, state, number = 14 + 6, 26, 8 * batch  # latent and rotated key; hidden size; bytes per number of all sequences
    if depths == 0:
        assert result.cache_bytes == 2 * (5 + new - 1) * row * number, "the last token has not passed through the model"
    elif new == 1:
        assert result.cache_bytes == 2 * 5 * row * number, "nothing was drafted"
    elif new == 2:  # one draft, made when six tokens were settled; depth k has seen those from k on
        drafts = sum((6 - k) * row + min(5, 7 - k) * state for k in range(1, depths + 1))
        assert result.cache_bytes == (2 * (6 + result.accepted) * row + drafts) * number


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_model_whose_logits_are_no_numbers_writes_nothing(
    wrong: float, speculate: bool, temperature: float, device: str
) -> None:
    """Also where the logit of one token alone is wrong, and where only the drafts come from bad numbers."""
    tiny, prompt = model(1).to(device), torch.randint(7, (2, 5), device=device)
    settings: dict[str, Any] = {"temperature": temperature}
    reason = r"the model gave logits without a finite maximum \(NaN or infinity\)"
    tiny.head.weight.data[3] = wrong
    seen: list[Generation] = []
    with pytest.raises(ValueError, match=reason):
        generate(tiny, prompt, 4, speculate=speculate, watch=seen.append, **settings)
    assert not seen
    tiny = model(1).to(device)
    tiny.embedding.weight.data[6] = wrong
    with pytest.raises(ValueError, match=reason):
        generate(
            tiny, torch.tensor([[1, 2], [1, 6]], device=device), 4, speculate=speculate, watch=seen.append, **settings
        )
    assert not seen, "one bad sequence of a batch is enough"
    tiny = model(1).to(device)
    tiny.mtp[0].norm.weight.data[2] = wrong  # pyright: ignore
    assert generate(tiny, prompt, 4, **settings).tokens.shape == (2, 4)
    with pytest.raises(ValueError, match=reason):
        generate(tiny, prompt, 4, speculate=True, watch=seen.append, **settings)
    assert [so_far.passes for so_far in seen] == [1], "the token before the first draft"


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.05, 1), (0.5, 1), (0.5 + 1e-9, 2), (0.75, 2), (0.76, 3), (0.875, 3), (0.9, 4), (1.0, 5)]
)
def test_top_p_keeps_the_fewest_likeliest_that_reach_it(top_p: float, kept: int) -> None:
    probs = torch.tensor([0.125, 0.5, 0.0625, 0.25, 0.0625], dtype=torch.float64)  # exact in binary
    got = _Chooser(0.5, top_p, 0, torch.device("cpu"), None).distribution((probs.sqrt() * 7).log()[None])[0]
    assert got.count_nonzero() == kept
    chosen = probs * (got > 0)
    assert chosen.sum() == probs.sort(descending=True).values[:kept].sum()
    torch.testing.assert_close(got, chosen / chosen.sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [1e-300, 1e-38])
def test_the_coldest_draws_are_the_likeliest(temperature: float) -> None:
    model, prompt = MiniDeepSeek(tiny_moe()).eval(), torch.tensor([[1, 2, 3]])
    cold, likeliest = (generate(model, prompt, 5, temperature=t).tokens for t in (temperature, 0.0))
    assert torch.equal(cold, likeliest)


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
