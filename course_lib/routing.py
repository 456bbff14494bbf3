"""Which experts a token goes to, with what weight, and how the load is kept even: pure functions.

Sources: DeepSeekMoE (arXiv:2401.06066 s3), DeepSeek-V2 (arXiv:2405.04434 s2.2), DeepSeek-V3 (arXiv:2412.19437 s2.1.2),
loss-free balancing (arXiv:2408.15664). Indices are of routed experts and begin at 0.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def affinities(x: Float[Tensor, "m d"], centroids: Float[Tensor, "e d"], scoring_func: str) -> Float[Tensor, "m e"]:
    """How well each token fits each expert, in float32 or wider: "sigmoid" (V3) or "softmax" over experts (V2).

    Raises:
        ValueError: another `scoring_func`.
    """
    wide = torch.promote_types(x.dtype, torch.float32)  # a bfloat16 score cannot tell experts a few thousandths apart
    with torch.autocast(x.device.type, enabled=False):  # mixed precision stops here
        logits = x.to(wide) @ centroids.to(wide).mT
    if scoring_func == "sigmoid":
        return logits.sigmoid()
    if scoring_func == "softmax":
        return logits.softmax(-1)
    raise ValueError(f"scoring_func: wanted 'sigmoid' or 'softmax', got {scoring_func!r}")


def choose_experts(
    scores: Float[Tensor, "m e"],
    top_k: int,
    *,
    bias: Float[Tensor, " e"] | None = None,
    n_group: int = 1,
    topk_group: int = 1,
    group_best: int = 2,
) -> Int[Tensor, "m k"]:
    """The `top_k` experts of each token, in no particular order.

    With n_group > 1 only experts of its `topk_group` best groups are open to a token, so that it visits few machines.
    A group is ranked by the sum of its `group_best` highest scores: 2 in V3, 1 in V2. A `bias` moves the choice only.

    Raises:
        ValueError: groups of unequal size or with fewer than `group_best` experts, or fewer open experts than wanted.
    """
    m, e = scores.shape
    if e % n_group:
        raise ValueError(f"n_group {n_group} does not divide {e} experts")
    if not 1 <= topk_group <= n_group or not 1 <= top_k <= topk_group * (e // n_group):
        raise ValueError(f"cannot choose {top_k} experts from {topk_group} of {n_group} groups of {e // n_group}")
    biased = scores if bias is None else scores + bias
    if n_group > 1:
        if e // n_group < group_best:
            raise ValueError(f"groups of {e // n_group} have no {group_best} best experts; n_group is {n_group} of {e}")
        groups = biased.unflatten(1, (n_group, -1))
        best = groups.topk(group_best, dim=-1).values.sum(-1).topk(topk_group, dim=-1).indices
        closed = torch.ones(m, n_group, dtype=torch.bool, device=scores.device).scatter(1, best, False)
        biased = groups.masked_fill(closed[:, :, None], -torch.inf).flatten(1)  # 0 would beat a negative biased score
    return biased.topk(top_k, dim=-1, sorted=False).indices


def gate_weights(
    scores: Float[Tensor, "m e"], indices: Int[Tensor, "m k"], *, normalise: bool, scale: float = 1.0
) -> Float[Tensor, "m k"]:
    """What each chosen expert's output is multiplied with: its own score, without any bias.

    `normalise`: over the chosen experts, to a sum of 1 (`norm_topk_prob`); `scale` comes after it.
    """
    chosen = scores.gather(1, indices)
    if normalise:
        chosen = chosen / (chosen.sum(-1, keepdim=True) + 1e-20)  # sigmoids below 1e-38 are 0 in float32
    return scale * chosen


def expert_load(indices: Int[Tensor, "*m k"], n_experts: int) -> Int[Tensor, " e"]:
    """How many tokens each expert was given."""
    return indices.flatten().bincount(minlength=n_experts)


def max_violation(load: Float[Tensor, "*steps e"] | Int[Tensor, "*steps e"]) -> Float[Tensor, "*steps"]:
    """MaxVio, (max - mean) / mean of a load: 0 is even, e/k - 1 all tokens to one expert (arXiv:2408.15664 s4.1).

    The paper's global MaxVio takes the load summed over many batches, its batch MaxVio the mean over batches of each
    batch's own.
    """
    mean = load.double().mean(-1)
    return (load.amax(-1) - mean) / mean


def update_bias(
    bias: Float[Tensor, " e"], load: Float[Tensor, " e"] | Int[Tensor, " e"], speed: float
) -> Float[Tensor, " e"]:
    """A step of `speed` up for experts below the mean load, down for those above (arXiv:2408.15664 algorithm 1)."""
    load = load.double()
    return bias + (speed * (load.mean() - load).sign()).to(bias.dtype)


def sequence_balance_loss(
    scores: Float[Tensor, "b t e"], indices: Int[Tensor, "b t k"], alpha: float
) -> Float[Tensor, ""]:
    """V3's small remaining loss, on each sequence, then averaged (arXiv:2412.19437 eqs 17 to 20).

    alpha * sum over experts of f P: f is how often an expert was chosen, in fair shares; P its mean normalised score.
    """
    return alpha * _frequency_times_score(scores / scores.sum(-1, keepdim=True), indices).mean()


def expert_balance_loss(
    scores: Float[Tensor, "b t e"],
    indices: Int[Tensor, "b t k"],
    alpha: float,
    *,
    load: Int[Tensor, " e"] | None = None,
) -> Float[Tensor, ""]:
    """The expert-level loss of DeepSeekMoE and V2, one for all tokens of a batch (arXiv:2401.06066 eqs 12 to 14).

    alpha * sum over experts of f P, where f comes from the `load` of the whole batch. If `scores` and `indices` are
    only one process's share of it, the mean of this loss over the processes is the loss of the batch, and the mean of
    its gradients is the gradient: f is a count and has none.
    """
    e = scores.shape[-1]
    counts = (expert_load(indices, e) if load is None else load).to(scores.dtype)
    frequency = counts * e / counts.sum()  # 1: a fair share
    return alpha * (frequency * scores.flatten(0, 1).mean(0)).sum()


def _frequency_times_score(scores: Float[Tensor, "b t e"], indices: Int[Tensor, "b t k"]) -> Float[Tensor, " b"]:
    t, e = scores.shape[1:]
    chosen = torch.zeros_like(scores).scatter(-1, indices, 1.0)
    frequency = chosen.sum(1) * e / (indices.shape[-1] * t)  # a count: no gradient flows through it
    return (frequency * scores.mean(1)).sum(-1)
