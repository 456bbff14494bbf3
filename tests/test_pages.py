"""What a reader gets: alternative texts, formulas, sums of money and tables, in JupyterLab, in exports and on paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import nbformat
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from playwright.sync_api import BrowserContext, Locator, Page

from course_grader import release
from course_grader.formulas import with_mathml
from course_lib.figures import show_figure
from tests.lab import (
    CHROMIUM,
    Lab,
    chromium_window,
    dress,
    jupyter_lab,
    open_notebook,
    run_all,
    screenshot,
    show_cell,
)

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGES = [*sorted(NOTEBOOKS.glob("*.ipynb")), *release.sources().values()]
LESSON = NOTEBOOKS / "01_kv_cache.ipynb"
in_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here: pages are not tried in a browser")


def alternatives(notebook: NotebookNode) -> list[str]:
    """Those of all pictures among the outputs."""
    html = [o.get("data", {}).get("text/html", "") for cell in notebook.cells for o in cell.get("outputs", [])]
    return [str(image["alt"]) for image in BeautifulSoup("".join(html), "html.parser").select("img")]


def exported(path: Path, template: str) -> str:
    exporter = HTMLExporter(template_name=template, extra_template_basedirs=[str(NOTEBOOKS / "templates")])
    return exporter.from_filename(str(path))[0]


def test_a_figure_is_shown_once_and_with_its_words_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    figure, words = plt.figure(), 'loss < 2 & "falling"'
    show_figure(figure, words)
    ((data,), (image,)) = shown, BeautifulSoup(shown[0]["text/html"], "html.parser").select("img")
    assert image["alt"] == data["text/plain"] == words
    assert not plt.fignum_exists(figure.number), "or the end of the cell would show it again"
    for blank in ("", " \n"):
        with pytest.raises(ValueError, match="alt is blank"):
            show_figure(Figure(), blank)


# Exports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["course", "lab", "classic"])
def test_exported_pictures_have_their_words(template: str) -> None:
    wanted = alternatives(nbformat.read(LESSON, as_version=4))
    pictures = BeautifulSoup(exported(LESSON, template), "html.parser").select("img")
    assert [picture["alt"] for picture in pictures] == ["Open in Colab", *wanted]
    assert len(wanted) == 2 and all(len(words) > 100 for words in wanted)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_an_export_needs_no_network_and_no_script_for_its_formulas(path: Path) -> None:
    page = BeautifulSoup(exported(path, "course"), "html.parser")
    fetched = [each.get("src") or each.get("href") for each in page.select("[src], link[href]")]
    assert [address for address in fetched if not str(address).startswith("data:")] == []
    text = " ".join(str(each) for each in page.select(".jp-MarkdownOutput"))
    assert re.findall(r"\$[^$]{1,40}\$|\\[a-z]+", re.sub(r"<code.*?</code>", "", text, flags=re.DOTALL)) == []


def test_formulas_become_mathml_and_code_and_money_stay() -> None:
    told = "At $x_1$ and $$a * b$$: `$HOME or $PATH`, \\$2.\n\n```\n$y$\n```\n"
    page = BeautifulSoup(with_mathml(told), "html.parser")
    assert [(each["display"], each.text) for each in page.select("math")] == [("inline", "x1"), ("block", "a*b")]
    assert "`$HOME or $PATH`, \\$2.\n\n```\n$y$\n```" in with_mathml(told)
    for as_it_is in (r"a slip, $\left( x$, stays", "US$20 or US$30", "~~~\n$y$\n~~~\n"):
        assert with_mathml(as_it_is) == as_it_is


@pytest.mark.parametrize(
    "row",
    ["| $P(x \\mid y)$ | 1 |", "| $\\lvert x \\rvert$ | $a_i b_i$ |", "| $\\text{a*b*c}$ | 1 |",
     "| *$x*y$* | $\\text{[a](b)}$ |"],
)  # fmt: skip
def test_markdown_leaves_the_mathml_of_a_table_alone(row: str) -> None:
    cell = nbformat.v4.new_markdown_cell(f"| a | b |\n|---|---|\n{row}")
    exporter = HTMLExporter(template_name="course", extra_template_basedirs=[str(NOTEBOOKS / "templates")])
    html = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))[0]
    (table,) = BeautifulSoup(html, "html.parser").select("table")
    assert len(table.select("td")) == 2 and table.select("td math") and not table.select("math em, math a")


# In a browser --------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def paper(window: BrowserContext) -> Iterator[Page]:
    """A page as wide as A4, without a network."""
    assert window.browser
    offline = window.browser.new_context(offline=True, viewport={"width": 718, "height": 1000})
    yield offline.new_page()
    offline.close()


def drawn_with_words(page: Page, notebook: NotebookNode) -> list[str]:
    """The alternative texts that Lab's page has, of pictures that are really drawn."""
    found = []
    for cell in notebook.cells:
        if alternatives(nbformat.v4.new_notebook(cells=[cell])):
            images = show_cell(page, cell.source).locator(".jp-OutputArea-output img")
            images.first.wait_for()
            page.wait_for_function("images => [...images].every(i => i.complete)", arg=images.element_handles())
            found += images.evaluate_all("all => all.filter(i => i.naturalWidth > 100).map(i => i.alt)")
    return found


