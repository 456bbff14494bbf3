"""The fits of hw4_scaling: solutions written otherwise, mistakes written otherwise, what the cases must show."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize, special, stats
from torch import Tensor

from course_lib import scaling
from course_lib.exercises import BANK
from course_lib.exercises.closeness import Closeness

HW4 = BANK["hw4_scaling"]
SEEDS = range(12)
FITS = {
    "fit_power_law": 2, "isoflop_optimum": 2, "parametric_loss": 2, "huber_objective": 2, "bootstrap_interval": 2,
    "forecast": 4,
}  # fmt: skip


def test_points() -> None:
    assert {name: HW4[name].points for name in FITS} == FITS
    assert sum(exercise.points for exercise in HW4.values()) == 20


# Right solutions, written another way --------------------------------------------------------------------------------


def line_by_polyfit(x: Tensor, y: Tensor) -> list[Any]:
    slope, height = np.polyfit(np.log10(x.numpy()), np.log10(y.numpy()), 1)
    return [10**height, slope]


def line_by_scipy(x: Tensor, y: Tensor) -> tuple[Any, Any]:
    found: Any = stats.linregress(x.log2(), y.log2())
    return torch.tensor(2**found.intercept), np.float64(found.slope)


def line_by_loops(x: Tensor, y: Tensor) -> tuple[float, float]:
    u, v = [math.log(each) for each in x], [math.log(each) for each in y.tolist()]
    n, su, sv = len(u), sum(u), sum(v)
    slope = (n * sum(a * b for a, b in zip(u, v, strict=True)) - su * sv) / (n * sum(a * a for a in u) - su * su)
    return math.exp((sv - slope * su) / n), slope


def line_by_columns(x: Tensor, y: Tensor) -> Tensor:
    """Both in one tensor."""
    columns = torch.stack([torch.ones_like(x), x.log()], dim=1)
    height, slope = torch.linalg.lstsq(columns, y.log()[:, None]).solution[:, 0]
    return torch.stack([height.exp(), slope])


def line_by_minimising(x: Tensor, y: Tensor) -> tuple[float, float]:
    (height, slope), _ = optimize.curve_fit(lambda u, a, b: a + b * u, x.log().numpy(), y.log().numpy())
    return math.exp(height), slope


def size_by_polyfit(params: Tensor, loss: Tensor) -> np.float64:
    a, b, _ = np.polyfit(np.log(params.numpy()), loss.numpy(), 2)
    return np.exp(-b / (2 * a))


def size_by_polynomial(params: Tensor, loss: Tensor) -> float:
    parabola = np.polynomial.Polynomial.fit(params.log10().numpy(), loss.numpy(), 2)
    return float(10 ** parabola.deriv().roots()[0])


def size_by_normal_equations(params: Tensor, loss: Tensor) -> Tensor:
    u = params.log()
    columns = torch.stack([u**2, u, torch.ones_like(u)], dim=1)
    a, b, _ = torch.linalg.solve(columns.T @ columns, columns.T @ loss)
    return (-b / (2 * a)).exp()


def size_by_columns(params: Tensor, loss: Tensor) -> Tensor:
    u = params.log2()
    c = torch.linalg.lstsq(torch.stack([torch.ones_like(u), u, u * u], dim=1), loss.unsqueeze(1)).solution
    return 2 ** (-c[1, 0] / 2 / c[2, 0])


def law_by_loops(theta: Tensor, params: Tensor, tokens: Tensor) -> list[float]:
    a, b, e, alpha, beta = theta.tolist()
    return [
        math.exp(e) + math.exp(a - alpha * math.log(n)) + math.exp(b - beta * math.log(d))
        for n, d in zip(params, tokens, strict=True)
    ]


def law_by_numpy(theta: Tensor, params: Tensor, tokens: Tensor) -> np.ndarray:
    a, b, e, alpha, beta = theta.numpy()
    terms = [a - alpha * np.log(params.numpy()), b - beta * np.log(tokens.numpy()), np.full(len(params), e)]
    return np.exp(special.logsumexp(terms, axis=0))


def law_by_roots(theta: Tensor, params: Tensor, tokens: Tensor) -> list[Tensor]:
    """(e^(ln A/alpha) / N)^alpha: neither power overflows."""
    a, b, e, alpha, beta = theta
    return list(e.exp() + ((a / alpha).exp() / params) ** alpha + ((b / beta).exp() / tokens) ** beta)


def huber_by_library(theta: Tensor, params: Tensor, tokens: Tensor, loss: Tensor, delta: float = 1e-3) -> Tensor:
    predicted = torch.tensor(law_by_loops(theta, params, tokens), dtype=torch.float64)
    return F.huber_loss(predicted.log(), loss.log(), delta=delta, reduction="sum")


def huber_by_scipy(theta: Tensor, params: Tensor, tokens: Tensor, loss: Tensor, delta: float = 1e-3) -> np.float64:
    return special.huber(delta, np.log(loss.numpy() / law_by_numpy(theta, params, tokens))).sum()


def huber_by_loops(theta: Tensor, params: Tensor, tokens: Tensor, loss: Tensor, delta: float = 1e-3) -> float:
    total = 0.0
    for y, predicted in zip(loss.tolist(), law_by_loops(theta, params, tokens), strict=True):
        r = math.log(y) - math.log(predicted)
        total += 0.5 * r * r if abs(r) < delta else delta * abs(r) - delta * delta / 2
    return total


def interval_by_loops(x: Tensor, y: Tensor, draws: Tensor, level: float = 0.95) -> np.ndarray:
    slopes = [np.polyfit(np.log(x[row].numpy()), np.log(y[row].numpy()), 1)[0] for row in draws]
    return np.quantile(slopes, [(1 - level) / 2, 1 - (1 - level) / 2])


def interval_by_percent(x: Tensor, y: Tensor, draws: Tensor, level: float = 0.95) -> tuple[Any, ...]:
    slopes = [line_by_scipy(x[row], y[row])[1] for row in draws]
    return tuple(np.percentile(slopes, 100 * (0.5 + side * level / 2)) for side in (-1, 1))


def interval_by_hand(x: Tensor, y: Tensor, draws: Tensor, level: float = 0.95) -> Tensor:
    slopes = torch.stack([line_by_columns(x[row], y[row])[1] for row in draws]).sort().values
    places = torch.tensor([1 - level, 1 + level], dtype=torch.float64) / 2 * (len(slopes) - 1)
    low = places.floor().long()
    return slopes[low] + (places - low) * (slopes[(low + 1).clamp(max=len(slopes) - 1)] - slopes[low])


def forecast_by_library(runs: list[tuple[float, float, float]], flops: float) -> float:
    params, tokens, loss = zip(*runs, strict=True)
    return scaling.fit_parametric(params, tokens, loss, resamples=0).allocation(flops).loss.value


OTHERWISE = [
    ("fit_power_law", line_by_polyfit),
    ("fit_power_law", line_by_scipy),
    ("fit_power_law", line_by_loops),
    ("fit_power_law", line_by_columns),
    ("fit_power_law", line_by_minimising),
    ("isoflop_optimum", size_by_polyfit),
    ("isoflop_optimum", size_by_polynomial),
    ("isoflop_optimum", size_by_normal_equations),
    ("isoflop_optimum", size_by_columns),
    ("parametric_loss", law_by_loops),
    ("parametric_loss", law_by_numpy),
    ("parametric_loss", law_by_roots),
    ("parametric_loss", lambda theta, n, d: scaling.predict(theta[None], n, d)[0]),
    ("huber_objective", huber_by_library),
    ("huber_objective", huber_by_scipy),
    ("huber_objective", huber_by_loops),
    ("bootstrap_interval", interval_by_loops),
    ("bootstrap_interval", interval_by_percent),
    ("bootstrap_interval", interval_by_hand),
]


@pytest.mark.parametrize(("name", "solution"), OTHERWISE)
def test_a_right_solution_written_another_way_earns_everything(name: str, solution: Callable[..., Any]) -> None:
    for seed in SEEDS:
        outcome = HW4[name].grade(solution, seed)
        assert outcome.solved, outcome


# Wrong solutions, written another way --------------------------------------------------------------------------------


def huber_with(law: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    def wrong(theta: Tensor, n: Tensor, d: Tensor, loss: Tensor, delta: float = 1e-3) -> Tensor:
        predicted = torch.as_tensor(law(theta, n, d), dtype=torch.float64)
        return F.huber_loss(predicted.log(), loss.log(), **{"delta": delta, "reduction": "sum", **how})

    return wrong


def line_turned_round(x: Tensor, y: Tensor) -> tuple[float, float]:
    coefficient, exponent = line_by_loops(y, x)
    return coefficient ** (-1 / exponent), 1 / exponent


def law_as_written(theta: Tensor, n: Tensor, d: Tensor) -> Tensor:
    a, b, e, alpha, beta = theta
    return torch.exp(e) + torch.exp(a) * n**-alpha + torch.exp(b) * d**-beta


def law_in_plain_python(theta: Tensor, n: Tensor, d: Tensor) -> list[float]:
    a, b, e, alpha, beta = theta.tolist()
    return [
        math.exp(e) + math.exp(a) / x**alpha + math.exp(b) / y**beta
        for x, y in zip(n.tolist(), d.tolist(), strict=True)
    ]


def interval_from(slopes: Callable[[Tensor, Tensor, Tensor], list[float]]) -> Callable[..., Any]:
    def wrong(x: Tensor, y: Tensor, draws: Tensor, level: float = 0.95) -> np.ndarray:
        return np.quantile(slopes(x, y, draws), [(1 - level) / 2, (1 + level) / 2])

    return wrong


def slope(u: Tensor, v: Tensor) -> float:
    return np.polyfit(u.log().numpy(), v.log().numpy(), 1)[0]


def crossed(x: Tensor, y: Tensor, draws: Tensor) -> list[float]:
    return [slope(x[draws[i]], y[draws[i + 1]]) for i in range(len(draws) - 1)]


NAMED = [
    ("fit_power_law", lambda x, y: np.polyfit(x.numpy(), y.numpy(), 1)[::-1], "the line of y on x"),
    ("fit_power_law", lambda x, y: np.polyfit(x.log10().numpy(), y.log10().numpy(), 1)[::-1], "log10 that is not"),
    ("fit_power_law", lambda x, y: np.polyfit(x.log().numpy(), y.log().numpy(), 1), "polyfit gives the slope first"),
    ("fit_power_law", lambda x, y: line_by_loops(y, x), "the axes swapped"),
    (
        "fit_power_law",
        line_turned_round,
        "the line of ln x on ln y, turned round",
    ),
    ("fit_power_law", lambda x, y: line_by_loops(x, y)[::-1], "the two answers exchanged"),
    (
        "fit_power_law",
        lambda x, y: (1.0, np.linalg.lstsq(x.log()[:, None].numpy(), y.log().numpy(), rcond=None)[0][0]),
        "a line through the origin",
    ),
    ("isoflop_optimum", lambda n, y: (lambda a, b, c: -b / (2 * a))(*np.polyfit(n, y, 2)), "a parabola in N"),
    ("isoflop_optimum", lambda n, y: n[y.argmin()], "the best run"),
    ("isoflop_optimum", lambda n, y: size_by_polyfit(n[y.argsort()[:3]], y.sort()[0][:3]), "three best runs only"),
    ("isoflop_optimum", lambda n, y: math.log(size_by_polyfit(n, y)), "ln N at the vertex"),
    ("isoflop_optimum", lambda n, y: 1 / size_by_polyfit(n, y), "+b/(2a)"),
    ("isoflop_optimum", lambda n, y: size_by_polyfit(n, y.log()), "a parabola of ln loss"),
    ("parametric_loss", law_as_written, "an overflow: e^800 is no float"),
    ("parametric_loss", lambda theta, n, d: law_by_loops(theta[[0, 1, 2, 4, 3]], n, d), "alpha and beta swapped"),
    ("parametric_loss", lambda theta, n, d: np.log(law_by_numpy(theta, n, d)), "the logarithm of the loss"),
    ("parametric_loss", lambda t, n, d: t[2].exp() + t[0] / n ** t[3] + t[1] / d ** t[4], "A and B not exponentiated"),
    ("huber_objective", huber_with(law_by_loops, reduction="mean"), "a mean over the runs"),
    ("huber_objective", huber_with(law_by_loops, delta=1.0), "squared errors, r^2/2, and so does"),
    ("huber_objective", huber_with(law_by_loops, delta=1e-3), "delta = 1e-3 in every case"),
    ("huber_objective", huber_with(lambda t, n, d: law_by_loops(t[[0, 1, 2, 4, 3]], n, d)), "alpha and beta swapped"),
    (
        "huber_objective",
        lambda t, n, d, y, delta=1e-3: F.huber_loss(law_as_written(t, n, d), y, delta=delta, reduction="sum"),
        "residuals of the loss, not of its logarithm",
    ),
    (
        "huber_objective",
        lambda t, n, d, y, delta=1e-3: F.smooth_l1_loss(law_as_written(t, n, d).log(), y.log(), beta=delta),
        "divided by delta, as smooth_l1_loss has it",
    ),
    (
        "huber_objective",
        lambda t, n, d, y, delta=1e-3: F.mse_loss(law_as_written(t, n, d).log(), y.log(), reduction="sum"),
        "squared errors, r^2:",
    ),
    ("bootstrap_interval", interval_from(crossed), "x by one draw with y by another"),
    ("bootstrap_interval", interval_from(lambda x, y, draws: [slope(x[i], y) for i in draws]), "y not resampled"),
    (
        "bootstrap_interval",
        lambda x, y, draws, level=0.95: interval_by_loops(x, y, draws, 2 * level - 1),
        "1 - level and",
    ),
    ("bootstrap_interval", lambda x, y, draws, level=0.95: interval_by_loops(x, y, draws), "the level 0.95 in every"),
    ("bootstrap_interval", lambda x, y, draws, level=0.95: interval_by_loops(x, y, draws, level)[::-1], "high and low"),
    ("forecast", lambda runs, flops: min(run[2] for run in runs), "the best run so far"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), NAMED)
def test_a_mistake_written_another_way_is_named(name: str, wrong: Callable[..., Any], message: str) -> None:
    for seed in SEEDS:
        outcome = HW4[name].grade(wrong, seed)
        assert outcome.points == 0 and message in outcome.message, outcome


def test_an_overflow_that_stops_is_named_too() -> None:
    for seed in SEEDS:
        said = HW4["parametric_loss"].grade(law_in_plain_python, seed).message
        assert (
            said.startswith("It raised an OverflowError on case 3 of 3:") and "This matches an overflow: e^800" in said
        )


def test_messages_are_short_and_tell_the_mistake() -> None:
    for name in FITS:
        for mistake in HW4[name].misconceptions:
            assert mistake.message.startswith("This matches ") and mistake.message.endswith(".")
            assert len(re.findall(r"\.(?= |$)", mistake.message)) <= 2 and "—" not in mistake.message


@pytest.mark.parametrize(
    ("name", "fn", "message"),
    [
        ("fit_power_law", lambda x, y: 2.0, "expected 2 values (coefficient, exponent), got a float."),
        ("fit_power_law", lambda x, y: x.sub_(1), "It changed its input x"),
        ("fit_power_law", lambda x, y: x.to("meta"), "expected numbers, got a tensor on the device"),
        ("isoflop_optimum", lambda n, y: n, "expected a number, got a tensor of shape (3,)"),
        ("isoflop_optimum", lambda n, y: 10**400, "got inf."),
        ("parametric_loss", lambda t, n, d: [None], "expected a tensor of shape (5,), got a list."),
        ("parametric_loss", lambda t, n, d: np.array(["a"]), "expected a tensor of shape (5,), got a NumPy array."),
        ("parametric_loss", lambda t, n, d: law_by_numpy(t, n, d) + 1, "Every number of theta counts"),
        ("huber_objective", lambda *a: None, "got None; is the `return` missing?"),
        ("bootstrap_interval", lambda *a: torch.zeros(3), "expected 2 values (low, high), got 3 values."),
        ("forecast", lambda runs, flops: None, "Case 1 of 3: expected a number, got None; is the `return` missing?"),
        (
            "forecast",
            lambda runs, flops: torch.ones((), device="meta"),
            "Case 1 of 3: expected numbers, got a tensor on",
        ),
        ("forecast", lambda runs, flops: runs[99], "Its inputs: runs 35 such as ("),
        ("forecast", lambda runs, flops: runs.pop()[2], "It changed its input runs"),
    ],
)
def test_what_is_wrong_is_said(name: str, fn: Callable[..., Any], message: str) -> None:
    outcome = HW4[name].grade(fn)
    assert outcome.points == 0 and message in outcome.message, outcome


# What the cases must show --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_residuals_lie_on_both_sides_of_delta_with_both_signs(seed: int) -> None:
    for case in HW4["huber_objective"].cases(seed):
        predicted = np.array(law_by_loops(case["theta"], case["params"], case["tokens"]))
        residuals, delta = np.log(case["loss"].numpy() / predicted), case.get("delta", 1e-3)
        for side in (np.abs(residuals) < delta, np.abs(residuals) > delta):
            assert {-1.0, 1.0} == set(np.sign(residuals[side]))
        assert abs(case["theta"][3] - case["theta"][4]) > 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_a_naive_law_overflows_only_where_it_should(seed: int) -> None:
    cases = HW4["parametric_loss"].cases(seed)
    assert [bool(law_as_written(*case.values()).isfinite().all()) for case in cases] == [True, True, False]
    assert cases[2]["theta"][[0, 3]].tolist() == [800, 40] and max(law_by_loops(*cases[2].values())) < 100


@pytest.mark.parametrize("seed", SEEDS)
def test_the_vertex_lies_among_the_runs_and_not_in_their_middle(seed: int) -> None:
    cases = HW4["isoflop_optimum"].cases(seed)
    assert [len(case["params"]) for case in cases] == [3, 6, 9]
    for case in cases:
        size, (low, high) = size_by_polyfit(**case), (case["params"].min(), case["params"].max())
        assert low < size < high and abs(math.log(size / math.sqrt(low * high))) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_every_draw_has_a_slope(seed: int) -> None:
    cases = HW4["bootstrap_interval"].cases(seed)
    assert len({len(case["draws"]) for case in cases}) == 3 and {case.get("level") for case in cases} == {
        None,
        0.8,
        0.9,
    }
    for case in cases:
        assert case["draws"].shape[1] == len(case["x"]) and not case["draws"].is_floating_point()
        assert all(len(row.unique()) > 1 for row in case["draws"])


# A forecast: fewer points the further off ----------------------------------------------------------------------------

FORECAST = HW4["forecast"]
CLOSENESS = FORECAST.closeness or pytest.fail("a forecast is judged by its distance from the truth")


def off_by(*errors: float, seed: int = 0) -> Callable[..., float]:
    """The truth of each case, but for these relative errors."""
    given = FORECAST.cases(seed)
    truths = {case["flops"]: truth for case, truth in zip(given, CLOSENESS.truths(seed), strict=True)}
    errors_of = {case["flops"]: error for case, error in zip(given, errors, strict=True)}
    return lambda runs, flops: truths[flops] * (1 + errors_of[flops])


def by_hand(case: dict[str, Any], truth: float) -> float:
    """The error that earns nothing: of the best run, or of a straight line in ln C if that comes nearer."""
    budgets: dict[float, list[float]] = {}
    for n, d, loss in case["runs"]:
        budgets.setdefault(round(math.log10(6 * n * d), 4), []).append(loss)
    lowest = {budget: min(losses) for budget, losses in budgets.items()}
    assert len(lowest) == 5 and all(len(losses) == 7 for losses in budgets.values())
    ln_c, loss = np.array(list(lowest)) * math.log(10), np.array(list(lowest.values()))
    forecasts = [loss.min()]
    for change, back in ((np.array, float), (np.log, np.exp)):
        line: Any = stats.linregress(ln_c, change(loss))
        forecasts.append(back(line.intercept + line.slope * math.log(case["flops"])))
    return min(abs(value / truth - 1) for value in forecasts)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_of_a_forecast_fall_from_one_percent_to_what_takes_no_insight(seed: int) -> None:
    ends = [by_hand(*each) for each in zip(FORECAST.cases(seed), CLOSENESS.truths(seed), strict=True)]
    assert min(ends) > 0.03  # so that there is something between
    assert FORECAST.grade(off_by(0.0099, -0.0099, 0, seed=seed), seed).solved
    for which, end in enumerate(ends):
        for share in (0.25, 0.5, 0.9):
            errors = [0.005, 0.005, -0.005]
            errors[which] = -(end - share * (end - 0.01))
            outcome = FORECAST.grade(off_by(*errors, seed=seed), seed)
            assert outcome.points == pytest.approx(4 * share, abs=0.006)
            assert f"Case {which + 1} of 3 is the furthest off: expected " in outcome.message
            assert f"{-errors[which]:.1%} too low. Within 1% earns all points; {end:.1%} off, as " in outcome.message
        for error in (end, -end, 1.5 * end, 9 * end, math.inf, math.nan):
            errors = [0.0, 0.0, 0.0]
            errors[which] = 1.000001 * error
            assert FORECAST.grade(off_by(*errors, seed=seed), seed).points == 0


def test_a_law_fitted_by_the_package_earns_everything() -> None:
    assert FORECAST.grade(forecast_by_library, 1).solved


def test_vertices_with_a_floor_earn_nearly_everything() -> None:
    """The lowest loss of each budget's parabola, then E + K C^-g."""

    def by_vertices(runs: list[tuple[float, float, float]], flops: float) -> float:
        n, d, loss = np.array(runs).T
        budgets = np.round(np.log(6 * n * d), 6)
        each, lowest = np.unique(budgets), []
        for budget in each:
            a, b, c = np.polyfit(np.log(n[budgets == budget]), loss[budgets == budget], 2)
            lowest.append(c - b * b / (4 * a))

        def law(u: np.ndarray, e: float, k: float, g: float) -> np.ndarray:
            return e + k * np.exp(-g * (u - each[0]))

        found, _ = optimize.curve_fit(law, each, lowest, p0=[0.7 * min(lowest), 0.3 * lowest[0], 0.15], maxfev=20_000)
        return float(law(np.array(math.log(flops)), *found))

    for seed in SEEDS:
        assert FORECAST.grade(by_vertices, seed).points >= 3.5


