"""Reading a config.json: as the architecture's own code reads it, in one spelling, or not at all."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from course_lib.architectures import (
    ALWAYS_NEEDED,
    EXPERT_KEYS,
    LANGUAGE_MODEL,
    LATENT_KEYS,
    NO_HEAD,
    UNNAMED,
    Architecture,
    architecture_of,
)
from course_lib.config_keys import refuse_nested, refuse_other_counts, similar, unbuilt_values, unread_keys
from course_lib.config_rope import rope_settings
from course_lib.files import parsed

_KINDS = {
    list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null",
}  # fmt: skip
_NULL_SAYS_NONE = {"kv_lora_rank", "q_lora_rank", "num_key_value_heads", "n_routed_experts", "n_shared_experts"}


def read(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        ValueError: no such file, not UTF-8, not JSON, or not an object; the message names the file and what it is.
    """
    try:
        given = parsed(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: wanted a JSON object, got {_KINDS[type(given)]}")
    return given


def in_one_spelling(given: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """`fields` of ModelConfig, without nulls: what the file says, and what the architecture leaves unsaid.

    Raises:
        ValueError: what is missing, contradictory, or not counted here.
    """
    if not given:
        raise ValueError("it is empty: wanted a model's config.json, which says at least " + ", ".join(ALWAYS_NEEDED))
    refuse_nested(given)
    model_type, architecture, head = architecture_of(given)
    values = dict(given)
    for other, key in architecture.aliases.items():
        rename(values, other, key)
    rename(values, "num_mtp_layers", "num_nextn_predict_layers")
    _fix(values, architecture, model_type)
    unread = unread_keys(values, fields, model_type)
    _refuse_missing(values, architecture, model_type, unread)
    if unread:
        problem = ", ".join(f"{key} = {values[key]!r}" for key in unread)
        reason = f"{model_type} has no such key" if model_type else "without model_type its meaning is not known"
        raise ValueError(f"{problem} may change the count, and {reason}")
    _refuse_contradictions(values, architecture, model_type)
    refuse_other_counts(values)
    if model_type == "qwen2" and not values.get("use_sliding_window"):
        values["sliding_window"] = None
    rope = rope_settings(values)
    unbuilt = [*rope.unbuilt, *unbuilt_values(values), *_layer_types(values)]
    if unbuilt and not model_type:
        raise ValueError(f"{'; '.join(unbuilt)}: without model_type, this may be another architecture")
    values |= {"rope_scaling": rope.scaling, "unbuilt": "; ".join(unbuilt)}
    if rope.theta is not None:
        values["rope_theta"] = rope.theta
    if head != LANGUAGE_MODEL:
        values["head_rows"] = 0 if head == NO_HEAD else _labels(values)
    return {key: value for key, value in {**architecture.defaults, **values}.items() if value is not None}


def rename(values: dict[str, Any], other: str, key: str) -> None:
    """Move what is under `other` to `key`, where the same may already be."""
    if values.get(other) is None:
        return
    value = values.pop(other)
    if values.get(key) is None:
        values[key] = value
    elif values[key] != value:
        raise ValueError(f"{other} = {value} contradicts {key} = {values[key]}")


def _fix(values: dict[str, Any], architecture: Architecture, model_type: str) -> None:
    fixed = dict(architecture.fixed)
    if model_type == "mixtral" and values.get("intermediate_size") is not None:
        fixed["moe_intermediate_size"] = values["intermediate_size"]
    for key, value in fixed.items():
        if values.get(key) is not None and values[key] != value:
            raise ValueError(f"{key} = {values[key]!r}, but the code of {model_type} always has {value!r}")
    values |= fixed


def _needed(values: Mapping[str, Any], architecture: Architecture) -> Iterator[str]:
    """Keys that have no default, so that leaving them out must not be read as a zero."""
    yield from ALWAYS_NEEDED
    if architecture.latent == "always":
        yield "kv_lora_rank"
    if architecture.latent != "never" and values.get("kv_lora_rank") is not None:
        yield from LATENT_KEYS
    elif not architecture.kv_heads_default and (architecture.latent != "always" or "kv_lora_rank" in values):
        yield "num_key_value_heads"
    if architecture is UNNAMED and values.get("kv_lora_rank") is None:  # Qwen2 has biases, and no key that says so
        yield "attention_bias"
    if architecture.experts == "always":
        yield "n_routed_experts"
    if architecture.experts != "never" and values.get("n_routed_experts"):
        yield from ("n_shared_experts", "num_experts_per_tok", "moe_intermediate_size", "first_k_dense_replace")
        if "topk_method" not in architecture.defaults:  # it decides whether a router has a bias per expert
            yield "topk_method"


def _refuse_missing(
    values: Mapping[str, Any], architecture: Architecture, model_type: str, unread: Collection[str]
) -> None:
    may_be_null = _NULL_SAYS_NONE - architecture.not_null
    needed = dict.fromkeys(_needed(values, architecture))
    missing = [_in_all_spellings(key, architecture) for key in needed if key not in values]
    if null := [key for key in needed if key in values and values[key] is None and key not in may_be_null]:
        raise ValueError(f"{', '.join(null)} must not be null in {model_type or 'a config without model_type'}")
    if missing:
        meant = dict.fromkeys(near for key in needed if key not in values for near in similar(key, unread))
        hint = f" (it has {', '.join(meant)}, which is unknown here)" if meant else ""
        raise ValueError(f"lacks {', '.join(missing)}, which {model_type or 'a config without model_type'} needs{hint}")


def _in_all_spellings(key: str, architecture: Architecture) -> str:
    others = [other for other, meant in architecture.aliases.items() if meant == key]
    return f"{key} (or {', '.join(others)})" if others else key


def _refuse_contradictions(values: Mapping[str, Any], architecture: Architecture, model_type: str) -> None:
    def stated(keys: Collection[str]) -> str:
        none = {key: EXPERT_KEYS.get(key, 0) for key in keys}
        return ", ".join(f"{key} = {values[key]!r}" for key in keys if values.get(key) not in (None, none[key]))

    latent, experts = values.get("kv_lora_rank"), values.get("n_routed_experts")
    if architecture.latent == "never" and (keys := stated(LATENT_KEYS)):
        raise ValueError(f"{keys}, but {model_type} has no latent attention")
    if architecture.experts == "never" and (keys := stated(EXPERT_KEYS)):
        raise ValueError(f"{keys}, but {model_type} has no experts")
    if architecture.experts == "always" and experts == 0:
        null = "" if "n_routed_experts" in architecture.not_null else ", or null (every layer is dense)"
        raise ValueError(f"{_in_all_spellings('n_routed_experts', architecture)}: wanted an integer >= 1{null}, got 0")
    # a null or 0 that is stated outweighs the sizes of experts that a config class writes for all models
    of_experts = ("num_experts_per_tok", "n_shared_experts") if "n_routed_experts" in values else EXPERT_KEYS
    if not experts and (keys := stated(of_experts)):
        raise ValueError(f"{keys} without n_routed_experts")
    if values.get("use_mla") is not None and values["use_mla"] != (latent is not None):
        raise ValueError(f"use_mla = {values['use_mla']!r} contradicts kv_lora_rank = {latent!r}")
    for key in ("num_key_value_heads", "head_dim"):
        if values.get(key) == 0 and latent is None:
            raise ValueError(f"{key}: wanted an integer >= 1, or null (the default), got {values[key]!r}")


def _layer_types(values: Mapping[str, Any]) -> Iterator[str]:
    """transformers 5 writes the kind of attention of each layer."""
    kinds = values.get("layer_types") or []
    if not isinstance(kinds, list) or not set(map(str, kinds)) <= {"full_attention", "sliding_attention"}:
        raise ValueError(f"layer_types: wanted a list of full_attention and sliding_attention, got {kinds!r}")
    if kinds and len(kinds) != values["num_hidden_layers"]:
        raise ValueError(f"layer_types has {len(kinds)} entries for num_hidden_layers = {values['num_hidden_layers']}")
    if "sliding_attention" in kinds:
        yield "layer_types with sliding_attention"


def _labels(values: Mapping[str, Any]) -> int:
    """How many outputs a sequence classifier has, 2 by default, as `transformers` reads it."""
    names, number = values.get("id2label"), values.get("num_labels")
    if names is not None and not isinstance(names, Mapping):
        raise ValueError(f"id2label: wanted an object, got {names!r}")
    if names is not None and number is not None and len(names) != number:
        raise ValueError(f"num_labels = {number!r} contradicts id2label, which has {len(names)}")
    labels = number if number is not None else 2 if names is None else len(names)
    if type(labels) is not int or labels < 1:
        raise ValueError(f"num_labels: wanted an integer >= 1, got {labels!r}")
    return labels
