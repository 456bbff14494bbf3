# %% [markdown]
# # 07 Scaling laws: from small runs to a forecast
#
# *Read: 60 minutes. Runs: under a minute on a CPU. Needs: PyTorch and logarithms; lesson
# [03](03_moe_routing.ipynb) for what a mixture of experts is.*
#
# A model of V3's size is trained once; there is no second try to see which shape would have been better. So one trains
# many small ones, draws a line through them, and follows it for several powers of ten. This lesson does that with the
# course's own small runs, says how far the line can be trusted, and then asks why the lines of OpenAI, DeepMind and
# DeepSeek point in different directions. After it you can
#
# - fit a power law with an interval, and see in its residuals when it is none,
# - find the best model size for a budget of compute, in two ways, and turn it into a law,
# - bet on a run that you have not seen, and say what the bet's interval leaves out, and
# - rebuild DeepSeek's table of exponents, say what each row would have done with V3's budget, and why the rows differ.
#
# Letters in this lesson: $N$ parameters, $D$ tokens that were trained on, $C$ the compute in FLOP (floating-point
# operations), $a$ and $b$ exponents.

# %% tags=["bootstrap"]

# %% [markdown]
# ## A straight line in logarithms
#
# A **power law** is $y = k\, x^a$. Take logarithms, and it is a straight line: $\ln y = \ln k + a \ln x$. The slope $a$
# says what happens when $x$ doubles: $y$ grows by $2^a$. It does not depend on units, so seconds or milliseconds have
# the same exponent.
#
# Before any training, take something that can be counted exactly: the work of one attention layer on a text of $t$
# tokens. Its four projections multiply each token with $4d^2$ parameters: work proportional to $t$. Scores and sums
# compare each token with all those before it: work proportional to $t^2$. Is the sum of both a power law?

# %%
# %matplotlib inline
import math
import sys
import time

import matplotlib.pyplot as plt
import torch

from course_lib.accounting import parameters, training_flops
from course_lib.config import mini, published
from course_lib.scaling import fit_power_law

# %%
config = mini(kv_lora_rank=None, qk_nope_head_dim=0, qk_rope_head_dim=0, v_head_dim=0, head_dim=16)
d = config.hidden_size
projections = sum(part.each for name, part in parameters(config).components.items() if name.startswith("attention."))
lengths = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096]


def work(t):
    """FLOP of one attention layer: projections; scores and sums, over the keys that the causal mask leaves."""
    return 2 * projections * t + 2 * 2 * d * t * (t + 1) / 2


# %% [markdown]
# Fit one line to the short texts, one to the long ones and one to all. The fit is least squares of $\ln y$ on $\ln x$,
# and the interval is Student's $t$: if points scatter about a true line at random, 95 of 100 such intervals hold the
# true exponent. **Look at** the two exponents, and at the lower panel, which shows how far each point is off its line.

# %%
from course_lib.figures import show_figure
from course_lib.figures.fits import power_law_figure


def halves(y):
    """The law of the short texts and that of the long ones."""
    parts = {"short": slice(0, 5), "long": slice(-5, None), "all": slice(None)}
    return {name: (lengths[part], y[part], fit_power_law(lengths[part], y[part])) for name, part in parts.items()}


counted = halves([work(t) for t in lengths])
alt = "Top, both axes logarithmic: work of one attention layer in FLOP against 64 to 4,096 tokens, with fitted lines. Exponent 1.34 for the short texts, 1.88 for the long, 1.64 for all. Below, how far each point is off its line: little for the two parts, but for all a bow, from +33% at the left through -16% in the middle to +26% at the right."
show_figure(power_law_figure(counted, "tokens", "work [FLOP]"), alt)

# %% [markdown]
# The work is neither linear nor quadratic, and no power law at all: the slope turns slowly from 1 to 2. At any length
# it is the mean of 1 and 2, weighted by the shares of the two parts. They are equal at $4d$ tokens, where $8d^2 t =
# 2d\, t^2$; the slope there is one and a half. A layer as wide as V3, 7,168, would pass that point at 28,672 tokens.
#
# The residuals show it: they lie in a **bow**, above the line at both ends and below it in the middle. Points that
# scatter about a true line do not do that. And the interval? It was computed as if the bow were scatter, so it is not
# to be trusted. Here is the trial: forecast the longest text from the short ones alone.

# %%
cross = 4 * d
slope = math.log(work(cross + 1) / work(cross - 1)) / math.log((cross + 1) / (cross - 1))
print(f"slope at 4d = {cross} tokens: {slope:.2f}")
forecast, true = counted["short"][2].at(4096, new_run=True), work(4096)
low, high = forecast.low / 1e9, forecast.high / 1e9
print(f"forecast for 4,096 tokens: {forecast.value / 1e9:.2f} GFLOP, 95% {low:.2f} to {high:.2f}")
print(f"true: {true / 1e9:.2f} GFLOP, {true / forecast.value:.1f} times the forecast")
assert not forecast.covers(true)

# %% [markdown]
# Remember this for all that follows. **An interval knows how points scatter about the law. It does not know whether the
# law holds.** A narrow interval and a wrong forecast go well together, when the forecast leaves the range of the
# points.
#
# ### The same with a stopwatch
#
# Now measure: the time of that layer on this machine. We take one thread, since PyTorch would begin to use a second one
# at some length, which bends the line; the time that the processor spent on us, not on other programs (Windows measures
# that too coarsely, so there the clock has to do); and the fastest of several rounds.

# %%
clock = time.perf_counter if sys.platform == "win32" else time.process_time


def seconds(calls, rounds=5):
    """The fastest run of each call, all taken in turns, the last first: after the longest, caches are cold."""
    best, threads = [math.inf] * len(calls), torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for i in list(reversed(range(len(calls)))) * rounds:
            start = clock()
            calls[i]()
            best[i] = min(best[i], clock() - start)
    torch.set_num_threads(threads)
    return best


# %% tags=["nbval-ignore-output"]
from course_lib.attention import Attention

