"""Reading a config.json: both spellings in use, and what an architecture leaves unsaid."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

V3: dict[str, Any] = {
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "mtp_hidden_states_first": False,
}  # fmt: skip
# What an architecture fixes in code, so that its config.json need not say it.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "deepseek": {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False},
    "deepseek_v2": {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False},
    "deepseek_v3": V3,
    "kimi_k2": V3,
    "llama": {},
    "mistral": {},
    "mixtral": {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": True},
    "qwen2": {"qkv_bias": True},
}

# rope_scaling, by what this course builds of it; every other key that is set would change the rotation
ROPE_TYPES = ("yarn", "llama3")
ROPE_SIZES = {"factor", "original_max_position_embeddings"}
ROPE_KEYS = ROPE_SIZES | {
    "rope_type", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "low_freq_factor", "high_freq_factor",
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The object in a file, or in the config.json of a folder."""
    if path.is_dir():
        path = path / "config.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no file {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: wanted a JSON object, got a {type(given).__name__}")
    return given


def modern_spelling(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same without nulls, in one spelling, with the architecture's own settings; a contradiction is an error."""
    architecture = given.get("model_type")
    if architecture is not None and architecture not in tuple(ARCHITECTURES):
        raise ValueError(f"model_type {architecture!r} is unknown here; known: {', '.join(ARCHITECTURES)}")
    values = {**ARCHITECTURES.get(architecture or "", {}), **_without_nulls(given)}
    _rename(values, "num_mtp_layers", "num_nextn_predict_layers")
    _rename(values, "num_local_experts", "n_routed_experts")
    if architecture == "mixtral":  # every layer is made of experts, and intermediate_size is theirs
        values.setdefault("moe_intermediate_size", values.get("intermediate_size"))
    if architecture == "qwen2" and not values.get("use_sliding_window", False):
        values.pop("sliding_window", None)
    newer, older = _rope(values, "rope_parameters"), _rope(values, "rope_scaling")
    if newer and older and newer != older:
        raise ValueError(f"rope_parameters {newer} contradicts rope_scaling {older}")
    values["rope_scaling"] = _rope_scaling(newer or older)
    return _without_nulls(values)


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _rename(values: dict[str, Any], old: str, new: str) -> None:
    if old in values:
        value = values.pop(old)
        if values.setdefault(new, value) != value:
            raise ValueError(f"{old} = {value} contradicts {new} = {values[new]}")


def _rope(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The rotation under `key`, with one name for its type; its rope_theta moves to where it stood of old."""
    rope = values.pop(key, {})
    if not isinstance(rope, Mapping):
        raise ValueError(f"{key}: wanted an object, got {rope!r}")
    rope = {f"{key}.{name}": value for name, value in _without_nulls(rope).items()}
    _rename(rope, f"{key}.type", f"{key}.rope_type")
    if f"{key}.rope_theta" in rope:
        values[f"{key}.rope_theta"] = rope.pop(f"{key}.rope_theta")
        _rename(values, f"{key}.rope_theta", "rope_theta")
    return {name.removeprefix(f"{key}."): value for name, value in rope.items()}


def _rope_scaling(rope: dict[str, Any]) -> dict[str, Any] | None:
    """What stretches the context; None where nothing does."""
    kind = rope.get("rope_type")
    if not rope or kind == "default":
        return None
    if kind not in ROPE_TYPES:
        raise ValueError(f"rope_scaling: wanted rope_type 'yarn' or 'llama3', got {kind!r}")
    if missing := ROPE_SIZES - set(rope):
        raise ValueError(f"rope_scaling lacks {', '.join(sorted(missing))}: {rope}")
    if rope.get("truncate") is True:  # the default
        del rope["truncate"]
    if unused := set(rope) - ROPE_KEYS:
        raise ValueError(f"rope_scaling: {', '.join(sorted(unused))} would change the rotation, and is not built here")
    return rope