def test_the_reference_is_within_a_percent_wherever_the_seed_leads() -> None:
    for seed in range(30):
        for case, truth in zip(FORECAST.cases(seed), CLOSENESS.truths(seed), strict=True):
            assert FORECAST.reference(**case) == pytest.approx(truth, rel=0.006)


def test_what_no_law_of_one_seed_knows_earns_nothing() -> None:
    """Numbers remembered from one seed, one number for all, the best run with a constant taken off."""
    remembered = iter(2 * CLOSENESS.truths(0))
    assert FORECAST.grade(lambda *a: next(remembered), 0).solved
    assert FORECAST.grade(lambda *a: next(remembered), 1).points == 0
    paid = [FORECAST.grade(lambda *a, guess=guess: guess, seed).points for seed in SEEDS for guess in (1.8, 2.2, 2.6)]
    assert sum(paid) / len(paid) < 0.05 * 4


def test_the_truth_is_the_lowest_loss_of_the_law() -> None:
    """Runs without their noise obey E + A/N^alpha + B/D^beta, whose least under 6ND = flops is found by search."""
    for case, truth in zip(FORECAST.cases(3), CLOSENESS.truths(3), strict=True):
        n, d, loss = np.array(case["runs"]).T

        def law(theta: np.ndarray, n: np.ndarray, d: np.ndarray) -> np.ndarray:
            e, a, b, alpha, beta = theta
            return e + a * (n / 1e9) ** -alpha + b * (d / 1e10) ** -beta

        found = optimize.least_squares(lambda t, n=n, d=d, y=loss: np.log(law(t, n, d) / y), [1.8, 0.5, 0.5, 0.3, 0.3])
        assert np.abs(found.fun).max() < 4e-3  # four times the noise
        sizes = np.geomspace(1e6, 1e13, 100_000)
        assert law(found.x, sizes, case["flops"] / 6 / sizes).min() == pytest.approx(truth, rel=0.006)


def test_a_distance_needs_no_case_but_the_worst() -> None:
    scale = Closeness(truths=lambda seed: [], guesses=lambda case: {"a guess": case["guess"]}, full=0.01)
    cases = [{"guess": 2.2}, {"guess": 3.0}]
    assert scale.judge([2.0, 2.0], [2.0, 2.0], cases) == (1, "Right, within 1% of the truth on all 2 cases.")
    share, message = scale.judge([2.11, np.float32(2.02)], [2.0, 2.0], cases)
    assert share == pytest.approx(0.5)
    assert message == (
        "Case 1 of 2 is the furthest off: expected 2, got 2.11, 5.5% too high. Within 1% earns all points; 10.0% off, "
        "as a guess is, earns none."
    )