layer, texts = Attention(config), [torch.randn(1, t, d) for t in lengths]
measured = halves([1000 * s for s in seconds([lambda x=x: layer(x) for x in texts])])
alt = "Top, both axes logarithmic: measured time in milliseconds against 64 to 4,096 tokens, with fitted lines. The line of the long texts is steeper than that of the short ones; the one through all points has a slope between the two. Below, distance from the line in percent: for all points a bow, above 0 at both ends and below 0 in the middle."
show_figure(power_law_figure(measured, "tokens", "time [ms]"), alt)

# %% [markdown]
# **Look for** two things that any machine should show. The exponent of the long texts is larger than that of the short
# ones, and nearer to 2. And the slope of the short texts may well be below 1, which no count explains: calling a layer
# costs some time, whatever the length.

# %% tags=["nbval-ignore-output"]
for name, (_, _, law) in counted.items():
    print(f"{name:6} exponent of the work {law.exponent.value:.2f}, of the time {measured[name][2].exponent}")
took, bet = measured["long"][1][-1], measured["short"][2].at(4096).value
print(f"4,096 tokens: forecast from short texts {bet:.2g} ms, measured {took:.2g} ms, {took / bet:.1f} times that")

# %% [markdown]
# Time and work have different exponents, and both are right: each is a law of what was measured, on the range where it
# was measured.
#
# ### Experts: hold more, work the same
#
# Lesson 03 said that a mixture of experts holds many and uses few. As exponents: against the number of experts $e$, at
# a fixed number $k$ of chosen ones, the work should have an exponent near 0. Against $k$ it should be near 1. First the
# count. A token passes the router, which looks at all $e$ centroids, and $k$ experts.

# %%
from course_lib.moe import MoE

sizes, tokens = dict(n_shared_experts=0, moe_intermediate_size=128), torch.randn(1, 1024, d)
held, chosen = [4, 8, 16, 32, 64, 128], [1, 2, 4, 8, 16]
layers = {
    "chosen, of 64": (chosen, [mini(n_routed_experts=64, num_experts_per_tok=k, **sizes) for k in chosen]),
    "held, 2 chosen": (held, [mini(n_routed_experts=e, num_experts_per_tok=2, **sizes) for e in held]),
}


def layer_work(c):
    """FLOP of one MoE layer for a token."""
    return 2 * (c.n_routed_experts * d + parameters(c).components["routed_experts"].each_active)


# %%
for name, (x, configs) in layers.items():
    law = fit_power_law(x, [layer_work(c) for c in configs])
    print(f"work against experts {name:14}: exponent {law.exponent.value:.2f}")

# %% [markdown]
# And the time. **Look at** how far the orange exponent is from 0. The work hardly grows, but all experts that some
# token has chosen must be fetched from memory, and each then works on fewer tokens at a time. Against the experts
# chosen, some of the time does not grow: routing and sorting. How large either effect is, and where a curve bends, is a
# property of the machine.

# %% tags=["nbval-ignore-output"]
laws = {}
for name, (x, configs) in layers.items():
    made = [MoE(c) for c in configs]
    ms = [1000 * s for s in seconds([lambda layer=layer: layer(tokens) for layer in made])]
    laws[name] = (x, ms, fit_power_law(x, ms))
alt = "Top, both axes logarithmic: time of an MoE layer in milliseconds against experts, with fitted lines and bands. Against the experts chosen, 1 to 16 of 64, time rises steeply; against the experts held, 4 to 128 with 2 chosen, it rises less, yet far from level. Below, how far each point is off its line, in percent."
show_figure(power_law_figure(laws, "experts", "time [ms]"), alt)

# %% [markdown]
# So much for laws that one can hold against an exact count. A loss has none.
#
# ## Small runs
#
# How should a budget of compute be spent: on a larger model, or on more text? To find out, we trained small dense
# models on `stories`, from scratch, each with another $N$ and $D$. Compute is estimated by the rule
#
# $$C = 6\, N D ,$$
#
# since every parameter costs a token a multiplication and an addition, 2 FLOP, and the way back through the model costs
# twice the way there. For each of three budgets there are five sizes; $D$ follows from the rule. **Look at** the rows:
# inside a budget, which size has the lowest loss?

# %%
from course_lib.scaling import load_sweep

table = load_sweep()
KEPT = 1e14
runs, kept = table.rows(table.flops < KEPT), table.rows(table.flops == KEPT)
print(f"{'budget':>8}{'layers':>8}{'width':>7}{'N':>10}{'D [bytes]':>13}{'D/N':>7}{'nats a byte':>13}")
for c, n, tokens_, loss, row in zip(runs.flops, runs.params, runs.tokens, runs.loss, runs.cells, strict=True):
    print(f"{c:8.0e}{row['layers']:>8}{row['hidden_size']:>7}{n:10,.0f}{tokens_:13,.0f}{tokens_ / n:7.0f}{loss:13.4f}")

# %% [markdown]
# One more run, with ten times the largest of these budgets, was made and is kept aside until we have bet on it.
#
# How these runs were made, so that you may doubt them:

# %%
hours = sum(float(row["cpu_seconds"]) for row in runs.cells) / 3600
print("command:", f"python3 {runs.cells[0]['command'].split(' --budgets')[0]} --budgets 1e12,3e12,1e13 --seeds 0")
print(f"{len(runs)} runs, {hours:.1f} CPU hours; the kept one {float(kept.cells[0]['cpu_seconds']) / 3600:.1f} more")
for name in ("seed", "batch_size", "learning_rate", "device", "python", "torch"):
    values = sorted({row[name] for row in runs.cells}, key=lambda x: (len(x), x))
    print(f"{name:14}", ", ".join(values) if len(values) < 5 else f"{values[0]} to {values[-1]}, {len(values)} values")

# %% [markdown]
# *What was tuned:* learning rate and batch at the smallest budget, where a few were tried. From there they follow a
# rule: the rate falls with the square root of the width, the batch grows with the third root of the budget (in
# `course_lib/isoflop_runs.py`). *What was not:* either of them at the larger budgets. Losses are means over 400,000
# bytes that no run had seen.
#
# *Seeds:* one each. How much does that matter? The five runs of the smallest budget were made once more with another
# seed (`course_lib/logs/isoflop_seed1.csv`). **Look at** the last column.

