"""The board of the game: bought runs, a bet, and, once it is open, the big run and what others say of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

from matplotlib.figure import Figure

from course_lib.figures.panels import (
    HEIGHT,
    LEFT,
    TOP,
    Panel,
    cross,
    linear_ticks,
    log_ticks,
    marker,
    name_below,
    side_by_side,
    tick_beside,
    ticks_below,
    title,
)
from course_lib.figures.scaling import COLOURS, HELD, SHAPES, Dot, Ends, power, short
from course_lib.figures.scaling_svg import PAPER
from course_lib.figures.svg import text
from course_lib.figures.tables import table
from course_lib.quantity import counted

LINES = (  # of the guesses after the bet, in their order: colour, dashes of the SVG, style of matplotlib
    ("#888888", "2 4", ":"), ("#CC79A7", "8 4", "--"), ("#0072B2", "", "-"), ("#009E73", "10 3 2 3", "-."),
)  # fmt: skip
NOTHING = "no run is bought yet"
FOR_SALE = "for sale, losses not known yet"
SIZE, COST = "N: parameters without embedding", "C: what a run costs [FLOP]"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A loss for the big run, and how one comes to it."""

    name: str
    loss: float | None = None  # None: `says` tells why there is none
    line: Sequence[tuple[float, float]] = ()  # FLOP, loss
    says: str = ""

    def off(self, truth: float) -> float:
        """Relative error; NaN where there is no loss."""
        return math.nan if self.loss is None else self.loss / truth - 1


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the picture shows. While the big run is closed, no loss in it is of a run that is not bought."""

    dots: Sequence[Dot]  # used: bought; the others come when the game is over
    offers: Sequence[tuple[float, float]]  # FLOP and N of the runs that can still be bought
    budgets: Sequence[float]  # FLOP, of the runs for sale
    forecast_at: float  # FLOP
    smallest: float  # N of the runs for sale
    big_params: float
    budget: float  # FLOP
    spent: float  # FLOP
    loss_unit: str
    bet: float | None = None  # typed, or locked
    truth: float | None = None  # None: not open yet
    guesses: Sequence[Guess] = ()
    verdict: str = ""

    @property
    def bought(self) -> list[Dot]:
        return [dot for dot in self.dots if dot.used]

    @property
    def purse(self) -> str:
        return f"{counted(len(self.bought), 'run')} bought for {self.spent:.3g} of {self.budget:.3g} FLOP"

    @property
    def big(self) -> str:
        run = f"The run at {power(self.forecast_at)} FLOP, N {short(self.big_params)}"
        return f"{run}, has a loss of {self.truth:.4g}" if self.truth is not None else f"{run}, is closed"

    @property
    def summary(self) -> str:
        """The picture in words."""
        runs = [f"{power(dot.flops)} FLOP, N {short(dot.params)}: loss {dot.loss:.4g}" for dot in self.bought]
        bet = "No bet yet" if self.bet is None else f"Bet {self.bet:.4g}{', not locked' * (self.truth is None)}"
        found = [f"{name}: {loss}, off by {off}" for name, loss, off in self.rows[1:]]
        return ". ".join([self.purse, *runs, bet, self.big, *filter(None, [self.verdict.rstrip(".")]), *found])

    def look(self, flops: float) -> tuple[str, str]:
        """Colour and shape of a budget."""
        if flops not in self.budgets:
            return HELD, "*"
        place = self.budgets.index(flops)
        return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]

    def shelf(self, flops: float) -> float:
        """Height of a budget's offers, as a part of the panel; it has nothing to do with their losses."""
        return 0.04 + 0.05 * self.budgets.index(flops)

    @property
    def shelves(self) -> float:
        """Height of all offers and a line of words above them."""
        return 0.09 + self.shelf(self.budgets[-1])

    @property
    def flops_ends(self) -> Ends:
        return min(self.budgets) / 1.7, self.forecast_at * 1.7

    @property
    def params_ends(self) -> Ends:
        return self.smallest / 1.6, self.big_params * 2.2

    @property
    def loss_ends(self) -> Ends | None:
        """Of what may be seen, with room below for what may come; None while there is nothing."""
        seen = [dot.loss for dot in self.dots] + [each for each in (self.truth, self.bet) if each is not None]
        seen += [loss for each in self.guesses for _, loss in each.line]
        if not seen:
            return None
        low, high = min(seen), max(seen)
        if self.truth is None:
            low = min(low, 0.85 * min((dot.loss for dot in self.dots), default=low))
        room = 0.07 * (high - low)
        return low - room, high + room

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Each guess, its loss, and how far off it is."""
        if self.truth is None:
            return []
        return [
            (each.name, "-", "-") if each.loss is None else (each.name, f"{each.loss:.4g}", _off(each, self.truth))
            for each in self.guesses
        ]

    @property
    def says(self) -> list[str]:
        """What is wrong with a guess."""
        return [f"{each.name}: {each.says}" for each in self.guesses if each.says]


def _off(guess: Guess, truth: float) -> str:
    return f"{round(guess.off(truth), 3) + 0.0:+.1%}"  # + 0.0: no -0.0%


def board_html(board: Board) -> str:
    """The board as HTML, in the text colour of the page it stands on."""
    panels = (partial(_over_cost, board), partial(_over_size, board))
    return f"<div>{side_by_side(board.summary, panels, _legend(board))}{_results(board)}</div>"


def _over_cost(board: Board, width: int) -> list[str]:
    """Loss over compute, with the lines of all guesses."""
    panel = Panel(width, board.flops_ends, board.loss_ends or (0.0, 1.0), False)
    parts = [*title(f"loss [{board.loss_unit}] over compute", width), name_below(panel, COST)]
    parts += ticks_below(panel, [(flops, power(flops)) for flops in (*board.budgets, board.forecast_at)])
    parts += [*_losses(board, panel), panel.frame(), _upright(panel, board.forecast_at)]
    for (tint, dashes, _), guess in zip(LINES, board.guesses[1:], strict=False):
        if guess.line:
            style = f'fill="none" stroke="{tint}" stroke-width="2" stroke-dasharray="{dashes}"'
            parts.append(f'<path class="guess" d="{panel.path(guess.line)}" {style}/>')
    parts += [_dot(board, dot, panel.x(dot.flops), panel.y(dot.loss)) for dot in board.dots]
    return [*parts, *_end(board, panel, board.forecast_at), "</svg>"]


def _over_size(board: Board, width: int) -> list[str]:
    """Loss over size."""
    panel = Panel(width, board.params_ends, board.loss_ends or (0.0, 1.0), False)
    parts = [*title(f"loss [{board.loss_unit}] over size", width), name_below(panel, SIZE)]
    parts += ticks_below(panel, [(n, short(n)) for n in log_ticks(panel.x_ends)])
    parts += [*_losses(board, panel), panel.frame(), _upright(panel, board.big_params)]
    for flops, n in board.offers:
        tint, shape = board.look(flops)
        parts.append(marker(shape, panel.x(n), TOP + HEIGHT * (1 - board.shelf(flops)), PAPER, tint, "offer"))
    if board.offers:
        y = TOP + HEIGHT * (1 - board.shelves)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{panel.across}" stroke="#888" stroke-dasharray="6 3"/>')
        parts.append(text(LEFT + 6, y + 14, FOR_SALE))
    parts += [_dot(board, dot, panel.x(dot.params), panel.y(dot.loss)) for dot in board.dots]
    return [*parts, *_end(board, panel, board.big_params), "</svg>"]


def _losses(board: Board, panel: Panel) -> list[str]:
    if board.loss_ends is None:
        return [text(LEFT + panel.across / 2, TOP + HEIGHT / 2, NOTHING, anchor="middle")]
    return [tick_beside(panel, loss, f"{loss:g}") for loss in linear_ticks(board.loss_ends)]


def _upright(panel: Panel, at: float) -> str:
    """Where the big run will be."""
    return f'<path d="M{panel.x(at):.1f} {TOP}v{HEIGHT}" stroke="#888" stroke-dasharray="2 4"/>'


def _dot(board: Board, dot: Dot, x: float, y: float) -> str:
    tint, shape = board.look(dot.flops)
    return marker(shape, x, y, tint if dot.used else PAPER, tint, "bought" if dot.used else "unbought")


def _end(board: Board, panel: Panel, at: float) -> list[str]:
    """The bet, and the big run once it is open."""
    x = panel.x(at)
    run = [] if board.truth is None else [marker("*", x, panel.y(board.truth), HELD, "currentColor", "big")]
    return run + ([] if board.bet is None else [cross(x, panel.y(board.bet))])


def _legend(board: Board) -> list[tuple[str, str]]:
    looks = [(flops, *board.look(flops)) for flops in board.budgets]
    items = [(marker(shape, 9, 9, tint, tint, "key"), f"{power(flops)} FLOP") for flops, tint, shape in looks]
    items.append((marker("*", 9, 9, HELD, "currentColor", "key"), board.big))
    return items if board.bet is None else [*items, (cross(9, 9), f"bet: {board.bet:.4g}")]


def _results(board: Board) -> str:
    """What everybody says of the big run; nothing while it is closed."""
    if board.truth is None:
        return ""
    heads = ("", f"loss at {power(board.forecast_at)} FLOP [{board.loss_unit}]", "off by")
    keys = [cross(17, 8)] + [
        f'<path d="M2 8h30" stroke="{tint}" stroke-width="2" stroke-dasharray="{dashes}"/>' for tint, dashes, _ in LINES
    ]
    marks = [
        f'<svg width="34" height="16" aria-hidden="true" style="vertical-align:middle">{each}</svg>' for each in keys
    ]
    notes = "".join(f"<div>{escape(words)}</div>" for words in board.says)
    return f'{table(heads, board.rows, marks=marks)}<div style="font:13px sans-serif">{notes}</div>'


def board_figure(board: Board) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    over_cost, over_size = figure.subplots(1, 2, sharey=True)
    for guess, (tint, _, style) in zip(board.guesses[1:], LINES, strict=False):
        if guess.line:
            over_cost.plot(*zip(*guess.line, strict=True), style, color=tint, label=guess.name)
    for axes, x_ends, name in ((over_cost, board.flops_ends, COST), (over_size, board.params_ends, SIZE)):
        axes.set(xscale="log", xlim=x_ends, ylim=board.loss_ends or (0, 1), xlabel=name)
        axes.spines[["top", "right"]].set_visible(False)
        if board.loss_ends is None:
            axes.set_yticks([])
            axes.text(0.5, 0.5, NOTHING, ha="center", transform=axes.transAxes)
        at = board.forecast_at if axes is over_cost else board.big_params
        axes.axvline(at, color="0.5", linestyle=":", linewidth=1)
        for dot in board.dots:
            tint, shape = board.look(dot.flops)
            x = dot.flops if axes is over_cost else dot.params
            axes.plot(x, dot.loss, shape, color=tint if dot.used else "white", mec=tint)
        for mark, tint, loss, words in (("*", HELD, board.truth, "the big run"), ("x", "black", board.bet, "bet")):
            if loss is not None:
                axes.plot(at, loss, mark, color=tint, ms=11, mew=2, label=words if axes is over_cost else None)
    for flops, n in board.offers:
        tint, shape = board.look(flops)
        over_size.plot(n, board.shelf(flops), shape, color="white", mec=tint, transform=over_size.get_xaxis_transform())
    if board.offers:
        over_size.axhspan(0, board.shelves, color="0.95", zorder=0, transform=over_size.get_xaxis_transform())
        over_size.text(0.02, board.shelves - 0.055, FOR_SALE, transform=over_size.transAxes, fontsize=9)
    over_cost.set_ylabel(f"loss [{board.loss_unit}]")
    over_cost.set_xticks([*board.budgets, board.forecast_at], map(power, [*board.budgets, board.forecast_at]))
    over_cost.set_xticks([], minor=True)
    if over_cost.get_legend_handles_labels()[0]:
        over_cost.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{board.purse}. {board.big}. {board.verdict}", fontsize=10, x=0.01, ha="left", wrap=True)
    return figure
