"""Advice on errors that PyTorch, NumPy and Python really raise: each entry where it is meant, and nowhere else."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from course_lib.exercises import BANK
from course_lib.exercises.advice import ADVICE
from course_lib.exercises.telling import _origin
from tests.cells import run_cell

IMPORTS = """
import math
import numpy as np
import torch
from torch.nn import functional as F
"""
GIVEN = """
    a, b, i = torch.ones(2, 3), torch.ones(4, 3), torch.arange(3)
    q, k = torch.ones(2, 3, 5, 7), torch.ones(2, 9, 5, 7)
    p = torch.nn.Parameter(torch.ones(3))
    array, rows, pair, nothing = np.ones(3), [1.0, 2.0], (a, a), [2, 1].sort()
"""


def written(body: str) -> Callable[..., Any]:
    """A student's `rotate` that comes to this line."""
    return run_cell(f"{IMPORTS}\ndef rotate(x, positions, theta=1e4):{GIVEN}    {body}\n")["rotate"]


def error_of(fn: Callable[..., Any]) -> Exception:
    try:
        with torch.device("cpu"):
            fn(None, None)
    except Exception as error:
        return error
    raise AssertionError("no error")


EINSUM = (
    (
        'return torch.einsum("bshn,btn->bhst", q, k)',
        "operand 1 (counted from 0) has 4, and the equation gives it 3.",
    ),
    ('return torch.einsum("bsn,bthn->bhst", q, k)', "operand 0 (counted from 0) has 4, and the equation gives it 3."),
    ('return torch.einsum("bshn,bnht->bhst", q, k)', "`n` is 7 at first, but 9 in operand 1"),
    ('return torch.einsum("bshn,bthm->bhsx", q, k)', "after -> must also appear before it, and `x` does not."),
    ('return torch.einsum("bshn,bthn->bhsth", q, k)', "only once after ->, and `h` appears twice."),
    ('return torch.einsum("bshn,bthn->bhst", q)', "one tensor for each group of letters"),
    ('return torch.einsum("bshn,bthn->bhst", q, k, k)', "one tensor for each group of letters"),
    ('return torch.einsum("bsh1,bthn->bhst", q, k)', "single letters"),
    ('return torch.einsum("bsss,bthn->bhst", q, k)', "different letter for each axis of operand 0"),
    ('return torch.einsum("....n,bthn->bhst", q, k)', "is written with three dots"),
    ('return torch.einsum(q, k, "bshn,bthn->bhst")', "The equation comes first"),
)
PRODUCTS = (
    ("return a @ a", "2x3 and 2x3 do not fit. Is a transpose missing (B.mT)"),
    ("return q[0, 0] @ k", "rows of A must be as long as columns of B, and the axes before"),
    ("return a @ torch.ones(2)", "rows of the matrix (2x3) must be as long as the vector (2)."),
    ("return torch.ones(2) @ torch.ones(3)", "equal lengths: here 2 and 3."),
    ("return torch.dot(a, a)", "takes two vectors"),
    ("return torch.bmm(a, a)", "takes three axes"),
)
SHAPES = (
    ("return a - a.mean(-1)", "`keepdim=True` keeps the axis"),
    ("return q.masked_fill(torch.ones(9, 9).bool(), 0)", "Axes are aligned from the last one on"),
    ("a[0] = torch.ones(2)", "room for 3 values and you give 2."),
    ("return a.expand(4, 3)", "Only an axis of size 1 can be stretched."),
    ("return a.view(4, 2)", "[4, 2] must multiply to 6"),
    ("return a.mT.view(6)", "use .reshape(...)"),
    ("return a.unflatten(-1, (2, 2))", "[2, 2] must multiply to 3, the size of axis 1."),
    ("return q.permute(0, 2, 1)", "takes all axes"),
    ("return torch.cat([a, b], dim=-1)", "joins along axis 1"),
    ("return torch.cat([a, a[0]])", "the same number of axes"),
    ("return torch.stack([a, b])", "needs equal shapes"),
    ("return torch.cat([a[0, 0], a[0, 1]])", "no axis to join along"),
    ("a += torch.ones(4, 2, 3)", "[4, 2, 3] and does not fit into [2, 3]"),
    ("return a.split([1, 1], dim=-1)", "must add up to 3"),
    ("return a.gather(1, i)", "as many axes as the tensor"),
    ("return F.rms_norm(a, (2,))", "that of the last axis"),
    ("return a[0].mT", "no transpose"),
    ("return a[i > 0]", "[3] does not fit [2, 3]."),
    ("return a[torch.tensor([0, 1]), i]", "read in parallel"),
    ("return F.cross_entropy(k[..., 0], torch.ones(2, 9).long())", "the vocabulary as the second axis"),
    ("return F.cross_entropy(a, i)", "here 2 rows and 3 targets."),
)
INDICES = (
    ("return a.sum(3)", "no axis 3, only -2 to 1"),
    ("return a.softmax(2)", "no axis 2, only -2 to 1"),
    ("return a[:, :, 0]", "more indices than axes, which are 2"),
    ("return a[0, 5]", "Axis 1 has 3 entries"),
    ("return a.gather(1, torch.tensor([[7], [1]]))", "Axis 1 has 3 entries"),
    ("return rows[5]", "The list has fewer entries"),
    ("return a.shape[2]", "The tuple has fewer entries"),
    ("return a.topk(9)", "more entries than the axis has"),
    ("return F.cross_entropy(a, torch.tensor([1, 9]))", "are the axes in order?"),
    ("return a.sum()[0]", "nothing to index"),
    ("return len(a.sum())", "nothing to index"),
    ("return list(a.sum())", "nothing to index"),
    ("return a[torch.tensor([1.0])]", "This needs integers"),
    ("return a.gather(1, a)", "This needs integers"),
    ("return F.one_hot(a)", "This needs integers"),
    ("return F.cross_entropy(a, torch.ones(2))", "This needs integers"),
    ("return a[: 3 / 2]", "`//` keeps integers"),
    ("return rows[3 / 2]", "`//` keeps integers"),
    ("return list(range(3 / 2))", "`//` keeps integers"),
    ("return a[1.0]", "`//` keeps integers"),
    ("return torch.zeros(3 / 2, 2)", "`//` keeps integers"),
    ("return rows[i]", "needs a single integer"),
    ("return range(i)", "needs a single integer"),
)
DTYPES = (
    ("return a @ a.double().mT", "give those dtype=x.dtype"),
    ('return torch.einsum("bshn,bthn->bhst", q, k.double())', "give those dtype=x.dtype"),
    ("return i @ a[0]", "give those dtype=x.dtype"),
    ("return a.clone().index_add_(0, i[:1], a[:1].double())", "torch.zeros_like(x)"),
    ("a[i[:1]] = a[:1].double()", "torch.zeros_like(x)"),
    ("return torch.zeros(2, 3).scatter_(1, i[None], a.double())", "torch.zeros_like(x)"),
    ("i += 1.5", "keeps its dtype, Long here, which cannot hold Float"),
    ("return i.mean()", "needs floating-point numbers"),
    ("return i.std()", "needs floating-point numbers"),
    ("return i.norm()", "needs floating-point numbers"),
    ("return i.quantile(0.5)", "needs floating-point numbers"),
    ("return i.softmax(-1)", "needs floating-point numbers"),
    ("return F.silu(i)", "needs floating-point numbers"),
    ("return torch.bincount(a.flatten())", "needs integers"),
    ("return torch.bincount(i[None])", "Flatten it first."),
    ("return 2.0 ^ 3", "writes a power as **"),
    ("return a ^ 2", "writes a power as **"),
    ("return a.double() ^ 2", "writes a power as **"),
    ("return a & b[:2]", "combine truth values"),
    ("return ~a", "combine truth values"),
    ("return a.masked_fill(a, 0)", "must be boolean"),
    ("return torch.where(a, 1, 0)", "must be boolean"),
)
NUMBERS = (
    ("return a.item()", "needs a tensor with one element, and this has 6"),
    ("return int(a)", "take a single number"),
    ("return float(a)", "take a single number"),
    ("return math.log(a)", "take a single number: of a tensor, write x.log()"),
    ("return torch.tensor([a, a])", "torch.stack([...]) joins tensors"),
    ("return torch.as_tensor([a, a])", "torch.stack([...]) joins tensors"),
    ("return math.log(array)", "not an array"),
    ("return 1 if a > 0 else 2", "or use torch.where."),
    ("return a > 0 and b > 0", "or use torch.where."),
    ("return 1 if array > 0 else 2", "not an array: compare single elements."),
    ("return math.exp(800)", "take exp last"),
    ("return 10.0**400", "take exp last"),
    ("return math.log(0.0)", "above 0 only"),
)
KINDS = (
    ("return a * nothing", "Something on that line is None."),
    ("return nothing[0]", "Something on that line is None."),
    ("return nothing.shape", "Something on that line is None."),
    ("first, second = nothing", "Something on that line is None."),
    ("return torch.cos(nothing)", "Something on that line is None."),
    ("return torch.tensor([1, None])", "Something on that line is None."),
    ("return a * ...", "A `...` is left"),
    ("return torch.cos(...)", "A `...` is left"),
    ("return (...).log()", "A `...` is left"),
    ("return ...[0]", "A `...` is left"),
    ("return torch.cat([a, ...])", "A `...` is left"),
    ("return a.sum(...)", "A `...` is left"),
    ("return range(...)", "A `...` is left"),
    ("return math.log(...)", "A `...` is left"),
    ("return a + rows", "A Python list or tuple does not calculate"),
    ("return rows * 1.5", "A Python list or tuple does not calculate"),
    ("return rows + 1.0", "A Python list or tuple does not calculate"),
    ("return rows.mean()", "A Python list or tuple does not calculate"),
    ("return pair.shape", "A Python list or tuple does not calculate"),
    ("return pair.first", "unpack it, as in a, b = pair"),
    ("return pair - a", "A Python list or tuple does not calculate"),
    ("return torch.exp(rows)", "A Python list or tuple does not calculate"),
    ("return torch.cos(array)", "is a NumPy array"),
    ("return array @ a", "is a NumPy array"),
    ("return array.unsqueeze(0)", "is a NumPy array"),
    ("return a.astype(float)", "`astype` is NumPy's"),
    ("return a.bfloat16().numpy()", "NumPy has no bfloat16"),
    ("return torch.exp(1.0)", "for a plain number use math.exp."),
    ("return torch.relu(1.0)", "torch.tensor(...) makes one of a number."),
    ("return torch.cat([1.0, 2.0])", "torch.tensor([...]) turns a list of numbers into one."),
    ("return theta.log()", "write math.log(x)."),
    ("return theta.item()", "use it as it is."),
    ("return [j for j in 3]", "range(n) counts to n."),
    ("return theta[0]", "was it indexed twice?"),
)
CALLS = (
    ("return a.softmax()", "dim=-1 is the last one"),
    ("return torch.softmax(a)", "dim=-1 is the last one"),
    ("return a.mean(-1, keep_dim=True)", "`dim` and `keepdim`"),
    ("return a.sum(dims=1)", "`dim` and `keepdim`"),
    ("return a.transpose(0)", "takes the two axes"),
    ("return torch.cat(a, a)", "torch.cat([a, b], dim=...)"),
    ("return torch.stack(a, a)", "torch.stack([a, b], dim=...)"),
    ("return a(1)", "Round brackets call a function"),
    ("return a.shape(0)", "takes square brackets"),
    ("return 3(theta)", "Is a * missing before a bracket"),
    ("return a.size[0]", "round brackets: x.size(0)"),
    ("one, two, three = a.shape", "There are 3 names on the left"),
    ("one, two = q.shape", "There are 2 names on the left"),
    ("return rotate(x, positions, theta)", "has a helper of yours the same name?"),
)
GRADIENTS = (
    ("p.add_(1)", "Autograd still needs the old values."),
    ("p[0] = 1.0", "Autograd still needs the old values."),
    ("c = p * 1; d = c**2; c += 1; d.sum().backward()", "Autograd still needs the old values."),
    ("return [each.add_(1) for each in (p * 1).unbind()]", "Autograd still needs the old values."),
    ("return a.expand(2, 2, 3).add_(1)", "stores its numbers once"),
    ("return p.numpy()", "cannot follow gradients"),
    ("return np.log(p)", "cannot follow gradients"),
    ('return a + b[:2].to("meta")', "device=x.device"),
)
ERRORS = (*EINSUM, *PRODUCTS, *SHAPES, *INDICES, *DTYPES, *NUMBERS, *KINDS, *CALLS, *GRADIENTS)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize(("body", "advice"), ERRORS)
def test_an_error_gets_the_advice_that_is_meant_for_it(body: str, advice: str) -> None:
    said = BANK["hw1_mla"]["rotate"].grade(written(body)).message
    assert re.match(r"It raised an? \w+ on case 1 of 3: ", said)
    assert advice in said and said.index(advice) < said.index(" Its inputs: ")
    assert said.rpartition(" The line: `")[2].startswith(body) or "recursion" in said


