# %% [markdown]
# # 04 Load balancing: work for every expert
#
# *Read: 40 minutes. Runs: half a minute on a CPU. Needs: PyTorch and matrices; [lesson 03](03_moe_routing.ipynb).*
#
# A model with many experts learns to use a few. Nobody tells it to: the router likes some experts better from the first
# step on, those learn, and the others never get the chance. This lesson lets that happen, and repairs it twice: with a
# loss, as in DeepSeek-V2, and with a bias, as in DeepSeek-V3. After it you can
#
# - watch a router collapse, and measure how far it has gone: MaxVio,
# - write down both balance losses and the gradient with which they push,
# - keep the load even with one number per expert and no gradient, and
# - read the routing formula of V3 symbol by symbol, and say what an article about it left out.
#
# The letters: `e` experts, of which each token chooses `k`; $s_{i,t}$ the affinity of token $t$ for expert $i$.

# %% tags=["bootstrap"]

# %% [markdown]
# ## Watch it collapse
#
# Here is DeepSeek-V3 in small: bytes for tokens, one dense layer, then two layers of 16 experts, of which each token
# chooses 2. It trains for 40 steps on simple English stories, with 2,048 bytes a step, and nothing is done about balance.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import torch

from course_lib import corpus
from course_lib.config import mini
from course_lib.devices import place_of
from course_lib.figures import show_figure
from course_lib.model import MiniDeepSeek
from course_lib.training import Recipe, Training

torch.set_num_threads(1)  # products this small are not worth sharing out

# %%
text = corpus.load("stories", 1_000_000)
torch.manual_seed(0)
model = MiniDeepSeek(mini())
training = Training(model, text, Recipe(steps=40, learning_rate=5e-3))
history, (e, k) = training.history, (model.config.n_routed_experts, model.config.num_experts_per_tok)
print(f"training on {place_of(model)}")
for _ in training.run():
    pass
print(f"load (step, layer, expert): {tuple(history.load.shape)}")
print(f"2,048 bytes, each to {k} experts: {history.load[0, 0].sum()} a step and layer")

# %% [markdown]
# The **load** of an expert is the number of tokens that chose it in a step. If all were treated alike, each would get
# its fair share, 4096 / 16 = 256. **Look at** the rows: each is one expert. Grey has about its fair share, orange too many
# tokens, dark blue next to none. And look at when it begins.

# %%
from course_lib.figures.balance import balance_figure
from course_lib.widgets.balance import Settings, picture

alt = "Left, two grids of load, layers 2 and 3: a row for each of 16 experts, 40 steps across. Within a few steps most rows go from mixed to next to no tokens, and a few have far too many. Right, three charts over the steps: MaxVio climbs to about 7, the worst, and comes down only in part; the loss falls; the balance biases stay at 0."
show_figure(balance_figure(picture(Settings(balance="nothing", steps=40), history, text.floor)), alt)

# %% [markdown]
# The upper right panel is the measure of the next section: at its dashed line, one expert gets every token. In
# numbers, for the last 20 steps:

# %%
whole = "was the training interrupted? Run its cell to the end"
share = history.load[-20:].sum(0) / history.load[-20:].sum(0).double().mean(-1, keepdim=True)
for row in share:
    assert (row < 1 / 8).sum() > 3 and row.topk(2).values.sum() / e > 1 / 4, whole
print(f"in both layers more than 3 of {e} experts have less than 1/8 of a fair share,")
print("and the two busiest do more than a quarter of the work")

# %% [markdown]
# Two things work together. The first is there before any training. The vectors that reach the router have much in
# common, whatever the token; a centroid that happens to point that way is liked by all of them. How much is in common? In
# an untrained model, compare the squared length of the mean vector with the mean squared length. For vectors that have
# nothing in common it would be about 0.

# %%
torch.manual_seed(0)
untrained, seen = MiniDeepSeek(mini()), []
for block in untrained.blocks:
    block.ffn.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].flatten(0, 1)))
with torch.no_grad():
    untrained(text.batch(0, 16, 128)[:, :-1])
for layer, x in list(enumerate(seen, 1))[1:]:
    common = x.mean(0).square().sum() / x.square().sum(-1).mean()
    print(f"layer {layer}: {common:.0%} of what its router sees is the same for all tokens")

# %% [markdown]
# The second keeps it so. An expert learns from its tokens only, and its centroid moves only where it was chosen. Take one
# more batch, and ask which experts receive any gradient from the text.

