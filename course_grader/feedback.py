"""A page for each student: the points, the mistakes, what to do next, and the student's own code.

A page runs no scripts and loads no other file.
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

from course_grader import by_hand, colab, inert, listing, stopped
from course_grader.by_hand import NOTHING, Entered
from course_grader.records import Mark, Record, write
from course_grader.stopped import Stopped

DEPTHS = "".join(
    f".i{depth} {{ padding-left: {depth + 4}ch; text-indent: -{depth + 4}ch }}\n"
    for depth in range(listing.DEEPEST + 1)
)
STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8") + f"@media print {{\n{DEPTHS}}}\n"
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; form-action 'none'"
CHECK = (
    "Run <code>check</code> on each function in the notebook until it shows ✓. "
    "<code>check</code> shows which value is wrong, or the line that failed. "
    "The grader draws other inputs for every student and attempt, and this page does not show them."
)
RIGHT_FILE = "Check that this is the right file: the notebook of this assignment, saved in Jupyter."
STOPPED = "These cells stopped while grading. Functions that use what they define fail too."
STOPPED_AT_NO_COST = "Some cells stopped while grading, which cost no points."
COUNTED = "(Only code cells are counted, from the top.)"
SEVERAL = "Several submissions"  # how `submissions` begins the problem of a student with two files
CHOOSE = "More than one file arrived under your name. Your instructor has to choose one; you need not do anything."
MOST_STOPPED = 3  # cells that are shown at once; the others are behind a click
ERROR = re.compile(r"\b(did not run|raised an?|is not defined)\b")  # in messages about code that gave no values
MOST_CLAUSE = 110  # characters
AGAIN = "Restart the kernel, run all cells and save. Hand the notebook in again if your course accepts it."
MOST_HEAD = 500  # bytes of a page that hold its origin
END = "</body>\n</html>\n"
WORDS = {"all": "right", "some": "partly right", "none": "not right yet", "ungraded": "not graded"}
SIGNS = {"all": "✓", "some": "◐", "none": "✗", "ungraded": "–"}


def write_feedback(folder: Path, record: Record, release: NotebookNode, entered: Mapping[str, Entered]) -> None:
    """Write `folder`/feedback/STUDENT.html. `entered`: what people entered for this student, by exercise.

    A page that is up to date is left alone, which saves most of the time of a run in which little has changed.
    """
    path = folder / "feedback" / f"{record.slug}.html"
    if not _is_made_from(path, _origin(record, entered)):
        write(path, page(record, release, entered))


def _is_made_from(path: Path, origin: str) -> bool:
    """Whether the file exists, is complete, and was made from data with this hash."""
    if not path.exists():
        return False
    made = path.read_bytes()
    return origin.encode() in made[:MOST_HEAD] and made.endswith(END.encode())


def _origin(record: Record, entered: Mapping[str, Entered]) -> str:
    """A hash of everything that a page is made from."""
    return hashlib.sha256(f"{_sources()} {record!r} {sorted(entered.items())!r}".encode(errors="replace")).hexdigest()


@cache
def _sources() -> str:
    """A hash of this version of the course: the grader, the exercises, the releases and the lessons' addresses."""
    root, made = colab.ROOT, hashlib.sha256()
    for pattern in ("course_grader/*.*", "course_lib/exercises/*.py", "assignments/release/*/*.ipynb", colab.BOOTSTRAP):
        for path in sorted(root.glob(str(pattern))):
            made.update(path.read_bytes())
    return made.hexdigest()


