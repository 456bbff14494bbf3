"""Widgets and graded cells answer the keyboard: JupyterLab, a kernel and Chromium, end to end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import BrowserContext, Locator, Page, expect

from course_grader import release
from tests.lab import (
    CHROMIUM,
    Lab,
    chromium_window,
    drawing_widget,
    dress,
    faults,
    jupyter_lab,
    nameless,
    open_notebook,
    press,
    rewrite_last_line,
    run_above,
    run_all,
    screenshot,
    show_cell,
    shown,
    sliders,
)
from tests.widget_pages import DEAF, NAMELESS, TRAIN, UNREADABLE, WIDGETS, write

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here: widgets are not tried in a browser")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def window() -> Iterator[BrowserContext]:
    with chromium_window() as window:
        yield window


@dataclass(frozen=True)
class Course:
    """An open page with all widgets."""

    page: Page
    errors: list[str]

    def widget(self, name: str) -> tuple[Locator, Locator]:
        """The widget, scrolled to, and its picture."""
        return drawing_widget(show_cell(self.page, WIDGETS[name].strip()))


@pytest.fixture(scope="module")
def every_widget(lab: Lab, window: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    page = window.new_page()
    notebook = write(tmp_path_factory.mktemp("page") / "widgets.ipynb", *WIDGETS.values(), TRAIN, DEAF)
    errors = open_notebook(page, lab, notebook)
    run_all(page)
    yield Course(page, errors)
    page.close()


@pytest.fixture
def course(every_widget: Course) -> Iterator[Course]:
    """No test may leave an error in the browser's console."""
    every_widget.errors.clear()
    yield every_widget
    assert every_widget.errors == []


@pytest.fixture
def page(window: BrowserContext) -> Iterator[Page]:
    page = window.new_page()
    yield page
    page.close()


def assert_readable_on_a_phone(course: Course, name: str) -> None:
    """In the state it is in now."""
    dress(course.page, "Dark", 363)
    assert faults(course.widget(name)[0]) == []
    dress(course.page, "Light", 1280)


def bar_widths(picture: Locator) -> float:
    return picture.locator("rect").evaluate_all("bars => bars.reduce((sum, bar) => sum + bar.width.baseVal.value, 0)")


# JupyterLab's windows [px], and what they leave to a widget: the tests open notebooks without a file browser
ROOM = {1280: 1120, 472: 368, 363: 259}  # a wide window; 800 px with the file browser; a phone of 375 px


def test_every_widget_can_be_read_wide_and_narrow_light_and_dark(course: Course) -> None:
    found = {}
    for theme, width in (("Dark", 472), ("Light", 1280), ("Light", 363), ("Dark", 1280)):
        dress(course.page, theme, width)
        for name in WIDGETS:
            widget, _ = course.widget(name)
            assert widget.evaluate("each => each.clientWidth") <= ROOM[width]
            found[theme, width, name] = faults(widget)
            cell = show_cell(course.page, WIDGETS[name].strip())
            screenshot(cell, f"{name}_{theme.lower()}_{width}")
    assert {place: said for place, said in found.items() if said} == {}


def test_every_control_has_a_name(course: Course) -> None:
    assert {name: found for name in WIDGETS if (found := nameless(course.widget(name)[0]))} == {}


