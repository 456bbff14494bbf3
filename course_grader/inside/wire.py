"""Encodes values for the channel between the judge and an untrusted worker. Without pickle: decoding runs no code.

A frame is two lengths, a JSON header, and the bytes of all arrays in it. PyTorch is imported with the first tensor, so
that a worker that gets none starts two seconds sooner.
"""

import math
import socket
import struct
import sys
from fractions import Fraction
from json import dumps, loads  # names of this module: patching json in a notebook does not change them
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = struct.Struct("<II")
MOST_HEADER, MOST_BYTES, MOST_VALUES, DEEPEST = 1 << 20, 64 << 20, 10_000, 6
ARRAYS = (
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool",
    "complex64", "complex128",
)  # fmt: skip
TENSORS = (*ARRAYS, "bfloat16")


Buffer = bytes | memoryview


class GarbledError(ValueError):
    """What arrived is not a message."""


class Other:
    """Stands for an answer that cannot be encoded, such as a function. `kind` is the name of its type."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Channel(Protocol):
    def sendall(self, data: "Buffer", /) -> None: ...


def is_tensor(value: Any) -> "TypeGuard[Tensor]":
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)


def send(channel: Channel, message: dict[str, Any]) -> None:
    blobs: list[Buffer] = []
    header = dumps(_packed(message, blobs)).encode()
    channel.sendall(LENGTHS.pack(len(header), sum(map(len, blobs))) + header)
    for blob in blobs:  # as they are: large inputs take long to copy
        channel.sendall(blob)


def lengths(prefix: bytes | bytearray) -> tuple[int, int]:
    """The number of bytes of the header and of the arrays that follow."""
    header, body = LENGTHS.unpack(prefix)
    if header > MOST_HEADER or body > MOST_BYTES:
        raise GarbledError("an answer that is far too large")
    return header, body


def receive(channel: socket.socket) -> dict[str, Any]:
    """The next message. For the worker only, as it waits without a time limit.

    Raises:
        OSError: the other end is closed.
    """
    header, body = lengths(_exactly(channel, LENGTHS.size))
    return read(_exactly(channel, header), _exactly(channel, body))


def _exactly(channel: socket.socket, size: int) -> bytearray:
    data, filled = bytearray(size), 0
    while filled < size:
        if not (count := channel.recv_into(memoryview(data)[filled:])):
            raise OSError("the judge is gone")
        filled += count
    return data


def read(header: bytes | bytearray, body: bytes | bytearray) -> dict[str, Any]:
    """The message in a frame. No two tensors in it share memory."""
    try:
        message = _Reader(body).value(loads(header), 0)
    except GarbledError:
        raise
    except Exception:  # any error that malformed bytes can cause
        raise GarbledError("an answer that cannot be read") from None
    if not isinstance(message, dict):
        raise GarbledError("an answer that cannot be read")
    return message


def _packed(value: Any, blobs: list[Buffer]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value[:MOST_VALUES])
    if isinstance(value, int):
        return {"int": hex(value)}
    if isinstance(value, float):
        return {"float": float.hex(value)}
    if isinstance(value, Fraction):
        return {"float": float.hex(float(value))}
    if is_tensor(value):
        return _packed_tensor(value, blobs)
    if isinstance(value, np.ndarray | np.generic):
        return _packed_array(np.asarray(value), blobs)
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_packed(each, blobs) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _packed(each, blobs)] for key, each in value.items()]}
    return {"other": type(value).__name__[:80]}


def bytes_of(tensor: "Tensor") -> np.ndarray:
    import torch

    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy()


def _packed_tensor(value: "Tensor", blobs: list[Buffer]) -> Any:
    import torch

    if value.is_meta or value.layout != torch.strided or value.is_nested or value.is_quantized:
        return {"other": "tensor without plain numbers"}
    blobs.append(bytes_of(value).data)
    return {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "bytes": len(blobs[-1])}


def _packed_array(value: np.ndarray, blobs: list[Buffer]) -> Any:
    if value.dtype.type is np.longdouble:
        value = value.astype(np.float64)
    if value.dtype.name not in ARRAYS:
        return {"other": f"array of {value.dtype.name}"[:80]}
    blobs.append(np.ascontiguousarray(value).tobytes())
    return {"array": value.dtype.name, "shape": list(value.shape), "bytes": len(blobs[-1])}


class _Reader:
    """Reads arrays from the body in the order in which the header lists them."""

    def __init__(self, body: bytes | bytearray) -> None:
        self.body, self.at, self.values = memoryview(body), 0, 0

    def value(self, packed: Any, depth: int) -> Any:
        self.values += 1
        if depth > DEEPEST or self.values > MOST_VALUES:
            raise GarbledError("an answer too deep or with too many parts")
        if packed is None or isinstance(packed, bool | str):
            return packed
        kind, content = next(iter(packed.items()))
        if kind == "int":
            return int(content, 16)
        if kind == "float":
            return float.fromhex(content)
        if kind in ("list", "tuple"):
            parts = [self.value(each, depth + 1) for each in content]
            return parts if kind == "list" else tuple(parts)
        if kind == "dict":
            return {str(key): self.value(each, depth + 1) for key, each in content}
        if kind == "tensor" and content in TENSORS:
            return self._tensor(packed, content)
        if kind == "array" and content in ARRAYS:
            blob, shape = self._blob(packed, np.dtype(content).itemsize)
            return np.frombuffer(blob, dtype=content).reshape(shape).copy()
        if kind == "other":
            return Other(str(content)[:80])
        raise GarbledError("an unknown kind of value")

    def _tensor(self, packed: dict[str, Any], name: str) -> "Tensor":
        import torch

        dtype = getattr(torch, name)
        blob, shape = self._blob(packed, dtype.itemsize)
        return (torch.frombuffer(bytearray(blob), dtype=dtype) if blob else torch.empty(0, dtype=dtype)).reshape(shape)

    def _blob(self, packed: dict[str, Any], item: int) -> tuple[memoryview, list[int]]:
        shape, size = [int(n) for n in packed["shape"]], int(packed["bytes"])
        if min(shape, default=0) < 0 or len(shape) > 8 or math.prod(shape) * item != size:
            raise GarbledError("an array whose shape and bytes do not agree")
        blob = self.body[self.at : self.at + size]
        if len(blob) != size:
            raise GarbledError("an array that is cut short")
        self.at += size
        return blob, shape
