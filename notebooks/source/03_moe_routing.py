# %% [markdown]
# # 03 Experts: hold much, use little
#
# *Read: 45 minutes. Runs: seconds on a CPU. Needs: PyTorch and matrices; no earlier lesson.*
#
# DeepSeek-V3 holds 671 billion parameters, and a token meets 37 billion of them. The others wait for tokens that they
# fit better. This lesson opens the layer that does it, the **mixture of experts** (MoE), and the small piece inside that
# decides who works: the **router**. After it you can
#
# - route a token by hand: affinities, choice, gates,
# - say what fine-grained experts, shared experts and closed groups are for, and what each costs,
# - avoid the four mistakes that routers are known for, and
# - count 671B and 37B from a config, and say which of three ways of counting gives which published number.
#
# Letters, here and in the whole course: `m` tokens, `d` the hidden size, `e` routed experts, `k` of them chosen for a
# token, `f` the width of one expert.

# %% tags=["bootstrap"]

# %% [markdown]
# ## Where the parameters are
#
# A transformer layer has two parts. Attention lets tokens look at each other; a **feed-forward layer** then works on each
# token alone. Wider feed-forward layers tend to make better models, and cost more: every parameter is multiplied with
# every token. Experts undo this "every". Cut the layer into many, and let each token pass through few. **Look at** the
# two shares.

# %%
from course_lib.accounting import parameters
from course_lib.config import published
from course_lib.figures import show_figure

v3 = published("deepseek-v3")
count = parameters(v3)
experts = count.components["routed_experts"]
print(f"parameters held:       {count.total:15,}")
print(f"  in routed experts:   {experts.total:15,}, {experts.total / count.total:.1%}")
print(f"used by one token:     {count.active:15,}, {count.active / count.total:.1%}")
print(f"  in routed experts:   {experts.active:15,}, {v3.num_experts_per_tok} of {v3.n_routed_experts} in a layer")

# %% [markdown]
# A parameter that a token uses costs it two operations, a multiplication and an addition. (The embedding is looked up, so
# it is left out here; so is the work inside attention that grows with the context.) **Look at** the last column: a model
# of 405 billion parameters without experts works eleven times as hard for each token as one of 671 billion with them.

# %%
print(f"{'model':18}{'held':>9}{'used':>9}{'used/held':>11}{'GFLOP a token':>15}")
for name in ("deepseek-llm-67b", "llama-3.1-405b", "mixtral-8x7b", "deepseek-v3"):
    each = parameters(published(name))
    used = each.active_without_embedding
    print(f"{name:18}{each.total / 1e9:8.1f}B{used / 1e9:8.1f}B{used / each.total:11.0%}{2 * used / 1e9:15.0f}")

# %% [markdown]
# Work per token follows the parameters *used*; memory follows the parameters *held*. Experts are for those who have
# memory and lack time. Now to the one decision inside: which experts?
#
# ## Routing by hand
#
# Here are 3 tokens and 6 experts. The router has a row for each expert, its **centroid**, of the same length as a token.
#
# **Step 1, affinities.** Multiply each token with each centroid, and press the product between 0 and 1. This is how well
# the expert fits.

# %%
import torch

torch.manual_seed(0)
m, e, d, k = 3, 6, 4, 2
x, centroids = torch.randn(m, d), torch.randn(e, d)


def show(title: str, rows: torch.Tensor) -> None:
    print(title)
    for token, row in enumerate(rows.tolist()):
        print(f"  token {token}:", "  ".join(f"{round(value, 2):4}" for value in row))


scores = (x @ centroids.T).sigmoid()
show("affinities of experts 0 to 5", scores)

# %% [markdown]
# **Step 2, choice.** The $k$ best experts of each token.
#
# **Step 3, gates.** What an expert says is multiplied with its affinity, so that a better fit speaks louder. V3 first
# makes the chosen affinities sum to 1, and then multiplies them with a constant, 2.5 (`routed_scaling_factor` in its
# config). Without the gate no gradient of the prediction would ever reach the router: a choice has no slope, a factor
# has.

# %%
indices = scores.topk(k, dim=1).indices
show("chosen experts", indices)

