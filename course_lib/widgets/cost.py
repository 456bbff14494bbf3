"""The cost explorer: rent and energy of a training, with the assumptions as sliders."""

from dataclasses import replace
from typing import Any, cast

import ipywidgets as widgets

from course_lib import cost
from course_lib.accounting import training_flops
from course_lib.config import published
from course_lib.cost_data import GRIDS, HOST, PUE, RUNS, WATTS, Run
from course_lib.figures.cost import NAMES, CostPicture, cost_html
from course_lib.quantity import Estimate
from course_lib.widgets.controls import RangeSlider, Slider, choice, in_a_column, in_a_row

MOST_HOURS = 3.0  # times those that were published


class CostExplorer(widgets.VBox):
    """Hours or MFU, dollars an hour, and the watts of GPU, machine and building, beside what they come to.

    Hours and MFU are tied: the work is that of the published run. Sliders with two handles are ranges.
    """

    def __init__(self, run: str = "DeepSeek-V3", price: float = 2.0) -> None:
        self.run = choice("training", list(RUNS), value=run)
        self.hours = Slider(description="hours [x published]", min=0.35, max=MOST_HOURS, step=0.01)
        self.mfu = Slider(description="MFU [% of BF16 peak]", min=11.9, max=100, step=0.1, readout_format=".1f")
        self.price = Slider(description="$ per GPU hour", value=price, min=0.25, max=10, step=0.05)
        self.watts = _range("draw of the GPU [W]", WATTS, 0, min=100, max=1000, step=1, readout_format=".0f")
        percent = replace(HOST, value=100 * HOST.value, low=100 * HOST.low, high=100 * HOST.high)
        self.host = _range("rest of machine [%]", percent, 0, min=0, max=120, step=1, readout_format=".0f")
        self.pue = _range("building (PUE)", PUE, 2, min=1, max=2, step=0.01)
        self.picture = widgets.HTML()
        left, right = [self.hours, self.mfu, self.price], [self.watts, self.host, self.pue]
        super().__init__([self.run, in_a_row(in_a_column(*left), in_a_column(*right)), self.picture])
        self._choose()
        self.run.observe(self._choose, names="value")
        self.hours.observe(self._tie, names="value")
        self.mfu.observe(self._tie, names="value")
        for control in (self.price, self.watts, self.host, self.pue):
            control.observe(self._draw, names="value")

    @property
    def training(self) -> Run:
        return RUNS[cast(str, self.run.value)]

    @property
    def shown(self) -> CostPicture:
        """What the picture shows now."""
        run, price = self.training, cast(float, self.price.value)
        first = self._times * run.pretraining.value
        hours = replace(run.hours, value=run.hours.value - run.pretraining.value + first)
        assumed = {name: cost.between(*ends) for name, ends in self._ranges.items()}
        energy = cost.energy(hours, **assumed)
        alone = cost.swings(lambda **ends: cost.energy(hours, **ends), assumed)
        share = f"{self._published_mfu / self._times:.1f}% of the BF16 peak"
        return CostPicture(
            title=f"{run.name}, {first / 1e6:.3f}M h of pre-training at {share}\n"
            f"{hours.value / 1e6:.3f}M h in all, ${price:.2f} per GPU hour",
            rent=cost.dollars(hours, price),
            energy=energy,
            swings=[replace(swing, name=NAMES[swing.name]) for swing in alone],
            rent_limit=2.5 * cost.dollars(run.hours, 2.0).value,
            energy_limit=2.6 * cost.energy(run.hours, WATTS, host=HOST, pue=PUE).value,
            rule=cost.energy(hours, run.gpu.watts).value,
            carbon={grid: cost.emissions(energy, grams) for grid, grams in GRIDS.items()},
        )

    @property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        low, high = cast(tuple[float, float], self.host.value)
        ranges = {"watts": self.watts.value, "host": (low / 100, high / 100), "pue": self.pue.value}
        return cast(dict[str, tuple[float, float]], ranges)

    @property
    def _published_mfu(self) -> float:
        """Per cent."""
        run = self.training
        flops = run.tokens * training_flops(published(run.config), run.context)
        return 100 * cost.utilisation(flops, run.pretraining, run.gpu.bf16).value

    def _choose(self, change: Any = None) -> None:
        self._set(1.0)

    def _tie(self, change: Any) -> None:
        """What one of the two sliders says, the other one follows."""
        owner, said = change.owner, cast(float, change.new)
        true = self._times if owner is self.hours else self._published_mfu / self._times
        if self._setting or abs(said - true) <= owner.step / 2:  # a browser moves handles to the next whole step
            return
        self._set(said if owner is self.hours else self._published_mfu / said)

    def _set(self, times: float) -> None:
        """Both sliders, and the picture; no run gets more than all of the peak."""
        self._times = min(max(times, self._published_mfu / 100), MOST_HOURS)
        self._setting = True
        self.hours.value, self.mfu.value = self._times, self._published_mfu / self._times
        self._setting = False
        self._draw()

    def _draw(self, change: Any = None) -> None:
        self.picture.value = cost_html(self.shown)

    def __repr__(self, **_: object) -> str:
        return "CostExplorer: run this cell to move the sliders; a picture of its first state stands beside it"


def _range(label: str, ends: Estimate, digits: int, **settings: Any) -> Any:
    """Two handles, at first at the ends of an estimate."""
    value = (round(ends.low, digits), round(ends.high, digits))
    return RangeSlider(value=value, description=label, **settings)
