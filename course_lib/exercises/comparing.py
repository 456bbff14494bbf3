"""Whether two answers are the same, and how to describe the first difference between them."""

import math
import numbers
from dataclasses import dataclass, replace
from itertools import pairwise
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Relative to the largest expected value: the accuracy of float32 for any order of operations, and that of 8 bits.
TOLERANCE, HALF_TOLERANCE = 1e-5, 2e-2
HALF = (torch.float16, torch.bfloat16)
NEAR = 1e-3  # a wrong formula is rarely this close
NO_NUMBER = "A nan comes from 0/0, from inf - inf, or from a softmax over nothing but -inf."
NEARLY = "Such a near miss usually comes from lost precision: float32, a rounded number, or a grid that is too coarse."
ROUNDED = "Half precision keeps only 2 or 3 digits: compute and return it in float32 or wider."
NO_VALUES = {  # what a function returns that is not written as it should be
    type(None): "None; is the `return` missing?",
    GeneratorType: "a generator: a function with a `yield` makes one, so write `return`.",
    CoroutineType: "a coroutine: write `def`, not `async def`.",
    AsyncGeneratorType: "an async generator: write `def` and `return`, not `async def` and `yield`.",
}
FEW_VALUES = 10  # how many values came is told up to here, since any larger number could encode the inputs
FORMS = (type(None), type(...), bool, int, float, complex, str, list, tuple, dict, set, np.ndarray)
LONGEST = 10**21  # from here on, integers are described by their number of digits


@dataclass(frozen=True)
class Difference:
    """What was expected, and what came instead."""

    expected: str
    got: str
    after: str = ""  # an explanation in whole sentences
    of_values: bool = False  # the type and the shape are right, but not the numbers
    part: str = ""  # the name of the answer, if there are several
    form: str = "something else."  # like `got`, in words in which an answer cannot say what the inputs were
    several: bool = False  # of_values: the answer has more than one number

    def __str__(self) -> str:
        return f"{self.expectation}, got {self.got}{self.after and ' '}{self.after}"

    @property
    def expectation(self) -> str:
        return f"{self.part}{self.part and ': '}{self.expected}"


class Roughly(float):
    """An expected number that a search can only approximate: one part in a thousand is close enough."""

    tolerance, near = 1e-3, 2e-2


class Single(Roughly):
    """An expected number that float32 computes less accurately than usual, with an error of 2e-4 at worst."""

    tolerance, near = 3e-4, 2e-3


def single(answer: Any) -> Any:
    """Makes a float one that is compared with this accuracy, and returns anything else unchanged."""
    return Single(answer) if isinstance(answer, float) else answer


def same(answer: Any, expected: Any, *, like: Any = None) -> bool:
    return difference(answer, expected, like=like) is None


def difference(
    answer: Any,
    expected: Any,
    parts: tuple[str, ...] = (),
    axes: str = "",
    note: str = "",
    *,
    like: Any = None,
) -> Difference | None:
    """The first difference between `answer` and `expected`; None if they are the same.

    `parts` names the answers if there are several, `axes` has the letters of a tensor's axes, and `note` is added
    where values differ. Tensors are compared with the accuracy of half precision where `like` is in half precision,
    which is `expected` unless given. The answer has no say in this, since the student chooses its dtype.
    """
    found = _difference(answer, expected, parts, axes, note, expected if like is None else like)
    if found and (hint := next((hint for kind, hint in NO_VALUES.items() if isinstance(answer, kind)), "")):
        return replace(found, got=hint, form=hint)
    return found


