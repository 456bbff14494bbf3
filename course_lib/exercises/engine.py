"""One exercise: its cases, the right answers, and the mistakes that it can name."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.closeness import Closeness
from course_lib.exercises.comparing import ROUNDED, Difference, changed, difference, hollow, number, same
from course_lib.exercises.counting import matrix_flops
from course_lib.exercises.effort import Heavy, one_thread, timed
from course_lib.exercises.telling import UNWRITTEN, explained, facts, raised, shortened, unwritten

CHANGED = "work on a copy; the caller still needs the original."

Case = dict[str, Any]  # arguments by name
Function = Callable[..., Any]
Measure = Callable[["Exercise", Function, int], "Outcome"]


@dataclass(frozen=True)
class Section:
    """Where the lessons explain something."""

    notebook: str  # its name in the folder notebooks, without .ipynb
    heading: str  # exactly as in the notebook, without the leading #


@dataclass(frozen=True)
class Misconception:
    """A wrong implementation that people do write, and what to tell them.

    `wrong` may raise on a later case. A student whose answers match up to there and whose function raises the same
    type of error gets `message`.
    """

    message: str
    wrong: Function
    lesson: Section | None = None  # if a section other than the exercise's explains it
    alike: Callable[[Any, Any], bool] | None = None  # compares an answer with that of `wrong`, if not as usual


@dataclass(frozen=True)
class Structure:
    """Work, which values do not show: `check` counts the FLOPs of matrix products, and CPU time shows the rest."""

    case: Callable[[int], Case]
    heavy: Sequence[Heavy]
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
    unwritten: bool = False  # the function raises NotImplementedError, or calls one that does

    @property
    def solved(self) -> bool:
        return self.points == self.of

    def __str__(self) -> str:
        return f"{'✓' if self.solved else '✗'} {self.points:g} of {self.of:g} points. {self.message}"


class FaultError(Exception):
    """The exercise itself fails, whatever the function does. That is our bug, so no mark can follow from it."""


class NoAnswerError(Exception):
    """A function gave no answer to a large input; the text says why."""


@dataclass(frozen=True)
class Stop:
    """Why a case was not answered."""

    message: str
    named: bool = False  # the message is that of a misconception
    unwritten: bool = False


@dataclass(frozen=True, eq=False)  # compared by identity, so that it can be a key of the cache
class Exercise:
    name: str
    points: float
    lesson: Section
    reference: Function
    cases: Callable[[int], list[Case]]  # seed to cases
    mistakes: Sequence[Misconception]
    parts: tuple[str, ...] = ()  # names of the answers, if there are several
    axes: str = ""  # letters of the answer's axes, if it is a tensor
    note: str = ""  # added where values of a tensor differ
    structure: Structure | None = None
    closeness: Closeness | None = None  # if points depend on the distance from the truth
    canonical: Callable[[Any], Any] = lambda answer: answer  # an answer in the form in which it is compared
    refused: Callable[[int], list[Case]] = lambda seed: []  # cases for which fn must raise a ValueError

    @property
    def misconceptions(self) -> list[Misconception]:
        return [*self.mistakes, *(self.structure.misconceptions if self.structure else ())]

    def explained(self, message: str) -> Section:
        """Where to read about the mistake that `message` names, or about the exercise if it names none."""
        own = (each.lesson for each in self.misconceptions if each.lesson and each.message in message)
        return next(own, self.lesson)

    def grade(self, fn: Function, seed: int = 0, *, measure: Measure | None = None) -> Outcome:
        """Judges `fn` on the cases of `seed`. Whatever `fn` does, only a keyboard interrupt is raised.

        The first case with a wrong answer decides; a known misconception is reported before a wrong type, shape or
        value. A grader that runs `fn` elsewhere passes its own `measure` of the work; then messages do not reveal the
        cases.

        Raises:
            FaultError: the exercise itself fails.
        """
        key, discreet = answer_key(self, seed), measure is not None
        answers, stop = self._answers(fn, key, discreet)
        if stop:
            earlier = "" if stop.named else self._judge_before_stop(key, answers, discreet)
            return Outcome(0, self.points, earlier or stop.message, unwritten=stop.unwritten and not earlier)
        if self.closeness:
            return self._judge_closeness(self.closeness, key, answers, discreet)
        if message := self._judge(key, answers, discreet) or self._judge_refusals(fn, key, discreet):
            return Outcome(0, self.points, message)
        if self.structure is None:
            return Outcome(self.points, self.points, f"Right on all {len(answers)} cases.")
        if not measure and (message := self._needless_products(self.structure, fn, key.cases[-1])):
            return self.right_but(message)
        return (measure or _measured_here)(self, fn, seed)

    def right_but(self, message: str) -> Outcome:
        """Points for right values alone."""
        assert self.structure is not None
        return Outcome(round((1 - self.structure.share) * self.points, 2), self.points, message)

    def _answers(self, fn: Function, key: "Key", discreet: bool) -> tuple[list[Any], Stop | None]:
        """The answers to the cases, up to the first case without one."""
        answers = []
        for case in key.cases:
            given = _copied(case)
            try:
                answer = _on_cpu(fn, given)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a student's function may even call exit()
                return answers, self._stop(fn, key, answers, error, discreet)
            if names := changed(case, given):
                return answers, Stop(f"It changed its input {names}: {CHANGED}")
            answers.append(answer)
        return answers, None

    def _stop(self, fn: Function, key: "Key", answers: list[Any], error: BaseException, discreet: bool) -> Stop:
        which, case = len(answers) + 1, key.cases[len(answers)]
        if isinstance(error, NotImplementedError) and "implemented for" not in str(error):  # which PyTorch raises
            return Stop(UNWRITTEN if discreet else unwritten(fn, error, which), unwritten=True)
        said = f"It {raised(error)} on case {which} of {len(key.cases)}"
        if not discreet:
            said = f"{said}: {shortened(str(error))}".rstrip(".: ")
        if message := self._named_stop(key, answers, error):
            return Stop(f"{said}. {message}", named=True)
        shows = f" Run `check({self.name})` in the notebook: it shows the line and the values."
        return Stop(f"{said}.{shows if discreet else explained(error, fn, case)}")

    def _named_stop(self, key: "Key", answers: list[Any], error: BaseException) -> str:
        """The message of a mistake that gives these answers and then raises such an error; empty if none does."""
        answers = [self.canonical(answer) for answer in answers]
        for mistake in self.mistakes if answers else ():  # without an answer, any error would match
            if type(key.mistaken(mistake, len(answers))) is type(error) and key.matches(mistake, answers):
                return mistake.message
        return ""

    def _judge_before_stop(self, key: "Key", answers: list[Any], discreet: bool) -> str:
        """What is wrong with the answers before a stop; empty if they seem right.

        A few answers may match several mistakes, and then none of them is named.
        """
        answers = [self.canonical(answer) for answer in answers]
        if self.closeness:  # whether numbers are close enough is judged for all cases together
            answers = [r if number(a) is not None else a for a, r in zip(answers, key.expected, strict=False)]
        if all(map(same, answers, key.expected)):
            return ""
        messages = {mistake.message for mistake in self.mistakes if key.matches(mistake, answers)}
        return messages.pop() if len(messages) == 1 else self._first_difference(key, answers, discreet)

    def _judge(self, key: "Key", answers: list[Any], discreet: bool) -> str:
        """What is wrong with the answers to all cases; empty if nothing is."""
        answers = [self.canonical(answer) for answer in answers]
        if all(map(same, answers, key.expected)):
            return ""
        for mistake in self.mistakes:
            if key.matches(mistake, answers):
                return mistake.message
        return self._first_difference(key, answers, discreet)

    def _first_difference(self, key: "Key", answers: list[Any], discreet: bool) -> str:
        for which, (answer, right, case) in enumerate(zip(answers, key.expected, key.cases, strict=False), 1):
            if found := difference(answer, right, self.parts, self.axes, self.note):
                place = f"case {which} of {len(key.cases)}"
                said = f"{place.capitalize()}: {found}{facts(found, case)}"
                return _discreet(found, place) if discreet else said
        raise AssertionError("`same` and `difference` disagree")

    def _judge_closeness(self, closeness: Closeness, key: "Key", answers: list[Any], discreet: bool) -> Outcome:
        """A known mistake earns nothing, unless it is close enough in every case; for others the distance decides."""
        share, message = closeness.judge(answers, key.truths, key.cases, discreet=discreet)
        if share < 1:
            for mistake in self.mistakes:
                if key.matches(mistake, answers, closeness.alike):
                    return Outcome(0, self.points, mistake.message)
        return Outcome(round(share * self.points, 2), self.points, message)

    def _judge_refusals(self, fn: Function, key: "Key", discreet: bool) -> str:
        """Which error is missing; empty if none is. The reference's error says why there must be one."""
        for case in key.refused:
            error = _error(fn, case)
            if not isinstance(error, ValueError) and discreet:
                return "One case must raise a ValueError, and your function does not."
            if not isinstance(error, ValueError):
                did = f"{raised(error)}: {shortened(str(error))}" if error else "returned"
                return f"One case must raise a ValueError ({_error(self.reference, case)}), your function {did}."
        return ""

    def _needless_products(self, structure: Structure, fn: Function, case: Case) -> str:
        """What is wrong with the work that `fn` does for a case; empty if it computes only necessary products."""
        done, needed = matrix_flops(partial(_run, fn, case)), structure.flops(case)
        if done <= structure.slack * needed:
            return ""
        for mistake in structure.misconceptions:
            work = matrix_flops(partial(_run, mistake.wrong, case))
            if abs(done - work) <= (structure.slack - 1) * work:
                return f"The values are right. {mistake.message}"
        return (
            f"The values are right. {structure.advice} It did {done:,} FLOPs of matrix products; {needed:,} are enough."
        )


