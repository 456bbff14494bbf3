"""Pictures: pure functions from data to SVG text for live widgets and to matplotlib figures for page and print."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib takes a second to import, and widgets that draw SVG do without it
    from matplotlib.figure import Figure

__all__ = ["show_figure"]


def show_figure(figure: Figure, alt: str) -> None:
    """Display a matplotlib figure in a notebook, with `alt` for readers who cannot see it.

    JupyterLab ignores an alternative text stored next to a PNG (`metadata["image/png"]["alt"]`), and the next run of
    the cell drops it. So the output is an HTML `<img>` with its own `alt`, which reaches Lab, the saved file and
    exports, and is written again by every run. The plain-text form of the output is the description.

    Raises:
        ValueError: `alt` is blank.
    """
    if not alt.strip():
        raise ValueError("alt is blank: describe what the figure shows, with its values")
    import matplotlib.pyplot as plt
    from IPython.display import display

    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    plt.close(figure)  # or the end of the cell would show it a second time
    source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    display({"text/html": f'<img alt="{html.escape(alt)}" src="{source}">', "text/plain": alt}, raw=True)