# %%
from importlib.resources import files

again = load_sweep(files("course_lib") / "logs" / "isoflop_seed1.csv")
first = runs.rows(runs.flops == 1e12)
changes = again.loss - first.loss
for row, one, other, change in zip(first.cells, first.loss, again.loss, changes, strict=True):
    print(f"width {row['hidden_size']}: {one:.4f} with seed 0, {other:.4f} with seed 1, {change:+.4f} nats")
spread = changes.square().mean().div(2).sqrt().item()
print(f"standard deviation of one run, by these five pairs: {spread:.3f} nats")

# %% [markdown]
# So chance moves a loss of the smallest budget by one to four hundredths of a nat. That is as much as neighbours in the
# table differ by. What it does at the larger budgets we do not know. Keep this in mind for all that follows.
#
# *What $6ND$ leaves out.* $N$ here has the output head in it and not the embedding, which is only looked up. The rule
# leaves out the products inside attention, which have no parameters. In large models they are a small part. In ours?

# %%
from course_lib.isoflop_runs import LENGTH, shape

for row in (runs.cells[0], runs.cells[-1]):
    c = shape(int(row["layers"]), int(row["hidden_size"]))
    rule, exact = 6 * parameters(c).active_without_embedding, training_flops(c, LENGTH)
    print(f"width {c.hidden_size}: 6N = {rule:,}, with attention {exact:,} FLOP a byte, {exact / rule - 1:.0%} more")
v3 = published("deepseek-v3")
rule, exact = 6 * parameters(v3).active_without_embedding, training_flops(v3, 4096)
print(f"V3: 6N = {rule:,}, with attention {exact:,} FLOP a token, {exact / rule - 1:.0%} more")

# %% [markdown]
# So the smallest runs did more work than their budget says, the larger ones less so. Keep that in mind; it returns when
# we compare exponents.
#
# ### One valley for each budget
#
# Too small a model cannot hold what the text teaches; too large a one sees too little text. Between them lies the best
# size, and near its bottom a smooth valley is a parabola, in $\ln N$. This is the **isoFLOP** method (arXiv:2203.15556,
# section 3.2): fit a parabola to all runs of a budget, and take its vertex. **Look at** how flat the valleys are, and
# what that does to the intervals of the vertices.

# %%
from course_lib.figures.fits import isoflop_figure
from course_lib.scaling import isoflop_optima

valleys = isoflop_optima(runs.flops, runs.params, runs.loss)
alt = "Five runs and a parabola for each of three budgets: loss in nats per byte against parameters N, logarithmic. The larger the budget, the lower, flatter and further right the valley. Vertices: N = 61,000 at 1e12 FLOP, 119,000 at 3e12, 209,000 at 1e13. Their intervals get shorter; the first goes from 24,000 to 84,000."
show_figure(isoflop_figure(runs.flops, runs.params, runs.loss, valleys), alt)

# %%
for each in valleys.optima:
    n = each.params
    ends = f"95% {n.low:9,.0f} to {n.high:9,.0f}"
    print(f"{each.flops:.0e} FLOP: vertex at N = {n.value:9,.0f}, {ends}; best run {each.best_run:9,.0f}  {n.message}")

# %% [markdown]
# The first interval is the widest: its runs scatter about the parabola by up to about a hundredth of a nat, which is
# no more than another seed may do. Shapes do not grow evenly, either (a head more, a layer more), and a parabola knows
# nothing of that. One run each cannot tell the two apart.
#
# Why not simply take the best run? Because runs stand on a grid of sizes. The best of five can only be one of five, and
# a law through such points climbs in stairs.
#
# ### The law of the best size
#
# Three vertices, two unknowns, one degree of freedom. A line through three points can always look good. **Look at** the
# interval, not at the line.

# %%
from course_lib.power_law import quantile_t


def said(each):
    return f"{each.value:.2f}, 95% {each.low:.2f} to {each.high:.2f}"


law, stairs = valleys.law(), valleys.law_of_best_runs()
print("N grows as C^a. From the vertices:  a =", said(law.exponent))
print("                From the best runs: a =", said(stairs.exponent))
for freedom in (1, 2, 3, 8):
    print(f"{freedom + 2:2} points: the 95% interval is {quantile_t(freedom, 0.95):5.2f} standard errors to each side")

# %% [markdown]
# ### One law for all runs
#
# The second way uses every run at once. Assume a law with five unknowns (arXiv:2203.15556, section 3.3),
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta} :$$
#
# what no model learns, what this size misses, what this much text has not taught. The best size for a budget then
# follows by setting a derivative to zero: it grows as $C^a$ with $a = \beta / (\alpha + \beta)$. The fit minimises a
# Huber loss of $\ln L$, which lets single bad runs count less than squares would. Intervals come from a **bootstrap**:
# draw as many runs as there are, with replacement, fit again, a thousand times, and see between which values 95 of 100
# fits lie.

# %%
from course_lib.scaling import fit_parametric

fit = fit_parametric(runs.params, runs.tokens, runs.loss)
for name in ("E", "alpha", "beta", "a"):
    print(f"{name:6}", said(getattr(fit, name)))
ends = {name: (math.log10(x.low), math.log10(x.high)) for name, x in (("A", fit.A), ("B", fit.B))}
print("powers of ten:", ", ".join(f"{name} {low:.0f} to {high:.0f}" for name, (low, high) in ends.items()))
print(f"largest residual: {fit.residuals.abs().max():.1%} of a loss")
print(fit.message)

# %% [markdown]
# Two warnings are in this print. The largest residual is as large as what a seed does to a loss: whether the law is
# wrong by that, or only the run, these runs cannot say. And some draws gave no fit. With so few runs, a draw may not
# hold five unknowns, and then the search finds no minimum before it gives up. They count all the same, at the place
# where they gave up. It would be easy to leave them out, and many do. What kind of draws are they? Let them go on five
# times as long, and compare.

