"""hw3_mtp, how many tokens a pass of the target gives (arXiv:2211.17192 section 3.1, eq. 1)."""

import math
from collections.abc import Callable

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Speed = Callable[[float, int], float]


def tokens_per_step(acceptance: float, depth: int) -> float:
    return sum(acceptance**j for j in range(depth + 1))


def speed_cases(seed: int) -> list[Case]:
    """The last one accepts everything."""
    drawn = Draw(seed).uniform(0.5, 0.9, 2).tolist()
    return [{"acceptance": a, "depth": depth} for a, depth in zip([*drawn, 1.0], (2, 5, 3), strict=True)]


def named(message: str, *wrongs: Speed) -> list[Misconception]:
    return [Misconception(message, lambda a, depth, wrong=wrong: float(wrong(a, depth))) for wrong in wrongs]


def at_one(value: Callable[[int], float], formula: Speed) -> Speed:
    """A formula with 1 - a below, and what takes its place at a = 1."""
    return lambda a, depth: value(depth) if a == 1 else formula(a, depth)


def not_a_number(depth: int) -> float:
    return math.nan


def infinite(depth: int) -> float:
    return math.inf


def stopped(depth: int) -> float:
    raise ZeroDivisionError


def right_at_one(depth: int) -> float:
    return depth + 1


def counted(a: float, depth: int) -> float:
    return sum(j * a**j for j in range(depth + 1))


def closed(a: float, depth: int) -> float:
    return (1 - a ** (depth + 1)) / (1 - a)


def endless(a: float, depth: int) -> float:
    return 1 / (1 - a)


TOKENS_PER_STEP = Exercise(
    name="tokens_per_step",
    points=1,
    lesson=Section("05_mtp", "How much it gives"),
    reference=tokens_per_step,
    cases=speed_cases,
    mistakes=[
        *named(
            "This matches 1 + a depth: a draft stands only if all before it stand, so the j-th does with a^j.",
            lambda a, depth: 1 + a * depth,
        ),
        *named(
            "This matches the accepted drafts alone: the target's own token comes on top of them, for free.",
            lambda a, depth: tokens_per_step(a, depth) - 1,
            *(at_one(value, lambda a, depth: closed(a, depth) - 1) for value in (stopped, not_a_number)),
        ),
        *named(
            "This matches 1 + a, as if one token were drafted: the j-th of `depth` drafts stands with a^j.",
            lambda a, depth: 1 + a,
        ),
        *named(
            "This matches j a^j, a draft counted as j tokens: those before it have terms of their own, so it adds a^j.",
            lambda a, depth: 1 + counted(a, depth),
            counted,
            lambda a, depth: tokens_per_step(a, depth) + counted(a, depth),
        ),
        *named(
            "This matches a power of 1 + a: terms add up here, a^j for each of the `depth` drafts and 1 for the "
            "target's own token.",
            lambda a, depth: (1 + a) ** depth,
            lambda a, depth: (1 + a) ** (depth + 1),
        ),
        *named(
            "This matches a depth: the target's own token comes on top, and the j-th draft stands with a^j.",
            lambda a, depth: a * depth,
        ),
        *named(
            "This matches (depth + 1) a: the target's own token is certain, and the j-th draft stands with a^j.",
            lambda a, depth: (depth + 1) * a,
        ),
        *named(
            "This matches all or nothing: the drafts before the first refused one are kept too.",
            lambda a, depth: a**depth,
            lambda a, depth: 1 + a**depth,
            lambda a, depth: 1 + depth * a**depth,
            lambda a, depth: depth * a**depth,
            lambda a, depth: (depth + 1) * a**depth,
        ),
        *named(
            "This matches a sum that stops one short: it goes up to a^depth, when the last draft stands too.",
            lambda a, depth: tokens_per_step(a, depth - 1),
            *(at_one(value, lambda a, depth: closed(a, depth - 1)) for value in (stopped, not_a_number, right_at_one)),
        ),
        *named(
            "This matches a sum that goes one too far: it ends with a^depth, when the last draft stands.",
            lambda a, depth: tokens_per_step(a, depth + 1),
            *(at_one(value, lambda a, depth: closed(a, depth + 1)) for value in (stopped, not_a_number, right_at_one)),
        ),
        *named(
            "This matches drafts without end, 1/(1-a): only `depth` of them are drafted.",
            *(at_one(value, endless) for value in (stopped, infinite, not_a_number, right_at_one, lambda depth: depth)),
        ),
        *named(
            "This matches the closed formula, which is 0/0 at a = 1, one of the cases: every draft stands there, so a "
            "pass gives depth + 1 tokens. The sum needs no exception.",
            *(
                at_one(value, closed)
                for value in (stopped, not_a_number, infinite, lambda depth: depth, lambda depth: 0, lambda depth: 1)
            ),
        ),
        *named(
            "This matches outcomes with a refused draft alone: add depth + 1 tokens with a^depth, when all stand.",
            lambda a, depth: sum((j + 1) * a**j * (1 - a) for j in range(depth)),
        ),
        *named(
            "This matches all that is drafted, whether it stands or not: the j-th draft stands with a^j.",
            lambda a, depth: depth + 1,
        ),
        *named(
            "This matches a rounded number: return all digits.",
            *(lambda a, depth, digits=digits: round(tokens_per_step(a, depth), digits) for digits in (0, 1, 2, 3)),
        ),
        *named(
            "This matches passes per token: tokens per pass are its inverse.",
            lambda a, depth: 1 / tokens_per_step(a, depth),
        ),
    ],
)
