"""Marks one notebook. Inputs, references and points are here, outside; inside are only the student's functions."""

import builtins
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from course_grader import inert, measuring
from course_grader.inside.wire import Other
from course_grader.limits import LostError, ShortageError
from course_grader.records import Mark
from course_grader.sandbox import Sandbox, Session, UnavailableError
from course_lib.exercises import BANK, Exercise, Outcome
from course_lib.exercises.engine import FaultError

MOST_SKIPPED = 5  # cells that hang or kill; with more, the notebook is given up
MOST_TOLD, MOST_OF_ERROR = 20, 200  # cells whose errors are told, and characters of each error


@dataclass(frozen=True)
class Judged:
    marks: list[Mark]
    stopped: list[str]  # "cell 3 stopped: ModuleNotFoundError: ...", for each cell that did not run to its end


def seed(secret: bytes, student: str, exercise: str, attempt: int) -> int:
    """Fresh inputs for everybody and every attempt, the same when it is repeated, and known to nobody else."""
    name = f"{student}\0{exercise}\0{attempt}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hmac.digest(secret, name, hashlib.sha256)[:16])


def judge(sandbox: Sandbox, cells: Sequence[str], assignment: str, seeds: Callable[[str], int]) -> Judged:
    """A mark for every exercise of an assignment. Nothing that the cells do stops this.

    Raises:
        UnavailableError: the sandbox itself does not work; that is no reason for marks.
        ShortageError: the machine was short of CPU time or memory; nor is that.
    """
    pupil = Pupil(sandbox, cells)
    exercises = BANK[assignment]
    try:  # where work is measured, the worker is of no use afterwards: last
        last = sorted(exercises.values(), key=lambda exercise: exercise.structure is not None)
        marks = {exercise.name: _mark(pupil, exercise, seeds(exercise.name)) for exercise in last}
    finally:
        pupil.close()
    pupil.budget.settle()
    if pupil.broken:
        raise pupil.broken
    return Judged([marks[name] for name in exercises], pupil.stopped())


def _mark(pupil: "Pupil", exercise: Exercise, number: int) -> Mark:
    function = Remote(pupil, exercise.name)
    try:
        outcome = exercise.grade(function, number, measure=partial(measuring.measure, function.process))
    except (OSError, FaultError):  # ours, and no reason for a mark
        raise
    except Exception as error:  # an answer so odd that it cannot even be compared
        outcome = Outcome(0, exercise.points, f"Its answer cannot be compared: {type(error).__name__}.")
    finally:
        function.over()
        if exercise.structure:
            pupil.drop()  # its work was measured, and it is held
    message = outcome.message if outcome.points else function.trouble or outcome.message
    return Mark(exercise.name, outcome.points, outcome.of, message, stopped=function.stopped, found=function.found)