# %%
from course_lib.batched_fit import Runs, minimise
from course_lib.fit_data import resample_counts

counts = resample_counts(1000, len(runs), seed=0, device=runs.loss.device)
columns = Runs.of(runs.params, runs.tokens, runs.loss)
draws = minimise(fit.law.theta.expand(1000, 5), counts, columns, delta=1e-3)
lost, theta, ends = ~draws.converged, draws.theta.clone(), torch.tensor([0.025, 0.975]).double()
theta[lost] = minimise(theta[lost], counts[lost], columns, delta=1e-3, iterations=1000).theta
e, a = theta[:, 2].exp(), theta[:, 4] / (theta[:, 3] + theta[:, 4])
print(f"middle E: {e[~lost].median():.2f} of those that converged, {e[lost].median():.2f} of those lost")
for name, x, all_ in (("E", e, fit.E), ("a", a, fit.a)):
    (low, high), (far, wide) = x[~lost].quantile(ends).tolist(), x.quantile(ends).tolist()
    print(f"{name}: 95% {all_.low:.2f} to {all_.high:.2f} of all draws, {far:.2f} to {wide:.2f} when they go on,")
    print(f"{'':7}{low:.2f} to {high:.2f} without the lost")

# %% [markdown]
# So they are no fair sample: they are the draws with a low floor, and more than half of them run to a law with none.
# Who leaves them out gets intervals that are too narrow, and a floor that looks surer than it is. Whenever a method
# drops what it cannot fit, ask who was dropped.
#
# **Look at** the dots, which have the colour of the measured loss, on the field of the fitted law, and at where they
# lie: a band from the upper left to the lower right for each budget. Everything outside that band is the law's claim,
# not ours.

# %%
from course_lib.figures.fits import contour_figure

alt = "Map of the fitted loss in nats per byte: N parameters across, D bytes of text upwards, both logarithmic. It falls from above 1.27 at the lower left to 0.63 at the upper right. Dashed diagonals are budgets, 1e12 to 1e14 FLOP; the first three carry five runs each. A solid line of best N and D crosses them, rising to the right, to N = 1.15 million at 1e14."
show_figure(contour_figure(fit.law, runs.params, runs.tokens, runs.loss, budgets=[1e12, 3e12, 1e13, 1e14]), alt)

# %% [markdown]
# The text has an entropy that we know exactly, because we wrote the grammar. It is the floor under every model of every
# size:

# %%
from course_lib.stories import entropy_per_byte

floor, lowest = entropy_per_byte(), runs.loss.min().item()
print(f"fitted E {said(fit.E)}")
print(f"entropy of the text {floor:.5f}; lowest loss of the runs {lowest:.4f}")
alpha, beta = theta[:, 3], theta[:, 4]
for name, half in (("lower", e <= e.median()), ("upper", e > e.median())):
    middles = (x[half].median().item() for x in (e, alpha, beta))
    print("{} half of all draws: E {:.2f}, alpha {:.2f}, beta {:.2f}".format(name, *middles))

# %% [markdown]
# The fitted $E$ lies close to the entropy. It is tempting to say that the fit has found the floor. *What can be
# concluded:* the entropy is not contradicted. *What cannot:* where the floor is, or even, from these fifteen runs
# alone, that there is one. The interval reaches from almost nothing to well above the entropy. The last
# two lines say why: a lower floor goes with smaller exponents, and within the range of these runs the two are nearly
# the same curve.
#
# Nor should $E$ *be* the entropy. It is the loss of an endlessly large model of this kind after endless text. Ours see
# windows of 128 bytes, and begin each without knowing whose story they are in. The entropy is that of a reader who has
# read the story from its beginning. So the true floor of these models lies above 0.517, by an amount that we do not
# know.
#
# ## Bet, then look
#
# Now the reason why one does all this. What loss will the kept run have, at $10^{14}$ FLOP, ten times the largest
# budget above? Three ways to bet, and each is fixed before we look:
#
# - **the parametric law**, at the best $N$ and $D$ for that budget;
# - **a straight line**: a power law through the losses at the three vertices. It has no floor;
# - **a straight line above the known floor**: a power law of the loss minus the entropy. Nobody else can do this, since
#   nobody knows the entropy of English.

# %%
budgets = [each.flops for each in valleys.optima]
best = torch.tensor([each.loss for each in valleys.optima], dtype=torch.float64)
bets = {
    "parametric law": fit.allocation(KEPT).loss,
    "line": fit_power_law(budgets, best).at(KEPT),
    "line above the floor": fit_power_law(budgets, best - floor).at(KEPT),
}
for name, bet in bets.items():
    above = floor if name.endswith("floor") else 0.0
    print(f"{name:22}{bet.value + above:.3f} nats a byte, 95% {bet.low + above:.2f} to {bet.high + above:.2f}")
bow = fit_power_law(budgets, best).residuals
print("residuals of the line:", ", ".join(f"{each:+.1%}" for each in bow.tolist()))

# %% [markdown]
# Write down your own bet before you run the next cell.

# %%
n, tokens_, loss = (column.item() for column in (kept.params, kept.tokens, kept.loss))
print(f"the kept run: N = {n:,.0f}, D = {tokens_:,.0f}, loss {loss:.4f} nats a byte")
print(f"best N there: {law.at(KEPT).value:,.0f} by the vertices, {fit.allocation(KEPT).params.value:,.0f} by the law")
for name, bet in bets.items():
    above = floor if name.endswith("floor") else 0.0
    inside = "inside" if bet.covers(loss - above) else "outside"
    print(f"{name:22}{bet.value + above:.4f}: off by {bet.value + above - loss:+.4f}, the run is {inside} the interval")
print(f"the parametric law at this very N and D: {fit.law.loss([n], [tokens_]).item():.4f}")

