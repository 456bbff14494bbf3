# %% [markdown]
# # 08 Cost and energy: check the bill, line by line
#
# *Read: 75 minutes, best in two sittings: the bill and the energy, then spikes, engineering and the press. Runs: under
# a minute on a CPU. Needs: arithmetic; lesson [03](03_moe_routing.ipynb) for experts, and PyTorch for the part on
# engineering.*
#
# In January 2025 one number went round the world: 5.6 million dollars. It was true, and it was not what it was said to
# be. This lesson takes it apart, and then the other numbers that went with it: hours, operations, energy, parameters.
# After it you can
#
# - rebuild V3's bill from its hours, and say what is not on it,
# - count the operations of a training, and read one and the same run as 20%, 34%, 39% or 44% of what the GPUs can do,
# - estimate an energy that nobody published, with a range, and say which assumption the range hangs on,
# - say what sparse activation saves and what it does not, and when spikes would save more, and
# - mark each cell of a table from the press as supported, contradicted or without source.
#
# A result here is an `Estimate`: a value with a unit, its source, and a range where an assumption has one.

# %% tags=["bootstrap"]

# %% [markdown]
# ## The bill
#
# The report has a table of three lines: GPU hours (one GPU for one hour), at an assumed rent of 2 dollars each
# (arXiv:2412.19437, table 1). The GPU is NVIDIA's H800, an H100 with slower links between GPUs, so that it might be
# exported (arXiv:2505.09343, section 4.1). **Look at** the shares: nearly all of it is pre-training.

# %%
# %matplotlib inline
from course_lib.cost import dollars
from course_lib.cost_data import LLAMA_405B, V3

PRICE = 2.0  # dollars for an H800 hour, the report's assumption
for stage, hours in V3.stages.items():
    print(f"{stage:20}{hours:12,} h x ${PRICE:g} = ${dollars(hours, PRICE).value:12,.0f}{hours / V3.hours.value:8.1%}")
bill = dollars(V3.hours, PRICE)
print(f"{'sum':20}{V3.hours.value:12,} h x ${PRICE:g} = ${bill.value:12,.0f}    source: {bill.source}")

# %% [markdown]
# The sum is right. Are the hours plausible? V3 was trained on 14.8T tokens by 2,048 GPUs (abstract and section 1). A
# second paper from DeepSeek prints a speed that was measured, 272.8 billion tokens a day (arXiv:2505.09343, table 4).
# **Look at** the last two lines.

# %%
GPUS = 2048
hours = V3.pretraining.value
rate = V3.tokens / (hours * 3600)
print(f"pre-training: {hours / GPUS / 24:.1f} days on {GPUS:,} GPUs; all stages: {V3.hours.value / GPUS / 24:.1f} days")
print(f"hours per trillion tokens: {hours / (V3.tokens / 1e12):,.0f} (printed: 180K)")
print(f"tokens per GPU and second: {rate:,.1f}")
print(f"tokens a day, all GPUs: {rate * GPUS * 86400 / 1e9:.1f} billion (printed: 272.8)")

# %% [markdown]
# The hours, the tokens and the speed fit together to a tenth of a per cent, and two papers agree. So the hours are as
# good as a published number gets: no outsider has seen a meter, but the three are hard to invent.
#
# ### What is not on it
#
# The report itself says that earlier research and the trial runs on architectures, algorithms and data are left out
# (section 1). Nor are data, staff, failed runs or the purchase of anything on it; the 2 dollars are what a GPU *would* cost
# to rent. A rent for two months and the price of a company are different things, so set them side by side. **Look at**
# how far apart they are.

# %%
year = dollars(GPUS * 24 * 365, PRICE).value
capital = 1.6e9  # an estimate from outside: SemiAnalysis, "DeepSeek Debates", 31 January 2025, as quoted by the press
reasoning = dollars(147e3, PRICE).value  # H800 hours for R1 on top of V3: arXiv:2501.12948v2, as quoted by the press
print(f"R1's training, beside V3's:        ${reasoning / 1e6:8.2f}M")
print(f"V3, final run:                     ${bill.value / 1e6:8.2f}M")
print(f"the same {GPUS:,} GPUs for a year:     ${year / 1e6:8.2f}M; the run took {bill.value / year:.0%} of it")
print(f"all servers of DeepSeek, estimated: ${capital / 1e6:7,.0f}M, {capital / bill.value:.0f} times the run")

# %% [markdown]
# The last line is an **estimate** by analysts outside; DeepSeek publishes no such figure. But its size explains the
# quarrel of that January: "billions" and "5.6 million" were answers to different questions. A fair comparison is run
# against run, at one price. Meta's model card gives 30.84M hours on H100 GPUs for Llama 3.1 405B; the rent is our
# multiplication, not Meta's.

# %%
for run in (V3, LLAMA_405B):
    print(f"{run.name:16}{run.hours.value / 1e6:7.3f}M h   at $2: ${dollars(run.hours, PRICE).value / 1e6:6.2f}M")
print(f"{LLAMA_405B.hours.value / V3.hours.value:.2f} times the hours")

# %% [markdown]
# Eleven times, run against run, and not a thousand times. Anthropic's head puts the training of Claude 3.5 Sonnet at "a
# few \$10M's" (D. Amodei, "On DeepSeek and Export Controls", 29 January 2025). Where do the eleven come from? For that
# we have to count operations.
#
# ## Operations, and what the GPUs could have done
#
# A parameter that a token is multiplied with costs it a multiplication and an addition, 2 operations (FLOPs), and twice
# as many again on the way back: 6 in training. So a training takes about $6ND$ operations for $N$ parameters and $D$
# tokens. **Which $N$?** Those that a token is multiplied with: not the 671 billion that are held, and not the
# embedding, which is looked up (lesson 03). Attention adds products of queries with keys, which no parameter counts:
# half of all pairs, since a token sees only what came before. V3 read sequences of 4,096 tokens (section 4.2). **Look
# at** the sum: 250 is printed (arXiv:2505.09343, table 2).

# %%
from course_lib.accounting import parameters, training_flops
from course_lib.config import published

v3 = published("deepseek-v3")
N = parameters(v3).active_without_embedding
by_weights, causal, full = (training_flops(v3, V3.context, kind) for kind in ("none", "causal", "full"))
print(f"6 x {N / 1e9:.2f}e9 = {by_weights / 1e9:.1f} GFLOP a token; causal attention {(causal - by_weights) / 1e9:.1f}")
print(f"sum {causal / 1e9:.1f} GFLOP a token; if all pairs are counted, {full / 1e9:.1f}")
print(f"6ND for 14.8T tokens: {by_weights * V3.tokens:.3e}; with causal attention: {causal * V3.tokens:.3e} FLOP")

