"""What makes a config wrong: each rule yields one sentence for the reader of the error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course_lib.config import ModelConfig

_MLA_SIZES = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_ONLY_BUILT = {"hidden_act": "silu", "rope_interleave": True, "mlp_bias": False}
_MAY_BE_ZERO = {  # where 0 says: none of it, or take the default
    *_MLA_SIZES, "num_key_value_heads", "head_dim", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
    "n_shared_experts", "first_k_dense_replace", "num_nextn_predict_layers",
}  # fmt: skip


def wrong_values(config: ModelConfig) -> Iterator[str]:
    """Sizes must be positive integers: `true`, 7168.0 and "7168" are not."""
    for f in fields(config):
        value: Any = getattr(config, f.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        positive = number and value > 0
        if f.type in (int, int | None) and value is not None:
            least = 0 if f.name in _MAY_BE_ZERO else 1
            if not number or not isinstance(value, int) or value < least:
                yield f"{f.name}: wanted an integer >= {least}, got {value!r}"
        elif f.type is float and not positive:
            yield f"{f.name}: wanted a number > 0, got {value!r}"
        elif f.type is bool and not isinstance(value, bool):
            yield f"{f.name}: wanted true or false, got {value!r}"


def contradictions(c: ModelConfig) -> Iterator[str]:
    heads, kv_heads = c.num_attention_heads, c.num_key_value_heads
    given = [name for name in _MLA_SIZES if getattr(c, name)]
    lacking = [name for name in _MLA_SIZES if name not in given]
    if c.is_mla and lacking:
        yield f"kv_lora_rank is set but {', '.join(lacking)} missing"
    elif not c.is_mla and (given or c.q_lora_rank):
        yield f"{', '.join(given) or 'q_lora_rank'} given without kv_lora_rank"
    elif c.is_mla and c.extra.get("qk_head_dim", c.qk_head_dim) != c.qk_head_dim:
        yield f"qk_head_dim {c.extra['qk_head_dim']} is not qk_nope_head_dim + qk_rope_head_dim = {c.qk_head_dim}"
    if heads % kv_heads:
        yield f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
    if c.rotary_dim % 2:
        yield f"rotary positions turn pairs, so their dimension must be even, got {c.rotary_dim}"
    for key, built in _ONLY_BUILT.items():
        if c.extra.get(key, built) != built:
            yield f"{key} = {c.extra[key]!r} is not built here, only {built!r}"
    if c.moe_layers:
        yield from _expert_contradictions(c)


def _expert_contradictions(c: ModelConfig) -> Iterator[str]:
    experts, chosen = c.n_routed_experts, c.num_experts_per_tok
    for name in ("num_experts_per_tok", "moe_intermediate_size"):
        if getattr(c, name) == 0:
            yield f"n_routed_experts is {experts} but {name} is missing"
    if experts % c.n_group:
        yield f"n_group {c.n_group} does not divide n_routed_experts {experts}"
    if c.topk_group > c.n_group:
        yield f"topk_group {c.topk_group} is more than n_group {c.n_group}"
    if chosen * c.n_group > experts * c.topk_group:
        yield f"num_experts_per_tok {chosen} is more than {c.topk_group} of {c.n_group} groups hold"
    if c.scoring_func not in ("softmax", "sigmoid"):
        yield f"scoring_func: wanted 'softmax' or 'sigmoid', got {c.scoring_func!r}"
