"""Arithmetic on configs: parameters, cache, FLOPs and weight traffic, exact and without building a model."""

from dataclasses import dataclass

from course_lib.config import ModelConfig


@dataclass(frozen=True)
class Component:
    """One kind of weight: how many parameters a layer holds, in how many layers, and how many of them a token uses."""

    each: int
    layers: int = 1
    each_active: int | None = None  # None: all of them

    @property
    def total(self) -> int:
        return self.each * self.layers

    @property
    def active(self) -> int:
        return self.layers * (self.each if self.each_active is None else self.each_active)


@dataclass(frozen=True)
class Parameters:
    """Parameters of a model without its MTP module, in the three conventions in use.

    No one convention gives all published "activated" figures: V3's 37B and V2-Lite's 2.4B are counted without the
    embedding, DeepSeekMoE-16B's 2.8B with it.
    """

    components: dict[str, Component]
    tied: bool = False  # the embedding is the output head as well

    @property
    def total(self) -> int:
        return sum(part.total for part in self.components.values())

    @property
    def active(self) -> int:
        """Used by one token, embedding and output head counted whole."""
        return sum(part.active for part in self.components.values())

    @property
    def active_without_embedding(self) -> int:
        """What a token is multiplied with: the embedding is looked up. A tied one is the head, and stays."""
        return self.active - (0 if self.tied else self.components["embedding"].active)

    @property
    def active_without_vocabulary(self) -> int:
        return sum(part.active for name, part in self.components.items() if name not in ("embedding", "output_head"))


def parameters(config: ModelConfig) -> Parameters:
    """Count every parameter. V3: 671,026,419,200 in all, 37,552,297,472 active.

    A language model's head is `output_head`, or the embedding once more if they are tied; a sequence classifier has a
    `classifier` without bias instead, and a model without a head neither.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    vocabulary = Component(config.vocab_size * d)
    attention = _mla(config) if config.is_mla else _attention(config)
    parts = {"embedding": vocabulary}
    parts |= {f"attention.{name}": Component(size, layers) for name, size in attention.items()}
    parts["layer_norms"] = Component(2 * d, layers)
    parts |= _feed_forward(config)
    parts["final_norm"] = Component(d)
    tied = config.head_rows is None and config.tie_word_embeddings
    if config.head_rows is not None:
        parts["classifier"] = Component(config.head_rows * d)
    elif not tied:
        parts["output_head"] = vocabulary
    return Parameters({name: part for name, part in parts.items() if part.total}, tied)


def mtp_parameters(config: ModelConfig) -> int:
    """Parameters of one MTP depth without the embedding and head that it shares. V3: 11 610 068 224."""
    if not config.num_nextn_predict_layers:
        raise ValueError(f"{config.name or 'this config'} has no MTP depth")
    d = config.hidden_size
    attention = sum((_mla(config) if config.is_mla else _attention(config)).values())
    parts = _feed_forward(config)
    kinds = ("gate", "shared_experts", "routed_experts") if config.is_moe(config.num_hidden_layers) else ("dense_ffn",)
    return attention + sum(parts[kind].each for kind in kinds) + 2 * d * d + 5 * d


def cache_elements(config: ModelConfig) -> int:
    """Numbers cached per token, all layers, MTP layers not counted. V3: 61 x (512 + 64) = 35,136."""
    return config.num_hidden_layers * cache_width(config)


def cache_width(config: ModelConfig) -> int:
    """Numbers cached per token and layer: c + r, or keys and values of the KV heads (arXiv:2405.04434 table 1)."""
    if config.is_mla:
        return (config.kv_lora_rank or 0) + config.qk_rope_head_dim
    return 2 * config.num_key_value_heads * config.head_dim


def cache_bytes(config: ModelConfig, tokens: int, bytes_per_element: float = 2) -> int:
    """Bytes a decode of `tokens` holds. V3: 61 layers x (512 + 64) x 2 = 70,272 a token (arXiv:2505.09343 table 1)."""
    if tokens < 0 or bytes_per_element <= 0:
        raise ValueError(f"want tokens >= 0 and bytes_per_element > 0, got {tokens} and {bytes_per_element}")
    return round(tokens * cache_elements(config) * bytes_per_element)


@dataclass(frozen=True)
class Serving:
    """What decoding for several users takes of one GPU's memory."""

    cache_bytes: int
    weight_bytes: int  # 0: the weights are elsewhere
    users_that_fit: int


