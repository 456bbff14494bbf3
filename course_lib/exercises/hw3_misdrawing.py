"""hw3_mtp, the ways in which the last token of a verification is drawn wrongly."""

import torch
from torch import Tensor

from course_lib.exercises.engine import Misconception
from course_lib.exercises.hw3_steps import best, draw, drawing, first_above, in_order, refusing, sampled


def as_they_are(weights: Tensor, u: Tensor) -> Tensor:
    """From weights that are not divided by their sum."""
    return first_above(weights.cumsum(0), u)


NEGATIVE = "This matches p - q with its negative values: a token that q has too often gets 0 in the residual."
BONUS_EARLY = "This matches a bonus token from a row too early: the target's last row has read the whole draft."
CERTAIN = "This matches taking the likeliest token: the last uniform draws it, or the distribution is not the target's."
ANOTHER_UNIFORM = "This matches a draw with another uniform: u_k, the last, makes it, wherever the draft stopped."

MISDRAWN = [
    *refusing(
        "This matches a refused token drawn anew from p: the draft has already contributed min(p, q), so draw "
        "from the residual max(p - q, 0), normalised.",
        lambda s, j: s.p[j],
    ),
    *refusing(
        "This matches a refused token drawn anew from q: draw from the residual max(p - q, 0), normalised.",
        lambda s, j: s.q[j],
    ),
    Misconception(
        "This matches a residual that is not normalised: its sum is below 1, so divide by it before comparing with u.",
        sampled(draws_refused=as_they_are),
    ),
    *refusing(
        "This matches a softmax over the residual: it is made of probabilities, so divide it by its sum.",
        lambda s, j: s.residual(j).softmax(-1),
        lambda s, j: (s.p[j] - s.q[j]).softmax(-1),
    ),
    *refusing(NEGATIVE, lambda s, j: s.p[j] - s.q[j]),
    Misconception(NEGATIVE, sampled(refused=lambda s, j: s.p[j] - s.q[j], draws_refused=as_they_are)),
    *refusing(
        "This matches the distance |p - q|. Keep only the positive part of p - q.",
        lambda s, j: (s.p[j] - s.q[j]).abs(),
    ),
    *refusing(
        "This matches the residual the wrong way round, q - p: the target's missing share is max(p - q, 0).",
        lambda s, j: (s.q[j] - s.p[j]).clamp(min=0),
    ),
    *refusing(
        "This matches what p and q have in common: the residual is what p has above q.",
        lambda s, j: torch.minimum(s.p[j], s.q[j]),
    ),
    *refusing(
        "This matches p without the refused token: the residual takes q from p at every token.",
        lambda s, j: s.p[j].index_fill(0, s.draft[j], 0),
    ),
    *refusing(
        "This matches the last row after a refusal too, which has read the refused token: draw from the residual of "
        "the row where the draft stopped.",
        lambda s, j: s.p[-1],
        lambda s, j: (s.p[-1] - s.q[-1]).clamp(min=0),
        lambda s, j: (s.p[-1] - s.q[j]).clamp(min=0),
    ),
    *refusing(
        "This matches a row too far after a refusal: draw from the residual of the row where the draft stopped.",
        lambda s, j: s.p[j + 1],
        lambda s, j: (s.p[j + 1] - s.q[j]).clamp(min=0),
    ),
    Misconception(
        "This matches a bonus token from the draft's distribution: the target's last row gives it.",
        sampled(after_all=lambda s: s.q[-1] if s.k else s.p[-1]),
    ),
    Misconception(BONUS_EARLY, sampled(after_all=lambda s: s.p[-2] if s.k else s.p[-1])),
    Misconception(BONUS_EARLY, sampled(after_all=lambda s: s.p[0])),
    *(
        Misconception(
            "This matches a bonus token from a residual: where nothing was refused, the target's last row counts as "
            "it is.",
            sampled(after_all=after_all),
        )
        for after_all in (
            lambda s: (s.p[-1] - s.q[-1]).clamp(min=0) if s.k else s.p[-1],
            lambda s: (s.p[-2] - s.q[-1]).clamp(min=0) if s.k else s.p[-1],
            lambda s: (s.p[-1] - s.q[-1]).clamp(min=0),
            lambda s: (s.p[-2] - s.q[-1]).clamp(min=0),
            lambda s: (s.p[s.k] - s.q[s.k]).clamp(min=0),
        )
    ),
    *drawing(CERTAIN, best),
    Misconception(CERTAIN, sampled(draws_refused=best)),
    Misconception(CERTAIN, sampled(draws=best, draws_refused=draw)),
    *(
        Misconception(ANOTHER_UNIFORM, sampled(uniform=uniform))
        for uniform in (
            lambda s, kept: s.u[kept],
            lambda s, kept: s.u[min(kept + 1, s.k)],
            lambda s, kept: s.u[0],
        )
    ),
    *drawing(
        "This matches a CDF that may equal u: the smallest token whose CDF exceeds u is wanted, or u = 0 could draw a "
        "token that has no chance.",
        lambda weights, u: torch.searchsorted(weights.cumsum(0) / weights.sum(), u[None]),
    ),
    *drawing(
        "This matches the token before the one that is wanted: take the smallest whose CDF exceeds u.",
        lambda weights, u: draw(weights, u) - 1,
        lambda weights, u: (draw(weights, u) - 1).clamp(min=0),
    ),
    *drawing(
        "This matches the token after the one that is wanted: take the smallest whose CDF exceeds u.",
        lambda weights, u: draw(weights, u) + 1,
        lambda weights, u: (draw(weights, u) + 1).clamp(max=len(weights) - 1),
    ),
    *drawing(
        "This matches a CDF that adds up in another order: it goes from token 0 on.",
        in_order(descending=True),
        in_order(descending=False),
        lambda weights, u: len(weights) - 1 - draw(weights.flip(0), u),
        lambda weights, u: draw(weights, 1 - u),
        lambda weights, u: torch.searchsorted(weights.cumsum(0) / weights.sum(), 1 - u[None], right=True),
        lambda weights, u: torch.searchsorted(weights.cumsum(0) / weights.sum(), 1 - u[None]),
        lambda weights, u: (weights.cumsum(0) > (1 - u) * weights.sum()).nonzero()[0],
    ),
]