class Key:
    """The cases of one seed, and the answers of the reference and of every mistake, each computed once, when needed."""

    def __init__(self, exercise: Exercise, seed: int) -> None:
        self.exercise = exercise
        with torch.device("cpu"):  # whatever the notebook's default device is
            self.cases = [*exercise.cases(seed), *([exercise.structure.case(seed)] if exercise.structure else [])]
            self.refused = exercise.refused(seed)
            self.truths = exercise.closeness.truths(seed) if exercise.closeness else []
        self.mistaken = cache(self._work_out)

    @cached_property
    def expected(self) -> list[Any]:
        with blame_exercise(self.exercise.name):
            return [self.exercise.canonical(_run(self.exercise.reference, case)) for case in self.cases]

    def matches(
        self, mistake: Misconception, answers: list[Any], alike: Callable[[Any, Any], bool] | None = None
    ) -> bool:
        """Whether the mistake gives the same `answers` to the first cases."""
        for which, answer in enumerate(answers):
            made = self.mistaken(mistake, which)
            if isinstance(made, Exception) or (isinstance(answer, Tensor) and hollow(answer)):
                return False
            if not (alike or mistake.alike or self._alike(which))(answer, made):
                return False
        return True

    def _alike(self, which: int) -> Callable[[Any, Any], bool]:
        """Compares answers to a case; with the accuracy of half precision if the right or the wrong one is in it."""
        right = self.expected[which]
        return lambda answer, made: same(answer, made) or same(answer, made, like=right) or _vanish(answer, made, right)

    def _work_out(self, mistake: Misconception, number: int) -> Any:
        """The mistake's answer, or its error if it cannot even run on this case."""
        with blame_exercise(self.exercise.name):
            try:
                return self.exercise.canonical(_run(mistake.wrong, self.cases[number]))
            except (ArithmeticError, RuntimeError, ValueError, IndexError, UnboundLocalError) as error:
                return error.with_traceback(None)  # which would keep its tensors alive


