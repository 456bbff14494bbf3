"""What `check` says about a function that stopped, and about a case with a wrong answer."""

import builtins
import linecache
import re
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import FrameType
from typing import Any

from torch import Tensor

from course_lib.exercises.advice import advice
from course_lib.exercises.comparing import Difference

UNWRITTEN = "Not written yet."
FEW = 12  # numbers in a vector that one still reads
SHORT = 700  # characters of a case that one still goes through by hand
MOST, HEAD, TAIL = 400, 280, 100  # characters of other people's messages: all up to MOST, else the two ends
IMPORTS = {
    "math": "import math",
    "np": "import numpy as np",
    "torch": "import torch",
    "einsum": "from torch import einsum",
    "F": "from torch.nn import functional as F",
}


def unwritten(fn: Callable[..., Any], error: BaseException, number: int) -> str:
    """Whether `fn` is not written, or only the part that case `number` reaches, or another function that it calls."""
    code, last = getattr(fn, "__code__", None), traceback.extract_tb(error.__traceback__)[-1]
    if code is not None and last.name != code.co_name:
        return f"It calls {last.name}, which is not written yet."
    return UNWRITTEN if number == 1 else f"Case {number} reaches a part that is not written yet."


def shortened(text: str) -> str:
    """One line, with the middle left out if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= MOST else f"{text[:HEAD]} [...] {text[-TAIL:]}"


def raised(error: BaseException) -> str:
    """As in "raised a TypeError"."""
    name = type(error).__name__
    vowel = name[:1] in "AEIOaeio" or (name.startswith("Un") and not name.startswith("Uni"))
    return f"raised {'an' if vowel else 'a'} {name}"


def explained(error: BaseException, fn: Callable[..., Any], case: dict[str, Any]) -> str:
    """What may have caused `error`, the inputs, and the line of `fn` that it comes from."""
    frame, code, inside = _origin(fn, error)
    why = ""
    if not code.startswith("raise"):
        why = _cause(error, fn, case, frame) or advice(error, code, inside) or _suggestion(error, frame)
    line = f"The line: `{shortened(code)}`{_values_on(code, frame, case)}." if code else ""
    return "".join(f" {part}" for part in (why, _inputs(case), line) if part)


def facts(found: Difference, case: dict[str, Any]) -> str:
    """The whole case, if values differ and it is short enough to be worked through by hand."""
    brief = {name: _brief(value) for name, value in case.items()}
    said = ", ".join(f"{name} {value}" for name, value in brief.items())
    return f" In this case: {said}." if found.of_values and all(brief.values()) and len(said) < SHORT else ""


def _origin(fn: Callable[..., Any], error: BaseException) -> tuple[FrameType | None, str, list[str]]:
    """The last frame in the student's own cell, its line or lines, and the functions called below."""
    file = getattr(getattr(fn, "__code__", None), "co_filename", None)
    walked = list(traceback.walk_tb(error.__traceback__))
    own = [i for i, (frame, _) in enumerate(walked) if frame.f_code.co_filename == file]
    if not own:
        return None, "", []
    last = traceback.extract_tb(error.__traceback__)[own[-1]]
    first = last.lineno or 0
    lines = [linecache.getline(last.filename, n).strip() for n in range(first, (last.end_lineno or first) + 1)]
    below = [frame.f_code.co_name for frame, _ in walked[own[-1] + 1 :]]
    return (
        walked[own[-1]][0],
        " ".join(lines),
        [name for name in below if name != "__torch_function__"],
    )  # of torch.device("cpu")


