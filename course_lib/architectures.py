"""What the code of each architecture fixes, needs and forbids, so that a config.json is read as that code reads it.

Sources: the configuration and modelling files that DeepSeek and Moonshot ship with their weights; for the others,
`transformers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ALWAYS_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
LATENT_KEYS = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
EXPERT_KEYS = {  # and the value that a model without experts may state
    "n_routed_experts": 0, "n_shared_experts": 0, "num_experts_per_tok": 0, "moe_intermediate_size": 0,
    "first_k_dense_replace": 0, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
Part = Literal["always", "may", "never"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How one `model_type` reads its config.json. Keys are DeepSeek's; `aliases` translates."""

    classes: str = ""  # class names under `architectures` begin with it
    latent: Part = "never"  # Multi-head Latent Attention; "always" still lets a null say "none", see not_null
    experts: Part = "never"
    kv_heads_default: bool = False  # num_key_value_heads may be absent: as many as query heads
    not_null: frozenset[str] = frozenset()  # keys that its code cannot read as "none"
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of its class, for keys that may be absent
    fixed: Mapping[str, Any] = field(default_factory=dict)  # in its code, so another value contradicts it
    aliases: Mapping[str, str] = field(default_factory=dict)


_SOFTMAX: dict[str, Any] = {"scoring_func": "softmax", "topk_method": "greedy"}
_V3 = Architecture(
    classes="DeepseekV3",
    latent="always",
    experts="always",
    not_null=frozenset({"kv_lora_rank"}),
    defaults={
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "n_group": 8,
        "topk_group": 4,
        "mtp_hidden_states_first": False,
    },
    fixed={"scoring_func": "sigmoid", "topk_method": "noaux_tc", "qkv_bias": False},
    aliases={"num_local_experts": "n_routed_experts"},
)
ARCHITECTURES: dict[str, Architecture] = {
    "deepseek": Architecture(
        classes="Deepseek",
        experts="always",
        fixed={**_SOFTMAX, "n_group": 1, "topk_group": 1, "qkv_bias": False},
    ),
    # DeepSeek-VL2 routes its language model, a deepseek_v2, as V3 does; so neither is fixed
    "deepseek_v2": Architecture(
        classes="DeepseekV2",
        latent="always",
        experts="always",
        defaults=_SOFTMAX,
        fixed={"qkv_bias": False},
        aliases={"num_experts": "n_routed_experts", "num_local_experts": "n_routed_experts"},
    ),
    "deepseek_v3": _V3,
    "kimi_k2": _V3,
    "llama": Architecture(classes="Llama", kv_heads_default=True, fixed={"qkv_bias": False}),
    "mistral": Architecture(
        classes="Mistral",
        not_null=frozenset({"num_key_value_heads"}),
        defaults={"sliding_window": 4096},
        fixed={"attention_bias": False, "qkv_bias": False},
    ),
    "mixtral": Architecture(  # every layer has experts, and intermediate_size is theirs
        classes="Mixtral",
        experts="always",
        not_null=frozenset({"n_routed_experts", "num_key_value_heads"}),
        defaults={"rope_theta": 1e6, "rms_norm_eps": 1e-5},
        fixed={
            **_SOFTMAX, "norm_topk_prob": True, "routed_scaling_factor": 1.0, "n_shared_experts": 0,
            "first_k_dense_replace": 0, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
            "attention_bias": False, "qkv_bias": False,
        },
        aliases={"num_local_experts": "n_routed_experts", "num_experts": "n_routed_experts"},
    ),
    "qwen2": Architecture(classes="Qwen2", fixed={"attention_bias": False, "qkv_bias": True}),
}  # fmt: skip
# A config without model_type and architectures: nothing is known, so every key counts as it says
UNNAMED = Architecture(latent="may", experts="may", aliases={"num_local_experts": "n_routed_experts"})

LANGUAGE_MODEL, NO_HEAD, CLASSIFIER = "ForCausalLM", "Model", "ForSequenceClassification"


def architecture_of(given: Mapping[str, Any]) -> tuple[str, Architecture, str]:
    """The model type ("" if nothing tells), how it reads its config, and which head its class has.

    Without `architectures`, as `transformers` writes a config that belongs to no model, it is a language model.

    Raises:
        ValueError: an unknown type or class, or the two contradict each other.
    """
    model_type, names = given.get("model_type"), given.get("architectures") or []
    if model_type is not None and (not isinstance(model_type, str) or model_type not in ARCHITECTURES):
        raise ValueError(f"model_type {model_type!r} is unknown here; known: {', '.join(ARCHITECTURES)}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"architectures: wanted a list of class names, got {names!r}")
    classes = {_class(name) for name in names}
    if len(classes) > 1:
        raise ValueError(f"architectures names different models: {', '.join(names)}")
    if not classes:
        return model_type or "", ARCHITECTURES.get(model_type or "", UNNAMED), LANGUAGE_MODEL
    prefix, head = classes.pop()
    of_class = [kind for kind, each in ARCHITECTURES.items() if each.classes == prefix]
    if model_type is not None and model_type not in of_class:
        raise ValueError(f"architectures {names[0]} contradicts model_type {model_type!r}")
    model_type = model_type or of_class[0]
    return model_type, ARCHITECTURES[model_type], head


def _class(name: str) -> tuple[str, str]:
    """DeepseekV3ForCausalLM: DeepseekV3 and ForCausalLM."""
    for prefix in {each.classes for each in ARCHITECTURES.values()}:
        for head in (LANGUAGE_MODEL, NO_HEAD, CLASSIFIER):
            if name.lower() == (prefix + head).lower():  # the first Llamas were LLaMAForCausalLM
                return prefix, head
    raise ValueError(
        f"architectures: {name} is not counted here; counted are {LANGUAGE_MODEL}, {NO_HEAD} and {CLASSIFIER} "
        f"of {', '.join(dict.fromkeys(each.classes for each in ARCHITECTURES.values()))}"
    )
