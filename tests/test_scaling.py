"""Power laws, isoFLOP optima and DeepSeek's laws against certified data, NumPy, and their own tables."""

import math
import re
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from course_lib import isoflop, scaling
from course_lib.fit_data import percentiles, resample_counts
from course_lib.scaling import fit_power_law, isoflop_optima, run_budgets
from tests.typecheck import shape_checks

Runs = tuple[Tensor, Tensor, Tensor]

# Power law

NORRIS = """
0.2 0.1 337.4 338.8 118.2 118.1 884.6 888.0 10.1 9.2 226.5 228.1 666.3 668.5 996.3 998.5 448.6 449.1 777.0 778.9 558.2
559.2 0.4 0.3 0.6 0.1 775.5 778.1 666.9 668.8 338.0 339.3 447.5 448.9 11.6 10.8 556.0 557.7 228.1 228.3 995.8 998.0
887.6 888.8 120.2 119.6 0.3 0.3 0.3 0.6 556.8 557.6 339.1 339.3 887.2 888.0 999.0 998.5 779.0 778.9 11.1 10.2 118.3
117.6 229.2 228.9 669.1 668.4 448.9 449.2 0.5 0.2
"""


def test_certified_values_of_nist(device: str) -> None:
    """NIST StRD, Norris: a certified line, here in logarithms of 100ths (www.itl.nist.gov/div898/strd)."""
    x, y = (
        torch.tensor([float(cell) for cell in NORRIS.split()], dtype=torch.float64).view(-1, 2).div(100).exp().unbind(1)
    )
    fit = fit_power_law(x, y, device=device)
    t = scipy.stats.t.ppf(0.975, 34)
    assert fit.exponent.value == pytest.approx(1.00211681802045, abs=1e-12)
    assert fit.exponent.high - fit.exponent.value == pytest.approx(t * 0.429796848199937e-3, rel=1e-9)
    assert 100 * math.log(fit.coefficient.value) == pytest.approx(-0.262323073774029, abs=1e-10)
    assert 100 * math.log(fit.coefficient.high / fit.coefficient.value) == pytest.approx(
        t * 0.232818234301152, rel=1e-9
    )
    assert float(100 * fit.residuals.square().sum().sqrt() / math.sqrt(34)) == pytest.approx(
        0.884796396144373, rel=1e-9
    )
    assert fit.residuals.device.type == device and fit.exponent.interval == "95% Student-t"


def test_a_power_law_without_noise_and_lists() -> None:
    fit = fit_power_law([1, 10, 100, 10**20], [3, 30, 300, 3 * 10**20])
    assert fit.coefficient.value == pytest.approx(3) and fit.exponent.value == pytest.approx(1)
    assert fit.exponent.high - fit.exponent.low < 1e-12
    assert fit.at(5000).value == pytest.approx(15000)
    assert "y = coefficient * x^exponent" in fit._repr_html_()


def test_interval_of_the_law_and_of_a_new_run() -> None:
    """By the covariance matrix of numpy.polyfit, scaled to n - 2 degrees of freedom."""
    generator = np.random.default_rng(3)
    x = np.geomspace(1e17, 3e20, 9)
    y = 0.3 * x**0.5 * np.exp(generator.normal(0, 0.05, 9))
    fit, (line, covariance) = fit_power_law(x, y, level=0.9), np.polyfit(np.log(x), np.log(y), 1, cov=True)
    t, target = scipy.stats.t.ppf(0.95, 7), np.array([math.log(1e24), 1])
    variance = target @ covariance @ target
    noise = np.square(np.log(y) - np.polyval(line, np.log(x))).sum() / 7
    for at, half in ((fit.at(1e24), t * variance**0.5), (fit.at(1e24, new_run=True), t * (variance + noise) ** 0.5)):
        assert math.log(at.value) == pytest.approx(line @ target)
        assert math.log(at.high / at.value) == pytest.approx(half) == pytest.approx(math.log(at.value / at.low))
    assert fit.at(1e24).interval == "90% Student-t, the law"
    before = np.array([math.log(1e12), 1])  # as far on the other side
    at, half = fit.at(1e12), t * (before @ covariance @ before) ** 0.5
    assert math.log(at.high / at.value) == pytest.approx(half) == pytest.approx(math.log(at.value / at.low))


