import json
import re
from pathlib import Path
from typing import Any

import pytest

from course_lib.accounting import cache_elements, parameters
from course_lib.config import ModelConfig, RopeScaling, published, published_names

# As DeepSeek-V3's config.json stands, the keys that matter here and two that do not
V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3,
    "moe_layer_freq": 1, "norm_topk_prob": True, "scoring_func": "sigmoid", "num_nextn_predict_layers": 1,
    "max_position_embeddings": 163840, "rms_norm_eps": 1e-06, "rope_theta": 10000, "tie_word_embeddings": False,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "torch_dtype": "bfloat16",
}  # fmt: skip

PLAIN: dict[str, Any] = {
    "vocab_size": 37, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "attention_bias": False,
}  # fmt: skip


def without(*keys: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**V3, **changes}.items() if key not in keys}


def test_a_real_config_json_is_read_from_a_path_or_a_dict(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(V3))
    config = ModelConfig.from_json(V3)
    assert config == ModelConfig.from_json(tmp_path / "config.json") == ModelConfig.from_json(str(tmp_path))
    assert (config.kv_lora_rank, config.qk_rope_head_dim, config.moe_layers, config.qk_head_dim) == (512, 64, 58, 192)
    assert config.extra["torch_dtype"] == "bfloat16"  # unknown here, kept
    assert config == ModelConfig.from_json({**V3, "name": ""})
    assert config.rope_scaling == published("deepseek-v3").rope_scaling


def test_both_spellings_give_the_same_config() -> None:
    rope = {**V3["rope_scaling"], "rope_type": "yarn", "rope_theta": 10000.0}
    newer = without("rope_scaling", "rope_theta", "num_nextn_predict_layers", rope_parameters=rope, num_mtp_layers=1)
    assert ModelConfig.from_json(newer) == ModelConfig.from_json(V3)
    default = {"rope_type": "default", "rope_theta": 5.0}
    plain = ModelConfig.from_json(without("rope_scaling", "rope_theta", rope_parameters=default))
    assert (plain.rope_theta, plain.rope_scaling) == (5.0, None)


