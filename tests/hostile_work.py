"""Right values by too much work, which is hidden; and right values by no more work than it takes, which look odd."""

ATTENTION = """
import ctypes, gc, os, pickle, signal, struct, subprocess, sys, threading, time
import numpy as np
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
import numpy as np
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

# without a matrix product that PyTorch could count
UNCOUNTED = """
def keys_in_numpy(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    keys = torch.from_numpy(np.matmul(latent.numpy()[:, None], w_uk.numpy().swapaxes(1, 2)))
    scores = torch.einsum("bshn,bhtn->bhst", q_nope, keys)
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    return torch.einsum("bshc,hvc->bshv", torch.einsum("bhst,btc->bshc", weights, latent), w_uv)
def values_in_numpy(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    scores = torch.einsum("bshc,btc->bhst", torch.einsum("bshn,hnc->bshc", q_nope, w_uk), latent)
    weights = weigh(scores + torch.einsum("bshr,btr->bhst", q_rope, k_rope), q_nope, q_rope, offset)
    values = torch.from_numpy(np.matmul(latent.numpy()[:, None], w_uv.numpy().swapaxes(1, 2)))
    return torch.einsum("bhst,bhtv->bshv", weights, values)
"""
UNCOUNTED_EXPERTS = """
def every_token_in_numpy(x, indices, weights, w_gate, w_up, w_down):
    used, out = indices.unique().tolist(), np.zeros_like(x.numpy())
    for e in used:
        share = (weights * (indices == e)).sum(1, keepdim=True).numpy()
        gate, up = x.numpy() @ w_gate[e].numpy().T, x.numpy() @ w_up[e].numpy().T
        out += share * (gate / (1 + np.exp(-gate)) * up) @ w_down[e].numpy().T
    return torch.from_numpy(out)
"""
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
def latents_repeated(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    h, t = q_nope.shape[2], latent.shape[1]
    queries = torch.cat([torch.einsum("bshn,hnc->bshc", q_nope, w_uk), q_rope], -1).transpose(1, 2)
    keys = torch.cat([latent, k_rope], -1)[:, None].expand(-1, h, -1, -1)
    seen = torch.arange(t) <= offset + torch.arange(q_nope.shape[1])[:, None]
    scale = (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    mixed = F.scaled_dot_product_attention(queries, keys, latent[:, None].expand(-1, h, -1, -1), seen, scale=scale)
    return torch.einsum("bhsc,hvc->bshv", mixed, w_uv)
def heads_as_queries(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (b, s, h, n), t = q_nope.shape, latent.shape[1]
    queries = torch.cat([torch.einsum("bshn,hnc->bshc", q_nope, w_uk), q_rope], -1).reshape(b, 1, s * h, -1)
    keys = torch.cat([latent, k_rope], -1)[:, None]
    seen = (torch.arange(t) <= offset + torch.arange(s)[:, None]).repeat_interleave(h, 0)
    mixed = F.scaled_dot_product_attention(queries, keys, latent[:, None], seen, scale=(n + q_rope.shape[-1]) ** -0.5)
    return torch.einsum("bshc,hvc->bshv", mixed.reshape(b, s, h, -1), w_uv)
def bmm_of_copies(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    b, s, h, _ = q_nope.shape
    queries = torch.einsum("bshn,hnc->bhsc", q_nope, w_uk).flatten(0, 1)
    copies = latent[:, None].repeat(1, h, 1, 1).flatten(0, 1)
    scores = torch.bmm(queries, copies.mT).unflatten(0, (b, h)) + torch.einsum("bshr,btr->bhst", q_rope, k_rope)
    mixed = torch.bmm(weigh(scores, q_nope, q_rope, offset).flatten(0, 1), copies).unflatten(0, (b, h))
    return torch.einsum("bhsc,hvc->bshv", mixed, w_uv)
def key_by_key(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (b, s, h, n), t = q_nope.shape, latent.shape[1]
    queries, mixed = torch.einsum("bshn,hnc->bshc", q_nope, w_uk), latent.new_zeros(b, s, h, latent.shape[-1])
    for i in range(b):
        for j in range(s):
            for k in range(h):
                scores = []
                for m in range(min(t, offset + j + 1)):
                    scores.append((queries[i, j, k] @ latent[i, m] + q_rope[i, j, k] @ k_rope[i, m]) / (n + q_rope.shape[-1]) ** 0.5)
                for m, weight in enumerate(torch.stack(scores).softmax(0)):
                    mixed[i, j, k] += weight * latent[i, m]
    return torch.einsum("bshc,hvc->bshv", mixed, w_uv)
def head_for_head(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    out = []
    for k in range(len(w_uk)):
        scores = (q_nope[:, :, k] @ w_uk[k]) @ latent.mT + q_rope[:, :, k] @ k_rope.mT
        out.append(weigh(scores, q_nope, q_rope, offset) @ latent @ w_uv[k].T)
    return torch.stack(out, 2)
def block_by_block(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (b, s, h, n), t = q_nope.shape, latent.shape[1]
    queries, mixed = torch.einsum("bshn,hnc->bhsc", q_nope, w_uk), latent.new_zeros(b, h, s, latent.shape[-1])
    most, total = latent.new_full((b, h, s, 1), -torch.inf), latent.new_zeros(b, h, s, 1)
    for first in range(0, t, 32):
        part, places = latent[:, first : first + 32], torch.arange(first, min(first + 32, t))
        scores = torch.einsum("bhsc,btc->bhst", queries, part) + torch.einsum("bshr,btr->bhst", q_rope, k_rope[:, first : first + 32])
        scores = (scores / (n + q_rope.shape[-1]) ** 0.5).masked_fill(places > offset + torch.arange(s)[:, None], -torch.inf)
        new = torch.maximum(most, scores.amax(-1, keepdim=True))
        weights, factor = (scores - new).exp(), (most - new).exp()
        mixed, total, most = mixed * factor + torch.einsum("bhst,btc->bhsc", weights, part), total * factor + weights.sum(-1, keepdim=True), new
    return torch.einsum("bhsc,hvc->bshv", mixed / total, w_uv)
def in_numpy(*given):
    q_nope, q_rope, latent, k_rope, w_uk, w_uv = (x.numpy() for x in given[:6])
    scores = np.einsum("bshc,btc->bhst", np.einsum("bshn,hnc->bshc", q_nope, w_uk), latent) + np.einsum("bshr,btr->bhst", q_rope, k_rope)
    weights = weigh(torch.from_numpy(scores), given[0], given[1], given[6]).numpy()
    return torch.from_numpy(np.einsum("bshc,hvc->bshv", np.einsum("bhst,btc->bshc", weights, latent), w_uv))
def by_sums(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    queries = (q_nope[..., None] * w_uk).sum(-2)
    scores = (queries.transpose(1, 2)[..., None, :] * latent[:, None, None]).sum(-1)
    scores = scores + (q_rope.transpose(1, 2)[..., None, :] * k_rope[:, None, None]).sum(-1)
    mixed = (weigh(scores, q_nope, q_rope, offset)[..., None] * latent[:, None, None]).sum(-2)
    return (mixed.transpose(1, 2)[..., None, :] * w_uv).sum(-1)
@torch.compile
def compiled(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    return absorbed(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset)
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
def token_by_token(x, indices, weights, w_gate, w_up, w_down):
    rows = []
    for i in range(len(x)):
        e = indices[i]
        hidden = F.silu(w_gate[e] @ x[i]) * (w_up[e] @ x[i])
        rows.append((weights[i][:, None] * (w_down[e] @ hidden[..., None])[..., 0]).sum(0))
    return torch.stack(rows)
def expert_by_expert(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros_like(x)
    for e in range(len(w_gate)):
        token, slot = (indices == e).nonzero(as_tuple=True)
        y = x[token]
        out[token] += weights[token, slot, None] * ((F.silu(F.linear(y, w_gate[e])) * F.linear(y, w_up[e])) @ w_down[e].T)
    return out
def sorted_by_expert(x, indices, weights, w_gate, w_up, w_down):
    k, out = indices.shape[1], torch.zeros_like(x)
    order = indices.flatten().argsort()
    counts = indices.flatten().bincount(minlength=len(w_gate)).tolist()
    for e, places in enumerate(order.split(counts)):
        y = x[places // k]
        made = (F.silu(y @ w_gate[e].T) * (y @ w_up[e].T)) @ w_down[e].T
        out.index_add_(0, places // k, weights.flatten()[places, None] * made)
    return out
def mapped(x, indices, weights, w_gate, w_up, w_down):
    def expert(token, e, weight):
        return weight * (w_down[e] @ (F.silu(w_gate[e] @ token) * (w_up[e] @ token)))
    chosen = torch.func.vmap(torch.func.vmap(expert, (None, 0, 0)))(x, indices, weights)
    return chosen.sum(1)
def gathered(x, indices, weights, w_gate, w_up, w_down):
    gate, up = torch.einsum("md,mkfd->mkf", x, w_gate[indices]), torch.einsum("md,mkfd->mkf", x, w_up[indices])
    return torch.einsum("mk,mkf,mkdf->md", weights, F.silu(gate) * up, w_down[indices])
"""
