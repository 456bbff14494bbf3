"""Notebooks that nobody should have to trust: two honest functions of hw1_mla, then cells that attack, and which of the
two deserves its points all the same."""

from dataclasses import dataclass

HONEST = {
    "kv_cache_elements": """
def kv_cache_elements(config):
    layers = config["num_hidden_layers"]
    if config.get("kv_lora_rank") is not None:
        return layers * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    return layers * 2 * config["num_key_value_heads"] * config["head_dim"]
""",
    "attention_flops": """
def attention_flops(config, query_tokens, key_tokens, absorb):
    s, t, h, c = query_tokens, key_tokens, config["num_attention_heads"], config["kv_lora_rank"]
    n, r, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    if absorb:
        return 2 * (s * h * n * c + s * t * h * (c + r) + s * t * h * c + s * h * c * v)
    return 2 * (t * c * h * (n + v) + s * t * h * (n + r) + s * t * h * v)
""",
}
BOTH, FIRST = {"kv_cache_elements", "attention_flops"}, {"kv_cache_elements"}

TRAP = "def attention_flops(config, query_tokens, key_tokens, absorb):\n"  # what it does when it is called


@dataclass(frozen=True)
class Attack:
    cells: tuple[str, ...]  # run after the honest ones
    deserves: frozenset[str] = frozenset(BOTH)
    certain: bool = True  # or else it may also lose what it deserves


def in_a_cell(*cells: str) -> Attack:
    """Whatever the cells do to themselves, the functions stay right."""
    return Attack(tuple(cells))


def ruinous(*cells: str) -> Attack:
    """They leave nothing to work with: the functions may be lost too."""
    return Attack(tuple(cells), certain=False)


def in_a_call(body: str, *cells: str) -> Attack:
    """attention_flops does it, and loses its points; the other function keeps its own."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return Attack((*cells, TRAP + lines), frozenset(FIRST))


FORGED = """
import os, struct, json
reply = json.dumps({"dict": [["answer", {"int": "0x1"}], ["id", {"int": "0x2"}], ["changed", {"list": []}]]}).encode()
frame = struct.pack("<II", len(reply), 0) + reply
for fd in range(3, 256):
    try:
        os.write(fd, frame)
    except OSError:
        pass
