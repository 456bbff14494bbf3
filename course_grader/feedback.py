"""A page for each student: points, what the judge says, and the student's own code. Nothing in it runs."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from nbformat import NotebookNode

from course_grader import inert
from course_grader.records import Mark, Record, write

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --line: #d9dfe5; --page: #fff; --code: #f5f7f9;
  --all: #00664f; --some: #8a5a00; --none: #a33a00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9aa7b3; --line: #38434e; --page: #14191e;
  --code: #1d242b; --all: #4fc3a1; --some: #e6b450; --none: #ff9a70 } }
body { margin: 0 auto; max-width: 46rem; padding: 2.5rem 1.25rem; font: 1rem/1.6 system-ui, sans-serif;
  color: var(--ink); background: var(--page) }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 .25rem } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem }
p { margin: .5rem 0; overflow-wrap: anywhere } .soft { color: var(--soft) } .total { font-size: 1.25rem }
table { border-collapse: collapse; width: 100%; margin: 1.25rem 0 } a { color: inherit }
th, td { text-align: left; font-weight: normal; padding: .3rem .5rem .3rem 0; border-bottom: 1px solid var(--line) }
th:not(:first-child), td:not(:first-child) { text-align: right; padding-right: 0; font-variant-numeric: tabular-nums }
thead { color: var(--soft) } .all { color: var(--all) } .some { color: var(--some) } .none { color: var(--none) }
pre { background: var(--code); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem;
  font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt }
  h2 { break-after: avoid } pre { font-size: 8.5pt } }
"""
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; form-action 'none'"


def page(record: Record, release: NotebookNode) -> str:
    """HTML of its own, without scripts or anything from elsewhere."""
    title, headings = _title(release), _headings(release)
    code = inert.answers(record.cells, [mark.exercise for mark in record.marks])
    student, attempt = _text(record.student), f", attempt {record.attempt}" if record.attempt > 1 else ""
    problem = f'<p class="none">{_text(record.problem)}</p>' if record.problem else ""
    shown = {name: _shown(text, record.problem) for name, text in code.items()}
    sections = "\n".join(_section(mark, headings.get(mark.exercise, ""), shown[mark.exercise]) for mark in record.marks)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}: {student}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<p class="soft"><bdi>{student}</bdi>{attempt}</p>
<p class="total">{_number(record.points)} of {_number(record.of)} points</p>
<p class="soft">Nothing here tells what the inputs were. <code>check</code> in the notebook says more.</p>
{problem}
<table>
<thead><tr><th scope="col">function</th><th scope="col">points</th><th scope="col">of</th></tr></thead>
<tbody>
{"".join(map(_row, record.marks))}</tbody>
</table>
{sections}
</body>
</html>
"""


def write_feedback(folder: Path, record: Record, release: NotebookNode) -> None:
    write(folder / "feedback" / f"{record.slug}.html", page(record, release))


def _row(mark: Mark) -> str:
    name = _text(mark.exercise)
    points = f'<td class="{_grade(mark)}">{_number(mark.points)}</td><td>{_number(mark.of)}</td>'
    return f'<tr><td><a href="#{name}"><code>{name}</code></a></td>{points}</tr>\n'


def _shown(code: str, problem: str) -> str:
    if code:
        return f"<pre><code>{escape(code)}</code></pre>"
    return "" if problem else '<p class="soft">No cell defines it.</p>'  # what was not read may well define it


def _section(mark: Mark, heading: str, shown: str) -> str:
    name = _text(mark.exercise)
    return f"""<section id="{name}">
<h2>{_text(heading or mark.exercise)}</h2>
<p><code>{name}</code>: <strong class="{_grade(mark)}">{_number(mark.points)} of {_number(mark.of)} points</strong></p>
<p>{_text(mark.message)}</p>
{shown}
</section>"""


def _grade(mark: Mark) -> str:
    return "all" if mark.points >= mark.of else "some" if mark.points > 0 else "none"


def _title(release: NotebookNode) -> str:
    first = re.search(r"^# (.+)$", release.cells[0].source, re.MULTILINE)
    return _spoken(first[1]) if first else ""


def _headings(release: NotebookNode) -> Mapping[str, str]:
    """By function, the heading of the part of the page in which it is asked for."""
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


def _text(text: str) -> str:
    return escape(inert.plain(text))


def _number(points: float) -> str:
    return f"{points:g}"