chosen = scores.gather(1, indices)
gates = 2.5 * chosen / chosen.sum(1, keepdim=True)
show("their gates", gates)
assert torch.allclose(gates.sum(1), torch.tensor(2.5))

# %% [markdown]
# That is a router. The output of the layer is $y = \sum_i g_i \, E_i(x)$ over the chosen experts, each $E_i$ a small
# feed-forward layer. The same three steps stand in `course_lib/routing.py`; let us hold ours against them. Experts may
# come in any order, so we compare a table with one column per expert, 0 for those not chosen.

# %%
from course_lib.routing import affinities, choose_experts, gate_weights


def table(indices: torch.Tensor, gates: torch.Tensor, experts: int) -> torch.Tensor:
    """Gates, one column per expert."""
    return torch.zeros(len(indices), experts).scatter(1, indices, gates)


theirs = affinities(x, centroids, "sigmoid")
picked = choose_experts(theirs, k)
weights = gate_weights(theirs, picked, normalise=True, scale=2.5)
torch.testing.assert_close(theirs, scores)
torch.testing.assert_close(table(picked, weights, e), table(indices, gates, e))

# %% [markdown]
# ## Two kinds of affinity
#
# DeepSeekMoE and V2 use a *softmax* over all experts in step 1, V3 a *sigmoid* of each (arXiv:2401.06066, section 3;
# arXiv:2412.19437, section 2.1.2). Take four experts with these products, and add a fifth that fits better than all.
# **Look at** the affinity of the first expert, which did not change at all.

# %%
logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
more = torch.cat([logits, torch.tensor([3.0])])
for name, press in (("softmax", lambda z: z.softmax(0)), ("sigmoid", torch.sigmoid)):
    four, five = ("  ".join(f"{value:.2f}" for value in press(z).tolist()) for z in (logits, more))
    print(f"{name}: {four}   with a rival: {five}")

# %% [markdown]
# With a softmax experts compete before the choice is made; with a sigmoid each is judged alone. It matters once there are
# many. Lesson 04 will move experts up and down by steps of 0.001, V3's own size (arXiv:2412.19437, section 4.2). **Look
# at** what such a step means among 256 experts: a nudge to one kind of affinity, a shove to the other.

# %%
torch.manual_seed(0)
products = torch.randn(1_000, 256)
for name, press in (("softmax", products.softmax(1)), ("sigmoid", products.sigmoid())):
    middle = press.median().item()
    print(f"{name}: middle affinity {middle:.4f}; a step of 0.001 is {0.001 / middle:.1%} of it")

# %% [markdown]
# ## Fine-grained experts
#
# Older mixtures had few and large experts: 16, say, with 2 chosen. DeepSeekMoE cuts each into four and chooses four times
# as many: 8 of 64. A token uses as many parameters as before, and the layer holds as many as before. **Look at** the
# number of teams that a token can be given (the first and third are in arXiv:2401.06066, section 3.1).

# %%
from math import comb

for pieces in (1, 2, 4):
    held, used = 16 * pieces, 2 * pieces
    print(f"{used} of {held} experts, width f/{pieces}: uses {used / pieces:g}f of {held / pieces:g}f", end="; ")
    print(f"{comb(held, used):,} teams")
held, used = v3.n_routed_experts, v3.num_experts_per_tok
print(f"V3, {used} of {held}: {comb(held, used):,} teams")

# %% [markdown]
# Is anything lost by cutting? No. An expert is $W_\text{down}\,(\mathrm{silu}(W_\text{gate}\, x) \odot W_\text{up}\, x)$,
# and each of its $f$ inner numbers goes its own way until the last sum. So an expert *is* the sum of its pieces:

# %%
import torch.nn.functional as F

from course_lib.moe import SwiGLU

whole = SwiGLU(d, 8)
pieces = zip(whole.gate.weight.split(2), whole.up.weight.split(2), whole.down.weight.split(2, dim=1), strict=True)
summed = sum((F.silu(x @ gate.T) * (x @ up.T)) @ down.T for gate, up, down in pieces)
torch.testing.assert_close(summed, whole(x))
print("an expert of width 8 equals the sum of four pieces of width 2")