# %% [markdown]
# Divide by hours, and compare with what the GPUs can do at best: the **MFU** (model FLOPs utilisation). An H800 has the
# matrix units of an H100: 989.5 TFLOP/s in BF16, twice that in FP8 (NVIDIA prints twice these numbers, for sparse
# matrices; the 385 TFLOP/s that DeepSeek's paper calls 38.94% give the same peak). And here one number becomes four. V3
# multiplies in FP8, so is its peak the FP8 one? Do the masked pairs count? Does attention count at all? **Look at** the
# first column: the run is the same in every row.

# %%
from course_lib.cost import utilisation
from course_lib.cost_data import H800

print(f"{'MFU':>7}{'TFLOP/s':>9}   convention")
for words, per_token, peak in (
    ("causal attention, BF16 peak", causal, H800.bf16),
    ("the same, FP8 peak", causal, H800.fp8),
    ("6ND only, BF16 peak", by_weights, H800.bf16),
    ("all pairs, BF16 peak", full, H800.bf16),
):
    part = utilisation(per_token * V3.tokens, V3.pretraining, peak).value
    print(f"{part:7.1%}{part * peak / 1e12:9.1f}   {words}")

# %% [markdown]
# DeepSeek's own table has the first and the last: 38.94% with 385 TFLOP/s, and 43.73% with 432 (arXiv:2505.09343, table
# 4), for steps that were measured. Ours come from all hours of a training and differ by less than one per cent: hardly
# an hour was lost to breakdowns, or not counted.
#
# An MFU without its convention says nothing. So let us use one convention, the first, for both runs, and take the
# eleven apart. **Look at** the three factors.

# %%
llama = published(LLAMA_405B.config)
token = {run.name: training_flops(published(run.config), run.context) for run in (V3, LLAMA_405B)}
flops = {run.name: token[run.name] * run.tokens for run in (V3, LLAMA_405B)}
mfu = {run.name: utilisation(flops[run.name], run.pretraining, run.gpu.bf16).value for run in (V3, LLAMA_405B)}
for run in (V3, LLAMA_405B):
    print(f"{run.name:16}{token[run.name] / 1e9:8.0f} GFLOP x {run.tokens / 1e12:.1f}T tokens, MFU {mfu[run.name]:.1%}")
factors = [token["Llama 3.1 405B"] / causal, LLAMA_405B.tokens / V3.tokens, mfu[V3.name] / mfu["Llama 3.1 405B"]]
product = factors[0] * factors[1] * factors[2]
print(" x ".join(f"{factor:.2f}" for factor in factors), f"= {product:.2f} times V3's pre-training hours")

# %% [markdown]
# (Llama: 15.6T tokens in sequences of 8,192; while it ran, Meta measured 38 to 43%, arXiv:2407.21783, section 3.3. The
# card's hours may hold more than those steps, so 35.8% is a lower bound.) Nearly all of it is one factor, **operations
# per token**: 36.6 billion parameters that work in place of 404. Tokens and the use of the hardware add some 15%
# between them. That V3 comes out no worse in the latter is an achievement: it has the weaker links, and experts to send
# tokens to.
#
# ## Energy
#
# DeepSeek publishes no energy figure. What can be said is what the hours suggest, and there is a rule that everybody
# uses: hours times the rated power of the GPU (TDP), 700 W for an H100; that an H800 draws as much is an assumption.
# The building adds cooling and losses: for each watt in the machines it draws PUE watts (power usage effectiveness).
# We take 1.1 to 1.3, the range that Epoch AI assumes for data centers for AI ("Can AI scaling continue through 2030?",
# August 2024; it names arXiv:2104.10350 and SemiAnalysis as its sources).

# %%
from course_lib.cost import energy
from course_lib.cost_data import BLOOM, CARDS, GPT_3, H100, HOST, NODE_MOST, NODE_RATED, NODE_USUAL, PUE, WATTS

for run in (V3, LLAMA_405B):
    bare, housed = energy(run.hours, run.gpu.watts), energy(run.hours, run.gpu.watts, pue=PUE)
    print(f"{run.name:16}{bare.value / 1e3:6.2f} GWh; with PUE {housed.low / 1e3:.2f} to {housed.high / 1e3:.2f}")

# %% [markdown]
# ### Is the rule any good?
#
# Check it where energy or carbon was published. **Look at** the third column beside the fourth, and at the last.

# %%
print(f"{'':16}{'W':>5}{'rule, MWh':>12}{'printed, MWh':>14}{'CO2 printed / rule, kg/kWh':>28}")
for each in (GPT_3, BLOOM, *CARDS):
    rule = energy(each.gpu_hours, each.watts, pue=each.pue).value
    printed = f"{each.megawatt_hours:,.0f}" if each.megawatt_hours else "-"
    print(f"{each.name:16}{each.watts:5.0f}{rule:12,.0f}{printed:>14}{each.tonnes / rule:28.4f}")

# %% [markdown]
# All agree, and that proves less than it seems to:
#
# - **BLOOM** (arXiv:2211.02001): 433,196 kWh *are* hours times the rating of 400 W. No meter was read; the rule agrees
#   with itself. The authors then measured what the cluster draws when idle, and add 256,646 kWh for it.
# - **Llama 2** (Meta's cards): three models have the same ratio of carbon to our rule, 0.423. So the cards are made
#   with the rule, and one factor for building and grid.
# - **GPT-3** (arXiv:2104.10350, table 4: 10,000 V100 for 14.8 days, PUE 1.10) is the only one with a *measured* power:
#   330 W for each GPU with its share of the machine, although the GPU alone is rated at 300 W.
#
# So the rule errs in both directions: a GPU draws less than its rating, and it is not alone in its machine. Machines
# with eight H100 have been measured in training. They are rated at 10.2 kW; demanding work draws 76% of it
# (arXiv:2506.14551, abstract), and 8.4 kW were the most (arXiv:2412.08602, abstract).

# %%
bloom = (BLOOM.megawatt_hours + 256.646) / BLOOM.megawatt_hours
print(f"BLOOM with what idles: {bloom:.2f} times the rule")
for words, watts in (("rated", NODE_RATED), ("the most", NODE_MOST), ("demanding work", NODE_USUAL)):
    print(f"machine, {words:15}{watts / 8:6.0f} W a GPU, {watts / 8 / H100.watts:.2f} times the rule")

