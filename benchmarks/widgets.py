"""From a key on a slider to the redrawn picture, in JupyterLab and Chromium: each widget against a bare slider.

    python benchmarks/widgets.py [--rounds 20]

The bare one is a slider of the course that sets an HTML label: what any widget here must at least cost. All are in one
notebook and take turns; a time runs from the slider's step to the frame after the picture changed, in the page's clock.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page
from tqdm import trange

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the tests' browser helpers

from tests.lab import chromium_page, jupyter_lab, open_notebook, run_all, show_cell
from tests.notebook_rules import KERNEL

BARE = """
from ipywidgets import HTML, VBox
from course_lib.widgets.controls import IntegerSlider
slider, label = IntegerSlider(value=50, description="bare"), HTML()
def draw(_=None):
    bar = f'<rect width="{slider.value}" height="9"/>'
    label.value = f'<svg role="img" aria-label="{slider.value}" height="9">{bar}</svg>'
slider.observe(draw, names="value")
draw()
VBox([slider, label])
"""
CACHE = """
from course_lib.widgets.cache import CacheExplorer
CacheExplorer()
"""
ROUTING = """
from course_lib.widgets.routing import RoutingExplorer
import torch
RoutingExplorer("experts", torch.randn(7, 64), 0.2 * torch.randn(16, 64))
"""
SCALING = """
from course_lib.widgets.scaling import ScalingExplorer
from course_lib.scaling_data import Table
import torch
flops = torch.tensor([1e12, 3e12, 1e13], dtype=torch.float64).repeat_interleave(5)
params = 0.02 * flops.sqrt() * 2.0 ** torch.arange(-2, 3, dtype=torch.float64).repeat(3)
tokens = flops / 6 / params
loss = (0.6 + 40 / params**0.4 + 300 / tokens**0.4) * (0.004 * torch.randn(15)).exp()
ScalingExplorer(Table("made up", params, tokens, flops, loss, "a law", [{}] * 15))
"""
COST = """
from course_lib.widgets.cost import CostExplorer
CostExplorer()
"""
WIDGETS = {
    "bare slider and label": BARE, "cache explorer": CACHE, "routing explorer": ROUTING, "scaling explorer": SCALING,
    "cost explorer": COST,
}  # fmt: skip
PRESS = """async (key) => {
    const handle = document.activeElement, widget = handle.closest('.jp-OutputArea-output');
    const picture = () => widget.querySelector('[role=img]').getAttribute('aria-label');
    const before = picture();
    const start = performance.now();
    handle[key === 'ArrowLeft' ? 'stepDown' : 'stepUp'](); // what the browser does for a key that a person presses
    handle.dispatchEvent(new Event('input', { bubbles: true }));
    while (picture() === before) await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def measure(page: Page, source: str, key: str) -> float:
    """Milliseconds from the key to the picture."""
    cell = show_cell(page, source.strip().split("\n")[0])
    handle = cell.locator("input[type=range]").first
    handle.focus()
    page.wait_for_timeout(50)
    return page.evaluate(PRESS, key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, jupyter_lab(Path(folder)) as lab, chromium_page() as page:
        notebook = Path(folder) / "widgets.ipynb"
        cells = [new_code_cell(source.strip()) for source in WIDGETS.values()]
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), notebook)
        open_notebook(page, lab, notebook)
        run_all(page)
        times: dict[str, list[float]] = {name: [] for name in WIDGETS}
        for turn in trange(args.rounds, leave=False):
            for name, source in WIDGETS.items():
                times[name].append(measure(page, source, "ArrowLeft" if turn % 2 else "ArrowRight"))
    bare = statistics.median(times["bare slider and label"])
    print("| widget | median [ms] | ratio to the bare slider |")
    print("|---|---:|---:|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {statistics.median(values) / bare:.2f} |")


if __name__ == "__main__":
    main()
