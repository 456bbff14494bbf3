"""Whether a function does unnecessary work, judged by its CPU time on a large input.

CPU time shows what a count of matrix products misses: products computed with `*` and `sum`, or by NumPy. `check`, which
measures the notebook's own process, and the grader, which measures a sandbox from outside, apply the same rule.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.comparing import difference

TRIES = 4  # the fastest one counts, since any work looks slow on a busy machine
# Fractions of the CPU time of the wasteful function. Honest functions stay below, including most loops over tokens.
ALLOWED = 0.75  # of its fastest call; the two are called in turns, because a busy machine slows both
CLEAR = 0.3  # of what it usually takes on this machine: at or below this, there is no need to time it again

Case = dict[str, Any]


@dataclass(frozen=True)
class Heavy:
    """A large input on which one kind of unnecessary work takes far longer than everything else."""

    case: Callable[[int], Case]  # seed to case
    wasteful: Callable[..., Any]  # a correct function that does this work, as fast as possible
    work: str  # what it does, as in "making the keys of every head"
    trap: str = ""  # what NaN in an answer means, for a case that has NaN where no value is needed

    def judge(self, run: Callable[[Case], tuple[Any, float]], reference: Callable[..., Any], seed: int) -> str:
        """What is wrong with a function; empty if nothing is.

        `run` calls the function with a case and returns its answer and the CPU time in seconds. Errors that it raises
        are not caught.
        """
        least = needed = waste = math.inf
        for number in range(TRIES):
            case = self.case(seed + number)  # a new one each time, so that no answer can be remembered
            expected, enough = timed(reference, case)
            answer, spent = run(case)
            if difference(answer, expected):
                trapped = self.trap if isinstance(answer, Tensor) and answer.isnan().any() else ""
                return f"Right on small inputs, not on a large one. {trapped}".rstrip()
            if spent <= CLEAR * _usual(self):
                return ""
            least, needed, waste = min(least, spent), min(needed, enough), min(waste, self.waste(case))
        return "" if least <= ALLOWED * waste else _slow(least, needed, waste, self.work)

    def waste(self, case: Case) -> float:
        """CPU time of the wasteful function in seconds, of the faster of two calls: the first one may allocate memory,
        or run while the idle threads of the last function still spin.
        """
        return min(timed(self.wasteful, case)[1] for _ in range(2))


@cache
def _usual(heavy: Heavy) -> float:
    return heavy.waste(heavy.case(0))


def timed(fn: Callable[..., Any], case: Case) -> tuple[Any, float]:
    """The answer of a function in this process, and the CPU time of the call in seconds."""
    began = time.process_time()
    answer = fn(*case.values())
    return answer, time.process_time() - began


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits PyTorch to one thread, as threads that wait for each other use CPU time too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _slow(spent: float, needed: float, waste: float, work: str) -> str:
    return (
        f"The values are right. But on a large input it took {1000 * spent:.0f} ms of CPU time, where "
        f"{1000 * needed:.0f} ms are enough and {work} takes {1000 * waste:.0f} ms. Either it does that work, or it is "
        f"slow for another reason, such as a Python loop over single numbers."
    )
