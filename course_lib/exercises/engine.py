"""One exercise: what is asked, on which cases, and which mistakes have a name."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.closeness import Closeness
from course_lib.exercises.comparing import changed, difference, same
from course_lib.exercises.counting import matrix_flops
from course_lib.exercises.telling import UNWRITTEN, about_values, advice, facts, hint, inputs, line, unwritten

Case = dict[str, Any]  # arguments by name
Function = Callable[..., Any]
Measure = Callable[["Exercise", Function, int], "Outcome"]


@dataclass(frozen=True)
class Misconception:
    """A wrong implementation that people really write, and what to tell them.

    It may stop on a case that is not the first: whoever stops there as well, after the same answers, is told.
    """

    message: str
    wrong: Function


@dataclass(frozen=True)
class Structure:
    """Work that values cannot show: matrix products counted while one case runs."""

    case: Callable[[int], Case]
    heavy: Callable[[int], Case]  # so large that the wasteful ways take 16 times the CPU time and more
    flops: Callable[[Case], int]  # what the exercise's own formula needs
    memory: Callable[[Case], int]  # bytes beside a heavy case that every right way can do with
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


class FaultError(Exception):
    """The exercise itself fails, whatever the function does: a reason to mend it, and none for a mark."""


@dataclass(frozen=True, eq=False)  # each is one of its own, so that its keys can be kept
class Exercise:
    name: str
    points: float
    reference: Function
    cases: Callable[[int], list[Case]]  # seed to cases
    mistakes: Sequence[Misconception]
    parts: tuple[str, ...] = ()  # names of the answers, where there are several
    axes: str = ""  # letters of the answer's axes, where a tensor is asked for
    note: str = ""  # what to add where values differ, of such a tensor
    structure: Structure | None = None
    closeness: Closeness | None = None  # where points go by the distance from the truth
    canonical: Callable[[Any], Any] = lambda answer: answer  # an answer in the form in which it is compared
    refused: Callable[[int], list[Case]] = lambda seed: []  # where the reference, and so fn, must raise a ValueError

    @property
    def misconceptions(self) -> list[Misconception]:
        return [*self.mistakes, *(self.structure.misconceptions if self.structure else ())]

    def grade(self, fn: Function, seed: int = 0, *, measure: Measure | None = None) -> Outcome:
        """Judge `fn` on the cases of `seed`. Whatever `fn` does, only an interrupt from the keyboard gets out.

        With a `measure` of the work, which a grader has that runs `fn` elsewhere, messages say nothing of the cases.
        """
        key, discreet = answer_key(self, seed), measure is not None
        answers = []
        for number, case in enumerate(key.cases, 1):
            named = partial(self._named_stop, key, answers)
            answer, trouble = _call(fn, case, f"case {number} of {len(key.cases)}", named, discreet)
            if trouble:
                return Outcome(0, self.points, trouble)
            answers.append(answer)
        if self.closeness:
            return self._judge_closeness(self.closeness, key, answers, discreet)
        if message := self._judge(key, answers, discreet) or self._judge_refusals(fn, key, discreet):
            return Outcome(0, self.points, message)
        if self.structure is None:
            return Outcome(self.points, self.points, f"Right on all {len(answers)} cases.")
        if measure:
            return measure(self, fn, seed)
        return self._judge_structure(self.structure, fn, key.cases[-1])

    def _named_stop(self, key: "Key", answers: list[Any], error: BaseException) -> str:
        """What to say of a mistake that also stops after these answers, with such an error; empty when none does."""
        answers = [self.canonical(answer) for answer in answers]
        for mistake in self.mistakes if answers else ():  # without an answer, any error would do
            if type(key.mistaken(mistake, len(answers))) is type(error) and key.matches(mistake, answers):
                return f" {mistake.message}"
        return ""

    def _judge(self, key: "Key", answers: list[Any], discreet: bool) -> str:
        """What is wrong with the values; empty when nothing is."""
        answers = [self.canonical(answer) for answer in answers]
        if all(map(same, answers, key.expected)):
            return ""
        for mistake in self.mistakes:
            if key.matches(mistake, answers):
                return mistake.message
        for number, (answer, right, case) in enumerate(zip(answers, key.expected, key.cases, strict=False), 1):
            if text := difference(answer, right, self.parts, self.axes, self.note):
                return f"Case {number} of {len(answers)}: {_discreet(text) if discreet else text + facts(text, case)}"
        raise AssertionError("`same` and `difference` disagree")

    def _judge_closeness(self, closeness: Closeness, key: "Key", answers: list[Any], discreet: bool) -> Outcome:
        """A known mistake earns nothing, unless it came near enough in every case; other answers by their distance."""
        share, message = closeness.judge(answers, key.truths, key.cases, discreet=discreet)
        if share < 1:
            for mistake in self.mistakes:
                if key.matches(mistake, answers, closeness.alike):
                    return Outcome(0, self.points, mistake.message)
        return Outcome(round(share * self.points, 2), self.points, message)

    def _judge_refusals(self, fn: Function, key: "Key", discreet: bool) -> str:
        """Which error is missing; empty when none is. The reference's own error says why there must be one."""
        for case in key.refused:
            error = _error(fn, case)
            if not isinstance(error, ValueError) and discreet:
                return "One case must raise a ValueError, and your function does not."
            if not isinstance(error, ValueError):
                did = f"raised {type(error).__name__}: {error}" if error else "returned"
                return f"One case must raise a ValueError ({_error(self.reference, case)}), your function {did}."
        return ""

    def _judge_structure(self, structure: Structure, fn: Function, case: Case) -> Outcome:
        done, needed = matrix_flops(partial(_run, fn, case)), structure.flops(case)
        if done <= structure.slack * needed:
            return Outcome(self.points, self.points, "Right, with no more matrix products than it takes.")
        message = f"The values are right. {structure.advice} It did {done:,} FLOPs of matrix products, {needed:,} do."
        for mistake in structure.misconceptions:
            work = matrix_flops(partial(_run, mistake.wrong, case))
            if abs(done - work) <= (structure.slack - 1) * work:
                message = f"The values are right. {mistake.message}"
                break
        return Outcome(round((1 - structure.share) * self.points, 2), self.points, message)


