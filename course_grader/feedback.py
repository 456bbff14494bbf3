"""A page for each student: points, what the mistakes mean, what to do next, and the student's own code.

Nothing on a page runs, and it loads nothing.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from nbformat import NotebookNode

from course_grader import by_hand, colab, inert, listing
from course_grader.by_hand import NOTHING, Entered
from course_grader.records import Mark, Record, write

DEPTHS = "".join(
    f".i{depth} {{ padding-left: {depth + 4}ch; text-indent: -{depth + 4}ch }}\n"
    for depth in range(listing.DEEPEST + 1)
)
STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8") + DEPTHS
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; form-action 'none'"
CHECK = (
    "Run <code>check</code> on each function in the notebook until it shows ✓. It shows you the inputs of its cases. "
    "The grader draws other inputs for every student and attempt, and this page does not show them."
)
STOPPED = "Check the cells that stopped while grading. If a function needs what they define, it was missing:"
AGAIN = "Restart the kernel, run all cells and save. Hand the notebook in again if your course accepts it."
MOST_HEAD = 500  # bytes of a page that hold its origin
END = "</body>\n</html>\n"
WORDS = {"all": "right", "some": "partly right", "none": "not yet"}


def write_feedback(folder: Path, record: Record, release: NotebookNode, entered: Mapping[str, Entered]) -> None:
    """Write `folder`/feedback/STUDENT.html. `entered`: what people entered for this student, by exercise.

    A page that was made from the same is left as it is, which saves most of the time of a run with little to do.
    """
    path = folder / "feedback" / f"{record.slug}.html"
    if not _is_made_from(path, _origin(record, entered)):
        write(path, page(record, release, entered))


def _is_made_from(path: Path, origin: str) -> bool:
    """Whether there is a whole page that was made from this."""
    if not path.exists():
        return False
    made = path.read_bytes()
    return origin.encode() in made[:MOST_HEAD] and made.endswith(END.encode())


def _origin(record: Record, entered: Mapping[str, Entered]) -> str:
    """A hash of all that a page is made from."""
    return hashlib.sha256(f"{_sources()} {record!r} {sorted(entered.items())!r}".encode(errors="replace")).hexdigest()


@cache
def _sources() -> str:
    """A hash of the course as it is, with its lessons' names, exercises and releases."""
    root, made = colab.ROOT, hashlib.sha256()
    for pattern in ("course_grader/*.*", "course_lib/exercises/*.py", "assignments/release/*/*.ipynb", colab.BOOTSTRAP):
        for path in sorted(root.glob(str(pattern))):
            made.update(path.read_bytes())
    return made.hexdigest()


def page(record: Record, release: NotebookNode, entered: Mapping[str, Entered]) -> str:
    """HTML that needs no other file."""
    title, student = _text(_title(release)), _text(record.student)
    attempt = f" · attempt {record.attempt}" if record.attempt > 1 else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="made-from" content="{_origin(record, entered)}">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: {student}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p class="soft"><bdi>{student}</bdi>{attempt}</p>
{_problem(record)}
{_overview(record, entered)}
{_next_steps(record, entered)}
{_sections(record, release, entered)}
{END}"""


def _problem(record: Record) -> str:
    if not record.problem:
        return ""
    return f'<div class="warning"><h3>Your notebook could not be graded</h3>\n<p>{_said(record.problem)}</p></div>'


# Points ----------------------------------------------------------------------------------------------------------


def _overview(record: Record, entered: Mapping[str, Entered]) -> str:
    """All points at a glance: a bar with one segment per function, as long as it is worth, and a table."""
    total, segments, begin = by_hand.total(record, entered), [], 0.0
    for mark in record.marks:
        width, kind = 100 * mark.of / record.of, _kind(mark, entered)
        segments.append(_bar(begin, width - 0.6, _share(mark, entered), kind))
        begin += width
    rows = "".join(_row(mark, entered, linked=_explains(record, entered)) for mark in record.marks)
    return f"""<div class="score">
<p><strong>{total:g}</strong> of {record.of:g} points</p>
<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{"".join(segments)}</svg>
<table><tbody>
{rows}</tbody></table>
</div>"""


def _row(mark: Mark, entered: Mapping[str, Entered], *, linked: bool) -> str:
    name = _link(mark.exercise) if linked else f"<code>{_text(mark.exercise)}</code>"
    kind, points = _kind(mark, entered), by_hand.points(mark, entered.get(mark.exercise, NOTHING))
    bar = _bar(0, 100, _share(mark, entered), kind)
    return f"""<tr><th scope="row">{name}</th>
