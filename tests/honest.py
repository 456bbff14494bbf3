"""Notebooks that only look odd: all of them earn all points of the functions they define."""

from dataclasses import dataclass

from tests.hostile import HONEST

KV, FLOPS = HONEST["kv_cache_elements"], HONEST["attention_flops"]
LATENT = """
import torch
def rotate(x, positions, theta=10000.0):
    angles = positions[:, None] * theta ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1).flatten(-2)
"""
ATTENTION = """
import torch
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    k, v = torch.einsum("btc,hnc->bthn", latent, w_uk), torch.einsum("btc,hvc->bthv", latent, w_uv)
    scores = torch.einsum("bshn,bthn->bhst", q_nope, k) + torch.einsum("bshr,btr->bhst", q_rope, k_rope)
    scores = scores / (q_nope.shape[-1] + q_rope.shape[-1]) ** 0.5
    s, t = scores.shape[-2:]
    hidden = torch.arange(t) > offset + torch.arange(s)[:, None]
    return torch.einsum("bhst,bthv->bshv", scores.masked_fill(hidden, -torch.inf).softmax(-1), v)
"""


@dataclass(frozen=True)
class Work:
    cells: tuple[str, ...]
    earns: frozenset[str]


def beside(*cells: str) -> Work:
    """Cells that come before two right functions."""
    return Work((*cells, *HONEST.values()), frozenset(HONEST))


def after(*cells: str) -> Work:
    return Work((*HONEST.values(), *cells), frozenset(HONEST))


def around(top: str, bottom: str = "") -> Work:
    """Lines above and below two right functions, in one cell."""
    return Work((f"{top}\n{KV}\n{FLOPS}\n{bottom}",), frozenset(HONEST))


def counts(cell: str, *others: str) -> Work:
    """kv_cache_elements written another way."""
    return Work((*others, cell), frozenset({"kv_cache_elements"}))


def turns(cell: str, *others: str) -> Work:
    return Work((*others, cell), frozenset({"rotate"}))


def attends(cell: str, *others: str) -> Work:
    return Work((*others, cell), frozenset({"expanded_attention"}))


def inside(line: str, text: str, top: str = "") -> str:
    """A function of a cell with another first line in its body."""
    head, body = text.split(":\n", 1)
    return f"{top}\n{head}:\n    {line}\n{body}"


BODY = KV.split("\n", 2)[2]  # of kv_cache_elements, whose argument is `config`

