"""The best model size for each budget: the vertex of a parabola of loss in ln N (arXiv:2203.15556 s3.2)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.fit_data import Column, Device, check_level, columns
from course_lib.power_law import PowerLawFit, fit_power_law, quantile_t
from course_lib.quantity import Estimate, table


@dataclass(frozen=True, kw_only=True)
class IsoflopOptimum:
    """The best model size for one budget. `params.message` says what is wrong with it; NaN where there is none."""

    flops: float
    params: Estimate  # vertex of the parabola
    loss: float  # there
    best_run: float  # parameters of the run with the lowest loss
    best_loss: float
    runs: int
    inside: bool  # a minimum, and among the sizes tried


@dataclass(frozen=True, kw_only=True)
class IsoflopFit:
    """One parabola a budget."""

    optima: tuple[IsoflopOptimum, ...]
    level: float

    def law(self, *, device: Device = None) -> PowerLawFit:
        """Optimal N over budget, of the vertices that lie among the runs of their budget."""
        usable = [each for each in self.optima if each.inside]
        return self._law([(each.flops, each.params.value) for each in usable], device)

    def law_of_best_runs(self, *, device: Device = None) -> PowerLawFit:
        """The same of the runs with the lowest loss: a grid of sizes bends it."""
        return self._law([(each.flops, each.best_run) for each in self.optima], device)

    def _law(self, points: list[tuple[float, float]], device: Device) -> PowerLawFit:
        if len(points) < 3:
            raise ValueError(f"a law needs the optima of 3 budgets, got {len(points)} usable of {len(self.optima)}")
        flops, params = zip(*points, strict=True)
        source = self.optima[0].params.source
        return fit_power_law(flops, params, level=self.level, source=source, device=device)

    def _repr_html_(self) -> str:
        rows = {f"{each.flops:.3g} FLOP (best run {each.best_run:.3g})": each.params for each in self.optima}
        return table("Compute-optimal parameters", rows)


def isoflop_optima(
    flops: Column, params: Column, loss: Column, *, level: float = 0.95, source: str = "", device: Device = None
) -> IsoflopFit:
    """One least-squares parabola of loss in ln N for all runs of each budget; runs of a budget have the same `flops`.

    The interval is Fieller's for the vertex, exact where the noise of the losses is normal: it widens without end where
    the curvature itself cannot be told from 0.

    Raises:
        ValueError: columns no logarithm exists of.
    """
    budgets, n, y = columns(device, flops=flops, params=params, loss=loss)
    check_level(level, 0)
    each = budgets.unique()
    mine = budgets == each[:, None]
    parabolas = _parabolas(mine, n.log(), y)
    optima = tuple(
        _optimum(parabola, float(budget), n[rows], y[rows], level, source)
        for parabola, budget, rows in zip(parabolas, each, mine, strict=True)
    )
    return IsoflopFit(optima=optima, level=level)


@dataclass(frozen=True)
class _Parabola:
    """height + slope u + bend u^2, u = (ln N - centre) / scale, and the covariance of the three."""

    coefficients: Float[Tensor, " 3"]
    covariance: Float[Tensor, "3 3"]
    centre: Float[Tensor, ""]
    scale: Float[Tensor, ""]
    freedom: int


def _parabolas(mine: Bool[Tensor, "g n"], log_n: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> list[_Parabola]:
    """All budgets at once; a run that is not of a budget has weight 0 there."""
    weight, runs = mine.double(), mine.sum(1)
    centre = (weight @ log_n) / runs
    u = log_n - centre[:, None]
    scale = ((weight * u**2).sum(1) / runs).sqrt()
    scale = torch.where(scale > 1e-9, scale, 1)
    u = u / scale[:, None]
    design = weight[:, :, None] * torch.stack([torch.ones_like(u), u, u * u], dim=2)
    products = design.mT @ design
    inverse = torch.linalg.pinv(products, rtol=1e-12, hermitian=True)
    coefficients = inverse @ (design.mT @ y)[:, :, None]
    residuals = weight * y - (design @ coefficients)[:, :, 0]
    freedom = (runs - 3).clamp_min(0)
    covariance = inverse * (residuals.square().sum(1) / freedom)[:, None, None]
    parts = zip(coefficients[:, :, 0], covariance, centre, scale, freedom.tolist(), strict=True)
    return [_Parabola(*part) for part in parts]


def _optimum(
    parabola: _Parabola, flops: float, n: Float[Tensor, " n"], y: Float[Tensor, " n"], level: float, source: str
) -> IsoflopOptimum:
    height, slope, bend = parabola.coefficients.tolist()
    centre, scale, best = float(parabola.centre), float(parabola.scale), int(y.argmin())
    smallest, largest, sizes = float(n.min()), float(n.max()), len(n.unique())
    value, lowest, ends, message = math.nan, math.nan, (math.nan, math.nan), ""
    if sizes < 3:
        message = f"{sizes} different sizes: a parabola needs 3."
    elif bend <= 0:
        message = "The parabola opens downwards: no minimum."
    else:
        vertex = -slope / (2 * bend)
        value, lowest = math.exp(centre + scale * vertex), height - bend * vertex**2
        ends = tuple(_size(centre + scale * end) for end in _fieller(parabola, level))
        if not smallest < value < largest:
            message = f"Optimum at the edge: the sizes tried, {smallest:.3g} to {largest:.3g}, do not enclose it."
        elif ends[1] == math.inf:
            message = "The curvature cannot be told from 0."
    kind = f"{level:.0%} Fieller" if parabola.freedom else ""
    params = Estimate(
        value=value, low=ends[0], high=ends[1], interval=kind, unit="parameters", source=source, message=message
    )
    return IsoflopOptimum(
        flops=flops,
        params=params,
        loss=lowest,
        best_run=float(n[best]),
        best_loss=float(y[best]),
        runs=len(n),
        inside=smallest < value < largest,
    )


def _size(log_n: float) -> float:
    return math.inf if log_n > 700 else math.exp(log_n)


def _fieller(parabola: _Parabola, level: float) -> tuple[float, float]:
    """All u at which the slope of the parabola, slope + 2 bend u, cannot be told from 0."""
    if not parabola.freedom:
        return math.nan, math.nan
    _, b, c = parabola.coefficients.tolist()
    t2 = quantile_t(parabola.freedom, level) ** 2
    (_, bb, bc), cc = parabola.covariance.tolist()[1], float(parabola.covariance[2, 2])
    square, linear, constant = 4 * (c * c - t2 * cc), 4 * (b * c - t2 * bc), b * b - t2 * bb
    if square <= 0:
        return -math.inf, math.inf
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0))
    return (-linear - root) / (2 * square), (-linear + root) / (2 * square)
