import pytest
import torch

from course_lib.attention import Attention, causal_mask
from course_lib.cache import LayerCache
from tests import reference
from tests.conftest import tiny_heads


@pytest.mark.few_on_virtual_cuda(3)
@pytest.mark.parametrize("kv_heads", [6, 3, 2, 1])
@pytest.mark.parametrize("biases", [{}, {"attention_bias": True}, {"qkv_bias": True}])
@torch.no_grad()
def test_matches_loops_over_tokens_and_heads(kv_heads: int, biases: dict[str, bool], device: str) -> None:
    config = tiny_heads(kv_heads, **biases)
    layer = Attention(config).double()
    x = torch.randn(3, 11, config.hidden_size, dtype=torch.float64)
    expected = reference.attention(layer, config, x)
    torch.testing.assert_close(layer.to(device)(x.to(device)).cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.few_on_virtual_cuda(3)
@pytest.mark.parametrize("kv_heads", [6, 3, 1])
@pytest.mark.parametrize("split", [[1] * 11, [5, 6], [10, 1], [2, 1, 6, 2]])
@torch.no_grad()
def test_any_split_of_prefill_and_decode_gives_the_same(kv_heads: int, split: list[int], device: str) -> None:
    config = tiny_heads(kv_heads)
    layer = Attention(config).double()
    x = torch.randn(3, 11, config.hidden_size, dtype=torch.float64)
    expected = reference.attention(layer, config, x)
    layer, cache = layer.to(device), LayerCache()
    parts = [layer(part, cache).cpu() for part in x.to(device).split(split, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-12)
    assert cache.nbytes == 3 * 11 * 2 * kv_heads * 8 * 8


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("window", [1, 2, 5, 10, 11, 12])
@pytest.mark.parametrize("split", [[11], [1] * 11, [4, 1, 6]])
@torch.no_grad()
def test_a_window_hides_all_but_the_last_tokens(window: int, split: list[int], device: str) -> None:
    config = tiny_heads(3, sliding_window=window)
    layer, x = Attention(config).double(), torch.randn(2, 11, config.hidden_size, dtype=torch.float64)
    expected = reference.attention(layer, config, x)
    layer, cache = layer.to(device), LayerCache()
    got = torch.cat([layer(part, cache).cpu() for part in x.to(device).split(split, dim=1)], dim=1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x.to(device)).cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_the_mask_is_its_rule(queries: int, offset: int, window: int | None, device: str) -> None:
    """Query j is token offset + j. It sees itself and the tokens before it, `window` tokens in all."""
    keys, like = offset + queries, torch.zeros(1, device=device)
    mask = causal_mask(queries, keys, offset, like, window)
    expected = [[0 <= offset + j - key < (window or keys) for key in range(keys)] for j in range(queries)]
    if mask is None:
        assert all(map(all, expected))
    else:
        assert mask.device.type == device and mask.tolist() == expected


def test_a_cut_back_cache_decodes_in_its_window_as_if_the_tokens_had_not_been(device: str) -> None:
    config = tiny_heads(2, sliding_window=4)
    layer, x, cache = Attention(config).double().to(device), torch.randn(2, 9, 26, dtype=torch.float64), LayerCache()
    x = x.to(device)
    layer(x[:, :6], cache)
    layer(torch.randn_like(x[:, :3]), cache)  # drafts that are rejected
    cache.truncate(6)
    torch.testing.assert_close(layer(x[:, 6:], cache), layer(x)[:, 6:], rtol=0, atol=1e-11)