KINDS: dict[str, Work] = {
    # what is said while it works
    "warnings": around("import warnings\nwarnings.warn('old')", "import numpy\nnumpy.log(numpy.zeros(2))"),
    "warnings in a function": counts(inside("warnings.warn('old'); warnings.warn('x', DeprecationWarning)", KV, "import warnings")),
    "warnings made errors": beside("import warnings, numpy\nwarnings.simplefilter('error')\nnumpy.seterr(all='raise')"),
    "prints": counts(inside("print('x' * 3000, config)", KV)),
    "stderr": counts(inside("print('x', file=sys.stderr); sys.stderr.write('y'); logging.error('z')", KV, "import sys, logging")),
    "much output": beside("for i in range(20_000): print(i, 'of', 20_000)"),
    "a log file": beside("import sys, os\nos.makedirs('out', exist_ok=True)\nopen('out/log.txt', 'w').write('x')\nopen('out/log.txt').read()"),
    "stdout redirected": around("import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): print(1)"),
    "a progress bar": around("from tqdm.auto import tqdm\nfrom tqdm import tqdm as plain, trange\nfor _ in tqdm(range(3)): pass\nfor _ in plain(range(3)): pass\nfor _ in trange(3): pass"),
    "a notebook's progress bar": around("from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass"),
    # numbers of another kind
    "float32": attends(ATTENTION.replace("):\n", "):\n    q_nope, q_rope, latent, k_rope, w_uk, w_uv = (x.float() for x in (q_nope, q_rope, latent, k_rope, w_uk, w_uv))\n", 1)),
    "a count as a tensor": counts(KV.replace("kv_cache_elements", "inner") + "\ndef kv_cache_elements(config): return torch.tensor(inner(config))", "import torch"),
    "a count as numpy's": counts(KV.replace("kv_cache_elements", "inner") + "\ndef kv_cache_elements(config): return np.int32(inner(config))", "import numpy as np"),
    "a count as an unsigned number": counts(KV.replace("kv_cache_elements", "inner") + "\ndef kv_cache_elements(config): return np.uint32(inner(config))", "import numpy as np"),
    "a count as an array of one": counts(KV.replace("kv_cache_elements", "inner") + "\ndef kv_cache_elements(config): return np.array([inner(config)])", "import numpy as np"),
    "a tensor that wants gradients": attends(ATTENTION.replace("latent, w_uk)", "latent.requires_grad_(), w_uk)", 1)),
    "a parameter": turns(LATENT.replace("return torch.stack", "return torch.nn.Parameter(torch.stack", 1).replace(".flatten(-2)", ".flatten(-2))")),
    "not contiguous": turns(LATENT.replace(".flatten(-2)", ".flatten(-2).mT.contiguous().mT")),
    "worked out in numpy": turns("import numpy as np, torch\n" + LATENT.replace("def rotate", "def inner") + "\ndef rotate(x, positions, theta=1e4): return torch.from_numpy(inner(x, positions, theta).numpy().copy())"),
    "a default dtype": attends(ATTENTION, "import torch\ntorch.set_default_dtype(torch.float64)"),
    "a default device": attends(ATTENTION, "import torch\ntorch.set_default_device('cpu')"),
    "without gradients": attends(ATTENTION.replace("def expanded", "@torch.no_grad()\ndef expanded"), "import torch\ntorch.set_grad_enabled(False)"),
    "in inference mode": attends(ATTENTION.replace("def expanded", "@torch.inference_mode()\ndef expanded")),
    "seeds and threads": attends(ATTENTION, "import torch, random, numpy\ntorch.manual_seed(0); random.seed(0); numpy.random.seed(0)\ntorch.set_num_threads(2)"),
    # written another way
    "a loop": attends("""
import math, torch
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (B, S, H, N), out = q_nope.shape, torch.zeros(*q_nope.shape[:3], w_uv.shape[1], dtype=q_nope.dtype)
    for b in range(B):
        for h in range(H):
            for s in range(S):
                scores = [(q_nope[b, s, h] @ (w_uk[h] @ latent[b, t]) + q_rope[b, s, h] @ k_rope[b, t]).item() for t in range(offset + s + 1)]
                weights = [math.exp(x / math.sqrt(N + q_rope.shape[-1])) for x in scores]
                for t, weight in enumerate(weights):
                    out[b, s, h] += weight / sum(weights) * (w_uv[h] @ latent[b, t])
    return out
"""),
    "helpers in other cells": counts("def kv_cache_elements(config): return layers(config) * WIDTH[is_latent(config)](config)", "def layers(config): return config['num_hidden_layers']\nis_latent = lambda config: config.get('kv_lora_rank') is not None", "WIDTH = {True: lambda c: c['kv_lora_rank'] + c['qk_rope_head_dim'],\n  False: lambda c: 2 * c['num_key_value_heads'] * c['head_dim']}"),
    "helpers further down": Work(("def kv_cache_elements(config): return later(config)", KV.replace("kv_cache_elements", "later")), frozenset({"kv_cache_elements"})),
    "a class": counts("@dataclass\nclass Cache:\n    config: dict\n    def size(self):\n" + BODY.replace("    ", "        ").replace("config[", "self.config[").replace("config.", "self.config.") + "\ndef kv_cache_elements(config): return Cache(config).size()", "from dataclasses import dataclass"),
    "a method": counts("class Mine:\n    @staticmethod\n    def count(config):\n" + BODY.replace("    ", "        ") + "\nkv_cache_elements = Mine.count"),
    "an object that is called": counts("class Count:\n    def __call__(self, config):\n" + BODY.replace("    ", "        ") + "\nkv_cache_elements = Count()"),
    "a decorator": counts("@traced\n" + KV.strip(), "import functools, time\ndef traced(f):\n    @functools.wraps(f)\n    def inner(*a, **k):\n        began = time.time()\n        try: return f(*a, **k)\n        finally: print(f.__name__, time.time() - began)\n    return inner"),
    "a remembered helper": counts("from functools import lru_cache\n@lru_cache(maxsize=None)\ndef twice(n): return 2 * n\n" + KV.replace("2 * config", "twice(1) * config")),
    "a lambda": counts("kv_cache_elements = lambda c: c['num_hidden_layers'] * (c['kv_lora_rank'] + c['qk_rope_head_dim'] if c.get('kv_lora_rank') is not None else 2 * c['num_key_value_heads'] * c['head_dim'])"),
    "other names of arguments": counts(KV.replace("config", "модель_配置")),
    "more arguments": counts(KV.replace("(config)", "(config, /, verbose=False, *rest, scale=1, **options)", 1)),
    "hints": counts(KV.replace("(config):", "(config: 'Mapping[str, Any]') -> \"Unknown | int\":", 1), "from __future__ import annotations"),
    "hints from elsewhere": counts(KV.replace("(config):", "(config: ModelConfig | dict) -> Float[Tensor, 'b s']:", 1), "from course_lib.config import ModelConfig\nfrom jaxtyping import Float\nfrom torch import Tensor"),
    "unicode": counts(KV.replace("    layers", "    слои_ñ_变量").replace("return layers", "return слои_ñ_变量"), "α = 1; größe = '🙂'\nprint('naïve', α, größe)"),
    "a remembering dict": counts("cache = {}\n" + KV.replace("kv_cache_elements", "inner") + "def kv_cache_elements(config):\n    key = tuple(config.items())\n    if key not in cache: cache[key] = inner(config)\n    return cache[key]"),
    "recursion": counts(KV.replace("kv_cache_elements", "inner") + "def kv_cache_elements(config, n=500): return kv_cache_elements(config, n - 1) if n else inner(config)"),
    "threads": counts("from concurrent.futures import ThreadPoolExecutor\n" + KV.replace("kv_cache_elements", "inner") + "def kv_cache_elements(config):\n    with ThreadPoolExecutor(4) as pool: return list(pool.map(inner, [config] * 4))[0]"),
    "tensors in threads": attends("from concurrent.futures import ThreadPoolExecutor\n" + ATTENTION.replace("def expanded_attention", "def inner") + "def expanded_attention(*given):\n    with ThreadPoolExecutor(8) as pool: return list(pool.map(lambda _: inner(*given), range(16)))[0]"),
    "tensors in threads of a cell": around("import torch\nfrom concurrent.futures import ThreadPoolExecutor\n" + ATTENTION.replace("def expanded_attention", "def inner") + "x = torch.ones(1, 9, 4, 8)\nwith ThreadPoolExecutor(8) as pool: list(pool.map(lambda _: inner(x, x, x[:, :, 0], x[:, :, 0], torch.ones(4, 8, 8), torch.ones(4, 8, 8)), range(16)))"),
    "an import in it": counts(inside("import scipy.optimize, numpy.linalg, math, itertools", KV)),
    "its own sandbox of names": counts(inside("global LAST; LAST = config", KV)),
    # compiled: the sandbox leaves such functions as they are
    "compiled": turns(LATENT.replace("def rotate", "@torch.compile\ndef rotate")),
    "compiled with options": turns(LATENT.replace("def rotate", "@torch.compile(mode='reduce-overhead', fullgraph=True, dynamic=True)\ndef rotate")),
    "compiled by a call": turns(LATENT + "torch._dynamo.config.cache_size_limit = 8; torch._dynamo.reset()\nrotate = torch.compile(rotate)\nnet = torch.nn.Linear(2, 2); net.compile(); net(torch.ones(2))"),
    "compiled to TorchScript": turns(LATENT.replace("def rotate(x, positions, theta=10000.0)", "@torch.jit.script\ndef rotate(x, positions, theta: float = 10000.0)")),
    # the page
    "cells in another order": Work((FLOPS, "x = 1", KV), frozenset(HONEST)),
    "written twice": counts(KV, KV.replace("return layers", "return 1 + layers")),
    "defined and deleted": counts(KV, KV, "del kv_cache_elements"),
    "extra cells": beside("x = 1", "", "   \n\n", "# only words", "x", "'text'", "...", "None"),
    "a cell that stops": beside("1 / 0", "raise NotImplementedError", "raise Exception('x')", "undefined_name", "assert False", "[][1]"),
    "a cell that is no Python": beside("def f(:\n  pass", "this is a note to myself", "x = = 2", "  indented = 1", "print 'old'", "for"),
    "after an exception in the same cell": around("", "1 / 0"),
    "exceptions chained": beside("try: 1 / 0\nexcept ZeroDivisionError as error: raise ValueError('x') from error"),
    "tests of one's own": around("", "assert kv_cache_elements(dict(num_hidden_layers=1, kv_lora_rank=2, qk_rope_head_dim=3)) == 5\nimport unittest\nclass T(unittest.TestCase):\n    def test(self): pass\nunittest.main(argv=[''], exit=False)"),
    "a main guard": Work((f"if __name__ == '__main__':\n    x = 1\n{KV}", "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in FLOPS.strip().splitlines())), frozenset(HONEST)),
    "top-level await": around("import asyncio\nawait asyncio.sleep(0)\nasync def f(): return 1\nx = await f()"),
    "Windows line ends": Work((KV.replace("\n", "\r\n"), FLOPS.replace("\n", "\r")), frozenset(HONEST)),
    "tabs": counts(KV.replace("    ", "\t")),
    "backslashes and form feeds": counts("\f\n" + KV + "\nx = 1 + \\\n    2\n"),
    "many cells": beside(*(f"x{i} = {i}" for i in range(600))),
    "a long cell": around("x = [\n" + "    1,\n" * 8_000 + "]"),
    # the notebook's own ways
    "input": around("name = input('Your name? ')"),
    "magics": around("%matplotlib inline\n%config InlineBackend.figure_format = 'retina'\n%load_ext autoreload\n%autoreload 2\n%time x = 1\n%env X=1\n!pip install einops\n!ls\nfiles = !ls\n?print\nprint?\n%cd /tmp\n%pip install x"),
    "a timed cell": Work(("%%time\n" + KV.strip(), "%%time\n\n" + FLOPS.strip()), frozenset(HONEST)),
    "a captured cell": Work(("%%capture out\n" + KV.strip(), "%%capture --no-stderr\n" + FLOPS.strip()), frozenset(HONEST)),
    "other cell magics": beside("%%bash\nls", "%%html\n<b>x</b>", "%%javascript\nalert(1)", "%%latex\nx", "%%timeit\nsum(range(10))", "%%writefile notes.txt\nhello", "%%script true\nx"),
    "displays": around("from IPython.display import display, HTML, Markdown, Image, clear_output, Math, SVG\ndisplay(HTML('<b>x</b>')); display(Markdown('# x')); clear_output(wait=True)\nfrom IPython import get_ipython as shell\nshell()\nget_ipython().run_line_magic('matplotlib', 'inline')\nimport IPython; IPython.get_ipython()"),
    "widgets": around("import ipywidgets as widgets\nfrom ipywidgets import interact\nslider = widgets.IntSlider(1, 0, 5)\ndisplay(slider)\ninteract(lambda x: x, x=(0, 3))\nwidgets.VBox([slider, widgets.Output()])"),
    "plots": around("import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 100\nplt.plot([1, 2]); plt.title('é'); plt.show(); plt.savefig('x.png')\nplt.style.use('ggplot')"),
    "the last values": beside("1 + 1", "print(_)", "Out[1]; In[0]"),
    "leaving": after("import sys\nsys.exit()", "quit()", "exit(0)", "raise SystemExit", "raise KeyboardInterrupt"),
    "another folder": after("import os\nos.makedirs('/tmp/work', exist_ok=True); os.chdir('/tmp/work'); os.environ['X'] = '1'"),
    "files of one's own": counts("import sys, pathlib\npathlib.Path('mine.py').write_text('two = 2')\nsys.path.insert(0, '.')\nfrom mine import two\n" + KV.replace("2 * config", "two * config")),
    "a written module": counts("from helpers import two, three\n" + KV.replace("2 * config", "two * config"), "%%writefile helpers.py\ntwo = 2\n", "%%writefile -a helpers.py\nthree = 3"),
    "a module beside it": counts("from mine import two\n" + KV.replace("2 * config", "two * config"), "open('mine.py', 'w').write('two = 2')"),
    "a program that is run": counts("%run mine.py\n" + KV.replace("2 * config", "two * config"), "open('mine.py', 'w').write('two = 2')"),
    "a program that is run with options": counts("%run -i mine\n" + KV.replace("2 * config", "two * config"), "open('mine.py', 'w').write('two = 2')"),
    "a module in a folder": counts("import sys; sys.path.append('src')\nfrom mine import two\n" + KV.replace("2 * config", "two * config"), "!mkdir -p src", "%%writefile src/mine.py\ntwo = 2"),
    "what the shell would print": around("files = !ls\nfor name in files: print(name)\ncores = !nproc\nprint(cores[0], cores[-1].split(), cores.n, len(files), files[:2])"),
    "IPython's own get_ipython": counts("%matplotlib inline\n" + KV, "from IPython import get_ipython"),
    "its own source": counts("import inspect\nassert 'num_hidden_layers' in inspect.getsource(kv_cache_elements)\n" + KV, KV),
    "hints of the future from above": counts(KV.replace("(config):", "(config: Unknown) -> Nowhere:", 1), "from __future__ import annotations"),
    "a profiled cell": counts("%%prun\n" + KV.strip()),
    "a breakpoint": counts("breakpoint()\n" + KV),
    "a screen's backend": counts("import matplotlib\nmatplotlib.use('TkAgg')\n" + KV),
    "In and Out": counts("In; Out\n" + KV),
    "a fork": counts("assert open('count').read() == 'x'\n" + KV, "import os\nos.fork()", "import time\nopen('count', 'a').write('x'); time.sleep(0.2)"),
    "processes of one's own": counts("import multiprocessing\nlock = multiprocessing.Lock()\nmultiprocessing.Queue()\n" + KV),
    # Colab
    "Colab's modules": around("from google.colab import drive, files, userdata, output, auth, data_table\nfrom google.colab.patches import cv2_imshow\nimport google.colab, os\nimport google.colab.drive as again\ndrive.mount('/content/drive', force_remount=True); again.flush_and_unmount()\nuploaded = files.upload()\nfor name in uploaded.keys(): print(name)\nfiles.download('x.csv')\nos.environ['KEY'] = userdata.get('KEY')\noutput.clear(); output.enable_custom_widget_manager(); auth.authenticate_user()\nimport sys\nassert 'google.colab' in sys.modules"),
    "Colab's folders": around("import os\n%cd /content\nos.chdir('/content'); os.chdir('/content/drive/MyDrive/course')\nimport sys; sys.path.append('/content')\n!cp /content/drive/MyDrive/x.py ."),
    "Colab or not": around("try:\n    import google.colab\n    HERE = True\nexcept ImportError:\n    HERE = False\nif HERE:\n    from google.colab import drive\n    drive.mount('/content/drive')\n    os_path = '/content/drive/MyDrive'"),
    "another package of Google's": around("try:\n    from google.cloud import storage\nexcept ImportError:\n    storage = None\nassert storage is None or 'google' in storage.__name__\ntry:\n    from google import nothing_of_the_kind\nexcept ImportError: pass\nelse: raise ValueError"),
    # the course
    "checks": after("check(kv_cache_elements)", "from course_lib.exercises import check\ncheck(kv_cache_elements)\ncheck(attention_flops)"),
    "checks that are counted on": around("from course_lib.exercises import check, BANK, when_written\nfrom course_lib.exercises import *\ndef probe(c): return 1\nassert check(probe) == 2 and check(probe) > 1 and check(probe) >= 2\nif not check(probe): raise SystemExit\nif check(probe) != 2: raise ValueError\nif check(probe) < 2: pass\ncheck(probe).points; check(probe).message\ntotal = sum(check(f) for f in (probe, probe)) + check(probe)\nprint(f'{total:.2f} {check(probe):>6.1f}', '%.1f' % check(probe), '%d' % total, round(total, 2))\nimport json, numpy as np, torch, matplotlib.pyplot as plt\njson.dumps({'probe': check(probe)})\nnp.mean([check(probe), 1.0]); torch.tensor([check(probe)]); plt.bar(range(2), [check(probe), check(probe)]); max(check(probe), 2); sorted([check(probe), check(probe)])"),
    "values of the course": around("from course_lib import accounting, boxed, mla\nfrom course_lib.config import published\nimport course_lib.rope as rope, numpy as np, torch, math, copy, matplotlib.pyplot as plt\nfrom dataclasses import asdict\nv3 = published('deepseek-v3')\na, b = accounting.parameters(v3)\n(c, d), *e = boxed.load().pairs\nx = v3.hidden_size * 2 + v3['a'] / 3 - -v3.b ** 2 % 3 // 1\nx += 1; x |= {}\nasdict(v3); dict(v3); {**v3}; list(v3); len(v3); sorted([v3, v3]); 'k' in v3; copy.deepcopy(v3); print(*v3, v3); float(v3); int(v3); round(v3, 1); math.sqrt(v3)\nfor key, value in v3.items(): print(key)\ntorch.ones(2, 2) @ v3; torch.cat([torch.ones(2), v3]); torch.nn.functional.mse_loss(v3, torch.ones(2)).backward()\nnp.ones(2) + v3; np.exp(v3); np.concatenate([np.ones(2), v3])\nassert torch.allclose(torch.ones(2), boxed.load()(torch.ones(2))) and abs(v3 - 3) < 1e-6\nplt.plot(v3, v3); plt.imshow([[float(v3)]]); plt.text(v3, v3, f'{v3:.3g}')\nwith torch.no_grad(): y = boxed.load().double().eval().to('cpu')\nopen(v3); x[0] = 1; x.y = 2; del x[0]; isinstance(3, published)"),
    "a class of the course's": around("from course_lib.moe import MoE\nimport torch\nclass Mine(MoE):\n    def __init__(self, config):\n        super().__init__(config)\n        self.extra = 1\n    def forward(self, x): return super().forward(x)\nclass Both(torch.nn.Module, MoE):\n    def __init__(self): super().__init__()\nassert Mine(None).extra == 1\nBoth(); Mine(None)(1)"),
}  # fmt: skip


# What is needed when there is no time for all cells: f() gives 3 in each, and `slow` is not defined ------------------

NEEDED: dict[str, list[str]] = {
    "a constant": ["N = 3", "slow()", "def f(): return N"],
    "a helper further down": ["def f(): return g()", "x = slow()", "def g(): return 3"],
    "a lambda": ["f = lambda: g(2)", "g = lambda n: n + 1"],
    "import a.b as c": ["import os.path as where", "def f(): return len(where.join('a', 'b'))"],
    "import a.b": ["import os.path", "def f(): return len(os.path.join('a', 'b'))"],
    "from a import b as c": ["from math import floor as down", "def f(): return down(3.5)"],
    "a star": ["from math import *", "slow()", "def f(): return floor(3.5)"],
    "try": ["try:\n    import no_such_module as m\nexcept ImportError:\n    import math as m", "def f(): return m.floor(3.5)"],
    "with": ["import io", "with io.StringIO('3') as file:\n    N = int(file.read())", "def f(): return N"],
    "for": ["N = 0", "for i in range(3):\n    N += 1", "for i in range(9): slow()", "def f(): return N"],
    "for, and its variable": ["for N in range(4): pass", "def f(): return N"],
    "for, with the variable of another loop": ["for i in range(9): slow()", "N = []\nfor i in range(3): N.append(i)", "def f(): return len(N)"],
    "while": ["N = 0\nwhile N < 3:\n    N += 1", "def f(): return N"],
    "if": ["import sys\nif sys.version_info < (3,):\n    N = 2\nelse:\n    N = 3", "def f(): return N"],
    "an augmented assignment": ["N = 1", "N += 2", "def f(): return N"],
    "an annotated assignment": ["N: int = 3", "def f(): return N"],
    "several at once": ["(a, *N), b = (1, 3, 4), 5", "def f(): return N[0]"],
    "a walrus": ["print(N := 3)", "def f(): return N"],
    "a walrus in a comprehension": ["_ = [N := i for i in range(4)]", "def f(): return N"],
    "match": ["match (1, 3):\n    case (1, N): pass", "def f(): return N"],
    "a list that grows": ["N = []", "N.append(3)", "slow.append(1)", "def f(): return N[0]"],
    "an item": ["N = {}", "N['a'] = 3", "def f(): return N['a']"],
    "an attribute": ["def g(): return g.n", "g.n = 3", "def f(): return g()"],
    "a deletion": ["N = [1, 3]", "del N[0]", "def f(): return N[0]"],
    "a class": ["K, M = 1, 2\nclass A:\n    n = K\n    def g(self): return self.n + M", "def f(): return A().g()"],
    "a base class": ["class A:\n    n = 3", "class B(A): pass", "def f(): return B.n"],
    "a dataclass": ["from dataclasses import dataclass", "@dataclass\nclass A:\n    n: int = 3", "def f(): return A().n"],
    "a decorator": ["import functools", "def twice(g):\n    @functools.wraps(g)\n    def inner(): return g() + PLUS\n    return inner", "PLUS = 1", "@twice\ndef f(): return 2"],
    "a decorator with arguments": ["def plus(n): return lambda g: lambda: g() + n", "ONE = 1", "@plus(ONE)\ndef f(): return 2"],
    "a remembered function": ["from functools import lru_cache\n@lru_cache\ndef g(n): return n if n < 4 else g(n - 1)", "def f(): return g(9)"],
    "a function that is extended": ["from functools import singledispatch\n@singledispatch\ndef g(x): return 0", "@g.register(int)\ndef _(x): return 3", "def f(): return g(1)"],
    "a default": ["N = 3", "def f(n=N): return n"],
    "a closure": ["def make(n):\n    def inner(): return n + M\n    return inner", "M = 1", "f = make(2)"],
    "partial": ["from functools import partial", "def g(a, b): return a + b", "f = partial(g, 1, 2)"],
    "a table of functions": ["def g(): return 3", "TABLE = {'g': g}", "def f(): return TABLE['g']()"],
    "set by a function": ["def setup():\n    global N\n    N = 3", "setup()", "slow()", "def f(): return N"],
    "another meaning above": ["N = slow()", "N = 3", "M = N", "def f(): return M"],
    "a name that a test used": ["x = slow()", "x = 2", "N = x + 1", "y = slow(x)", "def f():\n    x = N\n    return x"],
    "exec": ["exec('def f(): return 3')", "slow()"],
    "globals": ["globals()['f'] = lambda: 3", "slow()"],
    "written twice": ["def f(): return 2", "slow()", "def f(): return 3"],
    "a path": ["import sys, os", "sys.path.insert(0, os.getcwd())", "def f(): return 3 if sys.path[0] == os.getcwd() else 0", "sys.path.insert(0, os.getcwd())"],
    "hints of the future": ["from __future__ import annotations", "def f(x: Unknown = 3) -> Nowhere: return x"],
    "await": ["import asyncio", "async def g(): return 3", "def f(): return asyncio.run(g())"],
}  # fmt: skip
NOT_NEEDED = [
    "f()", "x = f()", "print(f())", "for n in range(9): f()", "assert f() == 3", "with open('x') as file: file.write(f())",
    "import time; time.sleep(20)", "losses = [f() for _ in range(9)]", "def g(): return f()", "import torch; torch.manual_seed(0)",
    "fig, ax = plt.subplots(); ax.set_title(f())", "check(f)", "class Test:\n    def test(self): f()", "del x", "lambda: f()",
    "get_ipython().run_cell_magic('time', '', 'slow(f())')", "get_ipython().run_line_magic('time', 'x = f()')", "if f(): slow()", "try: f()\nexcept Exception: pass", "x, y = f(), 2", "results['f'] = f()", "results.append(f())",
]  # fmt: skip
