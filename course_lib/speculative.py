"""Accept or replace drafted tokens, so that what comes out is what the target alone would have written.

Greedy: token for token. Sampled: in distribution (arXiv:2211.17192 s2, arXiv:2302.01318).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def verify_greedy(draft: Int[Tensor, " k"], target_logits: Float[Tensor, "rows z"]) -> Int[Tensor, " accepted"]:
    """The draft as far as the target agrees, then the target's own next token: 1 to k + 1 tokens.

    Row j of the k + 1 rows of `target_logits` is the target's prediction after draft[:j].

    Raises:
        ValueError: not one row more than drafted tokens.
    """
    _want_rows(draft, target_logits)
    own = target_logits.argmax(-1)
    accepted = int((draft == own[:-1]).long().cumprod(0).sum())
    return own[: accepted + 1]


def verify_sampled(
    draft: Int[Tensor, " k"],
    draft_probs: Float[Tensor, "k z"],
    target_probs: Float[Tensor, "rows z"],
    uniforms: Float[Tensor, " n"],
) -> Int[Tensor, " accepted"]:
    """As `verify_greedy`, for sampling: the result is distributed as if the target had drawn every token.

    Draft j, drawn from `draft_probs[j]` = q, is accepted with probability min(1, p/q), that is if u_j q < p. The first
    one refused is replaced by a draw from the residual max(p - q, 0), normalised; if none is, the target's last row
    gives one token more. The last of `uniforms` (in [0, 1)) makes that draw: the smallest token whose CDF exceeds it.

    Raises:
        ValueError: shapes that do not belong together.
    """
    _want_rows(draft, target_probs)
    if len(uniforms) != len(target_probs) or draft_probs.shape != (len(draft), target_probs.shape[-1]):
        raise ValueError(
            f"a draft of {len(draft)} wants draft_probs {(len(draft), target_probs.shape[-1])} and {len(draft) + 1} "
            f"uniforms, got {tuple(draft_probs.shape)} and {len(uniforms)}"
        )
    rows = torch.arange(len(draft), device=draft.device)
    stands = uniforms[:-1] * draft_probs[rows, draft] < target_probs[rows, draft]
    accepted = int(stands.long().cumprod(0).sum())
    weights = target_probs[accepted]
    if accepted < len(draft):
        residual = (weights - draft_probs[accepted]).clamp(min=0)
        weights = residual if residual.any() else weights  # nothing is left where p and q differ by rounding only
    return torch.cat([draft[:accepted], _draw(weights, uniforms[-1]).to(draft)])


def tokens_per_step(acceptance: float, depth: int) -> float:
    """Tokens expected of a target pass: 1 + a + ... + a^depth, each draft standing with probability a."""
    return float(sum(acceptance**j for j in range(depth + 1)))


def _draw(weights: Float[Tensor, " z"], uniform: Float[Tensor, ""]) -> Int[Tensor, " one"]:
    """The smallest token whose CDF exceeds `uniform`; one without weight is never taken, whatever rounding does."""
    cdf = weights.double().cumsum(0)
    token = torch.searchsorted(cdf, uniform.double()[None] * cdf[-1], right=True)
    return token.clamp(max=weights.nonzero()[-1])


def _want_rows(draft: Tensor, target: Tensor) -> None:
    if len(target) != len(draft) + 1:
        raise ValueError(f"a draft of {len(draft)} wants {len(draft) + 1} rows of the target, got {len(target)}")
