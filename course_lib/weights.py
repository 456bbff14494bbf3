"""Weights from `transformers` models: which of their names is which of ours."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.config import ModelConfig

_NAMES = {
    "model.embed_tokens": "embedding",
    "model.norm": "norm",
    "lm_head": "head",
    "model.layers.": "blocks.",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn": "attention",
    "mlp.gate_proj": "ffn.gate",
    "mlp.up_proj": "ffn.up",
    "mlp.down_proj": "ffn.down",
    "mlp.gate.weight": "ffn.router.centroids",
    "mlp.gate.e_score_correction_bias": "ffn.router.bias",
    "mlp.experts.gate_up_proj": "ffn.gate_up",
    "mlp.experts.down_proj": "ffn.down",
    "mlp.shared_experts.gate_proj": "ffn.shared.gate",
    "mlp.shared_experts.up_proj": "ffn.shared.up",
    "mlp.shared_experts.down_proj": "ffn.shared.down",
    "q_a_proj": "q_proj.down",
    "q_a_layernorm": "q_proj.norm",
    "q_b_proj": "q_proj.up",
    "kv_a_proj_with_mqa": "kv_down",
    "kv_a_layernorm": "latent_norm",
}
_MTP_NAMES = {
    "layers.": "mtp.",
    "enorm": "embedding_norm",
    "hnorm": "hidden_norm",
    "eh_proj": "proj",
    "mtp_block": "block",
    "post_norm": "norm",
}


# What changes a forward pass without changing a shape
_MUST_AGREE = (
    "num_attention_heads", "num_key_value_heads", "rotary_dim", "is_mla", "rope_theta", "rope_scaling", "rms_norm_eps",
    "sliding_window", "tie_word_embeddings", "num_experts_per_tok", "n_group", "topk_group", "topk_method",
    "scoring_func", "norm_topk_prob", "routed_scaling_factor",
)  # fmt: skip


def copy_from_transformers(model: nn.Module, config: ModelConfig, hf_model: Any, hf_mtp: Any = None) -> None:
    """Copy every weight of `hf_model`, and of its `hf_mtp`, into `model`, in the dtype and on the device of `model`.

    Raises:
        ValueError: the two differ in config or in any name or shape; nothing is copied then.
    """
    theirs = ModelConfig.from_json(hf_model.config.to_dict())
    theirs.check_buildable()
    unlike = [
        f"{name} is {getattr(theirs, name)} there and {getattr(config, name)} here"
        for name in _MUST_AGREE
        if getattr(theirs, name) != getattr(config, name)
    ]
    if unlike:
        raise ValueError("these are weights for another config: " + "; ".join(unlike))
    given = _translate(hf_model.state_dict(), config)
    wanted = model.state_dict()
    if hf_mtp is not None:
        shared = ("embed_tokens", "shared_head")  # the main model's
        apart = {name: weight for name, weight in hf_mtp.state_dict().items() if not name.startswith(shared)}
        given |= _translate(apart, config, _MTP_NAMES)
    elif config.num_nextn_predict_layers:
        warnings.warn("no MTP weights were given: the MTP modules keep theirs", stacklevel=3)
        given |= {name: weight for name, weight in wanted.items() if name.startswith("mtp.")}
    differing = sorted(
        f"{name}: {tuple(given[name].shape) if name in given else 'absent'}, "
        f"wanted {tuple(wanted[name].shape) if name in wanted else 'none'}"
        for name in given.keys() | wanted.keys()
        if name not in given or name not in wanted or given[name].shape != wanted[name].shape
    )
    if differing:
        raise ValueError(f"{len(differing)} weights do not fit this config: " + "; ".join(differing[:5]))
    model.load_state_dict(given)


def _translate(
    weights: Mapping[str, Tensor], config: ModelConfig, more_names: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for name, weight in weights.items():
        for theirs, mine in {**(more_names or {}), **_NAMES}.items():
            name = name.replace(theirs, mine)
        if name.endswith("kv_b_proj.weight"):  # one matrix there: per head, first n rows for keys, then v for values
            up = weight.unflatten(0, (config.num_attention_heads, -1))
            n = config.qk_nope_head_dim
            ours[name.replace("kv_b_proj.weight", "k_up")], ours[name.replace("kv_b_proj.weight", "v_up")] = (
                up[:, :n],
                up[:, n:],
            )
        elif (not config.is_mla and "attention.q_proj" in name) or "attention.k_proj" in name:
            ours[name] = _interleave(weight, config.head_dim)
        else:
            ours[name] = weight
    return ours


def _interleave(weight: Tensor, head_dim: int) -> Tensor:
    """Llama-like checkpoints pair dimension i with i + head_dim/2; ours pairs neighbours, as Llama's own weights do."""
    halves = weight.unflatten(0, (-1, 2, head_dim // 2))
    return torch.stack([halves[:, 0], halves[:, 1]], dim=2).flatten(0, 2)
