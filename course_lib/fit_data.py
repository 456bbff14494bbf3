"""What every fit does first and last: check its columns, draw resamples, turn them into intervals."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.quantity import Estimate

Column = Tensor | np.ndarray | Sequence[float]
Device = torch.device | str | None


def columns(device: Device, **data: Column) -> list[Float[Tensor, " n"]]:
    """As float64 on one device, by default where the first column lies.

    Raises:
        ValueError: not a row of numbers each, not the same number of rows, or a number no logarithm exists of.
    """
    tensors = {name: _float64(values).to(device) for name, values in data.items()}
    first = next(iter(tensors.values()))
    for name, values in tensors.items():
        if values.ndim != 1:
            raise ValueError(f"{name}: wanted one row of numbers, got shape {tuple(values.shape)}")
        if wrong := (~((values > 0) & values.isfinite())).nonzero()[:1].flatten().tolist():
            got = float(values[wrong[0]])
            raise ValueError(f"{name}: wanted finite numbers above 0, got {got} at place {wrong[0]}")
    lengths = {name: len(values) for name, values in tensors.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError("columns differ in length: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
    return [values.to(first.device) for values in tensors.values()]


def _float64(values: Column) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, dtype=np.float64))  # NumPy takes integers of any size, such as 10**20


def check_level(level: float, resamples: int) -> None:
    if not 0 < level < 1 or resamples < 0:
        raise ValueError(f"want 0 < level < 1 and resamples >= 0, got {level} and {resamples}")


def resample_counts(resamples: int, n: int, *, seed: int, device: torch.device) -> Float[Tensor, "b n"]:
    """How often each of n rows is drawn when n are drawn with replacement; the same on every device."""
    drawn = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))
    once = torch.ones(1, 1, dtype=torch.float64).expand_as(drawn)
    return torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(1, drawn, once).to(device)


def percentiles(
    value: float, resampled: Float[Tensor, " b"], level: float, *, unit: str = "", source: str = ""
) -> Estimate:
    """The bootstrap's percentile interval: between the (1 -+ level) / 2 quantiles of what the resamples gave."""
    if not len(resampled):
        return Estimate(value=value, unit=unit, source=source)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=resampled.device)
    low, high = resampled.quantile(ends).tolist()
    kind = f"{level:.0%} bootstrap percentile, {len(resampled):,} resamples"
    return Estimate(value=value, low=low, high=high, interval=kind, unit=unit, source=source)