# %% [markdown]
# ### A range in place of a number
#
# Now state three assumptions as ranges: the GPU draws 76% to 100% of its rating; the rest of the machine draws what
# remains of the two measured machines; PUE as above. The ends of the result are those at which all assumptions
# conspire, so it will most likely lie well inside. **Look at** how the rule compares.

# %%
assumed = {"watts": WATTS, "host": HOST, "pue": PUE}
for name, each in assumed.items():
    print(f"{name:6}{each.low:8.2f} to {each.high:.2f} {each.unit}")
estimates = {run.name: energy(run.hours, **assumed) for run in (V3, LLAMA_405B)}
for name, each in estimates.items():
    print(f"{name:16}{each.value / 1e3:6.1f} GWh ({each.low / 1e3:.1f} to {each.high / 1e3:.1f})")
low, high = (watts * (1 + host) for watts, host in ((WATTS.low, HOST.low), (WATTS.high, HOST.high)))
print(f"a GPU with its share of the machine: {low:.0f} to {high:.0f} W")

# %% [markdown]
# About 3 GWh, from 2.3 to 3.8. The bare rule, 1.95, lies *below* the range: it is not a middle but a floor, since it
# forgets the machine and the building. Llama's energy is eleven times V3's whatever we assume about watts, as long as
# we assume the same for both: the assumptions cancel, and the ratio of hours remains.
#
# Which assumption matters most? Let each go from end to end while the others stay in the middle. And suppose that
# DeepSeek had not published its hours, as most do not: an outsider would have to guess the MFU. GPT-3's was 24.6 of 125
# TFLOP/s (arXiv:2104.10350, table 4), Llama's up to 43%. **Look at** the top bar, and at what publishing one line of a
# table is worth.

# %%
from course_lib.cost import between, gpu_hours, swings
from course_lib.figures import show_figure
from course_lib.figures.cost import tornado_figure


def guessed(mfu, **power):
    return energy(gpu_hours(flops[V3.name], H800.bf16, mfu), **power)


guesses = {"mfu": between(24.6 / 125, 0.43), **assumed}
alt = "Horizontal bars around a line at 3.54 GWh, where every assumption is in its middle: how far the energy of V3's training moves when one assumption goes from end to end. A guessed MFU: 2.58 to 5.64. Draw of the GPU: 3.06 to 4.02. Building (PUE): 3.24 to 3.83. Rest of the machine: 3.40 to 3.68."
show_figure(
    tornado_figure(swings(guessed, guesses), guessed(**guesses), "energy of V3's training [GWh]", scale=1e3), alt
)

# %% [markdown]
# ### The explorer
#
# The same arithmetic with sliders. *Hours* and *MFU* are tied to each other, for the operations are given.
# Sliders with two handles are ranges. **Try this:**
#
# 1. Which price makes V3's run cost 20 million dollars? And Llama's?
# 2. Double the MFU. All bars get shorter. Why do they not quite halve?
# 3. Close the handles of *draw of the GPU* on 700, *rest of machine* on 0 and *building* on 1. What is left?
# 4. Open *building* up to 1.58, an average of all data centers in the Uptime Institute's survey of 2023. Is it now the
#    assumption that matters most?
# 5. Look at the line for CO2. Which single decision changes it more than any slider?

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.cost import CostExplorer

explorer = CostExplorer()
explorer

# %% [markdown]
# The first state of the explorer, for readers without a running kernel. The thin line shows all assumptions at their
# ends together, the light bars one at a time; the dashed line is the bare rule. The two grids are those of BLOOM in
# France (57 g of CO2 a kWh, arXiv:2211.02001, table 1) and of the average of the USA that was used for GPT-3 (429 g,
# arXiv:2104.10350, table 4). Where V3 was trained, and on which grid, DeepSeek does not say.

# %%
from course_lib.figures.cost import cost_figure

alt = "Horizontal bars for DeepSeek-V3. Rent: 5.58 million dollars. Energy: 2.97 GWh, by all assumptions together 2.25 to 3.81; by the draw of the GPU alone 2.56 to 3.37, the building 2.72 to 3.21, the rest of the machine 2.84 to 3.09. All lie above the dashed bare rule, 1.95 GWh. CO2: 169 t on the French grid, 1,273 t on the average US grid."
show_figure(cost_figure(CostExplorer().shown), alt)

# %% [markdown]
# ### Reading and writing
#
# Training happens once. What does an answer cost? DeepSeek published one day of serving V3 and R1, 27 to 28 February
# 2025: 226.75 machines with 8 H800 on average, 608 billion tokens read (342 billion of them from a cache) and 168
# billion written (open-infra-index, day 6). The energy is ours, with the same assumptions. **Look at** how quickly
# serving overtakes training.

# %%
from course_lib.cost_data import DAY_NODES, DAY_OUTPUT, DECODE_RATE, GPUS_OF_A_NODE

gpu_day = DAY_NODES * GPUS_OF_A_NODE * 24
rule, day = energy(gpu_day, H800.watts), energy(gpu_day, **assumed)
print(f"{gpu_day / 24:,.0f} GPUs; ${dollars(gpu_day, PRICE).value:,.0f} a day at $2 (printed: 87,072)")
print(f"energy of the day: rule {rule.value:.1f} MWh; {day.value:.0f} MWh ({day.low:.0f} to {day.high:.0f})")
print(f"a token written, reading included: {rule.value * 3.6e9 / DAY_OUTPUT:.2f} J by the rule")
wh = [end * 1e6 / DAY_OUTPUT * 1000 for end in (rule.value, day.low, day.high)]
print(f"1,000 tokens written: {wh[0]:.2f} Wh by the rule, {wh[1]:.2f} to {wh[2]:.2f} with machine and building")
print(f"a writing machine alone: {GPUS_OF_A_NODE * H800.watts / DECODE_RATE:.2f} J a token by the rule")
print(f"days until serving has used what training did: {estimates[V3.name].value / day.value:.0f}")

# %% [markdown]
# For comparison: Google measured 0.24 Wh for the median text prompt to Gemini in 2025, with chips, hosts, idle machines
# and building (58%, 25%, 10% and 8%; arXiv:2508.15734). That is a prompt, of unknown length, and ours are tokens, so
# the two numbers are of one kind and cannot be ranked. What they share is the lesson of the rule: the chips were little
# more than half of what was measured.
#
# ## Active against total
#
# Where does the factor of ten in operations come from? From the experts: V3 holds 671 billion parameters and works with
# 37 billion. What does that save? It depends on what one compares with. **Look at** the last two lines: the same model,
# once against a dense one of its own *size*, once against a dense one that is about as *good*.

