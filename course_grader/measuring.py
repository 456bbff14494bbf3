"""Work, measured from outside: the CPU time that the kernel has counted for the worker, beside the reference's own."""

import time
from collections.abc import Callable
from typing import Any

from course_grader import processes
from course_grader.inside import wire
from course_lib.exercises import Exercise, Outcome
from course_lib.exercises.comparing import difference

ALLOWED, TRIES = 5, 3  # times the reference's CPU time; the wasteful way takes 16 times and more


def measure(process: Callable[[], int], exercise: Exercise, function: Callable[..., Any], seed: int) -> Outcome:
    """All points for right values with no more work in `process` than is allowed, in the best of three tries."""
    structure = exercise.structure
    assert structure is not None
    values_only, ratios = round((1 - structure.share) * exercise.points, 2), []
    for number in range(TRIES):
        case = structure.heavy(seed + number)
        began = time.process_time()
        expected = exercise.reference(*case.values())
        needed, allowance = time.process_time() - began, _handling(case)
        before = processes.seconds(process())
        answer = function(*case.values())
        ratios.append((processes.seconds(process()) - before - allowance) / needed)
        if difference(answer, expected):
            message = f"Right on small inputs, not on a large one. {structure.advice}"
            return Outcome(values_only, exercise.points, message)
        if ratios[-1] <= ALLOWED:
            return Outcome(exercise.points, exercise.points, "Right, with no more work than it takes.")
    message = f"The values are right. {structure.advice} It took {min(ratios):.0f} times the CPU time that it needs."
    return Outcome(values_only, exercise.points, message)


def _handling(case: dict[str, Any]) -> float:
    """CPU seconds for bringing a case to the worker, twice over: it reads it, copies it and compares the copy."""

    class Sink:
        data = b""

        def sendall(self, data: bytes, /) -> None:
            self.data = data

    sink, began = Sink(), time.process_time()
    wire.send(sink, {"arguments": list(case.values())})
    header, _ = wire.lengths(sink.data[: wire.LENGTHS.size])
    body = sink.data[wire.LENGTHS.size :]
    wire.read(body[:header], body[header:])
    return 2 * (time.process_time() - began)
