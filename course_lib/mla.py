"""Multi-head Latent Attention: of a token, one short latent and one rotated key are cached (arXiv:2405.04434 s2.1)."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, einsum, nn

from course_lib.accounting import attention_flops
from course_lib.attention import attend, causal_mask
from course_lib.cache import LayerCache
from course_lib.config import ModelConfig
from course_lib.rope import Rotary, rotate, score_scale

_BLOCK = 1000  # tokens that are worth a core of their own
LATENT_EPS = 1e-6  # of the norms inside MLA: DeepSeek's code and transformers fix it, whatever rms_norm_eps says


def expanded_attention(
    q_nope: Float[Tensor, "b s h n"],
    q_rope: Float[Tensor, "b s h r"],
    rows: Float[Tensor, "b t row"],
    k_up: Float[Tensor, "h n c"],
    v_up: Float[Tensor, "h v c"],
    *,
    offset: int,
    scale: float,
) -> Float[Tensor, "b s h v"]:
    """Write out every head's keys and values, then attend as MHA does. `rows`: latent and rotated key side by side."""
    latent, k_rope = rows.split([k_up.shape[-1], q_rope.shape[-1]], dim=-1)
    k_nope = einsum("btc,hnc->bthn", latent, k_up)
    v = einsum("btc,hvc->bthv", latent, v_up)
    k = torch.cat([k_nope, k_rope[:, :, None].expand(-1, -1, len(k_up), -1)], dim=-1)
    return attend(torch.cat([q_nope, q_rope], dim=-1), k, v, offset=offset, scale=scale)


def absorbed_attention(
    q_nope: Float[Tensor, "b s h n"],
    q_rope: Float[Tensor, "b s h r"],
    rows: Float[Tensor, "b t row"],
    k_up: Float[Tensor, "h n c"],
    v_up: Float[Tensor, "h v c"],
    *,
    offset: int,
    scale: float,
) -> Float[Tensor, "b s h v"]:
    """The same values, and no head's keys or values: q . (k_up latent) = (q k_up) . latent, and v_up acts last.

    A query folded through k_up, with its rotated part behind it, meets a cached row as it lies in memory.
    """
    query = torch.cat([einsum("bshn,hnc->bshc", q_nope, k_up), q_rope], dim=-1)
    scores = _scores((scale * query).flatten(1, 2), rows).unflatten(1, query.shape[1:3])
    mask = causal_mask(q_nope.shape[1], rows.shape[1], offset, rows)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -torch.inf)
    mixed = _mix(scores.softmax(-1).flatten(1, 2), rows[..., : k_up.shape[-1]]).unflatten(1, query.shape[1:3])
    return einsum("bshc,hvc->bshv", mixed, v_up)


def _scores(query: Float[Tensor, "b q row"], rows: Float[Tensor, "b t row"]) -> Float[Tensor, "b q t"]:
    blocks, whole = _blocks(rows)
    if blocks < 2:
        return query @ rows.mT
    scores = query[:, None] @ rows[:, :whole].unflatten(1, (blocks, -1)).mT
    return torch.cat([*scores.unbind(1), query @ rows[:, whole:].mT], dim=-1)


def _mix(weights: Float[Tensor, "b q t"], values: Float[Tensor, "b t c"]) -> Float[Tensor, "b q c"]:
    blocks, whole = _blocks(values)
    if blocks < 2:
        return weights @ values
    weights_by_block = weights[..., :whole].unflatten(-1, (blocks, -1)).transpose(1, 2)
    mixed = weights_by_block @ values[:, :whole].unflatten(1, (blocks, -1))
    return mixed.sum(1) + weights[..., whole:] @ values[:, whole:]


def _blocks(rows: Float[Tensor, "b t x"]) -> tuple[int, int]:
    """Into how many equal blocks of tokens to cut, and how many tokens they hold together.

    A CPU's BLAS leaves a few query rows against thousands of cached ones to one core; a batch of blocks, all share.
    """
    b, t, _ = rows.shape
    blocks = min(torch.get_num_threads(), t // _BLOCK) if b == 1 and rows.device.type == "cpu" else 1
    return blocks, t - t % max(blocks, 1)


class LatentNorm(nn.RMSNorm):
    """In mixed precision a latent comes in bfloat16, and is normed in the precision of the gain."""

    def forward(self, x: Float[Tensor, "*b x"]) -> Float[Tensor, "*b x"]:
        return super().forward(x.to(self.weight.dtype))


class MLA(nn.Module):
    """Causal attention that caches the latent and one rotated key, nothing per head (arXiv:2405.04434 s2.1)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, d, h = config, config.hidden_size, config.num_attention_heads
        self.c, self.n, self.r = config.kv_lora_rank or 0, config.qk_nope_head_dim, config.qk_rope_head_dim
        v, q, biased = config.v_head_dim, config.q_lora_rank, config.attention_bias
        up = nn.Linear(q or d, h * (self.n + self.r), bias=False)
        if q is None:
            self.q_proj = up
        else:
            down, norm = nn.Linear(d, q, bias=biased), LatentNorm(q, eps=LATENT_EPS)
            self.q_proj = nn.Sequential(OrderedDict(down=down, norm=norm, up=up))
        self.kv_down = nn.Linear(d, self.c + self.r, bias=biased)
        self.latent_norm = LatentNorm(self.c, eps=LATENT_EPS)
        self.k_up = nn.Parameter(torch.randn(h, self.n, self.c) * self.c**-0.5)
        self.v_up = nn.Parameter(torch.randn(h, v, self.c) * self.c**-0.5)
        self.o_proj = nn.Linear(h * v, d, bias=biased)
        self.rotary, self.scale = Rotary(config), score_scale(config)

    def forward(
        self, x: Float[Tensor, "b s d"], cache: LayerCache | None = None, *, absorb: bool | None = None
    ) -> Float[Tensor, "b s d"]:
        """x holds the tokens that follow those in `cache`.

        `absorb` folds k_up into the query: the same output up to rounding, no per-head keys. None: whichever costs
        fewer FLOPs, which is the absorbed form when decoding and the expanded one in a long prefill.
        """
        offset = 0 if cache is None else cache.length
        turns = self.rotary.turns(offset, x.shape[1], like=x)
        q_nope, q_rope = self.q_proj(x).unflatten(-1, (-1, self.n + self.r)).split([self.n, self.r], dim=-1)
        latent, k_rope = self.kv_down(x).split([self.c, self.r], dim=-1)
        rotated = rotate(torch.cat([q_rope, k_rope[:, :, None]], dim=2), turns)  # the shared key as one more head
        q_rope, k_rope = rotated[:, :, :-1], rotated[:, :, -1]
        rows = torch.cat([self.latent_norm(latent), k_rope], dim=-1)
        if cache is not None:
            rows = cache.append(rows)
        if absorb is None:
            s, t = x.shape[1], rows.shape[1]
            absorb = attention_flops(self.config, s, t, True) < attention_flops(self.config, s, t, False)
        attention = absorbed_attention if absorb else expanded_attention
        heads = attention(q_nope, q_rope, rows, self.k_up, self.v_up, offset=offset, scale=self.scale)
        return self.o_proj(heads.flatten(2))
