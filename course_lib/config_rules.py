"""What makes a config wrong: each rule yields one sentence for the reader of the error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course_lib.config import ModelConfig, RopeScaling

_MLA_SIZES = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_NULL_MEANS = {"q_lora_rank": "queries are not compressed", "kv_lora_rank": "no latent", "sliding_window": "no window"}
_MAY_BE_ZERO = {  # where 0 says: none of it, or take the default
    *_MLA_SIZES, "num_key_value_heads", "head_dim", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
    "n_shared_experts", "first_k_dense_replace", "num_nextn_predict_layers", "head_rows",
}  # fmt: skip


def wrong_values(config: ModelConfig | RopeScaling) -> Iterator[str]:
    """Sizes must be positive integers: `true`, 7168.0 and "7168" are not."""
    for f in fields(config):
        value: Any = getattr(config, f.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        positive = number and 0 < value < math.inf
        if f.type in (int, int | None) and value is not None:
            least = 0 if f.name in _MAY_BE_ZERO else 1
            if not number or not isinstance(value, int) or value < least:
                null = f", or null ({_NULL_MEANS[f.name]})" if f.name in _NULL_MEANS else ""
                yield f"{f.name}: wanted an integer >= {least}{null}, got {value!r}"
        elif (f.type is float or (f.type == float | None and value is not None)) and not positive:
            yield f"{f.name}: wanted a number > 0, got {value!r}"
        elif f.type is bool and not isinstance(value, bool):
            yield f"{f.name}: wanted true or false, got {value!r}"
        elif f.type is str and not isinstance(value, str):
            yield f"{f.name}: wanted a text, got {value!r}"


def no_head_dim(c: ModelConfig) -> Iterator[str]:
    if c.hidden_size % c.num_attention_heads:
        yield (
            f"head_dim is missing and hidden_size {c.hidden_size} is not a multiple of "
            f"num_attention_heads {c.num_attention_heads}"
        )


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
    if c.rope_theta <= 1:
        yield f"rope_theta: wanted a number > 1, got {c.rope_theta}"
    if c.is_mla and c.sliding_window is not None:
        yield f"sliding_window {c.sliding_window} with kv_lora_rank is not built here"
    if c.rotary_dim % 2:
        yield f"rotary positions turn pairs, so their dimension must be even, got {c.rotary_dim}"
    if c.moe_layers:
        yield from _expert_contradictions(c)


def _expert_contradictions(c: ModelConfig) -> Iterator[str]:
    experts, chosen = c.n_routed_experts, c.num_experts_per_tok
    for name in ("num_experts_per_tok", "moe_intermediate_size"):
        if getattr(c, name) == 0:
            yield f"n_routed_experts is {experts} but {name} is missing or null"
    if experts % c.n_group:
        yield f"n_group {c.n_group} does not divide n_routed_experts {experts}"
    elif c.topk_method == "noaux_tc" and c.n_group > 1 and experts // c.n_group < 2:
        yield f"n_group {c.n_group} of {experts} experts: noaux_tc ranks a group by its two best, and groups hold one"
    if c.topk_group > c.n_group:
        yield f"topk_group {c.topk_group} is more than n_group {c.n_group}"
    if chosen * c.n_group > experts * c.topk_group:
        yield f"num_experts_per_tok {chosen} is more than {c.topk_group} of {c.n_group} groups hold"
    if c.topk_method not in ("greedy", "group_limited_greedy", "noaux_tc"):
        yield f"topk_method: wanted 'greedy', 'group_limited_greedy' or 'noaux_tc', got {c.topk_method!r}"
    if c.scoring_func not in ("softmax", "sigmoid"):
        yield f"scoring_func: wanted 'softmax' or 'sigmoid', got {c.scoring_func!r}"