def test_sliders_and_choices_say_what_they_show(course: Course) -> None:
    cache, picture = course.widget("cache")
    assert sliders(cache) == {"context": "32,768 tokens", "users": "8"}
    press(cache, picture, "ArrowRight")
    assert sliders(cache)["context"] == "65,536 tokens"
    expect(cache.locator("output").first).to_have_text("65,536 tokens")
    press(cache, picture, "ArrowLeft")
    for pressed, other in (("fp8, 1 byte", "bf16, 2 bytes"), ("bf16, 2 bytes", "fp8, 1 byte")):
        press(cache, picture, "Enter", on=f"button:has-text('{pressed}')")
        choice = cache.get_by_role("group", name="cached as")
        expect(choice.get_by_role("button", name=pressed, pressed=True)).to_have_count(1)
        expect(choice.get_by_role("button", name=other, pressed=False)).to_have_count(1)
        expect(choice.get_by_role("button", pressed=True)).to_have_count(1)
    cost, picture = course.widget("cost")
    said = sliders(cost)
    assert said["MFU"] == "39.1 % of BF16 peak" and said["draw of the GPU, lowest"] == "532 W"
    press(cost, picture, "ArrowRight", on="input[aria-label='draw of the GPU, highest']")
    assert sliders(cost)["draw of the GPU, highest"] == "701 W"
    press(cost, picture, "End", on="input[aria-label='building (PUE), lowest']")
    assert sliders(cost)["building (PUE), lowest"] == sliders(cost)["building (PUE), highest"] == "1.30"
    press(cost, picture, "Home", on="input[aria-label='building (PUE), lowest']")
    scaling, picture = course.widget("scaling")
    assert sliders(scaling)["budgets, highest"] == "1e13 FLOP" and sliders(scaling)["run"] == "none"


def test_the_cache_explorer_draws_longer_bars_for_a_longer_context(course: Course) -> None:
    explorer, picture = course.widget("cache")
    dress(course.page, "Light", 1280)
    before = bar_widths(picture)
    press(explorer, picture, "ArrowLeft")
    assert bar_widths(picture) < before
    press(explorer, picture, "ArrowRight")
    assert bar_widths(picture) == before
    press(explorer, picture, "ArrowLeft")
    press(explorer, picture, "Enter", on="button:has-text('fp32')")
    assert bar_widths(picture) == pytest.approx(before, rel=0.2), "half the tokens, twice the bytes"
    press(explorer, picture, "Space", on="input[type=checkbox]")
    screenshot(course.page, "cache_explorer")
    press(explorer, picture, "End")
    assert_readable_on_a_phone(course, "cache")


def test_the_routing_explorer_goes_to_the_next_token(course: Course) -> None:
    explorer, picture = course.widget("routing")
    expect(picture).to_have_attribute("aria-label", re.compile("^Token 0"))
    press(explorer, picture, "ArrowRight")
    expect(picture).to_have_attribute("aria-label", re.compile("^Token 1"))
    press(explorer, picture, "Enter", on="button:has-text('softmax')")
    press(explorer, picture, "End", on="input[aria-label='bias']")
    press(explorer, picture, "Home", on="input[aria-label=groups]")
    assert_readable_on_a_phone(course, "routing")


def test_the_cost_explorer_raises_the_bill_with_the_hours(course: Course) -> None:
    explorer, picture = course.widget("cost")
    expect(picture).to_have_attribute("aria-label", re.compile("2.788M h in all"))
    press(explorer, picture, "ArrowRight")
    words = re.compile("2.815M h in all, .2.00 per GPU hour")
    expect(picture).to_have_attribute("aria-label", words)  # a hundredth of pre-training more
    press(explorer, picture, "Enter", on="button:has-text('Llama')")
    press(explorer, picture, "End")
    assert_readable_on_a_phone(course, "cost")


def test_the_scaling_explorer_leaves_a_run_out_and_takes_it_back(course: Course) -> None:
    explorer, picture = course.widget("scaling")
    parametric = explorer.locator("tr", has_text="parametric law")
    expect(parametric).to_contain_text("0.5 (0.5 to 0.5)")
    run, box = explorer.get_by_role("slider", name="run"), explorer.locator("input[type=checkbox]").first
    expect(box).to_be_disabled()
    run.press("ArrowRight")
    expect(picture.locator(".ring:visible")).to_have_count(1)
    expect(box).to_be_enabled()
    box.press("Space")
    expect(picture).to_have_attribute("aria-label", re.compile("^14 runs of 3 budgets"))
    expect(parametric).to_contain_text("0.5 (0.5 to 0.5)", timeout=20_000)  # again, when the controls had come to rest
    assert picture.locator(".left-out:visible").count() == 1
    press(explorer, picture, "ArrowRight")
    expect(picture).to_have_attribute("aria-label", re.compile("^10 runs of 2 budgets"))
    expect(explorer).to_contain_text("A law needs 3 budgets")
    screenshot(course.page, "scaling_explorer_two_budgets")
    assert_readable_on_a_phone(course, "scaling")
    explorer.locator("button", has_text="fit all again").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("^15 runs of 3 budgets"))
    explorer.locator("button", has_text="parametric law").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("by parametric law"))