# %%
import torch.nn.functional as F

from course_lib.moe import recorded_routing
from course_lib.routing import expert_load

# %%
batch = text.batch(0, 16, 128, seed=1)
with recorded_routing(model) as routings:
    logits = model(batch[:, :-1])
text_loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
text_loss.backward(retain_graph=True)
for moe, routing in zip([block.ffn for block in model.blocks[1:]], routings, strict=True):
    idle = expert_load(routing.indices, e) == 0
    for weight in (moe.gate_up, moe.down, moe.router.centroids):
        learns = weight.grad.flatten(1).norm(dim=1) > 0
        assert torch.equal(learns, ~idle)
print("an expert with no token gets no gradient, and neither does its centroid")

# %% [markdown]
# An expert that is never chosen cannot make itself worth choosing. On a real cluster the damage is double: parameters
# that were paid for lie idle, and since experts live on different GPUs, all wait for the GPU with the busiest one.
#
# ## MaxVio: how uneven is it
#
# One number per layer, from the paper that proposed the second repair (arXiv:2408.15664, section 4.1): by how much the
# busiest expert exceeds the mean,
#
# $$\text{MaxVio} = \frac{\max_i \text{load}_i - \overline{\text{load}}}{\overline{\text{load}}} .$$
#
# By hand, for 4 experts and 8 tokens that choose 2 each. **Look at** the last two rows. The worst is $e/k - 1$, since no
# expert can get a token twice, and both reach it: MaxVio looks at the busiest expert, and at nobody else.

# %%
from course_lib.routing import max_violation

for load in ([4, 4, 4, 4], [6, 4, 4, 2], [8, 4, 2, 2], [8, 8, 0, 0]):
    mean = sum(load) / len(load)
    by_hand = (max(load) - mean) / mean
    assert by_hand == max_violation(torch.tensor(load)).item()
    print(f"load {load}: MaxVio ({max(load)} - {mean:g}) / {mean:g} = {by_hand:g}")
print(f"4 experts, 2 chosen: worst {4 / 2 - 1:g}; our model, {e} experts, {k} chosen: worst {e / k - 1:g}")

# %% [markdown]
# The load of *which* tokens? The paper has two answers. **Batch** MaxVio: of each batch, then averaged. **Global**
# MaxVio: of the load summed over a whole validation text. They tell different stories: an expert for verbs of the sea may
# be overrun in one batch and idle in the next, and have its fair share over the year.

# %%
batches = torch.tensor([[8, 4, 2, 2], [0, 4, 6, 6]])
print(f"batch MaxVio {max_violation(batches).mean():g}, global MaxVio {max_violation(batches.sum(0)):g}")

last = history.load[-20:]
batch_violation, global_violation = max_violation(last).mean(0), max_violation(last.sum(0))
assert (global_violation <= batch_violation + 1e-9).all()
assert (global_violation > 0.8 * batch_violation).all(), whole
print("our model, last 20 steps: in both layers the global one is more than four fifths of the batch one")

# %% [markdown]
# The last line is the mark of a collapse: in all batches the same expert is overrun.
#
# ## Repair 1: a loss
#
# Add to the loss of the text a second one, which is small when the load is even. V3's is called **sequence-wise**
# (arXiv:2412.19437, equations 17 to 20). For one sequence of $T$ tokens,
#
# $$L = \alpha \sum_{i=1}^{e} f_i\, P_i, \qquad f_i = \frac{e}{k\,T} \sum_{t=1}^{T} \mathbb 1[\text{token } t \text{ chose expert } i], \qquad P_i = \frac1T \sum_{t=1}^{T} \frac{s_{i,t}}{\sum_j s_{j,t}} .$$
#
# | symbol | meaning |
# |---|---|
# | $f_i$ | the load of expert $i$ in fair shares: 1 is fair. A count, so no gradient flows through it |
# | $P_i$ | the part of all affinity that goes to expert $i$, averaged over tokens. Here the gradient flows |
# | $\alpha$ | how much balance is worth, in nats of loss. V3 used 0.0001 (section 4.2) |
#
# (In the report $f_i$ counts the $k$ largest affinities, without the bias of the next section. Ours counts the experts that
# were really chosen. With the loss alone the two are the same.)
#
# By hand, for 64 tokens and 8 experts that grow in popularity:

