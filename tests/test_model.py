from typing import Any

import pytest
import torch

from course_lib.accounting import cache_bytes, mtp_parameters, parameters
from course_lib.attention import Attention
from course_lib.config import ModelConfig, published, published_names
from course_lib.mla import MLA
from course_lib.model import MiniDeepSeek
from tests.conftest import tiny_heads, tiny_mla, tiny_moe

TINY = [
    tiny_mla(),
    tiny_mla(q_lora_rank=None, attention_bias=True),
    tiny_mla(tie_word_embeddings=True),
    tiny_heads(3, qkv_bias=True),
    tiny_heads(1, attention_bias=True, tie_word_embeddings=True),
    tiny_moe(),
    tiny_moe(topk_method="greedy", n_shared_experts=0),
]


@pytest.mark.parametrize("config", [*map(published, published_names()), *TINY], ids=lambda c: c.name or "tiny")
def test_the_model_has_exactly_the_parameters_that_accounting_counts(config: ModelConfig) -> None:
    """Balance biases are no parameters to PyTorch, but they are in the checkpoint, and counted."""
    with torch.device("meta"):
        model = MiniDeepSeek(config)
    tied = config.vocab_size * config.hidden_size if config.tie_word_embeddings else 0  # named twice in a checkpoint
    sizes = {name: weight.numel() for name, weight in model.state_dict().items()}
    ahead = sum(size for name, size in sizes.items() if name.startswith("mtp."))
    assert sum(sizes.values()) - ahead == parameters(config).total + tied
    depths = config.num_nextn_predict_layers
    assert ahead == (depths * mtp_parameters(config) if depths else 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unbuilt": "rope_type 'linear'", "name": "coder"}, "coder can be counted, not built: .*rope_type 'linear'"),
        ({"head_rows": 0}, "only language models are built here"),
        ({"head_rows": 3}, "only language models are built here"),
    ],
)
def test_a_model_that_is_only_counted_is_not_built(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MiniDeepSeek(tiny_mla(vocab_size=10**15, **changes))  # before memory is asked for
    with pytest.raises(ValueError, match=reason):
        MLA(tiny_mla(**changes))
    with pytest.raises(ValueError, match=reason):
        Attention(tiny_heads(3, **changes))


@pytest.mark.parametrize("config", [tiny_mla(), tiny_heads(2), tiny_moe()], ids=["mla", "gqa", "experts"])
@pytest.mark.parametrize("capacity", [0, 19])
@torch.no_grad()
def test_cached_decoding_gives_the_logits_of_one_pass(config: ModelConfig, capacity: int, device: str) -> None:
    model = MiniDeepSeek(config).double().to(device)
    tokens = torch.randint(config.vocab_size, (2, 19), device=device)
    cache = model.new_cache(capacity)
    parts = [model(part, cache) for part in tokens.split([8, 1, 1, 5, 1, 1, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens), rtol=0, atol=1e-12)
    assert cache.length == 19
    assert cache.nbytes == 2 * cache_bytes(config, tokens=19, bytes_per_element=8)


@torch.no_grad()
def test_a_cache_of_another_depth_is_refused() -> None:
    model, deeper = MiniDeepSeek(tiny_mla()), MiniDeepSeek(tiny_mla(num_hidden_layers=3))
    with pytest.raises(ValueError, match="this cache has 3 layers, the model 2"):
        model(torch.zeros(1, 3, dtype=torch.int64), deeper.new_cache())


def test_the_future_does_not_change_the_past() -> None:
    model = MiniDeepSeek(tiny_mla()).double()
    tokens = torch.randint(37, (1, 9))
    changed = tokens.clone()
    changed[:, 6:] = (tokens[:, 6:] + 1) % 37
    difference = (model(tokens) - model(changed)).abs().amax(dim=(0, 2))
    assert difference[:6].max() == 0
    assert difference[6:].min() > 0


@torch.no_grad()
def test_a_model_built_on_the_meta_device_works_once_it_has_weights() -> None:
    config = tiny_mla()
    model, tokens = MiniDeepSeek(config), torch.randint(37, (1, 9))
    with torch.device("meta"):
        empty = MiniDeepSeek(config)
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    assert torch.equal(empty(tokens), model(tokens))


@pytest.mark.parametrize("config", [tiny_mla(), tiny_heads(2)], ids=["mla", "gqa"])
def test_a_cache_outlives_the_mode_it_was_begun_in(config: ModelConfig) -> None:
    model, tokens = MiniDeepSeek(config).double(), torch.randint(37, (1, 9))
    cache = model.new_cache()
    with torch.inference_mode():
        model(tokens[:, :4], cache)
    with torch.no_grad():
        last = model(tokens[:, 4:], cache)[:, -1]
    torch.testing.assert_close(last, model(tokens)[:, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [tiny_mla(), tiny_heads(2)], ids=["mla", "gqa"])
@pytest.mark.parametrize("capacity", [0, 9])
def test_gradients_through_a_cache_are_those_of_one_pass(config: ModelConfig, capacity: int) -> None:
    model, tokens = MiniDeepSeek(config).double(), torch.randint(37, (2, 9))
    model(tokens).square().sum().backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    cache = model.new_cache(capacity)
    torch.cat([model(part, cache) for part in tokens.split([5, 1, 1, 2], dim=1)], dim=1).square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
