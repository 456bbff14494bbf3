"""Points by distance, for a number that cannot be computed exactly from its case."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_lib.exercises.comparing import difference, number

MOST = 100  # nats; a larger number cannot be a loss
ALIKE = 1e-3  # between two fits of the same wrong law, found by different optimisers


@dataclass(frozen=True)
class Closeness:
    """The worst case decides, so that luck in one of them earns nothing."""

    truths: Callable[[int], list[float]]  # seed to what is right in each case, above 0
    guesses: Callable[
        [dict[str, Any]], dict[str, float]
    ]  # guesses that need no insight, by name; the nearest of them earns nothing
    full: float = 0.01  # relative error up to which all points are earned

    def judge(
        self, answers: list[Any], truths: list[float], cases: list[dict[str, Any]], *, discreet: bool = False
    ) -> tuple[float, str]:
        """Share of the points, from 0 to 1, and what to say; if `discreet`, nothing of answers and truths."""
        judged = []
        for which, (answer, truth, case) in enumerate(zip(answers, truths, cases, strict=True), 1):
            share, said = self._judge_one(answer, truth, case, discreet)
            judged.append((share, f"Case {which} of {len(cases)}{said}"))
        share, message = min(judged, key=lambda each: each[0])
        if share == 1:
            message = f"Right, within {self.full:.0%} of the truth on all {len(cases)} cases."
        return share, message

    def alike(self, answer: Any, other: Any) -> bool:
        a, b = number(answer), number(other)
        return a is not None and b is not None and abs(a - b) <= ALIKE * abs(b)

    def _judge_one(self, answer: Any, truth: float, case: dict[str, Any], discreet: bool) -> tuple[float, str]:
        got = number(answer)
        if discreet and (got is None or not 0 < got < MOST):
            return 0, ": expected a loss in nats, a number above 0."
        if got is None:
            return 0, f": {difference(answer, truth)}"
        if not 0 < got < MOST:
            why = (
                "a logarithm of a negative number, or a fit that went astray?"
                if got != got
                else "is it another number?"
            )
            return 0, f": expected a loss in nats, got {got:.5g}: {why}"
        error = abs(got / truth - 1)
        guess, end = min(
            ((name, abs(value / truth - 1)) for name, value in self.guesses(case).items()), key=lambda each: each[1]
        )
        side = "high" if got > truth else "low"
        values = "" if discreet else f"expected {truth:.5g}, got {got:.5g}, "
        said = (
            f" is the furthest off: {values}{error:.1%} too {side}. "
            f"Within {self.full:.0%} earns all points; {end:.1%} off, as {guess} is, earns none."
        )
        if error <= self.full:
            return 1, said
        return (end - error) / (end - self.full) if error < end else 0, said