# %%
from course_lib.routing import choose_experts, sequence_balance_loss

torch.manual_seed(0)
n_tokens, n_experts, alpha = 64, 8, 0.01
popularity = torch.linspace(-1.5, 1.5, n_experts, dtype=torch.float64)
toy = (torch.randn(n_tokens, n_experts, dtype=torch.float64) + popularity).sigmoid().requires_grad_()
chosen = choose_experts(toy.detach(), k)

f = expert_load(chosen, n_experts).double() * n_experts / (k * n_tokens)
P = (toy / toy.sum(-1, keepdim=True)).mean(0)
balance_loss = alpha * (f * P).sum()
torch.testing.assert_close(balance_loss, sequence_balance_loss(toy[None], chosen[None], alpha))
print("f:", [round(value, 2) for value in f.tolist()])
print(f"balance loss: {balance_loss / alpha:.2f} alpha; with all f = 1 it is alpha, since the P add up to 1")

# %% [markdown]
# V2's **expert-level** loss (arXiv:2405.04434, equations 23 to 25) is the same sum, except that $P_i$ is the mean of
# $s_{i,t}$ itself. There the affinities are a softmax and add up to 1 by themselves; V3's sigmoids do not. The difference
# matters. With $s'_{i,t} = s_{i,t} / \sum_j s_{j,t}$ the gradients on one affinity are
#
# $$\frac{\partial L}{\partial s_{i,t}} = \underbrace{\frac{\alpha}{T}\, f_i}_{\text{not normalised}} \qquad\text{and}\qquad \frac{\partial L}{\partial s_{i,t}} = \underbrace{\frac{\alpha}{T \sum_j s_{j,t}} \Big( f_i - \sum_j f_j\, s'_{j,t} \Big)}_{\text{normalised}} .$$

# %%
(not_normalised,) = torch.autograd.grad(alpha * (f * toy.mean(0)).sum(), toy)
(normalised,) = torch.autograd.grad(balance_loss, toy)

total = toy.detach().sum(-1, keepdim=True)
weighted_mean = (f * toy.detach() / total).sum(-1, keepdim=True)
torch.testing.assert_close(not_normalised, (alpha / n_tokens * f).expand_as(toy))
torch.testing.assert_close(normalised, alpha / (n_tokens * total) * (f - weighted_mean))
print("both formulas agree with autograd")
print("experts that are pushed up: not normalised", (not_normalised.mean(0) < 0).sum().item(), end=", ")
print("normalised", (normalised.mean(0) < 0).sum().item(), "of", n_experts)

# %% [markdown]
# **Look at** the signs. Descent goes against the gradient. Without the normalisation a loss on sigmoids lowers every
# expert that was chosen at all, the busy ones more, and raises nobody. With it, experts above a weighted mean of the loads
# go down and those below it go up. (The push on an affinity is minus the gradient, here its mean over the tokens, in units
# of $\alpha / T$. Mind the axes: the right one spans about a quarter of the one beside it, since V3's gradient is divided by
# the sum of a token's affinities, which is about 4 here.)

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.4), layout="constrained", sharex=True)
left.bar(range(n_experts), f, color=["#6baed6" if value < 1 else "#f16913" for value in f])
left.axhline(1, color="black", linestyle="--", linewidth=0.8)
left.set(title="load f [fair shares]", xlabel="expert")
for axes, gradient, name in ((middle, not_normalised, "not normalised"), (right, normalised, "normalised (V3)")):
    push = -gradient.mean(0) * n_tokens / alpha
    axes.bar(range(n_experts), push, color=["#0072B2" if value > 0 else "#D55E00" for value in push])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title=f"push, {name} [$\\alpha / T$]", xlabel="expert")
alt = "Three bar charts by expert, 0 to 7. Load in fair shares: from 0 for experts 0 and 1 up to 3.0 for expert 7; the first five are below 1. Push on affinities in alpha / T, not normalised: 0 where the load is 0, else down, to -3. Normalised as in V3: upwards for experts 0 to 4, at most +0.4, downwards for 5 to 7, at most -0.4."
show_figure(figure, alt)

# %% [markdown]
# ### What it costs
#
# The loss works; you will see how well. Its price is a second gradient in the same parameters. What a token is, and
# whether expert 5 would be good for it, does not enter: the next byte appears nowhere in the formula. Take the batch from
# above and $\alpha = 0.01$, and compare the two gradients on the centroids of our collapsed model.

