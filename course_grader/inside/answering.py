"""Calls the functions of a notebook for the judge, in a separate process per exercise."""

import builtins
import inspect
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import stand_in
import wire
from reaching import reached

Function = Callable[..., Any]
ONE_AT_A_TIME = threading.Lock()  # a function may be called from several threads


def answer_calls(channel: socket.socket, names: dict[str, Any], start: dict[str, Any]) -> None:
    """Answers calls of one function until the judge ends it. The functions that `start` lends are the judge's.

    It first reports which functions of other exercises this one may call.
    """
    wire.send(channel, {"reaches": _reached(names, start["exercise"], start["others"])})
    loans = [Loan(channel, name, names.get(name)) for name in start["lent"]]
    for loan in loans:
        loan.replace(names)
    function = names.get(start["exercise"])
    while True:
        request = wire.receive(channel)
        if "arguments" not in request:
            return
        for loan in loans:
            loan.call = request["id"]
        reply = _called(function, request["arguments"]) if callable(function) else {"missing": True}
        try:
            wire.send(channel, {**reply, "id": request["id"]})
        except Exception as error:  # an answer that raises when it is looked at
            wire.send(channel, {"raised": type(error).__name__, "id": request["id"]})


def _reached(names: dict[str, Any], exercise: str, others: Sequence[str]) -> list[str]:
    try:
        return reached(names.get(exercise), names, others)
    except Exception:  # the notebook's own objects may do anything when they are looked at
        return list(others)


class Loan:
    """Replaces a function of the notebook. The judge answers its calls, using the course's function."""

    def __init__(self, channel: socket.socket, name: str, own: object) -> None:
        self._channel, self._own, self.__name__, self.call = channel, own, name, 0

    def replace(self, names: dict[str, Any]) -> None:
        """Replaces it under every name that the notebook has given to it."""
        others = [] if self._own is None else [name for name, value in names.items() if value is self._own]
        names.update(dict.fromkeys([self.__name__, *others], self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _by_position(self._own, args, kwargs)
        request = {"asks": self.__name__, "arguments": list(args), "named": kwargs}
        with ONE_AT_A_TIME:
            wire.send(self._channel, {**request, "id": self.call})
            reply = wire.receive(self._channel)
        if "answer" in reply:
            return reply["answer"]
        raise getattr(builtins, reply["error"])(f"{self.__name__}: {reply['why']}")


def _by_position(own: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Makes keyword arguments positional: the parameters of the notebook's own function may have any names."""
    try:
        bound = inspect.signature(own).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    return bound.args, bound.kwargs


def _called(function: Function, arguments: list[Any]) -> dict[str, Any]:
    before, stand_in.Uses.seen = [_copied(each) for each in arguments], False
    try:
        answer = function(*arguments)
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
        name = error.name if isinstance(error, NameError) else None
        return {"raised": type(error).__name__, "kinds": kinds, "name": name, "hollow": stand_in.Uses.seen}
    changed = [number for number, (old, new) in enumerate(zip(before, arguments, strict=True)) if not _equal(old, new)]
    return {"answer": answer, "changed": changed, "hollow": stand_in.Uses.seen or _hollow(answer)}


def _hollow(answer: Any, deep: int = 3) -> bool:
    """Whether it is a stand-in for something of course_lib, or a list that holds one."""
    if isinstance(answer, list | tuple) and deep:
        return any(_hollow(each, deep - 1) for each in answer)
    return isinstance(answer, stand_in.Nothing)


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value.clone() if wire.is_tensor(value) else dict(value) if isinstance(value, dict) else value


def _equal(old: Any, new: Any) -> bool:
    """Tensors bit by bit, so that NaN stays NaN."""
    if wire.is_tensor(old):
        if not wire.is_tensor(new) or old.shape != new.shape or old.dtype != new.dtype:
            return False
        return bool(np.array_equal(wire.bytes_of(old), wire.bytes_of(new)))
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_equal, old, new))
    return bool(old == new)
