"""The CPU time of a student's function, measured from outside: the kernel counts it for the worker."""

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
from course_lib.exercises.engine import Case, NoAnswerError, judge_effort
from course_lib.exercises.telling import raised


def measure(process: Callable[[], int], exercise: Exercise, function: Callable[..., Any], seed: int) -> Outcome:
    """All points for a function with right values, unless `process` does unnecessary work.

    From now on the process and those that it has started cannot start any more. They are stopped while the judge times
    its own functions for comparison, so that they cannot slow those down.
    """
    try:
        root = process()
        processes.hold(root)
    except (LostError, RuntimeError) as error:
        return exercise.right_but(f"The values are right, but the work cannot be measured: it {error}.")
    with processes.paused(root):
        return judge_effort(exercise, Watched(root, function), seed)


class Watched:
    """A function in the process `root`. A call returns its answer and the CPU time in seconds of all processes there,
    without the time that it takes them to receive a case of this size.
    """

    def __init__(self, root: int, function: Callable[..., Any]) -> None:
        self._root, self._function, self._handling = root, function, math.inf

    def __call__(self, case: Case) -> tuple[Any, float]:
        self._handling = min(self._handling, _handling(case))  # the judge can be slowed down by a busy machine, too
        before = processes.seconds(self._root)
        with processes.resumed(self._root):
            answer = self._answer(case)
            after = processes.seconds(self._root)
        if gone := before.keys() - after.keys():
            raise NoAnswerError(f"ended {len(gone)} of its processes, and their work can no longer be measured")
        spent = sum(max(0, after[number] - before.get(number, 0)) for number in after)
        return answer, spent - self._handling

    def _answer(self, case: Case) -> Any:
        try:
            return self._function(*case.values())
        except LostError as lost:
            raise NoAnswerError(str(lost)) from None
        except Exception as error:
            raise NoAnswerError(raised(error)) from None


def _handling(case: Case) -> float:
    """CPU time of what the worker does besides the call: it reads the case, copies it and compares the copy."""

    class Sink:
        def __init__(self) -> None:
            self.data = bytearray()

        def sendall(self, data: wire.Buffer, /) -> None:
            self.data.extend(memoryview(data))

    sink = Sink()
    wire.send(sink, {"arguments": list(case.values())})
    began = time.process_time()
    header, _ = wire.lengths(sink.data[: wire.LENGTHS.size])
    body = sink.data[wire.LENGTHS.size :]
    for x in wire.read(body[:header], body[header:])["arguments"]:
        if isinstance(x, Tensor):
            np.array_equal(wire.bytes_of(x.clone()), wire.bytes_of(x))
    return time.process_time() - began
