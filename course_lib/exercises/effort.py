"""Whether a function does work that nobody needs, judged by its CPU time on a large input.

CPU time sees what a count of matrix products cannot: products made by `*` and `sum`, or by NumPy. The same rule holds
for `check`, which measures the notebook's own process, and for the grader, which measures a sandbox from outside.
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

TRIES = 3  # the best one counts, since a busy machine makes any work look slow
# Of the CPU time of the wasteful way. Honest ways take less, even most loops over single tokens.
PART = 0.6
SURELY = 0.3  # of what the wasteful way usually takes here: no need to find out what it takes at the moment

Case = dict[str, Any]


@dataclass(frozen=True)
class Heavy:
    """A large input on which one kind of needless work takes far longer than everything else."""

    case: Callable[[int], Case]  # seed to case
    wasteful: Callable[..., Any]  # right, but by that work, which it does as fast as possible
    work: str  # what it does, as in "making the keys of every head"
    trap: str = ""  # what NaN in an answer shows, if the case has some where nobody needs to look

    def judge(self, run: Callable[[Case], tuple[Any, float]], reference: Callable[..., Any], seed: int) -> str:
        """What is wrong with a function; empty if nothing is.

        `run` calls it with a case and returns the answer and the CPU time in seconds. What `run` raises gets out.
        """
        case: Case = {}
        least = needed = math.inf
        for number in range(TRIES):
            case = self.case(seed + number)  # another one each time, or an answer could be remembered
            expected, enough = timed(reference, case)
            answer, spent = run(case)
            if difference(answer, expected):
                trapped = self.trap if isinstance(answer, Tensor) and answer.isnan().any() else ""
                return f"Right on small inputs, not on a large one. {trapped}".rstrip()
            if spent <= SURELY * _usual(self):
                return ""
            least, needed = min(least, spent), min(needed, enough)
        waste = self.waste(case)
        return "" if least <= PART * waste else _slow(least, needed, waste, self.work)

    def waste(self, case: Case) -> float:
        """CPU time of the wasteful way, in seconds: the better of two, as the first one may have to ask for memory."""
        return min(timed(self.wasteful, case)[1] for _ in range(2))


@cache
def _usual(heavy: Heavy) -> float:
    return heavy.waste(heavy.case(0))


def timed(fn: Callable[..., Any], case: Case) -> tuple[Any, float]:
    """The answer of a function of this process, and its CPU time in seconds."""
    began = time.process_time()
    answer = fn(*case.values())
    return answer, time.process_time() - began


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads that wait for each other use CPU time, too."""
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
        f"slow for another reason, such as a loop in Python over single numbers."
    )
