"""Values as bytes, between the judge and a worker that nobody vetted. No pickle: what arrives is read, never run.

A frame is two lengths, a JSON header, and the bytes of all arrays in it.
"""

import math
import struct
from fractions import Fraction
from json import dumps, loads  # by name, so that a notebook that patches json breaks only itself
from typing import Any, Protocol

import numpy as np
import torch

LENGTHS = struct.Struct("<II")
MOST_HEADER, MOST_BYTES, MOST_VALUES, DEEPEST = 1 << 20, 64 << 20, 10_000, 6
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool, torch.complex64, torch.complex128,
    )
}  # fmt: skip
ARRAYS = [name for name in DTYPES if name != "bfloat16"]


class GarbledError(ValueError):
    """What arrived is no message."""


class Other:
    """Stands for an answer that no answer can be, such as a function; `kind` is the name of its type."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Channel(Protocol):
    def sendall(self, data: bytes, /) -> None: ...


def send(channel: Channel, message: dict[str, Any]) -> None:
    blobs: list[bytes] = []
    header = dumps(_packed(message, blobs)).encode()
    channel.sendall(LENGTHS.pack(len(header), sum(map(len, blobs))) + header + b"".join(blobs))


def lengths(prefix: bytes) -> tuple[int, int]:
    """How many bytes of header and of arrays follow."""
    header, body = LENGTHS.unpack(prefix)
    if header > MOST_HEADER or body > MOST_BYTES:
        raise GarbledError("an answer that is far too large")
    return header, body


def read(header: bytes, body: bytes) -> dict[str, Any]:
    """The message of a frame; every tensor in it has memory of its own."""
    try:
        message = _Reader(body).value(loads(header), 0)
    except GarbledError:
        raise
    except Exception:  # whatever bytes can do to a reader
        raise GarbledError("an answer that cannot be read") from None
    if not isinstance(message, dict):
        raise GarbledError("an answer that cannot be read")
    return message


def _packed(value: Any, blobs: list[bytes]) -> Any:
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
    if isinstance(value, torch.Tensor):
        return _packed_tensor(value, blobs)
    if isinstance(value, np.ndarray | np.generic):
        return _packed_array(np.asarray(value), blobs)
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_packed(each, blobs) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _packed(each, blobs)] for key, each in value.items()]}
    return {"other": type(value).__name__[:80]}


def _packed_tensor(value: torch.Tensor, blobs: list[bytes]) -> Any:
    if value.is_meta or value.layout != torch.strided or value.is_nested or value.is_quantized:
        return {"other": "tensor without plain numbers"}
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    blobs.append(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return {"tensor": str(plain.dtype).removeprefix("torch."), "shape": list(plain.shape), "bytes": len(blobs[-1])}


def _packed_array(value: np.ndarray, blobs: list[bytes]) -> Any:
    if value.dtype.type is np.longdouble:
        value = value.astype(np.float64)
    if value.dtype.name not in ARRAYS:
        return {"other": f"array of {value.dtype.name}"[:80]}
    blobs.append(np.ascontiguousarray(value).tobytes())
    return {"array": value.dtype.name, "shape": list(value.shape), "bytes": len(blobs[-1])}


class _Reader:
    """Takes arrays off the body in the order in which the header names them."""

    def __init__(self, body: bytes) -> None:
        self.body, self.at, self.values = body, 0, 0

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
        if kind == "tensor":
            blob, shape = self._blob(packed, torch.empty(0, dtype=DTYPES[content]).element_size())
            flat = (
                torch.frombuffer(bytearray(blob), dtype=DTYPES[content])
                if blob
                else torch.empty(0, dtype=DTYPES[content])
            )
            return flat.reshape(shape)
        if kind == "array" and content in ARRAYS:
            blob, shape = self._blob(packed, np.dtype(content).itemsize)
            return np.frombuffer(blob, dtype=content).reshape(shape).copy()
        if kind == "other":
            return Other(str(content)[:80])
        raise GarbledError("an unknown kind of value")

    def _blob(self, packed: dict[str, Any], item: int) -> tuple[bytes, list[int]]:
        shape, size = [int(n) for n in packed["shape"]], int(packed["bytes"])
        if min(shape, default=0) < 0 or len(shape) > 8 or math.prod(shape) * item != size:
            raise GarbledError("an array whose shape and bytes do not agree")
        blob = self.body[self.at : self.at + size]
        if len(blob) != size:
            raise GarbledError("an array that is cut short")
        self.at += size
        return blob, shape
