"""Widgets and graded cells answer the keyboard: JupyterLab, a kernel and Chromium, end to end."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import BrowserContext, Locator, Page, expect

from course_grader import release
from course_lib.exercises import BANK
from tests.lab import (
    CHROMIUM,
    Lab,
    chromium_window,
    drawing_widget,
    jupyter_lab,
    open_notebook,
    press,
    rewrite_last_line,
    run_all,
    screenshot,
    show_cell,
)
from tests.notebook_rules import KERNEL

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here: widgets are not tried in a browser")
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def window() -> Iterator[BrowserContext]:
    with chromium_window() as window:
        yield window


@pytest.fixture
def page(window: BrowserContext) -> Iterator[Page]:
    page = window.new_page()
    yield page
    page.close()


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


def test_the_routing_explorer_goes_to_the_next_token(lab: Lab, page: Page) -> None:
    errors = open_notebook(page, lab, NOTEBOOKS / "03_moe_routing.ipynb")
    run_all(page)
    show_cell(page, "from course_lib.widgets.routing")
    explorer, picture = drawing_widget(page)
    assert "Token 0" in (picture.get_attribute("aria-label") or "")
    press(explorer, picture, "ArrowRight")
    assert "Token 1" in (picture.get_attribute("aria-label") or "")
    screenshot(page, "03_moe_routing")
    assert errors == []


HW1 = release.sources()["hw1_mla"]
FIRST = "kv_cache_elements"
PER_HEAD = 'return config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * config["head_dim"]'
RIGHT = (
    'return config["num_hidden_layers"] * (2 * config["num_key_value_heads"] * config["head_dim"] '
    'if config.get("kv_lora_rank") is None else config["kv_lora_rank"] + config["qk_rope_head_dim"])'
)


def test_a_student_opens_hw1_errs_and_gets_it_right(lab: Lab, page: Page) -> None:
    errors = open_notebook(page, lab, release.target(HW1))
    said = [output.get("text") for output in run_all(page)]
    for name, exercise in BANK["hw1_mla"].items():
        assert f"{name}: ✗ 0 of {exercise.points:g} points. Not written yet.\n" in said
    answer(page, PER_HEAD, "✗ 0 of 2 points. This matches keys and values per head")
    screenshot(page, "hw1_mla_wrong")
    answer(page, RIGHT, "✓ 2 of 2 points.")
    screenshot(page, "hw1_mla_right")
    assert errors == []


def answer(page: Page, line: str, verdict: str) -> None:
    """Write `line` into the first function, run its cell and the next, and read what the check says."""
    rewrite_last_line(show_cell(page, f"def {FIRST}("), line)
    for _ in range(2):
        page.keyboard.press("Shift+Enter")  # runs a cell and goes on to the next
    said = show_cell(page, f"check({FIRST})").locator(".jp-OutputArea-output").first  # then the points, as a number
    expect(said).to_contain_text(verdict)


def test_the_explorer_of_hw1_draws_the_count_of_its_solutions(lab: Lab, page: Page) -> None:
    errors = open_notebook(page, lab, HW1)
    run_all(page)
    show_cell(page, "from course_lib.widgets.cache")
    explorer, picture = drawing_widget(page)
    before = bar_widths(picture)
    press(explorer, picture, "ArrowRight")
    assert bar_widths(picture) > before
    screenshot(page, "hw1_mla_solved")
    assert errors == []


LAB = """
from course_lib.widgets.balance import BalanceLab
lab = BalanceLab(steps=40)
lab
"""


def test_the_balance_lab_draws_while_it_trains_stops_and_goes_on(lab: Lab, page: Page, tmp_path: Path) -> None:
    cells = [new_code_cell(LAB.strip()), new_code_cell("lab.run()")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "balance.ipynb")
    errors = open_notebook(page, lab, tmp_path / "balance.ipynb")
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")  # and do not wait
    widget, picture = drawing_widget(page)
    expect(picture).to_have_attribute("aria-label", re.compile(r"^After \d+ of 40 steps: loss"), timeout=60_000)
    screenshot(page, "balance_lab_running")
    page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel').then(() => true)")
    expect(widget).to_contain_text("Stopped after", timeout=20_000)
    screenshot(page, "balance_lab_stopped")
    show_cell(page, "lab.run()").locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(widget).to_contain_text("Complete, 40 steps", timeout=60_000)
    expect(picture).to_have_attribute("aria-label", re.compile("^After 40 of 40 steps"))
    screenshot(page, "balance_lab_complete")
    assert errors == []


DRAFTS = """
import time
import torch
from course_lib.config import mini
from course_lib.model import MiniDeepSeek
from course_lib.speculative import verify_greedy
from course_lib.widgets.mtp import DraftExplorer

