"""One exercise: what is asked, on which cases, and which mistakes have a name."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from course_lib.exercises.comparing import changed, difference, same
from course_lib.exercises.counting import matrix_flops

Case = dict[str, Any]  # arguments by name
Function = Callable[..., Any]


@dataclass(frozen=True)
class Misconception:
    """A wrong implementation that people really write, and what to tell them."""

    message: str
    wrong: Function


@dataclass(frozen=True)
class Structure:
    """Work that values cannot show: matrix products counted while one case runs."""

    case: Callable[[int], Case]
    flops: Callable[[Case], int]  # what the exercise's own formula needs
    advice: str
    misconceptions: Sequence[Misconception]
    share: float = 0.4  # of the points; values earn the rest
    slack: float = 1.1


@dataclass(frozen=True)
class Outcome:
    points: float
    of: float
    message: str

    @property
    def solved(self) -> bool:
        return self.points == self.of

    def __str__(self) -> str:
        return f"{'✓' if self.solved else '✗'} {self.points:g} of {self.of:g} points. {self.message}"


@dataclass(frozen=True)
class Exercise:
    name: str
    points: float
    reference: Function
    cases: Callable[[int], list[Case]]  # seed to cases
    mistakes: Sequence[Misconception]
    parts: tuple[str, ...] = ()  # names of the answers, where there are several
    structure: Structure | None = None

    @property
    def misconceptions(self) -> list[Misconception]:
        return [*self.mistakes, *(self.structure.misconceptions if self.structure else ())]

    def grade(self, fn: Function, seed: int = 0) -> Outcome:
        """Judge `fn` on the cases of `seed`. Whatever `fn` does, only an interrupt from the keyboard gets out."""
        cases = [*self.cases(seed), *([self.structure.case(seed)] if self.structure else [])]
        answers = []
        for case in cases:
            answer, trouble = _call(fn, case)
            if trouble:
                return Outcome(0, self.points, trouble)
            answers.append(answer)
        if message := self._judge(cases, answers):
            return Outcome(0, self.points, message)
        if self.structure is None:
            return Outcome(self.points, self.points, f"{self.name} is right on all {len(cases)} cases.")
        return self._judge_structure(self.structure, fn, cases[-1])

    def _judge(self, cases: list[Case], answers: list[Any]) -> str:
        """What is wrong with the values; empty when nothing is."""
        expected = [_run(self.reference, case) for case in cases]
        if all(map(same, answers, expected)):
            return ""
        for mistake in self.mistakes:
            if all(_matches(mistake, case, answer) for case, answer in zip(cases, answers, strict=True)):
                return mistake.message
        for number, (answer, right) in enumerate(zip(answers, expected, strict=True), 1):
            if text := difference(answer, right, self.parts):
                return f"Case {number} of {len(cases)}: {text}"
        raise AssertionError("`same` and `difference` disagree")

    def _judge_structure(self, structure: Structure, fn: Function, case: Case) -> Outcome:
        done, needed = matrix_flops(partial(_run, fn, case)), structure.flops(case)
        if done <= structure.slack * needed:
            return Outcome(
                self.points, self.points, f"{self.name} is right, and makes no more matrix products than it must."
            )
        message = f"The values are right. {structure.advice} It did {done:,} FLOPs of matrix products, {needed:,} do."
        for mistake in structure.misconceptions:
            work = matrix_flops(partial(_run, mistake.wrong, case))
            if abs(done - work) <= (structure.slack - 1) * work:
                message = f"The values are right. {mistake.message}"
                break
        return Outcome(round((1 - structure.share) * self.points, 2), self.points, message)


def _run(fn: Function, case: Case) -> Any:
    """Arguments go by position, so that a parameter may have another name; a copy, so that a case is never changed."""
    return fn(*copy.deepcopy(list(case.values())))


def _call(fn: Function, case: Case) -> tuple[Any, str]:
    """The answer of `fn`, or what went wrong while it ran."""
    given = copy.deepcopy(case)
    try:
        answer = fn(*given.values())
    except NotImplementedError:
        return None, "Not written yet."
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a student's function may even call exit()
        return None, f"It did not run: {type(error).__name__}: {error}"
    if names := changed(case, given):
        return None, f"It changed its input {names}: work on a copy, the caller still needs it."
    return answer, ""


def _matches(mistake: Misconception, case: Case, answer: Any) -> bool:
    try:
        return same(answer, _run(mistake.wrong, case))
    except (ArithmeticError, RuntimeError, ValueError, IndexError):
        return False  # the mistake cannot even run on this case