# %%
centroids = [router.centroids for router in training.routers]
of_text = torch.autograd.grad(text_loss, centroids, retain_graph=True)
shaped = [(r.scores.unflatten(0, (16, -1)), r.indices.unflatten(0, (16, -1))) for r in routings]
of_balance = sum(sequence_balance_loss(scores, indices, 0.01) for scores, indices in shaped)
for a, b in zip(of_text, torch.autograd.grad(of_balance, centroids, retain_graph=True), strict=True):
    cosine = F.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    assert b.norm() > a.norm() and cosine.abs() < 0.3, whole
print("in both layers the balance loss pulls harder than the text, and the cosine of the two is below 0.3")

named = dict(model.named_parameters())
touched = torch.autograd.grad(of_balance, list(named.values()), allow_unused=True)
print([name for name, gradient in zip(named, touched, strict=True) if gradient is not None][:4], "...")

# %% [markdown]
# The two gradients are as good as unrelated, and the wrong one is the larger. Nor does it stop at the router: the last line
# names the embedding and the attention of the first layer. To make the load even, the balance loss will gladly change what
# the model thinks of a byte. A smaller $\alpha$ disturbs less, and balances less. V2 had three such losses, for experts,
# devices and communication, with weights 0.003, 0.05 and 0.02 (arXiv:2405.04434, section 3.1.2).
#
# ## Repair 2: a bias
#
# Leave the losses out, and correct the choice itself (arXiv:2408.15664, algorithm 1). Each expert has a number $b_i$, at
# first 0. A token chooses the $k$ experts with the largest $s_{i,t} + b_i$. After each step, look at the load of the whole
# batch: whoever had more than the mean goes down by $\gamma$, whoever had less goes up by $\gamma$. That is all:
#
# $$b_i \leftarrow b_i + \gamma \cdot \operatorname{sign}\left(\overline{\text{load}} - \text{load}_i\right) .$$
#
# Try it on affinities that do not change: 2,048 tokens, 16 experts, some popular and some not.

# %%
from course_lib.routing import update_bias

torch.manual_seed(0)
scores = (torch.randn(2048, e) + torch.randn(e)).sigmoid()


def balanced(speed: float, steps: int, **groups: int) -> tuple[torch.Tensor, list[float]]:
    """Biases after so many steps, and the MaxVio of every step."""
    bias, violations = torch.zeros(e), []
    for _ in range(steps):
        load = expert_load(choose_experts(scores, k, bias=bias, **groups), e)
        violations.append(max_violation(load).item())
        by_hand = bias + speed * (load.double().mean() - load).sign().float()
        torch.testing.assert_close(by_hand, bias := update_bias(bias, load, speed))
    return bias, violations


# %% [markdown]
# **Look at** the three speeds, on a logarithmic axis. The large one arrives first and then jumps about. Each of the
# others takes about ten times as long as the one before it, and comes closer to even.

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
for speed, colour in ((0.1, "#E69F00"), (0.01, "#0072B2"), (0.001, "#009E73")):
    violations = balanced(speed, steps=500)[1]
    axes.plot(range(1, 501), violations, color=colour, label=f"speed {speed}")
    late = sum(violations[-50:]) / 50
    print(f"speed {speed:5}: MaxVio {violations[0]:.2f} at first, {late:.2f} over the last 50 steps")
axes.set(xlabel="step", xscale="log", ylabel="MaxVio", title="fixed affinities, biases that answer the load")
axes.legend()
alt = "Three lines: MaxVio against the step, 1 to 500 on a logarithmic axis, all from 5.71. Speed 0.1 comes down within some 6 steps, and then jumps about near 0.9. Speed 0.01 takes some 40 steps and stays near 0.1. Speed 0.001 takes some 400 and ends lowest, near 0.02."
show_figure(figure, alt)

# %% [markdown]
# A step always has the same size, however uneven the load: the sign is all that counts. Steps in proportion to the
# error were tried in the paper, too: a little better balance (MaxVio 0.028 to 0.040, against 0.044 for the sign), and no better a model
# (perplexity 9.51 to 9.53, against 9.50).
#
# Two properties make this repair what it is. **No gradient.** The bias is no parameter, and no loss knows of it; whatever
# gradient flows comes from the text. **The choice, not the gate.** The bias decides who works, not how much the work
# counts. Here all tokens are made to choose expert 0, by a bias of 1, and then the gate of expert 0 is computed from its
# affinity, and wrongly from the biased one:

# %%
from course_lib.routing import gate_weights

router = training.routers[0]
assert "bias" in dict(router.named_buffers()) and "bias" not in dict(router.named_parameters())

bias = torch.zeros(e)
bias[0] = 1.0
indices = choose_experts(scores, k, bias=bias)
for name, values in (("own affinity", scores), ("biased affinity", scores + bias)):
    gates = gate_weights(values, indices, normalise=True)
    print(f"{name:16} expert 0 is chosen by {(indices == 0).any(1).double().mean():.0%}", end=", ")
    print(f"its mean gate is {gates[indices == 0].mean():.2f}")

# %% [markdown]
# With the affinity itself, expert 0 is heard but has no more say than its affinity gives it. With the biased one, an expert would be
# loud because it had been idle, and the correction would change what the layer computes far more than it must.
#
# ### The formula, symbol by symbol
#
# An article of January 2025, one of those behind [lesson 00](00_start_here.ipynb), gives this formula for V3 (it is equation
# 16 of the report, arXiv:2412.19437) and calls $g'_{i,t}$ "the gating value":
#
# $$g'_{i,t} = \begin{cases} s_{i,t}, & s_{i,t} + b_i \in \operatorname{Topk}\left(\{ s_{j,t} + b_j \mid 1 \le j \le N_r \},\, K_r\right) \\ 0, & \text{otherwise.} \end{cases}$$
#
# | symbol | meaning | in V3 |
# |---|---|---|
# | $s_{i,t}$ | affinity of token $t$ for expert $i$: the sigmoid of the product of token and centroid | between 0 and 1 |
# | $b_i$ | balance bias of expert $i$, the same for all tokens | moved after each step |
# | $N_r$ | routed experts | 256 |
# | $K_r$ | experts that a token chooses | 8 |
# | $\operatorname{Topk}(\{\dots\}, K_r)$ | the set of the $K_r$ largest | after the limit on groups, see below |
# | $g'_{i,t}$ | what is left of the affinity: all of it for a chosen expert, 0 for the others | at most 8 are not 0 |
#
# The formula is right. It is not the whole of it, and the article leaves out what makes it work:
#
# 1. **The gate is not $g'$**, it is $g_{i,t} = g'_{i,t} / \sum_j g'_{j,t}$, so that the gates of a token add up to 1. The
#    published code then multiplies by 2.5.
# 2. **$b$ has no rule there.** It acts "based on current loads", but how it moves is left out: by $\pm\gamma$ after each
#    step, with $\gamma = 0.001$ for the first 14.3 trillion tokens and 0 for the last 500 billion (section 4.2). At the
#    end the biases stand still.
# 3. **$b$ enters the condition only.** Look for it in the value that is kept: it is not there.
# 4. **A loss remains.** "Without introducing auxiliary loss penalties" is not strictly true: V3 keeps the sequence-wise loss, with
#    $\alpha = 0.0001$, to prevent extreme imbalance within one sequence (section 2.1.2).
# 5. **Nothing is optimal.** The article says that training gets stable "by optimally distributing loads". The paper claims a better balance and a slightly
#    better model, and gives the numbers. They come below.
#
# Here is all of it in six lines, with V3's numbers, against the course's own router:

# %%
from course_lib.config import published

v3 = published("deepseek-v3")
n_r, k_r, factor = v3.n_routed_experts, v3.num_experts_per_tok, v3.routed_scaling_factor
torch.manual_seed(0)
s, b = torch.rand(5, n_r), 0.1 * torch.randn(n_r)
smallest_chosen = (s + b).topk(k_r).values[:, -1:]
g_prime = torch.where(s + b >= smallest_chosen, s, 0)
g = g_prime / g_prime.sum(-1, keepdim=True)

indices = choose_experts(s, k_r, bias=b)
torch.testing.assert_close(factor * g.gather(1, indices), gate_weights(s, indices, normalise=True, scale=factor))
print(f"N_r = {n_r}, K_r = {k_r}; the {k_r} values g' of a token add up to {g_prime.sum(-1).min():.1f} and more")
print(f"its gates add up to {(factor * g).sum(-1).mean():.1f}")

