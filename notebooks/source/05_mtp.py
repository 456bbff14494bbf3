# %% [markdown]
# # 05 Multi-token prediction: one question more, and what it is good for
#
# *Read: 50 minutes. Runs: less than a minute on a CPU. Needs: PyTorch and matrices; no earlier lesson, though the
# blocks inside are those of lessons [02](02_mla.ipynb) and [03](03_moe_routing.ipynb).*
#
# A language model is asked one thing at every position: what comes next? DeepSeek-V3 is asked one thing more: and what
# comes after that? This is **multi-token prediction** (MTP). In training the second question is a second lesson from the same
# text. In use its answer is a guess that the model can check faster than it could write. After this lesson you can
#
# - write down what a depth of MTP reads and what it must predict, and find a leak in it,
# - add a depth to a model, train it, and compute its loss as the report does,
# - read the two formulas of that loss, and say where an article about them went wrong,
# - decode with drafts and lose nothing: not a token when greedy, not a probability when sampling, and
# - measure how many drafts stand, and say why twice the tokens per pass is not twice the speed.
#
# The letters: `k` counts depths, from 1 to `D`; `T` is the length of a sequence; `i` is a position in it, from 0 as in code.

# %% tags=["bootstrap"]

# %% [markdown]
# ## What is asked
#
# Take eight letters, one token each: $T = 7$ inputs and one last target. At position $i$ the main model has read the tokens
# up to $i$, and is asked for token $i+1$. **Depth 1** goes on from there: it takes the main model's state at position $i$,
# is *told* token $i+1$, and is asked for token $i+2$. Depth 2 takes depth 1's state, is told token $i+2$, and is asked for
# token $i+3$. In general depth $k$ at position $i$ is told token $i+k$ and asked for token $i+k+1$.
#
# **Look at** how the columns move up by one from depth to depth, and at the last rows: a depth has fewer positions than
# the one before, since nobody knows what follows the last target.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from course_lib.figures import show_figure

torch.set_num_threads(1)  # products this small are not worth sharing out

# %%
line, D = "the moon", 2
T = len(line) - 1
print(f"{'':10}{'main model':>12}" + "".join(f"{f'depth {k}':>21}" for k in range(1, D + 1)))
print("i   reads       asked" + "          told   asked" * D)
for i in range(T):
    row = f"{i}   {line[i]!r:5}{line[i + 1]!r:>12}"
    for k in range(1, D + 1):
        told, asked = (line[i + k], line[i + k + 1]) if i + k + 1 <= T else ("", "")
        row += f"{told and repr(told):>14}{asked and repr(asked):>8}"[:22]
    print(row.rstrip())

# %% [markdown]
# The same as a picture, for position 2. **Look at** the colours in each row: what the state below already knows (grey), what is told
# here (blue), what is asked (orange).

# %%
at, colours = 2, {"known": "#cccccc", "told": "#56B4E9", "asked": "#E69F00", "": "white"}


def draw(axes: plt.Axes, row: int, name: str) -> None:
    last = at + row  # the last token that this row is told
    for j, letter in enumerate(line):
        kind = "known" if j < last else "told" if j == last else "asked" if j == last + 1 else ""
        box = plt.Rectangle((j - 0.45, row - 0.32), 0.9, 0.64, facecolor=colours[kind], edgecolor="#888888")
        axes.add_patch(box)
        axes.text(j, row, letter.replace(" ", "␣"), ha="center", va="center", fontsize=13)
    axes.text(-0.8, row, name, ha="right", va="center")
    if row:
        axes.annotate("", (at, row - 0.32), (at, row - 0.68), arrowprops=dict(arrowstyle="->", shrinkA=0, shrinkB=0))
        axes.text(at + 0.12, row - 0.5, "state of position 2", va="center", fontsize=9)


# %%
figure, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
for row, name in enumerate(("main model", "depth 1", "depth 2")):
    draw(axes, row, name)
for row, kind in enumerate(("known", "told", "asked")):
    axes.add_patch(plt.Rectangle((8.0, row - 0.15), 0.3, 0.3, facecolor=colours[kind], edgecolor="#888888"))
    axes.text(8.45, row, kind, va="center")
axes.set(xlim=(-2.6, 9.6), ylim=(2.5, -0.5), title="position 2: what each depth knows, is told and is asked")
axes.set_axis_off()
alt = "Diagram: the letters of 'the moon' in three rows, for position 2. Main model: knows t, h; is told e; is asked the space. Depth 1: knows t, h, e; is told the space; is asked m. Depth 2: knows t, h, e, space; is told m; is asked the first o. Arrows hand the state of position 2 down from row to row."
show_figure(figure, alt)

# %% [markdown]
# So depth $k$ at position $i$ has been told exactly what the main model has read at position $i+k$, and must answer the
# same question. What it lacks is work: for the last $k$ tokens it has one layer a token where the main model has all of them.
# A depth is a cheap imitation of the main model, a little further on. Keep this in mind; it is why its guesses can be good.
#
# Others had predicted several tokens before (Gloeckle and others, arXiv:2404.19737), with one output head per token ahead,
# all on the same state of position $i$. Those heads are told nothing: the third guess does not know what the second was.
# V3 keeps the chain (arXiv:2412.19437, section 2.2).
#
# In code the table is two slices. This is what most mistakes are made in, so write it down once:

# %%
from course_lib import corpus

