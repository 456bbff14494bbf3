"""hw3_mtp, drafted tokens verified greedily: what comes out is what the target would have written alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def verify_greedy(draft: Tensor, target_logits: Tensor) -> Tensor:
    own = target_logits.argmax(-1)
    agreed = (draft == own[:-1]).cumprod(0).sum()  # a 0 stays a 0, so this counts up to the first mismatch
    return own[: agreed + 1]


def greedy_cases(seed: int) -> list[Case]:
    """One letter for each drafted token, and how sure the target is of its own token there.

    A, R: the target is sure (0.97); it agrees, or refuses its last choice.
    a: it agrees, though no token has more than 0.2. r: it refuses its second choice (0.4, with 0.56 for its own).
    """
    draw = Draw(seed)
    return [greedy_case(draw, letters) for letters in ("ArAaA", "RaA", "aAaA", "", "aAr", "R")]


def greedy_case(draw: Draw, letters: str) -> Case:
    """The target's own tokens are all different, and a refused one is none of them."""
    z, k = 11, len(letters)
    own, others = draw.order(z).split([k + 1, z - k - 1])
    draft = torch.tensor(
        [mine if letter in "Aa" else other for mine, other, letter in zip(own, others, letters, strict=False)]
    )
    logits = draw.uniform(0, 0.2, k + 1, z)
    for row, letter in enumerate(letters + "A"):  # after the draft comes one row more
        logits[row, own[row]] += {"A": 6.0, "R": 6.0, "a": 0.6, "r": 5.0}[letter]
        if letter in "Rr":
            logits[row, others[row]] += {"R": -1.0, "r": 4.6}[letter]
    shifts = draw.normal(k + 1, 1)
    return {"draft": draft.long(), "target_logits": logits + shifts}


@dataclass
class Check:
    """What a verification works with, so that each mistake reads as one line."""

    draft: Tensor
    logits: Tensor

    def __post_init__(self) -> None:
        self.k, self.own = len(self.draft), self.logits.argmax(-1)
        self.agrees = self.draft == self.own[:-1]
        self.kept = first_stop(self.agrees)
        self.late = first_stop(self.draft == self.own[1:])  # judged one row too late
        self.probs = self.logits.softmax(-1)
        self.of_draft = self.probs[:-1].gather(-1, self.draft[:, None])[:, 0]

    def then_own(self, stands: Tensor) -> Tensor:
        """Drafted tokens as far as they stand, then the target's own."""
        kept = first_stop(stands)
        return torch.cat([self.draft[:kept], self.own[kept : kept + 1]])

    def by_columns(self) -> Tensor:
        """The right rule with the numbers of rows taken for tokens."""
        rows = self.logits.argmax(0)
        kept = first_stop(self.draft == rows[: self.k])
        return torch.cat([self.draft[:kept], rows[kept][None]])

    def among_best(self, best: int) -> Tensor:
        return (self.logits[:-1].topk(best).indices == self.draft[:, None]).any(-1)


def first_stop(stands: Tensor) -> int:
    return int(stands.cumprod(0).sum())


def unset() -> Tensor:
    """What Python does where a name has no value yet."""
    raise UnboundLocalError


def checked(make: Callable[[Check], Tensor | int]) -> Callable[[Tensor, Tensor], Tensor | int]:
    return lambda draft, logits: make(Check(draft, logits))


def many(message: str, *makers: Callable[[Check], Tensor | int]) -> list[Misconception]:
    return [Misconception(message, checked(make)) for make in makers]


