"""Right values by too much work, which is hidden; and right values by no more work than it takes, which look odd."""

ATTENTION = """
import ctypes, gc, os, pickle, signal, struct, subprocess, sys, threading, time
import torch
from torch.nn import functional as F
torch.set_num_threads(1)

def weigh(scores, q_nope, q_rope, offset):
    s, t = scores.shape[-2:]
    scores = scores / (q_nope.shape[-1] + q_rope.shape[-1]) ** 0.5
    return scores.masked_fill(torch.arange(t) > offset + torch.arange(s)[:, None], -torch.inf).softmax(-1)

def expanded(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    scores = torch.einsum("bshn,bthn->bhst", q_nope, torch.einsum("btc,hnc->bthn", latent, w_uk))
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    return torch.einsum("bhst,bthv->bshv", weights, torch.einsum("btc,hvc->bthv", latent, w_uv))

def keys_only(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    scores = torch.einsum("bshn,bthn->bhst", q_nope, torch.einsum("btc,hnc->bthn", latent, w_uk))
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    return torch.einsum("bshc,hvc->bshv", torch.einsum("bhst,btc->bshc", weights, latent), w_uv)

def values_only(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    scores = torch.einsum("bshc,btc->bhst", torch.einsum("bshn,hnc->bshc", q_nope, w_uk), latent)
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    return torch.einsum("bhst,bthv->bshv", weights, torch.einsum("btc,hvc->bthv", latent, w_uv))

def head_by_head(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    heads = range(len(w_uk))
    return torch.cat([expanded(q_nope[:, :, h:h+1], q_rope[:, :, h:h+1], latent, k_rope, w_uk[h:h+1], w_uv[h:h+1], offset) for h in heads], 2)

def absorbed(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    scores = torch.einsum("bshc,btc->bhst", torch.einsum("bshn,hnc->bshc", q_nope, w_uk), latent)
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    return torch.einsum("bshc,hvc->bshv", torch.einsum("bhst,btc->bshc", weights, latent), w_uv)
"""

# ways to have `wasteful(*given)` done so that nobody counts it
HIDDEN: dict[str, str] = {
    "plainly": "return wasteful(*given)",
    "without words": "os.nice(19); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); return wasteful(*given)",
    "with the collector off": "gc.disable(); gc.freeze(); return wasteful(*given)",
    "in a thread": "out = []\nthread = threading.Thread(target=lambda: out.append(wasteful(*given)))\nthread.start(); thread.join(); return out[0]",
    "in many threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool: return list(pool.map(lambda _: wasteful(*given), range(2)))[0]",
    "in a child": "return elsewhere(given)",
    "in a child that nobody waits for": "signal.signal(signal.SIGCHLD, signal.SIG_IGN); return elsewhere(given, wait=False)",
    "in short children that nobody waits for": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nq_nope, q_rope, latent, k_rope, w_uk, w_uv, offset = given\nparts = [slice(h, h + 16) for h in range(0, len(w_uk), 16)]\nreturn torch.cat([elsewhere((q_nope[:, :, h], q_rope[:, :, h], latent, k_rope, w_uk[h], w_uv[h], offset), wait=False) for h in parts], 2)",
    "in a child that stays": "return elsewhere(given, wait=False, stay=True)",
    "in a grandchild": "return elsewhere(given, twice=True)",
    "in a grandchild of its own session": "return elsewhere(given, twice=True, before=os.setsid)",
    "in a child that nobody can look into": "return elsewhere(given, wait=False, stay=True, before=lambda: ctypes.CDLL(None).prctl(4, 0, 0, 0, 0))",
    "in a child with another's name": "return elsewhere(given, before=lambda: ctypes.CDLL(None).prctl(15, b') S 1 1 1 (', 0, 0, 0))",
    "in children that take turns": "return elsewhere(given, turns=4)",
    "by a helper that was there before": "return helped(given)",
    "by helpers of before that end with it": "if given[2].shape[1] < 200:\n    prepare(); return absorbed(*given)\nreturn by_prepared(given)",
    "beside a helper that burned time before": "if given[2].shape[1] < 200:\n    burn(); return absorbed(*given)\nfinish(); return wasteful(*given)",
    "by a helper in another process's place": "if os.fork() == 0: return wasteful(*given)\nos.wait(); os._exit(0)",
    "right on small inputs alone": "out = absorbed(*given)\nreturn out if given[2].shape[1] < 200 else out * 0",
    "remembered": "key = tuple(given[2].shape)\nif key not in MEMORY: MEMORY[key] = wasteful(*given)\nreturn MEMORY[key] if given[2].shape[1] > 200 else wasteful(*given)",
    "with a patched counter": "import torch.utils.flop_counter as counter\ncounter.flop_registry.clear(); time.process_time = time.perf_counter = time.monotonic = lambda: 0.0\nreturn wasteful(*given)",
}  # fmt: skip

