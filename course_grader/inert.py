"""Students' text and code in a form that is safe to show and store, with every hidden character made visible."""

import re
import unicodedata
from collections.abc import Sequence

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (such as changes of direction), surrogates, line ends
MOST_SHOWN = 20_000  # characters of one cell
# The parts of a line are limited, so that no text takes long to search.
BINDS = r"""
    ^[ \t]*(?:
        (?:async[ \t]+)?def[ \t]+NAME\b
      | class[ \t]+NAME\b
      | [(\[]?[\w,*= \t]{0,200}?(?<![\w.])NAME\b[\w,*\]) \t]{0,200}?=(?!=)  # f = ..., f, g = ..., f = g = ...
      | NAME[ \t]*:[^\n=]{0,200}=(?!=)  # f: Callable = ...
      | (?:from[ \t]+[\w.]+[ \t]+)?import[^\n(]{0,200}(?<![\w.])NAME\b(?!\.|[ \t]+as\b)
      | from[ \t]+[\w.]+[ \t]+import[ \t]*\([^)]{0,500}\bNAME\b(?![ \t]+as\b)
    )
"""
BINDS_INDIRECTLY = r"""
    \A(?s:(?=.*?\bexec\b).*?\bdef[ \t]+NAME\b)
  | \b(?:globals|vars|locals)\(\)[ \t]*\[[ \t]*["']NAME["'][ \t]*\][ \t]*=(?!=)
  | \bsetattr\([^\n]{0,50}["']NAME["']
"""


def plain(text: str, keep: str = "") -> str:
    """Writes every invisible character, except those in `keep`, as its escape in Python."""
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in HIDDEN and each not in keep else each
        for each in text
    )


def code(text: str) -> str:
    """A code cell, cut to what fits on a page."""
    lines = plain(text[:MOST_SHOWN].replace("\r\n", "\n"), keep="\n\t").strip("\n")
    cut = len(text) - MOST_SHOWN
    return lines if cut <= 0 else f"{lines}\n# ... and {cut:,} more characters, which are not shown"


def answers(cells: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """For each function the last cell that defines it, ready to be shown. A cell is shown once and then referred to.

    Cells are searched as text: a text made for the purpose can crash Python's own parser.
    """
    found: dict[str, str] = {}
    shown: dict[int, str] = {}  # by the number of the cell: the function under which it is shown
    for name in names:
        number = place(cells, name)
        if number is None:
            found[name] = ""
        elif number in shown:
            found[name] = f"# in the same cell as {shown[number]}, above"
        else:
            found[name], shown[number] = code(cells[number]), name
    return found


def place(cells: Sequence[str], name: str) -> int | None:
    """The number of the last cell that seems to define a function; None where none does."""
    for pattern in (BINDS, BINDS_INDIRECTLY):
        binding = re.compile(pattern.replace("NAME", re.escape(name)), re.MULTILINE | re.VERBOSE)
        # most cells do not mention it, and a search of megabytes takes long
        numbers = (n for n in reversed(range(len(cells))) if name in cells[n] and binding.search(cells[n]))
        if (found := next(numbers, None)) is not None:
            return found
    return None
