"""What a decode keeps of the tokens it has seen: one row per token and layer."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor


class LayerCache:
    """Rows of one layer, in a buffer that doubles when it is full, so that a step copies only its own rows."""

    def __init__(self, capacity: int = 0):
        self.length = 0
        self._capacity = capacity  # rows to make room for at the first append
        self._buffer: Tensor | None = None

    def append(self, rows: Float[Tensor, "b s width"]) -> Float[Tensor, "b t width"]:
        """Keep the rows of s new tokens; returns those of all t tokens so far, as a view."""
        end = self.length + rows.shape[1]
        buffer = self._buffer
        if buffer is None or buffer.shape[1] < end:
            buffer = self._grown(rows, end)
        if buffer.shape[::2] != rows.shape[::2] or buffer.dtype != rows.dtype:
            held, got = (f"{tuple(x.shape[::2])} {x.dtype}" for x in (buffer, rows))
            raise ValueError(f"cache holds (batch, width) {held}, got {got}")
        if torch.is_grad_enabled() and (rows.requires_grad or buffer.requires_grad):
            buffer = torch.cat([buffer[:, : self.length], rows], dim=1)  # autograd must find what it saved unchanged
        else:
            buffer[:, self.length : end] = rows
        self._buffer, self.length = buffer, end
        return buffer[:, :end]

    def _grown(self, rows: Tensor, end: int) -> Tensor:
        old = rows[:, :0] if self._buffer is None else self._buffer
        capacity = self._capacity if self._buffer is None else 2 * old.shape[1]
        # outlives this call, so it must not become an inference tensor, which no_grad could not write to
        with torch.inference_mode(False), torch.no_grad():
            grown = old.new_empty(old.shape[0], max(end, capacity), old.shape[2])
        grown[:, : self.length] = old[:, : self.length]
        return grown

    def truncate(self, length: int) -> None:
        """Forget every token from `length` on, as after rejected drafts."""
        if not 0 <= length <= self.length:
            raise ValueError(f"can cut back to 0..{self.length} tokens, got {length}")
        self.length = length

    @property
    def nbytes(self) -> int:
        """Bytes of the rows held."""
        return 0 if self._buffer is None else self._buffer[:, : self.length].nbytes

    @property
    def allocated_nbytes(self) -> int:
        """Bytes of the buffer behind them."""
        return 0 if self._buffer is None else self._buffer.untyped_storage().nbytes()


class Cache:
    """One LayerCache per layer; `capacity` makes room for that many tokens at once."""

    def __init__(self, layers: int, capacity: int = 0):
        self.layers = [LayerCache(capacity) for _ in range(layers)]

    def __iter__(self) -> Iterator[LayerCache]:
        return iter(self.layers)

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.layers[0].length

    def truncate(self, length: int) -> None:
        """Forget every token from `length` on."""
        for layer in self.layers:
            layer.truncate(length)

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def allocated_nbytes(self) -> int:
        return sum(layer.allocated_nbytes for layer in self.layers)

    def __repr__(self) -> str:
        return f"Cache({len(self.layers)} layers, {self.length} tokens, {self.nbytes} bytes)"