def page(record: Record, release: NotebookNode, entered: Mapping[str, Entered]) -> str:
    """The whole page as HTML."""
    title, student = _text(_title(release)), _text(record.student)
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
<p class="soft"><bdi>{student}</bdi> · attempt {record.attempt}</p>
{_problem(record)}
{_overview(record, entered)}
{_next_steps(record, entered)}
{_sections(record, release, entered)}
{END}"""


def _problem(record: Record) -> str:
    if not record.problem:
        return ""
    several = _is_for_instructor(record)
    file = "new file" if record.graded else "notebook"
    title = "Your instructor has to choose a file" if several else f"Your {file} could not be graded"
    said = _said(record.problem)
    if several:
        said = CHOOSE if _is_ungraded(record) else f"{CHOOSE} The points are those of attempt {record.attempt}."
    return f'<div class="warning"><h3>{title}</h3>\n<p>{said}</p></div>'


def _is_for_instructor(record: Record) -> bool:
    """Whether several files arrived, of which the student cannot take one back."""
    return record.problem.startswith(SEVERAL)


def _is_ungraded(record: Record) -> bool:
    """Whether no function was judged: the file is not a notebook, or grading it failed."""
    return bool(record.problem) and not (record.digest and record.cells)


# Points ----------------------------------------------------------------------------------------------------------


def _overview(record: Record, entered: Mapping[str, Entered]) -> str:
    """All points at a glance: a bar with one segment per function, as long as it is worth, and a table."""
    if _is_ungraded(record) and not entered:
        counts = f"It counts as 0 of {_points(record.of)} until a notebook has been graded."
        return f'<div class="score">\n<p><strong>Not graded</strong></p>\n<p>{counts}</p>\n</div>'
    total, segments, begin = by_hand.total(record, entered), [], 0.0
    for mark in record.marks:
        width, kind = 100 * mark.of / record.of, _kind(record, mark, entered)
        segments.append(_bar(begin, width - 0.6, _share(mark, entered), kind))
        begin += width
    rows = "".join(_row(record, mark, entered) for mark in record.marks)
    return f"""<div class="score">
<p><strong>{total:g}</strong> of {_points(record.of)}</p>
<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{"".join(segments)}</svg>
<table><tbody>
{rows}</tbody></table>
</div>"""


def _row(record: Record, mark: Mark, entered: Mapping[str, Entered]) -> str:
    name = _link(mark.exercise) if _explains(record, entered) else f"<code>{_text(mark.exercise)}</code>"
    kind, points = _kind(record, mark, entered), by_hand.points(mark, entered.get(mark.exercise, NOTHING))
    bar = _bar(0, 100, _share(mark, entered), kind)
    earned = "" if kind == "ungraded" else f"{points:g} of {mark.of:g}"
    return f"""<tr><th scope="row">{name}</th>
<td><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{bar}</svg></td>
<td class="{kind}">{_judgement(kind)}</td>
<td>{earned}</td></tr>
"""


def _judgement(kind: str) -> str:
    return f'<span aria-hidden="true">{SIGNS[kind]}</span> {WORDS[kind]}'


def _points(number: float) -> str:
    return f"{number:g} point{'' if number == 1 else 's'}"


def _bar(begin: float, width: float, share: float, kind: str) -> str:
    """SVG, since the page's policy forbids style attributes, and since printers leave out backgrounds."""
    track = f'<rect class="track" x="{begin:.2f}" width="{width:.2f}" height="4"/>'
    return track + f'<rect class="{kind}" x="{begin:.2f}" width="{width * share:.2f}" height="4"/>' * (share > 0)


def _share(mark: Mark, entered: Mapping[str, Entered]) -> float:
    return min(max(by_hand.points(mark, entered.get(mark.exercise, NOTHING)) / mark.of, 0), 1)


def _kind(record: Record, mark: Mark, entered: Mapping[str, Entered]) -> str:
    if _is_ungraded(record) and not entered.get(mark.exercise, NOTHING).anything:
        return "ungraded"
    share = _share(mark, entered)
    return "all" if share == 1 else "some" if share > 0 else "none"


# What to do next -------------------------------------------------------------------------------------------------


def _next_steps(record: Record, entered: Mapping[str, Entered]) -> str:
    if _is_for_instructor(record):
        return ""
    if steps := _steps(record, entered):
        return "<h2>What to do next</h2>\n<ol>\n" + "".join(f"<li>{step}</li>\n" for step in steps) + "</ol>"
    cells = _stopped(record, STOPPED_AT_NO_COST) if record.stopped else ""
    return f"<p>All functions are right: there is nothing left to do.</p>\n{cells}"