# %% [markdown]
# A layer of large experts is a fine-grained layer whose router always picks four certain pieces together, with equal
# gates. The fine one can do that, and can also mix pieces as each token needs. It pays with a longer list of centroids
# and with smaller matrix products, which keep a GPU less busy.
#
# In V3 the sizes fit together neatly. **Look at** the two widths: each MoE layer costs a token what one of the three
# dense layers at the start does.

# %%
active = v3.num_experts_per_tok + v3.n_shared_experts
print(f"dense layer: width {v3.intermediate_size:,}")
print(f"MoE layer: {active} experts used x width {v3.moe_intermediate_size:,} = {active * v3.moe_intermediate_size:,}")
held = v3.n_routed_experts + v3.n_shared_experts
print(f"held: {held} experts, {held * v3.moe_intermediate_size / v3.intermediate_size:.1f} times the dense layer")

# %% [markdown]
# ## Shared experts
#
# The ninth expert of V3 is not chosen: every token visits it, with a gate of 1. The reason given is common knowledge.
# Whatever all tokens need (grammar, say) would have to be learned by each routed expert anew; a **shared expert** learns
# it once, and the others are free to specialise (arXiv:2401.06066, section 3.2).
#
# The paper put several designs side by side, all trained on 100 billion tokens. These are their losses on the test set of
# the Pile, a collection of texts; lower is better (tables 1 and 2; sizes in sections 4.2 and 4.3). The unit is not
# printed there; a cross-entropy is usually in nats, and we take it so.

# %%
losses = {
    "Dense, 0.2B": 2.06,
    "Hash: 2.0B held, 0.2B used": 1.932,
    "Switch: 2.0B held, 0.2B used": 1.881,
    "GShard: 2.0B held, 0.3B used": 1.867,
    "DeepSeekMoE: 2.0B held, 0.3B used": 1.808,
    "GShard with experts 1.5 times as large": 1.808,
    "Dense, 16 times the feed-forward layer": 1.806,
}

# %% [markdown]
# **Look at** three distances. From the dense model to any mixture: holding more helps, even when a token uses no more.
# From GShard to DeepSeekMoE: equal sizes, finer cut, one shared expert. From DeepSeekMoE to the last row, which uses
# everything it holds: almost nothing. (The axis does not begin at 0, so compare positions, not lengths.)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
ours = [name.startswith("DeepSeekMoE") for name in losses]
axes.scatter(losses.values(), list(losses), c=["#0072B2" if own else "0.45" for own in ours], s=60, zorder=2)
for name, loss in losses.items():
    axes.annotate(f"{loss:g}", (loss, name), (8, 0), textcoords="offset points", va="center")
axes.set(xlim=(1.78, 2.1), xlabel="loss on the Pile [nats a token]", title="arXiv:2401.06066, tables 1 and 2")
axes.grid(axis="y", alpha=0.4)
axes.invert_yaxis()
alt = "Dots, a row for each model: loss on the Pile in nats a token, on an axis from 1.78 to 2.10. Dense 0.2B 2.06, Hash 1.932, Switch 1.881, GShard 1.867. Then three almost level: DeepSeekMoE 1.808, GShard with experts 1.5 times as large 1.808, and a dense model with 16 times the feed-forward layer 1.806."
show_figure(figure, alt)

# %% [markdown]
# How much of this is the shared expert? The paper took it out of the model above, and let each token visit one more
# routed expert instead, so that the work stayed the same (section 4.5). And it trained models with 1, 2 and 4 shared
# experts among 64 (section 4.4).

# %%
with_shared, without, by_number = 1.808, 2.414, {1: 1.808, 2: 1.806, 4: 1.811}
print(f"shared expert replaced by a routed one: {with_shared} -> {without}")
likely = torch.tensor(without - with_shared).exp().item()
print(f"the right token becomes {likely:.2f} times less likely (geometric mean)")
print("trained with", ", ".join(f"{number} shared: {loss}" for number, loss in by_number.items()))