class Key:
    """The cases of one seed, what the reference makes of them, and every mistake: each worked out once, when needed."""

    def __init__(self, exercise: Exercise, seed: int) -> None:
        self.exercise = exercise
        with torch.device("cpu"):  # and not where the notebook makes its tensors
            self.cases = [*exercise.cases(seed), *([exercise.structure.case(seed)] if exercise.structure else [])]
            self.refused = exercise.refused(seed)
            self.truths = exercise.closeness.truths(seed) if exercise.closeness else []
        self.mistaken = cache(self._work_out)

    @cached_property
    def expected(self) -> list[Any]:
        with ours(self.exercise.name):
            return [self.exercise.canonical(_run(self.exercise.reference, case)) for case in self.cases]

    def matches(self, mistake: Misconception, answers: list[Any], alike: Callable[[Any, Any], bool] = same) -> bool:
        """Whether `answers` are what the mistake makes of the first cases."""
        made = (self.mistaken(mistake, number) for number in range(len(answers)))
        return all(not isinstance(m, Exception) and alike(a, m) for a, m in zip(answers, made, strict=True))

    def _work_out(self, mistake: Misconception, number: int) -> Any:
        """The mistake's answer, or its error: on some cases a mistake cannot even run."""
        with ours(self.exercise.name):
            try:
                return self.exercise.canonical(_run(mistake.wrong, self.cases[number]))
            except (ArithmeticError, RuntimeError, ValueError, IndexError, UnboundLocalError) as error:
                return error.with_traceback(None)  # which would keep all that the mistake made


@lru_cache(maxsize=256)
def answer_key(exercise: Exercise, seed: int) -> Key:
    with ours(exercise.name):
        return Key(exercise, seed)


@contextmanager
def ours(name: str) -> Iterator[None]:
    """Where no work of the student's has a part."""
    try:
        yield
    except Exception as error:
        raise FaultError(f"The exercise {name} itself fails: {type(error).__name__}: {error}") from error


def _copied(case: Case) -> Case:
    """A copy that shares nothing with the case; `clone` is quicker for a tensor than `deepcopy`."""
    return {name: x.clone() if isinstance(x, Tensor) else copy.deepcopy(x) for name, x in case.items()}


def _run(fn: Function, case: Case) -> Any:
    """Arguments go by position, so that a parameter may have another name; a copy, so that a case is never changed."""
    with torch.device("cpu"):
        return fn(*_copied(case).values())


def _error(fn: Function, case: Case) -> BaseException | None:
    """What `fn` raises; None when it returns."""
    try:
        _run(fn, case)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def _call(
    fn: Function, case: Case, which: str, named: Callable[[BaseException], str], discreet: bool
) -> tuple[Any, str]:
    """The answer of `fn`, or what went wrong while it ran."""
    given = _copied(case)
    try:
        with torch.device("cpu"):
            answer = fn(*given.values())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a student's function may even call exit()
        if isinstance(error, NotImplementedError) and "implemented for" not in str(error):  # which PyTorch says
            return None, UNWRITTEN if discreet else unwritten(fn, error)
        if discreet:
            return None, f"It did not run on {which}: {type(error).__name__}.{named(error)}"
        said = f"It did not run on {which}: {type(error).__name__}: {error}".rstrip(".")
        why = named(error) or hint(error, case) or advice(error) + inputs(case)
        return None, f"{said}.{why}{line(fn, error)}"
    if names := changed(case, given):
        return None, f"It changed its input {names}: work on a copy, the caller still needs it."
    return answer, ""


def _discreet(difference: str) -> str:
    """Without what was answered, which may be the inputs, and without what would have been right."""
    wanted = difference.partition(", got")[0]
    return "its values are not right." if about_values(wanted) else f"{wanted}."