def serving(
    config: ModelConfig,
    *,
    context: int,
    users: int,
    memory_bytes: float,
    bytes_per_element: float = 2,
    bytes_per_weight: float = 0,
    elements: int | None = None,
) -> Serving:
    """Caches of `users`, each `context` tokens long, and how many such caches the memory holds beside the weights.

    `elements`: numbers cached per token, if somebody else has counted them.
    """
    elements = cache_elements(config) if elements is None else elements
    if context < 1 or users < 0 or elements < 1:
        raise ValueError(f"want context and elements >= 1 and users >= 0, got {context}, {elements} and {users}")
    each = round(context * elements * bytes_per_element)
    weights = round(parameters(config).total * bytes_per_weight)
    return Serving(users * each, weights, max(int((memory_bytes - weights) // each), 0))


def attention_flops(config: ModelConfig, query_tokens: int, key_tokens: int, absorb: bool) -> int:
    """FLOPs of one MLA layer from latents to heads, one sequence; a multiply-add is 2, the mask saves nothing.

    Projections that both forms share (down, query up, output) are left out.
    """
    if not config.is_mla:
        raise ValueError(f"{config.name or 'this config'} has no kv_lora_rank, so nothing to absorb")
    h, c, s, t = config.num_attention_heads, config.kv_lora_rank or 0, query_tokens, key_tokens
    n, r, v = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
    if absorb:
        fold_query, scores, mix, fold_output = s * h * n * c, s * t * h * (c + r), s * t * h * c, s * h * c * v
        return 2 * (fold_query + scores + mix + fold_output)
    expand, scores, mix = t * c * h * (n + v), s * t * h * (n + r), s * t * h * v
    return 2 * (expand + scores + mix)


def training_flops(config: ModelConfig, context: int, attention: str = "causal") -> int:
    """FLOPs of training on one token in sequences of `context`, forwards and backwards.

    Every parameter that a token is multiplied with: 6, since a multiply-add is 2 and the way back takes twice the way
    there. Products inside attention grow with the context: "causal" counts the half that the mask leaves, "full" all
    of them, "none" leaves them out. MTP modules are not counted. V3 at 4,096: 250.5e9 (250e9 in arXiv:2505.09343
    table 2).
    """
    shares = {"none": 0.0, "causal": 0.5, "full": 1.0}
    if context < 1 or attention not in shares:
        raise ValueError(f"want context >= 1 and attention of {', '.join(shares)}, got {context} and {attention!r}")
    if config.sliding_window is not None and context > config.sliding_window:
        raise ValueError(f"{config.name} looks back {config.sliding_window} tokens, fewer than the context, {context}")
    value = config.v_head_dim if config.is_mla else config.head_dim
    products = context * config.num_attention_heads * (config.qk_head_dim + value) * config.num_hidden_layers
    return round(6 * (parameters(config).active_without_embedding + shares[attention] * products))


def experts_touched(config: ModelConfig, tokens: int) -> float:
    """Different routed experts of a layer that `tokens` visit together, on average; all are taken to be as likely."""
    if config.n_routed_experts == 0 or tokens < 0:
        raise ValueError(f"want a model with experts and tokens >= 0, got {config.name or 'a dense one'} and {tokens}")
    missed = 1 - config.num_experts_per_tok / config.n_routed_experts
    return config.n_routed_experts * (1 - missed**tokens)


def parameters_read(config: ModelConfig, tokens: int) -> float:
    """Parameters that a pass over `tokens` takes from memory, each of them once; experts as in `experts_touched`."""
    if tokens < 1:
        raise ValueError(f"want tokens >= 1, got {tokens}")
    count = parameters(config)
    routed = count.components.get("routed_experts")
    if routed is None:
        return float(count.active_without_embedding)
    touched = routed.total * experts_touched(config, tokens) / config.n_routed_experts
    return count.active_without_embedding - routed.active + touched


def _mla(config: ModelConfig) -> dict[str, int]:
    d, h, q, c = config.hidden_size, config.num_attention_heads, config.q_lora_rank, config.kv_lora_rank or 0
    n, r, v = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
    if q is None:
        query = {"q_proj": d * h * (n + r)}
    else:
        query = {"q_down": d * q + config.attention_bias * q, "q_norm": q, "q_up": q * h * (n + r)}
    return query | {
        "kv_down": (d + config.attention_bias) * (c + r),
        "latent_norm": c,
        "k_up": h * n * c,
        "v_up": h * v * c,
        "o_proj": h * v * d + config.attention_bias * d,
    }


def _attention(config: ModelConfig) -> dict[str, int]:
    d, biased = config.hidden_size, config.attention_bias or config.qkv_bias
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return {
        "q_proj": (d + biased) * queries,
        "k_proj": (d + biased) * keys,
        "v_proj": (d + biased) * keys,
        "o_proj": (queries + config.attention_bias) * d,
    }


def _feed_forward(config: ModelConfig) -> dict[str, Component]:
    """SwiGLU has three matrices. A token passes its chosen and all shared experts; the gate looks at every expert."""
    d, experts, moe = config.hidden_size, config.n_routed_experts, config.moe_layers
    expert = 3 * d * config.moe_intermediate_size
    biases = experts if config.topk_method == "noaux_tc" else 0
    return {
        "dense_ffn": Component(3 * d * config.intermediate_size, config.dense_layers),
        "gate": Component(experts * d + biases, moe),
        "shared_experts": Component(config.n_shared_experts * expert, moe),
        "routed_experts": Component(experts * expert, moe, config.num_experts_per_tok * expert),
    }
