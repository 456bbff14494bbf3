"""Buy and bet: spend a budget on small runs, forecast the big one, and open it."""

import math
from collections.abc import Callable
from functools import partial
from html import escape
from itertools import groupby
from typing import Any, cast

import ipywidgets as widgets

from course_lib.figures.game import Board, board_html
from course_lib.figures.scaling import Dot, power, short
from course_lib.quantity import counted
from course_lib.scaling_data import Table
from course_lib.widgets.controls import in_a_row, named
from course_lib.widgets.game_rules import game
from course_lib.widgets.scaling_fits import NonsenseError, Own

WELCOME = "Buy runs, then bet on the loss of the big one. A locked bet stays."


class BuyAndBet(widgets.VBox):
    """Every run of `table` below `forecast_at` FLOP is for sale at what it cost; a bet on the run there ends the game.

    `forecast(runs, flops)`, a function of one's own, may name the bet: a loss, from (params, tokens, loss) of each run
    that is bought. A cell that is run again goes on with the same game; another `budget` is another game.
    """

    def __init__(
        self,
        table: Table,
        forecast_at: float = 1e14,
        forecast: Callable[..., Any] | None = None,
        *,
        budget: float = 2e13,
        loss_unit: str = "nats per byte",
    ) -> None:
        self.game = game(table, forecast_at, budget)
        self.own, self.loss_unit = Own(forecast=forecast), loss_unit
        self.offers = {row: widgets.Button(layout={"width": "138px"}) for row in self.game.for_sale}
        for row, offer in self.offers.items():
            offer.on_click(partial(self._buy, row))
        self.bet = widgets.FloatText(
            value=self.game.bet or 0.0, description=f"your bet, a loss [{loss_unit}]",
            style={"description_width": "max-content"}, layout={"width": "310px", "max_width": "98%"},
        )  # fmt: skip
        self.ask = widgets.Button(
            description="ask my forecast", disabled=forecast is None, tooltip="what it says of the runs you bought"
        )
        self.lock = widgets.Button(
            description="lock the bet, open the run", button_style="primary", layout={"width": "200px"}
        )
        self.status, self.picture = widgets.HTML(), widgets.HTML()
        super().__init__([*self._shelves(), in_a_row(self.bet, self.ask, self.lock), self.status, self.picture])
        self.bet.observe(self._draw, names="value")
        self.ask.on_click(self._ask)
        self.lock.on_click(self._lock)
        self._say(self.game.verdict if self.game.locked else f"{WELCOME} {self._purse}")
        self._draw()

    @property
    def shown(self) -> Board:
        """What the picture shows now."""
        game, over = self.game, self.game.locked
        columns = (game.table.flops.tolist(), game.table.params.tolist())
        dots = [
            Dot(flops=columns[0][row], params=columns[1][row], loss=game.loss(row), used=row in game.bought)
            for row in game.for_sale
            if over or row in game.bought
        ]
        return Board(
            dots=dots,
            offers=[(columns[0][row], columns[1][row]) for row in game.for_sale if not over and row not in game.bought],
            budgets=sorted({columns[0][row] for row in game.for_sale}),
            forecast_at=game.forecast_at,
            smallest=min(columns[1][row] for row in game.for_sale),
            big_params=columns[1][game.big],
            budget=game.budget,
            spent=game.spent,
            loss_unit=self.loss_unit,
            bet=game.bet if over else self._typed,
            truth=game.loss(game.big) if over else None,
            guesses=game.guesses if over else (),
            verdict=game.verdict if over else "",
        )

    @property
    def _purse(self) -> str:
        return f"{self.shown.purse}, {self.game.left:.3g} left."

    @property
    def _typed(self) -> float | None:
        """The bet as it stands in its box, if it is one."""
        typed = cast(float, self.bet.value)
        return typed if 0 < typed < math.inf else None

    def _shelves(self) -> list[widgets.HBox]:
        """A row of offers for each budget."""
        rows = groupby(self.game.for_sale, key=self.game.price)
        return [named(f"{power(price)} FLOP each", *(self.offers[row] for row in mine)) for price, mine in rows]

    def _buy(self, row: int, button: Any) -> None:
        try:
            self.game.buy(row)
        except ValueError as error:
            self._say(str(error))
            return
        self._say(f"Bought: its loss is {self.game.loss(row):.4g}. {self._purse}")
        self._draw()

    def _ask(self, button: Any) -> None:
        if self.game.locked:
            self._say(f"Your bet is locked: {self.game.bet:.4g}.")
            return
        if not self.game.bought:
            self._say("Buy a run first: your forecast needs runs to look at.")
            return
        runs = self.game.triples(self.game.bought)
        try:
            (loss,) = self.own.ask("forecast", "a loss, one number above 0", _is_loss, runs, self.game.forecast_at)
        except NonsenseError as error:
            self._say(f"{error}.")
            return
        self.bet.value = float(f"{loss:.4g}")
        self._say(f"Your forecast from {counted(len(runs), 'run')} is {loss:.4g}. It is the bet, unless you change it.")

    def _lock(self, button: Any) -> None:
        try:
            self.game.lock(self._typed or 0.0)
        except ValueError as error:
            self._say(str(error))
            return
        self._say("The bet is locked. The run is being opened, and the parametric law fitted ...")
        self._say(self.game.verdict)
        self._draw()

    def _draw(self, change: Any = None) -> None:
        """Buttons stay enabled, or the keyboard would lose its place; the game refuses what cannot be done."""
        game = self.game
        if game.locked:
            self.bet.disabled, self.bet.value = True, game.bet
        for row, offer in self.offers.items():
            size = f"N {short(float(game.table.params[row]))}"
            known = row in game.bought
            offer.description = f"{size}: {game.loss(row):.4g}" if known else f"buy {size}"
            offer.button_style = "success" if known else ""
            offer.tooltip = f"{float(game.table.tokens[row]):.3g} tokens, {power(game.price(row))} FLOP"
        self.picture.value = board_html(self.shown)

    def _say(self, what: str) -> None:
        self.status.value = f'<div aria-live="polite" style="line-height:1.4;min-height:1.4em">{escape(what)}</div>'

    def __repr__(self, **_: object) -> str:
        return "BuyAndBet: run this cell to buy runs and bet; a picture of the board stands beside it"


def _is_loss(found: list[float]) -> bool:
    return len(found) == 1 and 0 < found[0] < math.inf