# %% [markdown]
# The two bets with a floor are off by far less than a seed changes at $10^{12}$ FLOP: to be as close as that takes
# luck. The line without a floor is off by nearly twice the standard deviation of such a run. Was that to be seen before? In
# part: the residuals of the line are a **bow**, as in the first section, only with three points. Its interval did hold
# the run, since it reached from an impossible 0.4 to a worse loss than any that we had seen. That is no merit.
#
# And were the good bets good, or lucky? Leave out each of the fifteen runs in turn, and bet again. **Look at** how far
# one run moves each bet.

# %%
again = []
for left_out in range(len(runs)):
    some = runs.rows(torch.arange(len(runs)) != left_out)
    refit = fit_parametric(some.params, some.tokens, some.loss, resamples=0)
    optima = isoflop_optima(some.flops, some.params, some.loss).optima
    lowest = torch.tensor([each.loss for each in optima], dtype=torch.float64)
    line = fit_power_law(budgets, lowest - floor).at(KEPT).value + floor
    again.append((refit.allocation(KEPT).loss.value, line, refit.E.value, refit.a.value))
names = ("parametric law", "line above the floor", "E", "a")
for name, values in zip(names, zip(*again, strict=True), strict=True):
    print(f"{name:22}{min(values):.2f} to {max(values):.2f}")

# %% [markdown]
# So the parametric law was right, and a single run less could have made it as wrong as the line. The bet that knew the
# floor hardly moves: of the three unknowns that trade with each other it was told one. That is what these runs teach
# about forecasts. One measures a slope well and a floor badly, and the floor is what decides far out. For English
# nobody knows it, so the large labs need what we lack: more budgets, more decades, several seeds.
#
# *What can be concluded:* at ten times the largest budget, a law with a floor forecast this run to one part in twenty,
# whichever of the fifteen was missing. *What cannot:* anything about a hundred times, about another text, or about the
# exponent to better than a few tenths.
#
# ## Play with it
#
# The explorer holds these runs. On the left are the valleys, on the right the law, carried on to $10^{14}$ FLOP. **Try
# this:**
#
# 1. Move *run* to the largest model of 1e12 FLOP, and leave it out. What moves: its vertex, the exponent, the
#    forecast? And what happens to their intervals? Then fit all again, and leave out the best run of that budget
#    instead, the one below its parabola. Which of the three forecasts moves least?
# 2. Narrow *budgets* until two are left. Two of the three ways now say what they lack. Why can the third go on, and
#    should it?
# 3. Narrow *sizes* from the right, until a valley has lost its right side. What is said about its vertex?
# 4. *Draw by* best runs, then by the parametric law. Which of the three knows a floor? Compare the rows of the table.
# 5. At last show the run at 1e14, and let it be fitted too. Why can the vertices not use it?

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.scaling import ScalingExplorer

explorer = ScalingExplorer(table, forecast_at=KEPT)
explorer

# %% [markdown]
# The first state of the explorer, for readers without a running kernel. **Look at** the table: three ways to use the
# same runs, and three forecasts. (For the parametric law it makes 200 draws in place of a thousand, so as to answer at
# once; that is why its interval differs a little from the one above.)

# %%
from course_lib.figures.scaling import scaling_figure

alt = "Left: loss against N, logarithmic, a parabola for each of three budgets. Right, both axes logarithmic: best N against the budget, a line of exponent 0.532 with a wide band, to 729,000 at 1e14 FLOP. Table, loss forecast there: vertices 0.636 (0.388 to 1.042), best runs 0.641 (0.423 to 0.973), parametric law 0.664 (0.620 to 0.692)."
show_figure(scaling_figure(ScalingExplorer(table, forecast_at=KEPT).shown), alt)

# %% [markdown]
# ## The published table, row by row
#
# DeepSeek's first paper compares its exponents with those of OpenAI and DeepMind (arXiv:2401.02954, table 4). Model
# size grows as $C^a$, text as $C^b$, and $a + b = 1$, since all compute goes to one or the other. **Look at** the order
# of the rows, and then at our own two below, with their intervals. (The table says OpenWebText2 in OpenAI's row, too.
# OpenAI trained on a text of its own, WebText2, arXiv:2001.08361, section 2.3; OpenWebText2 is an open copy of it.)

# %%
from course_lib.exponents import TABLE_4
from course_lib.figures.fits import exponents_figure

rows = {name if name.startswith("DeepSeek") else f"{name}, {row.data}": row.a for name, row in TABLE_4.items()}
ours = {"ours, vertices, stories": law.exponent, "ours, parametric, stories": fit.a}
assert all(ours_.covers(row.a.value) for ours_ in ours.values() for row in TABLE_4.values())
alt = "Dots on an axis from 0 to 1: exponent a by which the best N grows, with a dotted line at 0.5, where N and D grow alike. OpenAI 0.73, Chinchilla 0.49; DeepSeek 0.45 on early data, 0.524 on current data, 0.578 on OpenWebText2. Ours, with intervals that span all of these: vertices 0.532 (0.04 to 1.03), parametric 0.622 (0.24 to 0.79)."
show_figure(exponents_figure(rows | ours, ours=ours), alt)

# %% [markdown]
# Each of our intervals holds all five rows, the second even without the lost draws. With three budgets that span one
# power of ten, we can say that the best size grows with the budget, and not whose law it follows. DeepSeek had eight
# budgets over three and a half powers of ten, DeepMind nine over almost three (section 3.2 of both papers), and yet
# they differ. We come to that.
#
# What would each row have done with V3's budget? V3 uses 36.6 billion parameters for a token, embedding left out, and
# was trained on 14.8 trillion tokens (arXiv:2412.19437, section 4.2): $C = 6ND$ is

# %%
active, total = parameters(v3).active_without_embedding, parameters(v3).total
V3_TOKENS = 14.8e12
budget = 6 * active * V3_TOKENS
print(f"{budget:.3g} FLOP; with attention {training_flops(v3, 4096) * V3_TOKENS:.3g}")