# %%
count = parameters(v3)
dense = 6 * (count.total - count.components["embedding"].total) + causal - by_weights
print(f"V3: {count.active / count.total:.1%} active; if all worked, {dense / causal:.1f} times the operations")
moe, small = published("deepseek-moe-16b"), published("deepseek-llm-7b")
sparse = training_flops(moe, 4096, "full")
same_size = sparse + 6 * (parameters(moe).total - parameters(moe).active)
print(f"DeepSeekMoE 16B, against one of its size: {same_size / sparse:.1f} times")
as_good = training_flops(small, 4096, "full") / sparse
print(f"against DeepSeek 7B, about as good:       {as_good:.1f} times (printed: {183.5 / 74.4:.1f})")

# %% [markdown]
# (arXiv:2401.06066 calls the two comparable on its benchmarks, and prints 74.4 and 183.5 TFLOP for 4,096 tokens;
# attention is counted as it counts it, over all pairs.) A saving of more than five times against equal size, and of two
# and a half times against equal quality: both are true, and the second is the one that a bill notices.
#
# This is how to read the sentence that is so often quoted from Google's **Pathways** announcement. It says that most
# models of 2021 were dense, that a sparse one calls upon small paths only, and that GShard and the Switch Transformer
# use less than a tenth of the energy that one would expect of *dense models of similar size*, while being as accurate
# (J. Dean, "Introducing Pathways", Google blog, October 2021). So the tenth is of the first kind, against a model of
# the same size. Pathways is about experts, not about spikes; and V3 is just such a model.

# %%
PATTERSON = {"GPT-3": (175, 1.0, 1287), "GShard-600B": (619, 0.0025, 24.1), "Switch": (1500, 0.001, 179)}
print("arXiv:2104.10350, table 4")
for name, (billions, active, megawatt_hours) in PATTERSON.items():
    print(f"{name:12}{billions:6}B held, {active:7.2%} active, {megawatt_hours:7,.1f} MWh to train")

# %% [markdown]
# They were trained on different tasks and amounts of text, so these energies show what can happen, and no law.
#
# ### What sparse activation does not save
#
# **Memory.** A model must be held whole: 671 billion weights are 671 GB with a byte each, more than eight GPUs of 80
# GB, for one user or for a thousand.
#
# **Traffic from memory, as soon as there is company.** To write a token, the weights that it uses must travel from
# memory to the arithmetic. For one user that is 37 billion of them. But another user's token goes to other experts. If
# all experts are equally likely, a batch of $b$ tokens touches $256\,(1 - (1 - 8/256)^b)$ of the 256 in a layer, on
# average. **Look at** the third column, which grows to nearly everything, and at the last two, which part.

# %%
from course_lib.accounting import experts_touched, parameters_read

print(f"{'batch':>7}{'experts of a layer':>20}{'weights read':>15}{'of them a token':>18}{'dense, as active':>18}")
for batch in (1, 4, 16, 64, 256, 4096):
    read = parameters_read(v3, batch) / 1e9
    experts = experts_touched(v3, batch)
    print(f"{batch:7,}{experts:20.1f}{read:14.1f}B{read / batch:17.2f}B{N / batch / 1e9:17.2f}B")

# %% [markdown]
# **Look at** the blue line and the dotted one: with one user they meet, with a few hundred they are 18 times apart. A
# dense model that works as much (dotted) shares each weight among all users at once. And where the blue line crosses
# the dashed one, at some thirty tokens, V3 begins to read more weights for a token than a dense model of 405 billion.
# V3 must first gather so many users that every expert has enough to do. That is why DeepSeek serves it from groups of
# 144 GPUs with large batches (open-infra-index, day 6), and why a model of experts suits a single user at home, or a
# great service, better than anything between.

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
batches = [2**i for i in range(13)]
lines = {"V3": (v3, "-", "#0072B2"), "Llama 3.1 405B, dense": (llama, "--", "#D55E00")}
for name, (config, style, colour) in lines.items():
    reads = [parameters_read(config, batch) / batch / 1e9 for batch in batches]
    axes.loglog(batches, reads, style, color=colour, label=name)
axes.loglog(
    batches, [N / batch / 1e9 for batch in batches], ":", color="black", label="dense, as large as V3's active part"
)
axes.set(xlabel="tokens written at once", ylabel="billion weights read\nfor each of them")
axes.legend(frameon=False)
alt = "Lines, both axes logarithmic: billion weights read for each token against the tokens written at once, 1 to 4,096. V3 begins at 36.6 together with a dense model as large as its active part, falls more slowly, and from a few hundred tokens on is 18 times above it. Near 30 tokens V3 crosses the line of the dense Llama 3.1 405B and stays above it."
show_figure(figure, alt)

# %% [markdown]
# **Traffic between machines.** A dense layer keeps a token where it is; experts make it travel. What that costs is part
# of the section on engineering below.
#
# ## Would spikes save more?
#
# In a *spiking* network, which takes its idea from nerve cells, a neuron sends nothing or a spike, at each of $T$ time
# steps; a weight is then added where a spike arrives, and never multiplied. A table of energies on a chip of 45 nm is
# the usual witness: a 32-bit multiplication takes 3.7 pJ, an addition 0.9 pJ (M. Horowitz, ISSCC 2014, as reprinted). A
# multiply-add takes 4.6 pJ once for each weight; a spiking network takes 0.9 pJ for each *spike*. **Look at** how many
# spikes it may afford, and at the third line.

# %%
from course_lib.cost_data import PICOJOULES

pj = PICOJOULES
mac, add = pj["fp32 multiply"] + pj["fp32 add"], pj["fp32 add"]
print(f"multiply-add {mac:.1f} pJ, add {add:.1f} pJ: {add / mac:.1%} of it")
print(f"break-even at {mac / add:.2f} spikes for each weight and answer (spike rate x time steps)")
int8 = pj["int8 multiply"] + pj["int32 add"]
print(f"against a network of 8-bit integers, {int8:.1f} pJ a weight: {int8 / pj['int32 add']:.1f} spikes of integers")
for steps in (5, 10, 100):
    rates = (min(spikes / steps, 1) for spikes in (mac / add, int8 / pj["int32 add"]))
    print(f"{steps:4} time steps: spike rate below {next(rates):6.1%}; against 8 bits below {next(rates):5.1%}")