class Pupil:
    """A submission's functions, in a worker that is started again when one of them has broken it."""

    def __init__(self, sandbox: Sandbox, cells: Sequence[str]) -> None:
        self.sandbox, self.cells = sandbox, list(enumerate(cells))
        self.skipped: dict[int, str] = {}  # by the number of a cell: what it did
        self.errors: dict[int, str] = {}  # by the number of a cell: the error that it stopped with
        self.hollow: set[int] = set()  # cells that stopped as they worked with course_lib, which is empty here
        self.asked = False  # inputs have gone inside; what the worker says of cells from then on is not shown
        self.budget = sandbox.budget()
        self._session: Session | None = None
        self._given_up: LostError | None = None
        self.broken: UnavailableError | None = None

    def session(self) -> Session:
        """A worker that has run all cells but those that are skipped.

        Raises:
            LostError: the submission's time is over, or cell after cell ends the worker.
        """
        while self._session is None:
            if self._given_up:
                raise self._given_up
            session = self._open()
            begun: list[int] = []
            try:
                begun.extend(self._running(session))
                self._session = session
            except ShortageError:
                session.close()
                raise
            except LostError as lost:
                session.close()
                if not begun or begun[-1] in self.skipped or len(self.skipped) >= MOST_SKIPPED:
                    self._given_up = lost
                else:
                    self.skipped[begun[-1]] = str(lost)
        return self._session

    def left_out(self, name: str) -> str | None:
        """What the cell of a function did, if it is skipped for that."""
        number = inert.place([source for _, source in self.cells], name)
        return None if number is None else self.skipped.get(number)

    def _open(self) -> Session:
        if self.broken:
            raise self.broken
        try:
            return self.sandbox.open([cell for cell in self.cells if cell[0] not in self.skipped], self.budget)
        except UnavailableError as error:
            self.broken = error
            raise

    def drop(self) -> None:
        """Ends the worker; the next question starts another."""
        if self._session is not None:
            self._session.close()
        self._session = None

    close = drop

    def _running(self, session: Session) -> Iterator[int]:
        """The number of each cell as it begins."""
        while "ready" not in (message := session.receive(self.sandbox.limits.cell_seconds)):
            if isinstance(number := message.get("began"), int):
                yield number
            if isinstance(number := message.get("stopped"), int) and not self.asked:
                self.errors.setdefault(number, _claim(message.get("error")))
                if message.get("hollow") is True:
                    self.hollow.add(number)

    def stopped(self) -> list[str]:
        """A sentence for each cell that did not run to its end; cells are counted from 1.

        Cells that stopped for lack of course_lib are expected to: the functions they would have defined say so.
        """
        said = {number: f"stopped: {error}" for number, error in self.errors.items() if number not in self.hollow}
        said |= {number: f"{what} and was left out" for number, what in self.skipped.items()}
        known = [number for number in sorted(said) if 0 <= number < len(self.cells)]
        sentences = [f"cell {number + 1} {said[number]}" for number in known[:MOST_TOLD]]
        more = len(known) - MOST_TOLD
        return [*sentences, f"{more} more cells stopped"] if more > 0 else sentences


class Remote:
    """A student's function, as one that can be called here."""

    def __init__(self, pupil: Pupil, name: str) -> None:
        self.__name__ = name
        self.trouble = ""  # what the student is told, if the engine cannot know it
        self.stopped = self.found = False
        self.session: Session | None = None
        self._pupil = pupil

    def __call__(self, *arguments: Any) -> Any:
        try:
            if self.session is None:
                session = self._pupil.session()
                session.begin(self.__name__)
                self.session, self._pupil.asked = session, True
            reply = self.session.ask({"arguments": list(arguments)})
        except LostError as lost:
            self.session, self.stopped = None, True
            self._pupil.drop()
            self.trouble = f"It {lost}. Run it in the notebook on the cases of `check`."
            raise
        if reply.get("missing"):
            if what := self._pupil.left_out(self.__name__):
                self.stopped = True
                self._fail(f"Its cell {what} and was left out: keep in it only what the function needs.")
            self._fail(f"The notebook defines no function {self.__name__}, or its cell stops before it does.")
        self.found = True
        if reply.get("changed"):
            self._fail("It changed an input: work on a copy, the caller still needs it.")
        if "answer" not in reply:
            raise _error(reply)
        return _readable(reply["answer"])

    def process(self) -> int:
        """Of which the kernel knows what its functions take."""
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
    """Of the same kind as the student's, and without its text, which may tell what the inputs were."""
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
    """What the worker says about an error, on one line and with nothing hidden in it."""
    line = " ".join(str(text).split())
    return inert.plain(line if len(line) <= MOST_OF_ERROR else f"{line[:MOST_OF_ERROR]} ...")


def _readable(value: Any) -> Any:
    if isinstance(value, Other):
        return type(value.kind.replace("\0", " "), (), {})()
    if isinstance(value, list | tuple):
        return type(value)(_readable(each) for each in value)
    return value
