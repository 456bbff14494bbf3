"""Counts of random configs against models that `transformers` builds on the meta device; a count is right, or refused.

Each config is saved by `transformers` and read from the file, whole, with keys taken away, and with keys added.
"""

import json
import random
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib.accounting import cache_elements, parameters
from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from tests.hf import hf

HEADS = ("ForCausalLM", "Model", "ForSequenceClassification")
# model_type, the class of transformers that it is built with, and its own keys
DENSE: dict[str, Any] = {"num_key_value_heads": 3}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 6, "kv_lora_rank": 14, "q_lora_rank": 11, "qk_nope_head_dim": 8, "qk_rope_head_dim": 10,
    "v_head_dim": 12, "first_k_dense_replace": 2, "n_routed_experts": 20, "num_experts_per_tok": 3, "n_group": 4,
    "topk_group": 2, "moe_intermediate_size": 9, "n_shared_experts": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**DENSE, "head_dim": 8, "attention_bias": True}),
    "mistral": ("Mistral", {**DENSE, "head_dim": 8, "sliding_window": 16}),
    "qwen2": ("Qwen2", DENSE),
    "mixtral": ("Mixtral", {**DENSE, "num_local_experts": 5, "num_experts_per_tok": 2}),
    "deepseek_v2": ("DeepseekV2", {**LATENT, "topk_method": "group_limited_greedy"}),
    "deepseek_v3": ("DeepseekV3", {**LATENT, "attention_bias": True}),
    "kimi_k2": ("DeepseekV3", LATENT),
}
# What transformers reads and others state, or what belongs to another architecture
ADDED: dict[str, list[Any]] = {
    "attention_bias": [True], "qkv_bias": [True], "mlp_bias": [True], "bias": [True], "use_qk_norm": [True],
    "tie_word_embeddings": [True], "head_dim": [4], "num_key_value_heads": [2, None], "num_labels": [7],
    "num_experts": [7], "num_local_experts": [7], "num_routed_experts": [7], "n_routed_experts": [24, 1],
    "n_shared_experts": [0, 1, 3], "num_shared_experts": [1], "num_experts_per_tok": [1, 4], "n_group": [2, None],
    "moe_intermediate_size": [13], "shared_expert_intermediate_size": [13], "first_k_dense_replace": [0, 1, 3, 9],
    "kv_lora_rank": [0, 6, None], "q_lora_rank": [0, 6, None], "index_topk": [4], "index_n_heads": [2],
    "layer_types": [["linear_attention"] * 3], "mlp_layer_types": [["dense"] * 3], "sliding_window": [0, 5, None],
    "hidden_act": ["gelu"], "rope_theta": [7.0], "intermediate_size": [0, 44], "num_hidden_layers": [4],
    "vision_config": [{"hidden_size": 3}], "draft_vocab_size": [5], "use_mla": [False], "quantization_config": [None],
    "use_sliding_window": [True], "max_window_layers": [1], "num_mtp_layers": [2], "v_head_dim": [5, 0],
}  # fmt: skip


def saved(kind: str, head: str, seed: int, folder: Path) -> dict[str, Any]:
    """The config.json that `transformers` writes for a model of random size."""
    rng, (family, own) = random.Random(f"{kind} {head} {seed}"), FAMILIES[kind]
    sizes = {
        "vocab_size": rng.randrange(50, 90), "hidden_size": 24 * rng.randrange(1, 4), "num_attention_heads": 6,
        "intermediate_size": rng.randrange(91, 140), "num_hidden_layers": rng.randrange(3, 6), "pad_token_id": None,
        "tie_word_embeddings": rng.random() < 0.5, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    if "q_lora_rank" in own and rng.random() < 0.3:
        own = {**own, "q_lora_rank": None}
    if head == HEADS[2]:
        sizes["num_labels"] = rng.randrange(1, 6)
    config = hf(f"{family}Config")(**sizes, **own, architectures=[family + head])
    config.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text()) | {"model_type": kind}


def right(kind: str, head: str, given: Mapping[str, Any]) -> tuple[int, int]:
    """Parameters, balance biases included, and numbers cached per token, as `transformers` builds and caches."""
    family = FAMILIES[kind][0]
    config = hf(f"{family}Config").from_dict({key: value for key, value in given.items() if key != "model_type"})
    with torch.device("meta"):
        model = hf(family + head)(config)
    biases = sum(buffer.numel() for name, buffer in model.named_buffers() if name.endswith("e_score_correction_bias"))
    if "Deepseek" in family:
        width = config.kv_lora_rank + config.qk_rope_head_dim
    else:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = 2 * config.num_key_value_heads * head_dim
    return sum(weight.numel() for weight in model.parameters()) + biases, config.num_hidden_layers * width


