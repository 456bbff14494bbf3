"""Accept or replace drafted tokens, so that what comes out is what the target alone would have written.

Greedy: token for token. Sampled: in distribution (arXiv:2211.17192 s2, arXiv:2302.01318).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

SUM_TOLERANCE = 0.01  # how far the sum of a row of probabilities may be from 1


def verify_greedy(draft: Int[Tensor, " k"], target_logits: Float[Tensor, "rows z"]) -> Int[Tensor, " accepted"]:
    """The draft as far as the target agrees, then the target's own next token: 1 to k + 1 tokens.

    Row j of the k + 1 rows of `target_logits` is the target's prediction after draft[:j].

    Raises:
        ValueError: not one row more than drafted tokens, or a row without a finite maximum, such as one with NaN.
    """
    _want_rows(draft, target_logits)
    best, own = target_logits.max(-1)
    if not best.isfinite().all():  # NaN wins every maximum, and its index would pass for a token
        raise ValueError(f"target_logits: wanted a finite maximum in each row, got {best.tolist()}")
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
    rejected draft is replaced by a draw from the residual max(p - q, 0), normalised; if all are accepted, the target's
    last row gives one more token. The last of `uniforms` makes that draw: the smallest token whose CDF exceeds it.

    Each row of probabilities must sum to 1 within SUM_TOLERANCE, which leaves room for a softmax in bfloat16, and each
    uniform must be in [0, 1). A NaN is refused, because every comparison with it is false: a token would come out that
    no distribution gave.

    Raises:
        ValueError: shapes that do not belong together, a row that is not a distribution, a uniform outside [0, 1).
    """
    _want_rows(draft, target_probs)
    if len(uniforms) != len(target_probs) or draft_probs.shape != (len(draft), target_probs.shape[-1]):
        raise ValueError(
            f"a draft of {len(draft)} wants draft_probs {(len(draft), target_probs.shape[-1])} and {len(draft) + 1} "
            f"uniforms, got {tuple(draft_probs.shape)} and {len(uniforms)}"
        )
    _want_numbers(draft_probs, target_probs, uniforms)
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
    """The smallest token whose CDF exceeds `uniform`, so never a token of weight 0: there the CDF does not rise."""
    cdf = weights.double().cumsum(0)
    return torch.searchsorted(cdf, uniform.double()[None] * cdf[-1], right=True)  # u < 1, so u * cdf[-1] < cdf[-1]


def _want_numbers(draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> None:
    rows = torch.cat([draft_probs, target_probs])
    for number, (least, total) in enumerate(torch.stack([rows.amin(-1), rows.sum(-1)], dim=1).tolist()):
        if not (least >= 0 and abs(total - 1) <= SUM_TOLERANCE):  # NaN fails both
            drafts = len(draft_probs)
            place = f"draft_probs[{number}]" if number < drafts else f"target_probs[{number - drafts}]"
            raise ValueError(f"{place} must be >= 0 and sum to 1: its minimum is {least:.4g}, its sum {total:.4g}")
    if not all(0 <= uniform < 1 for uniform in uniforms.tolist()):
        raise ValueError(f"uniforms must be in [0, 1), got {uniforms.tolist()}")


def _want_rows(draft: Tensor, target: Tensor) -> None:
    if len(target) != len(draft) + 1:
        raise ValueError(f"a draft of {len(draft)} wants {len(draft) + 1} rows of the target, got {len(target)}")