<td><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{bar}</svg></td>
<td class="{kind}">{WORDS[kind]}</td><td>{points:g} of {mark.of:g}</td></tr>
"""


def _bar(begin: float, width: float, share: float, kind: str) -> str:
    """SVG, since the page's policy forbids style attributes, and since printers leave out backgrounds."""
    track = f'<rect class="track" x="{begin:.2f}" width="{width:.2f}" height="4"/>'
    return track + f'<rect class="{kind}" x="{begin:.2f}" width="{width * share:.2f}" height="4"/>' * (share > 0)


def _share(mark: Mark, entered: Mapping[str, Entered]) -> float:
    return min(max(by_hand.points(mark, entered.get(mark.exercise, NOTHING)) / mark.of, 0), 1)


def _kind(mark: Mark, entered: Mapping[str, Entered]) -> str:
    share = _share(mark, entered)
    return "all" if share == 1 else "some" if share > 0 else "none"


# What to do next -------------------------------------------------------------------------------------------------


def _next_steps(record: Record, entered: Mapping[str, Entered]) -> str:
    if steps := _steps(record, entered):
        return "<h2>What to do next</h2>\n<ol>\n" + "".join(f"<li>{step}</li>\n" for step in steps) + "</ol>"
    stopped = f"<p>Some cells stopped, which cost no points:</p>\n{_stopped(record)}" if record.stopped else ""
    return f"<p>All functions are right: there is nothing left to do.</p>\n{stopped}"


def _steps(record: Record, entered: Mapping[str, Entered]) -> list[str]:
    if record.problem and record.cells and not record.digest:
        return ["This may be the grader's fault. Your instructor can run it again; you need not do anything."]
    if record.problem:
        return ["Check that this is the right file: the notebook of this assignment, saved in Jupyter.", AGAIN]
    if not (order := _order(record, entered)):
        return []
    missing = [name for name, callers in order.items() if _unwritten(record, name) and not callers]
    steps = [f"{STOPPED}\n{_stopped(record)}"] if record.stopped else []
    steps += [_step(record, name, callers) for name, callers in order.items() if name not in missing]
    if missing:
        steps.append(f"Write {_listed([_link(name) for name in missing])}.")
    return [*steps, CHECK, AGAIN]


def _stopped(record: Record) -> str:
    items = "\n".join(f"<li>{_said(each[:1].upper() + each[1:])}</li>" for each in record.stopped)
    return f"<ul>{items}</ul>"


def _step(record: Record, name: str, callers: Sequence[str]) -> str:
    verb = "Write" if _unwritten(record, name) else "Fix"
    if not callers:
        return f"{verb} {_link(name)}."
    names = _listed([f"<code>{_text(each)}</code>" for each in callers])
    return f"{verb} {_link(name)} before {names}, which {'calls' if len(callers) == 1 else 'call'} it."


def _order(record: Record, entered: Mapping[str, Entered]) -> dict[str, list[str]]:
    """Functions without full points, each with those that call it; called ones come before their callers."""
    wrong = [mark.exercise for mark in record.marks if _kind(mark, entered) != "all"]
    calls = {name: _called(record, name, wrong) for name in wrong}
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...] = ()) -> None:
        for each in calls[name]:
            if each not in above:
                visit(each, (*above, name))
        if name not in order:
            order.append(name)

    for name in wrong:
        visit(name)
    return {name: [each for each in wrong if name in calls[each]] for name in order}


def _called(record: Record, name: str, others: Sequence[str]) -> list[str]:
    number = inert.place(record.cells, name)
    names = frozenset[str]() if number is None else listing.names(inert.code(record.cells[number]), name)
    return [each for each in others if each != name and each in names]


def _unwritten(record: Record, name: str) -> bool:
    if inert.place(record.cells, name) is None:
        return not any(mark.found for mark in record.marks if mark.exercise == name)
    return bool(_called(record, name, ["NotImplementedError"]))


# Function by function --------------------------------------------------------------------------------------------


def _explains(record: Record, entered: Mapping[str, Entered]) -> bool:
    """Whether there is anything to say about single functions."""
    return bool(record.cells or entered)


def _sections(record: Record, release: NotebookNode, entered: Mapping[str, Entered]) -> str:
    if not _explains(record, entered):
        return ""
    headings = _headings(release)
    code = inert.answers(record.cells, [mark.exercise for mark in record.marks])
    return "\n".join(
        _section(record, mark, entered, headings.get(mark.exercise, ""), code[mark.exercise]) for mark in record.marks
    )


