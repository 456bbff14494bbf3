"""The pictures of fits: what is drawn is what NumPy and hand arithmetic say."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, PathCollection
from matplotlib.text import Annotation

from course_lib.figures.fits import contour_figure, exponents_figure, isoflop_figure, power_law_figure
from course_lib.parametric import ParametricLaw
from course_lib.quantity import Estimate
from course_lib.scaling import fit_power_law, isoflop_optima

LAW = ParametricLaw(E=0.6, A=40.0, B=300.0, alpha=0.42, beta=0.36)


def lines(axes: Axes, style: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of one line style or marker."""
    return [
        (np.asarray(each.get_xdata()), np.asarray(each.get_ydata()))
        for each in axes.lines
        if style in (each.get_linestyle(), each.get_marker())
    ]


def test_a_power_law_with_its_band_its_way_ahead_and_its_residuals() -> None:
    x = np.geomspace(1, 100, 7)
    y = 3 * x**0.5 * np.exp(np.random.default_rng(0).normal(0, 0.1, 7))
    fit = fit_power_law(x, y)
    figure = power_law_figure({"time": (x, torch.from_numpy(y), fit)}, "length", "seconds", until=1000)
    upper, lower = figure.axes
    slope, height = np.polyfit(np.log(x), np.log(y), 1)
    ((measured, heights),) = lines(upper, "o")
    assert measured.tolist() == x.tolist() and heights.tolist() == y.tolist()
    for style, ends in (("-", (1, 100)), ("--", (100, 1000))):
        along, values = next(pair for pair in lines(upper, style) if len(pair[0]) == 60)
        np.testing.assert_allclose(values, np.exp(height) * along**slope)
        assert (along[0], along[-1]) == pytest.approx(ends)
    (off,) = [values for _, values in lines(lower, "o")]
    np.testing.assert_allclose(off, 100 * (y / (np.exp(height) * x**slope) - 1))
    bands = [each for each in upper.collections if isinstance(each, FillBetweenPolyCollection)]
    reach = cast(Any, bands[1].get_paths()[0].vertices)
    assert reach[:, 1].max() == pytest.approx(fit.at(1000).high)
    assert f"exponent {slope:.3g} (" in upper.get_legend_handles_labels()[1][0]
    assert lower.get_xlabel() == "length" and upper.get_ylabel() == "seconds"
    assert {"1", "2", "4", "10", "400", "1,000"} <= {label.get_text() for label in lower.get_xticklabels()}


def runs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    flops = np.repeat([1e12, 3e12, 1e13], 5)
    params = np.concatenate([LAW.allocation(c)[0] * np.array([0.3, 0.6, 1.1, 1.9, 3.1]) for c in (1e12, 3e12, 1e13)])
    tokens = flops / 6 / params
    return flops, params, tokens, 0.6 + 40 / params**0.42 + 300 / tokens**0.36


def test_parabolas_stand_on_their_vertices() -> None:
    flops, params, _, loss = runs()
    flops, params, loss = (np.append(column, more) for column, more in ((flops, 1e14), (params, 2e5), (loss, 1.3)))
    axes = isoflop_figure(flops, params, loss, isoflop_optima(flops, params, loss)).axes[0]
    wanted = []
    for c in (1e12, 3e12, 1e13):
        bend, slope, height = np.polyfit(np.log(params[flops == c]), loss[flops == c], 2)
        wanted.append((math.exp(-slope / 2 / bend), height - slope**2 / 4 / bend))
    vertices = [(float(x[0]), float(y[0])) for x, y in lines(axes, "D") if len(x) == 1 and x[0] < 1e5]
    np.testing.assert_allclose(vertices, wanted, rtol=1e-6)
    curves = [(x, y) for x, y in lines(axes, "-") if len(x) == 80]
    for (x, y), (n, lowest) in zip(curves, wanted, strict=True):  # the lone run has no parabola
        assert y.min() == pytest.approx(lowest, abs=1e-3) and x[y.argmin()] == pytest.approx(n, rel=0.05)
    assert axes.get_xlabel() and axes.get_ylabel() == "loss [nats per byte]"


def test_exponents_beyond_the_axis_have_arrows() -> None:
    rows = {"theirs": Estimate(value=0.73), "ours": Estimate(value=0.45, low=-1, high=1.034, interval="95% Student-t")}
    axes = exponents_figure(rows, ours=["ours"]).axes[0]
    assert [(float(x[0]), float(y[0])) for x, y in lines(axes, "o") + lines(axes, "D")] == [(0.73, 0), (0.45, 1)]
    assert [(float(x[0]), float(y[0])) for x, y in lines(axes, "<") + lines(axes, ">")] == [(0, 1), (1, 1)]
    assert [cast(Annotation, text).get_text() for text in axes.texts] == ["0.73", "0.45 (-1.00 to 1.03)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["theirs", "ours"]


def test_dots_of_a_law_without_noise_have_the_colour_below_them() -> None:
    _, params, tokens, loss = runs()
    axes = contour_figure(LAW, params, tokens, loss, [1e12, 1e13, 1e14]).axes[0]
    (best,) = [(n, d) for n, d in lines(axes, "-") if len(n) == 3]
    for n, d, c in zip(*best, (1e12, 1e13, 1e14), strict=True):
        assert 6 * n * d == pytest.approx(c)
        assert 0.42 * 40 / n**0.42 == pytest.approx(0.36 * 300 / d**0.36)  # where neither is worth more
    (dots,) = [each for each in axes.collections if isinstance(each, PathCollection)]
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), np.stack([params, tokens], axis=1))
    field = next(each for each in axes.collections if cast(Any, each).get_cmap().name == "cividis")
    np.testing.assert_allclose(np.asarray(dots.get_facecolor()), cast(Any, field).to_rgba(loss), atol=0.01)
    assert {"1e12 FLOP", "1e13 FLOP", "1e14 FLOP"} <= {text.get_text().strip() for text in axes.texts}
