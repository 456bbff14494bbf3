"""Buy and bet without a browser: press the buttons, read the board; baselines against NumPy, the law against itself."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from course_lib.figures.game import board_figure
from course_lib.scaling_data import Table
from course_lib.widgets import game_rules
from course_lib.widgets.game import BuyAndBet
from course_lib.widgets.game_rules import BEST, LAW, LAW_OF_ALL, LINE, Game, best_run, parametric, straight_line
from tests import drawn

BUDGETS, TARGET = (1e12, 3e12, 1e13), 1e14
E, A, B, ALPHA, BETA = 0.5, 10.0, 60.0, 0.33, 0.37


def law(n: float, d: float) -> float:
    return E + A / n**ALPHA + B / d**BETA


def best_of(flops: float) -> float:
    """The lowest loss by a fine grid of sizes."""
    sizes = np.geomspace(1e2, 1e9, 20001)
    return float(law(sizes, flops / 6 / sizes).min())  # type: ignore[arg-type]


def runs() -> Table:
    """Four sizes a budget, the big run in the middle of the file; losses of the law, each a little off."""
    rows = [(c, 70_000 * (c / 1e12) ** 0.5 * f) for c in BUDGETS for f in (0.4, 0.9, 2.1, 4.3)]
    rows.insert(5, (TARGET, 700_000.0))
    off = [1 + 0.001 * math.sin(3 * i) for i in range(len(rows))]
    losses = [law(n, c / 6 / n) * each for (c, n), each in zip(rows, off, strict=True)]
    flops, params = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    loss = torch.tensor(losses, dtype=torch.float64)
    columns = {"params": params, "tokens": flops / 6 / params, "flops": flops, "loss": loss}
    return Table(name="made up", source="", cells=[{}] * 13, **columns)


@pytest.fixture(autouse=True)
def no_game_is_under_way() -> Iterator[None]:
    game_rules._GAMES.clear()
    yield
    game_rules._GAMES.clear()


def label(each: BuyAndBet) -> str:
    return drawn.label(each.picture.value)


def marks(each: BuyAndBet, name: str) -> int:
    return sum(element.get("class") == name for element in drawn.shown(each.picture.value).iter())


def said(each: BuyAndBet) -> str:
    return "".join(ElementTree.fromstring(each.status.value).itertext())


def buy(each: BuyAndBet, *rows: int) -> None:
    for row in rows:
        each.offers[row].click()


def bet(each: BuyAndBet, loss: float) -> None:
    each.bet.value = loss
    each.lock.click()


def seen(each: BuyAndBet) -> str:
    """All that a student can read or see drawn."""
    offers = [f"{offer.description}{offer.tooltip}" for offer in each.offers.values()]
    return " ".join([each.picture.value, each.status.value, *offers])


# Buying --------------------------------------------------------------------------------------------------------------


def test_all_small_runs_are_for_sale_and_nothing_is_told() -> None:
    table, each = runs(), BuyAndBet(runs(), TARGET)
    assert sorted(each.offers) == [i for i in range(13) if i != 5]
    text = seen(each)
    assert [f"{loss:.4g}" for loss in table.loss.tolist() if f"{loss:.4g}" in text] == []
    assert marks(each, "bought") == marks(each, "unbought") == marks(each, "big") == 0
    assert marks(each, "offer") == 12
    assert "no run is bought yet" in text and "is closed" in label(each)


def test_a_bought_run_shows_its_loss_and_no_other() -> None:
    table, each = runs(), BuyAndBet(runs(), TARGET)
    buy(each, 6, 0)
    for row, loss in enumerate(f"{loss:.4g}" for loss in table.loss.tolist()):
        assert (loss in label(each)) == (loss in seen(each)) == (row in (6, 0))
    assert each.offers[6].description == f"N {table.params[6] / 1e3:.3g}k: {table.loss[6]:.4g}"
    assert "2 runs bought for 4e+12 of 2e+13 FLOP" in label(each) and "1.6e+13 left" in said(each)
    assert marks(each, "bought") == 4  # in each of two panels
    assert marks(each, "offer") == 10


def test_the_axis_does_not_tell_what_is_not_bought() -> None:
    """The same board for another big run and other unsold losses."""
    boards = []
    for factor in (1.0, 0.7):
        table = runs()
        sold = torch.tensor([i in (0, 7) for i in range(13)])
        each = BuyAndBet(replace(table, loss=torch.where(sold, table.loss, factor * table.loss)), TARGET)
        buy(each, 0, 7)
        boards.append((each.picture.value, each.status.value))
    assert boards[0] == boards[1]


def test_what_cannot_be_bought_is_refused_in_a_sentence() -> None:
    each = BuyAndBet(runs(), TARGET, budget=1.2e13)
    buy(each, 9, 9)
    assert each.game.bought == [9] and said(each).startswith("You have this run already: its loss is")
    buy(each, 4)
    assert said(each) == "This run costs 3e+12 FLOP, and you have 2e+12 left."
    buy(each, 0, 1, 2)
    assert each.game.bought == [9, 0, 1] and "1e+12 FLOP, and you have 0 left" in said(each)
    with pytest.raises(ValueError, match="not for sale"):
        each.game.buy(5)


def test_the_whole_budget_can_be_spent_when_steps_are_whole() -> None:
    """Five runs that cost a step more than a fifth of the budget."""
    table = runs()
    table = replace(table, flops=table.flops * torch.where(table.flops < TARGET, 1.0002, 1.0))
    game = Game(table, TARGET, 4e12)
    for row in (0, 1, 2, 3):
        game.buy(row)
    assert game.left == 0


# Betting -------------------------------------------------------------------------------------------------------------


def test_a_bet_needs_a_run_and_a_loss() -> None:
    each = BuyAndBet(runs(), TARGET)
    bet(each, 0.7)
    assert said(each).startswith("Buy a run first") and not each.game.locked
    buy(each, 0)
    for nonsense in (0.0, -1.0, math.inf):
        bet(each, nonsense)
        assert said(each) == "Type your bet first, a loss above 0." and not each.game.locked
    assert marks(each, "bought") == 2 and marks(each, "big") == 0


def test_locking_opens_the_run_beside_the_baselines() -> None:
    table, each = runs(), BuyAndBet(runs(), TARGET)
    mine = [0, 1, 2, 3, 6, 10]
    buy(each, *mine)
    bet(each, 0.75)
    truth = float(table.loss[5])
    rows = {name: (loss, off) for name, loss, off in each.shown.rows}
    assert rows["your bet"] == ("0.75", f"{0.75 / truth - 1:+.1%}")
    lowest = min(float(table.loss[i]) for i in mine)
    assert rows[BEST] == (f"{lowest:.4g}", f"{lowest / truth - 1:+.1%}")
    best = [min(float(table.loss[i]) for i in mine if table.flops[i] == c) for c in BUDGETS]
    slope, height = np.polyfit(np.log(BUDGETS), best, 1)
    assert rows[LINE][0] == f"{slope * math.log(TARGET) + height:.4g}"
    assert abs(float(rows[LAW_OF_ALL][0]) / best_of(TARGET) - 1) < 0.01
    assert LAW in rows and f"has a loss of {truth:.4g}" in label(each)
    assert marks(each, "bought") == 12 and marks(each, "unbought") == 12 and marks(each, "big") == 2
    assert marks(each, "offer") == 0
    assert said(each) == each.game.verdict and f"off by {abs(0.75 / truth - 1):.1%}" in said(each)


def centres(each: BuyAndBet, name: str) -> list[tuple[float, float]]:
    """Of the marks [px]: those of the first panel, then those of the second."""
    found = [mark for mark in drawn.shown(each.picture.value).iter() if mark.get("class") == name]
    starts = [
        (mark.get("cx"), mark.get("cy"))
        if "d" not in mark.attrib
        else mark.attrib["d"][1:].split("m")[0].split("l")[0].split(" ")
        for mark in found
    ]
    return [(float(x or ""), float(y or "")) for x, y in starts]


def test_marks_stand_where_their_numbers_are() -> None:
    """Over compute in the first panel and over size in the second, on one scale with the big run and the bet."""
    table, each = runs(), BuyAndBet(runs(), TARGET)
    mine = [0, 3, 6, 12]
    buy(each, *mine)
    bet(each, 0.9)
    runs_at, (big, _) = centres(each, "bought"), centres(each, "big")
    for places, column in ((runs_at[:4], table.flops), (runs_at[4:], table.params)):
        order = sorted(mine)
        x, y = np.array(places).T
        across = np.polyfit(np.log(column.numpy()[order]), x, 1)
        down = np.polyfit(table.loss.numpy()[order], y, 1)
        np.testing.assert_allclose(np.polyval(across, np.log(column.numpy()[order])), x, atol=0.15)
        np.testing.assert_allclose(np.polyval(down, table.loss.numpy()[order]), y, atol=0.15)
        if column is table.flops:
            assert big == pytest.approx(
                (np.polyval(across, math.log(TARGET)), np.polyval(down, float(table.loss[5]))), abs=0.4
            )
            (cross, *_) = centres(each, "forecast")
            assert cross == pytest.approx((big[0] - 6, np.polyval(down, 0.9) - 6), abs=0.4)


def test_the_results_say_what_they_are_where_the_table_has_no_head() -> None:
    each = BuyAndBet(runs(), TARGET)
    buy(each, 0, 1)
    bet(each, 0.9)
    heads, *rows = drawn.shown(each.picture.value).iter("tr")
    names = ["".join(head.itertext()) for head in heads]
    assert names == ["", "loss at 1e14 FLOP [nats per byte]", "off by"] and len(rows) == 5
    assert all([cell.get("data-head") for cell in row] == [None, *names[1:]] for row in rows)


def test_locked_means_locked() -> None:
    each = BuyAndBet(runs(), TARGET)
    buy(each, 0, 6)
    bet(each, 0.9)
    board = each.picture.value
    buy(each, 1)
    assert "nothing more to buy" in said(each) and each.game.bought == [0, 6]
    bet(each, 0.7)
    assert each.game.bet == each.bet.value == 0.9 and each.bet.disabled
    assert said(each) == "Your bet is locked: 0.9."
    each.ask.click()
    assert each.game.bet == each.bet.value == 0.9
    assert each.picture.value == board


def test_a_cell_run_again_goes_on_and_another_budget_is_another_game() -> None:
    each = BuyAndBet(runs(), TARGET)
    buy(each, 0, 6)
    again = BuyAndBet(runs(), TARGET)
    assert again.picture.value == each.picture.value and again.offers[6].description == each.offers[6].description
    bet(again, 0.8)
    third = BuyAndBet(runs(), TARGET)
    assert third.picture.value == again.picture.value and third.bet.disabled and said(third) == said(again)
    assert not BuyAndBet(runs(), TARGET, budget=3e13).game.bought


def test_the_verdict_names_who_was_closer() -> None:
    table, game = runs(), Game(runs(), TARGET, 2e13)
    truth = float(table.loss[5])
    for row in (0, 1):
        game.buy(row)
    game.lock(truth * 1.02)
    assert game.verdict == f"Your bet is off by 2.0%: closer than {BEST}, not closer than {LAW_OF_ALL}."
    assert LINE not in game.verdict  # of one budget: there is none
    exact = replace(game, bet=truth)
    assert exact.verdict == f"Your bet is off by 0.0%: closer than {BEST} and {LAW_OF_ALL}."
    far = replace(game, bet=10 * truth)
    assert far.verdict == f"Your bet is off by 900.0%: not closer than {BEST} and {LAW_OF_ALL}."


# Guesses -------------------------------------------------------------------------------------------------------------


def test_baselines_by_hand() -> None:
    guess = best_run([(1.0, 3.0), (10.0, 2.0), (10.0, 2.5)], 100.0)
    assert (guess.loss, guess.line) == (2.0, [(10.0, 2.0), (100.0, 2.0)])
    line = straight_line([(1.0, 3.0), (1.0, 4.0), (10.0, 2.0), (10.0, 2.5)], 100.0)
    assert line.loss == pytest.approx(1.0, abs=1e-12)
    assert line.line[0] == (1.0, pytest.approx(3.0)) and line.line[-1][0] == 100.0
    assert straight_line([(5.0, 3.0), (5.0, 2.0)], 100.0).says


def test_the_law_needs_six_runs_and_finds_exact_ones() -> None:
    exact = [(n, c / 6 / n, law(n, c / 6 / n)) for c in BUDGETS for n in (2e4, 7e4, 3e5)]
    guess = parametric("law", exact, (BUDGETS[0], TARGET))
    assert guess.loss == pytest.approx(best_of(TARGET), rel=1e-4)
    assert guess.line[0] == (pytest.approx(BUDGETS[0]), pytest.approx(best_of(BUDGETS[0]), rel=1e-4))
    short = parametric("law", exact[:5], (BUDGETS[0], TARGET))
    assert short.loss is None and "6 runs or more, got 5" in short.says


# A forecast of one's own ---------------------------------------------------------------------------------------------


def test_ones_own_forecast_names_the_bet_from_what_is_bought() -> None:
    given: list[Any] = []

    def forecast(runs: Any, flops: float) -> Any:
        given.append((runs, flops))
        return torch.tensor(0.71234)

    table, each = runs(), BuyAndBet(runs(), TARGET, forecast)
    each.ask.click()
    assert said(each).startswith("Buy a run first") and not given
    buy(each, 6, 0)
    each.ask.click()
    wanted = [tuple(float(column[i]) for column in (table.params, table.tokens, table.loss)) for i in (6, 0)]
    assert given == [(wanted, TARGET)]
    assert each.bet.value == 0.7123 and not each.game.locked and "Your forecast from 2 runs is 0.7123" in said(each)
    assert "Bet 0.7123, not locked" in label(each)
    each.lock.click()
    assert each.game.bet == 0.7123


def unwritten(runs: Any, flops: float) -> Any:
    raise NotImplementedError


def raises(runs: Any, flops: float) -> Any:
    raise KeyError("x<y")


NONSENSE = [None, "much", -1.0, 0.0, math.nan, math.inf, (1.0, 2.0), torch.ones(3), [], {}]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_a_nonsensical_forecast_is_told(answer: Any) -> None:
    each = BuyAndBet(runs(), TARGET, lambda runs, flops: answer)
    buy(each, 0)
    each.ask.click()
    assert said(each).startswith("your forecast gave") and "wanted a loss, one number above 0" in said(each)
    assert each.bet.value == 0 and not each.game.locked


def test_a_forecast_that_raises_is_told() -> None:
    each = BuyAndBet(runs(), TARGET, unwritten)
    buy(each, 0)
    each.ask.click()
    assert said(each) == "your forecast is not written yet."
    each = BuyAndBet(runs(), TARGET, raises)
    each.ask.click()
    assert said(each).startswith("your forecast raised KeyError: 'x<y'")
    bet(each, 0.8)
    assert each.game.locked


def test_a_forecast_that_changes_its_runs_changes_no_game() -> None:
    each = BuyAndBet(runs(), TARGET, lambda runs, flops: runs.clear() or 0.7)
    buy(each, 0, 1)
    each.ask.click()
    assert each.game.bought == [0, 1] and marks(each, "bought") == 4


def test_without_a_forecast_the_bet_is_typed() -> None:
    assert BuyAndBet(runs(), TARGET).ask.disabled and not BuyAndBet(runs(), TARGET, unwritten).ask.disabled


# Tables and pictures -------------------------------------------------------------------------------------------------


def test_tables_that_make_no_game() -> None:
    table = runs()
    with pytest.raises(ValueError, match="nothing to bet on"):
        BuyAndBet(table.rows(table.flops < TARGET), TARGET)
    with pytest.raises(ValueError, match="nothing to buy"):
        BuyAndBet(table.rows(table.flops == TARGET), TARGET)
    with pytest.raises(ValueError, match=r"5e\+11 FLOP buy no run; the cheapest costs 1e\+12"):
        BuyAndBet(table, TARGET, budget=5e11)


def test_a_run_without_a_loss_is_not_for_sale_and_the_best_big_run_is_opened() -> None:
    table = runs()
    loss = table.loss.clone()
    loss[0], flops = math.nan, torch.where(torch.arange(13) == 12, TARGET, table.flops)
    game = Game(replace(table, loss=loss, flops=flops), TARGET, 2e13)
    assert 0 not in game.for_sale and 12 not in game.for_sale and len(game.for_sale) == 10
    assert game.big == (5 if loss[5] < loss[12] else 12)


def test_the_static_picture_shows_the_same() -> None:
    each = BuyAndBet(runs(), TARGET)
    figure = board_figure(each.shown)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["no run is bought yet"] * 2 + ["for sale, losses not known yet"]
    buy(each, 0, 1, 2, 3, 6, 10)
    bet(each, 0.75)
    over_cost, over_size = board_figure(each.shown).axes
    names = [text.get_text() for text in over_cost.get_legend().get_texts()]  # type: ignore[union-attr]
    assert names == [*(guess.name for guess in each.shown.guesses[1:] if guess.line), "the big run", "bet"]
    big = [line for line in over_size.lines if line.get_marker() == "*"]
    assert [float(np.ravel(line.get_ydata())[0]) for line in big] == [each.shown.truth]
    assert re.search("run this cell", repr(each))
