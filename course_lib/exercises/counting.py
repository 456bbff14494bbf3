"""Matrix-product work, counted while a function runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten


def _vector_flops(a_shape: tuple[int, ...], *_: Any, **__: Any) -> int:
    """A matrix (or vector) times a vector: 2 for each of its numbers. PyTorch's own counter leaves these out."""
    return 2 * torch.Size(a_shape).numel()


def matrix_flops(run: Callable[[], object]) -> int:
    """FLOPs of all matrix products that `run` makes; a multiply-add is 2."""
    counter = FlopCounterMode(display=False, custom_mapping={aten.mv: _vector_flops, aten.dot: _vector_flops})
    with counter:
        run()
    return counter.get_total_flops()
