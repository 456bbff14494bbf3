"""Stands in for the course's package while a notebook is graded: every name imports, and does nothing."""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Nothing:
    """Takes every call, attribute, index and operator, and gives nothing. It is not equal to anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def _nothing(self, *args: Any, **kwargs: Any) -> "Nothing":
        return self

    __call__ = __getitem__ = __enter__ = __neg__ = __pos__ = __abs__ = __invert__ = _nothing
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _nothing
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _nothing

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):  # protocols that others look for: an array, a copy, a rich display
            raise AttributeError(name)
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __exit__(self, *error: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __float__(self) -> float:
        return 0.0

    def __index__(self) -> int:
        return 0

    def __lt__(self, other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __contains__ = __lt__

    def __format__(self, spec: str) -> str:
        return "nothing"

    __str__ = __repr__ = lambda self: "nothing"


class Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class Anything:
    """Finds every module below course_lib, and the grader's own, and makes it on the spot."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        root = name.partition(".")[0]
        return ModuleSpec(name, self, is_package=True) if root in ("course_lib", "course_grader") else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__all__"] = []


def install() -> None:
    """Before every other finder, so that not even a course that is installed here is found."""
    sys.meta_path.insert(0, Anything())  # type: ignore[arg-type]