@in_a_browser
def test_pictures_keep_their_words_opened_run_again_and_saved(lab: Lab, page: Page) -> None:
    notebook = nbformat.read(LESSON, as_version=4)
    wanted = alternatives(notebook)
    open_notebook(page, lab, LESSON)
    assert drawn_with_words(page, notebook) == wanted
    run_all(page)
    assert drawn_with_words(page, notebook) == wanted
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    saved = page.evaluate("() => jupyterapp.shell.currentWidget.context.path")
    assert alternatives(nbformat.read(lab.root / saved, as_version=4)) == wanted


@in_a_browser
def test_lab_shows_sums_of_money_as_they_are_written(lab: Lab, page: Page) -> None:
    summary = show_cell_with(page, lab, NOTEBOOKS / "08_cost_and_energy.ipynb", "## Summary")
    assert "at an assumed 2 dollars each come to 5.576 million dollars" in summary.inner_text()
    summary.locator("mjx-container").first.wait_for()  # its formulas are typeset by now
    assert [each for each in summary.locator("mjx-container").all_inner_texts() if "are" in each] == []
    claims = show_cell_with(page, lab, NOTEBOOKS / "00_start_here.ipynb", "HTML(claims_html(").locator("table")
    assert "Gemini cost $4 billion and Claude cost $3.5 billion to develop" in claims.inner_text()
    assert claims.locator("mjx-container").count() == 0


def show_cell_with(page: Page, lab: Lab, path: Path, words: str) -> Locator:
    """The cell of a freshly opened notebook that has these words in its source."""
    open_notebook(page, lab, path)
    (source,) = [cell.source for cell in nbformat.read(path, as_version=4).cells if words in cell.source]
    return show_cell(page, source)


# how many lines of text are broken, of all that a page prints
BROKEN = """all => all.flatMap((pre) => pre.textContent.replace(/\\n$/, '').split('\\n').length * parseFloat(
    getComputedStyle(pre).lineHeight) + 2 < pre.clientHeight - parseFloat(getComputedStyle(pre).paddingTop)
    - parseFloat(getComputedStyle(pre).paddingBottom) ? [pre.textContent] : [])"""


@in_a_browser
def test_printed_tables_are_not_broken_in_a_narrow_lab(lab: Lab, page: Page) -> None:
    path = NOTEBOOKS / "03_moe_routing.ipynb"
    open_notebook(page, lab, path)
    dress(page, "Dark", 560)  # as with the file browser open in 860
    for cell in nbformat.read(path, as_version=4).cells:
        if any(output.output_type == "stream" for output in cell.get("outputs", [])):
            outputs = show_cell(page, cell.source).locator(".jp-OutputArea-output pre")
            outputs.first.wait_for()
            assert outputs.evaluate_all(BROKEN) == []
    screenshot(page, "tables_narrow")


@in_a_browser
def test_on_paper_answers_are_open_and_no_printed_line_is_broken(paper: Page, tmp_path: Path) -> None:
    paper.set_content(exported(NOTEBOOKS / "08_cost_and_energy.ipynb", "course"))
    folded = paper.locator("details:not([open])")
    assert folded.count() == 1
    assert "import course_lib.config" not in paper.locator("main").inner_text(), "the bootstrap cell is folded"
    printed = paper.locator(".jp-OutputArea-output pre")
    assert printed.count() > 10
    paper.set_viewport_size({"width": 480, "height": 1000})
    assert printed.evaluate_all(BROKEN) == [], "on a small screen they scroll"
    paper.set_viewport_size({"width": 718, "height": 1000})
    paper.emulate_media(media="print")
    assert printed.evaluate_all(BROKEN) == []
    paper.evaluate("() => addEventListener('beforeprint', () => { window.open = document.querySelectorAll("
                   "'details:not([open])').length; })")  # fmt: skip
    paper.pdf(path=tmp_path / "page.pdf", format="A4")
    assert paper.evaluate("() => window.open") == 0, "when it is printed, nothing is folded"
    assert folded.count() == 1, "and then it is as before"


@in_a_browser
def test_without_a_network_the_drawing_and_the_formulas_of_hw1_are_there(paper: Page) -> None:
    paper.set_content(exported(release.target(release.sources()["hw1_mla"]), "course"))
    drawing = paper.locator("img[data-picture=compress]")
    assert drawing.evaluate("image => image.naturalWidth") == 760
    assert "become the latent" in (drawing.get_attribute("alt") or "")
    formulas = paper.locator("math")
    assert formulas.count() > 20
    boxes = formulas.evaluate_all("all => all.map(m => [m.getBoundingClientRect().height, m.textContent])")
    assert [text for height, text in boxes if height < 8] == []
