"""Widgets answer the keyboard: JupyterLab, a kernel and Chromium, end to end."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page

from tests.lab import (
    CHROMIUM,
    Lab,
    chromium_page,
    drawing_widget,
    jupyter_lab,
    open_notebook,
    press,
    run_all,
    screenshot,
)
from tests.notebook_rules import KERNEL

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here: widgets are not tried in a browser")
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium_page() as page:
        yield page


def bar_widths(picture: Locator) -> float:
    return picture.locator("rect").evaluate_all("bars => bars.reduce((sum, bar) => sum + bar.width.baseVal.value, 0)")


def test_the_cache_explorer_draws_longer_bars_for_a_longer_context(lab: Lab, page: Page) -> None:
    errors = open_notebook(page, lab, NOTEBOOKS / "01_kv_cache.ipynb")
    run_all(page)
    explorer, picture = drawing_widget(page)
    before = bar_widths(picture)
    press(explorer, picture, "ArrowRight")
    assert bar_widths(picture) > before
    screenshot(page, "01_kv_cache")
    assert errors == []


DEAF = """
from ipywidgets import HTML, IntSlider, VBox
VBox([IntSlider(3), HTML('<svg role="img" aria-label="still" height="9"><rect width="3" height="9"/></svg>')])
"""


def test_a_deaf_slider_and_a_failing_cell_are_noticed(lab: Lab, page: Page, tmp_path: Path) -> None:
    cells = [new_code_cell(DEAF), new_code_cell("1 / 0")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "deaf.ipynb")
    open_notebook(page, lab, tmp_path / "deaf.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page)
    with pytest.raises(AssertionError, match="aria-label"):
        press(*drawing_widget(page), "ArrowRight", seconds=2)
