"""hw3_mtp, the ways in which a verification loses the target's distribution."""

import torch
from torch import Tensor

from course_lib.exercises.engine import Exercise, Misconception, Section
from course_lib.exercises.hw3_greedy import unset
from course_lib.exercises.hw3_misdrawing import MISDRAWN
from course_lib.exercises.hw3_sampling import sampling_cases, verify_sampled
from course_lib.exercises.hw3_steps import Step, accepting, best, draw, joining, sampled


def replaced(step: Step) -> Tensor:
    """Each refused token replaced where it stands."""
    tokens = [
        token[None] if stands else draw(step.residual(j), step.u[-1])
        for j, (token, stands) in enumerate(zip(step.draft, step.right, strict=True))
    ]
    return torch.cat([step.draft[:0], *tokens])


def bonus(step: Step) -> Tensor:
    return draw(step.p[-1], step.u[-1])


P_ABOVE_Q = "This matches accepting if p > q only: where p < q a token still stands with probability p/q, if u q < p."
LIKELIEST = (
    "This matches accepting the target's likeliest token alone, as greedy verification does: the rule is u q < p."
)
NO_TOKEN = "This matches nothing drawn {}: every verification ends with one token drawn with the last uniform."

VERIFY_SAMPLED = Exercise(
    name="verify_sampled",
    points=5,
    lesson=Section("05_mtp", "When tokens are drawn"),
    reference=verify_sampled,
    cases=sampling_cases,
    note="The last uniform makes the draw, so one of your own, as with torch.multinomial, cannot match.",
    mistakes=[
        *accepting(P_ABOVE_Q, lambda s: s.of_p > s.of_q, lambda s: s.of_p >= s.of_q),
        Misconception(P_ABOVE_Q, sampled(lambda s: s.of_p > s.of_q, refused=lambda s, j: s.p[j])),
        *MISDRAWN,
        *accepting(
            "This matches accepting if u < p: the draft drew the token with q already, so the rule is u q < p.",
            lambda s: s.u[:-1] < s.of_p,
        ),
        *accepting("This matches accepting if u < q: the rule is u q < p.", lambda s: s.u[:-1] < s.of_q),
        *accepting(
            "This matches the ratio upside down, u < q/p: the rule is u < p/q, that is u q < p.",
            lambda s: s.u[:-1] * s.of_p < s.of_q,
        ),
        *accepting(
            "This matches accepting where it should refuse: a token stands if u q < p.",
            lambda s: ~s.right,
            lambda s: s.u[:-1] * s.of_q > s.of_p,
        ),
        *accepting(
            "This matches accepting at u q = p too: u can be 0, and then a token with p = 0 would stand.",
            lambda s: s.u[:-1] * s.of_q <= s.of_p,
        ),
        *accepting("This matches 1 - u for u: the rule is u q < p.", lambda s: (1 - s.u[:-1]) * s.of_q < s.of_p),
        *accepting(LIKELIEST, lambda s: s.draft == s.p[:-1].argmax(-1)),
        *(
            Misconception(LIKELIEST, sampled(lambda s: s.draft == s.p[:-1].argmax(-1), lambda s, j: s.p[j], draws=each))
            for each in (draw, best)
        ),
        *accepting(
            "This matches accepting by a fixed bar: whether p is large is not the question, the rule is u q < p.",
            *(lambda s, bar=bar: s.of_p > bar for bar in (0.5, 0.3, 0.1)),
        ),
        *accepting(
            "This matches accepting every draft: a token stands only if u q < p.",
            lambda s: torch.ones_like(s.right),
        ),
        *accepting(
            "This matches accepting no draft: a token stands if u q < p.",
            lambda s: torch.zeros_like(s.right),
        ),
        *accepting(
            "This matches draft j judged by row j+1 of the target, which has read that draft: row j judges it.",
            lambda s: s.u[:-1] * s.of_q < s.of_draft(s.p[1:]),
        ),
        *accepting(
            "This matches one uniform for all drafts: u_j judges draft j.",
            lambda s: s.u[0] * s.of_q < s.of_p,
            lambda s: s.u[-1] * s.of_q < s.of_p,
        ),
        *(
            Misconception(
                "This matches u_(j+1) for draft j: u_j judges draft j, and the last draws.",
                sampled(lambda s: s.u[1:] * s.of_q < s.of_p, uniform=lambda s, kept, which=which: s.u[which]),
            )
            for which in (0, -1)
        ),
        *accepting(
            "This matches ratios multiplied along the draft: each token is judged by its own p/q.",
            lambda s: s.u[:-1] < (s.of_p / s.of_q).clamp(max=1).cumprod(0),
            lambda s: s.u[:-1] < (s.of_p / s.of_q).cumprod(0),
        ),
        *joining(
            "This matches going on after a refusal: later drafts followed a token that is gone, so stop at the first "
            "refused.",
            lambda s, kept, new: torch.cat([replaced(s), bonus(s)]),
            lambda s, kept, new: replaced(s) if kept < s.k else torch.cat([s.draft, new]),
            lambda s, kept, new: torch.cat([s.draft[s.right], new]),
            lambda s, kept, new: torch.cat([s.draft[s.right], bonus(s)]),
            lambda s, kept, new: torch.cat([s.draft[: s.right.sum()], new]),
        ),
        *joining(
            "This matches the refused token kept: the one drawn from the residual comes in its place.",
            lambda s, kept, new: torch.cat([s.draft[: kept + 1], new]),
            lambda s, kept, new: s.draft[: kept + 1] if kept < s.k else torch.cat([s.draft, new]),
        ),
        *joining(
            "This matches a second token drawn after a refusal: one is drawn, from the residual, and there it ends.",
            lambda s, kept, new: (
                torch.cat([s.draft[:kept], new, bonus(s)]) if kept < s.k else torch.cat([s.draft, new])
            ),
        ),
        *joining(
            "This matches probabilities that only a refusal sets: when all stand, or nothing is drafted, the last row "
            "of the target gives them.",
            lambda s, kept, new: torch.cat([s.draft[:kept], new]) if kept < s.k else unset(),
        ),
        *joining(
            "This matches the whole draft plus one token: keep the draft up to the first refused only.",
            lambda s, kept, new: torch.cat([s.draft, new]),
        ),
        *joining(
            NO_TOKEN.format("at all"),
            lambda s, kept, new: s.draft[:kept],
            lambda s, kept, new: s.draft[:kept] if s.k else new,
        ),
        *joining(
            NO_TOKEN.format("after a refusal"),
            lambda s, kept, new: torch.cat([s.draft[:kept], new[: kept == s.k]]),
        ),
        *joining(
            NO_TOKEN.format("when all are accepted"),
            lambda s, kept, new: torch.cat([s.draft[:kept], new[: kept < s.k]]),
            lambda s, kept, new: torch.cat([s.draft[:kept], new[: kept < s.k or not s.k]]),
        ),
        *joining(
            NO_TOKEN.format("after an empty draft"),
            lambda s, kept, new: torch.cat([s.draft[:kept], new[: s.k]]),
        ),
        *joining(
            "This matches a count: the tokens themselves are asked for.",
            lambda s, kept, new: kept,
            lambda s, kept, new: kept + 1,
        ),
        *joining(
            "This matches the drawn token alone: the accepted ones come before it.",
            lambda s, kept, new: new,
            lambda s, kept, new: new[0],
        ),
    ],
)
