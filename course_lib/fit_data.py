"""What every fit does first and last: check its columns, draw resamples, turn them into intervals."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.quantity import Estimate

Column = Tensor | np.ndarray | Sequence[float]
Device = torch.device | str | None
SAME = 0.01  # numbers that differ by less, relative, count as the same size, number of tokens or budget


@contextmanager
def one_thread() -> Iterator[None]:
    """An operation of a fit takes some 30 microseconds on a CPU: waking a second thread takes longer than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def columns(device: Device, **data: Column) -> list[Float[Tensor, " n"]]:
    """The columns as float64 on `device`, by default on the device of the first column.

    Raises:
        ValueError: a column that is not one row of finite numbers above 0, or columns that differ in length.
    """
    tensors = {name: _float64(values) for name, values in data.items()}
    place = next(iter(tensors.values())).device if device is None else torch.device(device)
    for name, values in tensors.items():
        if values.ndim != 1:
            raise ValueError(f"{name}: expected one row of numbers, got shape {tuple(values.shape)}")
        if wrong := (~((values > 0) & values.isfinite())).nonzero()[:1].flatten().tolist():
            got = float(values[wrong[0]])
            raise ValueError(f"{name}: expected finite numbers above 0, got {got} at index {wrong[0]}")
    lengths = {name: len(values) for name, values in tensors.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError("columns differ in length: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
    return [values.to(place) for values in tensors.values()]


def _float64(values: Column) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, dtype=np.float64))  # NumPy takes integers of any size, such as 10**20


def count_different(values: Float[Tensor, " n"]) -> int:
    """How many values more than SAME apart there are, counted upwards from the lowest."""
    count, last = 0, 0.0
    for value in values.sort().values.tolist():
        if value > last * (1 + SAME):
            count, last = count + 1, value
    return count


def check_above_0(**numbers: float) -> None:
    """Raises ValueError for the first number that is not finite and above 0; NaN is neither."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {number}")


def check_level(level: float, resamples: int) -> None:
    if not 0 < level < 1 or resamples < 0:
        raise ValueError(f"expected 0 < level < 1 and resamples >= 0, got {level} and {resamples}")


def resample_counts(resamples: int, n: int, *, seed: int, device: torch.device) -> Float[Tensor, "b n"]:
    """How often each of n rows is drawn when n are drawn with replacement; the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    drawn = torch.randint(n, (resamples, n), generator=generator, device="cpu")  # whatever the default device is
    once = torch.ones(1, 1, dtype=torch.float64, device="cpu").expand_as(drawn)
    counts = torch.zeros(resamples, n, dtype=torch.float64, device="cpu")
    return counts.scatter_add_(1, drawn, once).to(device)


def percentiles(
    value: float, resampled: Float[Tensor, " b"], level: float, *, unit: str = "", source: str = ""
) -> Estimate:
    """The percentile interval of the bootstrap: between the (1 -+ level) / 2 quantiles of the resampled values.

    Without resamples there is no interval. Resampled values may be infinite, as a coefficient e^800 is.
    """
    if not len(resampled):
        return Estimate(value=value, unit=unit, source=source)
    ordered = resampled.sort().values.tolist()
    low, high = (_quantile(ordered, part) for part in ((1 - level) / 2, (1 + level) / 2))
    kind = f"{level:.0%} bootstrap percentile, {len(resampled):,} resamples"
    return Estimate(value=value, low=low, high=high, interval=kind, unit=unit, source=source)


def _quantile(ordered: list[float], part: float) -> float:
    """Linear between neighbours, as torch.quantile, which makes NaN of two infinite neighbours."""
    at = part * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return low if low == high else low + (at - math.floor(at)) * (high - low)