def in_half(value: Any) -> bool:
    """Whether a tensor or an array is in half precision."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype == np.float16
    return isinstance(value, Tensor) and value.dtype in HALF


def _difference(
    answer: Any, expected: Any, parts: tuple[str, ...], axes: str, note: str, like: Any
) -> Difference | None:
    if isinstance(answer, Tensor) and (found := hollow(answer)):
        return found
    if isinstance(expected, tuple):
        return _tuple_difference(answer, expected, parts, note, like)
    if isinstance(expected, Tensor):
        return _tensor_difference(answer, expected, axes, note, in_half(like))
    if isinstance(expected, int):
        return _count_difference(answer, expected)
    return _number_difference(answer, expected)


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The names of the arguments that have changed."""
    return ", ".join(name for name in before if not _identical(before[name], after[name]))


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_identical, a, b))
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a, b) or torch.equal(a.nan_to_num(), b.nan_to_num())
    return a == b


def _tuple_difference(
    answer: Any, expected: tuple[Any, ...], parts: tuple[str, ...], note: str, like: Any
) -> Difference | None:
    """A wrong type or shape in any part comes before wrong values in an earlier one."""
    names = parts or tuple(f"part {i}" for i in range(len(expected)))
    if not isinstance(answer, tuple | list) or len(answer) != len(expected):
        got = f"{len(answer)} values." if isinstance(answer, tuple | list) else _kind(answer)
        form = got if isinstance(answer, tuple | list) and len(answer) < FEW_VALUES else _form(answer)
        return Difference(f"expected {len(expected)} values ({', '.join(names)})", got, form=form)
    likes = like if isinstance(like, tuple) and len(like) == len(expected) else (like,) * len(expected)
    found = []
    for name, a, e, each_like in zip(names, answer, expected, likes, strict=True):
        if each := _difference(a, e, (), "", note, each_like):
            found.append(replace(each, part=name))
    return min(found, key=lambda each: each.of_values, default=None)


def hollow(answer: Tensor) -> Difference | None:
    """Why the numbers in a tensor cannot be read; None if they can."""
    if answer.is_meta:
        kind = "a tensor on the device 'meta', which has a shape but no numbers."
        return Difference("expected numbers", kind, form=kind)
    if answer.layout != torch.strided or answer.is_nested:
        kind = "a nested tensor." if answer.is_nested else f"one of layout {answer.layout}."
        return Difference("expected an ordinary, dense tensor", kind, form=kind)
    return None


def _other_order(answer: Tensor, expected: Tensor, axes: str) -> str:
    """What to say about an answer whose axes are in another order, as far as their sizes tell."""
    sizes = list(expected.shape)
    if sorted(answer.shape) != sorted(sizes):
        return ""
    letters = axes.split()
    if len(letters) != len(sizes) or len(set(sizes)) < len(sizes):
        return "These are the same axes in another order."
    return f"The axes are {axes}; yours look like {' '.join(letters[sizes.index(size)] for size in answer.shape)}."


def _tensor_difference(answer: Any, expected: Tensor, axes: str, note: str, half: bool) -> Difference | None:
    if not isinstance(answer, Tensor):
        wanted = f"expected a tensor of shape {tuple(expected.shape)}"
        return Difference(wanted, _kind(answer), _to_tensor(answer), form=_form(answer))
    if answer.shape != expected.shape:
        wanted, got = f"expected shape {tuple(expected.shape)}", f"{tuple(answer.shape)}."
        form = got if _known_sizes(answer, expected) else "another shape."
        return Difference(wanted, got, _other_order(answer, expected, axes), form=form)
    if answer.is_complex() or answer.dtype == torch.bool:
        return Difference("expected real numbers", f"{answer.dtype}.", form=f"{answer.dtype}.")
    half = half and expected.is_floating_point()
    a, e = answer.detach().cpu().double(), expected.double()
    bound = (HALF_TOLERANCE if half else TOLERANCE) * max(_largest(e), 1e-300)
    wrong = ~((a - e).abs() <= bound) & ~(a.isnan() & e.isnan()) & (a != e)
    if not wrong.any():
        return None
    where = tuple(wrong.nonzero()[0].tolist())
    nearly = not half and _largest(a - e) <= NEAR * _largest(e) and not (a - e).isnan().any()
    rounded = ROUNDED if in_half(answer) and not half else ""
    why = rounded or (NO_NUMBER if a[where].isnan() else note or (NEARLY if nearly else ""))
    said = f"{_how_many(wrong)}expected {e[where].item():.6g}"
    return Difference(said, f"{a[where].item():.6g}.", why, of_values=True, several=e.numel() > 1)


