"""Where a function comes from: the notebook's cells, and the other exercises that it calls."""

import ast
import dis
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from types import CodeType, FunctionType
from typing import Any


def outdated(fn: Callable[..., Any]) -> str:
    """Why `fn` is older than the latest cell that defines it: that cell did not run. Empty if it is not, or unknown."""
    cells, name = _cells(), getattr(fn, "__name__", "")
    defining = [i for i, cell in enumerate(cells) if re.search(rf"^[ \t]*def {re.escape(name)}\b", cell, re.MULTILINE)]
    try:
        source = inspect.getsource(fn).strip()
    except (OSError, TypeError):
        return ""
    if not defining or not any(source in cells[i] for i in defining[:-1]):
        return ""
    error = _syntax_error(cells[defining[-1]])
    if error is None and source in cells[defining[-1]]:
        return ""
    why = f"{type(error).__name__} in line {error.lineno}: {error.msg}" if error else "it stopped before the `def`"
    return f"This is an older {name}. The cell that defines it did not run ({why}). Correct that cell and run it again."


def _cells() -> Sequence[str]:
    """All cells that were run in this notebook, also those that failed; none outside of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(getattr(shell, "history_manager", None), "input_hist_parsed", ())


def _syntax_error(cell: str) -> SyntaxError | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(cell, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            return error
    return None


def called(fn: Callable[..., Any], names: Collection[str]) -> dict[str, FunctionType]:
    """Functions among `names` that `fn` calls, itself or through other functions of the notebook."""
    found: dict[str, FunctionType] = {}
    todo, seen = [fn], {fn}
    while todo:
        each = todo.pop()
        if not isinstance(each, FunctionType):
            continue
        for name in _names(each.__code__):
            other = each.__globals__.get(name)
            if isinstance(other, FunctionType) and other.__globals__ is each.__globals__ and other not in seen:
                seen.add(other)
                todo.append(other)
                if other.__name__ in names:
                    found[other.__name__] = other
    return found


def _names(code: CodeType) -> set[str]:
    """All global names that a function uses, and those inside it."""
    inner = (_names(each) for each in code.co_consts if isinstance(each, CodeType))
    return {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}.union(*inner)