def test_resampled_power_laws_are_those_of_a_loop(device: str) -> None:
    x = torch.logspace(17, 20, 30, dtype=torch.float64)
    y = 0.3 * x**0.5 * torch.randn(30, dtype=torch.float64).exp()
    fit = fit_power_law(x, y, resamples=500, seed=4, level=0.9, device=device)
    lines = []
    for counts in resample_counts(500, 30, seed=4, device=torch.device("cpu")):
        rows = torch.arange(30).repeat_interleave(counts.long())
        lines.append(np.polyfit(x[rows].log(), y[rows].log(), 1))
    slopes, heights = np.array(lines).T
    assert [fit.exponent.low, fit.exponent.high] == pytest.approx(np.quantile(slopes, [0.05, 0.95]))
    assert [fit.coefficient.low, fit.coefficient.high] == pytest.approx(np.quantile(np.exp(heights), [0.05, 0.95]))
    assert fit.exponent.interval == "90% bootstrap percentile, 500 resamples"


def test_resamples_are_draws_with_replacement() -> None:
    counts = resample_counts(4000, 7, seed=3, device=torch.device("cpu"))
    assert counts.sum(1).eq(7).all() and torch.equal(counts, counts.round())
    torch.testing.assert_close(counts.mean(0), torch.ones(7).double(), rtol=0, atol=5 * (6 / 7 / 4000) ** 0.5)
    torch.testing.assert_close(counts.var(0), torch.full((7,), 6 / 7).double(), rtol=0.15, atol=0)
    assert torch.equal(counts, resample_counts(4000, 7, seed=3, device=torch.device("cpu")))
    assert not torch.equal(counts, resample_counts(4000, 7, seed=4, device=torch.device("cpu")))


def test_a_resample_of_one_point_has_no_slope() -> None:
    fit = fit_power_law([1, 2, 4], [1, 2.1, 3.9], resamples=900)  # one in nine draws a single x
    assert 0.85 < fit.exponent.low < fit.exponent.high < 1.1
    assert "resamples" in fit.exponent.interval and " 900 " not in fit.exponent.interval


def test_percentiles_of_values_that_overflowed() -> None:
    """ln A = 800 is a coefficient of infinity; two such neighbours have no NaN between them."""
    values = torch.tensor([math.inf, 3.0, 1.0, 2.0, math.inf], dtype=torch.float64)
    found = percentiles(2.0, values, 0.5)
    assert (found.low, found.high) == (2, math.inf) and percentiles(2.0, values, 0.9).high == math.inf
    finite = torch.randn(37, dtype=torch.float64)
    for level in (0.3, 0.9):
        found = percentiles(0.0, finite, level)
        assert [found.low, found.high] == pytest.approx(np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]))


def test_student_t_covers_the_truth() -> None:
    """5,000 sets of six points: 95% to within 0.75%, which is 2.4 standard deviations."""
    generator, hits, sets = np.random.default_rng(0), np.zeros(2), 5000
    x = np.geomspace(1, 100, 6)
    with shape_checks(False):
        for _ in range(sets):
            fit = fit_power_law(x, 2 * x**0.5 * np.exp(generator.normal(0, 0.1, 6)))
            hits += fit.exponent.covers(0.5), fit.coefficient.covers(2)
    assert np.abs(hits / sets - 0.95).max() < 0.0075, hits


