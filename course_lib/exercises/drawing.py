"""Random numbers for the cases of an exercise."""

import numpy as np
import torch
from torch import Tensor


class Draw:
    """What is drawn for one `part` of the cases of a `seed`, the same every time.

    Floats are float64 unless a method says otherwise. Every bit of the seed counts, however large it is:
    `torch.Generator.manual_seed` keeps the lowest 32, so few that a function could try them all and know cases that it
    has not seen yet. Other parts and neighbouring seeds are independent of each other.

    Raises:
        ValueError: the seed or the part is negative.
    """

    def __init__(self, seed: int, part: int = 0) -> None:
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(part,))))

    def normal(self, *shape: int) -> Tensor:
        """Mean 0, variance 1."""
        return torch.from_numpy(np.asarray(self._random.standard_normal(shape)))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly between `low` and `high`."""
        return low + (high - low) * torch.from_numpy(np.asarray(self._random.random(shape)))

    def floats(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly between `low` and `high`, in float32, for large tensors."""
        return torch.from_numpy(self._random.random(shape, dtype=np.float32)).mul_(high - low).add_(low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From `low` to `high` - 1."""
        return torch.from_numpy(np.asarray(self._random.integers(low, high, shape)))

    def order(self, n: int) -> Tensor:
        """0 to n - 1 in random order."""
        return torch.from_numpy(self._random.permutation(n))

    def number(self, low: float, high: float) -> float:
        return self.uniform(low, high).item()

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high` - 1."""
        return int(self.integers(low, high))