# %% [markdown]
# ### What the limit on groups does to the balance
#
# V3's experts lie in 8 groups, one a machine, and a token may visit 4 of them. That saves traffic, and it narrows the choice: a good expert in
# a bad group is closed. What does this do to the balance? Here are our fixed affinities again, with 16 experts in 4 groups.
# **Look at** the last two columns.

# %%
free = balanced(0.01, steps=100)[0]
want = choose_experts(scores, k, bias=free)
print("open groups   MaxVio without bias   with bias   affinity chosen, against free choice")
for open_groups in (4, 2, 1):
    groups = {"n_group": 4, "topk_group": open_groups}
    bias, violations = balanced(0.01, steps=100, **groups)
    indices = choose_experts(scores, k, bias=bias, **groups)
    kept = scores.gather(1, indices).sum() / scores.gather(1, want).sum()
    late = sum(violations[-50:]) / 50
    print(f"{open_groups} of 4 {violations[0]:20.2f} {late:15.2f} {kept:18.1%}")

# %% [markdown]
# If the biases may answer, the limit costs next to no balance. It costs choice: with one open group, tokens end up with
# experts that fit them less. (That MaxVio *without* bias is lower here is no merit: who cannot reach the favourite goes
# elsewhere.) But these affinities do not learn. In a training the limit also decides which experts ever meet a token; try
# it in the lab below.
#
# ## Four ways, compared
#
# Forty steps say little about the loss. So the same model was trained four times for 800 steps, and all of it again with
# other seeds: without balance, by the sequence-wise loss, by the bias, and by both. That takes longer than a page may, so a
# command did it, and its log is part of the course:
# `python3 course.py sweep balance --seeds 0,1,2,3,4,5 --out course_lib/logs/balance.csv`.

# %%
from importlib.resources import files

from course_lib.sweep import read

rows = sorted(read(files("course_lib") / "logs/balance.csv"), key=lambda row: int(row["seed"]))
strategies = ["none", "loss", "bias", "both"]


def column(strategy: str, name: str) -> torch.Tensor:
    """A result or a curve, one row a seed."""
    return torch.tensor([[float(x) for x in row[name].split()] for row in rows if row["strategy"] == strategy])


# %%
for strategy in strategies:
    settings = [f"{name} {column(strategy, name)[0].item():g}" for name in ("steps", "sequence_alpha", "bias_speed")]
    print(f"{strategy:5}", *settings, sep="  ")
print("seeds:", *sorted({int(row["seed"]) for row in rows}))

# %% [markdown]
# **Look at** the two panels. Each line is the mean over the seeds, each bar goes from the lowest seed to the highest (bars
# of different lines stand at different steps, so that none hides another). On the left, MaxVio in training on a logarithmic
# axis; on the right, the loss, as a difference from the mean of the four with that seed, since the curves themselves lie on
# top of one another. Which bars overlap, and which do not?

# %%
colours = ("#000000", "#E69F00", "#0072B2", "#009E73")
mean_of_all = torch.stack([column(strategy, "loss_curve") for strategy in strategies]).mean(0)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for first, (strategy, colour) in enumerate(zip(strategies, colours, strict=True), 4):
    losses = column(strategy, "loss_curve") - mean_of_all
    for axes, curves in ((left, column(strategy, "max_violation_curve")), (right, losses)):
        steps, mean = 20 * torch.arange(1, curves.shape[1] + 1) - 10, curves.mean(0)  # a point: mean over 20 steps
        ends = torch.stack([mean - curves.amin(0), curves.amax(0) - mean])
        axes.errorbar(steps, mean, ends, errorevery=(first, 8), color=colour, label=strategy, capsize=2)
left.set(title="batch MaxVio, mean over layers", xlabel="step", yscale="log")
_ = left.set_yticks([], minor=True), left.legend(ncols=2)
left.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
right.set(title="loss, less the mean of all four [nats per byte]", xlabel="step")
alt = "Lines over 800 steps, means of six seeds, with bars from lowest to highest at some steps. Left, batch MaxVio, logarithmic: without balance from 5.3 only down to 3.6; with the loss to 0.25; with bias or both to 0.19, sooner. Right, loss less the mean of all four, in nats per byte: at the end none is highest, +0.007, bias lowest, -0.006; the bars overlap widely."
show_figure(figure, alt)

# %% [markdown]
# At the end each model read a validation text that it had not seen. Mean and standard deviation over the seeds:

# %%
print(f"{'balance by':12}{'validation loss':>20}{'global MaxVio':>18}{'seed by seed':>18}")
for strategy in strategies:
    loss, violation = column(strategy, "validation_loss"), column(strategy, "global_max_violation")
    numbers = f"{loss.mean():11.4f} ± {loss.std():.4f}{violation.mean():12.2f} ± {violation.std():.2f}"
    print(f"{strategy:10}{numbers}     ", *(f"{value:.2f}" for value in violation.flatten().tolist()))

# %% [markdown]
# Which of these differences can be told from chance? Runs with one seed began with the same weights and read the same
# text in the same order. So take the differences seed by seed, and a Student-t interval of their mean: what the
# difference may be, at a level of 95%, if seeds differ as they do here. If the interval holds 0, nothing is shown.

# %%
from scipy.stats import t as student


def compare(name: str, a: str, b: str) -> str:
    """The mean of a - b over the seeds, its interval, and what may be said."""
    difference = (column(a, name) - column(b, name))[:, -1]  # of a curve the last point
    n, mean = len(difference), difference.mean().item()
    half = student.ppf(0.975, n - 1) * difference.std().item() / n**0.5
    verdict = f"{a} is lower" if mean + half < 0 else f"{b} is lower" if mean - half > 0 else "not told apart"
    return f"{a:>4} - {b:4} {mean:+8.4f}  [{mean - half:+.4f}, {mean + half:+.4f}]  {verdict}"


# %%
names = {"max_violation_curve": "batch MaxVio of the last 20 steps", "global_max_violation": "global MaxVio"}
for name, words in {**names, "validation_loss": "validation loss"}.items():
    print(words)
    for a, b in (("loss", "none"), ("bias", "none"), ("both", "none"), ("bias", "loss"), ("both", "bias")):
        print("   ", compare(name, a, b))

# %% [markdown]
# And the paper (arXiv:2408.15664, table 2)? It compares the loss with the bias in models of one and three billion
# parameters, on 100 and 200 billion tokens, and gives perplexity, which is $\exp(\text{loss})$ per token. Ours is per byte.
# The table sets both side by side; smaller is better everywhere.

# %%
import math

paper = {"paper, 1B": ((9.56, 0.72), (9.50, 0.04)), "paper, 3B": ((7.97, 0.52), (7.92, 0.04))}
ours = [
    (column(way, "validation_loss").mean().exp().item(), column(way, "global_max_violation").mean().item())
    for way in ("loss", "bias")
]
print(f"{'':11}{'perplexity':^18}{'difference of loss':^22}{'global MaxVio':^18}{'times':>6}")
print(f"{'':11}{'loss':>8}{'bias':>8}{'bias - loss':>19}{'loss':>13}{'bias':>8}")
for name, ((p_loss, v_loss), (p_bias, v_bias)) in {**paper, "ours": ours}.items():
    difference = math.log(p_bias / p_loss)
    print(f"{name:11}{p_loss:8.2f}{p_bias:8.2f}{difference:+19.4f}{v_loss:13.2f}{v_bias:8.2f}{v_loss / v_bias:9.1f}")
lower = column("bias", "validation_loss") < column("loss", "validation_loss")
print(f"ours: the loss is lower with the bias for {lower.sum()} of {len(lower)} seeds")

# %% [markdown]
# V3's own report repeats the comparison (section 4.5.3): validation losses of 2.258 with the sequence-wise loss and 2.253 with the
# bias at one billion parameters, 2.085 and 2.080 at three. But a loss over the whole batch does as well as the bias, 2.253
# and 2.080. So what hurts, it seems, is less the gradient than the demand that *every sequence* be balanced.
#
# **What came out as in the paper.** Each repair makes the load far more even than doing nothing. And the bias beats the
# balance loss where the paper says it does: with every one of the six seeds its validation loss is lower and its last training
# batches are more even, and both intervals lie below 0.
#
# **What did not.** Global MaxVio, which the paper finds 13 and 18 times smaller with the bias, is smaller here for five seeds
# of six and by much less; its interval holds 0. Nor do we see what a collapse costs: without balance the mean loss is the
# highest of the four, and yet not told apart from any other. A small model with a shared expert and simple stories seems
# to get along with few experts. And V3's way, both at once, is not told apart from the bias alone.
#
# (The first three seeds were run first, and could not tell bias from loss; three more were added. Who adds seeds until
# an interval leaves 0 will always succeed. We decided on six before looking further, but you have only our word.)
#
# Our runs differ from the paper's in more than size. They had 40,000 steps and more, we have 800, so both our settings are ten times
# theirs ($\alpha$ and speed were 0.001 there). And a large speed leaves the load jumping, as you saw above.
#
# ## The lab
#
# Now it is your turn. Set the controls and press **Train**. The kernel stays free: you can stop, continue, or run other cells
# meanwhile. The controls are **read when a training starts**; change one, and Train starts again from step 0. `lab.run()` in the second
# cell trains as well, but keeps the kernel busy until it is done or you interrupt it (■ in the toolbar).

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.balance import BalanceLab