def slow(draft, logits):
    time.sleep(0.1)  # leaves time to press Stop
    return verify_greedy(draft, logits)

torch.manual_seed(0)
DraftExplorer(MiniDeepSeek(mini(num_nextn_predict_layers=1)), "ab", new_tokens=30, verify=slow)
"""


def test_the_draft_explorer_steps_back_writes_and_stops(lab: Lab, page: Page, tmp_path: Path) -> None:
    cells = [new_code_cell(DRAFTS.strip())]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "drafts.ipynb")
    errors = open_notebook(page, lab, tmp_path / "drafts.ipynb")
    run_all(page)
    picture = page.locator(".draft-text[role=img]")
    widget = page.locator(".jp-OutputArea-output .jupyter-widgets", has=picture).first
    expect(widget).to_contain_text("the same text as without drafts")
    last = int(re.findall(r"^Pass (\d+) ", picture.get_attribute("aria-label") or "")[0])
    widget.locator(".noUi-handle").last.press("ArrowLeft")
    expect(picture).to_have_attribute("aria-label", re.compile(f"^Pass {last - 1} of {last} "))
    assert picture.locator(".draft-now").count() == 1
    widget.locator("textarea").fill("abc")
    button = widget.locator("button")
    button.press("Enter")
    expect(button).to_have_text("Stop")
    expect(button).to_be_focused()
    expect(picture).to_have_attribute("aria-label", re.compile(r"^Pass \d+ .* prompt: 3\."))  # drawn while it writes
    button.press("Enter")
    expect(button).to_have_text("Write")
    expect(widget).to_contain_text("Stopped after")
    screenshot(page, "draft_explorer")
    assert errors == []


SCALING = """
import torch
from course_lib.scaling_data import Table
from course_lib.widgets.scaling import ScalingExplorer

flops = torch.tensor([1e12, 3e12, 1e13], dtype=torch.float64).repeat_interleave(5)
params = 0.02 * flops.sqrt() * 2.0 ** torch.arange(-2, 3, dtype=torch.float64).repeat(3)
tokens = flops / 6 / params
loss = 0.6 + 40 / params**0.4 + 300 / tokens**0.4
ScalingExplorer(Table("made up", params, tokens, flops, loss, "a law", [{}] * 15))
"""


def test_the_scaling_explorer_leaves_a_run_out_and_takes_it_back(lab: Lab, page: Page, tmp_path: Path) -> None:
    cells = [new_code_cell(SCALING.strip())]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "scaling.ipynb")
    errors = open_notebook(page, lab, tmp_path / "scaling.ipynb")
    run_all(page)
    explorer, picture = drawing_widget(page)
    parametric = explorer.locator("tr", has_text="parametric law")
    expect(parametric).to_contain_text("0.5 (0.5 to 0.5)")
    screenshot(page, "scaling_explorer")
    run, box = explorer.locator(".noUi-handle").nth(4), explorer.locator("input[type=checkbox]").first
    expect(box).to_be_disabled()
    run.press("ArrowRight")
    expect(picture.locator(".ring")).to_have_count(1)
    expect(box).to_be_enabled()
    box.press("Space")
    expect(picture).to_have_attribute("aria-label", re.compile("^14 runs of 3 budgets"))
    expect(parametric).to_contain_text("0.5 (0.5 to 0.5)")  # again, when the controls had come to rest
    assert picture.locator(".left-out").count() == 1
    press(explorer, picture, "ArrowRight")
    expect(picture).to_have_attribute("aria-label", re.compile("^10 runs of 2 budgets"))
    expect(explorer).to_contain_text("A law needs 3 budgets")
    screenshot(page, "scaling_explorer_two_budgets")
    explorer.locator("button", has_text="fit all again").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("^15 runs of 3 budgets"))
    explorer.locator("button", has_text="parametric law").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("by parametric law"))
    assert errors == []


def test_the_cost_explorer_raises_the_bill_with_the_hours(lab: Lab, page: Page, tmp_path: Path) -> None:
    cells = [new_code_cell("from course_lib.widgets.cost import CostExplorer\nCostExplorer()")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "cost.ipynb")
    errors = open_notebook(page, lab, tmp_path / "cost.ipynb")
    run_all(page)
    explorer, picture = drawing_widget(page)
    assert "2.788M h in all" in (picture.get_attribute("aria-label") or "")
    press(explorer, picture, "ArrowRight")
    assert "2.815M h in all" in (picture.get_attribute("aria-label") or ""), "a hundredth of pre-training more"
    screenshot(page, "cost_explorer")
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