# %% [markdown]
# With five time steps even a neuron that always fires would break even: that looks like an easy win. But the same table
# has a second half. A weight must be fetched before it is added. An access of 64 bits takes 10 pJ from a small cache,
# and 1,300 to 2,600 pJ from DRAM (the reprints give the 64 bits for the caches; we take DRAM to be meant likewise, so a
# 32-bit weight is half of it). Suppose that a spike fetches its weight each time, and the other network fetches it once
# for an answer. **Look at** the break-even now.

# %%
fetch = {"no memory": 0.0} | {
    place: pj[place] / 2 for place in ("8 KB cache, 64 bits", "1 MB cache, 64 bits", "DRAM, low")
}
print(f"{'weights come from':22}{'multiply-add':>14}{'spike':>11}{'break-even':>12}{'rate at 5 steps':>17}")
for place, cost in fetch.items():
    even = (mac + cost) / (add + cost)
    print(f"{place:22}{mac + cost:11.1f} pJ{add + cost:8.1f} pJ{even:12.2f}{min(even / 5, 1):17.1%}")

# %% [markdown]
# Once weights come from a memory, a spike costs about what a multiply-add does. Five time steps then need a spike rate
# below a third with the smallest cache, and below about a fifth otherwise. A published analysis that counts data
# movement too, and compares with a network of few bits, finds less: below about 5.7% at five time steps
# (arXiv:2409.08290, abstract of version 4; version 2 said 6.4%, for five to ten). It can be reached; it is not given.
#
# And language? **SpikeGPT** is a spiking language model with 45 and 216 million parameters. It claims 20 times fewer
# *operations*, on neuromorphic hardware that can make use of the gaps (arXiv:2302.13939, abstract; the journal's
# version says 32.2 times). Operations are not joules, as the table above shows, and 216 million parameters are not V3's
# 671 billion. So "brain-like computing saves energy" is an open question in its spiking form. In its other form, few
# parameters at work, it is what V3 does.

# %% [markdown]
# ## "Incredible engineering", in three parts that can be computed
#
# Praise cannot be checked, but what it praises can. V3's report names three pieces of engineering (arXiv:2412.19437,
# section 3): it multiplies in eight bits, it keeps a pipeline of GPUs busy, and it sends tokens to experts on other
# machines. For each we compute what it saves, and how it would have been without.
#
# ### Eight bits: a scale for each tile
#
# A number in E4M3 has 4 bits of exponent and 3 of fraction; the largest is 448, the smallest above zero $2^{-9}$. To
# make a matrix fit, it is divided by a scale, and multiplied back later. One scale for the whole matrix must suit its
# largest number. V3 gives a scale to every $1 \times 128$ numbers of an activation and to every $128 \times 128$ of a
# weight (section 3.3.2), so that an outlier can only spoil its own tile. How much does that help?

# %%
import torch

from course_lib.precision import ACTIVATION_TILE, E4M3, WEIGHT_TILE, flushed, product, quantize, relative_error

ONE_SCALE, TILES = (None, None), (ACTIVATION_TILE, WEIGHT_TILE)
FORMATS = {"E4M3, one scale": (E4M3, ONE_SCALE), "E4M3, tiles": (E4M3, TILES)}
FORMATS |= {"int8, one scale": (torch.int8, ONE_SCALE), "int8, tiles": (torch.int8, TILES)}

# %% [markdown]
# We make 4 of 2,048 channels larger than the others by some factor. `product` multiplies the codes tile by tile and
# puts the scales on the partial sums, which it adds up in float32. Large channels drown the others in any sum, so we
# measure twice: the whole product, and the part of it that the *ordinary* channels make.


# %%
def matrices(factor, seed):
    """Activations, weights, and the channels that are larger."""
    generator = torch.Generator().manual_seed(seed)
    x, w = torch.randn(64, 2048, generator=generator), torch.randn(128, 2048, generator=generator) / 45
    outliers = torch.randperm(2048, generator=generator)[:4]
    x[:, outliers] *= factor
    return x, w, outliers


# %%
def errors(name, factor, seed):
    """Relative errors of the product and of its ordinary part, and the share of numbers that became zero."""
    (x, w, outliers), (dtype, tiles) = matrices(factor, seed), FORMATS[name]
    a, b = quantize(x, tiles[0], dtype), quantize(w, tiles[1], dtype)
    whole = relative_error(product(a, b), x.double() @ w.double().mT)
    near, exact = (each.index_fill(1, outliers, 0) for each in (b.dequantize(), w))
    part = relative_error(a.dequantize() @ near.mT, x.double() @ exact.double().mT)
    return torch.tensor([whole, part, flushed(x, a)])


FACTORS = (1, 10, 100, 1_000, 10_000, 100_000)
cases = [(name, factor) for name in FORMATS for factor in FACTORS]
median = {case: torch.stack([errors(*case, seed) for seed in range(5)]).median(0).values.tolist() for case in cases}

# %% [markdown]
# **Look at** the column *ordinary part*. Without outliers all is well, and int8 even has the smaller error. With four
# channels 100 times larger, int8 with one scale has all but lost the rest: three quarters of the numbers became zero.
# The whole product shows little of that, and at 1,000 times, where nothing is left to lose, next to nothing. E4M3 with
# one scale has not noticed either of the two.

# %%
print(f"{'format':18}{'outliers':>10}{'whole product':>15}{'ordinary part':>15}{'became zero':>13}")
for (name, factor), (whole, part, zero) in median.items():
    if factor in (1, 100, 1_000, 100_000):
        print(f"{name:18}{factor:>9,}x{whole:15.1%}{part:15.1%}{zero:13.1%}")
x, w, _ = matrices(1, seed=0)
rounded = relative_error(x.bfloat16().float() @ w.bfloat16().float().mT, x.double() @ w.double().mT)
print(f"\nBF16, no outliers: {rounded:.2%}; E4M3 has {median['E4M3, tiles', 1][0] / rounded:.0f} times that error")

# %% [markdown]
# This is less than is often told. A floating format gives small numbers the same three bits of fraction as large ones,
# down to $2^{-6}$, which is 28,672 times smaller than 448. Only beyond that do numbers lose bits and then become zero.
# int8 has equal steps, and so an outlier costs it at once. (Two small things: 16 is $2^4$, for BF16 has 7 bits of
# fraction and E4M3 has 3. And with tiles the whole product gets *better* by outliers, since the largest number of a
# tile is written exactly.)
#
# So what do tiles buy? **Look at** the left picture: room. E4M3 with one scale fails between factors of 10,000 and
# 100,000, and whoever trains for weeks does not know beforehand how far apart numbers will lie in every activation and
# gradient. A tile has to span 128 numbers only, and its scale is taken from these numbers at that moment. On the right
# is each channel's error at 100,000 times: with tiles, the harm stays in those tiles that hold an outlier.

