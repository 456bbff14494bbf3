"""Reading the rotation in a config.json: `rope_parameters` (transformers 5), or `rope_scaling` with `rope_theta`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROPE_TYPES = ("yarn", "llama3")  # built here
_SIZES = {"factor", "original_max_position_embeddings"}
_KEYS = _SIZES | {
    "rope_type", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "low_freq_factor", "high_freq_factor",
}  # fmt: skip


@dataclass(frozen=True)
class Rope:
    theta: float | None  # None: the default
    scaling: dict[str, Any] | None  # fields of RopeScaling; None: nothing stretches the context
    unbuilt: list[str]  # what of it is not built here. Neither count nor cache depends on it.


def rope_settings(values: Mapping[str, Any]) -> Rope:
    """Both spellings in one.

    Raises:
        ValueError: not an object, or the spellings contradict each other.
    """
    theta = values.get("rope_theta")
    newer, theta = _without_theta("rope_parameters", values.get("rope_parameters"), theta)
    older, theta = _without_theta("rope_scaling", values.get("rope_scaling"), theta)
    if newer and older and newer != older:
        raise ValueError(f"rope_parameters {newer} contradicts rope_scaling {older}")
    rope = newer or older
    turned = rope.pop("partial_rotary_factor", 1.0)
    unbuilt = [] if turned == 1.0 else [f"partial_rotary_factor = {turned!r}"]
    kind = rope.get("rope_type")
    if not rope or kind == "default":
        return Rope(theta, None, unbuilt)
    if rope.get("truncate") is True:  # the default
        del rope["truncate"]
    if kind not in ROPE_TYPES:
        unbuilt.append(f"rope_type {kind!r} (only {' and '.join(map(repr, ROPE_TYPES))} are)")
    elif missing := _SIZES - set(rope):
        unbuilt.append(f"rope_scaling without {', '.join(sorted(missing))}")
    elif unknown := set(rope) - _KEYS:
        unbuilt.append("rope_scaling with " + ", ".join(f"{key} = {rope[key]!r}" for key in sorted(unknown)))
    return Rope(theta, None if unbuilt else rope, unbuilt)


def _without_theta(key: str, given: Any, theta: Any) -> tuple[dict[str, Any], Any]:
    """The rotation under `key` without nulls, with one name for its type, and the base apart."""
    if given is None:
        return {}, theta
    if not isinstance(given, Mapping):
        raise ValueError(f"{key}: wanted an object, got {given!r}")
    rope = {name: value for name, value in given.items() if value is not None}
    if "type" in rope:
        kind = rope.pop("type")
        if rope.setdefault("rope_type", kind) != kind:
            raise ValueError(f"{key}.type = {kind} contradicts {key}.rope_type = {rope['rope_type']}")
    base = rope.pop("rope_theta", theta)
    if theta is not None and base != theta:
        raise ValueError(f"{key}.rope_theta = {base} contradicts rope_theta = {theta}")
    return rope, base
