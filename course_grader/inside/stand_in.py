"""Stands in for the course's package while a notebook is graded: every name imports, and does nothing."""

import dis
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

OPERATORS = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"
)  # fmt: skip
OTHERS = (
    "call", "getitem", "enter", "neg", "pos", "abs", "invert", "round", "trunc", "floor", "ceil",
    "array_ufunc",
)  # fmt: skip


class Nothing:
    """Takes every call, attribute, index and operator, and gives nothing.

    It agrees with whatever it is compared with, so that an assertion beside the student's definitions holds.
    """

    __dataclass_fields__: dict[str, Any] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (Nothing,)

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):  # protocols that others look for: an array, a copy, a rich display
            raise AttributeError(name)
        return self

    @classmethod
    def __torch_function__(cls, *args: Any, **kwargs: Any) -> "Nothing":
        return Nothing()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __delitem__(self, key: Any) -> None:
        pass

    def __exit__(self, *error: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        """Empty in a loop; where it is unpacked, as many as there are names."""
        return iter([self] * _names(sys._getframe(2)))  # below this frame is that of `_noted`

    def __len__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __index__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __instancecheck__ = __subclasscheck__ = __eq__

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0

    def __format__(self, spec: str) -> str:
        return "nothing"

    def __fspath__(self) -> str:
        return "/dev/null"

    __str__ = __repr__ = lambda self: "nothing"


def _nothing(self: Nothing, *args: Any, **kwargs: Any) -> Nothing:
    return self


for _name in (*OPERATORS, *(f"r{name}" for name in OPERATORS), *OTHERS):
    setattr(Nothing, f"__{_name}__", _nothing)


class Uses:
    """Whether anything has been done with the stand-ins since somebody set this to False."""

    seen = False


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        Uses.seen = True
        return method(*args, **kwargs)

    return noted


for _name, _method in list(vars(Nothing).items()):
    if isinstance(_method, FunctionType) and _name not in ("__init__", "__hash__"):
        setattr(Nothing, _name, _noted(_method))


def _names(frame: FrameType) -> int:
    """How many names the instruction at hand unpacks to, a star's left out; 0 where it is another instruction."""
    operation, count = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 2]
    return count if dis.opname[operation] in ("UNPACK_SEQUENCE", "UNPACK_EX") else 0


class Points(Nothing, float):
    """What `check` gives: a number, for those who collect it."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.zeros(())


class Check(Nothing):
    """Calls of it do not count as a use: every page makes them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Points:
        return Points()


class Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Check() if name in ("check", "when_written") else Nothing()


class Anything:
    """Finds every module below course_lib, and the grader's own, and makes it on the spot."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        root = name.partition(".")[0]
        return ModuleSpec(name, self, is_package=True) if root in ("course_lib", "course_grader") else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__all__"] = ["BANK", "check", "when_written"] if module.__name__.endswith(".exercises") else []


def install() -> None:
    """Before every other finder, so that not even a course that is installed here is found."""
    sys.meta_path.insert(0, Anything())  # type: ignore[arg-type]
