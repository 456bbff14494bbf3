"""Work, measured from outside: what the kernel has counted for the worker, beside what the task needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_grader import processes
from course_grader.inside import wire
from course_grader.limits import LostError
from course_lib.exercises import Exercise, Outcome
from course_lib.exercises.comparing import difference
from course_lib.exercises.engine import Case

ALLOWED, TRIES = 5, 3  # times the reference's CPU time; the wasteful ways take 16 times and more
HANDLED = 4  # times the bytes of a case that a worker holds when it has read it and copied it


@dataclass(frozen=True)
class Work:
    seconds: float
    bytes: int


def measure(process: Callable[[], int], exercise: Exercise, function: Callable[..., Any], seed: int) -> Outcome:
    """All points for right values with no more work in `process` than is allowed, in the best of three tries.

    The process and all that it has started are held, and of no use for another exercise.
    """
    structure = exercise.structure
    assert structure is not None
    values_only, ratios, message = round((1 - structure.share) * exercise.points, 2), [], ""
    for number in range(TRIES):
        case = structure.heavy(seed + number)
        (expected, needed), allowance = _timed(exercise.reference, case), _handling(case)
        try:
            answer, work = _watched(process, function, case)
        except LostError as lost:
            message = f"Right on small inputs. On a large one it {lost}. {structure.advice}"
            return Outcome(values_only, exercise.points, message)
        except Exception as error:
            message = f"Right on small inputs. On a large one it did not run: {type(error).__name__}."
            return Outcome(values_only, exercise.points, message)
        if difference(answer, expected):
            message = f"Right on small inputs, not on a large one. {structure.advice}"
            return Outcome(values_only, exercise.points, message)
        ratios.append((work.seconds - allowance.seconds) / needed)
        room = structure.memory(case)
        if ratios[-1] <= ALLOWED and work.bytes - allowance.bytes <= room:
            return Outcome(exercise.points, exercise.points, "Right, with no more work than it takes.")
        message = f"{(work.bytes - allowance.bytes) / 2**20:.0f} MiB of memory; {room / 2**20:.0f} are plenty."
    if min(ratios) > ALLOWED:
        message = f"{min(ratios):.0f} times the CPU time that it needs."
    return Outcome(values_only, exercise.points, f"The values are right. {structure.advice} It took {message}")


def _timed(reference: Callable[..., Any], case: Case) -> tuple[Any, float]:
    """The answer, and the CPU time of the better of two runs: the first one may have to ask for memory."""
    taken, answer = [], None
    for _ in range(2):
        began = time.process_time()
        answer = reference(*case.values())
        taken.append(time.process_time() - began)
    return answer, min(taken)


def _watched(process: Callable[[], int], function: Callable[..., Any], case: Case) -> tuple[Any, Work]:
    processes.hold(process())
    processes.forget_peaks(process())
    before, memory = processes.seconds(process()), processes.peaks(process())
    answer = function(*case.values())
    after, peaks = processes.seconds(process()), processes.peaks(process())
    if gone := before.keys() - after.keys():
        raise RuntimeError(f"{len(gone)} processes have ended, and nobody knows what they did")
    spent = sum(max(0, after[number] - before.get(number, 0)) for number in after)
    return answer, Work(spent, max(peaks[number] - memory.get(number, 0) for number in peaks))


def _handling(case: Case) -> Work:
    """For bringing a case to the worker: CPU time twice over, since it reads it, copies it and compares the copy."""

    class Sink:
        data = b""

        def sendall(self, data: bytes, /) -> None:
            self.data = data

    sink, began = Sink(), time.process_time()
    wire.send(sink, {"arguments": list(case.values())})
    header, _ = wire.lengths(sink.data[: wire.LENGTHS.size])
    body = sink.data[wire.LENGTHS.size :]
    wire.read(body[:header], body[header:])
    return Work(2 * (time.process_time() - began), HANDLED * len(sink.data))