VERIFY_GREEDY = Exercise(
    name="verify_greedy",
    points=4,
    lesson=Section("05_mtp", "Drafts that are checked"),
    reference=verify_greedy,
    cases=greedy_cases,
    mistakes=[
        *many(
            "This matches accepting past the first mismatch: what was drafted after a refused token followed another "
            "text, so stop there.",
            lambda c: c.own,
            lambda c: c.own[: c.agrees.sum() + 1],
            lambda c: torch.cat([c.draft[: c.agrees.sum()], c.own[c.agrees.sum()][None]]),
            lambda c: torch.cat([c.draft[c.agrees], c.own[c.kept][None]]),
            lambda c: torch.cat([c.draft[c.agrees], c.own[-1:]]),
            lambda c: torch.cat([c.draft[: c.agrees.sum()], c.own[-1:]]),
            lambda c: torch.cat([c.draft[: c.agrees.sum()], c.own[c.kept][None]]),
            lambda c: c.draft[c.agrees],
            lambda c: c.draft[: c.agrees.sum()],
        ),
        *many(
            "This matches the accepted tokens alone, without a bonus: after them comes the target's own next token.",
            lambda c: c.draft[: c.kept],
            lambda c: c.draft[: c.kept] if c.k else c.own,
        ),
        *many(
            "This matches a bonus only when all are accepted: the target's own token also replaces a refused one.",
            lambda c: c.own if c.agrees.all() else c.draft[: c.kept],
        ),
        *many(
            "This matches no bonus when all are accepted: the last row gives one token more.",
            lambda c: c.own[: c.kept + 1][: c.k],
            lambda c: c.own[: c.kept + 1][: max(c.k, 1)],
            lambda c: torch.stack(list(c.own[: c.kept + 1][: c.k])),
        ),
        *many(
            "This matches looking for a first mismatch where there is none: when all stand, or nothing is drafted, "
            "keep the whole draft.",
            lambda c: c.own[: c.kept % max(c.k, 1) + 1],
            lambda c: c.own[: c.agrees.int().argmin() + 1],
            lambda c: c.own[: (~c.agrees).nonzero()[0] + 1],
            lambda c: c.own[: c.agrees.tolist().index(False) + 1],
        ),
        *many(
            "This matches a count that only a mismatch sets, or only the loop: it is k when all stand, and 0 when "
            "nothing is drafted.",
            lambda c: unset() if c.agrees.all() else c.own[: c.kept + 1],
            lambda c: c.own[: min(c.kept, c.k - 1) + 1] if c.k else unset(),
        ),
        *many(
            "This matches the best row of each token, argmax over axis 0: the best token of each row is wanted, argmax "
            "over the last axis.",
            lambda c: c.by_columns(),
        ),
        *many(
            "This matches the whole draft plus the last row's token: keep the draft up to the first mismatch only.",
            lambda c: torch.cat([c.draft, c.own[-1:]]),
        ),
        *many(
            "This matches the whole draft plus one token: keep the draft up to the first mismatch only.",
            lambda c: torch.cat([c.draft, c.own[c.kept][None]]),
        ),
        *many("This matches the draft as it is: keep it up to the first mismatch only.", lambda c: c.draft),
        *many(
            "This matches the last row's token after the accepted ones: take that of the row where the draft stopped, "
            "since the last row has read refused tokens.",
            lambda c: torch.cat([c.draft[: c.kept], c.own[-1:]]),
        ),
        *many(
            "This matches the token of one row too early: row j is what the target says after j drafted tokens.",
            lambda c: torch.cat([c.draft[: c.kept], c.own[c.kept - 1][None]]),
            lambda c: torch.cat([c.draft[: c.kept], c.own[max(c.kept - 1, 0)][None]]),
        ),
        *many(
            "This matches the token of one row too late: that row has read the refused token.",
            lambda c: torch.cat([c.draft[: c.kept], c.own[min(c.kept + 1, c.k)][None]]),
        ),
        *many(
            "This matches keeping tokens while the target is sure of itself, or finds them likely enough: its first "
            "choice is accepted, however unsure, and nothing else.",
            *(lambda c, bar=bar: c.then_own(c.probs[:-1].amax(-1) > bar) for bar in (0.5, 0.9)),
            *(lambda c, bar=bar: c.then_own(c.of_draft > bar) for bar in (0.5, 0.3, 0.1)),
            *(lambda c, bar=bar: c.then_own(c.agrees & (c.of_draft > bar)) for bar in (0.5, 0.9)),
            *(lambda c, part=part: c.then_own(c.of_draft >= part * c.probs[:-1].amax(-1)) for part in (0.5, 0.3, 0.1)),
            *(lambda c, best=best: c.then_own(c.among_best(best)) for best in (2, 3, 5)),
        ),
        *many(
            "This matches draft j against row j+1: row j has read draft[:j] and so judges draft j.",
            lambda c: torch.cat([c.draft[: c.late], c.own[c.late][None]]),
            lambda c: torch.cat([c.draft[: c.late], c.own[min(c.late + 1, c.k)][None]]),
        ),
        *many(
            "This matches the refused token kept: the target's own comes in its place.",
            lambda c: c.draft[: c.kept + 1] if c.k > c.kept else c.own,
            lambda c: torch.cat([c.draft[: c.kept + 1], c.own[c.kept][None]]),
            lambda c: torch.cat([c.draft[: c.kept + 1], c.own[-1:]]),
            lambda c: torch.cat([c.draft[: c.kept + 1], c.own[c.kept + 1 : c.kept + 2]]),
            lambda c: torch.cat([c.draft[: c.kept + 1], c.own[min(c.kept + 1, c.k)][None]]),
            lambda c: c.draft[: c.kept + 1],
        ),
        *many(
            "This matches a count: the tokens themselves are asked for.",
            lambda c: c.kept,
            lambda c: c.kept + 1,
        ),
        *many(
            "This matches the target's own token alone: the accepted tokens come before it.",
            lambda c: c.own[c.kept][None],
            lambda c: c.own[c.kept],
        ),
        *many(
            "This matches all or nothing: the tokens before the first mismatch are accepted.",
            lambda c: c.own if c.agrees.all() else c.own[:1],
        ),
        *many(
            "This matches nothing after an empty draft: the target still gives the one token of its own.",
            lambda c: c.own[: c.kept + 1] if c.k else c.draft,
        ),
    ],
)