@pytest.mark.parametrize(("points", "least", "most"), [(6, 0.88, 0.93), (40, 0.92, 0.955)])
def test_the_bootstrap_covers_the_truth_less_often(points: int, least: float, most: float) -> None:
    """As `fit_power_law` says: 90 of 100 with six points, 94 with forty. 1,000 sets; 3 standard deviations are 2%."""
    generator, x = np.random.default_rng(0), np.geomspace(1, 100, points)
    with shape_checks(False):
        fits = [
            fit_power_law(x, 2 * x**0.5 * np.exp(generator.normal(0, 0.1, points)), resamples=200, seed=seed)
            for seed in range(1000)
        ]
    assert least < sum(fit.exponent.covers(0.5) for fit in fits) / 1000 < most


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], r"need 3 points \(x, y\) or more, got 2"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "columns differ in length: x 3, y 2"),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], "x is the same at all points"),
        ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], r"y: expected finite numbers above 0, got -2\.0 at index 1"),
        ([1.0, 2.0, math.nan], [1.0, 2.0, 3.0], "x: expected finite numbers above 0, got nan at index 2"),
        ([1.0, 2.0, math.inf], [1.0, 2.0, 3.0], "x: expected finite numbers above 0, got inf at index 2"),
        ([[1.0, 2.0, 3.0]], [1.0, 2.0, 3.0], r"x: expected one row of numbers, got shape \(1, 3\)"),
    ],
)
def test_no_power_law(x: list[float], y: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_power_law(np.array(x), np.array(y))


def test_levels_resamples_and_places_out_of_range() -> None:
    line = fit_power_law([1.0, 2.0, 3.0], [1.0, 2.1, 3.0])
    for x in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match=f"x must be a finite number above 0, got {x}"):
            line.at(x)
    assert fit_power_law([1.0, 2.0, 3.0], [1.0, 2e2, 3e4]).at(1e300).value == math.inf  # math.exp would raise
    for level, resamples in ((1.0, 0), (0.0, 0), (0.95, -1)):
        with pytest.raises(ValueError, match="expected 0 < level < 1 and resamples >= 0"):
            fit_power_law([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], level=level, resamples=resamples)
    with pytest.raises(ValueError, match=r"x must be a finite number above 0, got 0\.0"):
        fit_power_law([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).at(0.0)


# IsoFLOP


def valley(budget: float, best: float, sizes: int, noise: float = 0.0, bend: float = 0.1) -> Runs:
    n = best * torch.logspace(-0.7, 0.9, sizes, dtype=torch.float64)
    wobble = noise * torch.randn(sizes, dtype=torch.float64)
    return torch.full_like(n, budget), n, 2.5 + bend * (n / best).log() ** 2 + wobble


def test_vertices_against_polyfit(device: str) -> None:
    """Budgets of unlike size in mixed order; vertex, loss there and best run as of one polynomial after another."""
    parts = [valley(10.0**k, 1e3 * 10 ** (0.5 * k), 5 + k, noise=0.003) for k in range(1, 6)]
    mixed = torch.randperm(40)
    flops, params, loss = (torch.cat(columns)[mixed] for columns in zip(*parts, strict=True))
    fit = isoflop_optima(flops, params, loss, device=device)
    assert [each.flops for each in fit.optima] == [10.0, 100.0, 1e3, 1e4, 1e5]
    for each, (_, n, y) in zip(fit.optima, parts, strict=True):
        c, b, a = np.polyfit(n.log(), y, 2)
        assert math.log(each.params.value) == pytest.approx(-b / (2 * c), rel=1e-9)
        assert each.loss == pytest.approx(a - b * b / (4 * c), rel=1e-9)
        assert (each.best_run, each.best_loss) == (float(n[y.argmin()]), float(y.min()))
        assert each.params.message == "" and each.inside and each.runs == len(n) and each.params.low < each.params.high
    values = [each.params.value for each in fit.optima]
    assert fit.law().exponent.value == pytest.approx(np.polyfit(np.log([10, 100, 1e3, 1e4, 1e5]), np.log(values), 1)[0])
    best = [each.best_run for each in fit.optima]
    assert fit.law_of_best_runs().exponent.value == pytest.approx(
        np.polyfit(np.log([10, 100, 1e3, 1e4, 1e5]), np.log(best), 1)[0]
    )
    assert f"1e+05 FLOP (best run {best[-1]:.3g})" in fit._repr_html_() and "95% Fieller" in fit._repr_html_()


def test_the_interval_of_a_vertex_covers_it() -> None:
    """Noise of a tenth of the valley's depth: the interval of the delta method would be symmetric, and this is not.

    4,000 vertices, 95% to within 0.8%, which is 2.3 standard deviations.
    """
    generator, hits, lopsided = torch.Generator().manual_seed(0), 0, 0
    budgets = 1e18 * 1.1 ** torch.arange(200, dtype=torch.float64).repeat_interleave(9)
    _, params, smooth = (column.repeat(200) for column in valley(1e18, 1e8, 9))
    with shape_checks(False):
        for _ in range(20):
            noise = 0.05 * torch.randn(1800, dtype=torch.float64, generator=generator)
            for each in isoflop_optima(budgets, params, smooth + noise).optima:
                hits += each.params.covers(1e8)
                lopsided += not math.isclose(each.params.value**2, each.params.low * each.params.high, rel_tol=0.05)
    assert abs(hits / 4000 - 0.95) < 0.008 and lopsided > 1000, (hits, lopsided)


def test_curvature_that_may_be_none() -> None:
    (each,) = isoflop_optima(*valley(1e18, 1e8, 9, noise=0.05, bend=0.005)).optima
    assert (each.params.low, each.params.high) == (0, math.inf)
    assert each.params.message in (
        "The curvature cannot be told from 0.",
        "The parabola opens downwards: no minimum.",
    ) or (each.params.message.startswith("Optimum at the edge"))


def test_losses_on_a_line_have_no_optimum() -> None:
    """Their curvature is a rounding error, so the vertex lies beyond all numbers."""
    (each,) = isoflop_optima([1e18] * 5, [1e8, 2e8, 4e8, 8e8, 16e8], [3.5, 3.4, 3.3, 3.2, 3.1]).optima
    assert each.params.message and not each.inside


def test_parabolas_that_have_no_optimum() -> None:
    upside_down, at_edge, two_sizes, three = (
        valley(1.0, 1e8, 7, bend=-0.1),
        *(valley(k, 1e8, 7) for k in (2.0, 3.0, 4.0)),
    )
    at_edge = tuple(column[at_edge[1] > 1.2e8] for column in at_edge)
    two_sizes = tuple(column[[0, 0, 6]] for column in two_sizes)
    three = tuple(column[[0, 3, 6]] for column in three)
    fit = isoflop_optima(*(torch.cat(columns) for columns in zip(upside_down, at_edge, two_sizes, three, strict=True)))
    down, edge, two, exact = fit.optima
    assert down.params.message == "The parabola opens downwards: no minimum." and math.isnan(down.params.value)
    assert edge.params.message.startswith(
        "Optimum at the edge: the sizes tried, 1."
    ) and edge.params.value == pytest.approx(1e8)
    assert two.params.message == "2 different sizes: a parabola needs 3." and math.isnan(two.params.value)
    assert exact.params.value == pytest.approx(1e8) and not exact.params.has_interval and exact.params.message == ""
    assert [each.inside for each in fit.optima] == [False, False, False, True]
    reasons = (
        "a law needs the optima of 3 budgets; 1 of 4 are usable. The parabola opens downwards: no minimum. (1 FLOP) "
        "Optimum at the edge: the sizes tried, 1.26e+08 to 7.94e+08, do not enclose it. (2 FLOP) "
        "2 different sizes: a parabola needs 3. (3 FLOP)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(reasons)}$"):
        fit.law()
    assert f"1 FLOP (best run {down.best_run:.3g}): The parabola opens downwards" in fit._repr_html_()


def test_fieller_by_its_definition() -> None:
    """At its ends the slope of the parabola is just as many standard errors from 0 as Student's t says."""
    _, n, y = (column[[0, 1, 2, 3, 5, 8]] for column in valley(1e18, 1e8, 9, noise=0.02))  # not symmetric
    (parabola,) = isoflop._parabolas(torch.ones(1, 6, dtype=torch.bool), n.log(), y)
    t = scipy.stats.t.ppf(0.95, 3)
    for u in isoflop._fieller(parabola, 0.9):
        direction = torch.tensor([0, 1, 2 * u], dtype=torch.float64)
        error = (direction @ parabola.covariance @ direction).sqrt()
        assert abs(float(direction @ parabola.coefficients / error)) == pytest.approx(t)


def test_measured_flops_of_a_budget_are_one_budget(device: str) -> None:
    """Parts in 1e5 apart, in mixed order: vertices are those of the nominal budgets, at the geometric mean."""
    generator = torch.Generator().manual_seed(0)
    parts = [valley(10.0**k, 1e3 * 10 ** (0.5 * k), 5, noise=0.003) for k in range(18, 22)]
    mixed = torch.randperm(20, generator=generator)
    nominal, params, loss = (torch.cat(columns)[mixed] for columns in zip(*parts, strict=True))
    measured = nominal * (1 + 1e-5 * torch.randn(20, dtype=torch.float64, generator=generator))
    fit, exact = (isoflop_optima(flops, params, loss, device=device) for flops in (measured, nominal))
    assert [each.params for each in fit.optima] == [each.params for each in exact.optima]
    for each, k in zip(fit.optima, range(18, 22), strict=True):
        assert each.flops == pytest.approx(float(measured[nominal == 10.0**k].log().mean().exp()), rel=1e-14)
        assert each.flops != 10.0**k and each.runs == each.sizes == 5
    assert fit.law(device=device).exponent.value == pytest.approx(exact.law().exponent.value, rel=1e-4)
    assert run_budgets(measured, device=device).device.type == device


@pytest.mark.parametrize(
    ("flops", "tolerance", "budgets"),
    [
        ([3e18, 1e18, 1.5e18, 1e18], 0.01, [3e18, 1e18, 1.5e18, 1e18]),
        ([1.009e18, 2e18, 1e18], 0.01, [math.sqrt(1.009) * 1e18, 2e18, math.sqrt(1.009) * 1e18]),
        ([1.01, 1.0], 0.01, [math.sqrt(1.01)] * 2),  # just the tolerance apart
        ([1.717, 1.7], 0.01, [1.7 * math.sqrt(1.01)] * 2),  # here as floats a little more
        ([1.011, 1.0], 0.01, [1.011, 1.0]),
        ([1.011, 1.0], 0.02, [math.sqrt(1.011)] * 2),
        ([1.0 + 1e-12, 1.0, 1.0], 0.0, [1.0 + 1e-12, 1.0, 1.0]),
        ([7.0], 0.01, [7.0]),
    ],
)
def test_budgets_of_runs(flops: list[float], tolerance: float, budgets: list[float]) -> None:
    assert run_budgets(flops, tolerance=tolerance).tolist() == pytest.approx(budgets, rel=1e-14)


def test_flops_that_fall_into_no_budgets() -> None:
    ladder = [1e18 * 1.008**i for i in range(5)]
    reason = (
        "flops: 5 runs from 1e+18 to 1.032e+18 FLOP lead from one to the next in steps of at most 1%, so they do not "
        "fall into budgets; give the nominal budget of each run, or another tolerance"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        isoflop_optima(ladder, [1e8, 2e8, 4e8, 8e8, 16e8], [3.2, 3.1, 3.06, 3.09, 3.18])
    assert len(isoflop_optima(ladder, ladder, ladder, tolerance=0.05).optima) == 1
    for tolerance in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"expected 0 <= tolerance < 1, got {tolerance}"):
            run_budgets(ladder, tolerance=tolerance)


def test_a_budget_for_each_run_is_the_reason_given() -> None:
    flops = [1e18, 1.1e18, 1.2e18, 1.3e18, 1.4e18]
    fit = isoflop_optima(flops, [1e8, 2e8, 4e8, 8e8, 16e8], [3.2, 3.1, 3.06, 3.09, 3.18])
    reason = "No two runs have the same FLOPs within 1%: give the nominal budget of each run."
    assert [each.params.message for each in fit.optima] == [reason] * 5
    for law in (fit.law, fit.law_of_best_runs):
        with pytest.raises(ValueError, match=f"; 0 of 5 are usable. {reason}" + r" \(1e\+18, 1.1e\+18"):
            law()
    assert isoflop_optima([], [], []).optima == ()


def test_sizes_that_are_nearly_the_same_are_one() -> None:
    """Three sizes a parabola needs; two of these are one, to within rounding and to within half a percent."""
    for nearly in (1 + 1e-12, 1.005):
        params = [1e8, 1e8 * nearly, 4e8, 4e8]
        (each,) = isoflop_optima([1e18] * 4, params, [3.2, 3.21, 3.1, 3.11]).optima
        assert each.params.message == "2 different sizes: a parabola needs 3." and each.sizes == 2
    (each,) = isoflop_optima([1e18] * 2, [1e8, 1e8], [3.2, 3.21]).optima
    assert each.params.message == "1 size: a parabola needs 3."


# PyTorch's default device


def test_fits_do_not_depend_on_the_default_device() -> None:
    """On the meta device each tensor that is made without a place of its own has no numbers."""
    x = torch.logspace(17, 20, 12, dtype=torch.float64)
    y = 0.3 * x**0.5 * torch.linspace(0.9, 1.1, 12).sin()
    valleys = [torch.cat(column) for column in zip(*(valley(10.0**k, 1e8 * 2.0**k, 5) for k in range(4)), strict=True)]
    runs = (10 ** (7 + x.log10() / 10), 10 ** (9 + (x.log10() * 7 % 1)), 2 + 1 / x.log())

    def everything() -> list[str]:
        line, optima = fit_power_law(x, y, resamples=50), isoflop_optima(*valleys)
        law, published = scaling.fit_parametric(*runs, resamples=10), scaling.PUBLISHED_LAWS["besiroglu"]
        return [
            repr([line.exponent, line.coefficient, line.at(1e21), fit_power_law(x.tolist(), y.numpy()).at(3.0)]),
            repr([optima.optima, optima.law().exponent, run_budgets(valleys[0]).tolist()]),
            repr([published.allocation(1e20), published.loss([1e8], [1e9]).tolist()]),
            repr([scaling.load_sweep().rows(torch.arange(16, device="cpu") < 3).params.tolist()]),
            repr([law.a, law.allocation(1e20)]),
        ]

    expected = everything()
    with torch.device("meta"):
        assert everything() == expected
    torch.set_default_device("meta")
    try:
        assert everything() == expected
    finally:
        torch.set_default_device(None)


def test_levels_and_sources_are_passed_on() -> None:
    """A level of 80% in every interval, Fieller's by its definition; the source in every estimate."""
    parts = [valley(10.0**k, 1e3 * 10 ** (0.5 * k), 6, noise=0.003) for k in range(1, 5)]
    flops, params, loss = (torch.cat(columns) for columns in zip(*parts, strict=True))
    fit = isoflop_optima(flops, params, loss, level=0.8, source="made up")
    for each, (_, n, y) in zip(fit.optima, parts, strict=True):
        (c, b, _), covariance = np.polyfit(n.log(), y, 2, cov=True)
        for end in (each.params.low, each.params.high):
            direction = np.array([2 * math.log(end), 1, 0])
            error = math.sqrt(direction @ covariance @ direction)
            assert abs(2 * c * math.log(end) + b) / error == pytest.approx(scipy.stats.t.ppf(0.9, 3), rel=1e-6)
        assert each.params.interval == "80% Fieller" and each.params.source == "made up"
    budgets = [each.flops for each in fit.optima]
    for law, best in (
        (fit.law(), [each.params.value for each in fit.optima]),
        (fit.law_of_best_runs(), [each.best_run for each in fit.optima]),
    ):
        by_scipy: Any = scipy.stats.linregress(np.log(budgets), np.log(best))
        half = scipy.stats.t.ppf(0.9, 2) * by_scipy.stderr
        assert law.exponent.high - law.exponent.value == pytest.approx(half)
        assert law.exponent.source == law.coefficient.source == law.at(1e9).source == "made up"
    for resamples in (0, 20):
        line = fit_power_law(budgets, budgets, resamples=resamples, source="made up")
        assert line.exponent.source == line.coefficient.source == line.at(1.0).source == "made up"


# DeepSeek's laws


def test_model_scales_are_those_of_their_table_3() -> None:
    table = [  # layers, width, N1, N2, M, 6 N1 / M, 6 N2 / M
        (8, 512, 25.2e6, 77.6e6, 352e6, 0.43, 1.32), (12, 768, 84.9e6, 164e6, 963e6, 0.53, 1.02),
        (24, 1024, 302e6, 407e6, 3.02e9, 0.60, 0.81), (24, 2048, 1.21e9, 1.42e9, 9.66e9, 0.75, 0.88),
        (32, 4096, 6.44e9, 6.86e9, 45.1e9, 0.85, 0.91), (40, 5120, 12.6e9, 13.1e9, 85.6e9, 0.88, 0.92),
        (80, 8192, 64.4e9, 65.3e9, 419e9, 0.92, 0.94),
    ]  # fmt: skip
    for layers, width, n1, n2, m, ratio_1, ratio_2 in table:
        scales = scaling.model_scales(layers, width)
        assert [scales.without_vocabulary.value / 6, scales.with_vocabulary.value / 6] == pytest.approx(
            [n1, n2], rel=5e-3
        )
        assert scales.M.value == pytest.approx(m, rel=5e-3) and scales.M.unit == "FLOP per token"
        assert scales.without_vocabulary.value / scales.M.value == pytest.approx(
            ratio_1, abs=0.0075
        )  # their 0.85 is 0.857
        assert scales.with_vocabulary.value / scales.M.value == pytest.approx(ratio_2, abs=0.0051)
    assert "arXiv:2401.02954 eq 2" in scaling.model_scales(8, 512)._repr_html_()
    with pytest.raises(ValueError, match="want sizes >= 1, got 0, 512"):
        scaling.model_scales(0, 512)


def test_hyperparameters_of_the_models_they_trained() -> None:
    """C = M D with 2T tokens; 7B has 30 layers of 4096, 67B 95 of 8192."""
    for layers, width, rate, batch in ((30, 4096, 4.246e-4, 9.22e6), (95, 8192, 3.120e-4, 20.65e6)):
        found = scaling.deepseek_hyperparameters(scaling.model_scales(layers, width).M.value * 2e12)
        assert found.learning_rate.value == pytest.approx(rate, rel=1e-3)
        assert found.batch.value == pytest.approx(batch, rel=1e-3) and found.batch.unit == "tokens"
        assert found.batch.message == "Outside the 1e+17 to 2e+19 FLOP it was fitted on."
    assert "arXiv:2401.02954 eq 1" in scaling.deepseek_hyperparameters(1e18)._repr_html_()
    for flops, outside in ((0.99e17, True), (1e17, False), (2e19, False), (2.01e19, True), (2e20, True)):
        found = scaling.deepseek_hyperparameters(flops)
        assert bool(found.learning_rate.message) == bool(found.batch.message) == outside


def test_their_allocation_spends_the_budget() -> None:
    for flops in (1e17, 3e20, 1e24):
        spent = scaling.deepseek_allocation(flops)
        assert spent.M.value * spent.tokens.value == pytest.approx(flops, rel=2e-4)  # of rounded coefficients
        assert bool(spent.M.message) == (flops > 3e20)
    assert "eq 4" in scaling.deepseek_allocation(1e24)._repr_html_()
    with pytest.raises(ValueError, match="flops must be a finite number above 0, got 0"):
        scaling.deepseek_allocation(0.0)
