"""When two answers are the same, and how to describe their first difference."""

import math
import numbers
from dataclasses import dataclass, replace
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

import numpy as np
import torch
from torch import Tensor

# relative to the largest expected value: what float32 keeps whatever the order of operations, and what 8 bits keep
TOLERANCE, NARROW_TOLERANCE = 1e-5, 2e-2
NARROW = (torch.float16, torch.bfloat16)
NEAR = 1e-3  # a wrong formula is rarely this close
NO_NUMBER = "A nan comes from 0/0, from inf - inf, or from a softmax over nothing but -inf."
NEARLY = "So near a miss is usually one of precision: float32, a rounded number, a grid that is too coarse."
NO_VALUES = {  # what a function returns that was written in one of these ways
    type(None): "None; is the `return` missing?",
    GeneratorType: "a generator: a function with a `yield` makes one, so write `return`.",
    CoroutineType: "a coroutine: write `def`, not `async def`.",
    AsyncGeneratorType: "an async generator: write `def` and `return`, not `async def` and `yield`.",
}
LONGEST = 10**21  # integers from here on are described by their number of digits


@dataclass(frozen=True)
class Difference:
    """What was wanted, and what came instead."""

    wanted: str
    got: str
    after: str = ""  # an explanation, in whole sentences
    of_values: bool = False  # type and shape are right, the numbers are not
    part: str = ""  # which of several answers it is

    def __str__(self) -> str:
        return f"{self.expectation}, got {self.got}{self.after and ' '}{self.after}"

    @property
    def expectation(self) -> str:
        return f"{self.part}{self.part and ': '}{self.wanted}"


class Roughly(float):
    """An expected number that a search finds only approximately: one part in a thousand is near enough."""

    tolerance, near = 1e-3, 2e-2


class Single(Roughly):
    """An expected number of which float32 keeps fewer digits than usual, 2e-4 at worst."""

    tolerance, near = 3e-4, 2e-3


def single(answer: Any) -> Any:
    """A float is compared with the precision of float32; anything else is returned as it is."""
    return Single(answer) if isinstance(answer, float) else answer


def same(answer: Any, expected: Any) -> bool:
    return difference(answer, expected) is None


def difference(
    answer: Any, expected: Any, parts: tuple[str, ...] = (), axes: str = "", note: str = ""
) -> Difference | None:
    """The first way in which `answer` is not `expected`; None if it is.

    `parts` names the answers if there are several, `axes` gives the letters of a tensor's axes, and `note` is added
    where values differ.
    """
    found = _difference(answer, expected, parts, axes, note)
    if found and (hint := next((hint for kind, hint in NO_VALUES.items() if isinstance(answer, kind)), "")):
        return replace(found, got=hint)
    return found


def _difference(answer: Any, expected: Any, parts: tuple[str, ...], axes: str, note: str) -> Difference | None:
    if isinstance(answer, Tensor) and (hollow := _hollow(answer)):
        return hollow
    if isinstance(expected, tuple):
        return _tuple_difference(answer, expected, parts, note)
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


def _tuple_difference(answer: Any, expected: tuple[Any, ...], parts: tuple[str, ...], note: str) -> Difference | None:
    """Prefers a wrong type or shape in any part over wrong values in an earlier one."""
    names = parts or tuple(f"part {i}" for i in range(len(expected)))
    if not isinstance(answer, tuple | list) or len(answer) != len(expected):
        got = f"{len(answer)} values." if isinstance(answer, tuple | list) else _kind(answer)
        return Difference(f"wanted {len(expected)} values ({', '.join(names)})", got)
    found = []
    for name, a, e in zip(names, answer, expected, strict=True):
        if each := _difference(a, e, (), "", note):
            found.append(replace(each, part=name))
    return min(found, key=lambda each: each.of_values, default=None)


def _hollow(answer: Tensor) -> Difference | None:
    """Why the numbers of a tensor cannot be read; None if they can."""
    if answer.is_meta:
        return Difference("wanted numbers", "a tensor on the device 'meta', which has a shape but no numbers.")
    if answer.layout != torch.strided or answer.is_nested:
        kind = "a nested tensor." if answer.is_nested else f"one of layout {answer.layout}."
        return Difference("wanted an ordinary, dense tensor", kind)
    return None


def _other_order(answer: Tensor, expected: Tensor, axes: str) -> str:
    """What to say about an answer whose axes are exchanged, as far as their sizes show it."""
    wanted = list(expected.shape)
    if sorted(answer.shape) != sorted(wanted):
        return ""
    letters = axes.split()
    if len(letters) != len(wanted) or len(set(wanted)) < len(wanted):
        return "These are the same axes in another order."
    return f"The axes are {axes}; yours look like {' '.join(letters[wanted.index(size)] for size in answer.shape)}."


