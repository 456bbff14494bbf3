"""Wrong answers as students write them: the exercise, what is wrong, the cell, and what `check` must say about it."""

IMPORTS = """
import math
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
"""

ANSWERS = [
    # hw1
    ("kv_cache_elements", "a float", """
def kv_cache_elements(config):
    if config.get("kv_lora_rank"):
        return config["num_hidden_layers"] * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    return config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * config["head_dim"] / 1
""", "expected an integer, got a float. A count is an integer: divide with //"),
    ("kv_cache_elements", "attributes for keys", """
def kv_cache_elements(config):
    return config.num_hidden_layers * 2 * config.num_key_value_heads * config.head_dim
""", 'A dict is read with brackets: ["num_hidden_layers"].'),
    ("kv_cache_elements", "a misspelt key", """
def kv_cache_elements(config):
    return config["num_layers"] * 2 * config["num_key_value_heads"] * config["head_dim"]
""", "KeyError on case 1 of 5: 'num_layers'. In this case config has only: num_hidden_layers,"),
    ("rotate", "NumPy", """
def rotate(x, positions, theta=10000.0):
    x = x.numpy()
    r = x.shape[-1]
    angle = positions.numpy()[:, None] * theta ** (-np.arange(0, r, 2) / r)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * np.cos(angle) - x[..., 1::2] * np.sin(angle)
    out[..., 1::2] = x[..., 0::2] * np.sin(angle) + x[..., 1::2] * np.cos(angle)
    return out
""", "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got a NumPy array."),
    ("rotate", "written over its own input", """
def rotate(x, positions, theta=10000.0):
    r = x.shape[-1]
    angle = positions[:, None] * theta ** (-torch.arange(0, r, 2) / r)
    x[..., 0::2], x[..., 1::2] = (
        x[..., 0::2] * angle.cos() - x[..., 1::2] * angle.sin(), x[..., 0::2] * angle.sin() + x[..., 1::2] * angle.cos()
    )
    return x
""", "It changed its input x: work on a copy"),
    ("rotate", "math.cos of a tensor", """
def rotate(x, positions, theta=10000.0):
    r = x.shape[-1]
    angle = positions[:, None] * theta ** (-torch.arange(0, r, 2) / r)
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
""", "`math`, float() and int() take a single number"),
    ("rotate", "no return", """
def rotate(x, positions, theta=10000.0):
    out = x.clone()
""", "got None; is the `return` missing?"),
    ("rotate", "a bfloat16 table", """
def rotate(x, positions, theta=10000.0):
    r = x.shape[-1]
    angle = (positions[:, None] * theta ** (-torch.arange(0, r, 2) / r)).to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)
""", "angles in the dtype of x"),
    ("rotate", "an index i over all r", """
def rotate(x, positions, theta=10000.0):
    r = x.shape[-1]
    angle = positions[:, None] * theta ** (-torch.arange(r) / r)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)
""", "where a is (2, 3, 5, 4), angle is (5, 8)"),
    ("compress", "eps outside the root", """
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    latent = latent / (latent.pow(2).mean(-1, keepdim=True).sqrt() + eps) * gain
    return latent, rotate(key, positions, theta)
""", "This matches eps outside the root"),
    ("compress", "the mean over the tokens", """
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    latent = latent * torch.rsqrt(latent.pow(2).mean(dim=1, keepdim=True) + eps) * gain
    return latent, rotate(key, positions, theta)
""", "This matches a mean over the tokens"),
    ("compress", "without keepdim", """
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    rms = (latent.double().pow(2).mean(-1) + eps).sqrt()
    return latent / rms * gain, rotate(key, positions, theta)
""", "where latent is (2, 5, 10), rms is (2, 5), key"),
    ("compress", "w_down not transposed", """
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    down = x @ w_down
    return down, down
""", "Is a transpose missing (B.mT)"),
    ("expanded_attention", "a subscript too few", """
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    keys = torch.einsum("btc,hnc->bthn", latent, w_uk)
    scores = torch.einsum("bshn,btn->bhst", q_nope, keys)
""", "operand 1 (counted from 0) has 4, and the equation gives it 3. Its inputs:"),
    ("expanded_attention", "letters exchanged", """
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    keys = torch.einsum("btc,hcn->bthn", latent, w_uk)
""", "`c` is 11 at first, but 7 in operand 1"),
    ("expanded_attention", "softmax without dim", """
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    keys = torch.einsum("btc,hnc->bthn", latent, w_uk)
    scores = torch.einsum("bshn,bthn->bhst", q_nope, keys)
    return scores.softmax()
""", "Say along which axis: dim=-1 is the last one"),
    ("expanded_attention", "YaRN's factor", """
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (s, n), (t, r) = (q_nope.shape[1], q_nope.shape[-1]), k_rope.shape[1:]
    keys, values = torch.einsum("btc,hnc->bthn", latent, w_uk), torch.einsum("btc,hvc->bthv", latent, w_uv)
    scores = torch.einsum("bshn,bthn->bhst", q_nope, keys) + torch.einsum("bshr,btr->bhst", q_rope, k_rope)
    mscale = 0.1 * math.log(40) + 1.0
    scores = scores * (n + r) ** -0.5 * mscale * mscale
    mask = torch.arange(t) > torch.arange(offset, offset + s)[:, None]
    return torch.einsum("bhst,bthv->bshv", scores.masked_fill(mask, -math.inf).softmax(-1), values)
""", "YaRN's factor"),
    ("expanded_attention", "a square causal mask", """
def expanded_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    s = q_nope.shape[1]
    keys = torch.einsum("btc,hnc->bthn", latent, w_uk)
    scores = torch.einsum("bshn,bthn->bhst", q_nope, keys)
    mask = torch.triu(torch.ones(s, s, dtype=torch.bool), 1)
    return scores.masked_fill(mask, -math.inf)
""", "where scores is (2, 5, 3, 9), mask is (3, 3)."),
    ("absorbed_attention", "axes of the result", """
def absorbed_attention(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0):
    (s, n), (t, r) = (q_nope.shape[1], q_nope.shape[-1]), k_rope.shape[1:]
    query = torch.einsum("bshn,hnc->bshc", q_nope, w_uk)
    scores = torch.einsum("bshc,btc->bhst", query, latent) + torch.einsum("bshr,btr->bhst", q_rope, k_rope)
    mask = torch.arange(t) > torch.arange(offset, offset + s)[:, None]
    weights = (scores * (n + r) ** -0.5).masked_fill(mask, -math.inf).softmax(-1)
    return torch.einsum("bhsc,hvc->bhsv", torch.einsum("bhst,btc->bhsc", weights, latent), w_uv)
""", "The axes are b s h v; yours look like b h s v."),
    ("attention_flops", "s and t exchanged", """
def attention_flops(config, query_tokens, key_tokens, absorb):
    t, s, h = query_tokens, key_tokens, config["num_attention_heads"]
    c, n, r, v = (config[k] for k in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    if absorb:
        return 2 * (s * h * n * c + s * t * h * (c + r) + s * t * h * c + s * h * c * v)
    return 2 * (t * c * h * (n + v) + s * t * h * (n + r) + s * t * h * v)
""", "This matches s and t exchanged"),
    # hw2
    ("affinities", "a bfloat16 product", """
def affinities(x, centroids, score):
    logits = x @ centroids.T
    return torch.sigmoid(logits) if score == "sigmoid" else torch.softmax(logits, dim=-1)
""", "affinities returned in 16 bits"),
    ("affinities", "no transpose in einsum", """
def affinities(x, centroids, score):
    logits = torch.einsum("md,e->me", x.float(), centroids.float())
    return logits.sigmoid()
""", "operand 1 (counted from 0) has 2, and the equation gives it 1."),
    ("route", "an interleaved mask", """
def route(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0):
    biased = scores + bias
    if n_group > 1:
        size = scores.shape[1] // n_group
        if size < 2:
            raise ValueError("groups of one")
        best = biased.view(len(scores), n_group, size).topk(2, dim=-1).values.sum(-1).topk(topk_group).indices
        mask = torch.zeros(len(scores), n_group).scatter_(1, best, 1.0).repeat(1, size)
        biased = biased.masked_fill(mask == 0, -math.inf)
    indices = biased.topk(top_k).indices
    weights = scores.gather(1, indices)
    return indices, weights / weights.sum(-1, keepdim=True) * scale
""", "This matches groups laid out in one way for their scores"),
    ("route", "V2's else", """
def route(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0):
    biased = scores + bias
    if n_group > 1:
        size = scores.shape[1] // n_group
        if size < 2:
            raise ValueError("groups of one")
        best = biased.view(len(scores), n_group, size).topk(2, dim=-1).values.sum(-1).topk(topk_group).indices
        mask = torch.zeros(len(scores), n_group).scatter_(1, best, 1.0).repeat_interleave(size, 1)
        biased = biased.masked_fill(mask == 0, -math.inf)
    indices = biased.topk(top_k).indices
    weights = scores.gather(1, indices)
    if top_k > 1:
        weights = weights / weights.sum(-1, keepdim=True)
    else:
        weights = weights * scale
    return indices, weights
""", "This matches gates that are either normalised or scaled"),
    ("route", "the ValueError forgotten", """
def route(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0):
    biased = scores + bias
    if n_group > 1:
        size = scores.shape[1] // n_group
        best = biased.view(len(scores), n_group, size).topk(min(2, size), -1).values.sum(-1).topk(topk_group).indices
        mask = torch.zeros(len(scores), n_group).scatter_(1, best, 1.0).repeat_interleave(size, 1)
        biased = biased.masked_fill(mask == 0, -math.inf)
    indices = biased.topk(top_k).indices
    weights = scores.gather(1, indices)
    return indices, weights / weights.sum(-1, keepdim=True) * scale
""", "One case must raise a ValueError"),
    ("route", "weights of the biased scores", """
def route(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0):
    weights, indices = (scores + bias).topk(top_k)
    return indices, weights / weights.sum(-1, keepdim=True) * scale
""", "Any order is right: `check` has sorted both answers by index."),
    ("moe_output", "weights on the input", """
def moe_output(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros_like(x)
    for i in range(len(x)):
        for j in range(indices.shape[1]):
            e, token = indices[i, j], weights[i, j] * x[i]
            out[i] += w_down[e] @ (F.silu(w_gate[e] @ token) * (w_up[e] @ token))
    return out
""", "This matches weights applied to the input: an expert is not linear"),
    ("moe_output", "float32 zeros", """
def moe_output(x, indices, weights, w_gate, w_up, w_down):
    out = torch.zeros(x.shape)
    for e in indices.unique():
        token, slot = (indices == e).nonzero(as_tuple=True)
        hidden = F.silu(x[token] @ w_gate[e].T) * (x[token] @ w_up[e].T)
        out.index_add_(0, token, weights[token, slot, None] * (hidden @ w_down[e].T))
    return out
""", "torch.zeros_like(x), or dtype=x.dtype. Its inputs: x (9, 5)"),
    ("expert_load", "not flattened", """
def expert_load(indices, n_experts):
    return torch.bincount(indices, minlength=n_experts)
""", "bincount takes one axis of integers from 0 on. Flatten it first."),
    ("expert_load", "a list", """
def expert_load(indices, n_experts):
    return [int((indices == e).sum()) for e in range(n_experts)]
""", "got a list. torch.tensor(...) turns a list of numbers into one."),
    ("max_violation", "the mean of integers", """
def max_violation(load):
    return (load.max() - load.mean()) / load.mean()
""", "This needs floating-point numbers: convert first, as in load.double()."),
    ("update_bias", "if on a tensor", """
def update_bias(bias, load, speed):
    if load < load.double().mean():
        return bias + speed
    return bias - speed
""", "need one truth value: compare single elements, or use torch.where."),
    ("update_bias", "a step without its mean", """
def update_bias(bias, load, speed):
    delta = speed * torch.sign(load.double().mean() - load)
    return bias + delta - delta.mean()
""", "This matches a step with its mean taken away"),
    ("sequence_balance_loss", "softmax again", """
def sequence_balance_loss(scores, indices, alpha):
    e, (t, k) = scores.shape[-1], indices.shape[1:]
    p = scores.softmax(-1).mean(1)
    f = F.one_hot(indices, e).sum((1, 2)) * e / (k * t)
    return alpha * (f * p).sum(-1).mean()
""", "This matches a softmax over the scores"),
    ("parameter_counts", "one shared expert", """
def parameter_counts(config):
    import copy
    config = copy.copy(config)
    d, e, f = config["hidden_size"], config["n_routed_experts"], config["moe_intermediate_size"]
    return d * e * f
""", "expected 2 values (total, active), got an int."),
    # hw3
    ("mtp_pairs", "one pair too many", """
def mtp_pairs(tokens, depth):
    return tokens[:, depth:], tokens[:, depth + 1:]
""", "one joined token too many"),
    ("mtp_input", "cat without a list", """
def mtp_input(hidden, embedding, gain_h, gain_e, proj, eps=1e-6):
    norm = lambda x, gain: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain
    return torch.cat(norm(hidden, gain_h), norm(embedding, gain_e), dim=-1) @ proj.T
""", "torch.cat([a, b], dim=...)"),
    ("mtp_input", "a matrix too wide", """
def mtp_input(hidden, embedding, gain_h, gain_e, proj, eps=1e-6):
    norm = lambda x, gain: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain
    return torch.cat([norm(hidden, gain_h), norm(embedding, gain_e)], dim=-1) @ proj
""", "10x14 and 7x14 do not fit. Is a transpose missing"),
    ("mtp_loss", "labels rolled twice", """
def mtp_loss(logits, tokens, weight):
    b, T, labels, total = len(tokens), tokens.shape[1] - 1, tokens.roll(-1, 1), 0.0
    for k, each in enumerate(logits, 1):
        total = total + F.cross_entropy(each.flatten(0, 1), labels[:, k + 1:].flatten(), reduction="sum")
    return weight / len(logits) * total / T / b
""", "This matches labels that a roll has shifted once too often"),
    ("mtp_loss", "classes last", """
def mtp_loss(logits, tokens, weight):
    return weight * sum(F.cross_entropy(each, tokens[:, k + 2:]) for k, each in enumerate(logits)) / len(logits)
""", "F.cross_entropy wants the vocabulary as the second axis"),
    ("verify_greedy", "numbers for a tensor", """
def verify_greedy(draft, target_logits):
    best = target_logits.argmax(-1)
    n = 0
    while n < len(draft) and draft[n] == best[n]:
        n += 1
    return torch.cat([draft[:n], best[n]])
""", "A single number has no axis to join along: x[None] gives it one."),
    ("verify_sampled", "its own random numbers", """
def verify_sampled(draft, draft_probs, target_probs, uniforms):
    for j, token in enumerate(draft):
        if torch.rand(()) * draft_probs[j, token] >= target_probs[j, token]:
            return torch.cat([draft[:j], torch.multinomial((target_probs[j] - draft_probs[j]).clamp(min=0), 1)])
    return torch.cat([draft, torch.multinomial(target_probs[-1], 1)])
""", "Case "),
    ("tokens_per_step", "the loop starts at 1", """
def tokens_per_step(acceptance, depth):
    return sum(acceptance**j for j in range(1, depth + 1))
""", "the accepted drafts alone"),
    ("tokens_per_step", "^ for a power", """
def tokens_per_step(acceptance, depth):
    return (1 - acceptance ^ (depth + 1)) / (1 - acceptance)
""", "Python writes a power as **"),
    # hw4
    ("fit_power_law", "polyfit of tensors, ln A returned", """
def fit_power_law(x, y):
    slope, height = np.polyfit(np.log(x.numpy()), np.log(y.numpy()), 1)
    return height, slope
""", "This matches ln of the coefficient"),
    ("isoflop_optimum", "math.log of a tensor", """
def isoflop_optimum(params, loss):
    a, b, c = np.polyfit(math.log(params), loss, 2)
    return math.exp(-b / (2 * a))
""", "`math`, float() and int() take a single number"),
    ("parametric_loss", "math.exp of 800", """
def parametric_loss(theta, params, tokens):
    a, b, e, alpha, beta = theta.tolist()
    return math.exp(e) + math.exp(a) / params**alpha + math.exp(b) / tokens**beta
""", "OverflowError on case 3 of 3: math range error. This matches an overflow"),
    ("huber_objective", "if on residuals", """
def huber_objective(theta, params, tokens, loss, delta=1e-3):
    a, b, e, alpha, beta = theta
    terms = torch.stack([a - alpha * params.log(), b - beta * tokens.log(), e.expand(len(params))])
    r = loss.log() - terms.logsumexp(0)
    return r**2 / 2 if r.abs() <= delta else delta * (r.abs() - delta / 2)
""", "need one truth value"),
    ("optimal_allocation", "6 left out", """
def optimal_allocation(flops, A, B, alpha, beta):
    g = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    n = g * flops ** (beta / (alpha + beta))
    return n, flops / n
""", "the 6"),
    ("bootstrap_interval", "one number", """
def bootstrap_interval(x, y, draws, level=0.95):
    slopes = [np.polyfit(np.log(x[d].numpy()), np.log(y[d].numpy()), 1)[0] for d in draws]
    return np.std(slopes)
""", "expected 2 values (low, high), got"),
    ("training_cost", "a missing argument", """
def training_cost(gpu_hours):
    return gpu_hours * 2
""", "`check` calls training_cost(gpu_hours, dollars_per_hour)"),
    ("mfu", "hours for seconds", """
def mfu(flops, gpu_hours, peak_flops):
    return flops / (gpu_hours * peak_flops)
""", "This matches"),
    ("energy_mwh", "a word too much", """
def energy_mwh(gpu_hours, watts, pue=1.0):
    return f"{gpu_hours * watts * pue / 1e6} MWh"
""", "expected a number, got a str."),
    ("forecast", "attributes of a tuple", """
def forecast(runs, flops):
    return min(run.loss for run in runs)
""", "The entries of a tuple have no names: unpack it"),
]  # fmt: skip