def counted(given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Ours, or None: refused."""
    try:
        config = ModelConfig.from_json(given)
    except ValueError:
        return None
    return parameters(config).total, cache_elements(config)


def mistakes(kind: str, head: str, variants: Iterator[tuple[str, dict[str, Any]]]) -> list[str]:
    wrong = []
    for change, given in variants:
        if (ours := counted(given)) is not None:
            try:
                theirs: object = right(kind, head, given)
            except Exception as error:  # of several kinds; each is a difference
                theirs = repr(error)
            if ours != theirs:
                wrong.append(f"{change}: {ours}, not {theirs}")
    return wrong


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_that_transformers_saved_counts_as_it_builds(kind: str, head: str, tmp_path: Path) -> None:
    for seed in range(3):
        given = saved(kind, head, seed, tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(given))
        config = ModelConfig.from_json(tmp_path)
        assert (parameters(config).total, cache_elements(config)) == right(kind, head, given)
        assert counted({key: value for key, value in given.items() if key != "model_type"}) == counted(given)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_that_lacks_keys_is_counted_right_or_refused(kind: str, tmp_path: Path) -> None:
    """What `transformers` fills in with the defaults of the class is the same here, or an error."""
    for seed, head in enumerate(HEADS):
        given = saved(kind, head, seed, tmp_path)
        # without architectures both sides take it for a language model
        keys = [key for key in given if not key.startswith("transformers") and key != "architectures"]
        pairs = random.Random(seed).sample(list(combinations(keys, 2)), 20)
        experts = [
            key for key in keys if "expert" in key or "group" in key or key.startswith(("first_k", "moe_", "topk"))
        ]
        latent = [key for key in keys if "lora" in key or key.endswith("_head_dim")]
        groups = [experts, latent, [*experts, *latent]]
        lacking = (
            (str(gone), {k: v for k, v in given.items() if k not in gone}) for gone in [*zip(keys), *pairs, *groups]
        )
        assert mistakes(kind, head, lacking) == []


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_without_a_name_is_counted_right_or_refused(kind: str, tmp_path: Path) -> None:
    given = saved(kind, HEADS[0], 5, tmp_path)
    for key in ("architectures", "model_type"):
        del given[key]
    gone = [(), *zip(given), *random.Random(0).sample(list(combinations(given, 2)), 60)]
    lacking = ((str(keys), {k: v for k, v in given.items() if k not in keys}) for keys in gone)
    assert mistakes(kind, HEADS[0], lacking) == []


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_with_a_key_more_is_counted_right_or_refused(kind: str, tmp_path: Path) -> None:
    head = HEADS[0]
    given = saved(kind, head, 7, tmp_path)
    more = ((f"{key}={value}", {**given, key: value}) for key, values in ADDED.items() for value in values)
    assert mistakes(kind, head, more) == []


@pytest.mark.parametrize("dense", [0, 1, 3, 4])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_experts_are_in_the_layers_where_deepseeks_rule_has_them(every: int, dense: int, tmp_path: Path) -> None:
    """From layer `dense` on, those whose number is a multiple of `every`, counted from layer 0.

    The DeepSeek classes of `transformers` leave moe_layer_freq out, so the rule is that of its A.X K1, which has it,
    and the size of a layer of either kind is that of a V3.
    """
    rule = hf("AXK1Config")(num_hidden_layers=8, first_k_dense_replace=dense, moe_layer_freq=every).mlp_layer_types
    config = hf("DeepseekV3Config")(
        **{**LATENT, "first_k_dense_replace": 1}, vocab_size=53, hidden_size=24, num_attention_heads=6,
        intermediate_size=97, num_hidden_layers=2, num_mtp_layers=0,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = hf("DeepseekV3ForCausalLM")(config)
    sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in model.model.layers]
    layer = {"dense": sizes[0], "sparse": sizes[1] + config.n_routed_experts}  # with its balance biases
    around = 2 * 53 * 24 + 24
    given = json.loads((tmp_path / "config.json").read_text())
    given |= {"num_hidden_layers": 8, "first_k_dense_replace": dense, "moe_layer_freq": every}
    ours = ModelConfig.from_json(given)
    assert parameters(ours).total == around + sum(layer[kind] for kind in rule)
    with torch.device("meta"):
        built = MiniDeepSeek(ours)
    assert ["sparse" if hasattr(block.ffn, "router") else "dense" for block in built.blocks] == rule
