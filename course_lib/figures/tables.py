"""Tables of numbers as HTML that a narrow page shows row by row, so that nothing is cut off or broken."""

from collections.abc import Sequence
from html import escape

NARROW = 560  # px: below it each row becomes a list
RULES = f"""
.course-table{{container-type:inline-size;width:100%;font:13px sans-serif}}
.course-table table{{border-collapse:collapse}}
.course-table thead{{border-bottom:1px solid #888}}
.course-table :is(th,td){{padding:2px 16px 2px 4px;text-align:left;font-weight:inherit}}
.course-table .course-bold,.course-table thead{{font-weight:bold}}
@container (max-width:{NARROW}px){{
.course-table thead{{display:none}}
.course-table :is(table,tbody,tr,th,td){{display:block}}
.course-table tbody th{{padding-top:8px;font-weight:bold}}
.course-table td{{padding-left:16px;font-weight:normal}}
.course-table td::before{{content:attr(data-head) ": "}}
}}
"""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, marks: Sequence[str] = (), bold: int = -1) -> str:
    """Rows whose first cell is their name. `marks`: HTML before each name; `bold`: the row to stress."""
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    body = ""
    for i, (name, *cells) in enumerate(rows):
        mark = f"{marks[i]} " if marks else ""
        said = "".join(
            f'<td data-head="{escape(words)}">{escape(cell)}</td>' for words, cell in zip(heads[1:], cells, strict=True)
        )
        kind = ' class="course-bold"' if i == bold else ""
        body += f'<tr{kind}><th scope="row">{mark}{escape(name)}</th>{said}</tr>'
    return (
        f'<style>{RULES}</style><div class="course-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
