"""Controls that a keyboard and a screen reader can use in JupyterLab, in rows that wrap on a narrow page.

Sliders and choices are those of ipywidgets, shown by a view of our own: ipywidgets gives its sliders no name, says the
place of an option instead of the option, and does not say which button of a choice is pressed.
Dropdowns, lists and radio buttons are left out: while one of them has the focus, an arrow key moves JupyterLab to
another cell.
"""

# pyright: reportIncompatibleMethodOverride=false
# (ipywidgets and anywidget type _repr_mimebundle_ differently)

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets

HERE = Path(__file__).parent
SLIDER = {"flex": "1 1 auto", "min_width": "240px", "max_width": "420px"}
ROW = {"flex_flow": "row wrap", "align_items": "flex-start", "min_width": "0"}


class _Slider(anywidget.AnyWidget):
    """A description such as "context [tokens]" becomes the name "context" and the unit of the value."""

    _esm = HERE / "slider.js"
    _css = HERE / "controls.css"

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"layout": SLIDER, **settings})


class Slider(_Slider, widgets.FloatSlider):
    """A number."""


class IntegerSlider(_Slider, widgets.IntSlider):
    """A whole number."""


class RangeSlider(_Slider, widgets.FloatRangeSlider):
    """Two numbers, one per handle."""


class OptionSlider(_Slider, widgets.SelectionSlider):
    """One of several options."""


class OptionRangeSlider(_Slider, widgets.SelectionRangeSlider):
    """All options from one handle to the other."""


class Choice(anywidget.AnyWidget, widgets.ToggleButtons):
    """One button per option, of which one is pressed."""

    _esm = HERE / "choice.js"
    _css = HERE / "controls.css"


def choice(label: str, options: Any, **settings: Any) -> Choice:
    """One button per option; its tooltip names the choice too."""
    tooltips = [f"{label}: {name}" for name in options]
    return Choice(options=options, description=label, tooltips=tooltips, **settings)


def in_a_row(*controls: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(controls, layout=ROW)


def in_a_column(*controls: widgets.Widget) -> widgets.VBox:
    """A column that stands next to another one where the page has room for both."""
    return widgets.VBox(controls, layout=SLIDER)


def named(label: str, *controls: widgets.Widget) -> widgets.HBox:
    """Controls after a label, or below it where there is no room."""
    aside = widgets.Label(label, layout={"flex": "0 0 112px", "margin": "2px 0 2px 8px"})
    return in_a_row(aside, widgets.HBox(controls, layout={**ROW, "flex": "1 1 300px"}))


def box(description: str, value: bool = False, **settings: Any) -> widgets.Checkbox:
    """A box to tick, no wider than its words."""
    layout = {"width": "max-content", "margin": "2px 14px 2px 8px", "max_width": "100%"}
    return widgets.Checkbox(value=value, description=description, indent=False, layout=layout, **settings)