"""

ATTACKS: dict[str, Attack] = {
    # time
    "a loop": in_a_cell("while True: pass"),
    "a loop deaf to interrupts": in_a_cell(
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "a loop in a call": in_a_call("while True: pass"),
    "sleep in a call": in_a_call("import time; time.sleep(1e6)"),
    "a slow drip of bytes": in_a_call(
        "import os, time\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, b'\\0')\n        except OSError: pass\n    time.sleep(0.3)"
    ),
    # ends
    "exit": in_a_cell("import sys; sys.exit(0)", "exit()", "quit()", "raise SystemExit"),
    "an interrupt": in_a_cell("raise KeyboardInterrupt"),
    "the process ended": in_a_cell("import os; os._exit(0)"),
    "the process ended in a call": in_a_call("import os; os._exit(0)"),
    "itself killed": in_a_cell("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    "its parent killed": in_a_call("import os, signal; os.kill(os.getppid(), signal.SIGKILL); return 1"),
    "everybody killed": in_a_call("import os, signal; os.kill(-1, signal.SIGKILL); return 1"),
    "a crash": in_a_call("import ctypes; ctypes.string_at(0)"),
    "a recursion": in_a_call("import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nreturn f()"),
    # floods
    "forks": ruinous("import os\nwhile True:\n    try: os.fork()\n    except OSError: break"),
    "forks in a call": in_a_call("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
    "memory": in_a_cell("x = bytearray(1 << 44)"),
    "memory by and by": in_a_call("x = []\nwhile True: x.append(bytearray(b'x') * (64 << 20))"),
    "memory of a tensor": in_a_call("import torch; return torch.ones(1 << 40)"),
    "output": in_a_cell("for _ in range(2000): print('x' * 100_000)"),
    "disk": in_a_cell(
        "for n in range(10_000):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(b'x' * (20 << 20))",
        "open('/tmp/big', 'wb').truncate(1 << 40)",
    ),
    "shared memory": in_a_cell("open('/dev/shm/x', 'wb').write(b'x' * (1 << 30))"),
    "threads": ruinous(
        "import threading, time\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(1e6,)).start()"
    ),
    # what is patched
    "builtins patched": in_a_cell("import builtins\nbuiltins.print = builtins.repr = builtins.isinstance = None"),
    "torch patched": in_a_call(
        "return 1",
        "import torch\ntorch.equal = torch.allclose = lambda *a, **k: True\ntorch.Tensor.__eq__ = lambda *a: True",
    ),
    "the wire patched": in_a_call(
        "return 1", "import sys\nwire = sys.modules['wire']\nwire.send = lambda channel, message: None"
    ),
    "json patched": in_a_call("return 1", "import json\njson.dumps = lambda *a, **k: '{}'"),
    "an assertion that always holds": in_a_call("return 1", "class AssertionError(Exception): pass\n__debug__"),
    "a check of its own": in_a_call("return 1", "def check(fn): return 20.0\ncheck(attention_flops)"),
    # answers
    "always equal": in_a_call(
        "class Yes(int):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n    __hash__ = None\nreturn Yes(3)"
    ),
    "equal, and no number": in_a_call("class Yes:\n    def __eq__(self, other): return True\nreturn Yes()"),
    "not a number": in_a_call("return float('nan')"),
    "infinite": in_a_call("return float('inf')"),
    "a huge number": in_a_call("return 10 ** 100_000"),
    "a huge text": in_a_call("return 'x' * 500_000_000"),
    "deeply nested": in_a_call("x = []\nfor _ in range(100_000): x = [x]\nreturn x"),
    "a list that holds itself": in_a_call("x = []; x.append(x); return x"),
    "a function": in_a_call("return lambda: 1"),
    "a generator": in_a_call("yield 1"),
    "an array of objects": in_a_call("import numpy as np; return np.array([print], dtype=object)"),
    "nothing": in_a_call("return None"),
    "its inputs changed": in_a_call("config['num_attention_heads'] += 1; return 1"),
    # looking for answers
    "frames searched": in_a_call(
        "import sys, gc\nframe = sys._getframe()\nwhile frame:\n    for value in frame.f_locals.values():\n"
        "        if hasattr(value, 'reference'): return value.reference(config, query_tokens, key_tokens, absorb)\n    frame = frame.f_back\n"
        "for value in gc.get_objects():\n    if type(value).__name__ == 'Exercise': return value.reference(config, query_tokens, key_tokens, absorb)\nreturn 1"
    ),
    "the course asked": in_a_call(
        "from course_lib import accounting\nfrom course_lib.exercises import BANK\n"
        "return BANK['hw1_mla']['attention_flops'].reference(config, query_tokens, key_tokens, absorb)"
    ),
    "the course found on disk": in_a_call(
        "import pathlib, runpy\nfor place in ('/', '/root', '/home', '/work'):\n    for path in pathlib.Path(place).rglob('hw1_counts.py'):\n"
        "        return runpy.run_path(str(path))['attention_flops'](config, query_tokens, key_tokens, absorb)\nreturn 1"
    ),
    "replies forged in a cell": in_a_cell(FORGED),
    "replies forged in a call": in_a_call(FORGED + "return 1"),
    "replies forged later": in_a_call(
        "return 1",
        "import threading, time\ndef later():\n    for _ in range(50):\n        time.sleep(0.05)\n"
        + "".join(f"        {line}\n" for line in FORGED.strip().splitlines())
        + "threading.Thread(target=later, daemon=True).start()",
    ),
    # tricks with the page
    "names cleared": in_a_cell("keep = dict(globals())", "globals().pop('nothing', None); globals().update(keep)"),
    "a worse one further down": in_a_call("return 1"),
    "a better one further down": Attack((TRAP + "    return 1", HONEST["attention_flops"])),
    "shadowing files": in_a_cell(
        "import sys\nfor name in ('torch', 'json', 'wire', 'numpy'):\n    open(f'/tmp/{name}.py', 'w').write('raise SystemExit')\nsys.path.insert(0, '/tmp')"
    ),
    "limits raised": in_a_cell("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"),
    "namespaces of its own": in_a_cell(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.unshare(0x10020000)\nlibc.umount2(b'/proc', 2); libc.umount2(b'/tmp', 2)"
    ),
    "a daemon that stays": in_a_cell(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: time.sleep(0.1)\n    os._exit(0)"
    ),
    "text that is no Python": in_a_cell("def (", "\tx = 1\n  y", "\x00", "é = 1; 变量 = 2", "%%bash\nrm -rf /"),
}
