"""Stand-ins for course_lib and google.colab while a notebook is graded: every name exists and does nothing."""

import dis
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
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
    """Accepts every call, attribute, index and operator, and returns nothing of use.

    Every comparison with it is true, so that assertions next to the student's definitions hold.
    """

    __dataclass_fields__: dict[str, Any] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (Nothing,)

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):  # protocols that other packages look for: arrays, copies, rich display
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
        """Empty in a loop. When unpacked, as many items as there are names."""
        return iter([self] * _names(sys._getframe(2)))  # frame 1 is that of `_noted`

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
    """Whether stand-ins for course_lib have been used since this was set to False."""

    seen = False


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: Nothing, *args: Any, **kwargs: Any) -> Any:
        Uses.seen |= not isinstance(self, Colab)
        return method(self, *args, **kwargs)

    return noted


for _name, _method in list(vars(Nothing).items()):
    if isinstance(_method, FunctionType) and _name not in ("__init__", "__hash__"):
        setattr(Nothing, _name, _noted(_method))


def _names(frame: FrameType) -> int:
    """How many names the current instruction unpacks to, not counting a starred one; 0 if it does not unpack."""
    operation, count = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 2]
    return count if dis.opname[operation] in ("UNPACK_SEQUENCE", "UNPACK_EX") else 0


class Points(Nothing, float):
    """The result of `check`: a number, so that it can be added up."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.zeros(())


class Check(Nothing):
    """Calling it does not count as a use: every page does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Points:
        return Points()


class Colab(Nothing):
    """A name of google.colab, such as `drive.mount`. Using it does not count as a use of course_lib."""


class Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__name__ == "google":
            raise AttributeError(name)
        if self.__name__ == "google.colab":
            return importlib.import_module(f"google.colab.{name}")
        if self.__name__.startswith("google."):
            return _no_secret if name == "get" else Colab()
        return Check() if name in ("check", "when_written") else Nothing()


def _no_secret(name: str) -> str:
    """Stands in for google.colab.userdata.get."""
    return ""


class Finder:
    """Creates modules of these names when they are imported, and all modules below them."""

    def __init__(self, *names: str, below: bool = True) -> None:
        self._names, self._below = names, below

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self._names or (self._below and name.startswith(tuple(f"{own}." for own in self._names))):
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__all__"] = ["BANK", "check", "when_written"] if module.__name__.endswith(".exercises") else []


def install() -> None:
    """The finder comes first, so that an installed course is not found. `google` is created only if it is missing,
    because other packages have modules there.
    """
    sys.meta_path.insert(0, Finder("course_lib", "course_grader", "google.colab"))  # type: ignore[arg-type]
    sys.meta_path.append(Finder("google", below=False))  # type: ignore[arg-type]
    os.chdir = partial(_change_folder, os.chdir)


def _change_folder(change: Callable[[Any], None], path: Any) -> None:
    """Like os.chdir, but a missing folder below /content, Colab's own, is ignored."""
    try:
        change(path)
    except FileNotFoundError:
        if Path("/content") not in (Path(path), *Path(path).parents):
            raise