def test_the_game_sells_a_run_and_opens_the_big_one(course: Course) -> None:
    game, picture = course.widget("game")
    press(game, picture, "Enter", on="button:has-text('buy N')")
    expect(picture).to_have_attribute("aria-label", re.compile("^1 run bought"))
    bet = game.locator("input")
    bet.fill("0.7")
    bet.press("Tab")
    expect(picture).to_have_attribute("aria-label", re.compile("Bet 0.7, not locked"))
    game.locator("button", has_text="lock the bet").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("has a loss of"), timeout=20_000)
    expect(game.locator("tr", has_text="your bet")).to_contain_text("%")
    screenshot(course.page, "game_over")
    assert_readable_on_a_phone(course, "game")


def test_the_balance_lab_trains_at_a_button_stops_and_goes_on(course: Course) -> None:
    widget, picture = course.widget("balance")
    button = widget.get_by_role("button", name="Train")
    button.press("Enter")
    button = widget.get_by_role("button", name="Stop")
    expect(button).to_be_focused()
    expect(picture).to_have_attribute("aria-label", re.compile(r"^After \d+ of 16 steps: loss"), timeout=60_000)
    expect(course.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_have_count(1)  # no cell runs
    button.press("Enter")
    button = widget.get_by_role("button", name="Continue")
    expect(button).to_be_focused(timeout=20_000)
    expect(widget).to_contain_text(re.compile(r"Stopped after \d+ of 16 steps"))
    screenshot(course.page, "balance_lab_stopped")
    button.press("Enter")
    expect(widget).to_contain_text("Complete, 16 steps", timeout=60_000)
    expect(picture).to_have_attribute("aria-label", re.compile("^After 16 of 16 steps"))
    expect(widget.get_by_role("progressbar", name="training")).to_have_attribute("value", "16")
    screenshot(course.page, "balance_lab_complete")
    assert_readable_on_a_phone(course, "balance")
    widget.get_by_role("button", name="start over").press("Enter")
    expect(picture).to_have_attribute("aria-label", re.compile("^None of 16 steps"))


def test_the_balance_lab_trains_in_a_cell_that_can_be_interrupted(course: Course) -> None:
    page = course.page
    cell = show_cell(page, TRAIN.split("\n")[0])
    rewrite_last_line(cell, "lab.run()")
    page.keyboard.press("Control+Enter")
    widget, picture = course.widget("balance")
    expect(picture).to_have_attribute("aria-label", re.compile(r"^After \d+ of 16 steps: loss"), timeout=60_000)
    expect(widget.get_by_role("button", name="Stop")).to_be_disabled()  # a busy kernel would not hear it
    page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel').then(() => true)")
    expect(widget).to_contain_text("Stopped after", timeout=20_000)
    expect(widget.get_by_role("button", name="Continue")).to_be_enabled()


def test_the_draft_explorer_steps_back_writes_and_stops(course: Course) -> None:
    widget, picture = course.widget("drafts")
    expect(widget).to_contain_text("the same text as without drafts")
    last = int(re.findall(r"^Pass (\d+) ", picture.get_attribute("aria-label") or "")[0])
    widget.get_by_role("slider", name="up to pass").press("ArrowLeft")
    expect(picture).to_have_attribute("aria-label", re.compile(f"^Pass {last - 1} of {last} "))
    assert picture.locator(".draft-now").count() == 1
    widget.locator("button", has_text="First Citizen").press("Enter")
    expect(widget.locator("textarea")).to_have_value("First Citizen:\n")
    widget.locator("textarea").fill("abc")
    button = widget.locator("button.mod-primary")
    button.press("Enter")
    button = widget.locator("button.mod-warning")
    expect(button).to_have_text("Stop")
    expect(button).to_be_focused()
    expect(picture).to_have_attribute("aria-label", re.compile(r"^Pass \d+ .* prompt: 3\."))  # drawn while it writes
    button.press("Enter")
    expect(widget.locator("button.mod-primary")).to_have_text("Write")
    expect(widget).to_contain_text("Stopped after")
    screenshot(course.page, "draft_explorer")


HW1 = release.sources()["hw1_mla"]
FIRST = "kv_cache_elements"
PER_HEAD = 'return config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * config["head_dim"]'
RIGHT = (
    'return config["num_hidden_layers"] * (2 * config["num_key_value_heads"] * config["head_dim"] '
    'if config.get("kv_lora_rank") is None else config["kv_lora_rank"] + config["qk_rope_head_dim"])'
)


def test_a_student_opens_hw1_errs_gets_it_right_and_explores(lab: Lab, page: Page) -> None:
    errors = open_notebook(page, lab, release.target(HW1))
    run_above(page, f"def {FIRST}(")
    answer(page, "raise NotImplementedError", "✗ 0 of 2 points. Not written yet.")
    answer(page, PER_HEAD, "✗ 0 of 2 points. This matches keys and values per head")
    screenshot(page, "hw1_mla_wrong")
    answer(page, RIGHT, "✓ 2 of 2 points.")
    screenshot(page, "hw1_mla_right")
    show_cell(page, "from course_lib.widgets.cache").locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    explorer, picture = drawing_widget(show_cell(page, "from course_lib.widgets.cache"))
    before = bar_widths(picture)
    press(explorer, picture, "ArrowLeft")
    assert bar_widths(picture) < before, "drawn by what was just written"
    screenshot(page, "hw1_mla_explorer")
    assert errors == []


def answer(page: Page, line: str, verdict: str) -> None:
    """Write `line` into the first function, run its cell and the next, and read what the check says."""
    rewrite_last_line(show_cell(page, f"def {FIRST}("), line)
    for _ in range(2):
        page.keyboard.press("Shift+Enter")  # runs a cell and goes on to the next
    said = show_cell(page, f"check({FIRST})").locator(".jp-OutputArea-output").first  # then the points, as a number
    expect(said).to_contain_text(verdict)


def test_a_deaf_slider_and_a_failing_cell_are_noticed(course: Course) -> None:
    cell = show_cell(course.page, DEAF.strip())
    with pytest.raises(AssertionError, match="aria-label"):
        press(*drawing_widget(cell), "ArrowRight", on=".noUi-handle", seconds=1)
    rewrite_last_line(cell, "1 / 0")
    course.page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-OutputArea-output").first).to_contain_text("ZeroDivisionError")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        shown(course.page)


def test_what_cannot_be_read_is_noticed(page: Page) -> None:
    page.set_content(UNREADABLE)
    assert faults(page.locator("#widget")) == [
        "cut off: a long word on a short button", "scrolls: longtext", "JupyterLab takes its arrow keys: chooseone",
        "7.0 px: tiny", "faint: pale", "clipped: cropped", "faint: ghost", "on top of each other: fine, over",
    ]  # fmt: skip


def test_a_control_without_a_name_is_noticed(page: Page) -> None:
    page.set_content(NAMELESS)
    assert [each.strip(" -").split()[0].rstrip(":") for each in nameless(page.locator("#widget"))] == [
        "button", "slider", "checkbox", "progressbar",
    ]  # fmt: skip


@pytest.mark.parametrize(("template", "cut"), [("course", False), ("lab", True)])
def test_on_paper_no_line_of_code_is_cut(template: str, cut: bool, page: Page) -> None:
    """A4, by the template that `course.py lab` gives to File > Print; JupyterLab's own cuts."""
    exporter = HTMLExporter(template_name=template, extra_template_basedirs=[str(NOTEBOOKS / "templates")])
    page.set_viewport_size({"width": 718, "height": 1000})
    page.emulate_media(media="print")
    page.set_content(exporter.from_filename(str(NOTEBOOKS / "02_mla.ipynb"))[0])
    lines = page.locator(".jp-InputArea-editor pre")
    assert lines.count() > 10
    assert lines.evaluate_all("all => all.some(each => each.scrollWidth > each.clientWidth)") == cut