# %% [markdown]
# An exponent alone does not answer. It says how fast the best size grows, not where it starts. One row of the table has
# both: DeepSeek printed $M_\text{opt} = 0.1715\, C^{0.5243}$ (equation 4; $M$ is FLOP per token, about $6N$; more of it
# below). To see what the *exponents* do, **we** draw all five lines through one point: DeepSeek's best size at $3 \cdot
# 10^{20}$ FLOP, the largest budget that they fitted. That anchor is our construction. OpenAI and DeepMind had other
# lines, with other starting points.

# %%
from course_lib.scaling import deepseek_allocation


def allocations(anchor):
    size = deepseek_allocation(anchor).M.value / 6
    print(f"all lines through N = {size / 1e9:.3g}B at {anchor:.0e} FLOP")
    print(f"{'':26}{'a':>6}{'b':>7}{'N':>10}{'D':>9}{'D/N':>8}")
    for name, row in TABLE_4.items():
        n, d_ = row.allocate(budget, anchor=(anchor, size))
        print(f"{name:26}{row.a.value:6.3f}{row.b.value:7.3f}{n / 1e9:9,.0f}B{d_ / 1e12:8.2f}T{d_ / n:8.3g}")


allocations(3e20)
print(f"{'what V3 did, active':39}{active / 1e9:9,.0f}B{V3_TOKENS / 1e12:8.2f}T{V3_TOKENS / active:8.3g}")
print(f"{'what V3 did, held':39}{total / 1e9:9,.0f}B{V3_TOKENS / 1e12:8.2f}T{V3_TOKENS / total:8.3g}")

# %% [markdown]
# **Look at** the first and the third row. Over four powers of ten, a difference of 0.28 in $a$ has become a factor of
# 13 in $N$, and of 180 in $D/N$. That is what an exponent is worth, and why an interval of $\pm 0.1$ is not a small
# one.
#
# Now the last two lines. With this budget DeepSeek's own law wants a dense model of two hundred billion parameters and
# fewer than three trillion tokens. V3 used 37 billion on 14.8 trillion: five and a half times smaller, and five and a
# half times as much text. Did they not believe their law? It was a law for *dense* models. In a mixture the two things
# that $N$ stands for come apart: what a token is multiplied with (37B, which sets the work), and what the model can
# hold (671B, which bounds what it can learn). Neither is the dense $N$. The tokens per parameter *held* are 22, about
# what Chinchilla would take; that is a coincidence of two countings, and no law. And a law of best *training* does not
# know that a smaller model is cheaper for everyone who uses it afterwards.
#
# The anchor matters too. Draw the same five lines through DeepSeek's best size at $10^{17}$ FLOP, their smallest
# budget, and every row changes but the one that the anchor was taken from:

# %%
allocations(1e17)

# %% [markdown]
# ## Why do the exponents differ?
#
# Four reasons that one can check. They do not exclude each other.
#
# ### The data
#
# Three of the rows are DeepSeek's own: same models, same method, other texts. Their reading: the better the data, the
# more of additional compute should go into the model rather than into more text, because good text is easier to learn
# from (arXiv:2401.02954, section 3.3). They judged their current data better than their early data, and OpenWebText2,
# which is smaller and was cleaned with more care, better still. The order of $a$ agrees: 0.450, 0.524, 0.578. It is a
# reading of three points; quality was judged, not measured. But it warns anyone who carries an exponent from one text
# to another. Ours is a text without noise, from a grammar.
#
# ### What is called $N$
#
# OpenAI counted parameters without the embedding ($N_1$), DeepMind with the vocabulary ($N_2$). Both leave out the
# products inside attention. DeepSeek replaced $6N$ by $M$, the FLOP per token without vocabulary and *with* attention
# (equation 2), and $C = MD$. These are its own examples (table 3; it prints 0.85 where we get 0.86, and agrees
# elsewhere). **Look at** the last two columns: how far $6N$ is from $M$, and how this changes with size.

# %%
from course_lib.scaling import model_scales

SHAPES = [(8, 512), (12, 768), (24, 1024), (24, 2048), (32, 4096), (40, 5120), (80, 8192)]
scales = [model_scales(layers, width) for layers, width in SHAPES]
print(f"{'layers':>6}{'width':>7}{'N1':>9}{'N2':>9}{'M':>10}{'6 N1/M':>8}{'6 N2/M':>8}")
for (layers, width), each in zip(SHAPES, scales, strict=True):
    n1, n2, m = (x.value for x in (each.without_vocabulary, each.with_vocabulary, each.M))
    print(f"{layers:6}{width:7}{n1 / 6e6:8,.0f}M{n2 / 6e6:8,.0f}M{m / 1e6:9,.0f}M{n1 / m:8.2f}{n2 / m:8.2f}")
for name, part in (("N1", "without_vocabulary"), ("N2", "with_vocabulary")):
    slope = fit_power_law([x.M.value for x in scales], [getattr(x, part).value for x in scales]).exponent.value
    print(f"{name} grows as M^{slope:.3f} over these shapes, so M as C^0.524 means {name} as C^{0.524 * slope:.3f}")

# %% [markdown]
# So the choice of a letter moves an exponent, with the same models and the same losses. Our own runs, once with $N$ and
# once with $M$, both by the parametric law:

# %%
shapes = [(int(row["layers"]), int(row["hidden_size"])) for row in runs.cells]
m = torch.tensor([model_scales(*each, vocabulary=256, context=LENGTH).M.value for each in shapes]).double()
by_m = fit_parametric(m / 6, runs.tokens, runs.loss)
print(f"6N is {(6 * runs.params / m).min():.2f} to {(6 * runs.params / m).max():.2f} of M")
print("with N: a =", said(fit.a))
print("with M: a =", said(by_m.a))

# %% [markdown]
# The same runs and losses, and another exponent. For our smallest model $6N$ is the smallest part of $M$, so $N$ spans
# more than $M$ does, and its exponent is larger. The shift is small beside the interval. But the interval gets narrower
# with more runs, and the shift does not.
#
# ### How each model was trained
#
# Porian and others repeated OpenAI's experiment and then mended it one step at a time, on two texts
# (arXiv:2406.19146). They begin near 0.88: that is what OpenAI measured with one batch for all runs, before a
# correction for the batch brought it to the 0.73 of the table (arXiv:2001.08361, figure 14). **Look at** where the
# largest drop is, and where the line ends.

