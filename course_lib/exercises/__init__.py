"""Graded work: what each assignment asks, and the mistakes that it knows by name."""

from course_lib.exercises.engine import Case, Exercise, Misconception, Outcome, Structure
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

__all__ = ["BANK", "Case", "Exercise", "Misconception", "Outcome", "Structure", "check"]

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
}


def check(fn: object) -> None:
    """Say how `fn` does on the exercise of its name. Never raises, so a notebook runs to its end."""
    if isinstance(fn, str):
        print(f"✗ `check` takes the function itself, without quotes: check({fn})")
        return
    if callable(fn) and not hasattr(fn, "__name__"):
        print(f"✗ `check` goes by a function's name, and a {type(fn).__name__} has none: write it with `def`.")
        return
    name = getattr(fn, "__name__", str(fn))
    known = {name: exercise for assignment in BANK.values() for name, exercise in assignment.items()}
    if name not in known or not callable(fn):
        print(f"✗ There is no exercise {name!r}. There are: {', '.join(known)}.")
        return
    try:
        print(f"{name}: {known[name].grade(fn)}")
    except Exception as error:  # an answer so odd that it cannot even be compared
        print(f"{name}: ✗ 0 of {known[name].points:g} points. Its answer cannot be compared: {error}")
