"""The rules of the game: small runs for sale, one bet on the big run, and what the bet is worth when that is opened."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from course_lib.figures.game import Guess
from course_lib.parametric import fit_parametric
from course_lib.scaling_data import Table

SAME = 1e-3  # budgets that differ by less are the same: a training ends with a whole step
BET = "your bet"
BEST, LINE = "the best run so far", "a straight line in ln C"
LAW, LAW_OF_ALL = "the parametric law of your runs", "the parametric law of all small runs"


@dataclass
class Game:
    """What is bought stays bought, and a bet that is made stands. Every method raises a ValueError to refuse."""

    table: Table
    forecast_at: float  # FLOP
    budget: float  # FLOP
    bought: list[int] = field(default_factory=list)  # rows of the table, as they were bought
    bet: float | None = None

    def __post_init__(self) -> None:
        if not self.for_sale:
            raise ValueError(f"no run below {self.forecast_at:g} FLOP, so there is nothing to buy")
        if not self._big_runs:
            raise ValueError(f"no run of {self.forecast_at:g} FLOP, so there is nothing to bet on")
        if not self.budget >= min(map(self.price, self.for_sale)):
            raise ValueError(f"{self.budget:g} FLOP buy no run; the cheapest costs {self.price(self.for_sale[0]):g}")

    @cached_property
    def for_sale(self) -> list[int]:
        """Rows of the small runs, by budget and size."""
        flops, params = self.table.flops.tolist(), self.table.params.tolist()
        small = [i for i, each in enumerate(flops) if each < (1 - SAME) * self.forecast_at and self._measured(i)]
        return sorted(small, key=lambda i: (flops[i], params[i]))

    @property
    def big(self) -> int:
        """Row of the run to bet on: the best, where there are several."""
        return min(self._big_runs, key=self.loss)

    @property
    def _big_runs(self) -> list[int]:
        flops = self.table.flops.tolist()
        return [i for i, c in enumerate(flops) if abs(c / self.forecast_at - 1) <= SAME and self._measured(i)]

    def _measured(self, row: int) -> bool:
        return math.isfinite(self.loss(row))

    def price(self, row: int) -> float:
        """What the run cost [FLOP]: 6ND."""
        return float(self.table.flops[row])

    def loss(self, row: int) -> float:
        return float(self.table.loss[row])

    @property
    def spent(self) -> float:
        return sum(map(self.price, self.bought))

    @property
    def left(self) -> float:
        return max(self.budget - self.spent, 0.0)

    @property
    def locked(self) -> bool:
        return self.bet is not None

    def buy(self, row: int) -> None:
        if row not in self.for_sale:
            raise ValueError("This run is not for sale.")
        if row in self.bought:
            raise ValueError(f"You have this run already: its loss is {self.loss(row):.4g}.")
        if self.locked:
            raise ValueError("The bet is locked and the big run is open: there is nothing more to buy.")
        if self.price(row) > self.left + SAME * self.price(row):
            raise ValueError(f"This run costs {self.price(row):.3g} FLOP, and you have {self.left:.3g} left.")
        self.bought.append(row)

    def lock(self, bet: float) -> None:
        if self.locked:
            raise ValueError(f"Your bet is locked: {self.bet:.4g}.")
        if not self.bought:
            raise ValueError("Buy a run first: a bet on nothing is a guess.")
        if not 0 < bet < math.inf:
            raise ValueError("Type your bet first, a loss above 0.")
        self.bet = float(bet)

    def triples(self, rows: Sequence[int]) -> list[tuple[float, float, float]]:
        """(params, tokens, loss) of runs, as `forecast(runs, flops)` takes them."""
        table = self.table
        return [(float(table.params[i]), float(table.tokens[i]), self.loss(i)) for i in rows]

    @cached_property
    def guesses(self) -> list[Guess]:
        """The bet and what it is compared with, once it is locked."""
        if self.bet is None:
            raise ValueError("The bet is not locked yet.")
        mine = [(self.price(i), self.loss(i)) for i in self.bought]
        bet = Guess(name=BET, loss=self.bet)
        return [bet, best_run(mine, self.forecast_at), straight_line(mine, self.forecast_at), *self._laws()]

    def _laws(self) -> list[Guess]:
        return [
            parametric(name, self.triples(rows), (min(map(self.price, rows)), self.forecast_at))
            for name, rows in ((LAW, self.bought), (LAW_OF_ALL, self.for_sale))
        ]

    @property
    def verdict(self) -> str:
        """The bet against the others, in words."""
        truth, (bet, *others) = self.loss(self.big), self.guesses
        off = abs(bet.off(truth))
        closer = {"closer than": lambda each: off < each, "not closer than": lambda each: off >= each}
        said = []
        for words, holds in closer.items():
            if names := [each.name for each in others if holds(abs(each.off(truth)))]:
                said.append(f"{words} {_listed(names)}")
        return f"Your bet is off by {off:.1%}: {', '.join(said)}."


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def best_run(runs: Sequence[tuple[float, float]], flops: float) -> Guess:
    """More compute changes nothing. Runs are (FLOP, loss)."""
    at, loss = min(runs, key=lambda run: run[1])
    return Guess(name=BEST, loss=loss, line=[(at, loss), (flops, loss)])


def straight_line(runs: Sequence[tuple[float, float]], flops: float) -> Guess:
    """Least squares of the best loss of each budget on ln C, carried on."""
    best: dict[float, float] = {}
    for at, loss in runs:
        best[at] = min(loss, best.get(at, math.inf))
    if len(best) < 2:
        return Guess(name=LINE, says="a line needs runs of two budgets")
    line = np.polynomial.Polynomial.fit(np.log(list(best)), list(best.values()), 1)
    ends = [(c, float(line(math.log(c)))) for c in (min(best), flops)]
    return Guess(name=LINE, loss=ends[-1][1], line=ends)


def parametric(name: str, runs: Sequence[tuple[float, float, float]], ends: tuple[float, float]) -> Guess:
    """The lowest loss by the fitted law from one budget to another; runs are (params, tokens, loss)."""
    try:
        fit = fit_parametric(*zip(*runs, strict=True), resamples=0)
        line = [(c, float(fit.allocation(c).loss.value)) for c in np.geomspace(ends[0], ends[1], 24).tolist()]
    except ValueError as error:
        return Guess(name=name, says=str(error))
    return Guess(name=name, loss=line[-1][1], line=line, says=fit.message)


_GAMES: dict[tuple[float, float, bytes], Game] = {}  # of this kernel, so that a cell that is run again goes on


def game(table: Table, forecast_at: float, budget: float) -> Game:
    """The game of this table, forecast and budget: the one that was begun, if there is one."""
    columns = (table.params, table.tokens, table.flops, table.loss)
    key = (forecast_at, budget, b"".join(column.cpu().numpy().tobytes() for column in columns))
    if key not in _GAMES:
        _GAMES[key] = Game(table, forecast_at, budget)
    return _GAMES[key]
