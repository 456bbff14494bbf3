"""The same weights in `transformers` give the same logits: an implementation that we did not write."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from tests.hf import hf

# transformers keeps norms and softmax in float32 even in a double model
TOLERANCE = 5e-6

SIZES: dict[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 25,
    "intermediate_size": 42,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 14, "qk_nope_head_dim": 8, "qk_rope_head_dim": 6, "v_head_dim": 10, "num_key_value_heads": 5,
    "first_k_dense_replace": 3, "n_routed_experts": 12, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2,
    "moe_intermediate_size": 9, "n_shared_experts": 2, "routed_scaling_factor": 1.7, "num_nextn_predict_layers": 0,
}  # fmt: skip
PLAIN: dict[str, Any] = {"rope_type": "default", "rope_theta": 500.0}
YARN: dict[str, Any] = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 40.0, "original_max_position_embeddings": 64,
    "mscale": 1.0, "mscale_all_dim": 0.707,
}  # fmt: skip
YARN_BARE: dict[str, Any] = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16,
    "beta_fast": 16, "beta_slow": 2,
}  # fmt: skip


def pair(family: str, device: str, **settings: object) -> tuple[Any, MiniDeepSeek]:
    config = hf(f"{family}Config")(**settings)
    config._experts_implementation = "eager"
    theirs = hf(f"{family}ForCausalLM")(config).eval().double()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, mean=0.1 if parameter.ndim == 1 else 0.0, std=0.4)
    ours = MiniDeepSeek(ModelConfig.from_json(config.to_dict())).double().load_transformers(theirs)
    return theirs.to(device), ours.to(device)


@torch.no_grad()
def assert_same_decode(theirs: Any, ours: MiniDeepSeek, device: str) -> None:
    """A prefill of 17 tokens, 20 cached steps, and the whole at once."""
    tokens = torch.randint(ours.config.vocab_size, (2, 37), device=device)
    expected = theirs(tokens).logits
    atol = TOLERANCE * expected.abs().max().item()
    torch.testing.assert_close(ours(tokens), expected, rtol=0, atol=atol)
    cache, their_cache = ours.new_cache(), hf("DynamicCache")(config=theirs.config)
    for part in tokens.split([17] + [1] * 20, dim=1):
        step = theirs(part, past_key_values=their_cache, use_cache=True).logits
        torch.testing.assert_close(ours(part, cache), step, rtol=0, atol=atol)


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("rope", [PLAIN, YARN, YARN_BARE], ids=["plain", "yarn", "yarn_bare"])
@pytest.mark.parametrize("q_lora_rank", [None, 11])
@pytest.mark.parametrize("family", ["DeepseekV2", "DeepseekV3"])
def test_deepseek(family: str, q_lora_rank: int | None, rope: dict, device: str) -> None:
    theirs, ours = pair(
        family, device, **SIZES, **LATENT,
        q_lora_rank=q_lora_rank, rope_parameters=rope, max_position_embeddings=640, rms_norm_eps=1e-5,
    )  # fmt: skip
    assert_same_decode(theirs, ours, device)


@pytest.mark.few_on_virtual_cuda(1)
@pytest.mark.parametrize("attention_bias", [False, True])
@pytest.mark.parametrize("tie_word_embeddings", [False, True])
def test_deepseek_with_biases_and_tied_embedding(attention_bias: bool, tie_word_embeddings: bool, device: str) -> None:
    theirs, ours = pair(
        "DeepseekV3", device, **SIZES, **LATENT,
        q_lora_rank=11, attention_bias=attention_bias, tie_word_embeddings=tie_word_embeddings,
    )  # fmt: skip
    assert_same_decode(theirs, ours, device)


EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "V3": ("DeepseekV3", {}),
    "V3, one group": ("DeepseekV3", {"n_group": 1, "topk_group": 1}),
    "V3, top 1": ("DeepseekV3", {"num_experts_per_tok": 1}),
    "V3, all open": ("DeepseekV3", {"num_experts_per_tok": 6}),
    "V3, all": ("DeepseekV3", {"num_experts_per_tok": 12, "n_group": 1, "topk_group": 1}),
    "V3, gates as they are": ("DeepseekV3", {"norm_topk_prob": False}),
    "V2": ("DeepseekV2", {"topk_method": "group_limited_greedy"}),
    "V2-Lite": ("DeepseekV2", {"topk_method": "greedy", "n_group": None, "topk_group": None}),
    "V2, top 1": ("DeepseekV2", {"topk_method": "greedy", "num_experts_per_tok": 1}),
}


def experts_pair(kind: str, device: str) -> tuple[Any, MiniDeepSeek]:
    """Two of three layers hold experts, with balance biases of the size of score differences."""
    family, changes = EXPERTS[kind]
    settings = {**SIZES, **LATENT, "q_lora_rank": 11, "first_k_dense_replace": 1, **changes}
    theirs, ours = pair(family, device, **settings, rope_parameters=PLAIN)
    blocks: Any = ours.blocks
    for block, layer in zip(blocks[1:], theirs.model.layers[1:], strict=True):
        if "V3" in kind:
            layer.mlp.gate.e_score_correction_bias.normal_(std=0.3)
            block.ffn.router.bias.copy_(layer.mlp.gate.e_score_correction_bias)
    return theirs, ours


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("kind", EXPERTS)
def test_models_with_experts(kind: str, device: str) -> None:
    assert_same_decode(*experts_pair(kind, device), device)


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("kind", EXPERTS)
@torch.no_grad()
def test_routers_and_layers_of_experts(kind: str, device: str) -> None:
    """Chosen experts exactly; tokens whose last chosen and first refused biased scores nearly tie are set apart."""
    theirs, ours = experts_pair(kind, device)
    x = torch.randn(4, 500, ours.config.hidden_size, device=device, dtype=torch.float64)
    block: Any = ours.blocks[1]
    mine, other = block.ffn, theirs.model.layers[1].mlp
    routing, (_, weights, indices) = mine.router(x.flatten(0, 1)), other.gate(x.flatten(0, 1))
    k, e = ours.config.num_experts_per_tok, ours.config.n_routed_experts
    biased = routing.scores if mine.router.bias is None else routing.scores + mine.router.bias
    sure = torch.ones(len(biased), dtype=torch.bool, device=device)
    if k < e:
        ordered = biased.sort(-1, descending=True).values
        sure = (ordered[:, :-1] - ordered[:, 1:]).amin(-1) > 1e-6
    assert sure.sum() >= 0.99 * len(sure)
    dense, wanted = (
        torch.zeros_like(biased).scatter(1, i, w.double())
        for i, w in ((routing.indices, routing.weights), (indices, weights))
    )
    assert torch.equal(routing.indices.sort(-1).values[sure], indices.sort(-1).values[sure])
    torch.testing.assert_close(dense[sure], wanted[sure], rtol=0, atol=TOLERANCE * wanted.max().item())
    expected = other(x)
    atol = TOLERANCE * expected.abs().max().item()
    torch.testing.assert_close(mine(x).flatten(0, 1)[sure], expected.flatten(0, 1)[sure], rtol=0, atol=atol)


@pytest.mark.few_on_virtual_cuda(2)
@pytest.mark.parametrize("kv_heads", [6, 3, 1])
@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2"])
def test_models_that_cache_keys_and_values(family: str, kv_heads: int, device: str) -> None:
    sizes = {**SIZES, "hidden_size": 24, "num_attention_heads": 6}
    theirs, ours = pair(family, device, **sizes, num_key_value_heads=kv_heads, rope_parameters=PLAIN)
    assert_same_decode(theirs, ours, device)


def test_a_sliding_window_shorter_than_the_text(device: str) -> None:
    sizes = {**SIZES, "hidden_size": 24, "num_attention_heads": 6}
    theirs, ours = pair(
        "Mistral",
        device,
        **sizes,
        num_key_value_heads=3,
        rope_parameters=PLAIN,
        sliding_window=8,
    )
    assert_same_decode(theirs, ours, device)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rope_theta": 300.0}, "rope_theta is 10000.0 there and 300.0 here"),
        ({"rms_norm_eps": 0.01}, "rms_norm_eps is 1e-06 there and 0.01 here"),
        ({"intermediate_size": 43}, r"9 weights do not fit.*ffn\.down\.weight: \(25, 42\), wanted \(25, 43\)"),
    ],
)
def test_weights_for_another_config_are_refused_and_none_is_taken(change: dict[str, Any], reason: str) -> None:
    theirs = hf("DeepseekV3ForCausalLM")(hf("DeepseekV3Config")(**SIZES, **LATENT, q_lora_rank=11))
    ours = MiniDeepSeek(replace(ModelConfig.from_json(theirs.config.to_dict()), **change))
    before = ours.embedding.weight.clone()
    with pytest.raises(ValueError, match=reason):
        ours.load_transformers(theirs)
    assert torch.equal(ours.embedding.weight, before)


def test_weights_of_a_model_with_another_rotation_are_refused() -> None:
    """Its shapes fit, and its rope_scaling is none that is built here."""
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    theirs = hf("DeepseekV3ForCausalLM")(
        hf("DeepseekV3Config")(**SIZES, **LATENT, q_lora_rank=11, rope_parameters=rope)
    )
    plain = hf("DeepseekV3Config")(**SIZES, **LATENT, q_lora_rank=11)
    ours = MiniDeepSeek(ModelConfig.from_json(plain.to_dict()))
    with pytest.raises(ValueError, match="can be counted, not built: not built here: rope_type 'linear'"):
        ours.load_transformers(theirs)