# %% [markdown]
# Read the two lines together. The first says that the shared expert of *this* model holds what no other expert does. It
# does not say how good a model would be that never had one: the text mentions no new training. For that the paper has a
# comparison of trained models, in which a shared expert helps on most benchmarks (section 4.4, figure 3). The second line
# says that the number of shared experts hardly matters. V3 has one.
#
# ## Groups: do not visit every machine
#
# 654 billion parameters of experts do not fit on one GPU. V3 was trained with the 256 experts of a layer spread over 64
# GPUs in 8 machines (arXiv:2412.19437, section 3.2), and a token must be sent to each machine that holds one of its
# experts. Links between machines are slow: 50 GB/s, against 160 GB/s inside one (section 3.2.2). So the router may not
# choose freely. It ranks the machines first, keeps the best 4 of 8, **closes** the others, and then chooses 8 experts
# among the open ones.
#
# How does one rank a group of experts? In DeepSeek's own code V2 takes its best affinity, V3 the sum of its two best.
# (V3's report says: of the $k/M$ best, where $M$ machines stay open, section 2.1.2; and 8/4 = 2.) Two groups of three
# experts, one group open, two experts chosen. **Look at** the rule that is blinded by a single star.

# %%
scores = torch.tensor([[0.90, 0.10, 0.20, 0.60, 0.70, 0.10]])
for rule, group_best in (("V2, the best", 1), ("V3, the two best", 2)):
    picked = choose_experts(scores, 2, n_group=2, topk_group=1, group_best=group_best)
    experts, affinity = sorted(picked[0].tolist()), scores.gather(1, picked).sum().item()
    print(f"{rule:17} opens group {experts[0] // 3}: experts {experts}, affinity {affinity:.1f}")

# %% [markdown]
# What does the limit save, and what does it cost? Take V3's sizes and 4,000 tokens with random affinities. Count how many
# machines each token visits, and how much affinity it gets, compared with a free choice.