# %%
from course_lib.figures.engineering import precision_figure

x, w, outliers = matrices(100_000, seed=0)
channels = {}
for name in ("E4M3, one scale", "E4M3, tiles"):
    dtype, tiles = FORMATS[name]
    difference = quantize(x, tiles[0], dtype).dequantize() - x
    channels[name] = (difference.norm(dim=0) / x.norm(dim=0)).tolist()
curves = {name: [median[name, factor][1] for factor in FACTORS] for name in FORMATS}
alt = "Left, both axes logarithmic: relative error of ordinary channels against how many times larger outliers are. int8 begins lowest, near 0.01, and climbs to 1, with tiles to 0.43. E4M3 stays near 0.04; at 100,000 times it is 0.36, with tiles 0.07. Right, E4M3 there, by channel: about 0.4 everywhere; with tiles 0.025, but above 0.1 in three tiles."
show_figure(precision_figure(FACTORS, curves, channels, tile=128), alt)

# %% [markdown]
# The report names a second trap. An H800 adds up the products of FP8 numbers with about 14 bits: 32 products at a time
# are aligned to the largest and cut off after 13 binary places, and so is their running sum (arXiv:2505.09343, section
# 3.1.1). What is cut off always makes the sum smaller, so the error grows with the length of the sum. V3 therefore
# moves the sum to float32 every 128 numbers. `tensor_core_product` does as that sentence says; how the hardware treats
# the running sum in detail is not published, so take the size of the error, not its digits. **Look at** how the first
# column grows and the second does not.

# %%
from course_lib.precision import tensor_core_product

generator = torch.Generator().manual_seed(0)
a, b = (torch.rand(16, 4096, generator=generator).to(E4M3).float() for _ in "ab")
print(f"{'numbers in the sum':>20}{'one register':>15}{'float32 every 128':>20}")
for k in (128, 512, 1024, 4096):
    exact = a[:, :k].double() @ b[:, :k].double().mT
    short, promoted = (tensor_core_product(a[:, :k], b[:, :k], promote_every=every) for every in (None, 128))
    print(f"{k:20,}{relative_error(short, exact):15.3%}{relative_error(promoted, exact):20.3%}")

# %% [markdown]
# The report saw almost 2%, as the largest error of any number in a product of two random matrices at 4,096 (section
# 3.3.2). We get 0.3% on average, for positive numbers, of which no sum is close to zero. Rounding the inputs to E4M3
# costs more than either, 3.7% above. But that error has no direction, while cutting off always pulls the same way.
#
# With all of this, the report says, the loss stayed within 0.25% of BF16's, on models of 16B and 230B parameters
# (section 3.3). What is it for? An H100 multiplies FP8 at twice the peak rate of BF16 (1,979 against 989 TFLOP/s), and
# a number takes half the room in memory and on the wire.
#
# ### A pipeline that waits less
#
# V3 has 61 layers on 16 ranks (groups of GPUs), each with about a sixteenth of the layers (section 3.2). A batch is cut
# into micro-batches that pass the ranks one after another, forward, and then back again. At the beginning the last rank
# has nothing to do yet, then the first waits for work to come back, and at the end the last has nothing left: the
# bubble. Three schedules:
#
# - **1F1B** (one forward, one backward): ranks fill up, then take a backward and a forward in turn.
# - **ZB1P** (for *zero bubble*) cuts a backward in two. The gradient of the input is awaited by the rank before; that
#   of the weights is awaited by nobody, and can fill holes.
# - **DualPipe** sends micro-batches in from both ends. Each rank holds two stages, and works on a forward of one
#   direction and a backward of the other at once: while one computes, the other communicates.
#
# Each schedule is a list of tasks for every rank. `simulate` starts a task when its rank is free and what it needs is
# done. **Look at** the white, which is waiting, and at what ZB1P and DualPipe put where 1F1B has it: yellow work, that
# nobody awaits. (Where a row is cut in two, a forward and a backward run at once. A dark outline marks micro-batches
# that DualPipe sends in at the last rank; those without one came in at rank 0, as all do in the other two.)

# %%
from course_lib.figures.engineering import pipeline_figure
from course_lib.pipeline import TABLE_2, ChunkTimes, dual_pipe, held, idle, one_f_one_b, simulate, zero_bubble

ORDERS = {"1F1B": one_f_one_b, "ZB1P": zero_bubble, "DualPipe": dual_pipe}
even = ChunkTimes(forward=1, input_backward=1, weight_backward=1)
runs = {name: simulate(order(8, 20), even) for name, order in ORDERS.items()}
alt = "Three schedules as rows of work for 8 ranks; time in forwards of one micro-batch. 1F1B, white gaps at the beginning and the end: done at 81, each rank waits 21. ZB1P, end filled with backwards for weights only: done at 67, waits 7. DualPipe, begun from both ends, in the middle a forward and a backward at once: done at 66, waits 6."
show_figure(pipeline_figure(runs), alt)

# %% [markdown]
# The report gives formulas for the bubble (table 2): $(P-1)(F+B)$ for 1F1B, $(P-1)(F+B-2W)$ for ZB1P and
# $(\tfrac{P}{2}-1)(F\&B + B - 3W)$ for DualPipe, with $P$ ranks, $B$ a whole backward of which $W$ is the half for the
# weights, and $F\&B$ a forward and a backward together. **Look at** the pairs of columns: what the simulation found,
# and what the table says.

# %%
print(f"{'8 ranks, 20 micro-batches':27}{'waits':>6}{'formula':>9}{'holds':>7}{'table':>7}{'parameters':>12}")
for name, spans in runs.items():
    row = TABLE_2[name]
    waits, holds = max(idle(spans)), max(held(spans))
    assert waits == row.bubble(8, even) and holds == row.activations(8)
    print(f"{name:27}{waits:6g}{row.bubble(8, even):9g}{holds:7}{row.activations(8):7}{row.parameters:>11}x")

# %% [markdown]
# They agree, in the waiting and in the number of micro-batches whose activations a rank has to hold. (Where a forward
# and the two halves of a backward differ in length, 1F1B keeps its formula, ZB1P keeps it while $W$ is the shortest,
# and DualPipe's is off by some.) DualPipe's price is the last column: every rank holds two stages.
#
# In this picture all communication is free, and then DualPipe hardly beats ZB1P. Its point is that communication is
# not. V3's step was measured (arXiv:2505.09343, table 4, first column; 2,048 GPUs). **Look at** where the time goes.

