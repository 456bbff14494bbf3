"""One config for every model of the course, spelled as in DeepSeek's config.json."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from course_lib.config_json import in_one_spelling, read
from course_lib.config_rules import contradictions, no_head_dim, wrong_values


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched to a longer context; `rope_scaling` in config.json."""

    rope_type: str  # "yarn" (DeepSeek) or "llama3"
    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0  # yarn: turns over the original context above which a pair keeps its frequency
    beta_slow: float = 1.0  # yarn: turns below which it is slowed by the whole factor
    mscale: float | None = None  # yarn: temperature of the rotated part
    mscale_all_dim: float | None = None  # yarn: temperature of the whole score
    low_freq_factor: float = 1.0  # llama3: the same two limits, as turns
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        problems = list(wrong_values(self))
        if self.rope_type not in ("yarn", "llama3"):
            problems = [f"wanted rope_type 'yarn' or 'llama3', got {self.rope_type!r}"]
        elif not problems and self.factor < 1:
            problems = [f"factor: wanted a number >= 1, got {self.factor}"]
        if problems:
            raise ValueError("rope_scaling: " + "; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer. Letters are the axes of the course's legend (README.md).

    A 0 that takes a default is replaced by it, so `dataclasses.replace` must name num_key_value_heads and head_dim too
    where they should follow another change.

    Every config can be counted. One with `unbuilt` or `head_rows` set is of a model that the course counts but does not
    build: `check_buildable` says why.
    """

    vocab_size: int  # z
    hidden_size: int  # d
    intermediate_size: int  # width of a dense feed-forward layer
    num_hidden_layers: int
    num_attention_heads: int  # h
    name: str = ""

    # heads that cache keys and values: MHA, GQA, MQA
    num_key_value_heads: int = 0  # 0: as many as query heads
    head_dim: int = 0  # 0: hidden_size / num_attention_heads

    # Multi-head Latent Attention: set kv_lora_rank and the three head sizes, or none of the four
    kv_lora_rank: int | None = None  # c, cached
    q_lora_rank: int | None = None  # None: queries are not compressed
    qk_nope_head_dim: int = 0  # n
    qk_rope_head_dim: int = 0  # r, cached once for all heads
    v_head_dim: int = 0  # v

    # DeepSeekMoE: layers from first_k_dense_replace on choose among experts
    n_routed_experts: int = 0  # e; 0: every layer is dense
    n_shared_experts: int = 0
    num_experts_per_tok: int = 0  # k
    moe_intermediate_size: int = 0  # f
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    n_group: int = 1  # g
    topk_group: int = 1
    topk_method: str = "greedy"  # "noaux_tc": a balance bias per expert
    scoring_func: str = "softmax"
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0

    num_nextn_predict_layers: int = 0  # D, depths of Multi-Token Prediction, outside num_hidden_layers
    mtp_hidden_states_first: bool = True  # in the projection, as in the report; released weights: the embedding first
    mtp_normed_hidden: bool = True  # depths read hidden states after the norm before the head, as serving code does

    max_position_embeddings: int = 4096
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # on every projection from or to the residual stream
    qkv_bias: bool = False  # Qwen2: on queries, keys and values only
    sliding_window: int | None = None  # Mistral: how many tokens back a layer looks; without MLA only
    head_rows: int | None = None  # None: vocab_size, a language model; 0: no head; else the labels of a classifier
    unbuilt: str = ""  # what changes the output but neither count nor cache, such as a rotation that rope.py lacks
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)  # keys this course does not use

    def __post_init__(self) -> None:
        self._refuse(wrong_values(self))
        if self.num_key_value_heads == 0:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.head_dim == 0 and not self.is_mla:
            self._refuse(no_head_dim(self))
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        self._refuse(contradictions(self))

    def _refuse(self, problems: Iterator[str]) -> None:
        if text := "; ".join(problems):
            raise ValueError(text)

    def check_buildable(self) -> None:
        """Raises ValueError if the course counts such a model but does not build it."""
        reasons = [f"not built here: {self.unbuilt}"] if self.unbuilt else []
        if self.head_rows is not None:
            reasons.append("only language models are built here, and this one has no language-model head")
        if reasons:
            raise ValueError(f"{self.name or 'this config'} can be counted, not built: {'; '.join(reasons)}")

    @property
    def is_mla(self) -> bool:
        return self.kv_lora_rank is not None

    @property
    def attention_kind(self) -> str:
        """MLA, or by the number of KV heads MHA, GQA or MQA."""
        if self.is_mla:
            return "MLA"
        return {self.num_attention_heads: "MHA", 1: "MQA"}.get(self.num_key_value_heads, "GQA")

    @property
    def qk_head_dim(self) -> int:
        """n + r: the length of one head's query and key, MLA or not."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim if self.is_mla else self.head_dim

    @property
    def rotary_dim(self) -> int:
        """r: how many dimensions of a key carry its position."""
        return self.qk_rope_head_dim if self.is_mla else self.head_dim

    def is_moe(self, layer: int) -> bool:
        """Whether 0-based `layer` routes to experts."""
        if self.n_routed_experts == 0:
            return False
        return layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0

    @property
    def moe_layers(self) -> int:
        return sum(map(self.is_moe, range(self.num_hidden_layers)))

    @property
    def dense_layers(self) -> int:
        return self.num_hidden_layers - self.moe_layers

    @classmethod
    def from_json(cls, source: str | Path | Mapping[str, Any]) -> "ModelConfig":
        """Read a model's config.json, given as a path (of the file or its folder) or as a dict.

        The file is read as the code of its `model_type` reads it (architectures.py). `architectures` replaces a missing
        model_type, and decides which head is counted: that of ...ForCausalLM, that of ...ForSequenceClassification, or
        none for ...Model. Without both, the model is taken for a Llama with what the keys add, and every key must be
        known here. Both spellings in use are read: `rope_theta` with `rope_scaling`, or `rope_parameters`;
        `num_nextn_predict_layers` or `num_mtp_layers`. Keys that do not matter here stay in `extra`.

        A missing key is an error if its absence would change the count. 0 is not null: `q_lora_rank: null` means that
        queries are not compressed; `transformers` would build a projection of rank 0 for `q_lora_rank: 0`, so that is
        an error. What changes the output but neither count nor cache (linear rope, another activation) is noted in
        `unbuilt`; such a model is counted, and only MiniDeepSeek refuses it.

        Raises:
            ValueError: not JSON, an architecture that is not counted here, or a key that is missing, of the wrong type,
                in contradiction to another, or unknown and likely to change the count. The message names file and key.
        """
        if isinstance(source, Mapping):
            origin, given = str(source.get("name") or "config"), source
        else:
            path = Path(source) / "config.json" if Path(source).is_dir() else Path(source)
            origin, given = str(path), read(path)
        try:
            return cls._from_object(given)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from None

    @classmethod
    def _from_object(cls, given: Mapping[str, Any]) -> "ModelConfig":
        known = {f.name for f in fields(cls)} - {"extra"}
        values = in_one_spelling(given, known)
        if "rope_scaling" in values:
            values["rope_scaling"] = RopeScaling(**_with_floats(RopeScaling, values["rope_scaling"]))
        extra = {key: value for key, value in values.items() if key not in known}
        return cls(**_with_floats(cls, {key: values[key] for key in known & set(values)}), extra=extra)


def published(name: str) -> ModelConfig:
    """The config of a published model, one of `published_names()`; "DeepSeek-V3" and "deepseek v3" are the same."""
    if known := published_name(name):
        return _published(known)
    close = difflib.get_close_matches(_plain(name), map(_plain, published_names()), n=3, cutoff=0.7)
    meant = ", ".join(filter(None, map(published_name, close)))
    hint = f"did you mean {meant}? " if meant else ""
    raise ValueError(f"no published model {name!r}; {hint}known: {', '.join(published_names())}")


def published_name(name: str) -> str | None:
    """The published model that is meant, whatever the case and whatever separates the parts of its name."""
    return next((known for known in published_names() if _plain(known) == _plain(name)), None)


@cache  # configs are frozen, and widgets ask at every move
def _published(name: str) -> ModelConfig:
    text = (resources.files("course_lib") / "published" / f"{name}.json").read_text(encoding="utf-8")
    return ModelConfig.from_json({"name": name, **json.loads(text)})


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9/]", "", name.lower())  # a slash makes it a path


def mini(**changes: Any) -> ModelConfig:
    """V3 in small, for a minute on a CPU: bytes for tokens, one dense layer, then two of 16 experts, of which 2 chosen.

    `changes` are fields of ModelConfig, say `mini(n_group=4, topk_group=2)`.
    """
    text = (resources.files("course_lib") / "mini.json").read_text(encoding="utf-8")
    return ModelConfig(**{**json.loads(text), **changes})


def published_names() -> list[str]:
    folder = resources.files("course_lib") / "published"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def _with_floats(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """JSON writes 40 where 40.0 is meant."""
    real = {f.name for f in fields(cls) if f.type in (float, float | None)}
    return {key: float(value) if key in real and type(value) is int else value for key, value in values.items()}
