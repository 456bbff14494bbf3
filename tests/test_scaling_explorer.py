"""The scaling explorer without a browser: set a control as a hand would, read the picture and the table below it."""

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats
import torch
from matplotlib.table import Table as Cells
from scipy.optimize import minimize_scalar
from torch import Tensor

from course_lib.figures.scaling import Way, scaling_figure, short
from course_lib.scaling_data import Table
from course_lib.widgets import scaling, scaling_fits
from course_lib.widgets.scaling import FITTING, ScalingExplorer
from tests import drawn

E, A, B, ALPHA, BETA = 0.62, 40.0, 300.0, 0.42, 0.36
BUDGETS, BIG = (1e12, 3e12, 1e13), 1e14


def lowest(flops: float) -> tuple[float, float]:
    """(N, loss) at the least of the law under 6ND = flops, by search."""

    def loss(log_n: float) -> float:
        n = math.exp(log_n)
        return E + A / n**ALPHA + B / (flops / 6 / n) ** BETA

    found: Any = minimize_scalar(loss, (5, 11, 18), tol=1e-12)
    return math.exp(found.x), found.fun


def made_up(noise: float = 0.0, sizes: tuple[float, ...] = (0.31, 0.55, 1.1, 1.9, 3.4)) -> Table:
    """Five sizes a budget around the best, and one run of the big budget at the end."""
    rows = [(c, lowest(c)[0] * factor) for c in BUDGETS for factor in sizes] + [(BIG, lowest(BIG)[0])]
    flops, params = np.array(rows).T
    tokens = flops / 6 / params
    loss = E + A / params**ALPHA + B / tokens**BETA
    loss *= np.exp(np.random.default_rng(0).normal(0, noise, len(loss)))
    columns = {"params": params, "tokens": tokens, "flops": flops, "loss": loss}
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    return Table(name="made up", source="a law", cells=[{}] * len(rows), **tensors)


@pytest.fixture
def no_slow_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is fitted at once."""
    monkeypatch.setattr(scaling, "slow_fits", lambda *_: [Way(name="parametric law")])


@pytest.fixture(scope="module")
def shared() -> ScalingExplorer:
    return ScalingExplorer(made_up(0.004))


@pytest.fixture
def explorer(shared: ScalingExplorer) -> Iterator[ScalingExplorer]:
    """As it stands at first."""
    yield shared
    shared.fit_it.value = shared.show.value = False
    shared.run.value, shared.measure.value = -1, 0
    shared.fit_all.click()


def html(explorer: ScalingExplorer) -> ElementTree.Element:
    return drawn.shown(explorer.picture.value)


def label(explorer: ScalingExplorer) -> str:
    return drawn.label(explorer.picture.value)


def table(explorer: ScalingExplorer) -> dict[str, list[str]]:
    """Cells of each row by the row's name."""
    rows = [["".join(cell.itertext()) for cell in row] for row in html(explorer).iter("tr")]
    return {name: cells for name, *cells in rows}


def said(explorer: ScalingExplorer) -> str:
    return "\n".join(each.text or "" for each in html(explorer).iter("div") if each.get("class") == "said")


def marks(explorer: ScalingExplorer, name: str) -> list[ElementTree.Element]:
    return [each for each in html(explorer).iter() if each.get("class") == name]


