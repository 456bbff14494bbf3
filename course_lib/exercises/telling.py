"""What `check` can tell of a function that stopped, and of a case that came out wrong."""

import traceback
from collections.abc import Callable
from typing import Any

from torch import Tensor

UNWRITTEN = "Not written yet."
FEW = 12  # numbers that one still reads
SHORT = 700  # characters of a case that one still goes through by hand


def unwritten(fn: Callable[..., Any], error: BaseException) -> str:
    """Whether it is `fn` that is not written, or another function that it calls."""
    code, last = getattr(fn, "__code__", None), traceback.extract_tb(error.__traceback__)[-1]
    called = code is not None and last.name != code.co_name
    return f"It calls {last.name}, which is not written yet." if called else UNWRITTEN


def waits(message: str) -> bool:
    """Whether it is what is said of a function that is not written, or that calls one."""
    return message.lower().endswith(UNWRITTEN.lower())


def line(fn: Callable[..., Any], error: BaseException) -> str:
    """The line of the student's own cell where it stopped."""
    code = getattr(fn, "__code__", None)
    lines = [f.line for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    return f" The line: `{lines[-1]}`." if lines and lines[-1] else ""


def about_values(difference: str) -> bool:
    """Whether it tells of values, and not of a type or a shape."""
    wanted = difference.partition(", got")[0]
    return not any(words in wanted for words in ("wanted a", "shape", "values ("))


def facts(difference: str, case: dict[str, Any]) -> str:
    """The whole case, where values differ and it is so short that one can go through it by hand."""
    brief = {name: _brief(value) for name, value in case.items()}
    said = ", ".join(f"{name} {value}" for name, value in brief.items())
    told = about_values(difference) and all(brief.values()) and len(said) < SHORT
    return f" In this case: {said}." if told else ""


def _brief(value: Any) -> str:
    """Empty for what is not brief."""
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) <= FEW:
        return str([float(f"{x:.4g}") if value.is_floating_point() else x for x in value.tolist()])
    return str(value).replace("'", "") if isinstance(value, dict | int | float | str | None) else ""
