"""The best model size for each budget: the vertex of a parabola of loss in ln N (arXiv:2203.15556 s3.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.fit_data import SAME, Column, Device, check_level, columns, count_different
from course_lib.power_law import PowerLawFit, fit_power_law, quantile_t
from course_lib.quantity import Estimate, table


@dataclass(frozen=True, kw_only=True)
class IsoflopOptimum:
    """The best model size for one budget. If the runs have no optimum, `params` is NaN and its message says why."""

    flops: float  # the budget: geometric mean over its runs
    params: Estimate  # vertex of the parabola
    loss: float  # there
    best_run: float  # parameters of the run with the lowest loss
    best_loss: float
    runs: int
    sizes: int  # different ones among them
    inside: bool  # a minimum, and among the sizes tried


@dataclass(frozen=True, kw_only=True)
class IsoflopFit:
    """One parabola per budget."""

    optima: tuple[IsoflopOptimum, ...]
    level: float
    tolerance: float  # within which FLOPs are one budget

    def law(self, *, device: Device = None) -> PowerLawFit:
        """Optimal N over budget, through the vertices that lie between the sizes tried for their budget.

        Raises:
            ValueError: fewer than 3 such budgets; the message says why the others are not usable.
        """
        return self._law([each.params.value if each.inside else None for each in self.optima], device)

    def law_of_best_runs(self, *, device: Device = None) -> PowerLawFit:
        """The same through the runs with the lowest loss; the grid of sizes bends it. A budget needs two sizes."""
        return self._law([each.best_run if each.sizes > 1 else None for each in self.optima], device)

    def _law(self, best: list[float | None], device: Device) -> PowerLawFit:
        points = [(each.flops, n) for each, n in zip(self.optima, best, strict=True) if n is not None]
        if len(points) < 3:
            unusable = [each for each, n in zip(self.optima, best, strict=True) if n is None]
            reasons = "".join(f" {reason}" for reason in _reasons(unusable))
            raise ValueError(
                f"a law needs the optima of 3 budgets; {len(points)} of {len(self.optima)} are usable.{reasons}"
            )
        flops, params = zip(*points, strict=True)
        source = self.optima[0].params.source
        return fit_power_law(flops, params, level=self.level, source=source, device=device)

    def _repr_html_(self) -> str:
        rows = {f"{each.flops:.3g} FLOP (best run {each.best_run:.3g})": each.params for each in self.optima}
        return table("Compute-optimal parameters", rows)


def _reasons(optima: Sequence[IsoflopOptimum]) -> list[str]:
    """What is wrong with each, once per reason, with its budgets."""
    budgets: dict[str, list[str]] = {}
    for each in optima:
        budgets.setdefault(each.params.message, []).append(f"{each.flops:.3g}")
    return [f"{message} ({', '.join(of)} FLOP)" for message, of in budgets.items() if message]


def run_budgets(flops: Column, *, tolerance: float = SAME, device: Device = None) -> Float[Tensor, " n"]:
    """The budget of each run: the geometric mean over the runs whose FLOPs are the same within `tolerance`.

    Measured FLOPs differ a little between runs of one budget. In sorted order, a step of more than `tolerance`
    (relative) begins the next budget.

    Raises:
        ValueError: FLOPs that do not fall into budgets, since small steps lead from one run to another that is more
            than `tolerance` away; a tolerance that is not from 0 to below 1; no numbers above 0.
    """
    (c,) = columns(device, flops=flops)
    if not 0 <= tolerance < 1:
        raise ValueError(f"expected 0 <= tolerance < 1, got {tolerance}")
    ordered, order = c.sort()
    apart = (1 + tolerance) * (1 + 1e-12)  # a step of exactly the tolerance is within it, whatever its rounding
    (begins,) = torch.where(ordered[1:] > ordered[:-1] * apart)
    parts = ordered.tensor_split((begins + 1).tolist())
    for part in parts:
        if bool((part[-1:] > part[:1] * apart).any()):
            raise ValueError(
                f"flops: {len(part)} runs from {float(part[0]):.4g} to {float(part[-1]):.4g} FLOP lead from one to the "
                f"next in steps of at most {100 * tolerance:g}%, so they do not fall into budgets; give the nominal "
                "budget of each run, or another tolerance"
            )
    means = [part[:1] * (part / part[:1]).log().mean().exp() for part in parts]  # exact where all are equal
    budgets = torch.empty_like(c)
    budgets[order] = torch.cat([mean.expand(len(part)) for mean, part in zip(means, parts, strict=True)])
    return budgets


def isoflop_optima(
    flops: Column,
    params: Column,
    loss: Column,
    *,
    tolerance: float = SAME,
    level: float = 0.95,
    source: str = "",
    device: Device = None,
) -> IsoflopFit:
    """One least-squares parabola of loss in ln N for each budget.

    Runs whose FLOPs are the same within `tolerance` belong to one budget, see `run_budgets`. The interval is Fieller's
    for the vertex, exact where the noise of the losses is normal: it has no end where the curvature cannot be told
    from 0.

    Raises:
        ValueError: columns that are not finite numbers above 0, or FLOPs that do not fall into budgets.
    """
    c, n, y = columns(device, flops=flops, params=params, loss=loss)
    check_level(level, 0)
    budgets = run_budgets(c, tolerance=tolerance)
    each = budgets.unique()
    mine = budgets == each[:, None]
    parabolas = _parabolas(mine, n.log(), y)
    optima = tuple(
        _optimum(parabola, float(budget), n[rows], y[rows], level, source)
        for parabola, budget, rows in zip(parabolas, each, mine, strict=True)
    )
    if len(optima) == len(c) > 1:
        optima = tuple(_alone(optimum, tolerance) for optimum in optima)
    return IsoflopFit(optima=optima, level=level, tolerance=tolerance)


def _alone(optimum: IsoflopOptimum, tolerance: float) -> IsoflopOptimum:
    """The reason where each run has another budget."""
    message = f"No two runs have the same FLOPs within {100 * tolerance:g}%: give the nominal budget of each run."
    return replace(optimum, params=replace(optimum.params, message=message))


@dataclass(frozen=True)
class _Parabola:
    """height + slope u + bend u^2, u = (ln N - centre) / scale, and the covariance of the three."""

    coefficients: Float[Tensor, " 3"]
    covariance: Float[Tensor, "3 3"]
    centre: Float[Tensor, ""]
    scale: Float[Tensor, ""]
    freedom: int


def _parabolas(mine: Bool[Tensor, "g n"], log_n: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> list[_Parabola]:
    """All budgets at once; runs of other budgets have weight 0."""
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
    smallest, largest, sizes = float(n.min()), float(n.max()), count_different(n)
    value, lowest, ends, message = math.nan, math.nan, (math.nan, math.nan), ""
    if sizes < 3:
        message = f"{sizes} {'size' if sizes == 1 else 'different sizes'}: a parabola needs 3."
    elif bend <= 0:
        message = "The parabola opens downwards: no minimum."
    else:
        vertex = -slope / (2 * bend)
        value, lowest = _size(centre + scale * vertex), height - bend * vertex * vertex
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
        sizes=sizes,
        inside=smallest < value < largest,
    )


def _size(log_n: float) -> float:
    return math.inf if log_n > 700 else math.exp(log_n)


def _fieller(parabola: _Parabola, level: float) -> tuple[float, float]:
    """The interval of u in which the slope of the parabola, slope + 2 bend u, cannot be told from 0."""
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
