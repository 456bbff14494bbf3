"""Graded work: what each assignment asks, and the mistakes that it knows by name."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar

from course_lib.exercises.cells import called, outdated
from course_lib.exercises.engine import Case, Exercise, FaultError, Misconception, Outcome, Section, Structure
from course_lib.exercises.hw1_attention import ABSORBED_ATTENTION, EXPANDED_ATTENTION
from course_lib.exercises.hw1_compress import COMPRESS
from course_lib.exercises.hw1_counts import ATTENTION_FLOPS, KV_CACHE_ELEMENTS
from course_lib.exercises.hw1_rotate import ROTATE
from course_lib.exercises.hw2_affinities import AFFINITIES
from course_lib.exercises.hw2_balance import EXPERT_LOAD, MAX_VIOLATION, UPDATE_BIAS
from course_lib.exercises.hw2_experts import MOE_OUTPUT
from course_lib.exercises.hw2_loss import SEQUENCE_BALANCE_LOSS
from course_lib.exercises.hw2_miscounts import PARAMETER_COUNTS
from course_lib.exercises.hw2_misrouting import ROUTE
from course_lib.exercises.hw3_greedy import VERIFY_GREEDY
from course_lib.exercises.hw3_input import MTP_INPUT
from course_lib.exercises.hw3_loss import MTP_LOSS
from course_lib.exercises.hw3_missampling import VERIFY_SAMPLED
from course_lib.exercises.hw3_pairs import MTP_PAIRS
from course_lib.exercises.hw3_speed import TOKENS_PER_STEP
from course_lib.exercises.hw4_allocation import ALLOCATION
from course_lib.exercises.hw4_costs import ENERGY, MFU, TRAINING_COST
from course_lib.exercises.hw4_forecast import FORECAST
from course_lib.exercises.hw4_huber import HUBER_OBJECTIVE
from course_lib.exercises.hw4_isoflop import ISOFLOP_OPTIMUM
from course_lib.exercises.hw4_misfit import FIT_POWER_LAW
from course_lib.exercises.hw4_misresampled import BOOTSTRAP_INTERVAL
from course_lib.exercises.hw4_parametric import PARAMETRIC_LOSS
from course_lib.exercises.telling import shortened

__all__ = ["BANK", "Case", "Exercise", "Misconception", "Outcome", "Section", "Structure", "check", "when_written"]

Shown = TypeVar("Shown")

BANK: dict[str, dict[str, Exercise]] = {
    "hw1_mla": {
        exercise.name: exercise
        for exercise in (
            KV_CACHE_ELEMENTS,
            ROTATE,
            COMPRESS,
            EXPANDED_ATTENTION,
            ABSORBED_ATTENTION,
            ATTENTION_FLOPS,
        )
    },
    "hw2_moe": {
        exercise.name: exercise
        for exercise in (
            AFFINITIES,
            ROUTE,
            MOE_OUTPUT,
            EXPERT_LOAD,
            MAX_VIOLATION,
            UPDATE_BIAS,
            SEQUENCE_BALANCE_LOSS,
            PARAMETER_COUNTS,
        )
    },
    "hw3_mtp": {
        exercise.name: exercise
        for exercise in (
            MTP_PAIRS,
            MTP_INPUT,
            MTP_LOSS,
            VERIFY_GREEDY,
            VERIFY_SAMPLED,
            TOKENS_PER_STEP,
        )
    },
    "hw4_scaling": {
        exercise.name: exercise
        for exercise in (
            FIT_POWER_LAW,
            ISOFLOP_OPTIMUM,
            PARAMETRIC_LOSS,
            HUBER_OBJECTIVE,
            ALLOCATION,
            BOOTSTRAP_INTERVAL,
            TRAINING_COST,
            MFU,
            ENERGY,
            FORECAST,
        )
    },
}


def check(fn: object) -> float:
    """Say how `fn` does on the exercise of its name, and return the points that this earns.

    The points are the value of the cell, which nbgrader takes for the grade: a cell without a value would get full
    points, and one that writes to stderr none. Never raises, so a notebook runs to its end.
    """
    with redirect_stderr(sys.stdout):  # so that a warning costs nothing
        outcome = _grade(fn)
    if isinstance(outcome, str):
        print(f"✗ {outcome}")
        return 0
    name = getattr(fn, "__name__", "")
    if callable(fn) and (warning := outdated(fn)):
        print(warning)
    if callable(fn) and not outcome.unwritten and (wrong := _wrong_below(fn, outcome)):
        below = f"{' and '.join(wrong)}, which {'has' if len(wrong) == 1 else 'have'} no ✓ yet"
        outcome = replace(outcome, message=f"It calls {below}: start there. {outcome.message}")
    print(f"{name}: {outcome}")
    return outcome.points


def _grade(fn: object) -> Outcome | str:
    """How `fn` does on the exercise of its name, or why it cannot be graded."""
    if isinstance(fn, str):
        return f"`check` takes the function itself, without quotes: check({shortened(fn)})"
    if not callable(fn):
        kind = "None" if fn is None else f"of type {type(fn).__name__}"
        return f"`check` takes your function itself, by its name and without brackets; this is {kind}."
    if not hasattr(fn, "__name__"):
        return f"`check` goes by a function's name, and a {type(fn).__name__} has none: write it with `def`."
    name, known = fn.__name__, _known()
    if name not in known:
        meant = get_close_matches(name, known, 1)
        told = f"Did you mean {meant[0]}?" if meant else "Its name must be that of an exercise on the page."
        return f"There is no exercise {name!r}. {told}"
    exercise = known[name]
    try:
        return exercise.grade(fn)
    except FaultError as error:
        return Outcome(0, exercise.points, f"{error}. That is our fault, not yours.")
    except Exception as error:  # an answer so odd that it cannot even be compared
        return Outcome(0, exercise.points, f"Its answer cannot be compared: {shortened(str(error))}")


def _known() -> dict[str, Exercise]:
    return {name: exercise for assignment in BANK.values() for name, exercise in assignment.items()}


def _wrong_below(fn: Callable[..., Any], outcome: Outcome) -> list[str]:
    """Other exercises that a function without points calls, and that earn nothing themselves."""
    if outcome.points:
        return []
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        graded = {name: _grade(other) for name, other in called(fn, _known()).items()}
    return [name for name, each in graded.items() if isinstance(each, Outcome) and not each.points]


def when_written(show: Callable[[], Shown], *functions: Callable[..., Any]) -> Shown | None:
    """Run `show`, which needs these exercises, and say which of them are not written or not right. Never raises."""
    outcomes = {fn.__name__: _grade(fn) for fn in functions}
    graded = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Outcome)}
    if unwritten := [name for name, outcome in graded.items() if outcome.unwritten]:
        print(f"This cell comes to life when {_listed(unwritten)} written. Then run it again.")
        return None
    if wrong := [name for name in outcomes if name not in graded or not graded[name].points]:
        print(f"Do not trust this cell yet: {_listed(wrong)} not right, see `check` above. Then run it again.")
    try:
        return show()
    except Exception as error:
        # while a function is wrong, other errors are about shapes inside, which `check` explains better
        tells = isinstance(error, ValueError) or not wrong
        print(f"It stopped here: {shortened(str(error))}" if tells else "It stopped here.")
    return None


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last} are" if others else f"{last} is"