def _cause(error: BaseException, fn: Callable[..., Any], case: dict[str, Any], frame: FrameType | None) -> str:
    """What can be told from the function and its case, beyond the words of the error."""
    if frame is None and isinstance(error, TypeError) and re.match(r"\S+\(\) (takes|missing)", str(error)):
        given = f"{getattr(fn, '__name__', 'it')}({', '.join(case)})"
        return f"`check` calls {given}: keep the parameters that the page gives it."
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], Tensor):
        return "A tensor does not work as a key: use its number, .item()."
    if isinstance(error, KeyError | TypeError):
        return _about_config(error, case)
    if isinstance(error, UnboundLocalError) and frame is not None:
        return _about_unbound(error, frame)
    if isinstance(error, AttributeError) and isinstance(error.obj, dict) and error.name in error.obj:
        return f'A dict is read with brackets: ["{error.name}"].'
    return ""


def _about_config(error: KeyError | TypeError, case: dict[str, Any]) -> str:
    """For a key that a dict of the case does not have, or has as None."""
    for name, value in case.items():
        if not isinstance(value, dict):
            continue
        empty = [str(key) for key, kept in value.items() if kept is None]
        if isinstance(error, KeyError) and str(error) not in map(repr, value):
            return f"In this case {name} has only: {', '.join(map(str, value))}."
        if isinstance(error, TypeError) and "NoneType" in str(error) and empty:
            return f"In this case {name} has None for: {', '.join(empty)}."
    return ""


def _about_unbound(error: UnboundLocalError, frame: FrameType) -> str:
    name = re.search(r"'(\w+)'", str(error))
    if name and (name[1] in frame.f_globals or hasattr(builtins, name[1])):
        return (
            f"`{name[1]}` is assigned inside the function, which makes it a local variable in all of it: give the "
            f"result another name."
        )
    return "Only a loop or an `if` that this case does not enter sets it: give it a value before."


def _suggestion(error: BaseException, frame: FrameType | None) -> str:
    """For an undefined name or attribute."""
    if isinstance(error, AttributeError):
        return "" if error.obj is None else _did_you_mean(error.name, dir(error.obj))
    if not isinstance(error, NameError) or frame is None:
        return ""
    if error.name in IMPORTS:
        return f"Import it first: {IMPORTS[error.name]}."
    meant = _did_you_mean(error.name, {*frame.f_locals, *frame.f_globals, *dir(builtins)})
    return meant or "Has the cell that defines it run?"


def _did_you_mean(name: str | None, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1, 0.7) if name and len(name) > 3 else []  # a short name is near to any
    return f"Did you mean {near[0]}?" if near else ""


def _inputs(case: dict[str, Any]) -> str:
    """Shapes of the tensors, also of those in a list; numbers as they are; the first entry of a long list."""
    shown = {name: x for name, x in case.items() if isinstance(x, Tensor | list | int | float | str)}
    return f"Its inputs: {', '.join(f'{name} {_shown(x)}' for name, x in shown.items())}." if shown else ""


def _values_on(code: str, frame: FrameType | None, case: dict[str, Any]) -> str:
    """Shapes of the tensors that a line uses and that are not inputs as they were given."""
    found = {}
    for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*", re.sub(r"\"[^\"]*\"|'[^']*'", "", code)):
        value = frame.f_locals.get(name, 0) if frame else 0
        given = case.get(name)
        if isinstance(value, Tensor) and not (isinstance(given, Tensor) and given.shape == value.shape):
            found[name] = tuple(value.shape)
        elif value is None or isinstance(value, list):
            found[name] = "None" if value is None else "a list"
    return f", where {', '.join(f'{name} is {what}' for name, what in found.items())}" if found else ""


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > 9:
        return f"{len(value)} such as {_shown(value[0])}"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(_shown, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return str(tuple(value.shape)) if isinstance(value, Tensor) else _number(value)


def _brief(value: Any) -> str:
    """Empty for what is not brief."""
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) <= FEW:
        return f"[{', '.join(f'{x:.4g}' if isinstance(x, float) else str(x) for x in value.tolist())}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_number(each)}' for key, each in value.items())}}}"
    return _number(value) if isinstance(value, int | float | str | None) else ""


def _number(value: Any) -> str:
    """One way to write a number, whatever its type: 2 and 2.0 are both 2."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