tokens = corpus.encode(line)[None]  # b = 1 row of T + 1 tokens
for k in (1, 2):
    told, asked = tokens[:, k:-1], tokens[:, k + 1 :]
    assert told.shape == asked.shape == (1, T - k)
    print(f"depth {k}: told {corpus.decode(told[0])!r}, asked {corpus.decode(asked[0])!r}, {T - k} positions")

# %% [markdown]
# ## One module
#
# Three steps, equations 21 to 23 of the report. $h^{k-1}_i$ is the state that comes in; for $k = 1$ it is the main model's.
#
# $$h'^{k}_i = M_k \left[\operatorname{RMSNorm}(h^{k-1}_i)\,;\, \operatorname{RMSNorm}(\operatorname{Emb}(t_{i+k}))\right], \qquad h^k_{1:T-k} = \operatorname{TRM}_k(h'^k_{1:T-k}), \qquad P^k_{i+k+1} = \operatorname{OutHead}(h^k_i) .$$
#
# Both vectors are normed, put side by side ($2d$ numbers), and brought back to $d$ by the matrix $M_k$. A whole
# transformer block $\operatorname{TRM}_k$ follows, with attention and experts. The embedding and the output head are the main model's
# own. (The report counts positions from 1; the formulas are the same.) By hand, with the small model of this course and two depths:

# %%
from course_lib.config import mini
from course_lib.model import MiniDeepSeek

torch.manual_seed(0)
model = MiniDeepSeek(mini(num_nextn_predict_layers=2))
inputs = corpus.encode("the moon is out")[None]
with torch.no_grad():
    state = model.norm(model.hidden_states(inputs))
    logits = [model.head(state)]
    for k, module in enumerate(model.mtp, 1):
        h, e = state[:, :-1], model.embedding(inputs[:, k:])
        joined = module.proj(torch.cat([module.hidden_norm(h), module.embedding_norm(e)], dim=-1))
        state = module.norm(module.block(joined))
        logits.append(model.head(state))

# %%
with torch.no_grad():
    for by_hand, ours in zip(logits, model.predict_ahead(inputs), strict=True):
        torch.testing.assert_close(by_hand, ours)
print("positions:", [each.shape[1] for each in logits], "for the main model, depth 1, depth 2")

# %% [markdown]
# Two conventions are easy to get wrong when you load weights that others have trained:
#
# 1. **The order.** The report writes the state first and the embedding second. The released weights are stored the
#    other way round, as the name of their matrix says: `eh_proj`, embedding and hidden (the `transformers` library reads them
#    so, in `modeling_layers.py`). The switch in our config is `mtp_hidden_states_first`.
# 2. **The last norm.** Code that serves the model (vLLM, SGLang) hands on $h^0$ *after* the norm that stands before the output head. That is
#    `mtp_normed_hidden`, and what you have just done.
#
# What does the wrong order do? Nothing that you would notice at first: shapes fit, logits come out.

# %%
module = model.mtp[0]
with torch.no_grad():
    h, e = module.hidden_norm(torch.randn(1, 5, 64)), module.embedding_norm(torch.randn(1, 5, 64))
    right, swapped = module.proj(torch.cat([h, e], -1)), module.proj(torch.cat([e, h], -1))
cosine = F.cosine_similarity(right, swapped, dim=-1).abs().max()
print(f"shapes {tuple(right.shape)} and {tuple(swapped.shape)}; the two point elsewhere: {cosine < 0.5}")

# %% [markdown]
# ### Count it
#
# V3 has one depth. **Look at** the two lines with a published number: neither is the plain sum.

# %%
from course_lib.accounting import mtp_parameters, parameters
from course_lib.config import published

v3 = published("deepseek-v3")
parts, d = parameters(v3).components, v3.hidden_size
counted = {"attention (MLA)": sum(part.each for name, part in parts.items() if name.startswith("attention."))}
counted["experts and router"] = sum(parts[name].each for name in ("routed_experts", "shared_experts", "gate"))
counted |= {"projection M, d x 2d": 2 * d * d, "five norms": 5 * d}
one_depth, vocabulary = sum(counted.values()), parts["embedding"].each
assert one_depth == mtp_parameters(v3) == 11_610_068_224

# %%
counted["one depth"] = one_depth
counted["  without the projection"] = one_depth - 2 * d * d
counted["  with an embedding and a head"] = one_depth + 2 * vocabulary
counted["  the main model and the line above"] = parameters(v3).total + one_depth + 2 * vocabulary
notes = dict(zip(list(counted)[-3:], ("published: 11.5B", "published: 14B", "published: 685B"), strict=True))
for name, number in counted.items():
    print(f"{name:36}{number:16,}  {notes.get(name, '')}")

# %% [markdown]
# (Published in README.md and README_WEIGHTS.md of the repository deepseek-ai/DeepSeek-V3.) The 11.5B are called unique
# parameters, and come out if the projection is left out. The 14B are what the download holds beside the main model: it
# carries a second copy of the embedding and the head, which are shared in use. So 685B on a download page and 671B in the
# report are the same model.
#
# ## A depth, trained; and a leak
#
# Now train one. We take a small model, train it for 60 steps on simple stories, and then put a depth on top. (V3 trained
# both together, so that the main model learns from the second question too. One after the other is quicker to watch, and it is how you give
# a depth to a model that is already there.)
#
# And we train a second depth beside it with one slip: at position $i$ it is told token $i+2$ instead of token $i+1$. That is the
# token that it is asked for.

