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


# What Python and PyTorch say, and what it mostly means in an exercise.
ADVICE = {
    "for ^": "Python writes a power as **.",
    "only one element tensors can be converted": "`math` takes one number: of a tensor, write x.log() or x.exp().",
    "Boolean value of Tensor": "`if` and `while` take one truth value: compare single elements, or use torch.where.",
    "is not associated with a value": "Only a loop or an `if` sets it that this case does not enter: set it before.",
    "mat1 and mat2 shapes cannot": "In A @ B rows of A are as long as columns of B: is a transpose missing, or are two "
    "tensors joined along another axis?",
    "ellipsis": "A `...` still stands where a value should: write that part.",
    "'dict' object has no attribute": 'A dict is read with brackets: config["head_dim"].',
    "could not infer output dtype": "PyTorch takes the mean of floats only: load.float().mean().",
    "not implemented for": "It wants another dtype: integers to count or to index, floats for nearly everything else.",
    "bincount only supports 1-d": "Flatten it first.",
    "must match the size of tensor": "Sizes are matched from the last axis on. `keepdim=True` keeps the axis of a sum "
    "or a mean, `x[:, None]` makes a new one.",
    "einsum()": "In einsum one letter has one size: compare the letters with the shapes.",
    "have the same dtype": "Cast both to one dtype.",
    "scalar type": "Most cases come in float64: a new tensor needs dtype=x.dtype, and torch.zeros_like(x) has it.",
    "Expected target size": "F.cross_entropy wants the vocabulary as the second axis, and a target for each position.",
    "Expected input batch_size": "F.cross_entropy wants one target for each row of logits.",
}


def advice(error: BaseException) -> str:
    return next((f" {text}" for words, text in ADVICE.items() if words in str(error)), "")


def inputs(case: dict[str, Any]) -> str:
    """Shapes of the tensors, of those in a list too; numbers as they are; of a long list the first."""
    shown = {name: x for name, x in case.items() if isinstance(x, Tensor | list | int | float | str)}
    return f" Its inputs: {', '.join(f'{name} {_shown(x)}' for name, x in shown.items())}." if shown else ""


def _shown(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 9:
        return f"{len(value)} such as {_shown(value[0])}"
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return tuple(value.shape) if isinstance(value, Tensor) else value


def hint(error: BaseException, case: dict[str, Any]) -> str:
    """For a key that a dict of the case does not have, or has as None."""
    for name, value in case.items():
        if not isinstance(value, dict):
            continue
        empty = [str(key) for key, kept in value.items() if kept is None]
        if isinstance(error, KeyError) and str(error) not in map(repr, value):
            return f" In this case {name} has only: {', '.join(map(str, value))}."
        if isinstance(error, TypeError) and "NoneType" in str(error) and empty:
            return f" In this case {name} has None for: {', '.join(empty)}."
    return ""


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
