"""When two answers are the same, and how to say in which way they are not."""

import math
import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

# relative to the largest expected value; what float32 arithmetic in any order keeps, and what 8 bits do
TOLERANCE, NARROW_TOLERANCE = 1e-5, 2e-2
NARROW = (torch.float16, torch.bfloat16)
NEAR = 1e-3  # a miss so small is rarely one of the formula
NO_NUMBER = " A nan comes of 0/0, of inf - inf, or of a softmax that is left nothing but -inf."
NEARLY = " So near a miss is mostly one of digits: float32, a rounded number, a grid too coarse."


class Roughly(float):
    """An expected number that a search finds only so far: one part in a thousand is near enough."""

    tolerance, near = 1e-3, 2e-2


class Single(Roughly):
    """An expected number of which float32 keeps fewer digits than of others, 2e-4 at worst."""

    tolerance, near = 3e-4, 2e-3


def single(answer: Any) -> Any:
    """A number so that float32 is near enough; what is no float stays."""
    return Single(answer) if isinstance(answer, float) else answer


def same(answer: Any, expected: Any) -> bool:
    return not difference(answer, expected)


def difference(answer: Any, expected: Any, parts: tuple[str, ...] = (), axes: str = "", note: str = "") -> str:
    """The first way in which `answer` is not `expected`, in words; empty when it is."""
    if isinstance(answer, Tensor) and (hollow := _hollow(answer)):
        return hollow
    if isinstance(expected, tuple):
        return _tuple_difference(answer, expected, parts)
    if isinstance(expected, Tensor):
        return _tensor_difference(answer, expected, axes, note)
    if isinstance(expected, int):
        return _count_difference(answer, expected)
    return _number_difference(answer, expected)


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Names of the arguments that are not what they were."""
    return ", ".join(name for name in before if not _identical(before[name], after[name]))


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_identical, a, b))
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a, b) or torch.equal(a.nan_to_num(), b.nan_to_num())
    return a == b


def _tuple_difference(answer: Any, expected: tuple[Any, ...], parts: tuple[str, ...]) -> str:
    names = parts or tuple(f"part {i}" for i in range(len(expected)))
    if not isinstance(answer, tuple | list) or len(answer) != len(expected):
        got = f"{len(answer)} values." if isinstance(answer, tuple | list) else _kind(answer)
        return f"wanted {len(expected)} values ({', '.join(names)}), got {got}"
    for name, a, e in zip(names, answer, expected, strict=True):
        if text := difference(a, e):
            return f"{name}: {text}"
    return ""


def _hollow(answer: Tensor) -> str:
    """Why the numbers of a tensor cannot be read; empty when they can."""
    if answer.is_meta:
        return "wanted numbers, got a tensor on the device 'meta', which has a shape and no numbers."
    if answer.layout != torch.strided or answer.is_nested:
        kind = "a nested tensor" if answer.is_nested else f"one of layout {answer.layout}"
        return f"wanted an ordinary, dense tensor, got {kind}."
    return ""


def _other_order(answer: Tensor, expected: Tensor, axes: str) -> str:
    """What to say of an answer whose axes are exchanged, as far as their sizes show it."""
    wanted = list(expected.shape)
    if sorted(answer.shape) != sorted(wanted):
        return ""
    letters = axes.split()
    if len(letters) != len(wanted) or len(set(wanted)) < len(wanted):
        return " These are the same axes in another order."
    return f" The axes are {axes}; yours look like {' '.join(letters[wanted.index(size)] for size in answer.shape)}."


def _tensor_difference(answer: Any, expected: Tensor, axes: str, note: str) -> str:
    if not isinstance(answer, Tensor):
        return f"wanted a tensor of shape {tuple(expected.shape)}, got {_kind(answer)}"
    if answer.shape != expected.shape:
        other_order = _other_order(answer, expected, axes)
        return f"wanted shape {tuple(expected.shape)}, got {tuple(answer.shape)}.{other_order}"
    if answer.is_complex() or answer.dtype == torch.bool:
        return f"wanted real numbers, got {answer.dtype}."
    narrow = answer.dtype in NARROW or expected.dtype in NARROW
    a, e = answer.detach().cpu().double(), expected.double()
    bound = (NARROW_TOLERANCE if narrow else TOLERANCE) * max(_largest(e), 1e-300)
    wrong = ~((a - e).abs() <= bound) & ~(a.isnan() & e.isnan()) & (a != e)
    if not wrong.any():
        return ""
    where = tuple(wrong.nonzero()[0].tolist())
    nearly = NEARLY if not narrow and _largest(a - e) <= NEAR * _largest(e) and not (a - e).isnan().any() else ""
    nearly = NO_NUMBER if a[where].isnan() else nearly
    return (
        f"{int(wrong.sum())} of {wrong.numel()} values differ, the first at {list(where)}: "
        f"wanted {e[where].item():.6g}, got {a[where].item():.6g}.{note and ' '}{note or nearly}"
    )


def _largest(values: Tensor) -> float:
    largest = values.abs().max().item() if values.numel() else 0.0
    if math.isfinite(largest):
        return largest
    finite = values[values.isfinite()]
    return finite.abs().max().item() if len(finite) else 0.0


def _scalar(answer: Any) -> Any:
    """A tensor or array that holds one number, as that number."""
    if isinstance(answer, Tensor):
        return answer.item() if answer.numel() == 1 else answer
    return answer.item() if isinstance(answer, np.ndarray | np.generic) and answer.size == 1 else answer


def _count_difference(answer: Any, expected: int) -> str:
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        return f"wanted an integer, got {_kind(answer)}"
    return "" if int(got) == expected else f"wanted {expected:,}, got {int(got):,}."


def number(answer: Any) -> float | None:
    """As a float, where it is a real number or holds just one; else None."""
    if isinstance(answer, Tensor) and _hollow(answer):
        return None
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        return None
    try:
        return float(got)
    except OverflowError:  # an integer that no float holds
        return math.inf


def _number_difference(answer: Any, expected: float) -> str:
    got = number(answer)
    if got is None:
        return f"wanted a number, got {_kind(answer)}"
    tolerance = expected.tolerance if isinstance(expected, Roughly) else TOLERANCE
    right = math.isclose(got, expected, rel_tol=tolerance, abs_tol=0.0)
    right = right or (math.isnan(got) and math.isnan(expected))
    if right:
        return ""
    near = expected.near if isinstance(expected, Roughly) else NEAR
    nearly = math.isclose(got, expected, rel_tol=near, abs_tol=0.0)
    return f"wanted {expected:.6g}, got {got:.6g}.{NEARLY if nearly else ''}"


def _kind(answer: Any) -> str:
    """The end of a sentence."""
    if answer is None:
        return "None; is the `return` missing?"
    if isinstance(answer, Tensor):
        return f"a tensor of shape {tuple(answer.shape)} and {answer.dtype}."
    name = "NumPy array" if isinstance(answer, np.ndarray) else type(answer).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}."
