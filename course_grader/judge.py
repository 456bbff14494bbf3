"""Marks one notebook. Inputs, references and points stay out here; only the student's code runs in the sandbox."""

import builtins
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from course_grader import inert, measuring
from course_grader.inside.wire import Other
from course_grader.lending import Loans, does_the_same
from course_grader.limits import LostError
from course_grader.records import Mark
from course_grader.sandbox import Sandbox, Session, UnavailableError
from course_lib.exercises import BANK, Exercise, Outcome
from course_lib.exercises.engine import CHANGED, FaultError

MOST_SKIPPED = 5  # cells that hang or end the worker. If there are more, only what is needed of the cells is run
CELLS_SHARE = 0.5  # of a submission's seconds, for running all cells. After that only what is needed of them is run
MOST_TOLD, MOST_OF_ERROR = 20, 200  # cells whose errors are reported, and characters per error
MOST_LOST = 64  # missing names that a message may mention. Which one a function asks for could encode its inputs
NEEDED_ONLY = "only those that define the functions and what they use were run"
EMPTY = "is not available during grading"
REMEDIES = {  # what to look for, by what a lost worker did
    "took": "a loop that does not end",
    "used": "a tensor or a list that is far too large",
    "ended": "a call that ends Python, or a recursion without end",
}


@dataclass(frozen=True)
class Judged:
    marks: list[Mark]
    stopped: list[str]  # "cell 3 stopped: ModuleNotFoundError: ...", for each cell that did not run to its end


def seed(secret: bytes, student: str, exercise: str, attempt: int) -> int:
    """A seed for the inputs, different per student, exercise and attempt. Nobody can guess it without `secret`."""
    name = f"{student}\0{exercise}\0{attempt}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hmac.digest(secret, name, hashlib.sha256)[:16])


def judge(sandbox: Sandbox, cells: Sequence[str], assignment: str, seeds: Callable[[str], int]) -> Judged:
    """A mark for every exercise of an assignment, whatever the cells do. `seeds` gives a seed for each name.

    A function without full points is judged again, with the course's functions in place of wrong ones above it.

    Raises:
        UnavailableError: the sandbox itself does not work.
        ShortageError: the machine was short of CPU time or memory.
    """
    exercises = BANK[assignment]
    pupil = Pupil(sandbox, cells, list(exercises))
    try:  # exercises whose work is measured come last, because the worker cannot be used after that
        order = sorted(exercises.values(), key=lambda exercise: exercise.structure is not None)
        marks = {exercise.name: _mark(pupil, exercise, seeds(exercise.name)) for exercise in order}
        for exercise in order:
            # with new inputs, because the notebook may have stored the first ones
            again = partial(_mark_again, pupil, exercise, seeds(f"{exercise.name} again"))
            marks[exercise.name] = again(marks, list(exercises.values()))
    finally:
        pupil.close()
    pupil.budget.settle()
    if pupil.broken:
        raise pupil.broken
    return Judged([marks[name] for name in exercises], pupil.stopped())


def _mark(pupil: "Pupil", exercise: Exercise, number: int, loans: Loans | None = None) -> Mark:
    function = Remote(pupil, exercise.name, loans)
    try:
        outcome = exercise.grade(function, number, measure=partial(measuring.measure, function.process))
    except (OSError, FaultError):  # our fault, not the student's
        raise
    except Exception as error:  # an answer so odd that it cannot even be compared
        outcome = Outcome(0, exercise.points, f"Its answer cannot be compared: {type(error).__name__}.")
    finally:
        function.over()
        if exercise.structure:
            pupil.drop()  # measuring has taken its right to start processes
    message = outcome.message if outcome.points else function.trouble or outcome.message
    if function.hollow and not outcome.solved:
        message = f"{message} It uses `course_lib`, which {EMPTY}. Write it without course_lib."
    return Mark(exercise.name, outcome.points, outcome.of, message, stopped=function.stopped, found=function.found)


def _mark_again(
    pupil: "Pupil", exercise: Exercise, number: int, marks: Mapping[str, Mark], page: Sequence[Exercise]
) -> Mark:
    """The mark with the course's functions lent for those above that earned nothing, or the first mark if that changes
    nothing.
    """
    first, above = marks[exercise.name], page[: page.index(exercise)]
    if first.points == first.of:
        return first
    wrong = [each for each in above if not marks[each.name].points and each.name in pupil.reached[exercise.name]]
    lent = [each for each in wrong if not does_the_same(each, exercise, number)]
    if alike := [f"`{each.name}`" for each in wrong if each not in lent]:
        why = f"It calls {' and '.join(alike)}, which is not right yet and does the same work. Fix that first."
        first = replace(first, message=f"{first.message} {why}")
    if not lent:
        return first
    loans = Loans(lent, number)
    mark = _mark(pupil, exercise, number, loans)
    if not loans.used or mark.points < first.points or pupil.given_up:
        return first
    used = [name for name in loans.names if name in loans.used]
    names, yours = " and ".join(f"`{name}`" for name in used), "yours is" if len(used) == 1 else "yours are"
    if mark.points == mark.of:
        message = f"Right with the course's {names}; {yours} not right yet."
    else:
        message = f"{mark.message} Judged with the course's {names}, because {yours} not right yet."
    return replace(mark, message=message, lent=used)


