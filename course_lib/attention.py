"""Attention that caches keys and values: MHA, GQA and MQA are one class, told apart by the number of KV heads."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_lib.cache import LayerCache
from course_lib.config import ModelConfig
from course_lib.rope import Rotary, rotate, score_scale


def causal_mask(
    queries: int, keys: int, offset: int, like: Tensor, window: int | None = None
) -> Bool[Tensor, "s t"] | None:
    """True where query j, which stands at offset + j, may look: at its own key and those before. None: everywhere.

    `window`: at the last that many of them only (Mistral, arXiv:2310.06825).
    """
    if keys <= offset + 1 and (window is None or keys <= window):
        return None
    position = torch.arange(offset, offset + queries, device=like.device)[:, None]
    key = torch.arange(keys, device=like.device)
    seen = key <= position
    return seen if window is None else seen & (key > position - window)


def attend(
    q: Float[Tensor, "b s h x"],
    k: Float[Tensor, "b t kv x"],
    v: Float[Tensor, "b t kv v"],
    *,
    offset: int,
    scale: float,
    window: int | None = None,
) -> Float[Tensor, "b s h v"]:
    """softmax(scale q.k) v under the causal mask; head i reads KV head i // (h / kv).

    PyTorch's flash kernel wants values as long as keys, so shorter ones are padded with zeros and cut again. It has a
    causal mask of its own, twice as fast as one that is passed in.
    """
    width, queries, keys = v.shape[-1], q.shape[1], k.shape[1]
    own_mask = offset == 0 and 1 < queries == keys and window is None
    mixed = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        F.pad(v, (0, max(q.shape[-1] - width, 0))).transpose(1, 2),
        attn_mask=None if own_mask else causal_mask(queries, keys, offset, q, window),
        is_causal=own_mask,
        scale=scale,
        enable_gqa=k.shape[2] != q.shape[2],
    )
    return mixed.transpose(1, 2)[..., :width]


class Attention(nn.Module):
    """Causal attention over num_key_value_heads: as many as query heads is MHA, fewer is GQA, one is MQA."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, self.head_dim = config.hidden_size, config.head_dim
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        biased = config.attention_bias or config.qkv_bias
        self.q_proj = nn.Linear(d, queries, bias=biased)
        self.k_proj = nn.Linear(d, keys, bias=biased)
        self.v_proj = nn.Linear(d, keys, bias=biased)
        self.o_proj = nn.Linear(queries, d, bias=config.attention_bias)
        self.rotary, self.scale, self.window = Rotary(config), score_scale(config), config.sliding_window

    def forward(self, x: Float[Tensor, "b s d"], cache: LayerCache | None = None) -> Float[Tensor, "b s d"]:
        """x holds the tokens that follow those in `cache`."""
        offset, heads = 0 if cache is None else cache.length, (-1, self.head_dim)
        turns = self.rotary.turns(offset, x.shape[1], like=x)
        q = rotate(self.q_proj(x).unflatten(-1, heads), turns)
        k = rotate(self.k_proj(x).unflatten(-1, heads), turns)
        v = self.v_proj(x).unflatten(-1, heads)
        if cache is not None:
            rows = cache.append(torch.cat([k, v], dim=2).flatten(2))
            k, v = rows.unflatten(-1, heads).chunk(2, dim=2)
        return self.o_proj(attend(q, k, v, offset=offset, scale=self.scale, window=self.window).flatten(2))