def _vanish(answer: Any, made: Any, right: Any) -> bool:
    """Both are 0 next to the right values: where float64 still has 1e-60, float32 has 0."""
    if not (
        isinstance(right, Tensor)
        and all(isinstance(each, Tensor) and each.shape == right.shape for each in (answer, made))
    ):
        return False
    return all(same(right + each, right) for each in (answer.detach().cpu(), made))


@lru_cache(maxsize=256)
def answer_key(exercise: Exercise, seed: int) -> Key:
    with blame_exercise(exercise.name):
        return Key(exercise, seed)


def judge_effort(exercise: Exercise, run: Callable[[Case], tuple[Any, float]], seed: int) -> Outcome:
    """All points if no large input shows unnecessary work. `run` is that of Heavy.judge and may raise NoAnswerError."""
    assert exercise.structure is not None
    try:
        with blame_exercise(exercise.name), torch.device("cpu"), one_thread():
            for heavy in exercise.structure.heavy:
                if message := heavy.judge(run, exercise.reference, seed):
                    return exercise.right_but(message)
    except NoAnswerError as error:
        return exercise.right_but(f"Right on small inputs. On a large one it {error}.")
    return Outcome(exercise.points, exercise.points, "Right, and it does no unnecessary work.")


def _measured_here(exercise: Exercise, fn: Function, seed: int) -> Outcome:
    """Measures in this process, for `check`."""

    def run(case: Case) -> tuple[Any, float]:
        try:
            return timed(fn, _copied(case))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise NoAnswerError(f"{raised(error)}: {shortened(str(error))}".rstrip(".: ")) from error

    return judge_effort(exercise, run, seed)


@contextmanager
def blame_exercise(name: str) -> Iterator[None]:
    """Raises any error as a FaultError, since it is our bug and not the student's."""
    try:
        yield
    except NoAnswerError:
        raise
    except Exception as error:
        raise FaultError(f"The exercise {name} itself fails: {type(error).__name__}: {error}") from error


def _copied(case: Case) -> Case:
    """A copy that shares nothing with the case; for a tensor, `clone` is faster than `deepcopy`."""
    return {name: x.clone() if isinstance(x, Tensor) else copy.deepcopy(x) for name, x in case.items()}


def _run(fn: Function, case: Case) -> Any:
    """On a copy, so that a case is never changed."""
    return _on_cpu(fn, _copied(case))


def _on_cpu(fn: Function, case: Case) -> Any:
    """Arguments are passed by position, so that a parameter may have another name."""
    with torch.device("cpu"):
        return fn(*case.values())


def _error(fn: Function, case: Case) -> BaseException | None:
    """What `fn` raises; None when it returns."""
    try:
        _run(fn, case)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def _discreet(found: Difference, place: str) -> str:
    """Without the answer, which may contain the inputs, and without the right one."""
    if not found.of_values:
        return f"{place.capitalize()}: {found.expectation}, got {found.form}{found.after and ' '}{found.after}"
    what = f"{'values' if found.several else 'result'}{found.part and f' for {found.part}'}"
    return f"Wrong {what} on {place}.{f' {ROUNDED}' if found.after == ROUNDED else ''}"
