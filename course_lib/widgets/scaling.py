"""The scaling explorer: leave runs out, and see the exponent and the forecast move."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import ipywidgets as widgets
import torch
from torch import Tensor

from course_lib.figures.scaling import Curve, Dot, Ends, ScalingPicture, Way, power, short
from course_lib.figures.scaling_svg import scaling_html
from course_lib.isoflop import run_budgets
from course_lib.scaling_data import Table
from course_lib.widgets.controls import OptionRangeSlider, OptionSlider, box, choice, in_a_row
from course_lib.widgets.scaling_fits import Own, quick_fits, slow_fits

PAUSE = 0.15  # s without a change, after which the slow fits begin
WAYS = {"vertices": 0, "best runs": 1, "parametric law": 2}
NONE = -1  # of the runs
FITTING = "is being fitted ..."
Keep = tuple[bool, ...]  # whether each run of the table is fitted


class ScalingExplorer(widgets.VBox):
    """Runs, budgets and sizes to fit, beside parabolas, optimal sizes and a forecast for `forecast_at` FLOP.

    Runs of that budget or more are kept for the forecast: hidden and not fitted until the controls say so. Functions of
    one's own take the place of the course's: `fit_power_law(x, y)` gives (coefficient, exponent),
    `isoflop_optimum(params, loss)` the best N of one budget, `bootstrap_interval(x, y, draws, level)` the (low, high)
    of an exponent, and `forecast(runs, flops)` a loss from (params, tokens, loss) triples. They get float64 tensors.
    """

    def __init__(
        self,
        table: Table,
        forecast_at: float = 1e14,
        *,
        fit_power_law: Callable[..., Any] | None = None,
        isoflop_optimum: Callable[..., Any] | None = None,
        bootstrap_interval: Callable[..., Any] | None = None,
        forecast: Callable[..., Any] | None = None,
        loss_unit: str = "nats per byte",
    ) -> None:
        self.table = replace(table, flops=run_budgets(table.flops))
        self.forecast_at, self.loss_unit = forecast_at, loss_unit
        self.own = Own(
            fit_power_law=fit_power_law,
            isoflop_optimum=isoflop_optimum,
            bootstrap_interval=bootstrap_interval,
            forecast=forecast,
        )
        self._held = self.table.flops >= 0.999 * forecast_at
        if bool(self._held.all()):
            raise ValueError(f"no run below {forecast_at:g} FLOP, so there is nothing to fit")
        self._out: set[int] = set()
        self._quick: dict[Keep, tuple[list[Way], list[list[Curve]]]] = {}
        self._slow: dict[Keep, list[Way]] = {}
        self._waits: asyncio.TimerHandle | None = None
        self._make_controls()
        self.picture = widgets.HTML()
        super().__init__(
            [
                in_a_row(self.budgets, self.sizes),
                in_a_row(self.run, self.left_out, self.fit_all),
                in_a_row(self.measure, self.show, self.fit_it),
                self.picture,
            ]
        )
        self._forecasts = self._by_the_course()
        self._wire()
        self._complete()

    def _by_the_course(self) -> list[Way]:
        """What the course's functions say of all small runs: it sets the axes, and is not computed twice."""
        keep, rest = self._keep, (self.forecast_at, Own())
        quick = quick_fits(self.table, self._mask(keep), *rest)
        slow = slow_fits(self.table, self._mask(keep), *rest)
        if self.own == Own():
            self._quick[keep], self._slow[keep] = quick, slow
        return [*quick[0], *slow]

    @property
    def shown(self) -> ScalingPicture:
        """What the picture shows now."""
        keep, drawn = self._keep, cast(int, self.measure.value)
        if keep not in self._quick:
            self._quick[keep] = quick_fits(self.table, self._mask(keep), self.forecast_at, self.own)
        ways, curves = self._quick[keep]
        dots = self._dots(keep)
        return ScalingPicture(
            dots=dots,
            curves=curves[drawn % 2],
            ways=[*ways, *self._slow.get(keep, [Way(name="parametric law", says=[FITTING])])],
            drawn=drawn,
            forecast_at=self.forecast_at,
            loss_unit=self.loss_unit,
            **self._ends(dots),
        )

    @property
    def _rows(self) -> list[tuple[float, float, float, bool]]:
        """Budget, size, loss, and whether it is kept for the forecast, of each run."""
        columns = (self.table.flops, self.table.params, self.table.loss, self._held)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @property
    def _keep(self) -> Keep:
        (low, high), (small, large) = cast(Any, self.budgets.value), cast(Any, self.sizes.value)
        return tuple(
            bool(self.fit_it.value) if held else low <= c <= high and small <= n <= large and i not in self._out
            for i, (c, n, _, held) in enumerate(self._rows)
        )

    def _mask(self, keep: Keep) -> Tensor:
        return torch.tensor(keep, device=self.table.flops.device)

    def _dots(self, keep: Keep) -> list[Dot]:
        return [
            Dot(params=n, flops=c, loss=loss, used=keep[i], held=held, ringed=i == self.run.value)
            for i, (c, n, loss, held) in enumerate(self._rows)
            if not held or self.show.value
        ]

    def _ends(self, dots: list[Dot]) -> dict[str, Ends]:
        """Of the axes: the same whatever is fitted, so that what moves is the fit; no far forecast stretches them."""
        small, large = min(dot.params for dot in dots), max(dot.params for dot in dots)
        low, high = min(dot.loss for dot in dots), max(dot.loss for dot in dots)
        sizes = [each.params.value for each in self._forecasts if each.params]
        losses = [each.loss.value for each in self._forecasts if each.loss]
        large = max([large, *(n for n in sizes if n < 30 * large)])
        low = min([low, *(loss for loss in losses if loss > low / 3)])
        room = 0.06 * (high - low)
        return {
            "params_ends": (small / 1.6, large * 2.2),
            "loss_ends": (low - 2 * room, high + 2 * room),
            "flops_ends": (float(self.table.flops.min()) / 1.6, self.forecast_at * 1.8),
        }

    def _make_controls(self) -> None:
        small, at = self.table.rows(~self._held), f"{power(self.forecast_at)} FLOP"
        self.budgets = _range("budgets [FLOP]", [(power(c), c) for c in small.flops.unique().tolist()])
        self.sizes = _range("sizes N [parameters]", [(short(n), n) for n in small.params.unique().tolist()])
        names = [(f"{power(c)} FLOP, N {short(n)}", i) for i, (c, n, _, held) in enumerate(self._rows) if not held]
        self.run = OptionSlider(options=[("none", NONE), *names], description="run")
        self.left_out = box("leave it out", disabled=True)
        self.fit_all = widgets.Button(description="fit all again", tooltip="all runs, budgets and sizes")
        self.measure = choice("draw by", WAYS, value=0)
        self.show = box(f"show the run at {at}", disabled=not bool(self._held.any()))
        self.fit_it = box("and fit it too", disabled=True)

    def _wire(self) -> None:
        self.run.observe(self._point, names="value")
        self.left_out.observe(self._leave_out, names="value")
        self.show.observe(self._show, names="value")
        self.fit_all.on_click(self._fit_all)
        for control in (self.budgets, self.sizes, self.measure, self.fit_it):
            control.observe(self._changed, names="value")

    def _point(self, change: Any) -> None:
        """The box says of the run pointed at whether it is left out."""
        self.left_out.disabled = self.run.value == NONE
        self.left_out.value = self.run.value in self._out
        self._changed()

    def _leave_out(self, change: Any) -> None:
        run = cast(int, self.run.value)
        if run != NONE:
            (self._out.add if self.left_out.value else self._out.discard)(run)
            self._changed()

    def _show(self, change: Any) -> None:
        self.fit_it.disabled = not self.show.value
        self.fit_it.value = bool(self.fit_it.value and self.show.value)
        self._changed()

    def _fit_all(self, button: Any) -> None:
        self._out.clear()
        self.left_out.value = False
        for control in (self.budgets, self.sizes):
            control.index = (0, len(control.options) - 1)
        self._changed()

    def _changed(self, change: Any = None) -> None:
        """Draws what is quickly known, and the rest when the controls have come to rest."""
        if self._waits is not None:
            self._waits.cancel()
        self._draw()
        if self._keep in self._slow:
            return
        try:
            self._waits = asyncio.get_running_loop().call_later(PAUSE, self._complete)
        except RuntimeError:  # no kernel: nobody else would draw it
            self._complete()

    def _complete(self) -> None:
        keep = self._keep
        if keep not in self._slow:
            self._slow[keep] = slow_fits(self.table, self._mask(keep), self.forecast_at, self.own)
        self._draw()

    def _draw(self) -> None:
        self.picture.value = scaling_html(self.shown)

    def __repr__(self, **_: object) -> str:
        return "ScalingExplorer: run this cell to move the sliders; a picture of its first state stands beside it"


def _range(description: str, options: list[tuple[str, float]]) -> OptionRangeSlider:
    return OptionRangeSlider(options=options, index=(0, len(options) - 1), description=description)