def test_what_an_architecture_fixes_in_code_need_not_be_said() -> None:
    config = ModelConfig.from_json(without("topk_method", "scoring_func", "norm_topk_prob"))
    assert (config.topk_method, config.scoring_func, config.norm_topk_prob) == ("noaux_tc", "sigmoid", True)
    config = ModelConfig.from_json(without("routed_scaling_factor", "n_group", "topk_group"))
    assert (config.routed_scaling_factor, config.n_group, config.topk_group) == (2.5, 8, 4)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (without("vocab_size", "hidden_size"), "lacks vocab_size, hidden_size"),
        (without("v_head_dim"), "lacks v_head_dim, which deepseek_v3 needs"),
        (without("kv_lora_rank"), "lacks kv_lora_rank, which deepseek_v3 needs"),
        (without(kv_lora_rank=None), "kv_lora_rank must not be null in deepseek_v3"),
        (without("q_lora_rank"), "lacks q_lora_rank, which"),
        (without("n_shared_experts"), "lacks n_shared_experts, which"),
        (without("first_k_dense_replace"), "lacks first_k_dense_replace, which"),
        (without("n_routed_experts", num_routed_experts=256), "(it has num_routed_experts, which is unknown"),
        (without(n_routed_experts=0), "wanted an integer >= 1, or null (every layer is dense)"),
        (without(n_routed_experts=None), "num_experts_per_tok = 8, n_shared_experts = 1 without n_routed_experts"),
        (without("num_experts_per_tok"), "lacks num_experts_per_tok"),
        (without("moe_intermediate_size"), "lacks moe_intermediate_size"),
        (without(model_type="gemma2"), "model_type 'gemma2' is unknown here; known: deepseek"),
        (without(hidden_size="7168"), "hidden_size: wanted an integer >= 1, got '7168'"),
        (without(hidden_size=7168.0), "hidden_size: wanted an integer >= 1, got 7168.0"),
        (without(num_hidden_layers=True), "num_hidden_layers: wanted an integer >= 1, got True"),
        (without(q_lora_rank=0), "q_lora_rank: wanted an integer >= 1, or null (queries are not compressed), got 0"),
        (without(kv_lora_rank=0), "kv_lora_rank: wanted an integer >= 1, or null (no latent), got 0"),
        ({**PLAIN, "num_key_value_heads": 0}, "num_key_value_heads: wanted an integer >= 1, or null (the de"),
        ({**PLAIN, "head_dim": 0}, "head_dim: wanted an integer >= 1, or null (the default), got 0"),
        ({**PLAIN, "sliding_window": 0}, "sliding_window: wanted an integer >= 1, or null (no window), got 0"),
        (without(n_shared_experts=-1), "n_shared_experts: wanted an integer >= 0, got -1"),
        (without(rms_norm_eps="tiny"), "rms_norm_eps: wanted a number > 0, got 'tiny'"),
        (without(rope_theta=0), "rope_theta: wanted a number > 0, got 0.0"),
        (without(tie_word_embeddings=1), "tie_word_embeddings: wanted true or false, got 1"),
        (without(num_key_value_heads=96), "num_attention_heads 128 is not a multiple of num_key_value_heads 96"),
        (without(qk_rope_head_dim=63), "must be even, got 63"),
        (without(qk_head_dim=128), "qk_head_dim 128 is not qk_nope_head_dim + qk_rope_head_dim = 192"),
        (without(n_group=7, topk_group=4), "n_group 7 does not divide n_routed_experts 256"),
        (without(topk_group=9), "topk_group 9 is more than n_group 8"),
        (without(n_routed_experts=8, num_experts_per_tok=5), "num_experts_per_tok 5 is more than 4 of 8 groups hold"),
        (without(scoring_func="softmax"), "scoring_func = 'softmax', but the code of deepseek_v3 always has 'sigmoid'"),
        (without(model_type="deepseek_v2", architectures=None, scoring_func="tanh"), "scoring_func: wanted 'softmax'"),
        (without(num_mtp_layers=2), "num_mtp_layers = 2 contradicts num_nextn_predict_layers = 1"),
        (without(rope_parameters={"rope_theta": 5.0}), "rope_parameters.rope_theta = 5.0 contradicts rope_theta"),
        (without(rope_parameters={"rope_type": "default"}), "contradicts rope_scaling"),
                (without(rope_scaling=[1]), "rope_scaling: wanted an object, got [1]"),
        (without(rope_scaling={**V3["rope_scaling"], "rope_type": "llama3"}), "rope_scaling.type = yarn contradicts"),
        (without(rope_scaling={**V3["rope_scaling"], "factor": "40"}), "factor: wanted a number > 0, got '40'"),
        (without(rope_scaling={**V3["rope_scaling"], "rope_theta": 5.0}), "rope_scaling.rope_theta = 5.0 contradicts"),
        (without(rope_theta=float("inf")), "rope_theta: wanted a number > 0, got inf"),
        (without(rope_theta=1.0), "rope_theta: wanted a number > 1, got 1.0"),
        (without(topk_method="greedy"), "topk_method = 'greedy', but the code of deepseek_v3 always has 'noaux_tc'"),
        (without(model_type="deepseek_v2", architectures=None, topk_method="bogus"), "topk_method: wanted 'greedy'"),
        (without(name=5), "name: wanted a text, got 5"),
        (without(sliding_window=8), "sliding_window 8 with kv_lora_rank is not built here"),
        ({**PLAIN, "hidden_size": "48"}, "hidden_size: wanted an integer >= 1, got '48'"),
        ({**PLAIN, "num_attention_heads": [4]}, "num_attention_heads: wanted an integer >= 1, got [4]"),
        ({**PLAIN, "num_attention_heads": 5, "num_key_value_heads": None}, "48 is not a multiple of num_att"),
    ],
)  # fmt: skip
def test_what_is_missing_or_contradictory_is_refused_with_the_reason(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the text is checked below)
        ModelConfig.from_json(given)
    assert reason in str(error.value)


