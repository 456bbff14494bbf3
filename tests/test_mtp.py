"""MTP modules against transformers' MtpModel and a loop over positions; losses against a loop over terms."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from course_lib.accounting import mtp_parameters
from course_lib.config import ModelConfig, published
from course_lib.model import MiniDeepSeek
from course_lib.mtp import MTPModule, mtp_loss
from tests import reference
from tests.conftest import tiny_mla, tiny_moe
from tests.hf import hf
from tests.test_parity import LATENT, PLAIN, SIZES, TOLERANCE


def hf_pair(hidden_first: bool, depths: int) -> tuple[Any, Any, MiniDeepSeek]:
    """A main model, its MTP modules, and ours with the weights of both; experts in the last layer and in MTP."""
    settings = {**SIZES, **LATENT, "first_k_dense_replace": 2, "num_mtp_layers": depths, "q_lora_rank": 11}
    del settings["num_nextn_predict_layers"]
    config = hf("DeepseekV3Config")(**settings, rope_parameters=PLAIN)
    config.mtp_hidden_states_first = hidden_first
    config._experts_implementation = "eager"
    main = hf("DeepseekV3ForCausalLM")(config).eval().double()
    mtp = hf("MtpModel", ".modeling_layers")(main, depths).eval().double()
    for parameter in [*main.parameters(), *mtp.layers.parameters()]:
        torch.nn.init.normal_(parameter, mean=0.1 if parameter.ndim == 1 else 0.0, std=0.4)
    ours = MiniDeepSeek(replace(ModelConfig.from_json(config.to_dict()), mtp_hidden_states_first=hidden_first))
    return main, mtp, ours.double().load_transformers(main, mtp)


@pytest.mark.parametrize("depths", [1, 2])
@pytest.mark.parametrize("hidden_first", [True, False])
@torch.no_grad()
def test_every_depth_agrees_with_transformers(hidden_first: bool, depths: int) -> None:
    main, mtp, ours = hf_pair(hidden_first, depths)
    tokens = torch.randint(37, (2, 13))
    logits = ours.predict_ahead(tokens)
    outputs = main(tokens, output_hidden_states=True)
    state = outputs.hidden_states[-1]  # after the final norm
    assert len(logits) == depths + 1
    torch.testing.assert_close(logits[0], outputs.logits, rtol=0, atol=TOLERANCE * outputs.logits.abs().max().item())
    for depth in range(1, depths + 1):
        state = mtp.forward_layer(
            depth - 1, state[:, :-1], torch.arange(depth, 13)[None], None, input_ids=tokens[:, depth:]
        )
        expected = main.lm_head(state)
        atol = TOLERANCE * expected.abs().max().item()
        torch.testing.assert_close(logits[depth], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("hidden_first", [True, False])
@pytest.mark.parametrize("normed", [True, False])
@torch.no_grad()
def test_every_depth_agrees_with_a_loop_over_positions(hidden_first: bool, normed: bool) -> None:
    config = tiny_moe(num_nextn_predict_layers=2, mtp_hidden_states_first=hidden_first, mtp_normed_hidden=normed)
    model = MiniDeepSeek(replace(config, initializer_range=0.3)).double()
    for module in model.modules():
        if isinstance(module, torch.nn.RMSNorm):
            module.weight.normal_(mean=1, std=0.3)
    tokens = torch.randint(37, (2, 9))
    logits, states = model.predict_ahead(tokens), model.hidden_states(tokens)
    norm: Any = model.norm
    if normed:
        states = torch.stack([torch.stack([reference.rms_norm(norm, x, 1e-6) for x in row]) for row in states])
    for depth, module in enumerate(model.mtp, 1):
        states, heads = reference.mtp(module, config, states, model.embedding.weight, tokens, depth)
        expected = torch.stack([reference.linear(model.head, x) for row in heads for x in row]).view(2, 9 - depth, 37)
        torch.testing.assert_close(logits[depth], expected, rtol=0, atol=1e-10)


def test_loss_term_by_term() -> None:
    window, weight = 8, 0.3
    tokens = torch.randint(5, (3, window))
    logits = [torch.randn(3, window - 1 - k, 5, dtype=torch.float64) for k in (1, 2)]
    total = 0.0
    for row in range(3):
        for k in (1, 2):
            for i in range(window - 1 - k):
                scores = logits[k - 1][row, i].tolist()
                right = int(tokens[row, i + k + 1])
                total -= weight / 2 * math.log(math.exp(scores[right]) / sum(map(math.exp, scores))) / (window - 1) / 3
    assert mtp_loss(logits, tokens, weight).item() == pytest.approx(total, rel=1e-12)


def test_parameters_of_a_depth() -> None:
    assert mtp_parameters(published("deepseek-v3")) == 11_610_068_224
    with pytest.raises(ValueError, match="llama-3-8b has no MTP depth"):
        mtp_parameters(published("llama-3-8b"))
    for config in (tiny_moe(num_nextn_predict_layers=1), tiny_mla(num_nextn_predict_layers=1)):
        module = MTPModule(config, 1)
        assert mtp_parameters(config) == sum(weight.numel() for weight in module.state_dict().values())


def test_a_source_without_mtp_weights_leaves_ours_alone_and_says_so() -> None:
    main, _, _ = hf_pair(False, 1)
    ours = MiniDeepSeek(ModelConfig.from_json(main.config.to_dict())).double()
    before = {name: weight.clone() for name, weight in ours.mtp.state_dict().items()}
    with pytest.warns(UserWarning, match="no MTP weights were given: the MTP modules keep theirs"):
        ours.load_transformers(main)
    assert all(torch.equal(weight, before[name]) for name, weight in ours.mtp.state_dict().items())
    torch.testing.assert_close(ours.head.weight, main.lm_head.weight, rtol=0, atol=0)