# %%
from itertools import pairwise

from course_lib.exponents import PORIAN_EXPONENTS, PORIAN_STAGES

figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for (name, stages), colour, marker in zip(PORIAN_EXPONENTS.items(), ("#0072B2", "#D55E00"), "os", strict=True):
    axes.plot(range(5), [a.value for a in stages.values()], marker=marker, color=colour, label=name)
for name, place in (("OpenAI", 4.1), ("Chinchilla", 0.9)):
    a = TABLE_4[name].a.value
    axes.axhline(a, color="0.5", linestyle=":")
    axes.annotate(f"{name} {a}", (place, a), (0, 4), textcoords="offset points", ha="right")
axes.set(xticks=range(5), xticklabels=PORIAN_STAGES, ylabel="a: best N grows as C^a", ylim=(0.4, 0.95))
axes.legend(frameon=False)
alt = "Two lines: exponent a after each of five stages. RefinedWeb: as Kaplan 0.834, count the last layer 0.701, shorter warm-up 0.604, cosine decay 0.571, tuned by size 0.497. OpenWebText2: 0.870, 0.700, 0.602, 0.569, 0.518. Both begin above the dotted line of OpenAI, 0.73, drop most at the second stage, and end near that of Chinchilla, 0.49."
show_figure(figure, alt)

# %%
for name, stages in PORIAN_EXPONENTS.items():
    values = [a.value for a in stages.values()]
    drops = [before - after for before, after in pairwise(values)]
    largest = f"largest drop {max(drops):.2f}, at: {PORIAN_STAGES[1 + drops.index(max(drops))]}"
    print(f"{name:14}", *(f"{value:.3f} " for value in values), largest)

# %% [markdown]
# The text hardly matters here; the procedure does. The output layer is a large part of a small model, so leaving it out
# makes small models look cheaper than they are, at small budgets most. A warm-up of fixed length (the steps in which
# the learning rate rises) takes most of a short run. And a learning rate and a batch that suit one size are wrong for
# another. Each error bends the small end of the law more than the large one, so the line gets too steep: 0.83 instead
# of 0.50, or 0.87 instead of 0.52. (In the last stage the learning rate is constant again: its decay was not what
# mattered, as the authors stress.)
#
# Our sweep has the output layer in $N$, a warm-up that is a twentieth of each run, and a cosine over each run's own
# length; rates and batches follow a rule that was looked for at one budget only. That puts it somewhere between the
# fourth and the fifth stage.
#
# ### How the law is fitted
#
# Chinchilla's authors read one set of runs in three ways (arXiv:2203.15556, table 2):

# %%
from course_lib.exponents import CHINCHILLA_APPROACHES

for name, a in CHINCHILLA_APPROACHES.items():
    print(f"{name:26}a = {a.value:.2f}, as printed {a.low:.3f} to {a.high:.3f}", "" if a.covers(a.value) else "  !")

# %% [markdown]
# The third is the odd one out, and its interval is so narrow that it does not hold its own value, rounded. Besiroglu
# and others read the points off the printed figure and fitted them again (arXiv:2404.10102). The published optimum was
# none: losses had been averaged and not summed, which made the optimiser stop early. **Look at** what the published
# constants recommend for Chinchilla's own budget, $6 \cdot 70\text{B} \cdot 1.4\text{T} = 5.88 \cdot 10^{23}$ FLOP,
# with the printed digits, with more digits, and after the correction.

# %%
from course_lib.scaling import PUBLISHED_LAWS

for name, published_law in PUBLISHED_LAWS.items():
    n, d_ = published_law.allocation(5.88e23)
    print(f"{name:18}a = {published_law.a:.3f}   N = {n / 1e9:5.1f}B   D = {d_ / 1e12:4.2f}T   D/N = {d_ / n:5.1f}")

# %% [markdown]
# From 93 to 18 tokens a parameter, from one set of runs. The rule of thumb "20 tokens a parameter" is the corrected
# fit, and the other two approaches of the same paper. Rounding $\alpha$ and $\beta$ to two digits alone moved 59 to 93:
# the constants of such a law are not to be rounded one by one, since their errors belong together.
#
# Anyone may repeat that correction with this package. The points are not part of the course; they are downloaded once,
# from where they were published:
#
# ```python
# from course_lib import scaling
# points = scaling.load_published("chinchilla")     # 245 points, read off a figure
# points = points.rows(points.loss < points.loss.sort().values[-5])      # without the five highest losses
# scaling.fit_parametric(points.params, points.tokens, points.loss)      # a = 0.5139, objective 0.001018274
# ```
#
# (`tests/test_scaling_data.py` repeats it, too, where the points are at hand.)
#
# ## Two more laws: batch and learning rate
#
# A forecast is worth nothing if the large run is trained badly. So DeepSeek fitted two more power laws, for the batch
# and the learning rate that come within 0.25% of the lowest loss (arXiv:2401.02954, section 3.1, equation 1):
#
# $$\eta = 0.3118\, C^{-0.1250}, \qquad B = 0.2920\, C^{0.3271} \text{ tokens} .$$
#
# They were fitted between $10^{17}$ and $2 \cdot 10^{19}$ FLOP, checked at $10^{20}$, and then used some four powers of
# ten beyond the fit. **Look at** the two models that were trained by them: computed against used (table 2).

# %%
from course_lib.scaling import deepseek_hyperparameters

USED = {"DeepSeek 7B": (30, 4096, 4.2e-4, 2304), "DeepSeek 67B": (95, 8192, 3.2e-4, 4608)}  # batch in sequences
points = []
for name, (layers, width, rate, sequences) in USED.items():
    c = model_scales(layers, width).M.value * 2e12
    found = deepseek_hyperparameters(c)
    points.append((name, c, rate, sequences * 4096))
    print(f"{name:13}C = {c:.3g}: rate {found.learning_rate.value:.2e}, used {rate:.1e};", end=" ")
    print(f"batch {found.batch.value / 1e6:5.2f}M tokens, used {sequences * 4096 / 1e6:5.2f}M")
