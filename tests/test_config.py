import json
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (without("vocab_size", "hidden_size"), "lacks vocab_size, hidden_size"),
        (without("v_head_dim"), "kv_lora_rank is set but v_head_dim missing"),
        (without("kv_lora_rank"), "qk_nope_head_dim, qk_rope_head_dim, v_head_dim given without kv_lora_rank"),
        (without("num_experts_per_tok"), "num_experts_per_tok is missing"),
        (without("moe_intermediate_size"), "moe_intermediate_size is missing"),
        (without(model_type="gemma2"), "model_type 'gemma2' is unknown here; known: deepseek"),
        (without(hidden_size="7168"), "hidden_size: wanted an integer >= 1, got '7168'"),
        (without(hidden_size=7168.0), "hidden_size: wanted an integer >= 1, got 7168.0"),
        (without(num_hidden_layers=True), "num_hidden_layers: wanted an integer >= 1, got True"),
        (without(q_lora_rank=0), "q_lora_rank: wanted an integer >= 1, got 0"),
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
        (without(scoring_func="tanh"), "scoring_func: wanted 'softmax' or 'sigmoid', got 'tanh'"),
        (without(num_mtp_layers=2), "num_mtp_layers = 2 contradicts num_nextn_predict_layers = 1"),
        (without(rope_parameters={"rope_theta": 5.0}), "rope_parameters.rope_theta = 5.0 contradicts rope_theta"),
        (without(rope_parameters={"rope_type": "default"}), "contradicts rope_scaling"),
        (without(rope_scaling={"type": "yarn", "factor": 40}), "lacks original_max_position_embeddings"),
        (
            without(rope_scaling={"type": "linear", "factor": 2, "original_max_position_embeddings": 64}),
            "wanted rope_type 'yarn' or 'llama3', got 'linear'",
        ),
        (without(rope_scaling={**V3["rope_scaling"], "truncate": False}), "truncate would change the rotation"),
        (without(rope_interleave=False), "rope_interleave = False is not built here"),
        (without(rope_scaling=[1]), "rope_scaling: wanted an object, got [1]"),
        (without(rope_scaling={"type": "linear", "factor": 2}), "wanted rope_type 'yarn' or 'llama3', got 'linear'"),
        (without(rope_scaling={**V3["rope_scaling"], "rope_type": "llama3"}), "rope_scaling.type = yarn contradicts"),
        (without(rope_scaling={**V3["rope_scaling"], "factor": "40"}), "factor: wanted a number > 0, got '40'"),
        (without(rope_scaling={**V3["rope_scaling"], "rope_theta": 5.0}), "rope_scaling.rope_theta = 5.0 contradicts"),
        (without(rope_theta=float("inf")), "rope_theta: wanted a number > 0, got inf"),
        (without(rope_theta=1.0), "rope_theta: wanted a number > 1, got 1.0"),
        (without(topk_method="bogus"), "topk_method: wanted 'greedy'"),
        (without(name=5), "name: wanted a text, got 5"),
        (without(sliding_window=8), "sliding_window 8 with kv_lora_rank is not built here"),
        ({**PLAIN, "hidden_size": "48"}, "hidden_size: wanted an integer >= 1, got '48'"),
        ({**PLAIN, "num_attention_heads": [4]}, "num_attention_heads: wanted an integer >= 1, got [4]"),
        (without(hidden_act="gelu"), "hidden_act = 'gelu' is not built here"),
        ({**without("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
          "num_attention_heads": 6, "num_key_value_heads": 6}, "7168 is not a multiple of num_attention_heads 6"),
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
    with pytest.raises(ValueError, match="is not JSON"):
        ModelConfig.from_json(tmp_path / "broken.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="wanted a JSON object, got a list"):
        ModelConfig.from_json(tmp_path / "list.json")
    with pytest.raises(ValueError, match="no published model 'deepseek-v9'; known: deepseek-llm-67b"):
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
    unused = {**PLAIN, "model_type": "qwen2", "sliding_window": 8, "use_sliding_window": False}
    assert ModelConfig.from_json(unused).sliding_window is None
    with pytest.raises(ValueError, match="use_sliding_window = True is not built here"):
        ModelConfig.from_json({**unused, "use_sliding_window": True})
