"""What the errors of Python, PyTorch and NumPy usually mean in an exercise.

An entry applies to an error of exactly its type whose message begins with its words. The words are as specific as the
message allows, so that at most one entry applies to any error, in whatever order they are listed.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Advice:
    """`text` may refer to the groups of `words` as {0}, {1}, ..."""

    kinds: type[Exception] | tuple[type[Exception], ...]
    words: str  # a regular expression
    text: str
    code: str = ""  # a regular expression for the student's line, where the message alone is not enough
    inside: str = ""  # a library function that the student's line called
    own: bool = False  # only if the student's line itself raised it
    when: Callable[[re.Match[str]], bool] = lambda match: True

    def given(self, error: BaseException, code: str, inside: Sequence[str]) -> str:
        """What to tell about `error`; empty if this entry does not apply."""
        kinds = self.kinds if isinstance(self.kinds, tuple) else (self.kinds,)
        match = re.match(self.words, str(error)) if type(error) in kinds else None
        if match is None or not re.search(self.code, code) or not self.when(match):
            return ""
        if (self.own and inside) or (self.inside and self.inside not in inside):
            return ""
        return self.text.format(*match.groups())


def advice(error: BaseException, code: str, inside: Sequence[str]) -> str:
    """What `error` usually means; empty if no entry applies.

    `code` is the student's line on which it was raised, and `inside` the names of the Python functions that this line
    called, down to the one that raised it.
    """
    return next((text for entry in ADVICE if (text := entry.given(error, code, inside))), "")


def misused(kind: str) -> str:
    """A value of this type where something else was needed, in the words of Python and PyTorch."""
    kind = re.escape(kind)
    return (
        rf"(?:unsupported operand type\(s\) for \S+ (?:'{kind}' and|'[\w.]+' and '{kind}')"
        rf"|'{kind}' object (?!has no attribute|is not callable)"
        rf"|cannot unpack non-iterable {kind} "
        rf"|object of type '{kind}' has no"
        rf"|bad operand type for unary .: '{kind}'"
        rf"|'\S+' not supported between instances of (?:'{kind}' and|'[\w.]+' and '{kind}')"
        rf"|(?:\w+\(\): argument '\w+' \(position \d+\) )?must be (?:Tensor|tuple of Tensors|real number), not {kind}$"
        rf"|expected Tensor as element \d+ in argument \d+, but got {kind}$)"
    )


def _of_a_tensor(match: re.Match[str]) -> bool:
    return hasattr(Tensor, match[1])


def _of_an_array(match: re.Match[str]) -> bool:
    return hasattr(np.ndarray, match[1]) and not hasattr(Tensor, match[1])


def _in_math(match: re.Match[str]) -> bool:
    return hasattr(math, match[1])


def _not_in_math(match: re.Match[str]) -> bool:
    return not _in_math(match)


SHAPES = "Print both shapes before this line."
LIST = (
    "A Python list or tuple does not calculate element by element: make a tensor of it, with torch.tensor([...]) from "
    "numbers or torch.stack([...]) from tensors."
)
NUMPY = "One of these is a NumPy array: use PyTorch's functions throughout, or torch.from_numpy(...) to come back."
NO_VALUE = (
    "Something on that line is None. Does a function that you call lack its `return`? "
    "(list.append and list.sort return None too.)"
)
ONE_DTYPE = (
    "Cast one of the two, as in x.to(y.dtype). Most cases come in float64, while torch.zeros(...) makes float32 and "
    "torch.arange(...) int64: give those dtype=x.dtype."
)
ROOM_FOR_IT = "Create the target with the dtype of what goes into it: torch.zeros_like(x), or dtype=x.dtype."
FLOATS = "This needs floating-point numbers: convert first, as in load.double()."
INTEGERS = "This needs integers: convert first, as in indices.long()."
WHOLE_SIZE = "Sizes and indices are integers: `/` always gives a float, `//` keeps integers."
MASKS = "&, | and ~ combine truth values: compare first, in brackets, as in (a > 0) & (b > 0)."
POWER = "Python writes a power as **: ^ is a bitwise operation."
NEEDS_DIM = "Say along which axis: dim=-1 is the last one, dim=0 the first."
ONE_NUMBER = "`.item()`, float() and int() need a tensor with one element."
IN_PLACE = "Make a new tensor (a = a + b, not a += b), or change a .clone()."

ADVICE = (
    # einsum
    Advice(
        RuntimeError,
        r"einsum\(\): the number of subscripts in the equation \((\d+)\) does not match the number of dimensions "
        r"\((\d+)\) for operand (\d+)",
        "einsum needs one letter for each axis: operand {2} (counted from 0) has {1}, and the equation gives it {0}.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): subscript (\w) has size (\d+) for operand (\d+) which does not broadcast with previously seen "
        r"size (\d+)",
        "A letter has the same size everywhere in an einsum: `{0}` is {3} at first, but {1} in operand {2} (counted "
        "from 0). Compare the letters with the shapes.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): output subscript (\w) does not appear in the equation",
        "Each letter after -> must also appear before it, and `{0}` does not.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): output subscript (\w) appears more than once",
        "Each letter may appear only once after ->, and `{0}` appears twice.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): (?:more|fewer) operands were provided",
        "einsum takes one tensor for each group of letters before ->, and commas separate the groups.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): invalid subscript given",
        "einsum names axes by single letters, a to z or A to Z, and nothing else.",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): subscript (\w) is repeated for operand (\d+)",
        "The same letter twice in one operand asks for its diagonal: use a different "
        "letter for each axis of operand {1} (counted from 0).",
    ),
    Advice(
        RuntimeError,
        r"einsum\(\): found '\.'",
        "`...` means any number of axes, is written with three dots, and may appear once for each operand.",
    ),
    Advice(
        RuntimeError,
        r"Boolean value of Tensor with",
        'The equation comes first: torch.einsum("...", a, b).',
        inside="einsum",
    ),
    # matrix products
    Advice(
        RuntimeError,
        r"mat1 and mat2 shapes cannot be multiplied \((\w+) and (\w+)\)",
        "In A @ B, rows of A must be as long as columns of B: {0} and {1} do not fit. Is a transpose missing (B.mT), "
        "or were two tensors joined along the wrong axis?",
    ),
    Advice(
        RuntimeError,
        r"Expected size for first two dimensions of batch2 tensor to be",
        "In A @ B, rows of A must be as long as columns of B, and the axes before the last two must match. Is a "
        "transpose missing (B.mT)?",
    ),
    Advice(
        RuntimeError,
        r"size mismatch, got input \(\d+\), mat \((\w+)\), vec \((\d+)\)",
        "A matrix times a vector: rows of the matrix ({0}) must be as long as the vector ({1}).",
    ),
    Advice(
        RuntimeError,
        r"inconsistent tensor size, expected tensor \[(\d+)\] and src \[(\d+)\]",
        "The product of two vectors needs equal lengths: here {0} and {1}.",
    ),
    Advice(
        RuntimeError,
        r"batch[12] must be a 3D tensor",
        "torch.bmm takes three axes, no more and no fewer: @ takes any number.",
    ),
    Advice(
        RuntimeError, r"1D tensors expected", "torch.dot takes two vectors: for anything else use @ or torch.einsum."
    ),
    # shapes
    Advice(
        RuntimeError,
        r"The size of tensor a \(\d+\) must match the size of tensor b \(\d+\) at non-singleton dimension",
        "Axes are aligned from the last one on, and their sizes must be equal or 1. `keepdim=True` keeps the axis of a "
        "sum or a mean, `x[:, None]` adds one.",
    ),
    Advice(
        RuntimeError,
        r"The expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)",
        f"There is room for {{0}} values and you give {{1}}. Only an axis of size 1 can be stretched. {SHAPES}",
    ),
    Advice(
        RuntimeError,
        r"shape '(\[.*?\])' is invalid for input of size (\d+)",
        "The sizes {0} must multiply to {1}, the number of elements in the tensor.",
    ),
    Advice(
        RuntimeError,
        r"unflatten: Provided sizes (\[.*?\]) don't multiply up to the size of dim (\d+) \((\d+)\)",
        "The sizes {0} must multiply to {2}, the size of axis {1}.",
    ),
    Advice(
        RuntimeError,
        r"permute(?:\(sparse_coo\))?: number of dimensions in the tensor input does not match",
        "permute takes all axes, each once; transpose exchanges two of them.",
    ),
    Advice(
        RuntimeError,
        r"view size is not compatible with input tensor's size and stride",
        "After a transpose or a permute the order of the elements in memory is another one: use .reshape(...) there.",
    ),
    Advice(
        RuntimeError,
        r"Sizes of tensors must match except in dimension (\d+)",
        f"torch.cat joins along axis {{0}}, so all other axes must have equal sizes. Is `dim` right? {SHAPES}",
    ),
    Advice(
        RuntimeError,
        r"Tensors must have same number of dimensions: got (\d+) and (\d+)",
        "torch.cat joins tensors with the same number of axes: x[None] adds one.",
    ),
    Advice(
        RuntimeError,
        r"stack expects each tensor to be equal size",
        "torch.stack needs equal shapes. Along an axis that already exists, torch.cat joins different lengths.",
    ),
    Advice(
        RuntimeError,
        r"zero-dimensional tensor \(at position \d+\) cannot be concatenated",
        "A single number has no axis to join along: x[None] gives it one. (torch.stack joins tensors that are all "
        "single numbers.)",
    ),
    Advice(
        RuntimeError,
        r"output with shape (\[.*?\]) doesn't match the broadcast shape (\[.*?\])",
        "The result has shape {1} and does not fit into {0}. A tensor that is changed in place keeps its shape, so "
        "write a = a + b instead of a += b.",
    ),
    Advice(
        RuntimeError,
        r"split_with_sizes expects split_sizes to sum exactly to (\d+)",
        "The sizes must add up to {0}, the length of the axis that is split. Is `dim` right?",
    ),
    Advice(
        RuntimeError,
        r"Index tensor must have the same number of dimensions as input tensor",
        "gather needs an index with as many axes as the tensor: indices[..., None] adds one.",
    ),
    Advice(
        RuntimeError,
        r"Given normalized_shape=",
        "The shape to normalise is that of the last axis, (x.shape[-1],).",
    ),
    Advice(
        RuntimeError,
        r"tensor\.mT is only supported on matrices",
        "This tensor has one axis, so it has no transpose: @ takes it as it is.",
    ),
    Advice(
        IndexError,
        r"The shape of the mask (\[.*?\]) at index (\d+) does not match the shape of the indexed tensor (\[.*?\])",
        "A mask must be as long as the axis that it selects from: {0} does not fit {2}.",
    ),
    Advice(
        IndexError,
        r"shape mismatch: indexing tensors could not be broadcast together",
        "Index tensors that are used together are read in parallel, so their shapes must fit: x[i[:, None], j] selects "
        "rows and columns.",
    ),
    Advice(
        RuntimeError,
        r"Expected target size",
        "F.cross_entropy wants the vocabulary as the second axis, and a target for each position.",
    ),
    Advice(
        ValueError,
        r"Expected input batch_size \((\d+)\) to match target batch_size \((\d+)\)",
        "F.cross_entropy wants one target for each row of logits: here {0} rows and {1} targets.",
    ),
    # axes and indices
    Advice(
        IndexError,
        r"Dimension out of range \(expected to be in range of \[(-?\d+), (-?\d+)\], but got (-?\d+)\)",
        "This tensor has no axis {2}, only {0} to {1}: print its shape.",
    ),
    Advice(
        IndexError,
        r"too many indices for tensor of dimension (\d+)",
        "There are more indices than axes, which are {0}: print the shape.",
    ),
    Advice(
        (IndexError, RuntimeError),
        r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)",
        "Axis {1} has {2} entries, and they are counted from 0.",
    ),
    Advice(
        IndexError,
        r"(list|tuple) index out of range",
        "The {0} has fewer entries than that. They are counted from 0.",
    ),
    Advice(
        RuntimeError,
        r"selected index k out of range",
        "topk cannot return more entries than the axis has. Is `dim` right?",
    ),
    Advice(
        IndexError,
        r"Target (\d+) is out of bounds",
        "A target must be smaller than the number of classes, the second axis of the logits: are the axes in order?",
    ),
    Advice(
        (IndexError, TypeError),
        r"(?:invalid index of a 0-dim tensor|len\(\) of a 0-d tensor|iteration over a 0-d tensor)",
        "A 0-d tensor is a single number: there is nothing to index or to loop over. Has a sum removed too many axes?",
    ),
    Advice(
        (IndexError, RuntimeError),
        r"(?:tensors used as indices must be long|\w+\(\): Expected dtype int32(?:/| or )int64 for index"
        r"|one_hot is only applicable to index tensor|expected target dtype to be Long"
        r"|expected scalar type Long but found)",
        INTEGERS,
    ),
    Advice(
        (IndexError, TypeError),
        r"(?:slice indices must be integers|(?:list|tuple) indices must be integers or slices, not float"
        r"|'float' object cannot be interpreted as an integer|only integers, slices .* are valid indices "
        r"\(got float\)|(?:zeros|ones|empty|rand|randn)\(\) takes 1 positional argument but \d were given"
        r"|(?:zeros|ones|empty|rand|randn)\(\) received an invalid combination of arguments - got \([^)]*float"
        r"|(?:zeros|ones|empty|rand|randn)\(\): argument 'size' .*\bfloat\b)",
        WHOLE_SIZE,
    ),
    Advice(
        TypeError,
        r"only integer tensors of a single element can be converted to an index",
        "A list, range() or a size needs a single integer: loop over tensor.tolist(), or make the list a tensor.",
    ),
    # dtypes
    Advice(
        RuntimeError,
        r"(?:expected m1 and m2 to have the same dtype|expected scalar type (?!Long)\w+ but found|dot : expected both "
        r"vectors to have same dtype|Input dtypes must be the same)",
        ONE_DTYPE,
    ),
    Advice(
        RuntimeError,
        r"(?:index_add_\(\): self \(\w+\) and source \(\w+\) must have the same scalar type|Index put requires the "
        r"source and destination dtypes match|scatter\(\): Expected self\.dtype to be equal to src\.dtype)",
        ROOM_FOR_IT,
    ),
    Advice(
        RuntimeError,
        r"result type (\w+) can't be cast to the desired output type (\w+)",
        "A tensor that is changed in place keeps its dtype, {1} here, which cannot hold {0}: write a = a + b instead "
        "of a += b.",
    ),
    Advice(
        RuntimeError,
        r"(?:mean\(\): could not infer output dtype|std and var only support floating point|linalg\.vector_norm: "
        r"Expected a floating point|quantile\(\) input tensor must be either float or double)",
        FLOATS,
    ),
    Advice(NotImplementedError, r"\"(?!bitwise_)\w+\" not implemented for '(?:Long|Int|Short|Char|Byte|Bool)'", FLOATS),
    Advice(NotImplementedError, r"\"(?!bitwise_)\w+\" not implemented for '(?:Double|Float)'", INTEGERS),
    Advice(NotImplementedError, r"\"bitwise_xor_\w+\" not implemented for", POWER),
    Advice(
        TypeError, r"unsupported operand type\(s\) for \^=?: '(?:float|int|Tensor)' and '(?:float|int|Tensor)'", POWER
    ),
    Advice(NotImplementedError, r"\"bitwise_(?!xor_)\w+\" not implemented for", MASKS),
    Advice(TypeError, r"~ \(operator\.invert\) is only implemented on integer and Boolean", MASKS),
    Advice(
        RuntimeError,
        r"(?:masked_fill_? only supports boolean masks|where expected condition to be a boolean tensor)",
        "The mask must be boolean: the result of a comparison, or x.bool().",
    ),
    Advice(
        RuntimeError,
        r"bincount only supports 1-d non-negative integral inputs",
        "bincount takes one axis of integers from 0 on. Flatten it first.",
    ),
    # single numbers
    Advice(
        RuntimeError,
        r"a Tensor with (\d+) elements cannot be converted to Scalar",
        "`.item()` needs a tensor with one element, and this has {0}: leave it a tensor, or select or reduce first.",
    ),
    Advice(
        ValueError,
        r"only one element tensors can be converted to Python scalars",
        "torch.tensor(...) takes numbers: torch.stack([...]) joins tensors.",
        code=r"\b(?:as_)?tensor\(",
    ),
    Advice(
        ValueError,
        r"only one element tensors can be converted to Python scalars",
        "`math`, float() and int() take a single number: of a tensor, write x.log(), x.exp(), x.double(), x.long().",
        code=r"^(?!.*\b(?:as_)?tensor\()",
    ),
    Advice(
        TypeError,
        r"only (?:0-dimensional|length-1|size-1) arrays can be converted to Python scalars",
        "`math`, float() and int() take a single number, not an array. Use PyTorch's functions, as in x.log().",
    ),
    Advice(
        RuntimeError,
        r"Boolean value of Tensor with (?:more than one value|no values) is ambiguous",
        "`if`, `while`, `and`, `or` and `not` need one truth value: compare single elements, or use torch.where.",
        own=True,
    ),
    Advice(
        ValueError,
        r"The truth value of an array with more than one element is ambiguous",
        "`if`, `while`, `and`, `or` and `not` need one truth value, not an array: compare single elements.",
    ),
    Advice(
        OverflowError,
        r"(?:math range error|\(34, )",
        "The result is larger than the largest float, 1.8e308: add and subtract the exponents first, take exp last.",
    ),
    Advice(
        ValueError,
        r"(?:math domain error|expected a (?:positive|nonnegative) input)",
        "`math` takes the logarithm of numbers above 0 only, and no root of a negative one.",
    ),
    # values of another type
    Advice((TypeError, AttributeError), misused("NoneType"), NO_VALUE),
    Advice(AttributeError, r"'NoneType' object has no attribute", NO_VALUE),
    Advice(RuntimeError, r"Could not infer dtype of NoneType", NO_VALUE),
    Advice(
        TypeError,
        rf"(?:{misused('ellipsis')}|'ellipsis' object |\w+\(\) received an invalid combination of arguments - got "
        r"\([^)]*\bellipsis\b)",
        "A `...` is left where a value should be: replace it with your code.",
    ),
    Advice(
        AttributeError,
        r"'ellipsis' object has no attribute",
        "A `...` is left where a value should be: replace it with your code.",
    ),
    Advice(TypeError, misused("list"), LIST),
    Advice(TypeError, misused("tuple"), LIST),
    Advice(TypeError, r"(?:can't multiply sequence by non-int|can only concatenate (?:list|tuple))", LIST),
    Advice(AttributeError, r"'(?:list|tuple)' object has no attribute '(\w+)'", LIST, when=_of_a_tensor),
    Advice(
        AttributeError,
        r"'tuple' object has no attribute '(\w+)'",
        "The entries of a tuple have no names: unpack it, as in a, b = pair, or index it, as in pair[0].",
        when=lambda match: not _of_a_tensor(match),
    ),
    Advice(TypeError, misused("numpy.ndarray"), NUMPY),
    Advice(AttributeError, r"'numpy\.ndarray' object has no attribute '(\w+)'", NUMPY, when=_of_a_tensor),
    Advice(
        AttributeError,
        r"'Tensor' object has no attribute '(\w+)'",
        "`{0}` is NumPy's: a tensor is converted with .to(dtype), .double(), .float() or .long().",
        when=_of_an_array,
    ),
    Advice(
        TypeError,
        r"Got unsupported ScalarType BFloat16",
        "NumPy has no bfloat16: use PyTorch's functions, without .numpy().",
    ),
    Advice(
        TypeError,
        r"(\w+)\(\): argument '\w+' \(position \d+\) must be Tensor, not (?:float|int)$",
        "torch.{0} takes a tensor: for a plain number use math.{0}.",
        when=_in_math,
    ),
    Advice(
        TypeError,
        r"(\w+)\(\): argument '\w+' \(position \d+\) must be Tensor, not (?:float|int)$",
        "This takes a tensor: torch.tensor(...) makes one of a number.",
        when=_not_in_math,
    ),
    Advice(
        TypeError,
        r"expected Tensor as element \d+ in argument \d+, but got (?:float|int)$",
        "This joins tensors: torch.tensor([...]) turns a list of numbers into one.",
    ),
    Advice(
        AttributeError,
        r"'(?:float|int)' object has no attribute '(\w+)'",
        "This is a plain number, not a tensor: write math.{0}(x).",
        when=_in_math,
    ),
    Advice(
        AttributeError,
        r"'(?:float|int)' object has no attribute '(\w+)'",
        "This is a plain number, not a tensor: use it as it is.",
        when=lambda match: _of_a_tensor(match) and _not_in_math(match),
    ),
    Advice(
        TypeError, r"'(?:int|float)' object is not iterable", "A number cannot be looped over: range(n) counts to n."
    ),
    Advice(
        TypeError, r"'(?:int|float)' object is not subscriptable", "A plain number has no [...]: was it indexed twice?"
    ),
    # calls
    Advice(TypeError, r"\w+\(\) missing 1 required positional arguments: \"dim\"", NEEDS_DIM),
    Advice(
        TypeError,
        r"(?:log_)?softmax\(\) received an invalid combination of arguments - got \((?:Tensor)?\)",
        NEEDS_DIM,
    ),
    Advice(
        TypeError,
        r"\w+\(\) (?:got an unexpected keyword argument '|received an invalid combination of arguments - got \([^)]*\b)"
        r"(?:dims|axes|keep_dim|keep_dims|keepdims)(?:'|=)",
        "PyTorch calls these arguments `dim` and `keepdim`.",
    ),
    Advice(
        TypeError,
        r"transpose\(\) (?:missing|received an invalid)",
        "transpose takes the two axes to exchange: x.mT exchanges the last two.",
    ),
    Advice(
        TypeError,
        r"(cat|stack)\(\): argument 'tensors' \(position 1\) must be tuple of Tensors, not Tensor",
        "Put the tensors into one list: torch.{0}([a, b], dim=...).",
    ),
    Advice(
        TypeError,
        r"'Tensor' object is not callable",
        "Round brackets call a function: square ones index a tensor, and a product needs its *.",
    ),
    Advice(TypeError, r"'torch\.Size' object is not callable", "A shape takes square brackets: x.shape[0]."),
    Advice(
        TypeError,
        r"'(?:int|float|list|tuple)' object is not callable",
        "Is a * missing before a bracket, or have you used the name of a function for a variable?",
    ),
    Advice(
        TypeError,
        r"'(?:builtin_function_or_method|method|function)' object is not subscriptable",
        "A method is called with round brackets: x.size(0). Only x.shape takes square ones.",
    ),
    Advice(
        ValueError,
        r"(?:not enough|too many) values to unpack \(expected (\d+)",
        "There are {0} names on the left of the =, and not as many values on its right: print them, or their shape.",
    ),
    Advice(
        RecursionError,
        r"maximum recursion depth exceeded",
        "The function calls itself again and again: has a helper of yours the same name?",
    ),
    # gradients and devices
    Advice(
        RuntimeError,
        r"(?:a (?:view of a )?leaf Variable that requires grad is being used in an in-place operation"
        r"|one of the variables needed for gradient computation has been modified by an inplace operation"
        r"|Output \d+ of \w+ is a view and is being modified inplace)",
        f"Autograd still needs the old values. {IN_PLACE}",
    ),
    Advice(
        RuntimeError,
        r"unsupported operation: (?:more than one element|some elements) of",
        f"An expanded tensor stores its numbers once for all. {IN_PLACE}",
    ),
    Advice(
        RuntimeError,
        r"Can't call numpy\(\) on Tensor that requires grad",
        "Use PyTorch's functions; NumPy's and `math` cannot follow gradients.",
    ),
    Advice(
        RuntimeError,
        r"(?:Tensor on device \S+ is not on the expected device|Expected all tensors to be on the same device)",
        "Create new tensors on the device of the inputs: device=x.device.",
    ),
    Advice(
        AssertionError,
        r"Torch not compiled with CUDA enabled",
        "There is no GPU here: the inputs are on the CPU, so leave the device alone, or take x.device.",
    ),
)