def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file .*absent\.json"):
        ModelConfig.from_json(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text('{"vocab_size": 3')
    with pytest.raises(ValueError, match=r"broken\.json is cut short"):
        ModelConfig.from_json(tmp_path / "broken.json")
    for text in ("[" * 100_000, '{"hidden_size": 1' + "0" * 5000 + "}"):
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(ValueError, match=r"deep\.json is not JSON"):
            ModelConfig.from_json(tmp_path / "deep.json")
    for text, kind in (("null", "null"), ("3", "a number"), ('"x"', "a string"), ("true", "true or false")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=f"wanted a JSON object, got {kind}$"):
            ModelConfig.from_json(tmp_path / "other.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="wanted a JSON object, got a list"):
        ModelConfig.from_json(tmp_path / "list.json")
    with pytest.raises(
        ValueError, match=r"no published model 'deepseek-v9'; did you mean deepseek-v.*known: deepseek-llm-67b"
    ):
        published("deepseek-v9")


def test_every_published_model_is_there_with_a_source() -> None:
    wanted = {
        "deepseek-v3", "deepseek-v2", "deepseek-v2-lite", "deepseek-moe-16b", "deepseek-llm-7b", "deepseek-llm-67b",
        "llama-2-7b", "llama-2-70b", "llama-3-8b", "llama-3-70b", "llama-3.1-405b", "qwen2.5-72b", "mistral-7b",
        "mixtral-8x7b",
    }  # fmt: skip
    assert set(published_names()) == wanted
    assert all(published(name).extra["source"] for name in published_names())
    assert published("deepseek-v3").name == "deepseek-v3"


def test_a_config_can_be_built_without_json() -> None:
    config = ModelConfig(vocab_size=7, hidden_size=12, intermediate_size=5, num_hidden_layers=2, num_attention_heads=3)
    assert (config.num_key_value_heads, config.head_dim, config.is_mla, config.moe_layers) == (3, 4, False, 0)
    with pytest.raises(ValueError, match=r"rope_scaling: factor: wanted a number >= 1, got 0\.5"):
        RopeScaling(rope_type="yarn", factor=0.5, original_max_position_embeddings=64)


def test_defaults_that_are_spelled_out_change_nothing() -> None:
    spelled_out = {**V3["rope_scaling"], "truncate": True, "attention_factor": None}
    assert ModelConfig.from_json(without(rope_scaling=spelled_out)) == ModelConfig.from_json(V3)


def test_a_window_counts_where_the_architecture_uses_it() -> None:
    assert ModelConfig.from_json({**PLAIN, "model_type": "mistral", "sliding_window": 8}).sliding_window == 8
    assert ModelConfig.from_json({**PLAIN, "model_type": "mistral"}).sliding_window == 4096  # the class's default
    unused = {**PLAIN, "model_type": "qwen2", "sliding_window": 8}
    for given in (unused, {**unused, "use_sliding_window": False}):
        assert ModelConfig.from_json(given).sliding_window is None


def test_mixtral_has_its_own_defaults_of_rotation_and_norm() -> None:
    config = ModelConfig.from_json({
        **PLAIN, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2
    })  # fmt: skip
    assert (config.rope_theta, config.rms_norm_eps) == (1e6, 1e-5)
    assert (ModelConfig.from_json(PLAIN).rope_theta, ModelConfig.from_json(PLAIN).rms_norm_eps) == (1e4, 1e-6)


@pytest.mark.parametrize(
    "key", ["mlp_bias", "bias", "use_bias", "use_qk_norm", "rm_head", "is_encoder_decoder", "add_cross_attention"]
)
def test_weights_that_a_config_says_it_lacks_are_not_missing(key: str) -> None:
    assert ModelConfig.from_json({**PLAIN, key: False}) == ModelConfig.from_json(PLAIN)
    with pytest.raises(ValueError, match=f"{key} = True changes the count, and only False is counted"):
        ModelConfig.from_json({**PLAIN, key: True})


UNBUILT: dict[str, tuple[dict[str, Any], str]] = {
    "linear": ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_type 'linear'"),
    "dynamic": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
    "longrope": ({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "rope_type 'longrope'"),
    "no type": ({"rope_scaling": {"factor": 8.0}}, "rope_type None"),
    "no sizes": ({"rope_scaling": {"type": "yarn", "factor": 40}}, "rope_scaling without original_max_position_emb"),
    "truncate": ({"rope_scaling": {**V3["rope_scaling"], "truncate": False}}, "rope_scaling with truncate = False"),
    "part": ({"rope_scaling": {"type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5"),
    "halves": ({"rope_interleave": False}, "rope_interleave = False"),
    "gelu": ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    "layers": ({"layer_types": ["full_attention"] * 60 + ["sliding_attention"]}, "layer_types with sliding_attention"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNBUILT)
def test_what_changes_neither_count_nor_cache_is_counted_and_not_built(case: str) -> None:
    changes, reason = UNBUILT[case]
    config = ModelConfig.from_json(without(**changes))
    assert reason in config.unbuilt
    plain = ModelConfig.from_json(V3)
    assert parameters(config) == parameters(plain)
    assert cache_elements(config) == cache_elements(plain)
    with pytest.raises(ValueError, match="config can be counted, not built: not built here: "):
        config.check_buildable()


def test_deepseek_coder_is_counted_though_its_rotation_is_not_built() -> None:
    """The 6.7B model, whose rope_scaling is linear."""
    config = ModelConfig.from_json({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32256, "hidden_size": 4096,
        "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "rope_theta": 100000, "rope_scaling": {"type": "linear", "factor": 4.0},
    })  # fmt: skip
    assert (parameters(config).total, cache_elements(config)) == (6_740_512_768, 262_144)


LLAMA: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "total"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, 8_030_261_248),
        ({"architectures": ["LLaMAForCausalLM"]}, 8_030_261_248),
        ({"architectures": None}, 8_030_261_248),
        ({"architectures": ["LlamaModel"]}, 7_504_924_672),
        ({"architectures": ["LlamaModel"], "tie_word_embeddings": True}, 7_504_924_672),
        # Skywork-Reward-Llama-3.1-8B
        ({"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, 7_504_928_768),
        ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 3}, 7_504_924_672 + 3 * 4096),
        ({"architectures": ["LlamaForSequenceClassification"]}, 7_504_924_672 + 2 * 4096),
    ],
)
def test_the_class_says_which_head_is_counted(changes: dict[str, Any], total: int) -> None:
    config = ModelConfig.from_json({**LLAMA, **changes})
    counts = parameters(config)
    assert counts.total == total
    if config.head_rows is not None:
        assert counts.active_without_embedding == total - 128256 * 4096
        with pytest.raises(ValueError, match="has no language-model head"):
            config.check_buildable()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({**LLAMA, "architectures": ["LlamaForCausalLMEagle3"]}, "LlamaForCausalLMEagle3 is not counted here"),
        (without(architectures=["DeepseekV3ForCausalLMNextN"]), "DeepseekV3ForCausalLMNextN is not counted here"),
        ({**LLAMA, "architectures": ["LlamaForTokenClassification"]}, "LlamaForTokenClassification is not counted"),
        ({**LLAMA, "architectures": ["MistralForCausalLM"]}, "MistralForCausalLM contradicts model_type 'llama'"),
        ({**LLAMA, "architectures": ["LlamaModel", "LlamaForCausalLM"]}, "names different models: LlamaModel, Llama"),
        ({**LLAMA, "architectures": "LlamaModel"}, "architectures: wanted a list of class names, got 'LlamaModel'"),
        ({**LLAMA, "architectures": ["LlamaForSequenceClassification"], "num_labels": 3, "id2label": {"0": ""}},
         "num_labels = 3 contradicts id2label, which has 1"),
        ({**LLAMA, "architectures": ["LlamaForSequenceClassification"], "num_labels": True},
         "num_labels: wanted an integer >= 1, got True"),
        ({**LLAMA, "layer_types": ["full_attention"] * 31}, "layer_types has 31 entries for num_hidden_layers = 32"),
        ({**LLAMA, "draft_vocab_size": 32000}, "draft_vocab_size = 32000 may change the count"),
        ({**LLAMA, "mlp_bias": True}, "mlp_bias = True changes the count"),
        ({**LLAMA, "n_routed_experts": 8}, "n_routed_experts = 8, but llama has no experts"),
        ({**LLAMA, "kv_lora_rank": 8}, "kv_lora_rank = 8, but llama has no latent attention"),
        ({**LLAMA, "num_experts": 8}, "num_experts = 8 may change the count, and llama has no such key"),
        ({**LLAMA, "model_type": "mistral", "attention_bias": True}, "the code of mistral always has False"),
        (without(index_topk=2048), "index_topk = 2048 may change the count, and deepseek_v3 has no such key"),
        (without(use_mla=False), "use_mla = False contradicts kv_lora_rank = 512"),
        ({"model_type": "kimi_vl", "text_config": V3}, "its language model is under 'text_config'"),
        ({"model_type": "deepseek_vl_v2", "language_config": V3}, "its language model is under 'language_config'"),
        (without("model_type", "architectures", index_topk=2048), "without model_type its meaning is not known"),
        (without("model_type", "architectures", "topk_method"), "topk_method, which a config without model_type needs"),
        (without("model_type", "architectures", "n_routed_experts"), "num_experts_per_tok = 8"),
        ({key: value for key, value in PLAIN.items() if key != "attention_bias"}, "lacks attention_bias"),
        ({**PLAIN, "num_experts": 128}, "num_experts = 128 may change the count, and without model_type"),
        ({**PLAIN, "use_sliding_window": False}, "use_sliding_window = False may change the count"),
        ({**PLAIN, "router_aux_loss_coef": 0.1}, "router_aux_loss_coef = 0.1 may change the count"),
        ({**PLAIN, "hidden_act": "gelu"}, "hidden_act = 'gelu' (only 'silu' is): without model_type"),
        ({**PLAIN, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "without model_type"),
        ({**PLAIN, "model_type": "mixtral"}, "lacks n_routed_experts (or num_local_experts, num_experts)"),
        ({**PLAIN, "model_type": "mixtral", "num_local_experts": 0}, "num_experts): wanted an integer >= 1, got 0"),
        ({**PLAIN, "model_type": "mixtral", "num_local_experts": 4, "moe_intermediate_size": 8}, "always has 40"),
        ({**PLAIN, "my_size": 3}, "my_size = 3 may change the count"),
        ({}, "config: it is empty: wanted a model's config.json"),
    ],
)  # fmt: skip
def test_another_network_is_refused_by_name(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the text is checked below)
        ModelConfig.from_json(given)
    assert reason in str(error.value)


def test_a_null_says_none_where_the_architecture_reads_it_so() -> None:
    """The language models of DeepSeek-VL2-Tiny and DeepSeek-OCR: V2 without a latent, and without a model_type."""
    config = ModelConfig.from_json({
        "architectures": ["DeepseekV2ForCausalLM"], "vocab_size": 129280, "hidden_size": 1280,
        "intermediate_size": 6848, "num_hidden_layers": 12, "num_attention_heads": 10, "num_key_value_heads": 10,
        "kv_lora_rank": None, "q_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0,
        "use_mla": False, "lm_head": True, "rm_head": False, "first_k_dense_replace": 1, "moe_intermediate_size": 896,
        "n_group": 1, "topk_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
        "topk_method": "greedy", "torch_dtype": "bfloat16",
    })  # fmt: skip
    attention, dense = 4 * 1280 * 1280, 3 * 1280 * 6848
    experts = 64 * 1280 + 66 * 3 * 1280 * 896
    total = 2 * 129280 * 1280 + 12 * (attention + 2 * 1280) + dense + 11 * experts + 1280
    assert (parameters(config).total, cache_elements(config)) == (total, 12 * 2 * 1280)
    dense_v2 = {"n_routed_experts": None, "n_shared_experts": None, "num_experts_per_tok": None}
    config = ModelConfig.from_json(
        without("topk_method", "scoring_func", "architectures", model_type="deepseek_v2", **dense_v2)
    )
    assert (config.moe_layers, config.is_mla) == (0, True)


def test_an_error_names_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    Path("model/config.json").write_text(json.dumps(without("vocab_size")))
    file = Path("model/config.json")
    for given in ("model", file):
        with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: lacks vocab_size, which deepseek_v3 needs$"):
            ModelConfig.from_json(given)
    file.write_text(json.dumps(without(n_group=7)))
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: n_group 7 does not divide n_routed_experts 256$"):
        ModelConfig.from_json("model")
    with pytest.raises(ValueError, match=r"^mine: n_group 7 does not divide"):
        ModelConfig.from_json(without(n_group=7, name="mine"))


def test_a_byte_order_mark_is_read_over_and_utf_16_is_named(tmp_path: Path) -> None:
    file, text = tmp_path / "config.json", json.dumps(V3)
    file.write_text(text, encoding="utf-8-sig")
    assert ModelConfig.from_json(file) == ModelConfig.from_json(V3)
    file.write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"config\.json is encoded in UTF-16; save it as UTF-8"):
        ModelConfig.from_json(file)


@pytest.mark.parametrize(
    "name",
    ["DeepSeek-V3", "deepseek_v3", "deepseek v3", "DEEPSEEKV3", "deepseek-v3", "deepseek.v3", "DeepSeek\u2011V3"],
)
def test_a_published_name_is_read_however_it_is_written(name: str) -> None:
    assert published(name) is published("deepseek-v3")


def test_a_typing_error_in_a_published_name_is_told() -> None:
    with pytest.raises(ValueError, match="no published model 'DepSeek-V3'; did you mean deepseek-v3"):
        published("DepSeek-V3")
    with pytest.raises(ValueError, match="no published model 'xyz'; known"):
        published("xyz")