# %%
torch.manual_seed(0)
scores = torch.randn(4_000, 256).sigmoid()
free = scores.topk(8, dim=1).values.sum(1)
most, mean, kept = [], [], []
for limit in range(1, 9):
    picked = choose_experts(scores, 8, n_group=8, topk_group=limit)
    visited = F.one_hot(picked // 32, 8).amax(1).sum(1)  # machines of each token
    most.append(visited.max().item())
    mean.append(visited.double().mean().item())
    kept.append((scores.gather(1, picked).sum(1) / free).mean().item())
for limit in (1, 4, 8):
    i = limit - 1
    print(f"{limit} open: {mean[i]:.2f} machines a token, at most {most[i]}; {kept[i]:.1%} of the affinity")

# %% [markdown]
# **Look at** the dotted lines. On the right: closing half of the machines costs a token 0.6% of its affinity, since among
# 128 experts there are almost always 8 good ones. On the left, what is really limited: a free token visits 5.3 machines
# on average, but some visit all 8, and a network must be built for its bad moments.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.8), layout="constrained")
limits = range(1, 9)
left.plot(limits, most, "o--", color="#D55E00", label="at most")
left.plot(limits, mean, "o-", color="#0072B2", label="on average")
left.set(xlabel="machines left open", ylabel="machines visited", ylim=(0, 8.6))
left.legend()
right.plot(limits, [100 * share for share in kept], "o-", color="#0072B2")
right.set(xlabel="machines left open", ylabel="affinity kept [%]", ylim=(88, 100.5))
for axes in (left, right):
    axes.axvline(4, color="0.6", linestyle=":")
    axes.annotate("V3", (4, axes.get_ylim()[0]), (4, 6), textcoords="offset points", color="0.35")
alt = "Two charts against the number of machines left open, 1 to 8, with V3's 4 marked. Left, machines a token visits: the most grows evenly to 8; the average follows it closely up to 4 and then flattens to 5.3. Right, affinity kept: 89.3% with one machine, 99.4% with four, 100% with eight."
show_figure(figure, alt)

# %% [markdown]
# Random affinities say little about trained ones. Where the experts that a token wants lie together, the limit costs less
# than here; where they are spread, more.
#
# ## Four ways to get it wrong
#
# **1. The bias in the gate.** V3 keeps its experts evenly busy with a **bias** for each: added to the affinity when
# experts are chosen, lowered for those with too many tokens, raised for those with too few (lesson 04). It moves the
# choice and must not move the gate, because it knows about traffic and nothing about the token. Expert 1 below is
# overloaded, expert 2 idle.

# %%
scores, bias = torch.tensor([[0.80, 0.60, 0.50, 0.30]]), torch.tensor([0.0, -0.3, 0.2, 0.0])
for name, given in (("no bias", None), ("bias", bias)):
    picked = choose_experts(scores, 2, bias=given).sort().values
    right = gate_weights(scores, picked, normalise=True)
    print(f"{name}: experts {picked[0].tolist()}, gates", " ".join(f"{gate:.2f}" for gate in right[0].tolist()))
wrong = gate_weights(scores + bias, picked, normalise=True)
print("with the bias in the gate as well:", " ".join(f"{gate:.2f}" for gate in wrong[0].tolist()))

# %% [markdown]
# The right gates compare 0.80 with 0.50, what the token said. The wrong ones make expert 2 louder because it was idle.
# Nothing fails and every shape fits, so only a test of values finds it.
#
# **2. Closed groups at 0.** To close a group, set its scores to something that is never chosen. Zero looks right, since
# affinities are positive. But biased ones need not be. Two groups of two, one open:

# %%
scores, bias = torch.tensor([[0.60, 0.30, 0.20, 0.15]]), torch.tensor([0.0, -0.4, 0.0, 0.0])
biased = scores + bias  # the open group: 0.60 and -0.10
print("group scores:", [round(score, 2) for score in biased.view(2, 2).sum(1).tolist()])
closed = torch.tensor([[False, False, True, True]])
for filler in (0.0, -torch.inf):
    groups = biased.masked_fill(closed, filler).topk(2, dim=1).indices[0] // 2
    print(f"closed at {filler:4}: the two experts are in groups {sorted(groups.tolist())}")
right = choose_experts(scores, 2, bias=bias, n_group=2, topk_group=1)
assert (right // 2 == 0).all()

# %% [markdown]
# With 0 the token is sent to a machine that was closed to it. The `transformers` library closes groups with 0 for V2,
# which has no bias and positive softmax affinities, and with $-\infty$ for V3, as it should be (its version 5,
# `modeling_deepseek_v2.py` and `modeling_deepseek_v3.py`).
#
# **3. Gates normalised over the wrong experts.** They must sum to 1 over the *chosen* experts, and the constant comes
# after. Among 256 experts the difference is large:

# %%
torch.manual_seed(0)
scores = torch.randn(1_000, 256).sigmoid()
chosen = scores.gather(1, choose_experts(scores, 8))
print(f"sum of gates, normalised over the chosen: {2.5 * (chosen / chosen.sum(1, keepdim=True)).sum(1).mean():.2f}")
print(f"sum of gates, normalised over all: {2.5 * (chosen / scores.sum(1, keepdim=True)).sum(1).mean():.2f}")
print(f"8 unrelated outputs of size 1, each times 2.5 / 8: size {8**0.5 * 2.5 / 8:.2f}")

# %% [markdown]
# The last line is one way to read the 2.5. If the eight experts say unrelated things of size 1, then their sum has about
# the size of the one shared expert beside them. Each model of the family has its own rule. **Look at** `normalised` and
# `scale`: a softmax over 160 experts that is left as it is needs a large constant.

# %%
columns = f"{'routed':>7}{'chosen':>7}{'shared':>7}{'groups':>7}{'open':>5}"
print(f"{'model':18}{columns}  {'affinity':9}{'normalised':11}scale")
for name in ("deepseek-moe-16b", "deepseek-v2-lite", "deepseek-v2", "deepseek-v3"):
    c = published(name)
    numbers = f"{c.n_routed_experts:7}{c.num_experts_per_tok:7}{c.n_shared_experts:7}{c.n_group:7}{c.topk_group:5}"
    print(f"{name:18}{numbers}  {c.scoring_func:9}{c.norm_topk_prob!s:11}{c.routed_scaling_factor:g}")

# %% [markdown]
# **4. Dropped tokens.** A router sends many tokens to one expert and few to another. It is tempting to give each expert
# room for a fixed number and to drop what does not fit: V2 did so in training, per device (arXiv:2405.04434, section
# 2.2.4). V3 drops none, in training or in use (arXiv:2412.19437, section 2.1.2). Here some experts are liked a little
# more than others; **look at** what room for the mean load would lose.

# %%
from course_lib.routing import expert_load

torch.manual_seed(0)
liked = 0.3 * torch.randn(256)
load = expert_load(choose_experts((torch.randn(4_000, 256) + liked).sigmoid(), 8), 256)
room = load.sum().item() / 256
dropped = (load - room).clamp(min=0).sum().item() / load.sum().item()
print(f"tokens an expert: {load.min().item()} to {load.max().item()}, mean {room:.0f}")
print(f"with room for the mean: {dropped:.0%} of all visits dropped")

# %% [markdown]
# A dropped visit is an expert's contribution that the token simply does not get, and which one depends on the other
# tokens in the batch. Better to keep the load even, and that is lesson 04.
#
# ## The whole layer
#
# `course_lib/moe.py` joins router, routed experts and shared expert. It sorts the tokens by expert, so that each expert
# works on all of its tokens in one matrix product. The definition is a loop over tokens; write it down, and compare.

# %%
from course_lib.config import mini
from course_lib.moe import MoE

torch.manual_seed(0)
sizes = dict(n_routed_experts=64, num_experts_per_tok=8, n_group=8, topk_group=4, routed_scaling_factor=2.5)
layer = MoE(mini(**sizes))


def one_token(token: torch.Tensor, indices: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    y = layer.shared(token)
    for i, gate in zip(indices.tolist(), gates, strict=True):
        opened, carried = (layer.gate_up[i] @ token).chunk(2)
        y = y + gate * (layer.down[i] @ (F.silu(opened) * carried))
    return y


# %%
with torch.inference_mode():
    hidden = torch.randn(1, 300, layer.router.config.hidden_size)
    routing = layer.router(hidden[0])
    by_hand = [one_token(*row) for row in zip(hidden[0], routing.indices, routing.weights, strict=True)]
    torch.testing.assert_close(layer(hidden)[0], torch.stack(by_hand))
print("the layer equals the loop, for all", len(by_hand), "tokens")

# %% [markdown]
# Equal outputs do not show that only the chosen experts were computed; one could compute all 64 and multiply most of them
# with 0. So count. PyTorch can count the operations of its matrix products while they run. **Look at** how close the
# layer comes to the least possible, and how far it stays from all experts.

# %%
from torch.utils.flop_counter import FlopCounterMode

c = layer.router.config
with torch.inference_mode(), FlopCounterMode(display=False) as counter:
    layer(hidden)
one_expert = 2 * 3 * c.hidden_size * c.moe_intermediate_size * hidden.shape[1]  # for all tokens
routers = 2 * c.hidden_size * c.n_routed_experts * hidden.shape[1]
least = (c.num_experts_per_tok + c.n_shared_experts) * one_expert + routers
everyone = (c.n_routed_experts + c.n_shared_experts) * one_expert + routers
for name, flops in (("least possible", least), ("our layer", counter.get_total_flops()), ("all experts", everyone)):
    print(f"{name:15}{flops:14,} FLOP, {flops / least:4.2f} times the least")

# %% [markdown]
# The 17% above the least are mostly padding: neighbouring experts share one product although their loads differ a little.
# The rest is the weighted sum at the end.
#
# ## Count 671B and 37B
#
# Now the whole of V3, from its config. Every kind of weight has a size, a number of layers, and a part that one token
# uses; `accounting.parameters` keeps them by name. (The module that predicts further ahead, lesson 05, is not among them:
# the 671B leave it out, too.)

# %%
from collections import Counter

names = {"routed_experts": "routed experts", "shared_experts": "shared experts", "dense_ffn": "3 dense layers"}
names |= {"embedding": "embedding", "output_head": "output head", "gate": "routers"}
held, used = Counter(), Counter()
for name, part in count.components.items():
    label = "attention" if name.startswith("attention.") else names.get(name, "norms")
    held[label] += part.total
    used[label] += part.active
for label, number in held.most_common():
    print(f"{label:15}{number:16,} held{used[label]:16,} used")
print(f"{'sum':15}{held.total():16,} held{used.total():16,} used")

# %% [markdown]
# **Look at** the first row in both panels, and mind that their axes differ by a factor of 32. Of what is *held*, almost
# everything is routed experts. Of what a token *uses*, they are about half, and attention is three tenths.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
labels = [label for label, _ in held.most_common()]
for axes, what, parts in ((panels[0], "held", held), (panels[1], "used by a token", used)):
    total, largest = parts.total(), max(parts.values())
    bars = axes.barh(labels, [parts[label] / 1e9 for label in labels], color="#0072B2")
    numbers = [f"{n / 1e9:.2f}B" if n > 1e8 else f"{n / 1e6:.1f}M" for n in map(parts.get, labels)]
    texts = [f"{n}, {parts[label] / total:.1%}" for n, label in zip(numbers, labels, strict=True)]
    axes.bar_label(bars, labels=texts, padding=4, fontsize=9)
    axes.set(title=f"{what}: {total / 1e9:.2f}B", xlabel="billions of parameters", xlim=(0, 1.5 * largest / 1e9))
panels[0].invert_yaxis()
alt = "Bars in two panels: DeepSeek-V3's parameters by kind, in billions; the left axis reaches 32 times as far. Held, 671.03: routed experts 653.91 (97.4%), attention 11.41 (1.7%), all else under 0.5% each. Used by a token, 37.55: routed experts 20.43 (54.4%), attention 11.41 (30.4%), shared experts 2.55 (6.8%), all else less."
show_figure(figure, alt)

# %% [markdown]
# What "used by a token" means is not settled, and so published numbers do not all mean the same. The embedding is a table
# in which one row is looked up; the output head is multiplied in full. One may count both, the head only, or neither:

# %%
printed = {"deepseek-v3": (671, 37), "deepseek-v2": (236, 21)}
printed |= {"deepseek-v2-lite": (15.7, 2.4), "deepseek-moe-16b": (16.4, 2.8)}
print(f"{'model':17}{'held':>8}{'printed':>9}{'both':>9}{'head':>8}{'neither':>9}{'printed':>9}")
for name, (total, active) in printed.items():
    p = parameters(published(name))
    ways = (p.active, p.active_without_embedding, p.active_without_vocabulary)
    row = f"{p.total / 1e9:7.2f}B{total:8}B{ways[0] / 1e9:8.2f}B{ways[1] / 1e9:7.2f}B{ways[2] / 1e9:8.2f}B"
    print(f"{name:17}{row}{active:8}B")

# %% [markdown]
# (Printed in arXiv:2412.19437, abstract; arXiv:2405.04434, abstract and appendix B; arXiv:2401.06066, section 5.1.2.)
#
# All four totals are right. **Look at** the last four columns: no single way of counting gives all four "used". V2's 21B
# comes out with the head, and also with both. V3's 37B comes out with the head; with both it would be 38, if one rounds.
# (`README_WEIGHTS.md` in the repository of DeepSeek-V3 says 36.7B, and that the embedding is in it, which does not add
# up.) V2-Lite's 2.4B comes out with the head alone, and cut off, not rounded: 2.45. DeepSeekMoE-16B's 2.8B needs both.
# When you compare two models, count both yourself, the same way.
#
# ## A router to play with
#
# The explorer routes one token at a time through a layer of 16 experts in 4 groups, each on a machine of its own. A token
# gets 4 experts on 2 machines: V3's 8 of 256 on 4 of 8 in small. The tokens are the bytes of a sentence, and their hidden
# states come from the small model of this course. It is **untrained**: its centroids are random, so that no expert means
# anything yet. What you see is the rule, and the rule is that of V3.

# %%
from course_lib import corpus
from course_lib.model import MiniDeepSeek

torch.manual_seed(0)
model = MiniDeepSeek(mini()).eval()
router, sentence, seen = model.blocks[1].ffn.router, "Many experts, few at work.", []
router.register_forward_hook(lambda _router, inputs, _routing: seen.append(inputs[0]))
with torch.inference_mode():
    model(corpus.encode(sentence)[None])
hidden, centroids = seen[0], router.centroids.detach()
print(f"{len(sentence)} tokens: hidden states {tuple(hidden.shape)}, centroids {tuple(centroids.shape)}")

# %% [markdown]
# The height of a bar is the affinity (the number below its expert), the number above a chosen bar is its gate. **Try
# this:**
#
# 1. Move *token* with the arrow keys. The letter e occurs three times. Does it always go to the same experts? Attention
#    has told each of them what came before.
# 2. Choose *biased expert* 14 for token 0 and raise *bias* slowly. The dashed outline grows and the bar does not. At some
#    point the choice flips: a machine opens, another closes. Once 14 is chosen, raise the bias further, and watch its gate.
# 3. Set *open groups* to 4, then to 1. Experts marked "shut out" are those that a free choice would have taken. What do
#    the gates sum to, each time?
# 4. Set *affinity* to softmax. Do the chosen experts change? Do their gates?
# 5. Ask for the impossible: *groups* 8, *open groups* 1, *experts chosen* 4.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.routing import RoutingExplorer

explorer = RoutingExplorer(list(sentence), hidden, centroids)
explorer

# %% [markdown]
# The first state of the explorer, for readers without a running kernel. Expert 14 fits the first letter better than three
# of the four that are chosen, but its machine is closed.

# %%
from course_lib.figures.routing import routing_figure

alt = "Bars: affinity of 16 experts on four machines, for the first letter, M. Machines 0 and 1 are open, since their best two sum highest, 1.13 and 1.30. Chosen there are experts 2, 3, 4 and 7, with gates 0.59, 0.57, 0.59 and 0.75. Expert 14 on a closed machine has 0.58, more than experts 2, 3 and 4, and is marked shut out."
show_figure(routing_figure(RoutingExplorer(list(sentence), hidden, centroids).routed), alt)

# %% [markdown]
# ## Summary
#
# - An MoE layer holds many experts and computes few for each token: V3 holds 671.03B parameters and uses 37.55B, or 36.63B
#   without the embedding.
# - Routing is three steps: affinities, choice, gates. The bias and the groups act on the choice only; the gates are the
#   chosen experts' own affinities, made to sum to a constant.
# - Cutting experts finer loses nothing and multiplies the teams: 120 become 4,426,165,368 at equal cost.
# - A shared expert is visited by all. Taking it out of a trained model raised the loss from 1.808 to 2.414.
# - Closing half of V3's machines bounds the traffic of a token at 4 of 8 machines, and costs 0.6% of the affinity
#   when affinities are random.
#
# ## Three questions
#
# 1. Cut each of V3's experts, routed and shared, into two, and choose 16 of 512. Which numbers in the config change? How
#    do the two counts, held and used, change?
# 2. Set the bias of one expert to -100. What happens to the tokens that went there, to their gates, and to the machine
#    that the expert lives on?
# 3. Softmax affinities, made to sum to 1 over the chosen experts, depend on the products of the chosen experts only. Show
#    it. Then why could V2's router, which does not do this, not simply be given V3's bias with its step of 0.001?
#
# <details><summary>Answers</summary>
#
# 1. `n_routed_experts` 512, `num_experts_per_tok` 16, `n_shared_experts` 2, `moe_intermediate_size` 1024. Experts hold and
#    use what they did. Only the routers double, with their biases: 106,445,312 more, held and used.
# 2. It is never chosen. Each of its tokens takes its next best open expert, and the gates again sum to 2.5. Its machine is
#    ranked by its two best experts, so it sinks only for tokens for which the lost expert was one of those two.
# 3. $e^{z_i} / \sum_\text{all}$ over the sum of the chosen ones: the sum over all cancels, and a softmax over the chosen
#    remains. But the choice compares affinities *before* that, and there the middle one of 256 softmax affinities was 0.0024:
#    a step of 0.001 is 42% of it.
#
# </details>
#
# ## Assignment
#
# [hw2_moe](../assignments/release/hw2_moe/hw2_moe.ipynb) asks you for the pieces of this lesson and the next.
# `affinities`, `route`, `moe_output` and `parameter_counts` you can write now, and three of the four mistakes above are
# among those that its checks know by name. The others, `expert_load`, `max_violation`, `update_bias` and
# `sequence_balance_loss`, are the subject of lesson 04.