# %%
from course_lib.devices import place_of
from course_lib.mtp import MTPModule
from course_lib.training import Recipe, Training

text = corpus.load("stories", 300_000)
torch.manual_seed(0)
model = MiniDeepSeek(mini())
training = Training(model, text, Recipe(steps=60, batch_size=8, learning_rate=5e-3, bias_speed=0.01))
print(f"training on {place_of(model)}")
for _ in tqdm(training.run(), total=60, desc="main model", leave=False):
    pass
print(f"no model can be better than {text.floor:.2f} nats per byte on average: that is the entropy of these stories")


# %%
def predict(module: MTPModule, state: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    _, for_head = module(state[:, : told.shape[1]], model.embedding(told))
    return model.head(for_head)


def new_depth() -> MTPModule:
    torch.manual_seed(1)
    module = MTPModule(mini(num_nextn_predict_layers=1), depth=1)
    for matrix in (parameter for parameter in module.parameters() if parameter.ndim > 1):
        torch.nn.init.normal_(matrix, std=0.05)
    return module


# %%
model.requires_grad_(False)  # from here on only the depths learn
depths = {"told token i+1 (right)": new_depth(), "told token i+2 (leak)": new_depth()}
losses = {name: [] for name in depths}
optimizers = {name: torch.optim.AdamW(module.parameters(), lr=1e-2) for name, module in depths.items()}
for step in tqdm(range(60), desc="two depths", leave=False):
    batch = text.batch(step, 8, 128, seed=1)
    state, asked = model.norm(model.hidden_states(batch[:, :-1])), batch[:, 2:]
    for (name, module), told in zip(depths.items(), (batch[:, 1:-1], batch[:, 2:]), strict=True):
        loss = F.cross_entropy(predict(module, state, told).flatten(0, 1), asked.flatten())
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
        losses[name].append(loss.item())

# %% [markdown]
# **Look at** the dashed line. One curve comes down slowly, and stays above. The other falls through it, towards nothing.

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
for (name, curve), colour in zip(losses.items(), ("#0072B2", "#D55E00"), strict=True):
    axes.plot(range(1, len(curve) + 1), curve, color=colour, label=name)
axes.axhline(text.floor, color="black", linestyle="--", linewidth=0.8, label="entropy of the text")
axes.set(xlabel="step", ylabel="loss [nats per byte]", title="depth 1: the same states, the same batches", ylim=(0, 4))
axes.legend()
right, leak = (sum(curve[-10:]) / 10 for curve in losses.values())
assert right > 2 * text.floor and leak < text.floor / 2, "was the training interrupted? Run its cell to the end"
print("at the end the right one is above twice the floor, the leaking one below half of it")
alt = "Two lines: loss of depth 1 in nats per byte over 60 steps, with a dashed line at the entropy of the text, 0.52. Told token i+1, which is right, the loss comes down slowly and stays far above the dashed line. Told token i+2, the leak, it falls through the line early and goes on towards 0."
show_figure(figure, alt)

# %% [markdown]
# With stories the floor is known, and a loss below it is a proof. With real text nobody knows the floor, and a loss that
# is too good looks like success, until the model is used: then token $i+2$ is what one wants to know, and there is nothing
# to tell. So test for leaks before you train. Change the one token that is asked for, and see whether the
# prediction of it moves.

# %%
module, batch = next(iter(depths.values())), text.batch(0, 1, 20)
changed = batch.clone()
changed[:, 12] = (changed[:, 12] + 1) % 128  # token 12 is asked for at position 10
for name, start in (("right", 1), ("leak", 2)):
    states = [model.norm(model.hidden_states(b[:, :-1])) for b in (batch, changed)]
    before, after = (predict(module, h, b[:, start:][:, :18]) for h, b in zip(states, (batch, changed), strict=True))
    moved = ((before - after).abs().amax(-1)[0] > 1e-3).nonzero()
    print(f"{name:6} another token 12 changes the predictions from position {moved.min().item()} on")

# %% [markdown]
# Position 10 must not know token 12, and in the right module it does not. This test takes a millisecond and needs no
# training, and it finds every leak of this kind: in attention that looks ahead, in slices that are off by one.
#
# ## The loss
#
# Each depth has a cross-entropy, and the report joins them in two formulas, its equations 24 and 25. An article of January 2025, one of
# those behind [lesson 00](00_start_here.ipynb), shows these two as well:
#
# $$\mathcal{L}^k_{\text{MTP}} = \operatorname{CrossEntropy}(P^k_{2+k:T+1},\, t_{2+k:T+1}) = -\frac1T \sum_{i=2+k}^{T+1} \log P^k_i[t_i], \qquad\qquad \mathcal{L}_{\text{MTP}} = \frac{\lambda}{D} \sum_{k=1}^{D} \mathcal{L}^k_{\text{MTP}} .$$
#
# Then it explains the letters, and most of them wrongly (the wording of the left column is ours):
#
# | the article says | the report says | where |
# |---|---|---|
# | $T$ is the number of tokens in the training data | the length of one input sequence | eq. 24 |
# | $\mathcal{L}^k$ is the loss for the $k$-th predicted token | the loss of depth $k$, over all positions: at each it predicts token $i+k+1$ | eqs. 23, 24 |
# | $P^k_i[t_i]$ is a probability at position $i$ in sequence $k$ | $k$ is the depth; it is the probability that depth $k$ gave to $t_i$, the token that really stands at $i$ | eq. 24 |
# | $D$ is the number of data points | the number of depths: 1 in V3 | eq. 25, section 4.2 |
# | $\lambda$ depends on how many tokens are predicted in a batch | a weight set by hand: 0.3 for the first 10T tokens, 0.1 for the last 4.8T | section 4.2 |
# | $\mathcal{L}_{\text{MTP}}$ is for the whole data set | for one sequence, the mean over its depths | eqs. 24, 25 |
# | several tokens are predicted at once | one after the other, each depth on the state of the last | eqs. 21 to 23 |
#
# Does it matter? Take the article at its word: divide by the 14.8 trillion tokens of V3's training data instead of 4,096, and
# the second question has next to no weight.

# %%
T = 4096
print(f"T = {T}: {T - 1} terms are divided by {T}, nearly their mean")
print(f"T = 14.8 trillion: {T / 14.8e12:.0e} times that")

# %% [markdown]
# Note the sum: it has $T-k$ terms and is divided by $T$. For 4,096 tokens nobody will notice; in a small test you will. Here
# are both formulas by hand, for $b = 3$ sequences of $T = 10$ and two depths:

# %%
from course_lib.mtp import mtp_loss

torch.manual_seed(0)
model, weight, T = MiniDeepSeek(mini(num_nextn_predict_layers=2)), 0.3, 10
tokens = text.batch(0, 3, T)  # T inputs and the last target
_, *further = model.predict_ahead(tokens[:, :-1])
total = 0.0
for k, logits in enumerate(further, 1):
    log_p = logits.log_softmax(-1).gather(-1, tokens[:, k + 1 :, None])[..., 0]
    assert log_p.shape == (3, T - k)
    total = total - log_p.sum(1) / T  # one loss a sequence
by_hand = weight / len(further) * total.mean()
torch.testing.assert_close(by_hand, mtp_loss(further, tokens, weight))
print("the formulas and course_lib.mtp.mtp_loss agree")

# %% [markdown]
# And whom does this loss teach? Ask autograd.

# %%
by_hand.backward(retain_graph=True)  # or running this cell again would fail
untouched = [name for name, parameter in model.named_parameters() if parameter.grad is None]
main = [name for name, _ in model.named_parameters() if not name.startswith("mtp")]
print(f"{len(main)} weights of the main model, {len(set(main) & set(untouched))} of them untouched by the MTP loss")

# %% [markdown]
# All of the main model, down to the embedding. This is the first use of MTP: every position now teaches two things, and
# the report hopes that a state that must serve for the token after next will plan ahead (section 2.2). What that was worth
# to V3 comes at the end.
#
# ## Drafts that are checked
#
# The second use is speed. A model that writes makes one pass per token, and in a pass it reads all the weights that it
# uses from memory. On a GPU with few texts at a time, reading is the slow part. *Checking* several tokens takes one pass:
# give them to the model all at once, and it says at each what it would have written there. So let something cheap guess,
# and check. This is **speculative decoding** (arXiv:2211.17192, arXiv:2302.01318), and V3 carries its own guesser: the MTP
# depth.
#
# One step, with one depth. The last token of the text is one that the model has said but not yet read. The depth is told it, and
# **drafts** the one after it. Then the model passes over both. At the first it says what should stand in place of
# the draft; at the second, what comes after.
#
# - They agree: the draft **stands**, and the token after it comes **free**. Two tokens for one pass.
# - They do not: the draft is **replaced** by what the model said. One token, as without drafts.
#
# For greedy writing that is all. **Look at** the four cases (drafts of three tokens, to see more):

# %%
from course_lib.speculative import verify_greedy

model_says = torch.tensor([5, 7, 2, 9])  # after the settled text, after draft 1, after draft 2, after draft 3
target_logits = F.one_hot(model_says, 10).double()
for draft in ([5, 7, 2], [5, 7, 4], [5, 1, 2], [3, 7, 2]):
    kept = verify_greedy(torch.tensor(draft), target_logits).tolist()
    print(f"draft {draft}: {len(kept) - 1} stand, then the model's own {kept[-1]}: {kept}")

# %% [markdown]
# Mind the third line. Draft 3 is what the model says in its row, and yet it falls: that row was computed after draft 2,
# which is not in the text. After the first replaced token all later rows are worthless.
#
# Every token that is kept is one that the model itself wrote at that place. So the text is the same, whatever the draft;
# a bad draft costs time, and nothing else.
#
# ### When tokens are drawn
#
# With a temperature the model does not *say* a token, it gives probabilities $p$, and draws. The depth has its own, $q$,
# and draws the draft from them. Now agreement by luck is not enough: we want every token to come out **with exactly the
# probability** $p$ that the model alone would give it. The rule (arXiv:2211.17192, section 2):
#
# 1. Accept the draft $x$ with probability $\min(1,\, p_x / q_x)$.
# 2. If it is refused, draw from what is missing, the **residual** $\max(p - q, 0)$, divided by its sum.
#
# Why it is right: $x$ is drafted and accepted with probability $q_x \min(1, p_x/q_x) = \min(p_x, q_x)$. Up to $p_x$ there
# is missing $p_x - \min(p_x, q_x) = \max(p_x - q_x, 0)$, and that is the residual. **Look at** the left panel, where
# $p$ and $q$ overlap, and at the right one, where the two parts are put on top of each other.

# %%
p = torch.tensor([0.40, 0.30, 0.15, 0.10, 0.05], dtype=torch.float64)
q = torch.tensor([0.20, 0.45, 0.10, 0.20, 0.05], dtype=torch.float64)
overlap, residual = torch.minimum(p, q), (p - q).clamp(min=0)
torch.testing.assert_close(overlap + (1 - overlap.sum()) * residual / residual.sum(), p)
print(f"accepted: {overlap.sum():.0%}, refused: {1 - overlap.sum():.0%}, sum of the residual: {residual.sum():.0%}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained", sharey=True)
(left, middle, right), x, letters = panels, torch.arange(5), list("abcde")
left.bar(x - 0.2, p, 0.4, color="#0072B2", label="model p")
left.bar(x + 0.2, q, 0.4, color="#E69F00", label="draft q")
middle.bar(x, q, color="white", edgecolor="#D55E00", hatch="////", label="drafted, refused")
middle.bar(x, overlap, color="#009E73", label="accepted: min(p, q)")
right.bar(x, overlap, color="#009E73", label="accepted")
right.bar(x, residual, bottom=overlap, color="#CC79A7", label="drawn from the residual")
for axes, title in zip(panels, ("two opinions", "the draft", "what comes out: p"), strict=True):
    axes.set_title(title)
    axes.set_xticks(x, letters)
    axes.legend(fontsize=9)
left.set(ylabel="probability", ylim=(0, 0.75))
alt = "Three bar charts: probabilities of letters a to e. Left: model p is 0.40, 0.30, 0.15, 0.10, 0.05, draft q 0.20, 0.45, 0.10, 0.20, 0.05. Middle: of each draft min(p, q) is accepted; refused are 0.15 of b and 0.10 of d. Right: the accepted, with 0.20 for a and 0.05 for c drawn from the residual on top, add up to p."
show_figure(figure, alt)

# %% [markdown]
# The accepted share is the overlap of the two, $\sum_x \min(p_x, q_x)$: the more alike the opinions, the more drafts stand. Now let it
# happen 5,000 times, with the course's `verify_sampled`. Beside it, two rules that look reasonable: accept only where $p > q$, and draw
# a refused token from $p$ itself.

# %%
from course_lib.speculative import verify_sampled

torch.manual_seed(0)
n = 5_000
uniforms = torch.rand(n, 2, dtype=torch.float64)
drafts = torch.searchsorted(q.cumsum(0), torch.rand(n, dtype=torch.float64), right=True)
both = torch.stack([p, p])  # the second row is for the token that comes free
first = [
    verify_sampled(draft[None], q[None], both, u)[0].item()
    for draft, u in tqdm(zip(drafts, uniforms, strict=True), total=n, leave=False)
]
seen = torch.bincount(torch.tensor(first), minlength=5) / n
assert (seen - p).abs().max() < 4 * (p * (1 - p) / n).sqrt().max()

# %%
only_larger = (q * (p > q)) + (q * (p <= q)).sum() * residual / residual.sum()
from_p = overlap + (1 - overlap.sum()) * p
columns = {"model p": p, "5,000 draws": seen, "only where p > q": only_larger, "refused: from p": from_p, "draft q": q}
print("token", *(f"{name:>17}" for name in columns))
for i, name in enumerate(letters):
    print(f"{name:5}", *(f"{column[i]:17.2f}" for column in columns.values()))
print("the draws are within the error of chance; the other two rules are not p")

# %% [markdown]
# The other two rules would change the text, without an error, and every single text would look fine. Only counting finds it.
#
# ### How much it gives
#
# If each draft stands with probability $a$, independently, then a pass gives $1 + a + a^2 + \dots + a^D$ tokens: one
# always, a second if the first draft stands, a third if the second stands too. V3's report gives an acceptance of 85% to 90% for its one
# draft (section 5.4.3; a later paper of the same group says 80% to 90%, arXiv:2505.09343).

# %%
from course_lib.speculative import tokens_per_step

print("acceptance    tokens a pass with 1, 2, 3, 4 drafts")
for a in (0.5, 0.7, 0.85, 0.9):
    print(f"{a:10.0%}", *(f"{tokens_per_step(a, depth):8.2f}" for depth in (1, 2, 3, 4)))

# %% [markdown]
# With one depth V3 gets 1.85 to 1.90 tokens a pass, and more than 2 are impossible. Further depths promise more, if their
# drafts stood as often. They do not: each depth has less of the model's work behind it, and one more guess below it.
#
# ## The model in the box
#
# The course comes with a model that has learned something. Its tokens are bytes, it has MLA, experts and one MTP depth,
# and it has read nine tenths of "tinyshakespeare", a million characters of Shakespeare's plays. On the last tenth it
# needs so many nats per character; beside it, common compressors, and a small GPT without any of these techniques.

# %%
from course_lib import boxed

record, boxed_model = boxed.record(), boxed.load().eval()
for name, key in (("gzip", "gzip"), ("xz", "xz"), ("bzip2", "bz2"), ("nanoGPT, documented CPU run", "nanogpt")):
    print(f"{name:30}{record[key]:6.2f}")
print(f"{'the model in the box':30}{record['nats_per_character']:6.2f}")
print(f"parameters, with the depth: {sum(each.numel() for each in boxed_model.parameters()):,}")

# %% [markdown]
# (A compressor is not told nine tenths of the text first, so this is no race; it says what size of number to expect.)
#
# The explorer writes with drafts. **Try this:**
#
# 1. Move *up to pass* with the arrow keys from the left. Each pass adds one token or two; the title says what was
#    drafted. Where are drafts replaced? Hold the mouse over a token to read what its draft was.
# 2. Read the line below *Write*: the text is compared with the one written without drafts.
# 3. Set the temperature to 0.8 and press *Write*, then to 1.2. Does the share of drafts that stand change as much as the text?
# 4. Take the last ready prompt, which is not Shakespeare.
# 5. Untick *Speculate*. How many passes now?

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.mtp import DraftExplorer

explorer = DraftExplorer(boxed_model, prompt="ROMEO:\n", new_tokens=100)
explorer

# %% [markdown]
# A text at temperature 0.8 for readers without a running kernel. Blue with one line: the draft stood. Green and dotted: the token
# that came free after it. Orange, bold, with a double line: the draft was replaced.

# %% tags=["nbval-ignore-output"]
from course_lib.figures.mtp import picture

still = DraftExplorer(boxed_model, prompt="", new_tokens=100)  # writes nothing yet, and leaves yours above alone
still.prompt.value, still.temperature.value = "ROMEO:\n", 0.8
still.write()
alt = "Text with marked letters: the 100 that the model wrote after ROMEO:. The first came without a draft. Nearly all others alternate between a draft that stood and the token that came free after it; here and there a single letter replaced its draft. The lines above the text count little more than half as many passes as tokens."
show_figure(picture(still.shown), alt)

# %% [markdown]
# ### Nothing is lost
#
# One text shows little. Eight prompts, 50 greedy tokens each, with and without drafts, in double precision. (In single
# precision two tokens that are nearly equally likely may change places when the model computes two positions at once
# instead of one. That is rounding; the explorer says so when it happens.)

# %%
from course_lib.generation import generate

exact = boxed.load().eval().double()
names = ("JULIET", "BRUTUS", "ANGELO", "BIANCA", "GREMIO", "TRANIO", "TYBALT", "ALONSO")
prompts = torch.stack([corpus.encode(f"{name}:\n") for name in names])
plain = generate(exact, prompts, 50)
drafted = [generate(exact, prompt[None], 50, speculate=True) for prompt in tqdm(prompts, leave=False)]
same = [torch.equal(each.tokens[0], row) for each, row in zip(drafted, plain.tokens, strict=True)]
print(f"{sum(same)} of {len(same)} texts are the same, token for token")
print(f"passes for 50 tokens: {plain.passes} without drafts, with drafts", *(each.passes for each in drafted))

# %% [markdown]
# Before you enjoy these numbers, **look at** what was written:

# %%
for name, row in zip(names[:3], plain.tokens, strict=False):
    print(f"{name}: {corpus.decode(row)!r}")

# %% [markdown]
# A small model that always takes the likeliest token repeats itself, and its three texts are much alike. What repeats may be easy to
# guess; at any rate it is a poor sample of English. So draw the tokens instead, at temperature 0.8 and 1.0, and count all three.
# The two kinds of acceptance ask different things: greedy, whether the two *favourites* are the same; drawn, how far the
# two opinions overlap. The column *overlap* is the mean of $\sum_x \min(p_x, q_x)$, noted at every check, which the
# acceptance should equal; ± is one standard error.

# %%
from functools import partial

checks: list[tuple[float, float]] = []  # how unsure the model was, and how far the two opinions overlapped


def watched(draft, draft_probs, target_probs, uniforms):
    p, q = target_probs[0], draft_probs[0]
    entropy = -torch.special.xlogy(p, p).sum()
    checks.append((entropy.item(), torch.minimum(p, q).sum().item()))
    return verify_sampled(draft, draft_probs, target_probs, uniforms)


# %%
def write(temperature: float) -> list:
    settings = dict(temperature=temperature, speculate=True, verify=watched)
    texts = enumerate(tqdm(prompts, desc=f"temperature {temperature}", leave=False))
    return [generate(exact, prompt[None], 50, seed=seed, **settings) for seed, prompt in texts]


# %% tags=["nbval-ignore-output"]
measured = {}
print("temperature   drafts judged   acceptance   overlap   tokens a pass")
for temperature in (0.0, 0.8, 1.0):
    before = len(checks)
    texts = write(temperature) if temperature else drafted
    offered, accepted = sum(each.offered for each in texts), sum(each.accepted for each in texts)
    a, per_pass = accepted / offered, sum(each.tokens.shape[1] for each in texts) / sum(each.passes for each in texts)
    measured[temperature] = a, per_pass
    noted = [overlap for _, overlap in checks[before:]]
    mean = f"{sum(noted) / len(noted):.0%}" if noted else "-"
    print(f"{temperature:11}{offered:16}{a:10.0%} ± {(a * (1 - a) / offered) ** 0.5:.0%}{mean:>8}{per_pass:16.2f}")

# %% [markdown]
# **Look at** where our three points lie on the line of the formula, and where V3 lies. (A text of 50 tokens ends in the middle of
# things, and its first pass has no draft; so the points are a little below.)

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
grid = torch.linspace(0.4, 1, 50).tolist()
axes.plot(grid, [tokens_per_step(a, 1) for a in grid], color="black", linewidth=1, label="1 + acceptance")
axes.axvspan(0.85, 0.90, color="#56B4E9", alpha=0.4, label="V3, from its report: 85% to 90%")
for (temperature, (a, per_pass)), marker in zip(measured.items(), "os^", strict=True):
    label = f"ours, temperature {temperature:g}" if temperature else "ours, greedy"
    axes.plot(a, per_pass, marker, markersize=11, color="#D55E00", fillstyle="none", markeredgewidth=2, label=label)
axes.set(xlabel="acceptance", ylabel="tokens a pass", title="one draft a pass")
axes.legend(fontsize=9)
alt = "Chart: tokens a pass against acceptance, a share. A straight line, 1 + acceptance, goes from 1.4 at 0.4 to 2.0 at 1. Three markers, ours at temperatures 0, 0.8 and 1, lie a little below the line, at acceptances between about 0.8 and 0.9. A vertical band from 0.85 to 0.90 is V3 by its report."
show_figure(figure, alt)

# %% [markdown]
# Our bytes and V3's tokens are not the same game. Most bytes continue a word, and a word once begun is easy to
# finish; a token of V3 often is a whole word. On the other side, V3 is far better at its game. So our
# numbers do not confirm V3's, and do not contradict them.
#
# Which drafts fail? Guess first: those where the model itself is unsure? Sort the checks of the drawn texts by the entropy
# of $p$, which is 0 where one letter is certain, and cut them into four quarters. **Look at** the first row against the
# others, and then at the last two.

# %% tags=["nbval-ignore-output"]
checks.sort()
quarter = len(checks) // 4
print("entropy of p [nats]    mean overlap")
for start in range(0, 4 * quarter, quarter):
    entropies, overlaps = zip(*checks[start : start + quarter], strict=True)
    print(f"{entropies[0]:6.2f} to {entropies[-1]:4.2f}{sum(overlaps) / quarter:19.0%}")

# %% [markdown]
# Where the model is sure, the depth mostly is sure too, of the same letter. Beyond that it matters little how unsure they
# are. What counts is how far the two opinions differ, and two who are unsure in the same way overlap.
#
# ## Tokens per pass are not speed
#
# V3's report says 1.8 times the tokens per second (section 5.4.3), against 1.85 to 1.90 tokens a pass. Where does the rest
# go, and what do we get? A step with drafts costs a pass over **two** tokens and a run of the depth. So
#
# $$\text{speed-up} = \frac{\text{tokens a pass} \times \text{time of a pass over 1 token}}{\text{time of a pass over 2 tokens} + \text{time of a draft}} .$$
#
# Measure all of them on your machine:

# %%
import time

from course_lib.cache import LayerCache


def milliseconds(*functions, rounds: int) -> list[float]:
    """The mean of each, run in turns, in time on the CPU: what else the machine does meanwhile does not count."""
    spent = [0.0] * len(functions)
    for _ in tqdm(range(rounds), leave=False):
        for i, function in enumerate(functions):
            began = time.process_time()
            function()
            spent[i] += 1e3 * (time.process_time() - began) / rounds
    return spent


# %%
@torch.no_grad()
def pass_over(n: int) -> None:
    boxed_model(prompts[:1, :n], cache)
    cache.truncate(50)


@torch.no_grad()
def draft_one() -> None:
    boxed_model.head(boxed_model.mtp[0](state, state, layer_cache)[1])
    layer_cache.truncate(50)


# %%
cache, layer_cache, state = boxed_model.new_cache(), LayerCache(), torch.randn(1, 1, 128)
with torch.no_grad():
    boxed_model(plain.tokens[:1], cache)
    boxed_model.mtp[0](torch.randn(1, 50, 128), torch.randn(1, 50, 128), layer_cache)

# %% tags=["nbval-ignore-output"]
run = partial(generate, boxed_model, prompts[:1], 50, temperature=0.8)
one, two, draft = milliseconds(partial(pass_over, 1), partial(pass_over, 2), draft_one, rounds=50)
print(f"a pass over 1 token {one:.1f} ms, over 2 tokens {two:.1f} ms, a draft {draft:.1f} ms")
per_pass = run(speculate=True).tokens_per_pass
print(f"at {per_pass:.2f} tokens a pass that makes {per_pass * one / (two + draft):.2f} times the speed")
plain_time, drafted_time = milliseconds(run, partial(run, speculate=True), rounds=3)
print(f"whole texts, measured: {plain_time / drafted_time:.2f} times the speed")

# %% [markdown]
# Two things eat the gain. Our depth is one block beside four, so a draft costs a fair part of a pass; V3's is one beside 61. And
# a small model on a CPU is not held up by reading its weights: its time goes into hundreds of small operations, of which
# two tokens, that go to more experts than one, need a few more.
#
# Is it better on a large machine? Suppose that time is nothing but reading weights, and count what V3 reads. In one extreme it writes a
# single text: one token reads 8 experts of 256 in each layer, and two tokens, if they choose independently, nearly twice as
# many. In the other it writes thousands of texts at once, and all experts are read anyway. **Look at** the last column.

# %%
a, one_expert, experts = 0.875, 3 * d * v3.moe_intermediate_size, v3.n_routed_experts
dense = parameters(v3).active_without_embedding - parts["routed_experts"].active
depth_dense = one_depth - experts * one_expert + vocabulary  # with the head, which it uses too
print("                read for 1 token     for 2 tokens     for a draft     speed-up")
for name, tokens_at_once in (("one text", 1), ("4,096 texts", 4096)):
    met = [experts * (1 - (1 - 8 / experts) ** (n * tokens_at_once)) for n in (1, 2)]
    read = [dense + v3.moe_layers * one_expert * each for each in met]
    draft_read = depth_dense + one_expert * met[0]
    speed = tokens_per_step(a, 1) * read[0] / (read[1] + draft_read)
    print(f"{name:12}{read[0] / 1e9:19.1f}B{read[1] / 1e9:16.1f}B{draft_read / 1e9:15.1f}B{speed:12.2f}")

# %% [markdown]
# With one text, two tokens are *not* the price of one: experts that were cheap because few were met are met twice as
# often. With many texts at once the second token is next to free, and what comes out is close to the 1.8 of the report, which serves many
# users at a time. (An estimate: it leaves out the cache, the arithmetic and the traffic between machines, and
# neighbouring tokens do share experts.) Models without experts have it easier: all their weights are read for one token already.
#
# ## What it did to the model
#
# Last, the first use: does the second question make the main model better? V3's report trained two models with and without
# MTP, of 15.7B and 228.7B parameters, and **threw the depth away** before testing (table 4): what is compared costs the same
# to use.

# %%
table = {  # small model, small with MTP, large model, large with MTP; the Pile test in bits per byte, the others in %
    "Pile test": (0.729, 0.729, 0.658, 0.657), "BBH": (39.0, 41.4, 70.0, 70.7), "MMLU": (50.0, 53.3, 67.5, 66.6),
    "DROP": (39.2, 41.3, 68.5, 70.6), "TriviaQA": (56.9, 57.7, 67.0, 67.3),
    "NaturalQuestions": (22.7, 22.3, 27.2, 28.5), "HumanEval": (20.7, 26.8, 44.5, 53.7),
    "MBPP": (35.8, 36.8, 61.6, 62.2), "GSM8K": (25.4, 31.4, 72.3, 74.0), "MATH": (10.7, 12.6, 38.6, 39.8),
}  # fmt: skip
print(f"{'':18}{'small':>8}{'+ MTP':>8}{'large':>10}{'+ MTP':>8}")
for name, (small, small_mtp, large, large_mtp) in table.items():
    print(f"{name:18}{small:8}{small_mtp:8}{large:10}{large_mtp:8}")
for size, at in (("small", 0), ("large", 2)):
    gains = [(row[at + 1] - row[at]) * (-1 if name == "Pile test" else 1) for name, row in table.items()]
    print(f"{size}: {sum(g > 0 for g in gains)} better, {gains.count(0)} equal, {sum(g < 0 for g in gains)} worse")

# %% [markdown]
# **Look at** the first row and at HumanEval. The loss on plain text hardly moves; programs get much better. One may guess
# that there one must know early where a line is going. But each column is one training. Its rows are ten
# witnesses who saw the same thing, not ten independent ones, and what another seed would have given the report does not say.
#
# Our own runs, with several seeds and intervals, are in [lesson 06](06_mini_deepseek.ipynb). To train a model of your own with a depth:
# `python3 course.py train --mtp-depths 1` (and `--help`).
#
# ## Summary
#
# - Depth $k$ at position $i$ takes the state of depth $k-1$, is told token $i+k$, and is asked for token $i+k+1$. Told the
#   token that it is asked for, it learns nothing and its loss falls below the entropy of the text.
# - A module is two norms, a projection, one transformer block and a norm; embedding and head are shared. V3 has one, with 11.61B parameters.
# - The loss is $\lambda / D$ times the sum over depths, each over $T - k$ positions and divided by the sequence length $T$. $\lambda$ was 0.3,
#   then 0.1.
# - Drafts are checked in one pass. Greedy: keep what the model would have written. Sampled: accept with $\min(1, p/q)$,
#   else draw from the residual; the text follows $p$ exactly.
# - Tokens a pass are $1 + a$ with one draft: 1.85 to 1.90 for V3. Speed is less, by the cost of the draft and of the second token.
#
# ## Three questions
#
# 1. A friend trains with $D = 2$ and gives depth 2 the state of the *main model* instead of that of depth 1, with token
#    $i+2$ told. Is it a leak? What does depth 2 not know?
# 2. $p = (0.5, 0.5)$ and $q = (1, 0)$. How often is the draft accepted? What is drawn after a refusal? Now swap them:
#    $p = (1, 0)$, $q = (0.5, 0.5)$.
# 3. Someone lowers the temperature of the *draft* only. Is the text still right? Does the acceptance rise or fall?
#
# <details><summary>Answers</summary>
#
# 1. It is no leak: nothing after token $i+2$ is known. But token $i+1$ is in neither of the two, as the main model's state
#    ends at $i$. The block's attention can still fetch it, from position $i-1$, which is told token $i+1$. Position 0 has
#    nobody to ask.
# 2. $\sum \min(p, q) = 0.5$. A refused draft is always token 1, and the residual is $(0, 0.5)$: always token 2. So both come
#    out half of the time. Swapped: 0.5 again; the residual is $(0.5, 0)$, and token 1 always comes out.
# 3. Right, as long as the check uses the $q$ from which the draft was really drawn. The overlap is largest where $q = p$:
#    cooling a draft that is less sure than the model brings it nearer, and cooling it further takes it away again. At
#    temperature 0 it puts everything on one token $x$, and the acceptance is $p_x$.
#
# </details>
#
# ## Assignment
#
# [hw3_mtp](../assignments/release/hw3_mtp/hw3_mtp.ipynb) asks for the functions of this lesson: `mtp_pairs`, `mtp_input`, `mtp_loss`,
# `verify_greedy`, `verify_sampled`, `tokens_per_step`. Its checks know the leak, the swapped halves and the two wrong rules by name.
# At its end the model in the box writes with your own verification.
