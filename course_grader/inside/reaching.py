"""Which of a notebook's functions another one may call, directly or through others."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

MOST_PARTS = 100_000  # that are looked at; larger collections are data


def reached(start: Any, names: dict[str, Any], wanted: Collection[str]) -> list[str]:
    """Those of the `wanted` global names that may be looked up when `start` is called, whether they exist or not."""
    found: set[str] = set()
    targets = {id(names[name]): name for name in wanted if name in names}
    todo, seen = [start], set[int]()
    while todo and len(seen) < MOST_PARTS:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if each is not start and id(each) in targets:
            found.add(targets[id(each)])
        if isinstance(each, FunctionType) and each.__globals__ is names:
            used = set(_names(each.__code__))
            found |= used.intersection(wanted) - names.keys()
            todo += [names[name] for name in used if name in names]
        todo += _parts(each)
    return sorted(found)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _parts(value: Any) -> list[Any]:
    """What a function, or an object that may hold functions, is made of."""
    if isinstance(value, FunctionType):
        return [*_enclosed(value), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ == "__main__":  # the notebook's own
        return [*kind.__bases__, *vars(kind).values(), *getattr(value, "__dict__", {}).values()]
    wrapped = getattr(value, "__wrapped__", None)  # by lru_cache, staticmethod and the like
    return [wrapped] if isinstance(wrapped, FunctionType) else []


def _enclosed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it has not been filled yet
            yield cell.cell_contents
