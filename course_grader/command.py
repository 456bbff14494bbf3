"""What `course.py grade` does: mark a class with progress, write what others read, and say how it went."""

import platform
import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import nbformat
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from course_grader import by_hand, gradebook, grading, inert, release
from course_grader.feedback import write_feedback
from course_grader.limits import Limits
from course_grader.outputs import problems, write_outputs
from course_grader.records import Record, Store
from course_grader.sandbox import UnavailableError, best_kind
from course_grader.submissions import Submission, collect, left_out
from course_lib import files
from course_lib.exercises import BANK

BARE = (
    "NO SANDBOX: bubblewrap is missing here or does not work, so students' code runs with all that you may do. This "
    "does not protect against a hostile student. Install bubblewrap (apt install bubblewrap), or grade only those you "
    "trust."
)
ANEW = "Where bubblewrap works, --student NAME marks one of them anew."
console = Console(highlight=False)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for on the command line."""

    submissions: Path
    assignment: str
    out: Path
    jobs: int | None = None  # notebooks at a time; None: as many as there are cores and memory for
    cluster: str | None = None
    resume: bool = False
    student: str | None = None  # this one only, and anew
    require_sandbox: bool = False
    limits: Limits = field(default_factory=Limits)


def grade(order: Order) -> bool:
    """Marks, writes and reports. False where all are marked and nbgrader's gradebook could not be written.

    Raises:
        ValueError: what is asked for cannot be done, and nothing was; the text says what can be.
    """
    if sys.platform != "linux":
        system = platform.system()
        raise ValueError(f"grading needs Linux, whose kernel isolates the students' code; this is {system}")
    jobs = grading.fitting_jobs(order.jobs, order.limits) if order.cluster is None else order.jobs or 1
    pages, submissions, kind = _release(order.assignment), collect(order.submissions, order.assignment), _kind(order)
    chosen = submissions if order.student is None else [_named(order.student, submissions)]
    for name in left_out(order.submissions, order.assignment):
        console.print(Text(f"left out, no submission of {order.assignment}: {inert.plain(name)}"), soft_wrap=True)
    refusal = f"another run is at work on {order.out}: wait until it ends, or take another --out"
    with files.locked(order.out / ".lock", refusal):
        return _grade(replace(order, jobs=jobs), pages, chosen, kind)


def _grade(order: Order, pages: nbformat.NotebookNode, chosen: Sequence[Submission], kind: str | None) -> bool:
    warnings.filterwarnings("ignore", "A worker stopped while")  # joblib replaces one that has grown; all is well
    warnings.filterwarnings("ignore", r"\d+ tasks ")  # joblib, of what a stopped run leaves: --resume marks it
    store = Store(order.out, order.assignment)
    if order.student is None and not order.resume:
        _refuse(store.records(), order)
    try:
        for record in grading.grade(
            chosen, store, jobs=order.jobs or 1, cluster=order.cluster, again=order.student is not None,
            limits=order.limits, kind=kind,
        ):  # fmt: skip
            for where, what in problems(record):
                tqdm.write(f"{inert.plain(record.student)}, {where}: {what}")
    except UnavailableError as error:
        raise ValueError(f"{error} What is marked is kept: the same command with --resume goes on.") from None
    records, folder = store.records(), order.out / order.assignment
    write_outputs(folder, records)
    for record in tqdm(records, desc="notebooks", unit="notebook", disable=None):
        gradebook.write_notebook(order.out, record, pages)
    gradebook.write_config(order.out)
    entries, said = _gradebook(order, pages, records)
    for record in tqdm(records, desc="feedback", unit="page", disable=None):
        write_feedback(folder, record, pages, entries.get(record.student, {}))
    _report(records, folder, len({record.student for record in records} - {each.student for each in chosen}))
    if said:
        console.print(Text(said, style="bold red"), soft_wrap=True)
    return not said


def _gradebook(order: Order, pages: nbformat.NotebookNode, records: Sequence[Record]) -> tuple[by_hand.Entries, str]:
    """Brings it up to date. What people entered there, and an error to report."""
    errors, entries = [], {}
    try:
        gradebook.write_gradebook(order.out, pages, records)
    except by_hand.GradebookError as error:
        errors.append(f"{error}. The marks are safe in {order.out / order.assignment / 'records'}.")
    try:
        entries = by_hand.read(order.out / "gradebook.db", records)
    except by_hand.GradebookError as error:
        errors.append(f"{error}. Scores and comments that people entered are missing from this run's outputs.")
    remedy = "Repair it or move it away, and run the same command with --resume."
    return entries, " ".join([*errors, remedy] if errors else [])


def _release(assignment: str) -> nbformat.NotebookNode:
    if assignment not in BANK:
        raise ValueError(f"no assignment {assignment!r}; there are: {', '.join(BANK)}")
    path = release.ASSIGNMENTS / "release" / assignment / f"{assignment}.ipynb"
    if not path.exists():
        raise ValueError(f"{assignment} has no release: python3 course.py release {assignment} makes it")
    return nbformat.read(path, as_version=4)


def _named(student: str, submissions: Sequence[Submission]) -> Submission:
    for each in submissions:
        if student in (each.student, inert.plain(each.student)):  # as it is, or as it is shown
            return each
    near = get_close_matches(student, [each.student for each in submissions])
    hint = f"; near it: {', '.join(map(inert.plain, near))}" if near else ""
    raise ValueError(f"there is no submission of {student!r}{hint}")


def _refuse(kept: Sequence[Record], order: Order) -> None:
    """Raises where there are records already, and it was not said what is to become of them."""
    if kept:
        raise ValueError(
            f"{order.out / order.assignment} has {len(kept)} records of {order.assignment} already, and nothing was "
            "done. Add --resume to mark only what is missing or has changed, --student NAME to mark one anew, or take "
            "another --out."
        )


def _kind(order: Order) -> str | None:
    """The sandbox for this machine; None on a cluster, whose workers each take the best they have."""
    if (kind := best_kind()) == "bare":
        if order.require_sandbox:
            raise ValueError(BARE)
        console.print(Text(BARE, style="bold red"))
    return kind if order.cluster is None or order.require_sandbox else None


def _report(records: Sequence[Record], folder: Path, elsewhere: int) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("exercise", "mean", "of", "all points", "none"):
        table.add_column(heading, justify="left" if heading == "exercise" else "right")
    for name in dict.fromkeys(mark.exercise for record in records for mark in record.marks):
        marks = [mark for record in records for mark in record.marks if mark.exercise == name]
        points = [mark.points for mark in marks]
        full = sum(mark.points >= mark.of for mark in marks)
        table.add_row(name, f"{statistics.mean(points):.2f}", f"{marks[0].of:g}", str(full), str(points.count(0)))
    console.print(table)
    mean, most = statistics.mean(record.points for record in records), max(record.of for record in records)
    notebooks = "1 notebook" if len(records) == 1 else f"{len(records)} notebooks"
    more = f" ({elsewhere} of them marked before, and not in this run)" if elsewhere else ""
    console.print(f"{notebooks}{more}: {mean:.2f} of {most:g} points on average")
    console.print(f"with a problem: {sum(bool(problems(record)) for record in records)}; see grades.csv")
    kinds = Counter(record.sandbox for record in records)
    console.print(f"sandbox: {', '.join(f'{kind} ({number})' for kind, number in sorted(kinds.items()))}")
    if kinds["bare"]:
        warning = f"{kinds['bare']} of these were marked without one, with all that you may do. {ANEW}"
        console.print(Text(warning, style="bold red"))
    console.print(
        Text(f"{folder}: grades.csv, feedback/, gradescope/; {folder.parent}: gradebook.db for nbgrader"),
        soft_wrap=True,
    )
