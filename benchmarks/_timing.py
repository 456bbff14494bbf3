"""A stopwatch that waits for the device."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def timed(step: Callable[[], T], device: str) -> tuple[float, T]:
    """Seconds that `step` took, and what it returned."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result
