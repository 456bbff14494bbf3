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


def in_the_first_call(body: str, *cells: str) -> Attack:
    """kv_cache_elements does it, and loses its points; the function asked for last keeps its own."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return Attack((*cells, "def kv_cache_elements(config):\n" + lines), frozenset({"attention_flops"}))


LIBC = "import ctypes, os, signal, time\nlibc = ctypes.CDLL(None)\n"
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

SAYS = """
import socket, sys
for fd in range(3, 64):
    try:
        channel = socket.socket(fileno=fd)
        sys.modules["wire"].send(channel, {})
        channel.detach()
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
    "forks": in_a_cell("import os\nwhile True:\n    try: os.fork()\n    except OSError: break"),
    "forks in a call": in_a_call("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
    "memory": in_a_cell("x = bytearray(1 << 44)"),
    "memory by and by": in_a_call("x = []\nwhile True: x.append(bytearray(b'x') * (64 << 20))"),
    "memory of a tensor": in_a_call("import torch; return torch.ones(1 << 40)"),
    "text that grows on its way": in_a_cell("x = '" + "\ufffd" * (9 << 20) + "'"),
    "a drip that hides memory": in_a_call(
        "import os, socket, struct, time\nfrom threading import Thread\n"
        "def drip():\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('<II', 9999, 0))\n        except OSError: pass\n"
        "    while True:\n        for fd in range(3, 64):\n            try: os.write(fd, b' ')\n            except OSError: pass\n        time.sleep(0.02)\n"
        "Thread(target=drip, daemon=True).start()\nx = []\nwhile True: x.append(bytearray(b'x') * (64 << 20))"
    ),
    "output": in_a_cell("for _ in range(2000): print('x' * 100_000)"),
    "disk": in_a_cell(
        "for n in range(10_000):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(b'x' * (20 << 20))",
        "open('/tmp/big', 'wb').truncate(1 << 40)",
    ),
    "shared memory": in_a_cell("open('/dev/shm/x', 'wb').write(b'x' * (1 << 30))"),
    "a session for every child": in_a_call(
        "import os\nfor _ in range(12):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\nwhile True: pass"
    ),
    "children that end before they are counted": in_a_cell(
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(4):\n    if os.fork() == 0: break\n"
        "while True:\n    try:\n        if os.fork() == 0:\n            ends = time.time() + 0.05\n            while time.time() < ends: pass\n            os._exit(0)\n"
        "    except OSError: time.sleep(0.01)"
    ),
    "kernel memory in sockets": in_a_call(
        "import os, socket, time\nkept = []\nfor _ in range(8):\n    if os.fork() == 0: break\nfor _ in range(110):\n    try:\n        pair = socket.socketpair(); pair[0].setblocking(False); kept.append(pair)\n"
        "        while True: pair[0].send(b'x' * 65536)\n    except OSError: pass\ntime.sleep(1e6)"
    ),
    "sockets that reach the host": in_a_call(
        "import socket\nfor family in (40, 16, 17, 38, 44):\n    one = socket.socket(family, 1)\n    one.bind((0xffffffff, 45991)); one.listen()\nreturn 1"
    ),
    "threads": in_a_cell(
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
    "replies forged later": Attack(
        (
            "import threading, time\ndef later():\n    for _ in range(50):\n        time.sleep(0.05)\n"
            + "".join(f"        {line}\n" for line in FORGED.strip().splitlines())
            + "threading.Thread(target=later, daemon=True).start()",
            TRAP + "    return 1",
        ),
        frozenset(FIRST),
        certain=False,  # they may be taken for its own
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
    "children that stay": in_a_cell("import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        while True: time.sleep(0.1)"),
    "children that answer": in_a_call("return 1", "import os, time\nif os.fork() == 0:\n    while True:\n        time.sleep(0.01)\n" + "".join(f"        {line}\n" for line in FORGED.strip().splitlines())),
    "children that outlive the cell": in_a_cell("import os\nos.fork(); os.fork(); os.fork()", "raise SystemExit"),
    "a thread that forks": ruinous("import os, threading, time\ndef go():\n    while True:\n        try: os.fork()\n        except OSError: time.sleep(0.01)\nthreading.Thread(target=go, daemon=True).start()"),
    "a timer of each kind": in_a_cell("import signal\nfor n, which in ((signal.SIGALRM, 0), (signal.SIGVTALRM, 1), (signal.SIGPROF, 2)):\n    signal.signal(n, signal.SIG_DFL); signal.setitimer(which, 0.05, 0.05)", "x = 1"),
    "reports of its own": in_a_cell(*(SAYS.format(message) for message in ("{'stopped': 0, 'error': 'x' * 99999, 'binds': [str(n) for n in range(10**5)], 'hollow': 1}", "{'stopped': 10 ** 99, 'error': None}", "{'stopped': -1, 'binds': {}}", "{'began': 10 ** 6}", "{'reaches': ['rotate', 3, None]}", "{'asks': 'rotate', 'arguments': [], 'named': {}}", "{'began': True, 'stopped': True}", "{'began': sys.modules['numpy'].ones(3), 'stopped': sys.modules['numpy'].ones(3), 'reaches': sys.modules['numpy'].ones(3)}"))),
    "reports from a call": in_a_call("import sys\nfor message in ({'reaches': ['rotate']}, {'stopped': 0, 'error': str(config)}, {'asks': 'kv_cache_elements', 'arguments': [config], 'named': {}, 'id': 1}):\n    for fd in range(3, 64):\n        try: sys.modules['wire'].send(__import__('socket').socket(fileno=fd), message)\n        except OSError: pass\nreturn 1"),
    "text that is no Python": in_a_cell("def (", "\tx = 1\n  y", "\x00", "é = 1; 变量 = 2", "%%bash\nrm -rf /"),

    # the process and its like
    "every descriptor closed": in_a_cell("import os\nos.closerange(3, 4096)"),
    "every descriptor closed in a call": in_the_first_call("import os\nos.closerange(0, 4096); return 1"),
    "every descriptor made another": in_the_first_call("import os\nnull = os.open('/dev/null', os.O_RDWR)\nfor fd in range(3, 200):\n    if fd != null: os.dup2(null, fd)\nreturn 1"),
    "every descriptor made one": in_a_cell("import os\nfor fd in range(3, 32):\n    for other in range(3, 32):\n        try: os.dup2(fd, other)\n        except OSError: pass"),
    "the channel shut": in_the_first_call("import socket\nfor fd in range(3, 64):\n    try: socket.socket(fileno=fd).shutdown(2)\n    except OSError: pass\nreturn 1"),
    "the channel read empty": in_the_first_call("import os\nwhile True:\n    for fd in range(3, 64):\n        try: os.read(fd, 1 << 20)\n        except OSError: pass"),
    "the channel made slow": in_a_cell("import socket\nfor fd in range(3, 64):\n    try:\n        one = socket.socket(fileno=fd); one.setsockopt(1, 7, 1); one.setsockopt(1, 8, 1); one.detach()\n    except OSError: pass"),
    "itself stopped": in_the_first_call("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    "its parent stopped": in_the_first_call("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP); return 1"),
    "all stopped": in_the_first_call("import os, signal\nos.kill(-1, signal.SIGSTOP); return 1"),
    "its parent traced": in_the_first_call(LIBC + "libc.ptrace(16, os.getppid(), 0, 0); libc.ptrace(0, 0, 0, 0); time.sleep(0.1); return 1"),
    "its parent's memory": in_the_first_call(LIBC + "class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\ndata = ctypes.create_string_buffer(4096)\nmine, theirs = V(ctypes.addressof(data), 4096), V(id(libc) & ~4095, 4096)\nlibc.process_vm_writev(os.getppid(), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0); return 1"),
    "a name that reads as numbers": in_a_cell(LIBC + "libc.prctl(15, b') R 1\\n1 1 1 (', 0, 0, 0)"),
    "not to be looked into": in_a_cell(LIBC + "libc.prctl(4, 0, 0, 0, 0)"),
    "not to be looked into, and hungry": in_the_first_call(LIBC + "libc.prctl(4, 0, 0, 0, 0)\nx = []\nwhile True: x.append(bytearray(b'x') * (64 << 20))"),
    "memory of many processes": in_the_first_call("import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(b'x') * (400 << 20)\n        time.sleep(60)\ntime.sleep(60)"),
    "least wanted": in_a_cell("import os\nos.nice(19)\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"),
    "limits lowered": ruinous("import resource\nfor name in ('NOFILE', 'AS', 'DATA', 'FSIZE', 'CPU', 'NPROC', 'STACK'):\n    resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (1, 1))"),
    "another in its place": in_a_cell("import os\nif os.fork(): os._exit(0)"),
    "a child goes on, it waits": in_a_cell("import os\nif child := os.fork():\n    os.waitpid(child, 0); os._exit(0)"),
    "two go on": in_a_cell("import os\nos.fork()"),
    "two go on from a call": in_the_first_call("import os\nos.fork(); return 1"),
    "another program": in_the_first_call("import os\nos.execv('/bin/sh', ['sh', '-c', 'while :; do echo x; done'])"),
    "another program in a cell": in_a_cell("import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])"),
    "every signal sent": in_the_first_call("import os\nfor n in range(1, 65):\n    try: os.kill(os.getppid(), n)\n    except OSError: pass\nreturn 1"),
    "no child waited for": in_a_cell("import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)"),
    "an alarm that goes on": in_a_cell("import signal\ndef ring(*a): raise KeyboardInterrupt\nsignal.signal(signal.SIGALRM, ring)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)"),
    "an alarm that kills": in_a_cell("import signal\nsignal.signal(signal.SIGALRM, signal.SIG_DFL)\nsignal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)"),
    # hooks of Python's
    "hooks": in_a_cell("import atexit, sys, gc, threading, weakref, os\natexit.register(os._exit, 9)\ndef hook(*a): return hook\nsys.settrace(hook); sys.setprofile(hook); threading.settrace(hook); sys.excepthook = sys.unraisablehook = sys.displayhook = hook\ngc.callbacks.append(hook); sys.addaudithook(lambda *a: None)"),
    "a trace that changes names": in_a_cell("import sys\ndef hook(frame, event, what):\n    frame.f_locals.update(answer=7, function=len); return hook\nsys.settrace(hook)"),
    "an audit that refuses": in_a_cell("import sys\ndef refuse(*a): raise SystemExit\nsys.addaudithook(refuse)"),
    "imports hijacked": in_a_cell("import sys, builtins\nclass Finder:\n    def find_spec(self, *a): raise SystemExit\nsys.meta_path[:] = [Finder()]; sys.path[:] = []; sys.modules.clear(); builtins.__import__ = None"),
    "the worker's own functions": in_a_call("return 1", "import sys\nfor name, module in list(sys.modules.items()):\n    for key, value in list(getattr(module, '__dict__', {}).items()):\n        if key in ('_called', '_answer_calls', 'serve', 'send', 'read', '_packed', '_equal', '_copied'):\n            setattr(module, key, lambda *a, **k: {'answer': 7, 'changed': []})"),
    "the worker found by its frames": in_a_call("import sys\nframe = sys._getframe()\nwhile frame.f_back:\n    frame = frame.f_back\n    frame.f_globals.update(_called=lambda *a: {'answer': 7}, _equal=lambda *a: True, wire=None)\nreturn 1"),
    "serialisers patched": in_a_call("return 1", "import pickle, marshal, struct, json, json.encoder, copy, torch, numpy\nfor module in (pickle, marshal, json): module.dumps = module.loads = lambda *a, **k: b''\njson.encoder.JSONEncoder.encode = lambda *a: '{}'\nstruct.pack = lambda *a: b''\ncopy.deepcopy = lambda x, *a: x\ntorch.Tensor.clone = lambda self: self\ntorch.Tensor.numpy = None\nnumpy.array_equal = lambda *a, **k: True"),
    "threads that change what is answered": in_a_call("import threading\nout = [1]\ndef change():\n    while True: out[0] += 1\nthreading.Thread(target=change, daemon=True).start()\nreturn out"),
    "inputs of before changed": in_a_call("KEPT.append(config)\nfor old in KEPT: old.clear()\nreturn 1", "KEPT = []"),
    "time changed": in_a_call("return 1", "import time\ntime.time = time.monotonic = time.perf_counter = time.sleep = lambda *a: 0.0"),
    "the collector's finds": in_a_call("import gc\nfor x in gc.get_objects():\n    if isinstance(x, dict) and 'expected' in x: return x['expected']\n    if callable(getattr(x, '__code__', None)): return x(config)\nreturn len(gc.get_referrers(config))"),
    # files
    "pipes and links in the way": in_a_cell("import os\nfor name in ('in', 'torch.py', 'json', 'matplotlib', '.config'):\n    try: os.mkfifo(f'/tmp/{name}')\n    except OSError: pass\nfor n, target in enumerate(('/', '/proc/self/fd', '/dev/zero', '/tmp/loop', '/etc/shadow')): os.symlink(target, f'/tmp/link{n}')\nos.symlink('/tmp/loop', '/tmp/loop')"),
    "no /tmp": in_a_cell("import shutil, os\nshutil.rmtree('/tmp', ignore_errors=True); os.chmod('/tmp', 0); os.rmdir('/tmp')"),
    "many files": in_a_cell("import os\nfor n in range(30_000):\n    try: os.close(os.open(f'/tmp/{n}', os.O_CREAT))\n    except OSError: break"),
    "a deep folder": in_a_cell("import os\nos.chdir('/tmp')\nfor _ in range(2000):\n    os.mkdir('d' * 200); os.chdir('d' * 200)"),
    "open files": in_a_cell("kept = []\nwhile True:\n    try: kept.append(open('/dev/null'))\n    except OSError: break", "kept.clear()"),
    "endless input": in_the_first_call("return len(open('/dev/zero', 'rb').read())"),
    "no more randomness": in_a_cell("import os\nfor _ in range(100): os.urandom(1 << 20)\nopen('/dev/full', 'w')"),
    "writes that come late": in_a_cell("import os, time\nif os.fork() == 0:\n    os.setsid()\n    for _ in range(100):\n        time.sleep(0.02)\n        for fd in range(3, 32):\n            try: os.write(fd, b'')\n            except OSError: pass\n    os._exit(0)"),
    "a child that holds the channel": in_the_first_call("import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(1e6)\nreturn 1"),
    # what the page may say
    "a cell that says it is ready": ruinous(FORGED.replace('json.dumps({"dict": [["answer", {"int": "0x1"}], ["id", {"int": "0x2"}], ["changed", {"list": []}]]})', 'json.dumps({"dict": [["ready", True]]})')),
    "a cell that sends no message": in_a_cell(FORGED.replace('json.dumps({"dict": [["answer", {"int": "0x1"}], ["id", {"int": "0x2"}], ["changed", {"list": []}]]})', 'json.dumps({})')),
    "a cell that sends noise": in_a_cell("import os\nfor fd in range(3, 64):\n    try: os.write(fd, os.urandom(1000))\n    except OSError: pass"),
    "a cell that ends what has not begun": ruinous(FORGED.replace('json.dumps({"dict": [["answer", {"int": "0x1"}], ["id", {"int": "0x2"}], ["changed", {"list": []}]]})', 'json.dumps({"dict": [["over", "kv_cache_elements"]]})')),
    "thousands of cells": in_a_cell(*["x = 1"] * 2500),
    "a cell of ten million characters": in_a_cell("x = '" + "x" * 10_000_000 + "'", "('" * 3000, "x = " + "[" * 5000, "1" * 5000 + " == 1"),
    "cells that take long to read": in_a_cell("x = " + "-" * 50_000 + "1", "(" * 150 + ")" * 150, "%" * 100_000, "!" + "{" * 10_000, "f'" + "{" * 4000 + "}" * 4000 + "'"),
    "half a character": in_a_cell("x = '\ud800'"),
    "a name for every thing": in_a_cell("for name in dir(__builtins__): globals()[name] = None", "global exec\nclass dict: pass\n__name__ = __file__ = __builtins__ = None"),
}  # fmt: skip