def applying(fn: Callable[..., Any]) -> list[int]:
    """Which entries apply to the error of a function."""
    error = error_of(fn)
    _, code, inside = _origin(fn, error)
    return [number for number, entry in enumerate(ADVICE) if entry.given(error, code, inside)]


# what this machine or this version of Python cannot raise
ELSEWHERE = ("Torch not compiled with CUDA enabled", "softmax\\(\\) received")


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_exactly_one_entry_applies_to_an_error_and_every_entry_to_some() -> None:
    """So the order of the table decides nothing."""
    found = [applying(written(body)) for body, _ in ERRORS]
    assert all(len(each) == 1 for each in found), [
        body for (body, _), each in zip(ERRORS, found, strict=True) if len(each) != 1
    ]
    unused = [entry.words for number, entry in enumerate(ADVICE) if [number] not in found]
    assert all(any(words in entry for words in ELSEWHERE) for entry in unused), unused


# Errors that share words with those above and mean something else: the words of the advice that would mislead.
NEAR_MISSES = (
    ('return torch.einsum("bshn,btn->bhst", q, k)', "`...` is left"),
    ('return torch.einsum("....n,bthn->bhst", q, k)', "`...` is left"),
    ('raise ValueError("no ellipsis was given")', "`...`"),
    ("raise TypeError(\"unsupported operand type(s) for *: 'Tensor' and 'ellipsis'\")", "`...`"),
    ('raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)")', "transpose"),
    ('raise KeyError("einsum()")', "letter"),
    ('return {"ellipsis": 1}["ellipses"]', "`...`"),
    ('return torch.einsum(q, k, "bshn,bthn->bhst")', "truth value"),
    ("return torch.tensor([a, a])", "`math`"),
    ("return a ^ 2", "floats"),
    ("return a & b[:2]", "This needs integers"),
    ("return a ^ ...", "power"),
    ('return "a" ^ 2', "power"),
    ("return {1} ^ 2", "power"),
    ("return {}.append(1)", "brackets"),
    ("return rows.push(1)", "A Python list"),
    ("return rows()", "A Python list"),
    ('return a.tolist()["a"]', "`//`"),
    ("return a.sofmax(-1)", "NumPy"),
    ("return a.softmax(-1, keepdim=True)", "`dim` and `keepdim`"),
    ("return {}[a.sum()]", "In this case"),
    ('return int("many")', "single number"),
    ("return [][0].shape", "tuple"),
    ("return a.bfloat16().quantile(0.5)", "whole"),
    ("return (lambda one: one)()", "`check` calls"),
    ("return a.clamp(0, None, None)", "`...`"),
)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize(("body", "misleading"), NEAR_MISSES)
def test_an_error_that_only_shares_words_does_not(body: str, misleading: str) -> None:
    said = BANK["hw1_mla"]["rotate"].grade(written(body)).message
    told = said.partition(": ")[2].partition(" Its inputs: ")[0]
    error = " ".join(str(error_of(written(body))).split())
    assert misleading not in told.replace(error[:200], ""), said


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ("math = math.log(theta)", "`math` is assigned inside the function, which makes it a local variable"),
        ("sum = sum(rows)", "give the result another name."),
        ("while theta < 0: j = 1\n    return j", "Only a loop or an `if` that this case does not enter sets it"),
        ("return scipy.special", "Has the cell that defines it run?"),
        ("return torhc.exp(x)", "Did you mean torch?"),
        ("return functional.exp(x)", "Has the cell that defines it run?"),
        ("return einsum(x)", "Import it first: from torch import einsum."),
        ("return a.sofmax(-1)", "Did you mean softmax?"),
        ("return torch.concatanate([a])", "Did you mean concatenate?"),
        ("return {'c': 1}.c", 'A dict is read with brackets: ["c"].'),
        ("return {}[a.sum()]", "use its number, .item()."),
    ],
)
def test_what_the_function_itself_tells_comes_first(body: str, advice: str) -> None:
    said = BANK["hw1_mla"]["rotate"].grade(written(body)).message
    assert advice in said and said.index(advice) < said.index(" Its inputs: ")


