"""Lends the course's functions to a notebook whose own are wrong, so that functions that build on them can be judged.

The reference stays out here: its calls arrive as messages, and the answers go back. The caller may be hostile, so no
call may take much memory or time, whatever its arguments.
"""

import builtins
import copy
import inspect
import math
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises import Exercise
from course_lib.exercises.comparing import same
from course_lib.exercises.engine import answer_key

MOST_CALLS, MOST_SECONDS = 20_000, 5  # of all calls while one function is judged
LEAST_ELEMENTS, LEAST_INTEGER = 1 << 15, 1024  # are always accepted, even if the cases of the exercise are smaller
ELEMENTS_FACTOR, INTEGER_FACTOR = 4, 16  # by which arguments may exceed those of the cases
MOST_PAIR = 1 << 23  # product of the two largest sizes: intermediate results combine the axes of several arguments
MAGNITUDE = 1 << 20  # if the cases have integers above this, they are quantities, not sizes


class RefusedError(Exception):
    """The reason for not answering a call."""


class Loans:
    """Answers calls of the functions of some exercises, within limits on number, sizes and time."""

    def __init__(self, exercises: Collection[Exercise], seed: int) -> None:
        self.used: set[str] = set()  # names of the functions that were called
        self._exercises = {exercise.name: exercise for exercise in exercises}
        self._bounds = {exercise.name: _Bounds(exercise, seed) for exercise in exercises}
        self._calls, self._seconds = 0, 0.0

    @property
    def names(self) -> list[str]:
        return list(self._exercises)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a worker's call. Never raises."""
        try:
            return {"answer": self._answer(request)}
        except RefusedError as refused:
            return {"error": "RuntimeError", "why": str(refused)}
        except Exception as error:  # which the same call may raise in the student's own function
            kind = type(error).__name__
            return {"error": kind if hasattr(builtins, kind) else "RuntimeError", "why": "wrong arguments"}

    def _answer(self, request: dict[str, Any]) -> Any:
        name, arguments, named = request.get("asks"), request.get("arguments"), request.get("named")
        if name not in self._exercises or not isinstance(arguments, list) or not isinstance(named, dict):
            raise RefusedError("there is no such function")
        self.used.add(name)
        self._calls += 1
        if self._calls > MOST_CALLS or self._seconds > MOST_SECONDS:
            raise RefusedError("it is called too often")
        given = self._bounds[name].check(arguments, named)
        began = time.monotonic()
        try:
            with torch.device("cpu"), torch.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._exercises[name].reference(*given.args, **given.kwargs)
        finally:
            self._seconds += time.monotonic() - began


def does_the_same(other: Exercise, exercise: Exercise, seed: int) -> bool:
    """Whether the function of `other` already solves `exercise`, so that calling it would be the whole solution."""
    key = answer_key(exercise, seed)
    try:
        answers = (other.reference(*copy.deepcopy(case).values()) for case in key.cases)
        return all(same(exercise.canonical(a), e) for a, e in zip(answers, key.expected, strict=True))
    except Exception:  # it expects other arguments
        return False


class _Bounds:
    """What the arguments of an exercise's function may be, and how large, compared with those of its cases."""

    def __init__(self, exercise: Exercise, seed: int) -> None:
        self._signature = inspect.signature(exercise.reference)
        self._elements = dict.fromkeys(self._signature.parameters, LEAST_ELEMENTS)
        self._integers = dict.fromkeys(self._signature.parameters, LEAST_INTEGER)
        self._forms: dict[str, set[str]] = {name: set() for name in self._signature.parameters}
        self._axes = dict.fromkeys(self._signature.parameters, 0)
        self._pair = MOST_PAIR
        cases = [self._signature.bind(*case.values()).arguments for case in answer_key(exercise, seed).cases]
        for case in cases:
            for name, value in case.items():
                self._elements[name] = max(self._elements[name], ELEMENTS_FACTOR * _elements(value))
                self._integers[name] = max(self._integers[name], INTEGER_FACTOR * _largest_integer(value))
                for form in _forms(value):
                    self._forms[name] |= {form, form.replace("array", "number")}
                self._axes[name] = max(self._axes[name], _axes(value))
        self._pair = max([MOST_PAIR, *map(self._largest_pair, cases)])

    def check(self, arguments: list[Any], named: dict[str, Any]) -> inspect.BoundArguments:
        """Raises:
        RefusedError: arguments are far larger than those of the cases, of another form, or not finite.
        TypeError: they do not fit the function's parameters.
        """
        bound = self._signature.bind(*arguments, **named)
        for name, value in bound.arguments.items():
            if _elements(value) > self._elements[name] or _largest_integer(value) > self._integers[name]:
                raise RefusedError(f"its {name} is too large")
            if not all(map(_finite, _leaves(value))):
                raise RefusedError(f"its {name} is not finite")
            if not _forms(value) <= self._forms[name]:
                raise RefusedError(f"its {name} is of another kind than in the exercise")
        if self._largest_pair(bound.arguments) > self._pair:
            raise RefusedError("its arguments are too large together")
        # axes that only one argument has multiply the sizes of all; those of two are bounded by `_largest_pair`
        if sum(_elements(value) > 1 for value in bound.arguments.values()) > 2:
            for name, value in bound.arguments.items():
                if _axes(value) > self._axes[name]:
                    raise RefusedError(f"its {name} has too many axes")
        return bound

    def _largest_pair(self, arguments: Mapping[str, Any]) -> int:
        """The product of the two largest sizes."""
        sizes = [1, 1, *map(_elements, arguments.values())]
        sizes += [_largest_integer(value) for name, value in arguments.items() if self._integers[name] < MAGNITUDE]
        return math.prod(sorted(sizes)[-2:])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def _forms(value: Any) -> set[str]:
    """What it is made of, so that an array does not stand where a number should. An array of one is a number."""
    if isinstance(value, list | tuple | dict):
        kind = "dict" if isinstance(value, dict) else "list"
        parts = value.values() if isinstance(value, dict) else value
        return {f"{kind} of {form}" for each in parts for form in _forms(each)}
    if isinstance(value, Tensor | np.ndarray):
        return {"array"} if _elements(value) > 1 else {"number"}
    return {"text" if isinstance(value, str) else "None" if value is None else "number"}


def _axes(value: Any) -> int:
    return max((len(getattr(each, "shape", ())) for each in _leaves(value)), default=0)


def _elements(value: Any) -> int:
    """How many numbers it holds. An axis of length 0 counts as 1, since the other axes may still be long."""
    return sum(math.prod(max(size, 1) for size in getattr(each, "shape", ())) for each in _leaves(value))


def _largest_integer(value: Any) -> int:
    return max(map(_integer, _leaves(value)), default=0)


def _integer(leaf: Any) -> int:
    """The largest absolute value, if these are integers."""
    if isinstance(leaf, Tensor | np.ndarray):
        array = np.asarray(leaf) if isinstance(leaf, np.ndarray) or not leaf.is_floating_point() else np.zeros(0)
        return max(map(abs, (int(array.min()), int(array.max())))) if array.size and array.dtype.kind in "iu" else 0
    return abs(leaf) if isinstance(leaf, int) else 0


def _finite(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        return bool(torch.isfinite(leaf).all())
    if isinstance(leaf, np.ndarray | float):
        return bool(np.isfinite(leaf).all())
    return isinstance(leaf, int | str | None)