# %%
measured = {"1F": 1.13, "bubble": 2.06, "1B": 1.99, "1W": 0.48, "1F1B": 13.95, "opt": 0.29}
step, tokens = 19.926, 272.80e9 / 86_400 * 19.926
words = ("forwards alone", "waiting", "input backwards alone", "weight backwards alone", "both at once", "optimizer")
for (name, seconds), meaning in zip(measured.items(), words, strict=True):
    print(f"{name:8}{meaning:26}{seconds:6.2f} s{seconds / step:8.1%}")
print(f"{'sum':34}{sum(measured.values()):6.2f} s of {step}; {tokens / 4096:,.0f} sequences of 4,096 in a step")

# %% [markdown]
# So a tenth of the step is waiting, and seven tenths are spent on forwards and backwards at once. Can we say what the
# other schedules would have cost? Only with an assumption: 2,048 GPUs are 128 pipelines of 16, so each takes 120
# sequences a step, and we take one sequence for a micro-batch, which no source says. Then the schedule tells how often
# a rank does what, and the table how long each takes. **Look at** the last column.

# %%
from collections import Counter

work = Counter("".join(part.kind for part in task) for order in dual_pipe(16, 120) for task in order)
each = {kind: count / 16 for kind, count in work.items()}  # of an average rank
chunk = ChunkTimes(
    forward=1.13 / each["F"], input_backward=1.99 / (each["B"] + each["I"]),
    weight_backward=0.48 / (each["B"] + each["W"]), overlapped=13.95 / each["FB"],
)  # fmt: skip
apart = chunk.forward + chunk.backward
print(f"forward {chunk.forward:.3f} s + backward {chunk.backward:.3f} s = {apart:.3f} s; at once {chunk.both:.3f} s\n")
for name, order in ORDERS.items():
    spans = simulate(order(16, 120), chunk)
    end, waits = max(span.end for span in spans), sum(idle(spans)) / 16
    formula = TABLE_2[name].bubble(16, chunk)
    print(f"{name:10}waits {waits:4.1f} s, {waits / end:5.1%} of {end:4.1f} s; formula {formula:.1f} s")

# %% [markdown]
# By this estimate the bubble is the smaller part of the gain. From 1F1B to DualPipe, waiting falls by a second and a
# half; doing a forward and a backward at once, the communication of one behind the computing of the other, saves four
# and a half. And the measured 2.06 s of waiting are more than the 1.2 s of this DualPipe. The table does not say why;
# the simulation knows neither unequal ranks nor the time to send. As a share of its shorter step, 10.3%, they are
# hardly fewer than the 11.1% of our 1F1B.
#
# ### Experts on other machines
#
# V3's 256 experts of a layer lie on 64 GPUs, on 8 machines or nodes (section 3.2). Between nodes runs InfiniBand, 50
# GB/s a GPU; within a node NVLink, 160 GB/s (section 3.2.2). A token goes to 8 experts. If each took a copy of its own
# over InfiniBand, that would be up to 8. So a token is sent to each node once and passed on there over NVLink. And the
# router may choose from four nodes only (lesson [03](03_moe_routing.ipynb)). What does either save? First: on how many
# nodes would eight experts lie if nobody limited them?

# %%
from course_lib.all_to_all import INFINIBAND, NVLINK, DecodeLimit, expected_nodes, nodes_visited
from course_lib.config import published
from course_lib.figures.engineering import nodes_figure
from course_lib.routing import choose_experts

v3 = published("deepseek-v3")
scores = torch.rand(20_000, v3.n_routed_experts, generator=torch.Generator().manual_seed(0))
free = choose_experts(scores, v3.num_experts_per_tok)
limited = choose_experts(scores, v3.num_experts_per_tok, n_group=v3.n_group, topk_group=v3.topk_group)
visits = {"free choice": nodes_visited(free, 256, 8), "four nodes": nodes_visited(limited, 256, 8)}
for name, nodes in visits.items():
    print(f"{name:14}{nodes.double().mean():.2f} nodes on average, at most {nodes.max()}")
print(f"{'by counting':14}{float(expected_nodes(256, 8, 8)):.2f}, when the choice is free")

# %% [markdown]
# (Counting: a node holds none of the eight with probability $\binom{224}{8} / \binom{256}{8}$, so it holds some with
# the rest of 1, and of eight nodes eight times as many do on average.) **Look at** the blue bars: not eight nodes but
# five or six, for chance puts several experts on one node. The limit to four (orange) cuts a quarter off on average,
# and half for the widest-spread tokens.

# %%
shares = {name: (nodes.bincount(minlength=9)[1:] / len(nodes)).tolist() for name, nodes in visits.items()}
alt = "Bars: share of tokens by the number of nodes that hold their experts, 1 to 8. Free choice: 3 nodes 0.02, 4 nodes 0.16, 5 nodes 0.42, 6 nodes 0.33, 7 nodes 0.07, next to none elsewhere. Limited to four nodes: 0.95 of the tokens use 4 nodes, 0.05 use 3."
show_figure(nodes_figure(shares), alt)

# %% [markdown]
# Now bytes and time. A token has 7,168 numbers; it goes out in FP8, one byte each, and comes back in BF16, two. One
# node in eight is its own and needs no InfiniBand. **Look at** the rows: passing copies on saves a third, and the limit
# a quarter of what is left.

# %%
token = v3.hidden_size * (1 + 2)  # bytes there and back
copies = {"a copy for each expert": 8.0}
copies |= {f"a copy a node, {name}": nodes.double().mean().item() for name, nodes in visits.items()}
print(f"{'':30}{'over InfiniBand':>15}{'bytes':>10}{'time':>9}   for one token and one layer")
for name, count in copies.items():
    remote = count * 7 / 8
    print(f"{name:30}{remote:15.2f}{remote * token:10,.0f}{remote * token / INFINIBAND * 1e6:6.2f} µs")
ratio = NVLINK / INFINIBAND
print(f"\nNVLink passes on {ratio:.1f} copies while InfiniBand sends one")
print(f"four nodes: {4 * ratio:.1f} experts of a token would take no longer; V3 uses {v3.num_experts_per_tok}")

# %% [markdown]
# These are the 3.2 experts a node of the report, and its 13 experts at the same cost (section 3.2.2). The scores here
# are random; a trained router may spread its choices differently.
#
# When a model writes, the network sets a limit too. DeepSeek reckons it for 32 tokens on each GPU, two micro-batches
# that take turns, nine copies of a token (eight experts and the shared one, each by its own copy), and computing that
# takes no time (arXiv:2505.09343, section 2.3.2). **Look at** what each premise does.

