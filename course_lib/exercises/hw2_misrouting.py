"""hw2_moe, the ways in which tokens are misrouted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.engine import Exercise, Misconception, Section
from course_lib.exercises.hw2_routing import (
    Routes,
    by_expert,
    normalised,
    refused_cases,
    route,
    route_cases,
    two_best,
)


@dataclass
class Chosen:
    """What gates can be made from, so that each mistake reads as one line."""

    scores: Tensor
    biased: Tensor
    is_open: Tensor
    indices: Tensor
    scale: float

    @property
    def top_k(self) -> int:
        return self.indices.shape[-1]

    def of(self, values: Tensor) -> Tensor:
        return values.gather(-1, self.indices)


def right_gates(chosen: Chosen) -> Tensor:
    return chosen.scale * normalised(chosen.of(chosen.scores))


def routed(
    experts_by: Callable[[Tensor, Tensor], Tensor] = torch.add,
    groups_by: Callable[[Tensor, Tensor], Tensor] = torch.add,
    worth: Callable[[Tensor, int], Tensor] = lambda grouped, each: two_best(grouped),
    closed: float = -torch.inf,
    gates: Callable[[Chosen], Tensor] = right_gates,
    names: Callable[[Chosen, int], Tensor] = lambda chosen, size: chosen.indices,
) -> Callable[..., Routes]:
    """A wrong route. `worth` makes a group's score and is told how many experts each open group would give."""

    def wrong(
        scores: Tensor, bias: Tensor, top_k: int, n_group: int = 1, topk_group: int = 1, scale: float = 1.0
    ) -> Routes:
        by, is_open = experts_by(scores, bias), torch.ones_like(scores, dtype=torch.bool)
        size = scores.shape[-1] // n_group
        if n_group > 1:
            score = worth(groups_by(scores, bias).unflatten(-1, (n_group, size)), max(top_k // topk_group, 1))
            best = score.topk(topk_group).indices
            is_open = torch.zeros_like(score, dtype=torch.bool).scatter(1, best, True).repeat_interleave(size, 1)
        indices = by.masked_fill(~is_open, closed).topk(top_k).indices
        chosen = Chosen(scores, scores + bias, is_open, indices, scale)
        return names(chosen, size), gates(chosen)

    return wrong


def without_groups(scores: Tensor, bias: Tensor, top_k: int, n: int = 1, g: int = 1, scale: float = 1.0) -> Routes:
    return route(scores, bias, top_k, 1, 1, scale)


def strided_groups(scores: Tensor, bias: Tensor, top_k: int, n: int = 1, g: int = 1, scale: float = 1.0) -> Routes:
    """Expert i in group i mod n."""
    order = torch.arange(scores.shape[-1]).view(-1, n).mT.flatten()
    indices, weights = route(scores[:, order], bias[order], top_k, n, g, scale)
    return order[indices], weights


def mixed_layout(strided_scores: bool) -> Callable[..., Routes]:
    """Groups of neighbours and groups of every n-th expert: one for the scores of groups, the other for the mask."""

    def wrong(
        scores: Tensor, bias: Tensor, top_k: int, n_group: int = 1, topk_group: int = 1, scale: float = 1.0
    ) -> Routes:
        biased, size = scores + bias, scores.shape[-1] // n_group
        if n_group > 1:
            grouped = (
                biased.unflatten(-1, (size, n_group)).mT if strided_scores else biased.unflatten(-1, (n_group, size))
            )
            best = two_best(grouped).topk(topk_group).indices
            is_open = torch.zeros(len(scores), n_group, dtype=torch.bool).scatter(1, best, True)
            is_open = is_open.repeat_interleave(size, 1) if strided_scores else is_open.repeat(1, size)
            biased = biased.masked_fill(~is_open, -torch.inf)
        indices = biased.topk(top_k).indices
        return indices, scale * normalised(scores.gather(-1, indices))

    return wrong


def open_closed(
    scores: Tensor, bias: Tensor, top_k: int, n_group: int = 1, topk_group: int = 1, scale: float = 1.0
) -> Routes:
    """The best groups are closed, and the others open."""
    by, chosen = scores + bias, torch.zeros_like(scores, dtype=torch.bool)
    if n_group > 1:
        grouped = by.unflatten(-1, (n_group, -1))
        best = two_best(grouped).topk(topk_group).indices
        chosen = torch.zeros(best.shape[0], n_group, dtype=torch.bool).scatter(1, best, True)
        chosen = chosen.repeat_interleave(grouped.shape[-1], 1)
    indices = by.masked_fill(chosen, -torch.inf).topk(top_k).indices
    return indices, scale * normalised(scores.gather(-1, indices))


def bias_for_groups_alone(scores: Tensor, bias: Tensor, top_k: int, n: int = 1, *rest: Any) -> Routes:
    """Within the open groups by bare scores; where there are no groups, rightly."""
    bare = routed(experts_by=lambda scores, bias: scores)
    return (bare if n > 1 else route)(scores, bias, top_k, n, *rest)


def swapped(*arguments: Any) -> Routes:
    return by_expert(route(*arguments)[::-1])


def written_out(*arguments: Any) -> Routes:
    """Weights in the places of their experts, 0 elsewhere."""
    indices, weights = route(*arguments)
    return indices, torch.zeros_like(arguments[0]).scatter(-1, indices, weights)


def gated(message: str, *makers: Callable[[Chosen], Tensor], lesson: Section | None = None) -> list[Misconception]:
    return [Misconception(message, routed(gates=make), lesson) for make in makers]


GROUPS = Section("03_moe_routing", "Groups: do not visit every machine")
FOUR_WAYS = Section("03_moe_routing", "Four ways to get it wrong")

ROUTE = Exercise(
    name="route",
    points=5,
    lesson=Section("03_moe_routing", "Routing by hand"),
    reference=route,
    cases=route_cases,
    parts=("indices", "weights"),
    note="Any order is right: `check` has sorted both answers by index.",
    canonical=by_expert,
    refused=refused_cases,
    mistakes=[
        *gated(
            "This matches adding the bias to the gate: the bias chooses experts, it does not weigh them.",
            lambda c: c.scale * normalised(c.of(c.biased)),
            lambda c: c.scale * c.of(c.biased),
            lambda c: c.of(c.biased),
            lambda c: c.scale * normalised(c.of(c.biased.sigmoid())),
            lambda c: c.scale * c.of(c.biased).softmax(-1),
            lesson=FOUR_WAYS,
        ),
        Misconception(
            "This matches ignoring the bias: experts and groups are chosen by score + bias.",
            routed(experts_by=lambda scores, bias: scores, groups_by=lambda scores, bias: scores),
            FOUR_WAYS,
        ),
        Misconception(
            "This matches subtracting the bias: an expert with too little work has a higher one, so add it.",
            routed(experts_by=torch.sub, groups_by=torch.sub),
            FOUR_WAYS,
        ),
        Misconception(
            "This matches groups chosen without the bias: a group's score is made of biased scores too.",
            routed(groups_by=lambda scores, bias: scores),
            GROUPS,
        ),
        Misconception(
            "This matches the bias for groups alone: within the open groups it chooses the experts too.",
            routed(experts_by=lambda scores, bias: scores),
            GROUPS,
        ),
        Misconception(
            "This matches experts chosen by their scores within the open groups: there, too, score + bias chooses.",
            bias_for_groups_alone,
        ),
        Misconception(
            "This matches open and closed exchanged: -inf belongs to groups that are not among the topk_group best.",
            open_closed,
            GROUPS,
        ),
        Misconception("This matches the two answers exchanged: first the indices, then the weights.", swapped),
        Misconception(
            "This matches weights for all e experts, 0 where one is not chosen: return those of the chosen alone, "
            "m k, in the order of their indices.",
            written_out,
        ),
        Misconception(
            "This matches a group judged by its best expert: add its two best biased scores.",
            routed(worth=lambda grouped, each: grouped.amax(-1)),
            GROUPS,
        ),
        Misconception(
            "This matches a group judged by all its experts: add its two best biased scores only.",
            routed(worth=lambda grouped, each: grouped.sum(-1)),
            GROUPS,
        ),
        Misconception(
            "This matches a group judged by its best top_k / topk_group, as the report writes it: add its two best, "
            "as the released code does.",
            routed(worth=lambda grouped, each: grouped.topk(min(each, grouped.shape[-1])).values.sum(-1)),
            GROUPS,
        ),
        Misconception(
            "This matches closed groups masked with 0: biased scores may lie below 0, and then a closed expert wins. "
            "Mask with -inf.",
            routed(closed=0.0),
            FOUR_WAYS,
        ),
        Misconception(
            "This matches no groups at all: only experts of the topk_group best groups are open.",
            without_groups,
            GROUPS,
        ),
        Misconception(
            "This matches groups of every n_group-th expert: neighbours form a group, the first e / n_group the first.",
            strided_groups,
            GROUPS,
        ),
        *(
            Misconception(
                "This matches groups laid out in one way for their scores and in another for their experts: neighbours "
                "form a group in both.",
                mixed_layout(strided_scores),
                GROUPS,
            )
            for strided_scores in (True, False)
        ),
        *gated(
            "This matches gates normalised over all experts: divide by the sum over the chosen ones.",
            lambda c: c.scale * c.of(normalised(c.scores)),
            lambda c: c.scale * c.of(c.scores.softmax(-1)),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates normalised over the open groups: divide by the sum over the chosen experts.",
            lambda c: c.scale * c.of(normalised(c.scores * c.is_open)),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates divided by the sum of biased scores: the bias chooses, it enters no gate.",
            lambda c: c.scale * c.of(c.scores) / c.of(c.biased).sum(-1, keepdim=True),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates divided by a sum over the tokens: each token divides by the sum over its own experts.",
            lambda c: c.scale * c.of(c.scores) / c.of(c.scores).sum(0, keepdim=True),
        ),
        *gated(
            "This matches gates without the scale: multiply by it after they are normalised, or it cancels out.",
            lambda c: normalised(c.of(c.scores)),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates that are not normalised: divide by the sum of the chosen scores, then scale.",
            lambda c: c.scale * c.of(c.scores),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates that are either normalised or scaled: normalise, then scale, whatever top_k is (the "
            "code released with V2 has such an `else`).",
            lambda c: normalised(c.of(c.scores)) if c.top_k > 1 else c.scale * c.of(c.scores),
            lesson=FOUR_WAYS,
        ),
        *gated(
            "This matches gates that are normalised only if top_k > 1, as in the released code: one chosen expert has "
            "the gate `scale`.",
            lambda c: c.scale * (normalised(c.of(c.scores)) if c.top_k > 1 else c.of(c.scores)),
        ),
        *gated(
            "This matches bare scores for gates: divide them by their sum over the chosen, then multiply by the scale.",
            lambda c: c.of(c.scores),
        ),
        *gated(
            "This matches a softmax over the chosen scores: they are affinities already, so divide by their sum.",
            lambda c: c.scale * c.of(c.scores).softmax(-1),
        ),
        *gated(
            "This matches a second sigmoid: the scores given are affinities already.",
            lambda c: c.scale * normalised(c.of(c.scores.sigmoid())),
        ),
        *gated(
            "This matches the right gates in another order than their experts: weights[i, j] belongs to indices[i, j].",
            lambda c: right_gates(c).sort(-1, descending=True).values,
            lambda c: right_gates(c).sort(-1).values,
        ),
        *gated(
            "This matches the weights of the best scores: gather the scores at the indices chosen with the bias.",
            lambda c: c.scale * normalised(c.scores.topk(c.indices.shape[-1]).values),
            lambda c: c.scale * normalised((c.scores * c.is_open).topk(c.indices.shape[-1]).values),
        ),
        *(
            Misconception("This matches indices counted within a group: an index is the expert's place among all e.", m)
            for m in (
                routed(names=lambda c, size: c.indices % size),
                routed(names=lambda c, size: c.of(c.is_open.cumsum(-1) - 1)),
            )
        ),
    ],
)