class Pupil:
    """A submission's functions, in a worker that is restarted whenever one of them has broken it."""

    def __init__(self, sandbox: Sandbox, cells: Sequence[str], wanted: Sequence[str] = ()) -> None:
        """`wanted`: the functions to save if there is not enough time for all cells."""
        self.sandbox, self.cells, self.wanted = sandbox, list(enumerate(cells)), wanted
        self.reached: dict[str, list[str]] = defaultdict(list)  # by function: others that it may call
        self.skipped: dict[int, str] = {}  # what a cell did, by its number from 0
        self.errors: dict[int, str] = {}  # the error that a cell stopped with, by its number from 0
        self.hollow: set[int] = set()  # cells that may have stopped because course_lib is empty
        self.lost: dict[str, int] = {}  # names that a stopped cell would have defined, with its number
        self.asked = False  # the worker has seen inputs, so what it says about cells from now on is not shown
        self.given_up: LostError | None = None
        self.broken: UnavailableError | None = None
        self.budget = sandbox.budget()
        self._for_cells = CELLS_SHARE * sandbox.limits.seconds  # seconds left for running all cells
        self._only = ""  # why only what is needed of the cells is run; empty if all of them are
        self._most_skipped = MOST_SKIPPED
        self._session: Session | None = None
        self._cell: int | None = None  # the one that started last

    def session(self) -> Session:
        """A worker that has run all cells except the skipped ones.

        Raises:
            LostError: the submission has used its time, or one cell after another ends the worker.
        """
        while self._session is None:
            if self.given_up:
                raise self.given_up
            session, self._cell = self._open(), None
            try:
                self._run_cells(session)
                self._session = session
            except LostError as lost:
                self._leave_out(lost)
            finally:
                if self._session is None:
                    session.close()
        return self._session

    def _open(self) -> Session:
        if self.broken:
            raise self.broken
        cells = [cell for cell in self.cells if cell[0] not in self.skipped]
        try:
            return self.sandbox.open(cells, self.budget, self.wanted if self._only else ())
        except UnavailableError as error:
            self.broken = error
            raise

    def _run_cells(self, session: Session) -> None:
        began, most = self.budget.spent(), self.sandbox.limits.cell_seconds
        try:
            while True:
                left = most if self._only else self._for_cells - (self.budget.spent() - began)
                message = session.receive(min(most, left))
                if "ready" in message:
                    return
                if (number := self._number(message, "began")) is not None:
                    self._cell = number
                elif (number := self._number(message, "stopped")) is not None and not self.asked:
                    self._note_error(number, message)
        finally:
            if not self._only:
                self._for_cells -= self.budget.spent() - began

    def _number(self, message: dict[str, Any], key: str) -> int | None:
        """The number of a cell, if the message has one there."""
        number = message.get(key)
        return number if isinstance(number, int) and 0 <= number < len(self.cells) else None

    def _note_error(self, number: int, report: dict[str, Any]) -> None:
        error = _claim(report.get("error"))
        if report.get("hollow") is True:
            self.hollow.add(number)
            error = f"{error} (`course_lib` {EMPTY})"
        self.errors.setdefault(number, error)
        binds = report.get("binds")
        for name in binds if isinstance(binds, list) else []:
            if len(self.lost) < MOST_LOST and isinstance(name, str) and name.isidentifier() and len(name) < 50:
                self.lost.setdefault(name, number)

    def _leave_out(self, lost: LostError) -> None:
        """Decides what the next worker does not run, after this one was lost."""
        cell = None if self._cell in self.skipped else self._cell
        if self.wanted and not self._only and self._for_cells <= 0:
            self._only = f"the cells took more than {CELLS_SHARE * self.sandbox.limits.seconds:g} s"
        elif cell is not None and len(self.skipped) < self._most_skipped:
            self.skipped[cell] = str(lost)
        elif cell is not None and self.wanted and not self._only:
            self._only, self._most_skipped = f"more than {MOST_SKIPPED} cells hang or end the process", 2 * MOST_SKIPPED
        else:
            self.given_up = lost

    def stopped(self) -> list[str]:
        """A sentence for each cell that did not run to its end, with its number from 1.

        Cells that stopped because course_lib is empty are left out: only a function that they would have defined
        mentions them.
        """
        said = {number: f"stopped: {error}" for number, error in self.errors.items() if number not in self.hollow}
        said |= {number: f"{what} and was left out" for number, what in self.skipped.items()}
        sentences = [f"cell {number + 1} {said[number]}" for number in sorted(said)[:MOST_TOLD]]
        if (more := len(said) - MOST_TOLD) > 0:
            sentences.append(f"{more} more cells stopped")
        return [f"{self._only}: {NEEDED_ONLY}", *sentences] if self._only else sentences

    def why_missing(self, name: str) -> str:
        """Explains that the cells did not define a function."""
        number = self._place(name)
        if number in self.skipped:
            return f"Cell {number + 1} {self.skipped[number]} and was left out: keep in it only what `{name}` needs."
        stopped = number if number in self.errors else self.lost.get(name)
        if stopped is not None:
            return f"`{name}` is not defined because cell {stopped + 1} stopped: {self._error(stopped)}"
        if number is None:
            return f"The notebook defines no function `{name}`."
        rest = f" Note that {self._only}: {NEEDED_ONLY}." if self._only else ""
        return f"Cell {number + 1} mentions `{name}`, but after the cells have run there is no such function.{rest}"

    def why_undefined(self, name: object) -> str:
        """Explains a NameError in a function. Empty if nothing is known about it."""
        if isinstance(name, str) and (number := self.lost.get(name)) is not None:
            why = f"because cell {number + 1} stopped: {self._error(number)}"
            return f"It raised a NameError: `{name}` is not defined {why}"
        if self.skipped:
            cells = " and ".join(f"cell {number + 1}, which {what}" for number, what in self.skipped.items())
            return f"It raised a NameError. The missing name may be defined in what was left out: {cells}."
        return ""

    def _error(self, number: int) -> str:
        return f"{self.errors[number].rstrip('.')}."

    def _place(self, name: str) -> int | None:
        return inert.place([source for _, source in self.cells], name)

    def left_out(self, name: str) -> bool:
        return self._place(name) in self.skipped

    def drop(self) -> None:
        """Ends the worker. The next call starts another."""
        if self._session is not None:
            self._session.close()
        self._session = None

    close = drop


