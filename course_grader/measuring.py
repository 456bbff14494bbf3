"""The work of a student's function, measured from outside: CPU time as the kernel counts it for the worker."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from course_grader import processes
from course_grader.inside import wire
from course_grader.limits import LostError
from course_lib.exercises import Exercise, Outcome
from course_lib.exercises.engine import Case, judge_effort


def measure(process: Callable[[], int], exercise: Exercise, function: Callable[..., Any], seed: int) -> Outcome:
    """All points for right values, if `process` does no work that nobody needs.

    The process and all that it has started can start no others from then on. They stand still while the judge times
    what it compares with, so that they cannot make that slow.
    """
    try:
        root = process()
        processes.hold(root)
        with processes.paused(root):
            return judge_effort(exercise, Watched(root, function), seed)
    except LostError as lost:
        return exercise.right_but(f"Right on small inputs. On a large one it {lost}.")
    except Exception as error:
        return exercise.right_but(f"Right on small inputs. On a large one it did not run: {type(error).__name__}.")


class Watched:
    """A function in the process `root`. A call returns its answer and the CPU time of all processes there, in seconds,
    without what it takes to bring cases of this size there.
    """

    def __init__(self, root: int, function: Callable[..., Any]) -> None:
        self._root, self._function, self._handling = root, function, math.inf

    def __call__(self, case: Case) -> tuple[Any, float]:
        self._handling = min(self._handling, _handling(case))  # the judge may be slower than it needs, too
        before = processes.seconds(self._root)
        with processes.resumed(self._root):
            answer = self._function(*case.values())
            after = processes.seconds(self._root)
        if gone := before.keys() - after.keys():
            raise RuntimeError(f"{len(gone)} processes have ended, and nobody knows what they did")
        spent = sum(max(0, after[number] - before.get(number, 0)) for number in after)
        return answer, spent - self._handling


def _handling(case: Case) -> float:
    """CPU time for what the worker does besides the call: it reads the case, copies it and compares the copy."""

    class Sink:
        data = b""

        def sendall(self, data: bytes, /) -> None:
            self.data = data

    sink = Sink()
    wire.send(sink, {"arguments": list(case.values())})
    began = time.process_time()
    header, _ = wire.lengths(sink.data[: wire.LENGTHS.size])
    body = bytes(bytearray(sink.data[wire.LENGTHS.size :]))
    for x in wire.read(body[:header], body[header:])["arguments"]:
        if isinstance(x, Tensor):
            np.array_equal(wire.bytes_of(x.clone()), wire.bytes_of(x))
    return time.process_time() - began
