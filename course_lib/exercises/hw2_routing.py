"""hw2_moe, who gets a token: experts by biased scores, within the best groups (arXiv:2412.19437 section 2.1.2)."""

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case

Routes = tuple[Tensor, Tensor]


def route(
    scores: Tensor, bias: Tensor, top_k: int, n_group: int = 1, topk_group: int = 1, scale: float = 1.0
) -> Routes:
    biased = scores + bias
    if n_group > 1:
        size = scores.shape[-1] // n_group
        if size < 2:
            raise ValueError(f"{n_group} groups of {size}: a group's score is the sum of its two best, so it needs two")
        grouped = biased.unflatten(-1, (n_group, size))
        worst = two_best(grouped).topk(topk_group).values[:, -1:]
        biased = grouped.masked_fill((two_best(grouped) < worst)[..., None], -torch.inf).flatten(1)
    indices = biased.topk(top_k).indices
    return indices, scale * normalised(scores.gather(-1, indices))


def two_best(grouped: Tensor) -> Tensor:
    return grouped.topk(2).values.sum(-1)


def normalised(gates: Tensor) -> Tensor:
    return gates / gates.sum(-1, keepdim=True)


def by_expert(answer: Any) -> Any:
    """Experts in rising order, each with its weight, so that any order is right. What is no such pair stays."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return answer
    indices, weights = answer
    if not isinstance(indices, Tensor) or not isinstance(weights, Tensor):
        return answer
    try:
        if indices.shape != weights.shape:  # so that the weights are found at fault, and not the order
            return indices.sort(-1).values, weights
        by_weight = weights.argsort(-1)  # only for experts that stand twice, as local names do
        order = by_weight.gather(-1, indices.gather(-1, by_weight).argsort(dim=-1, stable=True))
        return indices.gather(-1, order), weights.gather(-1, order)
    except RuntimeError:  # numbers without an order, tensors without numbers
        return answer


def route_cases(seed: int) -> list[Case]:
    """Biased scores mostly or all below 0, so that fewer than top_k open ones are positive; and the edges of top_k."""
    draw = Draw(seed)
    cases = [
        {
            **scores_without_ties(draw, m, e, n_group, low, high, dtype),
            "top_k": top_k, "n_group": n_group, "topk_group": topk_group, "scale": scale,
        }
        for m, e, top_k, n_group, topk_group, scale, low, high, dtype in (
            (13, 12, 3, 4, 2, 2.5, -1.0, -0.4, torch.float64),
            (9, 20, 10, 4, 3, 1.7, -1.6, -1.1, torch.float64),
            (10, 7, 4, 1, 1, 0.6, -0.3, 0.3, torch.float32),
            (11, 12, 1, 3, 2, 0.8, -0.8, -0.2, torch.float64),
            (8, 15, 6, 5, 2, 1.3, -1.6, -1.1, torch.float64),  # all that are open
        )
    ]  # fmt: skip
    return [*cases, {**scores_without_ties(draw, 3, 1, 1, -0.3, 0.3, torch.float64), "top_k": 1}]


def refused_cases(seed: int) -> list[Case]:
    given = scores_without_ties(Draw(seed, 1), 5, 6, 1, -0.3, 0.3, torch.float64)
    return [{**given, "top_k": 2, "n_group": 6, "topk_group": 3, "scale": 1.0}]


def scores_without_ties(draw: Draw, m: int, e: int, n_group: int, low: float, high: float, dtype: torch.dtype) -> Case:
    """Scores as of a sigmoid, biases from low to high. Rows with two near scores or two near groups are drawn again."""

    def apart(values: Tensor) -> Tensor:
        """Rows without near ties."""
        return values.sort().values.diff().ge(3e-4).all(-1)

    bias, kept = draw.uniform(low, high, e), torch.empty(0, e, dtype=torch.float64)
    while len(kept) < m:
        rows = draw.uniform(0.02, 0.98, 2 * m, e)
        clear = apart(rows) & apart(rows + bias)
        if n_group > 1:
            clear &= apart(two_best((rows + bias).unflatten(-1, (n_group, -1))))
        kept = torch.cat([kept, rows[clear]])
    return {"scores": kept[:m].to(dtype), "bias": bias.to(dtype)}
