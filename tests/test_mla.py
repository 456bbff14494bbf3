import pytest
import torch
from torch import Tensor

from course_lib.accounting import cache_width
from course_lib.cache import LayerCache
from course_lib.config import ModelConfig
from course_lib.mla import MLA
from tests import reference
from tests.conftest import tiny_mla


def layer_and_input(config: ModelConfig, tokens: int = 13, batch: int = 3) -> tuple[MLA, Tensor]:
    layer = MLA(config).double()
    for parameter in layer.parameters():  # biases and gains away from their 0 and 1
        torch.nn.init.normal_(parameter, mean=0.1, std=0.5)
    return layer, torch.randn(batch, tokens, config.hidden_size, dtype=torch.float64)


@pytest.mark.few_on_virtual_cuda(3)
@pytest.mark.parametrize("absorb", [False, True, None])
@torch.no_grad()
def test_matches_loops_over_tokens_and_heads(mla_config: ModelConfig, absorb: bool | None, device: str) -> None:
    layer, x = layer_and_input(mla_config)
    expected = reference.mla(layer, mla_config, x)
    got = layer.to(device)(x.to(device), absorb=absorb).cpu()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.few_on_virtual_cuda(4)
@pytest.mark.parametrize("absorb", [False, True, None])
@pytest.mark.parametrize("split", [[13], [1] * 13, [5, 8], [12, 1], [1, 4, 1, 7], [2, 9, 2]])
@torch.no_grad()
def test_any_split_of_prefill_and_decode_gives_the_same(split: list[int], absorb: bool | None, device: str) -> None:
    config = tiny_mla()
    layer, x = layer_and_input(config)
    expected = reference.mla(layer, config, x)
    layer, cache = layer.to(device), LayerCache()
    parts = [layer(part, cache, absorb=absorb).cpu() for part in x.to(device).split(split, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    assert cache.nbytes == 3 * 13 * cache_width(config) * 8


@torch.no_grad()
def test_a_cut_back_cache_decodes_as_if_the_tokens_had_not_been(device: str) -> None:
    config = tiny_mla()
    layer, x = layer_and_input(config)
    layer, x, cache = layer.to(device), x.to(device), LayerCache()
    layer(x[:, :4], cache)
    layer(torch.randn_like(x[:, :6]), cache)  # drafts that turn out wrong
    cache.truncate(4)
    torch.testing.assert_close(layer(x[:, 4:], cache), layer(x)[:, 4:], rtol=0, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tokens", [2000, 3001, 3047])
@torch.no_grad()
def test_long_caches_are_cut_into_blocks_that_add_up(
    tokens: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer, x = layer_and_input(tiny_mla(), tokens, batch=1)
    cache = LayerCache(capacity=tokens + 3)
    layer(x[:, :-1], cache, absorb=False)
    expected = layer(x, absorb=False)[:, -1:]
    torch.testing.assert_close(layer(x[:, -1:], cache, absorb=True), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("absorb", [False, True])
def test_gradients_reach_every_parameter(mla_config: ModelConfig, absorb: bool) -> None:
    layer, x = layer_and_input(mla_config)
    layer(x, absorb=absorb).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_decoding_absorbs_and_a_long_prefill_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from course_lib import mla

    used: list[str] = []
    for name in ("absorbed_attention", "expanded_attention"):
        form = getattr(mla, name)
        monkeypatch.setattr(mla, name, lambda *a, form=form, name=name, **k: used.append(name) or form(*a, **k))
    layer, x = layer_and_input(tiny_mla(), tokens=64)
    cache = LayerCache()
    layer(x, cache)
    layer(x[:, :1], cache)
    assert used == ["expanded_attention", "absorbed_attention"]