# %%
PREMISES = {
    "as published: 7K = 7,000": DecodeLimit(hidden=7000, layers=61, copies=9),
    "hidden size 7,168": DecodeLimit(hidden=v3.hidden_size, layers=61, copies=9),
    "and 58 layers with experts": DecodeLimit(hidden=v3.hidden_size, layers=58, copies=9),
    "and 40 of the 50 GB/s": DecodeLimit(hidden=v3.hidden_size, layers=58, copies=9, bandwidth=40e9),
    "published, at 900 GB/s": DecodeLimit(hidden=7000, layers=61, copies=9, bandwidth=900e9),
}
print(f"{'':28}{'all-to-all':>13}{'a layer':>12}{'a token':>11}{'tokens/s':>10}")
for name, p in PREMISES.items():
    print(f"{name:28}{p.all_to_all * 1e6:10.2f} µs{p.layer * 1e6:9.2f} µs{p.token * 1e3:8.2f} ms{1 / p.token:10.1f}")

# %% [markdown]
# The first row is the published one: 120.96 µs, 14.76 ms, 67 tokens a second (cut off, not rounded). It has two
# roundings that nearly cancel: 7,168 is not 7,000, and the first three of the 61 layers have no experts. With the 40
# GB/s that the same paper takes for real messages (section 4.3) some 56 are left, and nothing has been computed yet. In
# service it was 20 to 22 tokens a second (DeepSeek's open-infra-index, day 6, February 2025), so the network was not
# the only limit. The last row, for a rack whose GPUs are joined at 900 GB/s, is the same arithmetic; the paper itself
# calls it purely theoretical.
#
# ### So, is it?
#
# Each of the three can be followed with a pencil, and none is magic. NVIDIA's software could train in FP8 before; no
# open large model had done so (arXiv:2505.09343, section 3.1). ZB1P and 1F1B are other people's. What is remarkable
# stands in the table of times: that all of it held together on 2,048 GPUs for almost two months. And the legend wants
# smaller numbers. Tiles are insurance more than accuracy, DualPipe gains by overlap more than by its bubble, and the
# four-node limit saves a quarter of what passing copies on has left.

# %% [markdown]
# ## A table from the press
#
# One of the texts of that January sets four models side by side: cost, data, parameters, hours. (It also says who made
# them.) Each cell is a claim of its own. **Before you look**, guess: how many of the 21 have a source?
#
# ✓ *supported*: a public source gives this number. ✗ *contradicted*: a public source says otherwise; the cost of V3 is
# here because the table calls it the cost of development, and the source says what is left out. ? *without source*: we
# found nothing public that gives it. The numbers in brackets lead to the reading and its source below.

# %%
from IPython.display import HTML

from course_lib.press_table import CELLS, MODELS, press_html

HTML(press_html())

# %% [markdown]
# And the count. **Look at** the columns rather than the rows.

# %%
from collections import Counter

marks = Counter((cell.model, cell.verdict) for cell in CELLS)
verdicts = ("supported", "contradicted", "without source")
print(f"{'':14}" + "".join(f"{verdict:>16}" for verdict in verdicts))
for model in MODELS:
    print(f"{model:14}" + "".join(f"{marks[model, verdict]:16}" for verdict in verdicts))
total = Counter(cell.verdict for cell in CELLS)
print(f"{'sum':14}" + "".join(f"{total[verdict]:16}" for verdict in verdicts))
assert {cell.model for cell in CELLS if cell.verdict == "supported"} == {"DeepSeek-V3"}

# %% [markdown]
# Every number with a source is DeepSeek's. A table in which only one column can be checked compares nothing, however
# exact it looks. "Without source" does not mean wrong: it means that neither the reader nor the writer can know.
#
# ## Summary
#
# - 2.788 million GPU hours at an assumed 2 dollars each come to 5.576 million dollars: the rent of the final run.
#   Research, trials, data, staff and hardware are not in it. Run against run, Llama 3.1 405B took eleven times the hours, above all because each of its tokens
#   takes ten times the operations.
# - V3's pre-training took $3.7 \cdot 10^{24}$ FLOP at an MFU of 39.1% (causal attention, BF16 peak). The same hours are
#   19.5%, 34.3% or 43.8% in other conventions.
# - No energy is published. Hours times 700 W give 1.95 GWh, which is a floor; with machine and building about 3 GWh
#   (2.3 to 3.8). Most published energies of other models are made by the same rule and confirm nothing.
# - Experts save operations: V3 takes a sixteenth of those of a dense model of its size. In the one case where a dense
#   model about as good was published, a model of experts took a fifth of those of one of its size, and two fifths of
#   those of the one as good. Experts save no memory, and with many users no traffic from memory.
# - A spike is cheaper than a multiplication; fetching a weight is dearer than both.
# - FP8 tiles, DualPipe and the four-node limit each save something that can be computed, and less than legend has it.
# - Of 21 cells in a table from the press, four have a source, and all four are DeepSeek's.
#
# ## Three questions
#
# 1. V3 was trained with an MTP module (lesson 05), whose work the 250 GFLOP leave out. It has one layer of attention
#    (187.1M parameters), nine active experts of 44.04M, a router (1.8M), a projection (102.8M) and uses the head
#    (926.7M) once more. What is the MFU with it?
# 2. "Training V3 took eleven times less energy than training Llama 3.1 405B." Which assumptions about power does this
#    sentence need, and which not?
# 3. You want to serve V3 to 16 users at once. How many weights are read for each token, compared with one user alone,
#    and with 4,096?
#
# <details><summary>Answers</summary>
#
# 1. 187.1 + 9 x 44.04 + 1.8 + 102.8 + 926.7 = 1,614.8M parameters, times 6 is 9.7 GFLOP, and one more layer of
#    attention 0.5: 260.6 in place of 250.5. 39.1% x 260.6 / 250.5 = 40.7%.
# 2. That both draw the same for each GPU hour, and sit in like buildings: then watts and PUE cancel. Not how large they
#    are. (And the models are not equally good at everything, so it is no statement about energy for a given quality.)
# 3. The table has 17.29B for 16 users, 36.63B for one, 0.16B for 4,096. Sharing among 16 users saves a little more than
#    half, where a dense model would save fifteen sixteenths.
#
# </details>
#
# ## Assignment
#
# [hw4_scaling](../assignments/release/hw4_scaling/hw4_scaling.ipynb) goes with lesson 07 and this one. Three of its
# functions are the lines of this lesson: `training_cost`, `mfu` and `energy_mwh`. Its checks know those who take hours
# for seconds, and who divide by the PUE.
