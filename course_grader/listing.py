"""Students' code as HTML with syntax colours, and which functions it uses. Nothing is run or parsed: only lexed."""

import re
from functools import lru_cache
from html import escape

from pygments import highlight, token
from pygments.formatters import HtmlFormatter
from pygments.lexers.python import PythonLexer

DEEPEST = 24  # columns of indentation that a wrapped line keeps
# The lexer takes quadratic time for these. They show nothing, and honest code has none of this length.
BLANKS = re.compile(r"[^\S\n]{200}")


def html(code: str) -> str:
    """Lines as `<span class="iN">`: N is the indentation in columns, so that a style can indent what wraps.

    `code` must have passed through `inert.code`.
    """
    text = "\n".join(line.rstrip() for line in code.expandtabs(4).split("\n"))
    if BLANKS.search(text):
        coloured = escape(text)
    else:
        coloured = highlight(text, PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True))
    depths = [min(len(line) - len(line.lstrip(" ")), DEEPEST) for line in text.split("\n")]
    lines = coloured.split("\n")[: len(depths)]
    return "".join(f'<span class="i{depth}">{line}\n</span>' for depth, line in zip(depths, lines, strict=True))


@lru_cache(maxsize=64)  # one page asks several times
def names(code: str, function: str) -> frozenset[str]:
    """The names that the last definition of a function in `code` mentions, its own included."""
    text = "\n".join(line.rstrip() for line in _definition(code, function))
    if BLANKS.search(text):
        return frozenset()
    return frozenset(value for kind, value in PythonLexer().get_tokens(text) if kind in token.Name)


def _definition(code: str, name: str) -> list[str]:
    """The lines from the last `def` of a function up to the next statement that is not indented more."""
    lines = code.split("\n")
    begins = re.compile(rf"[ \t]*(?:(?:async[ \t]+)?def[ \t]+{name}\b|{name}\b[^=(]*=(?!=))")
    starts = [number for number, line in enumerate(lines) if begins.match(line)]
    if not starts:
        return []
    first, *rest = lines[starts[-1] :]
    depth = len(first) - len(first.lstrip())
    body = []
    for line in rest:
        if line.strip() and len(line) - len(line.lstrip()) <= depth and line.lstrip()[0] not in ")]}#'\"":
            break
        body.append(line)
    return [first, *body]