def _steps(record: Record, entered: Mapping[str, Entered]) -> list[str]:
    if record.problem and record.cells and not record.digest:
        return ["This may be the grader's fault. Your instructor can run it again; you need not do anything."]
    order = _order(record, entered)
    check_file = [RIGHT_FILE] if record.problem else []
    if not order or not record.graded:
        return [*check_file, AGAIN] if check_file else []
    missing = [name for name, callers in order.items() if _unwritten(record, name) and not callers]
    steps = [*check_file, _stopped(record, STOPPED)] if record.stopped else check_file
    steps += [_step(record, name, callers) for name, callers in order.items() if name not in missing]
    if missing:
        steps.append(f"Write {_listed([_link(name) for name in missing])}.")
    return [*steps, CHECK, AGAIN]


def _stopped(record: Record, introduction: str) -> str:
    """The cells that stopped first. Cells that failed because of them are folded, as are all beyond `MOST_STOPPED`."""
    found = stopped.grouped(record.stopped, record.cells)
    shown, rest = found[:MOST_STOPPED], found[MOST_STOPPED:]
    folded = _folded(f"{len(rest)} more", _cells(rest)) if rest else ""
    return f'<p>{introduction} <span class="soft">{COUNTED}</span></p>\n{_cells(shown)}{folded}'


def _cells(found: Sequence[Stopped]) -> str:
    return "<ul>" + "\n".join(f"<li>{_cell(each)}</li>" for each in found) + "</ul>"


def _cell(found: Stopped) -> str:
    if found.cell is None:
        return _said(found.message[:1].upper() + found.message[1:])
    line = f"<code>{escape(found.line)}</code> " if found.line else ""
    later = "1 later cell" if len(found.later) == 1 else f"{len(found.later)} later cells"
    folded = _folded(f"{later} stopped because of this", _cells(found.later)) if found.later else ""
    return f"Cell {found.cell} {line}{_said(found.message)}{folded}"


def _folded(summary: str, content: str) -> str:
    return f"\n<details>\n<summary>{summary}</summary>\n{content}\n</details>"


def _step(record: Record, name: str, callers: Sequence[str]) -> str:
    (mark,) = (mark for mark in record.marks if mark.exercise == name)
    if mark.points == mark.of:
        return f"Revise {_link(name)}: your instructor gave other points than the grader."
    unwritten = _unwritten(record, name)
    step = f"{'Write' if unwritten else 'Fix'} {_link(name)}"
    if callers:
        names = _listed([f"<code>{_text(each)}</code>" for each in callers])
        step += f" before {names}, which {'calls' if len(callers) == 1 else 'call'} it"
    return f"{step}." if unwritten else f"{step}: {_said(_clause(mark.message))}."


def _clause(message: str) -> str:
    """What a message says is wrong, without explanations, to stand after a colon."""
    message = re.sub(r"^(Case \d+ of \d+: |The values are right\. (But )?)", "", message)
    message = re.sub(r"^This matches\b", "its answers match", message)
    sentence = re.split(r"(?<=[.!?]) ", message, maxsplit=1)[0].rstrip(".")
    clause = sentence if re.search(r": \w*(Error|Exception|Warning)\b", sentence) else re.split("[:;] ", sentence)[0]
    clause = clause if len(clause) <= MOST_CLAUSE else f"{clause[:MOST_CLAUSE].rsplit(' ', 1)[0]} ..."
    return clause if clause[1:2].isupper() else clause[:1].lower() + clause[1:]


def _order(record: Record, entered: Mapping[str, Entered]) -> dict[str, list[str]]:
    """Functions without full points, each with the ones that call it. A function comes before its callers."""
    wrong = [mark.exercise for mark in record.marks if _kind(record, mark, entered) != "all"]
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
    name, kind, by_person = _text(mark.exercise), _kind(record, mark, entered), entered.get(mark.exercise, NOTHING)
    points = by_hand.points(mark, by_person)
    earned = "" if kind == "ungraded" else f'<strong class="{kind}">{points:g} of {_points(mark.of)}</strong>'
    judged = f"The grader gave {mark.points:g} of {_points(mark.of)}: " if by_person.score is not None else ""
    parts = [f'<p class="message">{judged}{_said(mark.message)}</p>']
    if mark.points < mark.of and not _is_ungraded(record):
        parts += [_blame(record, mark), _reading(record.assignment, mark, heading)]
    if by_person.anything:
        parts.append(_from_a_person(mark, by_person))
    parts.append(_listing(mark, code, folded=kind == "all"))
    return f"""<section id="{name}">
<h2><code>{name}</code></h2>
<p class="soft">{_text(heading)}</p>
<p class="mark"><span class="{kind}">{_judgement(kind)}</span>
{earned}</p>
{chr(10).join(filter(None, parts))}
<p class="top"><a href="#top">Back to the top</a></p>
</section>"""