lab = BalanceLab(balance="bias", steps=60)
lab

# %% tags=["nbval-ignore-output"]
lab.run()

# %% [markdown]
# The same picture for readers without a running kernel: as in the collapse at the top of this page, but with the bias.
# **Look at** how long layer 3 takes to come right, and at the lines of the biases while it does.

# %%
alt = "Five panels as in the collapse above, now 60 steps with the bias. The two grids of load begin with many rows far too empty or too full and become nearly even, layer 2 early, layer 3 much later. MaxVio comes down towards 0, in layer 3 later; the loss falls; the lines of the biases fan out from 0 upwards and downwards."
show_figure(balance_figure(lab.shown), alt)

# %% [markdown]
# **Try this:**
#
# 1. Set *balance by* to nothing and run. Then to a loss. In which does MaxVio fall first, and in which does it go lower?
# 2. With the bias, set the speed to 0.1. What happens to MaxVio, and what to the lines of the biases? And with 0.001?
# 3. Eight experts of 64 are as large a part as one of 8. Set *experts* to 64 and *experts chosen* to 8, then 8 and 1. Where
#    is the worst MaxVio? Which is easier to keep even?
# 4. *groups* 4, *open groups* 1: each token stays on one machine.
# 5. Put your own function in: the lab takes what you write in the assignment, and here is one that has the sign wrong.
#
# ```python
# def wrong_way(bias, load, speed):
#     return update_bias(bias, load, -speed)
#
# lab = BalanceLab(update_bias=wrong_way, steps=60)
# lab  # then press Train
# ```
#
# `lab.history` holds the numbers of every step: `loss`, `load`, `bias`, `max_violation`.
#
# ## Summary
#
# - Left alone, routing collapses within a few steps: tokens have much in common, and an expert without tokens gets no
#   gradient, so it stays without.
# - MaxVio is the excess of the busiest expert over the mean: 0 when even, $e/k - 1$ at worst; over a batch, or over a
#   text.
# - A balance loss pushes down the affinities of busy experts, and, if it is normalised, up those of idle ones. It adds a
#   gradient that knows nothing of the text, to the router and to all that lies before it.
# - A balance bias is added to the affinities for the choice only and moves by a fixed step against the load. It has no
#   gradient, and the gates do not see it.
# - V3 uses the bias, and a small sequence-wise loss beside it.
#
# ## Three questions
#
# 1. V3 has 256 experts and chooses 8. What is the worst MaxVio? What would a global MaxVio of 0.04 mean for the busiest
#    expert?
# 2. Suppose that the biases could grow without end, and that all affinities lie between 0 and 1. By how much must
#    $b_i$ exceed all other biases until every token chooses expert $i$? How many steps of $\gamma = 0.001$ is that at least, if the others stand still?
# 3. In the last part of V3's training $\gamma$ was 0. Why may one stop there, and what could go wrong had one begun so?
#
# <details><summary>Answers</summary>
#
# 1. $256/8 - 1 = 31$. The busiest expert gets 1.04 times the mean load.
# 2. By 1: then $s_{i,t} + b_i \ge 1 + b_j > s_{j,t} + b_j$ for any affinities, as sigmoids are above 0 and below 1. That is 1,000 steps, or 500
#    if the others move the other way.
# 3. By then the affinities hardly change (the learning rate is small), so biases that balance the load today will
#    do so tomorrow. Begun so, all biases would stay 0, which is the collapse at the top of the page.
#
# </details>
#
# ## Assignment
#
# [hw2_moe](../assignments/release/hw2_moe/hw2_moe.ipynb) asks for the functions of this lesson and the last: `affinities`, `route`,
# `moe_output`, `expert_load`, `max_violation`, `update_bias`, `sequence_balance_loss`, `parameter_counts`. At its end your own `route` and `update_bias`
# train in the lab.
