"""One page with every widget of the course, each in a cell of its own: what the browser tests open."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests.notebook_rules import KERNEL

CACHE = """
from course_lib.widgets.cache import CacheExplorer
CacheExplorer()
"""
ROUTING = """
from course_lib.widgets.routing import RoutingExplorer
import torch
some = torch.Generator().manual_seed(3)
hidden, centroids = (torch.randn(n, 32, generator=some) / 3 for n in (26, 16))
RoutingExplorer("Many experts, few at work.", hidden, centroids)
"""
COST = """
from course_lib.widgets.cost import CostExplorer
CostExplorer()
"""
SCALING = """
from course_lib.widgets.scaling import ScalingExplorer
from course_lib.scaling_data import Table
flops = torch.tensor([1e12, 3e12, 1e13, 1e14], dtype=torch.float64).repeat_interleave(5)
params = 0.02 * flops.sqrt() * 2.0 ** torch.arange(-2, 3, dtype=torch.float64).repeat(4)
tokens = flops / 6 / params
loss = 0.6 + 40 / params**0.4 + 300 / tokens**0.4
law = Table("made up", params, tokens, flops, loss, "a law", [{}] * 20)
ScalingExplorer(law)
"""
GAME = """
from course_lib.widgets.game import BuyAndBet
BuyAndBet(law)
"""
BALANCE = """
from course_lib.widgets.balance import BalanceLab
from course_lib.routing import update_bias
import time

def slowly(bias, load, speed):
    time.sleep(0.1)  # leaves time to press Stop
    return update_bias(bias, load, speed)

lab = BalanceLab(steps=16, update_bias=slowly)
lab
"""
DRAFTS = """
from course_lib.widgets.mtp import DraftExplorer
import time
from course_lib.config import mini
from course_lib.model import MiniDeepSeek
from course_lib.speculative import verify_greedy

pause = 0.0

def slow(draft, logits):
    time.sleep(pause)
    return verify_greedy(draft, logits)

torch.manual_seed(0)
explorer = DraftExplorer(MiniDeepSeek(mini(num_nextn_predict_layers=1)), "ab", new_tokens=30, verify=slow)
pause = 0.5  # leaves time to press Stop, on a busy machine too
explorer
"""
WIDGETS = {
    "cache": CACHE, "routing": ROUTING, "cost": COST, "scaling": SCALING, "game": GAME, "balance": BALANCE,
    "drafts": DRAFTS,
}  # fmt: skip
TRAIN = "# trains the lab above\n..."  # the last line is to be written over
DEAF = """
from ipywidgets import HTML, IntSlider, VBox
VBox([IntSlider(3), HTML('<svg role="img" aria-label="still" height="9"><rect width="3" height="9"/></svg>')])
"""

# every fault once
UNREADABLE = """
<body style="background: rgb(255, 255, 255)"><div id="widget">
<button style="width: 30px; overflow: hidden; white-space: nowrap">a long word on a short button</button>
<p>choose<select><option>one</option></select></p>
<svg viewBox="0 0 100 40" width="100" style="font: 12px sans-serif"><text x="0" y="12">fine</text>
<text x="0" y="25" style="font-size: 7px">tiny</text><text x="0" y="38" fill="#bbb">pale</text>
<text x="90" y="12">cropped</text><text x="3" y="16">over</text></svg>
<div style="height: 20px; overflow: auto">long<p>text</p></div><p style="opacity: 0.3">ghost</p>
<style>.hidden { display: none }</style>
<svg class="hidden" viewBox="0 0 9 9"><text style="font-size: 3px">out</text></svg>
</div>
"""
NAMELESS = """<div id="widget"><button></button><button>named</button><input type="range">
<input type="range" aria-label="x"><label>ticked<input type="checkbox"></label>
<input type="checkbox"><progress></progress></div>"""


def write(path: Path, *sources: str) -> Path:
    """A notebook with these cells."""
    cells = [new_code_cell(source.strip()) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path