def _blame(record: Record, mark: Mark) -> str:
    """A hint if wrong values may come from another function that this one calls.

    Where the judge lends the course's own function, what is still wrong has another reason. Where it cannot, it says so
    in its message.
    """
    if not mark.found or mark.stopped or ERROR.search(mark.message):
        return ""
    wrong = [each.exercise for each in record.marks if each.points < each.of]
    other = (each for each in _called(record, mark.exercise, wrong) if each not in mark.lent)
    if not (called := [each for each in other if not _is_lent(record, each, mark.exercise)]):
        return ""
    names = _listed([_link(each) for each in called])
    rest = "is not right yet. Fix that first: it" if len(called) == 1 else "are not right yet. Fix those first: they"
    return f"<p>It calls your {names}, which {rest} may be the reason.</p>"


def _is_lent(record: Record, called: str, caller: str) -> bool:
    """Whether the judge offered the caller the course's function instead. `Mark.lent` names only those that it used."""
    names = [mark.exercise for mark in record.marks]
    earned = any(mark.points for mark in record.marks if mark.exercise == called)
    above = names.index(called) < names.index(caller)
    return above and not earned


def _reading(assignment: str, mark: Mark, heading: str) -> str:
    """Where the topic is explained: in a part of the homework, and in a lesson."""
    part = re.match(r"(\d+)\. ", heading)
    see = f"See part {part[1]} of the notebook. " if part else ""
    notebook, section = _lesson(assignment, mark.exercise, mark.message)
    if not notebook:
        return f"<p>{see.strip()}</p>" if see else ""
    place = f"lesson {int(notebook[:2])}, section “{_text(section)}”"
    if repository := colab.repository():
        anchor = quote(section.replace(" ", "-"))  # as Jupyter and GitHub write anchors
        address = f"https://github.com/{repository}/blob/{colab.BRANCH}/notebooks/{notebook}.ipynb#{anchor}"
        place = f'<a href="{escape(address)}">{place}</a>'
    return f"<p>{see}Background: {place}.</p>"


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
        said.append(f"{entered.score:g} of {_points(mark.of)}, instead of the grader's {mark.points:g}.")
    if entered.extra_credit:
        unit = "point" if abs(entered.extra_credit) == 1 else "points"
        said.append(f"Extra credit: {entered.extra_credit:+g} {unit}.")
    if entered.look_again:
        said.append("This was entered for an earlier version of your work; a second look is due.")
    points = f"<p>{' '.join(said)}</p>\n" if said else ""
    comment = f'<p class="comment" dir="auto">{_said(entered.comment, keep=chr(10))}</p>' if entered.comment else ""
    return f"<aside>\n<h3>From your instructor</h3>\n{points}{comment}\n</aside>"


def _listing(mark: Mark, code: str, *, folded: bool) -> str:
    if code:
        block = f'<pre tabindex="0"><code>{listing.html(code)}</code></pre>'  # tabindex: to scroll it with the keyboard
        return _folded("Your code", block) if folded else block
    if mark.found or mark.points:  # as by `exec`; otherwise the message says that it is missing
        return '<p class="soft">The cell that defines it was not recognized, so its code is not shown here.</p>'
    return ""


# Words -----------------------------------------------------------------------------------------------------------


def _title(release: NotebookNode) -> str:
    first = re.search(r"^# (.+)$", release.cells[0].source, re.MULTILINE)
    return _spoken(first[1]) if first else ""


def _headings(release: NotebookNode) -> Mapping[str, str]:
    """For each function, the heading of its part of the notebook."""
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
    name = _text(exercise)
    return f'<a href="#{name}"><code>{name.replace("_", "_<wbr>")}</code></a>'


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _text(text: str, keep: str = "") -> str:
    return escape(inert.plain(text, keep))


def _said(text: str, keep: str = "") -> str:
    """A message as HTML, in which text between backticks becomes code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _text(text, keep))