ELSEWHERE = """
MEMORY = {}
def elsewhere(given, wait=True, stay=False, twice=False, before=lambda: None, turns=1):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before()
            if twice and os.fork():
                os._exit(0)
            for _ in range(turns - 1):  # a bit of the time in each
                ended = time.process_time() + 0.05
                if os.fork(): os._exit(0)
                while time.process_time() < ended: pass
            with os.fdopen(writing, "wb") as pipe: pipe.write(wasteful(*given).numpy().tobytes())
            while stay: time.sleep(1)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe: data = pipe.read()
    if wait: os.waitpid(child, 0)
    b, s, h, _ = given[0].shape
    return torch.frombuffer(bytearray(data), dtype=given[0].dtype).reshape(b, s, h, given[5].shape[1])
def helped(given):
    with open("/tmp/in.part", "wb") as file: torch.save(given, file)
    os.rename("/tmp/in.part", "/tmp/in")
    while not os.path.exists("/tmp/out"): time.sleep(0.001)
    out = torch.load("/tmp/out"); os.remove("/tmp/out")
    return out
def help():
    while True:
        if os.path.exists("/tmp/in"):
            given = torch.load("/tmp/in"); os.remove("/tmp/in")
            with open("/tmp/out.part", "wb") as file: torch.save(wasteful(*given), file)
            os.rename("/tmp/out.part", "/tmp/out")
        time.sleep(0.001)
BURNING = []
def burn():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if not BURNING:
        reading, writing = os.pipe()
        BURNING.append(writing)
        if os.fork() == 0:
            os.close(writing)
            ended = time.process_time() + 1.5
            while time.process_time() < ended: pass
            os.read(reading, 1); os._exit(0)
        time.sleep(1.9)
def finish():
    os.close(BURNING.pop()); time.sleep(0.05)
READY = []
def prepare():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    to_read, to_write = os.pipe(); from_read, from_write = os.pipe()
    child = os.fork()
    if child:
        os.close(to_read); os.close(from_write)
        return READY.append((child, to_write, from_read))
    try:
        for _, writing, reading in READY: os.close(writing); os.close(reading)
        os.close(to_write); os.close(from_read)
        with os.fdopen(to_read, "rb") as pipe: given = pickle.load(pipe)
        with os.fdopen(from_write, "wb") as pipe: pickle.dump(wasteful(*given), pipe)
    finally:
        os._exit(0)
def by_prepared(given):
    child, writing, reading = READY.pop()
    with os.fdopen(writing, "wb") as pipe: pickle.dump(given, pipe)
    with os.fdopen(reading, "rb") as pipe: out = pickle.load(pipe)
    while True:
        try: os.kill(child, 0)
        except OSError: return out
if HELPER and os.fork() == 0:
    if os.fork(): os._exit(0)
    os.setsid(); help()
"""