def _tensor_difference(answer: Any, expected: Tensor, axes: str, note: str) -> Difference | None:
    if not isinstance(answer, Tensor):
        return Difference(f"wanted a tensor of shape {tuple(expected.shape)}", _kind(answer), _to_tensor(answer))
    if answer.shape != expected.shape:
        wanted, got = (f"{tuple(x.shape)}" for x in (expected, answer))
        return Difference(f"wanted shape {wanted}", f"{got}.", _other_order(answer, expected, axes))
    if answer.is_complex() or answer.dtype == torch.bool:
        return Difference("wanted real numbers", f"{answer.dtype}.")
    narrow = answer.dtype in NARROW or expected.dtype in NARROW
    a, e = answer.detach().cpu().double(), expected.double()
    bound = (NARROW_TOLERANCE if narrow else TOLERANCE) * max(_largest(e), 1e-300)
    wrong = ~((a - e).abs() <= bound) & ~(a.isnan() & e.isnan()) & (a != e)
    if not wrong.any():
        return None
    where = tuple(wrong.nonzero()[0].tolist())
    nearly = not narrow and _largest(a - e) <= NEAR * _largest(e) and not (a - e).isnan().any()
    why = NO_NUMBER if a[where].isnan() else note or (NEARLY if nearly else "")
    wanted = f"{_how_many(wrong)}wanted {e[where].item():.6g}"
    return Difference(wanted, f"{a[where].item():.6g}.", why, of_values=True)


def _how_many(wrong: Tensor) -> str:
    """How many values are wrong and where the first one is; nothing where there is only one."""
    count, of = int(wrong.sum()), wrong.numel()
    if of == 1:
        return ""
    if count == 1:
        return f"1 of {of} values differs, at {wrong.nonzero()[0].tolist()}: "
    return f"{count} of {of} values differ, the first at {wrong.nonzero()[0].tolist()}: "


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


def _count_difference(answer: Any, expected: int) -> Difference | None:
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        whole = isinstance(got, float) and got.is_integer()
        divides = "A count is an integer: divide with //, which keeps integers." if whole else ""
        return Difference("wanted an integer", _kind(answer), divides)
    if int(got) == expected:
        return None
    return Difference(f"wanted {expected:,}", f"{_integer(int(got))}.", of_values=True)


def _integer(value: int) -> str:
    if abs(value) < LONGEST:
        return f"{value:,}"
    return f"a number of about {round(value.bit_length() * math.log10(2))} digits"


def number(answer: Any) -> float | None:
    """As a float, if it is a real number or holds exactly one; else None."""
    if isinstance(answer, Tensor) and _hollow(answer):
        return None
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        return None
    try:
        return float(got)
    except OverflowError:  # an integer that no float can hold
        return math.inf


def _number_difference(answer: Any, expected: float) -> Difference | None:
    got = number(answer)
    if got is None:
        return Difference("wanted a number", _kind(answer))
    tolerance = expected.tolerance if isinstance(expected, Roughly) else TOLERANCE
    right = math.isclose(got, expected, rel_tol=tolerance, abs_tol=0.0)
    if right or (math.isnan(got) and math.isnan(expected)):
        return None
    near = expected.near if isinstance(expected, Roughly) else NEAR
    nearly = NEARLY if math.isclose(got, expected, rel_tol=near, abs_tol=0.0) else ""
    return Difference(f"wanted {expected:.6g}", f"{got:.6g}.", nearly, of_values=True)


def _kind(answer: Any) -> str:
    """What an answer of the wrong type is; the end of a sentence."""
    if answer is None:
        return "None."
    if answer is ...:
        return "`...`: replace it with your code."
    if isinstance(answer, Tensor):
        return f"a tensor of shape {tuple(answer.shape)} and {answer.dtype}."
    name = "NumPy array" if isinstance(answer, np.ndarray) else type(answer).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}."


def _to_tensor(answer: Any) -> str:
    """How to make a tensor out of an answer that should have been one."""
    if isinstance(answer, np.ndarray):
        return "PyTorch's own functions keep it a tensor; torch.from_numpy(...) turns an array back into one."
    if isinstance(answer, list):
        inside = answer[0] if answer else None
        return (
            "torch.stack(...) makes one of a list of tensors."
            if isinstance(inside, Tensor)
            else ("torch.tensor(...) makes one of a list of numbers.")
        )
    return ""