def _section(record: Record, mark: Mark, entered: Mapping[str, Entered], heading: str, code: str) -> str:
    name, kind, by_person = _text(mark.exercise), _kind(mark, entered), entered.get(mark.exercise, NOTHING)
    points = by_hand.points(mark, by_person)
    judged = f"The grader gave {mark.points:g} of {mark.of:g} points: " if by_person.score is not None else ""
    parts = [f"<p>{judged}{_said(mark.message)}</p>"]
    if mark.points < mark.of:
        parts += [_blame(record, mark), _reading(record.assignment, mark)]
    if by_person.anything:
        parts.append(_from_a_person(mark, by_person))
    parts.append(_listing(mark, code))
    return f"""<section id="{name}">
<h2>{_text(heading or mark.exercise)}</h2>
<p class="mark"><code>{name}</code> <span class="{kind}">{WORDS[kind]}</span>
<strong class="{kind}">{points:g} of {mark.of:g} points</strong></p>
{chr(10).join(filter(None, parts))}
</section>"""


def _blame(record: Record, mark: Mark) -> str:
    """A hint if the mark may follow from another function. The judge says so if it has lent the course's own."""
    wrong = [each.exercise for each in record.marks if each.points < each.of]
    if not (called := [each for each in _called(record, mark.exercise, wrong) if each not in mark.lent]):
        return ""
    names, verb = [_link(each) for each in called], "is" if len(called) == 1 else "are"
    return f"<p>It calls your {_listed(names)}, which {verb} not right yet. Fix that first: it may be the reason.</p>"


def _reading(assignment: str, mark: Mark) -> str:
    notebook, heading = _lesson(assignment, mark.exercise, mark.message)
    if not notebook:
        return ""
    place = f"lesson {int(notebook[:2])}, section “{_text(heading)}”"
    if repository := colab.repository():
        # as Jupyter and GitHub make anchors
        anchor = quote(heading.replace(" ", "-"))
        address = f"https://github.com/{repository}/blob/{colab.BRANCH}/notebooks/{notebook}.ipynb#{anchor}"
        place = f'<a href="{escape(address)}">{place}</a>'
    return f"<p>Explained in {place}.</p>"


@cache
def _lesson(assignment: str, exercise: str, message: str) -> tuple[str, str]:
    from course_lib.exercises import BANK  # here: it imports PyTorch, which takes seconds, and most pages do without

    if exercise not in BANK[assignment]:  # the record is older than the course
        return "", ""
    section = BANK[assignment][exercise].explained(message)
    return section.notebook, section.heading


def _from_a_person(mark: Mark, entered: Entered) -> str:
    said = []
    if entered.score is not None:
        said.append(f"{entered.score:g} of {mark.of:g} points, instead of the grader's {mark.points:g}.")
    if entered.extra_credit:
        said.append(f"Extra credit: {entered.extra_credit:+g} points.")
    if entered.look_again:
        said.append("This was entered for an earlier version of your work; a second look is due.")
    points = f"<p>{' '.join(said)}</p>\n" if said else ""
    comment = f'<p class="comment" dir="auto">{_said(entered.comment, keep=chr(10))}</p>' if entered.comment else ""
    return f"<aside>\n<h3>From your instructor</h3>\n{points}{comment}\n</aside>"


def _listing(mark: Mark, code: str) -> str:
    if code:
        return f"<pre><code>{listing.html(code)}</code></pre>"
    if mark.found or mark.points:  # as by `exec`; otherwise the message says that it is missing
        return '<p class="soft">The cell that defines it was not recognized, so its code is not shown here.</p>'
    return ""


# Words -----------------------------------------------------------------------------------------------------------


def _title(release: NotebookNode) -> str:
    first = re.search(r"^# (.+)$", release.cells[0].source, re.MULTILINE)
    return _spoken(first[1]) if first else ""


def _headings(release: NotebookNode) -> Mapping[str, str]:
    """By function, the heading of the part of the notebook that asks for it."""
    heading, found = "", {}
    for cell in release.cells:
        if cell.cell_type == "markdown" and (lines := re.findall(r"^##? (.+)$", cell.source, re.MULTILINE)):
            heading = _spoken(lines[-1])
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            found[marks["grade_id"]] = heading
    return found


def _spoken(heading: str) -> str:
    return re.sub(r"[`*$]", "", heading)


def _link(exercise: str) -> str:
    return f'<a href="#{_text(exercise)}"><code>{_text(exercise)}</code></a>'


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _text(text: str, keep: str = "") -> str:
    return escape(inert.plain(text, keep))


def _said(text: str, keep: str = "") -> str:
    """A message, with its code in backticks."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _text(text, keep))
