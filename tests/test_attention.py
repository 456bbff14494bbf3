import pytest
import torch

from course_lib.attention import Attention
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