class Remote:
    """A student's function, callable from here."""

    def __init__(self, pupil: Pupil, name: str, loans: Loans | None = None) -> None:
        self.__name__ = name
        self.trouble = ""  # what to tell the student, if the engine cannot know it
        self.stopped = self.found = self.hollow = False
        self.session: Session | None = None
        self._pupil, self._loans = pupil, loans

    def __call__(self, *arguments: Any) -> Any:
        try:
            reply = self._ask({"arguments": list(arguments)})
        except LostError as lost:
            self.session, self.stopped = None, True
            self._pupil.drop()
            self.trouble = self._why_lost(str(lost))
            raise
        if reply.get("missing"):
            self.stopped = self._pupil.left_out(self.__name__)
            self._fail(self._pupil.why_missing(self.__name__))
        self.found = True
        self.hollow |= reply.get("hollow") is True
        if reply.get("changed"):
            self._fail(f"It changed an input: {CHANGED}")
        if "answer" not in reply:
            error = _error(reply)
            if isinstance(error, NameError):
                self.trouble = self._pupil.why_undefined(reply.get("name"))
            raise error
        return _readable(reply["answer"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.session is None:
            session = self._pupil.session()
            wanted, lent = self._pupil.wanted, self._loans.names if self._loans else ()
            self._pupil.reached[self.__name__] = session.begin(self.__name__, wanted, lent)
            self.session, self._pupil.asked = session, True
        return self.session.ask(request, self._loans.answer if self._loans else None)

    def _why_lost(self, what: str) -> str:
        if self._pupil.given_up:
            return f"The notebook cannot be run: one of its cells {what}."
        limits = self._pupil.budget.limits
        remedy = next((f" and look for {each}" for start, each in REMEDIES.items() if what.startswith(start)), "")
        if what != "took too long":
            said = f"It {what}."
        elif self._pupil.budget.spent() < limits.seconds:
            said = f"One call took more than {limits.call_seconds:g} s."
        else:
            said = f"The notebook has used its {limits.seconds:g} s."
        return f"{said} Run `check({self.__name__})` in the notebook{remedy}."

    def process(self) -> int:
        """The process whose use of CPU time and memory is that of the function."""
        if self.session is None:
            raise LostError("ended its process")
        return self.session.process

    def over(self) -> None:
        if self.session is not None:
            try:
                self.session.finish()
            except LostError:
                self._pupil.drop()
        self.session = None

    def _fail(self, trouble: str) -> NoReturn:
        self.trouble = trouble
        raise RuntimeError


def _error(reply: dict[str, Any]) -> BaseException:
    """An error of the same type as the student's, without its text, which could reveal the inputs."""
    kinds = reply.get("kinds")
    for kind in kinds if isinstance(kinds, list) else []:
        found = getattr(builtins, str(kind), None)
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                return found()
            except TypeError:  # some want arguments
                break
    return RuntimeError()


def _claim(text: object) -> str:
    """What the worker says about an error, on one line, shortened and with visible characters only."""
    line = " ".join(str(text).split())
    return inert.plain(line if len(line) <= MOST_OF_ERROR else f"{line[:MOST_OF_ERROR]} ...")


def _readable(value: Any) -> Any:
    if isinstance(value, Other):
        return type(value.kind.replace("\0", " "), (), {})()
    if isinstance(value, list | tuple):
        return type(value)(_readable(each) for each in value)
    return value