def by_numpy(data: Table, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Budgets, vertices and losses there, of one parabola each."""
    flops, params, loss = (np.asarray(column)[rows] for column in (data.flops, data.params, data.loss))
    found = []
    for c in np.unique(flops):
        mine = flops == c
        bend, slope, height = np.polyfit(np.log(params[mine]), loss[mine], 2)
        found.append((c, math.exp(-slope / (2 * bend)), height - slope**2 / (4 * bend)))
    return tuple(np.array(found).T)  # pyright: ignore[reportReturnType]


def carried(x: np.ndarray, y: np.ndarray, at: float) -> tuple[float, float, float, float]:
    """Exponent, half its interval, the line at `at`, and by what factor its interval reaches: SciPy's line."""
    line: Any = scipy.stats.linregress(np.log(x), np.log(y))
    t = scipy.stats.t.ppf(0.975, len(x) - 2)
    u = math.log(at) - np.log(x).mean()
    error = math.hypot(line.stderr * u, line.stderr * np.log(x).std())
    return line.slope, t * line.stderr, math.exp(line.intercept + line.slope * math.log(at)), math.exp(t * error)


def rows_by_hand(data: Table, rows: np.ndarray) -> list[str]:
    """What the table must say of the vertices."""
    budgets, sizes, losses = by_numpy(data, rows)
    a, half, n, reach = carried(budgets, sizes, BIG)
    *_, loss, reach_loss = carried(budgets, losses, BIG)
    return [
        f"{a:.3g} ({a - half:.3g} to {a + half:.3g})",
        f"{short(n)} ({short(n / reach)} to {short(n * reach)})",
        f"{loss:.4g} ({loss / reach_loss:.4g} to {loss * reach_loss:.4g})",
    ]


def test_the_vertices_give_exponent_and_forecast_as_numpy_does(explorer: ScalingExplorer) -> None:
    everything = np.arange(15)
    by_hand = rows_by_hand(explorer.table, everything)
    assert table(explorer)["vertices"] == by_hand
    assert "15 runs of 3 budgets are fitted" in label(explorer) and f"exponent {by_hand[0]}" in label(explorer)
    assert f"best N by vertices: N ∝ C^{by_hand[0]}" in "".join(html(explorer).itertext())


def test_vertices_and_runs_stand_where_their_numbers_are(explorer: ScalingExplorer) -> None:
    """Dots fix the scale; the vertices of NumPy must lie on it."""
    dots = [each for each in marks(explorer, "run")]
    places = [
        (float(each.get("cx") or (each.get("d") or "")[1:].split(" ")[0]),
         float(each.get("cy") or (each.get("d") or "").split(" ")[1].split("m")[0]))
        for each in dots
    ]  # fmt: skip
    x, y = np.array(places).T
    log_n = explorer.table.params[:15].log().numpy()
    scale, offset = np.polyfit(log_n, x, 1)
    down, zero = np.polyfit(explorer.table.loss[:15].numpy(), y, 1)
    _, sizes, losses = by_numpy(explorer.table, np.arange(15))
    for mark, n, loss in zip(marks(explorer, "vertex"), sizes, losses, strict=True):
        place, top = (float(number) for number in (mark.get("d") or "")[1:].split("v")[0].split(" "))
        assert place == pytest.approx(scale * math.log(n) + offset, abs=0.2)
        assert top + 9 == pytest.approx(down * loss + zero, abs=0.2)
    assert np.abs(scale * log_n + offset - x).max() < 0.1


def test_a_run_left_out_is_hollow_and_not_fitted(explorer: ScalingExplorer) -> None:
    before, axes = (
        table(explorer),
        [each.text for each in html(explorer).iter("text") if each.get("text-anchor") != "start"],
    )
    assert explorer.left_out.disabled and marks(explorer, "ring") == []
    explorer.run.value = 4
    assert table(explorer) == before and len(marks(explorer, "ring")) == 1
    explorer.left_out.value = True
    rest = np.delete(np.arange(15), 4)
    assert table(explorer)["vertices"] == rows_by_hand(explorer.table, rest) != before["vertices"]
    assert table(explorer)["parametric law"] != before["parametric law"]
    (hollow,) = marks(explorer, "left-out")
    assert len(marks(explorer, "run")) == 14 and hollow.get("fill") != hollow.get("stroke")
    assert all(run.get("fill") == run.get("stroke") for run in marks(explorer, "run"))
    assert axes == [
        each.text for each in html(explorer).iter("text") if each.get("text-anchor") != "start"
    ]  # they stay
    explorer.run.value = 5
    assert not explorer.left_out.value and len(marks(explorer, "left-out")) == 1
    explorer.run.value = 4
    assert explorer.left_out.value
    explorer.left_out.value = False
    assert table(explorer) == before


def test_sizes_and_budgets_in_range_are_fitted(explorer: ScalingExplorer) -> None:
    sizes = np.sort(explorer.table.params[:15])
    explorer.sizes.index = (1, 13)
    kept = np.flatnonzero((explorer.table.params[:15] >= sizes[1]) & (explorer.table.params[:15] <= sizes[13]))
    assert len(kept) == 13 and table(explorer)["vertices"] == rows_by_hand(explorer.table, kept)
    explorer.budgets.index = (1, 2)
    assert "of 2 budgets are fitted" in label(explorer) and len(marks(explorer, "left-out")) == 6
    assert table(explorer)["vertices"] == table(explorer)["best runs"] == ["-", "-", "-"]
    assert "vertices: A law needs 3 budgets with a best N; here are 2." in said(explorer)
    assert "(" in table(explorer)["parametric law"][0]  # which needs runs, not budgets
    explorer.fit_all.click()
    assert "15 runs of 3 budgets are fitted" in label(explorer)


def test_the_best_runs_make_a_law_of_their_own(explorer: ScalingExplorer) -> None:
    data = explorer.table
    best = [rows[int(data.loss[rows].argmin())] for rows in np.arange(15).reshape(3, 5)]
    a, half, n, _ = carried(data.flops.numpy()[best], data.params.numpy()[best], BIG)
    assert table(explorer)["best runs"][0] == f"{a:.3g} ({a - half:.3g} to {a + half:.3g})"
    assert table(explorer)["best runs"][1].startswith(f"{short(n)} (")
    explorer.measure.value = 1
    assert label(explorer).endswith("by best runs") and f"exponent {a:.3g}" in label(explorer)
    bold = [row for row in html(explorer).iter("tr") if row.get("class") == "course-bold"]
    assert ["".join(row[0].itertext()) for row in bold] == ["best runs"]


def test_the_parametric_law_finds_a_law_without_noise() -> None:
    explorer = ScalingExplorer(made_up())
    a, n, loss = table(explorer)["parametric law"]
    wanted = lowest(BIG)
    assert a.startswith(f"{BETA / (ALPHA + BETA):.3g} (")
    assert n.startswith(f"{short(wanted[0])} (") and loss.startswith(f"{wanted[1]:.4g} (")
    assert "bootstrap percentile, 200 resamples" in explorer.picture.value
    explorer.measure.value = 2
    assert len(marks(explorer, "law")) == len(marks(explorer, "band")) == 1 and not marks(explorer, "optimum")
    explorer.show.value = True
    assert table(explorer)["parametric law"][3] == "+0.0%"


def test_the_big_run_is_hidden_until_asked_for_and_fitted_only_then(explorer: ScalingExplorer) -> None:
    n, loss = float(explorer.table.params[15]), float(explorer.table.loss[15])
    assert f"{loss:.4g}" not in explorer.picture.value and marks(explorer, "held") == [] and explorer.fit_it.disabled
    assert len(explorer.run.options) == 1 + 15
    before = table(explorer)
    explorer.show.value = True
    assert table(explorer)["the run at 1e14 FLOP"] == ["", short(n), f"{loss:.4g}", ""]
    assert len(marks(explorer, "held")) == 2  # one a panel
    for name in before.keys() - {"measured by"}:
        forecast = float(before[name][2].split(" ")[0])
        assert table(explorer)[name][:3] == before[name]
        assert float(table(explorer)[name][3].rstrip("%")) == pytest.approx(100 * (forecast / loss - 1), abs=0.15)
    explorer.fit_it.value = True
    assert "16 runs of 4 budgets are fitted" in label(explorer)
    assert table(explorer)["parametric law"][:3] != before["parametric law"]
    assert "1 size: a parabola needs 3. (1e14 FLOP)" in said(explorer)
    explorer.show.value = False
    assert not explorer.fit_it.value and table(explorer) == before


@pytest.mark.usefixtures("no_slow_fits")
def test_parabolas_that_are_no_use_are_told() -> None:
    data = made_up()
    data.loss[:5] = 5 - data.loss[:5]
    explorer = ScalingExplorer(data)
    assert "vertices: The parabola opens downwards: no minimum. (1e12 FLOP)" in said(explorer)
    assert len(marks(explorer, "parabola")) == 3 and len(marks(explorer, "vertex")) == 2
    assert "vertices: A law needs 3 budgets with a best N; here are 2." in said(explorer)
    assert table(explorer)["best runs"][0] != "-"
    explorer = ScalingExplorer(made_up(sizes=(1.3, 1.8, 2.5, 3.4)))
    assert "Optimum at the edge" in said(explorer) and table(explorer)["vertices"] == ["-", "-", "-"]


@pytest.mark.usefixtures("no_slow_fits")
def test_the_reason_stands_where_the_law_would_be() -> None:
    """In the right picture, within its frame, and in the picture for pages without a kernel."""
    explorer = ScalingExplorer(made_up(sizes=(1.3, 1.8, 2.5, 3.4)))
    ways, words = explorer.shown.ways, " ".join(line.text or "" for line in marks(explorer, "reason"))
    assert words == " ".join(ways[0].says) and "Optimum at the edge: the sizes tried" in words
    assert "A law needs 3 budgets with a best N; here are 0." in words and not marks(explorer, "law")
    assert all(len(line.text or "") < 50 and 30 < float(line.attrib["y"]) < 320 for line in marks(explorer, "reason"))
    texts = [text.get_text() for text in scaling_figure(explorer.shown).axes[1].texts]
    assert words in [" ".join(text.split()) for text in texts]
    explorer.measure.value = 1
    assert marks(explorer, "law") and not marks(explorer, "reason")
    assert "" in [text.get_text() for text in scaling_figure(explorer.shown).axes[1].texts]


def light(colour: str) -> float:
    """Relative luminance of the Web Content Accessibility Guidelines."""
    srgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in srgb]
    return sum(part * c for part, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
def test_intervals_are_seen_on_light_and_dark_pages(explorer: ScalingExplorer, page: str) -> None:
    """Contrast of 3 at least, as those guidelines want of graphics (1.4.11)."""
    bars = marks(explorer, "interval")
    assert len(bars) == 6  # of three budgets, in both pictures
    for bar in bars:
        assert float(bar.get("stroke-opacity", 1)) == float(bar.get("opacity", 1)) == 1
        dark, bright = sorted((light(bar.attrib["stroke"]), light(page)))
        assert (bright + 0.05) / (dark + 0.05) >= 3 and float(bar.attrib["stroke-width"]) >= 3


def test_fits_that_nothing_is_left_for_are_told(explorer: ScalingExplorer) -> None:
    explorer.sizes.index = (0, 1)
    assert "parametric law: five parameters need 6 runs or more, got 2." in said(explorer)
    explorer.sizes.index = (0, 0)
    explorer.run.value = int(explorer.table.params.argmin())
    explorer.left_out.value = True
    assert "vertices: No run is left." in said(explorer) and "0 runs of 0 budgets" in label(explorer)
    with pytest.raises(ValueError, match=r"no run below 1e\+14 FLOP"):
        ScalingExplorer(explorer.table.rows(explorer.table.flops == BIG))


@pytest.mark.usefixtures("no_slow_fits")
def test_measured_flops_are_shown_as_budgets() -> None:
    data = made_up(0.004)
    wobble = 1 + 1e-4 * torch.linspace(-1, 1, 16, dtype=torch.float64)
    measured = ScalingExplorer(dataclasses.replace(data, flops=data.flops * wobble))
    assert len(measured.budgets.options) == 3 and "15 runs of 3 budgets are fitted" in label(measured)
    assert table(measured)["vertices"][0] == rows_by_hand(data, np.arange(15))[0]


# Functions of one's own


def line(x: Tensor, y: Tensor) -> tuple[float, np.ndarray]:
    slope, height = np.polyfit(np.log(x.numpy()), np.log(y.numpy()), 1)
    return math.exp(height), slope


def vertex(params: Tensor, loss: Tensor) -> Tensor:
    bend, slope, _ = np.polyfit(params.log(), loss, 2)
    return torch.tensor(-slope / (2 * bend)).exp()


def slopes(x: Tensor, y: Tensor, draws: Tensor, level: float) -> list[float]:
    found = [line(x[rows], y[rows])[1] for rows in draws]
    return np.quantile(found, [(1 - level) / 2, (1 + level) / 2]).tolist()


def test_own_functions_take_the_place_of_the_courses(explorer: ScalingExplorer) -> None:
    asked: list[Any] = []

    def forecast(runs: list[tuple[float, float, float]], flops: float) -> float:
        asked.append((runs, flops))
        return 1.234

    mine = ScalingExplorer(
        explorer.table, fit_power_law=line, isoflop_optimum=vertex, bootstrap_interval=slopes, forecast=forecast
    )
    exponent, n, loss = (cell.split(" ")[0] for cell in rows_by_hand(explorer.table, np.arange(15)))
    got = table(mine)["vertices"]
    assert got[0].startswith(f"{exponent} (") and got[1:] == [n, loss]  # own lines have no interval, own slopes have
    budgets, sizes, _ = by_numpy(explorer.table, np.arange(15))
    low, high = (float(part) for part in got[0].removesuffix(")").split(" (")[1].split(" to "))
    pairs = [math.log(sizes[j] / sizes[i]) / math.log(budgets[j] / budgets[i]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(pairs) - 0.001 <= low < high <= max(pairs) + 0.001
    assert table(mine)["your forecast"] == ["-", "-", "1.234"]
    (runs, flops), data = asked[0], explorer.table
    assert flops == BIG and len(runs) == 15
    assert runs[3] == (float(data.params[3]), float(data.tokens[3]), float(data.loss[3]))
    mine.show.value = True
    assert table(mine)["your forecast"][3] == f"{1.234 / float(data.loss[15]) - 1:+.1%}"


@pytest.mark.usefixtures("no_slow_fits")
def test_a_wrong_vertex_is_drawn_where_it_was_put() -> None:
    explorer = ScalingExplorer(made_up(), isoflop_optimum=lambda params, loss: params.sort().values[1])
    second = made_up().params[:15].reshape(3, 5)[:, 1]
    a, _, n, _ = carried(np.array(BUDGETS), second.numpy(), BIG)
    assert table(explorer)["vertices"][0].startswith(f"{a:.3g} (") and table(explorer)["vertices"][1].startswith(
        short(n)
    )
    assert marks(explorer, "interval") == []  # Fieller's is the course's vertex only


@pytest.mark.usefixtures("no_slow_fits")
def test_inputs_may_be_spoiled() -> None:
    def spoil(x: Tensor, y: Tensor) -> tuple[float, np.ndarray]:
        found = line(x, y)
        for column in (x, y):
            column.zero_()
        return found

    spoilt, clean = (ScalingExplorer(made_up(0.004), fit_power_law=mine) for mine in (spoil, line))
    assert table(spoilt) == table(clean) and table(clean)["vertices"][0] != "-"


def gives(answer: object) -> Callable[..., Any]:
    return lambda *_: answer


def raises(error: BaseException) -> Callable[..., Any]:
    def mine(*_: object) -> None:
        raise error

    return mine


OWN = ["fit_power_law", "isoflop_optimum", "bootstrap_interval", "forecast"]
NONSENSE = (
    None, "2", "ab", b"2", ("1", "2"), [], {}, {3: 4}, object(), math.nan, (math.inf, 1), (2, math.nan), -1, (0, -1),
    (1, 2, 3), 1j, torch.ones(2, 2), torch.ones(3), torch.ones((), device="meta"),
)  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_nonsense_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(scaling_fits, "_parametric", lambda *_: Way(name="parametric law"))
    data = made_up(0.004)
    fits = scaling_fits.slow_fits if name == "forecast" else lambda *inputs: scaling_fits.quick_fits(*inputs)[0]
    for answer in NONSENSE:
        ways = fits(data, data.flops < BIG, BIG, scaling_fits.Own(**{name: gives(answer)}))
        words = " ".join(line for way in ways for line in way.says)
        assert f"your {name} gave " in words and "; wanted " in words


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (raises(NotImplementedError()), "is not written yet"),
        (raises(ZeroDivisionError("<by> me")), "raised ZeroDivisionError: <by> me (in line"),
        (raises(SystemExit(3)), "raised SystemExit: 3"),
        (raises(KeyboardInterrupt()), "raised KeyboardInterrupt"),
    ],
)
def test_an_error_is_told_and_the_widget_lives_on(
    monkeypatch: pytest.MonkeyPatch, name: str, mine: Callable[..., Any], words: str
) -> None:
    monkeypatch.setattr(scaling_fits, "_parametric", lambda *_: Way(name="parametric law"))
    own: dict[str, Any] = {name: mine}
    explorer = ScalingExplorer(made_up(0.004), **own)
    assert f"your {name} {words}" in said(explorer)
    explorer.run.value = 0
    explorer.left_out.value = True
    assert "14 runs" in label(explorer) and f"your {name} {words}" in said(explorer)


class Timers(list[dict[str, Any]]):
    """In place of a kernel's event loop: what it is asked to do later."""

    def call_later(self, _seconds: float, do: Callable[[], None]) -> Any:
        timer = {"do": do, "off": False}
        self.append(timer)
        return SimpleNamespace(cancel=lambda: timer.update(off=True))


def test_slow_fits_wait_until_the_controls_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def slow(data: Table, keep: Tensor, *_: object) -> list[Way]:
        done.append(int(keep.sum()))
        return [Way(name="parametric law", says=["there"])]

    monkeypatch.setattr(scaling, "slow_fits", slow)
    timers = Timers()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timers)
    explorer = ScalingExplorer(made_up(0.004))
    assert done == [15] and "there" in said(explorer)  # at once: nothing is shown half
    for left in (1, 2, 3):
        explorer.sizes.index = (left, 14)
        assert FITTING in said(explorer) and f"{15 - left} runs" in label(explorer)
    assert [timer["off"] for timer in timers] == [True, True, False] and done == [15]
    timers[-1]["do"]()
    assert done == [15, 12] and FITTING not in said(explorer)
    explorer.sizes.index = (0, 14)
    assert FITTING not in said(explorer) and len(timers) == 3  # it was fitted before


def test_the_static_picture_shows_the_same(explorer: ScalingExplorer) -> None:
    explorer.show.value = True
    figure = scaling_figure(explorer.shown)
    losses, optima, numbers = figure.axes
    (cells,) = [child for child in numbers.get_children() if isinstance(child, Cells)]
    texts = {place: cell.get_text().get_text() for place, cell in cells.get_celld().items()}
    assert [texts[1, column] for column in range(1, 4)] == rows_by_hand(explorer.table, np.arange(15))
    assert texts[4, 3] == f"{float(explorer.table.loss[15]):.4g}"
    drawn = {float(x) for each in losses.lines for x in np.atleast_1d(each.get_xdata())}
    assert drawn >= set(explorer.table.params.tolist())
    assert losses.get_legend_handles_labels()[1] == ["1e12 FLOP", "3e12 FLOP", "1e13 FLOP"]
    assert losses.get_xlabel() and optima.get_xlabel() and optima.get_ylabel()
    figure.canvas.draw()
    assert "run this cell" in repr(explorer)
