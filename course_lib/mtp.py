"""Multi-Token Prediction: modules that predict one token further each, in sequence (arXiv:2412.19437 s2.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.block import Block
from course_lib.cache import LayerCache
from course_lib.config import ModelConfig


class MTPModule(nn.Module):
    """Depth k: at position i it joins a hidden state with the embedding of token i+k, and predicts token i+k+1.

    Embedding and output head are the main model's. Two conventions differ between the report and released weights:
    `mtp_hidden_states_first` says which half of the projection reads the hidden state (the report: the first; released
    weights: the second), `mtp_normed_hidden` whether the hidden state enters after the norm that stands before the
    output head (as serving code does) or before it.
    """

    def __init__(self, config: ModelConfig, depth: int):
        super().__init__()
        self.config, d, eps = config, config.hidden_size, config.rms_norm_eps
        self.hidden_norm, self.embedding_norm = nn.RMSNorm(d, eps=eps), nn.RMSNorm(d, eps=eps)
        self.proj = nn.Linear(2 * d, d, bias=False)
        self.block = Block(config, config.num_hidden_layers + depth - 1)
        self.norm = nn.RMSNorm(d, eps=eps)

    def forward(
        self, hidden: Float[Tensor, "b s d"], embedded: Float[Tensor, "b s d"], cache: LayerCache | None = None
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
        """What the next depth reads, and what the output head reads (eqs 22 and 23)."""
        x = self.joined(hidden, embedded).to(hidden.dtype)  # in mixed precision the residual stream stays wide
        x = self.block(x, cache)
        for_head = self.norm(x)
        return (for_head if self.config.mtp_normed_hidden else x), for_head

    def joined(self, hidden: Float[Tensor, "b s d"], embedded: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        """What the block reads: the projection of both, each normed (eq 21)."""
        parts = [self.hidden_norm(hidden), self.embedding_norm(embedded)]
        if not self.config.mtp_hidden_states_first:
            parts.reverse()
        return self.proj(torch.cat(parts, dim=-1))


def mtp_loss(
    logits: Sequence[Float[Tensor, "b _ z"]], tokens: Int[Tensor, "b window"], weight: float
) -> Float[Tensor, ""]:
    """weight/D times the sum over depths of (sum of cross-entropies)/T, mean over b (eqs 24 and 25).

    `logits` of depth 1 to D, T-k positions each; `tokens` are the T inputs and the last target. The report divides by T
    at every depth, although a depth has only T-k terms.
    """
    (b, window), total = tokens.shape, logits[0].new_zeros(())
    for depth, each in enumerate(logits, 1):
        total = total + F.cross_entropy(each.flatten(0, 1), tokens[:, depth + 1 :].flatten(), reduction="sum")
    return weight / len(logits) * total / (b * (window - 1))