found = deepseek_hyperparameters(budget)
print(f"{'V3':13}C = {budget:.3g}: rate {found.learning_rate.value:.2e}, used 2.2e-04;", end=" ")
print(f"batch {found.batch.value / 1e6:5.2f}M tokens, used {15360 * 4096 / 1e6:5.2f}M")
points.append(("V3", budget, 2.2e-4, 15360 * 4096))

# %% [markdown]
# **Look at** the solid part of each line, where it was fitted, and how far out on the dotted part the two models stand.
# V3 is added, which the laws were not made for: it is a mixture, and its batch grew while it was trained (we take the
# final one, and the highest rate; arXiv:2412.19437, section 4.2). At the lower end are our own runs, four to five
# powers of ten below the solid part.

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for axes, name, place in zip(panels, ("learning_rate", "batch"), (2, 3), strict=True):
    for ends, style in (((1e11, 1e17), ":"), ((1e17, 2e19), "-"), ((2e19, 1e25), ":")):
        axes.plot(ends, [getattr(deepseek_hyperparameters(c), name).value for c in ends], style, color="#0072B2")
    for point in points:
        axes.plot(point[1], point[place], "o" if "Deep" in point[0] else "s", color="#D55E00")
        where = dict(xytext=(-7, 0), textcoords="offset points", ha="right", va="top" if place == 2 else "bottom")
        axes.annotate(point[0], (point[1], point[place]), fontsize=9, **where)  # on the side where no line is
    ours = [float(row["learning_rate"]) if place == 2 else LENGTH * int(row["batch_size"]) for row in runs.cells]
    axes.plot(runs.flops, ours, "^", color="#009E73", markersize=4)
    axes.annotate("our runs", (3e13, min(ours)), color="#009E73", fontsize=9, va="top")
    axes.set(xscale="log", yscale="log", xlabel="C [FLOP]", xlim=(2e11, 3e25), ymargin=0.1)
_ = panels[0].set_ylabel("learning rate"), panels[1].set_ylabel("batch [tokens]")
alt = "Two charts against compute C in FLOP, all axes logarithmic. The law of the learning rate falls, that of the batch in tokens rises; both are solid from 1e17 to 2e19, where fitted, and dotted beyond. DeepSeek 7B and 67B lie on them near 1e23 and 1e24. V3 has a lower rate and a larger batch than they say; our runs, 1e12 to 1e13, lie below both."
show_figure(figure, alt)

# %% [markdown]
# Four powers of ten beyond the fit, and both laws still come within a tenth of what was used for the 7B and the 67B
# model. But who followed whom? The models were trained *by* these laws, so this shows that they were used. That they
# were *good* is said by the losses of those models, which came out where the small runs had put them (section 3.2). For
# V3 another batch and rate were chosen.
#
# ## Summary
#
# - A power law is a straight line in logarithms. Look at its residuals: a bow means that it is none, whatever the
#   interval says.
# - Work and time have different exponents. Of an MoE layer the work hardly grows with the experts held, and grows with
#   those chosen.
# - The best size for a budget is the vertex of a parabola in $\ln N$; the best sizes of several budgets give a law.
#   Ours has three budgets, and its interval holds all published exponents.
# - At ten times the largest budget a law with a floor was off by 0.004 nats, a line without one by 0.032. But leaving
#   out one run of fifteen can move the first by 0.03: the floor is what small runs measure worst.
# - An exponent allocates nothing without an anchor. At V3's budget the rows of DeepSeek's table differ by a factor of
#   13 in $N$.
# - Why they differ: the text; whether $N$ means $N_1$, $N_2$ or $M$; the layer that was not counted, the warm-up, the
#   tuning; and how well the law was fitted.
#
# ## Three questions
#
# 1. A lab has a law with $\alpha = 0.34$ and $\beta = 0.28$ and gets a budget 100 times as large. By how much should
#    $N$ grow, and by how much $D$? What would DeepSeek's early data have told it, and what OpenAI's row?
# 2. You may train one more budget, with five sizes, before the forecast. Would you rather take $3 \cdot 10^{11}$ FLOP,
#    which is cheap, or $3 \cdot 10^{13}$? What does each do for the interval of $a$?
# 3. Continue the line without a floor. At which budget does it forecast a loss below the entropy of the text, and what
#    does that say about straight lines in general?
#
# <details><summary>Answers</summary>
#
# 1. $a = 0.28 / 0.62 = 0.452$: $N$ grows by $100^{0.452} = 8.0$ and $D$ by $100^{0.548} = 12.5$. Early data: $a =
#    0.450$, practically the same. OpenAI: $100^{0.73} = 29$ and $100^{0.27} = 3.5$.
# 2. Either adds one degree of freedom, which alone brings Student's $t$ from 12.71 to 4.30. The standard error of a
#    slope also falls with the spread of $\ln C$, which grows about alike on either side. But the forecast is at the
#    large end, and the small end is where rules such as $6ND$ and a fixed warm-up are most wrong. So the expensive one,
#    if it can be paid: it costs a hundred times as much.
# 3. The line is $6.82\, C^{-0.0736}$, and it meets 0.5167 at $(0.5167 / 6.82)^{-1 / 0.0736} \approx 1.7 \cdot 10^{15}$
#    FLOP, 17 times the budget of the kept run. Any falling line in logarithms crosses any floor. It can only be right
#    on a range.
#
# </details>
#
# ## Assignment
#
# [hw4_scaling](../assignments/release/hw4_scaling/hw4_scaling.ipynb) asks you for the fits of this lesson: the power
# law, the vertex, the parametric law and its Huber objective, the best allocation, the bootstrap, and a forecast of a
# run that you have not seen. Your own functions then drive the explorer above. Its other half, the bill, is the subject
# of lesson 08.