def _how_many(wrong: Tensor) -> str:
    """How many values are wrong, and where the first one is; empty if there is only one value."""
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
    """The number in a tensor or array that holds only one; anything else unchanged."""
    if isinstance(answer, Tensor):
        return answer.item() if answer.numel() == 1 else answer
    return answer.item() if isinstance(answer, np.ndarray | np.generic) and answer.size == 1 else answer


def _count_difference(answer: Any, expected: int) -> Difference | None:
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        whole = isinstance(got, float) and got.is_integer()
        divides = "A count is an integer: divide with //, which keeps integers." if whole else ""
        return Difference("expected an integer", _kind(answer), divides, form=_form(answer))
    if int(got) == expected:
        return None
    return Difference(f"expected {expected:,}", f"{_integer(int(got))}.", of_values=True)


def _integer(value: int) -> str:
    if abs(value) < LONGEST:
        return f"{value:,}"
    return f"a number of about {round(value.bit_length() * math.log10(2))} digits"


def number(answer: Any) -> float | None:
    """`answer` as a float if it is a real number, or a tensor or array that holds one; otherwise None."""
    if isinstance(answer, Tensor) and hollow(answer):
        return None
    got = _scalar(answer)
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        return None
    try:
        return float(got)
    except OverflowError:  # an integer too large for a float
        return math.inf


def _number_difference(answer: Any, expected: float) -> Difference | None:
    got = number(answer)
    if got is None:
        return Difference("expected a number", _kind(answer), form=_form(answer))
    tolerance = expected.tolerance if isinstance(expected, Roughly) else TOLERANCE
    right = math.isclose(got, expected, rel_tol=tolerance, abs_tol=0.0)
    if right or (math.isnan(got) and math.isnan(expected)):
        return None
    near = expected.near if isinstance(expected, Roughly) else NEAR
    nearly = NEARLY if math.isclose(got, expected, rel_tol=near, abs_tol=0.0) else ""
    why = ROUNDED if in_half(answer) else nearly
    return Difference(f"expected {expected:.6g}", f"{got:.6g}.", why, of_values=True)


def _kind(answer: Any) -> str:
    """Names the type of a wrong answer, as the end of a sentence."""
    if answer is None:
        return "None."
    if answer is ...:
        return "`...`: replace it with your code."
    if isinstance(answer, Tensor):
        return f"a tensor of shape {tuple(answer.shape)} and {answer.dtype}."
    name = "NumPy array" if isinstance(answer, np.ndarray) else type(answer).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}."


def _form(answer: Any) -> str:
    """Like `_kind`, for anybody to read: a shape, or the name of a class, could encode the inputs."""
    if isinstance(answer, Tensor):
        return "a tensor."
    return _kind(answer) if type(answer) in FORMS else "an object of another type."


def _known_sizes(answer: Tensor, expected: Tensor) -> bool:
    """Whether its shape is made of the expected sizes, up to one axis more, so that it cannot encode the inputs."""
    sizes = [1, *expected.shape, *(a * b for a, b in pairwise(expected.shape))]
    return answer.ndim <= expected.ndim + 1 and all(size in sizes for size in answer.shape)


def _to_tensor(answer: Any) -> str:
    """How to turn an answer into the tensor that it should have been."""
    if isinstance(answer, np.ndarray):
        return "PyTorch's own functions return tensors; torch.from_numpy(...) turns an array back into one."
    if isinstance(answer, list):
        inside = answer[0] if answer else None
        if isinstance(inside, Tensor):
            return "torch.stack(...) turns a list of tensors into one."
        return "torch.tensor(...) turns a list of numbers into one."
    return ""
