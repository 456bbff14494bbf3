"""What `course.py grade` does: grade a class with a progress bar, write the results, and report."""

import io
import platform
import statistics
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import nbformat
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from course_grader import by_hand, formgrader, inert, release
from course_grader.feedback import write_feedback
from course_grader.limits import Limits
from course_grader.outputs import problems, remove_others, write_outputs
from course_grader.records import Record, Store
from course_grader.sandbox import UnavailableError, best_kind, why_none
from course_grader.submissions import Submission, collect, left_out, notes
from course_grader.up_to_date import up_to_date
from course_lib import files

BARE = (
    "NO SANDBOX: {why}, so students' code runs with all your permissions, and nothing protects you from a hostile "
    'student; see INSTRUCTORS.md, "The sandbox does not start".'
)
AGAIN = "Once bubblewrap works, --student NAME grades one of them again."
MOST_NAMED = 5  # students named in one line of the summary; the rest are counted
GO_ON = "What is graded is kept: the same command with --resume continues."
console = Console(highlight=False)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asks for."""

    submissions: Path
    assignment: str
    out: Path
    jobs: int | None = None  # notebooks at a time; None: as many as there are cores and memory for
    cluster: str | None = None
    resume: bool = False
    student: str | None = None  # grade only this student, and again
    require_sandbox: bool = False
    limits: Limits = field(default_factory=Limits)


def grade(order: Order) -> bool:
    """Grades, writes and reports. Returns False if all are graded, but gradebook.db could not be read or written.

    Raises:
        ValueError: the command cannot be carried out, and nothing was done; the message says what is possible.
    """
    if sys.platform != "linux":
        system = platform.system()
        raise ValueError(f"grading needs Linux, whose kernel isolates the students' code; this is {system}")
    if order.out.resolve().is_relative_to(order.submissions.resolve()):
        raise ValueError(
            f"{order.out} is in the folder of submissions, and would look like a student: choose another --out"
        )
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not end the run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    pages, submissions = _release(order.assignment), collect(order.submissions, order.assignment)
    chosen = submissions if order.student is None else [_named(order.student, submissions)]
    if order.require_sandbox:
        _kind(order)
    _say(
        f"Skipped {each}: not a submission of {order.assignment}"
        for each in left_out(order.submissions, order.assignment)
    )
    _say(notes(submissions))
    refusal = f"another run is using {order.out}: wait until it ends, or choose another --out"
    with files.locked(order.out / ".lock", refusal):
        return _grade(order, pages, submissions, chosen)


def _grade(
    order: Order, pages: nbformat.NotebookNode, submissions: Sequence[Submission], chosen: Sequence[Submission]
) -> bool:
    store = Store(order.out, order.assignment)
    if order.student is None and not order.resume:
        _refuse(store.records(), order)
    due = store.due(chosen, again=order.student is not None)
    for record in due.kept:
        store.keep(record)
        _say(_lines(record))
    now = _mark(order, store, due.missing) if due.missing else set[str]()
    records, folder = store.records(), order.out / order.assignment
    for record in tqdm(records, desc="formgrader", unit="notebook", disable=None):
        formgrader.write_notebook(order.out, record, pages)
    formgrader.write_config(order.out)
    entries, trouble = _gradebook(order.out, pages, records)
    write_outputs(folder, records, entries)
    for record in tqdm(records, desc="feedback", unit="page", disable=None):
        write_feedback(folder, record, pages, entries.get(record.student, {}))
    remove_others(folder, records)
    _report(records, entries)
    console.print(Text(_counted(records, now, {each.student for each in submissions})), soft_wrap=True)
    written = f"{folder}: grades.csv, feedback/, gradescope/; {folder.parent}: gradebook.db for nbgrader"
    console.print(Text(written), soft_wrap=True)
    if trouble:
        console.print(Text(trouble, style="bold red"), soft_wrap=True)
    return not trouble


def _mark(order: Order, store: Store, missing: Sequence[Submission]) -> set[str]:
    """Returns the students who were graded, and says which grades fell."""
    from course_grader import grading  # here: importing PyTorch takes seconds, and often nothing is missing

    warnings.filterwarnings("ignore", "A worker stopped while")  # joblib replaces workers that have grown
    warnings.filterwarnings("ignore", r"\d+ tasks ")  # joblib, after an interrupted run; --resume grades them
    jobs = grading.fitting_jobs(order.jobs, order.limits) if order.cluster is None else order.jobs or 1
    again, kind = order.student is not None, _kind(order)
    before, now = {each.student: each.points for each in map(store.__getitem__, missing) if each}, set[str]()
    try:
        for record in grading.grade(
            missing, store, jobs=jobs, cluster=order.cluster, again=again, limits=order.limits, kind=kind
        ):
            now.add(record.student)
            lines = _lines(record)
            if record.final and (was := before.get(record.student, 0)) > record.points:
                lines.append(f"{record.student}: was {was:g}, now {record.points:g}")
            for each in lines:
                tqdm.write(inert.plain(each))
    except UnavailableError as error:
        raise ValueError(f"{error} {GO_ON}") from None
    return now


def _lines(record: Record) -> list[str]:
    return [f"{record.student}: {each}" for each in problems(record)]


def _gradebook(out: Path, pages: nbformat.NotebookNode, records: Sequence[Record]) -> tuple[by_hand.Entries, str]:
    """Brings gradebook.db up to date. Returns what people entered there, and an error to report."""
    database, entries = out / "gradebook.db", dict[str, dict[str, by_hand.Entered]]()
    errors: list[str] = []
    if not up_to_date(database, pages, records):
        from course_grader import gradebook  # here: importing nbgrader takes seconds

        try:
            gradebook.write_gradebook(out, pages, records)
        except by_hand.GradebookError as error:
            errors += [f"{error}.", f"The grader's points are safe in {out / records[0].assignment / 'records'}."]
    try:
        entries = by_hand.read(database, records)
    except by_hand.GradebookError as error:
        errors += [] if errors else [f"{error}."]
        errors += ["What people entered there is missing from grades.csv, feedback/ and gradescope/."]
    remedy = "Repair the database or move it away, and run the same command with --resume."
    return entries, " ".join([*errors, remedy]) if errors else ""


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(inert.plain(line)), soft_wrap=True)


def _release(assignment: str) -> nbformat.NotebookNode:
    if assignment not in (known := release.sources()):
        raise ValueError(f"no assignment {assignment!r}; there are: {', '.join(known)}")
    if not (path := release.target(known[assignment])).exists():
        raise ValueError(f"{assignment} has no release: python3 course.py release {assignment} makes it")
    return nbformat.read(path, as_version=4)


def _named(student: str, submissions: Sequence[Submission]) -> Submission:
    wanted = unicodedata.normalize("NFC", student)  # folders from macOS, and so completed names, are in form D
    for each in submissions:
        if wanted in (each.student, inert.plain(each.student)):  # as it is, or as it is shown
            return each
    alike = [each for each in submissions if each.student.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    folded = {each.student.casefold(): each.student for each in submissions}
    near = [each.student for each in alike] or [folded[each] for each in get_close_matches(wanted.casefold(), folded)]
    hint = f"; similar names: {', '.join(map(inert.plain, near))}" if near else ""
    raise ValueError(f"no submission of {student!r}{hint}")


def _refuse(kept: Sequence[Record], order: Order) -> None:
    """Raises ValueError if there are records, and neither --resume nor --student says what to do with them."""
    if kept:
        raise ValueError(
            f"{order.out / order.assignment} already has {len(kept)} records of {order.assignment}, and nothing was "
            "done. Add --resume to grade only what is missing or has changed, or --student NAME to grade one student "
            "again, or choose another --out."
        )


def _kind(order: Order) -> str | None:
    """The sandbox for this machine. None on a cluster, where each worker uses the best that it has."""
    try:
        kind = best_kind()
    except UnavailableError as error:
        raise ValueError(f"{error} {GO_ON}") from None
    if kind == "bare":
        warning = BARE.format(why=inert.plain(why_none()))
        if order.require_sandbox:
            raise ValueError(warning)
        console.print(Text(warning, style="bold red"), soft_wrap=True)
    return kind if order.cluster is None or order.require_sandbox else None


def _counted(records: Sequence[Record], now: Set[str], handed_in: Set[str]) -> str:
    """How many notebooks there are, and what this run did with them: "8 notebooks: 2 graded now, 6 unchanged"."""
    unread = [each.student for each in records if each.unread and each.graded and each.student in handed_in]
    gone = [each.student for each in records if each.student not in handed_in]
    graded = len(now - set(unread))
    parts = [f"{graded} graded now"] * bool(graded)
    if unchanged := len(records) - graded - len(unread) - len(gone):
        parts.append(f"{unchanged} unchanged")
    if unread:
        parts.append(f"{len(unread)} whose new file cannot be read ({_named_students(unread)})")
    if gone:
        parts.append(f"{len(gone)} whose file is gone ({_named_students(gone)})")
    return f"{len(records)} notebook{'s' * (len(records) != 1)}: {', '.join(parts)}"


def _named_students(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(map(inert.plain, names[:MOST_NAMED]))}{more}"


def _students(number: int, one: str, many: str) -> str:
    return f"1 student {one}" if number == 1 else f"{number} students {many}"


def _report(records: Sequence[Record], entries: by_hand.Entries) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("exercise", "mean", "of", "all points", "no points"):
        table.add_column(heading, justify="left" if heading == "exercise" else "right")
    exercises = dict.fromkeys(mark.exercise for record in records for mark in record.marks)
    entered = {record.student: entries.get(record.student, {}) for record in records}
    for name in exercises:
        marks = [(record.student, mark) for record in records for mark in record.marks if mark.exercise == name]
        points = [by_hand.points(mark, entered[student].get(name, by_hand.NOTHING)) for student, mark in marks]
        of = marks[0][1].of
        full = sum(each >= of for each in points)
        table.add_row(name, f"{statistics.mean(points):.2f}", f"{of:g}", str(full), str(points.count(0)))
    console.print(table)
    mean = statistics.mean(by_hand.total(record, entered[record.student]) for record in records)
    console.print(f"{mean:.2f} of {max(record.of for record in records):g} points on average")
    if entered_by_hand := sum(
        any(each.score is not None or each.extra_credit for each in given.values()) for given in entries.values()
    ):
        console.print(_students(entered_by_hand, "has scores entered by hand", "have scores entered by hand"))
    problem = sum(bool(record.problem) or any(mark.stopped for mark in record.marks) for record in records)
    stopped = sum(bool(record.stopped) for record in records)
    if problem or stopped:
        students = _students(problem, "has a problem", "have a problem")
        has = "has" if stopped == 1 else "have"
        console.print(f"{students}; {stopped} {has} cells that stopped (see grades.csv)")
    _report_sandboxes(Counter(record.sandbox for record in records if record.cells))


def _report_sandboxes(kinds: Counter[str]) -> None:
    """By the kinds of `Sandbox`, how many notebooks ran in one."""
    bare = kinds["bare"]
    numbers = {name: number for name, number in (("bubblewrap", kinds.total() - bare), ("none", bare)) if number}
    if len(numbers) == 1:
        console.print(f"sandbox: {next(iter(numbers))}")
    elif numbers:
        console.print(f"sandbox: {', '.join(f'{name} ({number})' for name, number in numbers.items())}")
    if bare:
        graded = "1 notebook was" if bare == 1 else f"{bare} notebooks were"
        warning = f"{graded} graded without a sandbox, with all your permissions. {AGAIN}"
        console.print(Text(warning, style="bold red"), soft_wrap=True)