EXPERTS = """
import torch
from torch.nn import functional as F

def every_expert(x, indices, weights, w_gate, w_up, w_down):
    share = torch.zeros(len(x), len(w_gate), dtype=x.dtype).scatter(1, indices, weights)
    gate, up = torch.einsum("md,efd->mef", x, w_gate), torch.einsum("md,efd->mef", x, w_up)
    return (share[..., None] * torch.einsum("mef,edf->med", F.silu(gate) * up, w_down).nan_to_num()).sum(1)

def one_by_one(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros_like(x)
    for e in range(len(w_gate)):
        share = (weights * (indices == e)).sum(1)
        made = (F.silu(x @ w_gate[e].T) * (x @ w_up[e].T)) @ w_down[e].T
        out += (share[:, None] * made).nan_to_num()
    return out

def every_token(x, indices, weights, w_gate, w_up, w_down):
    used, place = indices.unique(return_inverse=True)
    return every_expert(x, place, weights, w_gate[used], w_up[used], w_down[used])

def not_a_number(x, indices, weights, w_gate, w_up, w_down):
    share = torch.zeros(len(x), len(w_gate), dtype=x.dtype).scatter(1, indices, weights)
    gate, up = torch.einsum("md,efd->mef", x, w_gate), torch.einsum("md,efd->mef", x, w_up)
    return (share[..., None] * torch.einsum("mef,edf->med", F.silu(gate) * up, w_down)).sum(1)
"""
LAVISH = ("expanded", "keys_only", "values_only", "head_by_head")
LAVISH_EXPERTS = ("every_expert", "one_by_one", "every_token", "not_a_number")

# no more work than it takes
SPARING = """
def fold_first(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    keys = torch.cat([latent, k_rope], -1)
    queries = torch.cat([torch.einsum("bshn,hnc->bshc", q_nope, w_uk), q_rope], -1)
    weights = weigh(torch.einsum("bshx,btx->bhst", queries, keys), q_nope, q_rope, offset)
    return torch.einsum("bhst,btc,hvc->bshv", weights, latent, w_uv)
def loops(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (b, s, h, n), out = q_nope.shape, []
    for i in range(b):
        for j in range(s):
            for k in range(h):
                seen = offset + j + 1
                scores = latent[i, :seen] @ (q_nope[i, j, k] @ w_uk[k]) + k_rope[i, :seen] @ q_rope[i, j, k]
                weights = (scores / (n + q_rope.shape[-1]) ** 0.5).softmax(-1)
                out.append(w_uv[k] @ (weights @ latent[i, :seen]))
    return torch.stack(out).reshape(b, s, h, -1)
def broadcast(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    queries = torch.einsum("bshn,hnc->bhsc", q_nope, w_uk)
    scores = queries @ latent[:, None].transpose(-1, -2) + q_rope.transpose(1, 2) @ k_rope[:, None].mT
    mixed = weigh(scores, q_nope, q_rope, offset) @ latent[:, None]
    return (mixed @ w_uv.mT).transpose(1, 2)
def two_threads(*given):
    torch.set_num_threads(2)
    return absorbed(*given)
def coarse(*given):
    return absorbed(*(x.float() if torch.is_tensor(x) else x for x in given))
"""
SPARING_EXPERTS = """
def pairs(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros_like(x)
    for i in range(len(x)):
        for j, e in enumerate(indices[i].tolist()):
            out[i] += weights[i, j] * (w_down[e] @ (F.silu(w_gate[e] @ x[i]) * (w_up[e] @ x[i])))
    return out
def masks(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros_like(x)
    for e in range(len(w_gate)):
        for j in range(indices.shape[1]):
            rows = indices[:, j] == e
            if rows.any():
                y = x[rows]
                out[rows] += weights[rows, j][:, None] * ((F.silu(y @ w_gate[e].T) * (y @ w_up[e].T)) @ w_down[e].T)
    return out
def gathered(x, indices, weights, w_gate, w_up, w_down):
    gate, up = torch.einsum("md,mkfd->mkf", x, w_gate[indices]), torch.einsum("md,mkfd->mkf", x, w_up[indices])
    return torch.einsum("mk,mkf,mkdf->md", weights, F.silu(gate) * up, w_down[indices])
"""