def test_a_function_with_other_parameters_is_told_those_of_the_page() -> None:
    for source in ("def rotate(x, positions): return x", "def rotate(x, positions, theta, more): return x"):
        said = BANK["hw1_mla"]["rotate"].grade(run_cell(source)["rotate"]).message
        assert "`check` calls rotate(x, positions, theta): keep the parameters that the page gives it." in said


def test_shapes_on_the_line_are_told_where_they_are_not_those_of_the_inputs() -> None:
    said = BANK["hw1_mla"]["rotate"].grade(written("y = x[..., 0]; return y @ b @ x")).message
    assert said.endswith("The line: `y = x[..., 0]; return y @ b @ x`, where y is (2, 3, 5), b is (4, 3).")
    assert BANK["hw1_mla"]["rotate"].grade(written("return x * nothing")).message.endswith("where nothing is None.")


def test_all_lines_of_a_statement_are_shown_and_no_letters_of_an_equation() -> None:
    said = (
        BANK["hw1_mla"]["rotate"]
        .grade(written('return torch.einsum(\n        "a,b->ab",\n        q, i,\n    )'))
        .message
    )
    assert said.endswith('The line: `return torch.einsum( "a,b->ab", q, i, )`, where q is (2, 3, 5, 7), i is (3,).')


def test_a_long_error_keeps_its_two_ends() -> None:
    said = BANK["hw1_mla"]["rotate"].grade(written('raise ValueError("begin " + 5000 * "x" + " end")')).message
    assert "ValueError on case 1 of 3: begin xxx" in said and "xxx [...] xxx" in said and "xxx end." in said
    assert len(said) < 700 and "\n" not in BANK["hw1_mla"]["rotate"].grade(written("return a.sum(dims=1)")).message
