"""Controls that answer the keyboard in JupyterLab, in rows that wrap on a narrow page.

No dropdown, list or radio button is among them: with one in focus, an arrow key moves JupyterLab to another cell.
Sliders get their arrow keys, and a button needs none.
"""

from typing import Any

import ipywidgets as widgets


def in_a_row(*controls: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(controls, layout={"flex_flow": "row wrap"})


def choice(label: str, options: Any, **settings: Any) -> widgets.ToggleButtons:
    """One button an option; its tooltip says of what."""
    tooltips = [f"{label}: {name}" for name in options]
    return widgets.ToggleButtons(options=options, tooltips=tooltips, style={"button_width": "max-content"}, **settings)


def named(label: str, *controls: widgets.Widget, width: str = "120px") -> widgets.HBox:
    """A label beside what has none of its own: the buttons of a choice would go below theirs."""
    aside = widgets.Label(label, layout={"width": width, "display": "flex", "justify_content": "flex-end"})
    return widgets.HBox([aside, widgets.HBox(controls, layout={"flex_flow": "row wrap", "flex": "1"})])


def box(description: str, value: bool = False, **settings: Any) -> widgets.Checkbox:
    """A box to tick, no wider than its words."""
    layout = {"width": "max-content", "margin": "2px 12px"}
    return widgets.Checkbox(value=value, description=description, indent=False, layout=layout, **settings)
