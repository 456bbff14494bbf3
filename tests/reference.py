"""Attention, routing and experts written again with loops over tokens: shares no line with course_lib, only weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_lib.config import ModelConfig


def linear(module: Any, x: Tensor) -> Tensor:
    y = torch.stack([(row * x).sum() for row in module.weight])
    return y if module.bias is None else y + module.bias


def rms_norm(module: Any, x: Tensor, eps: float) -> Tensor:
    return x / math.sqrt(float((x * x).mean()) + eps) * module.weight


def yarn_temperature(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def angle_per_position(config: ModelConfig, i: int, dim: int) -> float:
    """Angle that pair i gains with each position."""
    plain = config.rope_theta ** (-2 * i / dim)
    scaling = config.rope_scaling
    if scaling is None:
        return plain
    context = scaling.original_max_position_embeddings

    def boundary(turns: float) -> float:
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = max(math.floor(boundary(scaling.beta_fast)), 0), min(math.ceil(boundary(scaling.beta_slow)), dim - 1)
    ramp = min(max((i - low) / ((high - low) or 0.001), 0.0), 1.0)
    return plain * (1 - ramp) + plain / scaling.factor * ramp


def turned(config: ModelConfig, x: Tensor, position: int) -> Tensor:
    y, scaling, gain = x.clone(), config.rope_scaling, 1.0
    if scaling is not None:
        gain = yarn_temperature(scaling.factor, scaling.mscale or 1.0)
        gain /= yarn_temperature(scaling.factor, scaling.mscale_all_dim or 0.0)
    for i in range(len(x) // 2):
        angle = position * angle_per_position(config, i, len(x))
        a, b = x[2 * i], x[2 * i + 1]
        y[2 * i] = gain * (a * math.cos(angle) - b * math.sin(angle))
        y[2 * i + 1] = gain * (a * math.sin(angle) + b * math.cos(angle))
    return y


def mixed(query: Tensor, keys: list[Tensor], values: list[Tensor], scale: float) -> Tensor:
    scores = [scale * float((query * key).sum()) for key in keys]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return torch.stack([w / sum(weights) * v for w, v in zip(weights, values, strict=True)]).sum(0)


def mla(layer: Any, config: ModelConfig, x: Tensor) -> Tensor:
    """MLA as the report writes it (arXiv:2405.04434 eqs 9 to 19), one token and one head at a time; x is (b, s, d)."""
    h, c = config.num_attention_heads, config.kv_lora_rank or 0
    n, r = config.qk_nope_head_dim, config.qk_rope_head_dim
    scale, scaling = 1 / math.sqrt(n + r), config.rope_scaling
    if scaling is not None:
        scale *= yarn_temperature(scaling.factor, scaling.mscale_all_dim or 0.0) ** 2
    out = torch.zeros_like(x)
    for b in range(len(x)):
        latents, shared_keys = [], []
        for t, token in enumerate(x[b]):
            down = linear(layer.kv_down, token)
            latents.append(rms_norm(layer.latent_norm, down[:c], 1e-6))
            shared_keys.append(turned(config, down[c:], t))
            query = token
            if config.q_lora_rank is None:
                query = linear(layer.q_proj, query)
            else:
                query = rms_norm(layer.q_proj.norm, linear(layer.q_proj.down, query), 1e-6)
                query = linear(layer.q_proj.up, query)
            heads = []
            for i in range(h):
                q = query[i * (n + r) : (i + 1) * (n + r)]
                q = torch.cat([q[:n], turned(config, q[n:], t)])
                keys = [torch.cat([layer.k_up[i] @ y, k]) for y, k in zip(latents, shared_keys, strict=True)]
                values = [layer.v_up[i] @ y for y in latents]
                heads.append(mixed(q, keys, values, scale))
            out[b, t] = linear(layer.o_proj, torch.cat(heads))
    return out


def attention(layer: Any, config: ModelConfig, x: Tensor) -> Tensor:
    """MHA, GQA or MQA, one token and one head at a time; x is (b, s, d). A token sees `sliding_window` tokens."""
    h, kv, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    seen = slice(-(config.sliding_window or len(x[0])), None)
    out = torch.zeros_like(x)
    for b in range(len(x)):
        keys: list[list[Tensor]] = [[] for _ in range(kv)]
        values: list[list[Tensor]] = [[] for _ in range(kv)]
        for t, token in enumerate(x[b]):
            q, k, v = (linear(m, token) for m in (layer.q_proj, layer.k_proj, layer.v_proj))
            for g in range(kv):
                keys[g].append(turned(config, k[g * width : (g + 1) * width], t))
                values[g].append(v[g * width : (g + 1) * width])
            heads = []
            for i in range(h):
                query = turned(config, q[i * width : (i + 1) * width], t)
                heads.append(mixed(query, keys[i * kv // h][seen], values[i * kv // h][seen], width**-0.5))
            out[b, t] = linear(layer.o_proj, torch.cat(heads))
    return out


def route(scores: list[float], bias: list[float], top_k: int, n_group: int, topk_group: int, best: int) -> list[int]:
    """Experts of one token (arXiv:2412.19437 s2.1.2), best first, by sorting lists."""
    biased = [s + b for s, b in zip(scores, bias, strict=True)]
    size = len(biased) // n_group
    groups = [list(range(g * size, (g + 1) * size)) for g in range(n_group)]
    if n_group > 1:
        groups.sort(key=lambda group: -sum(sorted((biased[i] for i in group), reverse=True)[:best]))
    return sorted((i for group in groups[:topk_group] for i in group), key=lambda i: -biased[i])[:top_k]


def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    a, b = gate @ x, up @ x
    return down @ (a / (1 + torch.exp(-a)) * b)


def moe(layer: Any, config: ModelConfig, x: Tensor) -> Tensor:
    """Routed and shared experts, one token at a time (arXiv:2412.19437 eqs 12 to 16); x is (m, d)."""
    rows = []
    for token in x:
        logits = torch.stack([(centroid * token).sum() for centroid in layer.router.centroids])
        scores = 1 / (1 + torch.exp(-logits)) if config.scoring_func == "sigmoid" else logits.exp() / logits.exp().sum()
        bias = [0.0] * len(scores) if layer.router.bias is None else layer.router.bias.tolist()
        groups = (1, 1) if config.topk_method == "greedy" else (config.n_group, config.topk_group)
        best = 2 if config.topk_method == "noaux_tc" else 1
        chosen = route(scores.tolist(), bias, config.num_experts_per_tok, *groups, best)
        total = sum(scores[i] for i in chosen) if config.norm_topk_prob else 1.0
        row = torch.zeros_like(token)
        for i in chosen:
            gate, up = layer.gate_up[i].chunk(2)
            row = row + config.routed_scaling_factor * scores[i] / total * swiglu(token, gate, up, layer.down[i])
        if layer.shared is not None:
            row = row + swiglu(token, layer.shared.gate.weight, layer.shared.up.weight, layer.shared.down.weight)
        rows.append(row)
    return torch.stack(rows)


def mtp(
    module: Any, config: ModelConfig, states: Tensor, embedding: Tensor, tokens: Tensor, depth: int
) -> tuple[Tensor, Tensor]:
    """Depth k, one position at a time up to attention (arXiv:2412.19437 eqs 21 to 23); states is (b, s, d)."""
    eps, rows = config.rms_norm_eps, []
    for b in range(len(states)):
        joined = []
        for i in range(states.shape[1] - 1):
            hidden = rms_norm(module.hidden_norm, states[b, i], eps)
            next_one = rms_norm(module.embedding_norm, embedding[tokens[b, i + depth]], eps)
            pair = [hidden, next_one] if config.mtp_hidden_states_first else [next_one, hidden]
            joined.append(linear(module.proj, torch.cat(pair)))
        rows.append(torch.stack(joined))
    x, block = torch.stack(rows), module.block
    x = x + mla(block.attention, config, each(lambda y: rms_norm(block.attention_norm, y, eps), x))
    normed = each(lambda y: rms_norm(block.ffn_norm, y, eps), x)
    x = x + moe(block.ffn, config, normed.flatten(0, 1)).view_as(x)
    for_head = each(lambda y: rms_norm(module.norm, y, eps), x)
    return (for_head if config.mtp_normed_hidden else x), for_head


def each(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([torch.stack([function(y) for y in row]) for row in x])
