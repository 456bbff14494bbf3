# %% [markdown]
# # 06 MiniDeepSeek: all of it, in small
#
# *Read: 50 minutes. Runs: less than a minute on a CPU. Needs: PyTorch and matrices; lessons [02](02_mla.ipynb),
# [03](03_moe_routing.ipynb), [04](04_load_balancing.ipynb) and [05](05_mtp.ipynb).*
#
# Five lessons took a model apart. This one puts it together, trains it, and asks of each part what it is worth. After
# it you can
#
# - assemble DeepSeek-V3 from its parts in two short classes, and know that nothing is missing,
# - train it on text, stop, go on, and read how far it has come,
# - compare it with a model that lacks one part: at equal work per token, over several seeds, with an interval, and
# - say whether the experts of a trained model have specialised, and how you know.
#
# The letters, as always: `b` sequences, `s` tokens of each, `d` the hidden size, `z` the vocabulary, `h` heads, `c` the
# latent, `r` the rotated key, `e` experts, `k` of them chosen.

# %% tags=["bootstrap"]

# %% [markdown]
# ## The whole on one page
#
# **Look at** the left column from below: tokens become vectors, pass through three blocks, and become logits, one for
# each possible next token. Each block adds twice to the stream that runs through it, once what attention found in other
# tokens (lesson 02), once what experts made of this one (lessons 03 and 04). The second column is the MTP module of
# lesson 05: one more block, which reads where the model stands and what the next token is, and predicts the one after
# that. What is orange is all that is kept of a token once it has been read.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.config import mini, published
from course_lib.devices import place_of
from course_lib.figures import show_figure
from course_lib.figures.anatomy import anatomy_figure

torch.set_num_threads(1)  # products this small are not worth sharing out
config = mini(num_nextn_predict_layers=1)
alt = "Diagram, read upwards. The model: embedding, a block with a dense layer, two with experts, norm, head. MTP: takes the model's state and the next token, embedded; one block, norm, the same head. One block: MLA, then experts or dense, each after a norm and added to the stream. Inside: 2 of 16 experts and a shared one; a latent of 24 and a key of 8 cached."
show_figure(anatomy_figure(config), alt)

# %% [markdown]
# These are the sizes of `mini()`, the model that the lessons train. It has every part of V3, and the same keys in its
# config. **Look at** which numbers shrink, and which hardly do: widths are about a hundred times smaller, layers twenty
# times, and the plan is the same. (`anatomy_figure(published("deepseek-v3"))` draws the other column.)

# %%
v3 = published("deepseek-v3")
KEYS = {
    "stack": "num_hidden_layers first_k_dense_replace hidden_size intermediate_size vocab_size",
    "lesson 02": "num_attention_heads q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim",
    "lesson 03": "n_routed_experts num_experts_per_tok n_shared_experts moe_intermediate_size n_group topk_group "
    "scoring_func norm_topk_prob routed_scaling_factor",
    "lesson 04": "topk_method",
    "lesson 05": "num_nextn_predict_layers",
}
print(f"{'':38}{'mini':>10}{'V3':>10}")
for where, keys in KEYS.items():
    for key in keys.split():
        print(f"{where:11}{key:27}{getattr(config, key)!s:>10}{getattr(v3, key)!s:>10}")

# %% [markdown]
# Two things are left out of the small one. Queries are not compressed (`q_lora_rank`), and its 16 experts form one
# group, since they all live on one machine. And what it amounts to:

# %%
from course_lib.accounting import cache_elements, mtp_parameters, parameters

print(f"{'':32}{'mini':>10}{'V3':>18}")
for words, count in {
    "parameters held": lambda c: parameters(c).total,
    "used by one token": lambda c: parameters(c).active,
    "  without embedding and head": lambda c: parameters(c).active_without_vocabulary,
    "in the MTP module, beside them": mtp_parameters,
    "numbers cached for a token": cache_elements,
}.items():
    print(f"{words:32}{count(config):10,}{count(v3):18,}")

# %% [markdown]
# ## Assemble it
#
# The parts are those that earlier lessons built and checked: `MLA`, `MoE`, and `SwiGLU`, the dense layer. What is left
# to write is how they are joined. A layer:

# %%
from course_lib.mla import MLA
from course_lib.moe import MoE, SwiGLU


class Layer(nn.Module):
    def __init__(self, c, number):
        super().__init__()
        self.attention_norm, self.attention = nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps), MLA(c)
        self.ffn_norm = nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.ffn = MoE(c) if c.is_moe(number) else SwiGLU(c.hidden_size, c.intermediate_size)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))  # what other tokens know
        return x + self.ffn(self.ffn_norm(x))  # what this one makes of it


# %% [markdown]
# And the model. **Look at** how little it is: a table, a list of layers, a norm, a matrix.


# %%
class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c.vocab_size, c.hidden_size)
        self.blocks = nn.ModuleList(Layer(c, number) for number in range(c.num_hidden_layers))
        self.norm = nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    def forward(self, tokens):  # [b, s]
        x = self.embedding(tokens)  # [b, s, d]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # [b, s, z]


# %% [markdown]
# Is it the same model as `course_lib.model.MiniDeepSeek`, which was checked against the `transformers` library? Give
# both the same weights, and compare all logits. Then change one token, and see whose logits move: a language model must
# not look ahead.

# %%
from course_lib.model import MiniDeepSeek

torch.manual_seed(0)
reference, ours = MiniDeepSeek(config), Model(config)
ours.load_state_dict({name: w for name, w in reference.state_dict().items() if not name.startswith("mtp.")})
tokens = torch.randint(256, (2, 40))
with torch.no_grad():
    logits = ours(tokens)
    torch.testing.assert_close(logits, reference(tokens))
    changed = ours(tokens.index_fill(1, torch.tensor(25), 0))
moved = (changed - logits).abs().amax((0, 2)) > 1e-4
print(f"{logits.numel():,} logits agree; with another token 25, logits change from position {moved.int().argmax()} on")
assert not moved[:25].any() and sum(w.numel() for w in ours.parameters()) + 32 == parameters(config).total

# %% [markdown]
# (The 32 are the balance biases, 16 in each of two layers: they are counted among the parameters of V3 and get no
# gradient.) The MTP module joins two vectors, each normed: the state of the model at position $i$, and the embedding of
# the token at $i + 1$. It predicts the token at $i + 2$, with a block of its own and the head of the main model:


# %%
def second_next(model, tokens):
    """Logits of the token after the next, one row fewer."""
    mtp, state = model.mtp[0], model.norm(model.hidden_states(tokens))
    joined = torch.cat([mtp.hidden_norm(state[:, :-1]), mtp.embedding_norm(model.embedding(tokens[:, 1:]))], dim=-1)
    return model.head(mtp.norm(mtp.block(mtp.proj(joined))))


with torch.no_grad():
    _, theirs = reference.predict_ahead(tokens)
    torch.testing.assert_close(second_next(reference, tokens), theirs)
print("rows: main model", logits.shape[1], "and MTP", theirs.shape[1])

# %% [markdown]
# ## Train it
#
# The text is `stories`: simple English from a grammar, of which we know what no other text tells, its entropy. No model
# can have a lower loss on average, whatever its size. Tokens are bytes, 256 of them, so a model that knows nothing and
# says so has a loss of $\ln 256 = 5.55$ nats. What does ours write before it has learned anything? (Bytes that cannot be
# shown are dots.)

# %%
from course_lib import corpus
from course_lib.generation import generate
from course_lib.training import Recipe, Training, evaluate

text = corpus.load("stories", 1_000_000)
print(corpus.decode(text.training[:250]), "...\n")


def sample(model, temperature, new=120):
    """What the model makes of a beginning."""
    written = generate(model, corpus.encode("In the ")[None], new, temperature=temperature).tokens[0]
    return "In the " + "".join(c if c.isascii() and c.isprintable() else "." for c in corpus.decode(written))


print(sample(reference, temperature=0.8))

# %% [markdown]
# The recipe is a short form of V3's: AdamW, a rise of the learning rate and a slow fall along a cosine, gradients
# clipped at a norm of 1, load kept even by the balance bias, and the MTP loss added with weight 0.3 (arXiv:2412.19437,
# section 4.2). We train half of the steps now. **While it runs you may interrupt it** (■ in the toolbar): a step is
# done whole or not at all, and running the cell again goes on where it stopped.

# %%
recipe = Recipe(steps=300, batch_size=4, length=128, learning_rate=1.5e-2, bias_speed=0.01, mtp_weight=0.3)
torch.manual_seed(0)
model = MiniDeepSeek(config)
training = Training(model, text, recipe)
untrained = evaluate(model, text, sequences=32, length=128).loss
print(f"training on {place_of(model)}; loss before: {untrained:.1f} nats per byte; floor of the text: {text.floor:.2f}")

# %% tags=["nbval-ignore-output"]
from tqdm.auto import tqdm


def go_on(until):
    for step in (bar := tqdm(training.run(until - training.step), total=until, initial=training.step, unit="step")):
        bar.set_postfix_str(f"loss {step.loss:.2f}")
    last = training.history.loss[-20:]
    print(f"step {training.step}: loss {sum(last) / len(last):.2f} nats per byte, mean of the last {len(last)}")


go_on(recipe.steps // 2)

# %% [markdown]
# Half way. The other half is the same call; had the kernel been interrupted before, it would not show in the result,
# not even in the last bit.

# %% tags=["nbval-ignore-output"]
go_on(recipe.steps)

# %% [markdown]
# **Look at** the gap between the blue line and the dashed floor: it is all that is still to be learned. A loss falls fast while letters and words are learned, and slowly afterwards:
# the number of a subject until its verb, who the hero is, what was wished for.

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
steps = range(1, training.step + 1)
axes.plot(steps, training.history.loss, color="#0072B2", linewidth=1, label="loss of the next byte")
axes.axhline(text.floor, color="black", linestyle="--", linewidth=1)
axes.annotate("floor: the entropy of the text", (1, text.floor), (0, 5), textcoords="offset points")
axes.axvline(recipe.steps // 2, color="0.6", linestyle=":")
axes.set(xlabel="step", ylabel="nats per byte", ylim=(0, 5.8))
axes.legend(frameon=False)
alt = "Line: loss of the next byte in nats against the step, 1 to 300. It falls steeply from about 5.5 to near 2.5 in the first twenty steps or so, then slowly to below 2, far above the dashed floor, the entropy of the text, at 0.52. A dotted line marks half way, step 150."
show_figure(figure, alt)

# %% [markdown]
# And its text. At temperature 0 the model takes the likeliest byte each time, at 1 it draws from what it believes,
# between them it draws more cautiously. A model that always says the likeliest soon goes in circles. (The text depends
# on the last bits of the machine's arithmetic, so yours may differ. Take another beginning, or another temperature.)

# %% tags=["nbval-ignore-output"]
for temperature in (0.0, 0.8, 1.0):
    print(f"{temperature}: {sample(model, temperature, 100)}\n")

# %% [markdown]
# How good is it? A sample that one likes proves nothing, so count. How many of the words that it writes are words of
# the stories?

# %%
known = set(corpus.decode(text.training).split())


def known_words(model):
    prompts = corpus.encode("In the ").repeat(16, 1)
    written = generate(model, prompts, 80, temperature=0.8).tokens
    words = [word for row in written for word in corpus.decode(row).split()[1:-1]]
    return sum(word in known for word in words) / max(len(words), 1)


before, after, loss = known_words(reference), known_words(model), training.evaluate(sequences=64).loss
assert before < 0.05 and after > 0.25 and loss < 1.9, "was the training interrupted? Run its cells to the end"
print("words of the stories: before fewer than 1 in 20, now more than 1 in 4; loss now below 1.9")

# %% [markdown]
# That took 153,600 bytes and less than a minute. A longer training is a command, and it can be stopped with Ctrl-C and
# goes on when it is called again:
#
# ```
# python3 course.py train --steps 800 --mtp-depths 1
# python3 course.py train --text python-docs --steps 2000 --out runs/docs
# ```
#
# ### How far back, how far on
#
# The windows it was trained on have 128 bytes. Nothing in the code stops us from reading longer ones. **Look at** the
# loss by position, right of the dotted line: for a while it goes nearly as well, and then the model is lost.

# %%
with torch.no_grad():
    windows = text.windows(16, 512)
    by_position = F.cross_entropy(model(windows[:, :-1]).mT, windows[:, 1:], reduction="none").mean(0)
figure, axes = plt.subplots(figsize=(8, 2.4), layout="constrained")
losses = [part.mean() for part in by_position.split(32)]
axes.plot(range(16, 512, 32), losses, "o-", color="#0072B2", markersize=4)
axes.axvline(128, color="0.6", linestyle=":")
axes.annotate("as far as it was trained", (128, 3), (5, 0), textcoords="offset points", color="0.35")
axes.set(xlabel="position in the window", ylabel="nats per byte", ylim=(0, None))
inside, beyond = by_position[32:128].mean(), by_position[-64:].mean()
assert beyond > inside + 0.5, "was the training interrupted? Run its cells to the end"
print("positions 448 to 512 cost over half a nat more than 32 to 128")
alt = "Line: loss in nats per byte against the position in a window of 512 bytes. It is level up to the dotted line at 128, as far as the model was trained, and nearly so for some way beyond; then it climbs, and at the right end it is far higher."
show_figure(figure, alt)

# %% [markdown]
# So far apart, rotated queries and keys stand at angles to each other that it has never met. Where that begins to hurt
# differs from one training to the next, so we let no model write past its window here. V3 was trained on sequences of 4,096 tokens, and
# taught longer ones afterwards, with rotations that were slowed down (YaRN; arXiv:2412.19437, sections 4.2 and 4.3).
#
# ## What is each part worth?
#
# Now the question of this lesson. Take the model whole, and leave out one part in turn:
#
# - **MHA, not MLA**: plain attention, whose heads are as wide as MLA's values, with about as many parameters;
# - **dense, no experts**: each layer has one feed-forward layer, 128 wide, that every token passes;
# - **no MTP**: the same model, without the module and its loss.
#
# A fair comparison says first what it holds equal. All read the same text in the same order, for 800 steps, by the same
# recipe (the dense one has no load to balance). And the **work per token** is equal, or nearly. **Look at** the column
# *active*.

# %%
from course_lib.experiments import MODELS

print(f"{'':20}{'held':>9}{'active':>9}{'cached':>8}{'MTP module':>12}")
for name, changes in MODELS.items():
    c = mini(**changes)
    count, module = parameters(c), mtp_parameters(c) if c.num_nextn_predict_layers else 0
    print(f"{name:20}{count.total:9,}{count.active_without_vocabulary:9,}{cache_elements(c):8}{module:12,}")
whole, dense = (parameters(mini(**MODELS[name])) for name in ("whole", "dense, no experts"))
difference = whole.active_without_vocabulary - dense.active_without_vocabulary
assert difference == whole.components["gate"].active == 2 * (16 * 64 + 16)
print(
    f"\nwhole - dense: {difference:,} active parameters, which are the two routers; {whole.total / dense.total:.1f} times held"
)

# %% [markdown]
# "Active" is what a token is multiplied with, embedding and head left out. The dense model has layers of 128 each, 384
# in all; the whole one has a dense layer of 192 and two in which a token passes three experts of 32, which is 384 as
# well. So the experts' model *holds* more than twice as much and *works* as much. What is not equal: MHA caches four
# times as many numbers, and training with MTP costs one more block and one more product with the head in every step.
# How much time is that on this machine? Take steps of all four in turns, and measure time on the CPU, in which other
# programs do not count.

# %% tags=["nbval-ignore-output"]
import time

runs, seconds = {}, dict.fromkeys(MODELS, 0.0)
for name, changes in MODELS.items():
    c = mini(**changes)
    short = Recipe(steps=8, batch_size=8, bias_speed=0.01 if c.moe_layers else 0)
    runs[name] = Training(MiniDeepSeek(c), text, short).run()
for _ in range(8):
    for name, run in runs.items():
        began = time.process_time()
        next(run)
        seconds[name] += (time.process_time() - began) / 8
for name, each in seconds.items():
    print(f"{name:20}{1000 * each:6.0f} ms a step, {each / seconds['whole']:.2f} of the whole model's")

# %% [markdown]
# 800 steps of four models, each with several seeds, take longer than a page may. A command did it, and its log is part
# of the course: `python3 course.py sweep ablations --seeds 0,1,2,3 --out course_lib/logs/ablations.csv`.

# %%
from importlib.resources import files

from course_lib.sweep import read

rows = read(files("course_lib") / "logs/ablations.csv")
by_seed = {}
for row in rows:
    by_seed.setdefault(int(row["seed"]), {})[row["model"]] = row
by_seed = {seed: models for seed, models in sorted(by_seed.items()) if len(models) == len(MODELS)}
loss = {name: torch.tensor([float(models[name]["validation_loss"]) for models in by_seed.values()]) for name in MODELS}
print(f"{len(by_seed)} seeds, {rows[0]['steps']} steps each; validation loss in nats per byte, floor {text.floor:.3f}")
for name, values in loss.items():
    print(f"{name:20}{values.mean():7.4f} ± {values.std():.4f}   ", *(f"{value:.4f}" for value in values.tolist()))

# %% [markdown]
# As in lesson 04, we compare seed by seed. A pair of runs has read the same text in the same order, so the luck of the
# order is in both, and drops out of the difference. (The weights they began with differ: other models have other weights to
# draw.) From the differences follow their mean and its Student-t interval at 95%: where the mean of very many seeds
# would lie, if seeds differ as these do.

# %%
from scipy.stats import t as student

without = [name for name in MODELS if name != "whole"]
result = {}
for name in without:
    difference = loss[name] - loss["whole"]
    n, mean = len(difference), difference.mean().item()
    half = student.ppf(0.975, n - 1) * difference.std().item() / n**0.5
    result[name] = difference.tolist(), mean, half
    verdict = "leaving it out hurts" if mean > half else "leaving it out helps" if mean < -half else "not told apart"
    print(f"{name:20}{mean:+.4f}  [{mean - half:+.4f}, {mean + half:+.4f}]  {verdict}")

# %% [markdown]
# **Look at** each bar and the line at 0. A dot is one seed: how much higher the loss is without the part. (Each seed
# has a height of its own, so that no dot hides another.) The bar is the interval of the mean. If it crosses the line,
# these runs cannot tell whether the part matters for the loss. On the right, the same difference while they trained,
# mean over the seeds: below 0, the model without the part is ahead.


# %%
def curves(name):
    """Training losses, one row a seed, each point a mean over 20 steps."""
    return torch.tensor([[float(x) for x in models[name]["loss_curve"].split()] for models in by_seed.values()])


# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained", width_ratios=(1, 1.15))
for place, (name, colour) in enumerate(zip(without, ("#0072B2", "#009E73", "#D55E00"), strict=True)):
    difference, mean, half = result[name]
    left.errorbar(mean, place, xerr=half, fmt="|", color=colour, elinewidth=24, alpha=0.35, markersize=34)
    left.plot(difference, [place + 0.13 * (seed - 1.5) for seed in range(4)], "o", color=colour, markersize=4)
    gap = (curves(name) - curves("whole")).mean(0)[5:]  # the first hundred steps differ most, and teach least
    right.plot(range(110, 110 + 20 * len(gap), 20), gap, color=colour, label=name)
left.set(yticks=range(3), yticklabels=without, ylim=(2.6, -0.6), xlabel="nats per byte")
left.set_title("validation loss, less the whole model's")
right.set(xlabel="step", ylabel="nats per byte", title="training loss, less the whole model's")
left.locator_params(axis="x", nbins=5)
_ = left.axvline(0, color="black", linewidth=0.8), right.axhline(0, color="black", linewidth=0.8)
right.legend(frameon=False)
alt = "Left: validation loss less the whole model's, in nats per byte; dots are four seeds, bars intervals of the mean. MHA -0.0075, its bar just reaching across 0; dense +0.031 and no MTP +0.020, both bars right of 0. Right: the same for the training loss, steps 100 to 800. MHA rises from -0.17 to -0.01; the others rise above 0.05 and sink to 0.03 and 0.02."
show_figure(figure, alt)

# %% [markdown]
# Three intervals at 95% are three chances to be wrong, so one that only just leaves 0 should not be trusted far. Now
# the three questions, one at a time.
#
# **MLA or MHA?** *What leaving it out costs:* a cache four times as large here; in V3 it would be 32,768 numbers a
# token and layer instead of 576 (lesson 02). *What MLA gives the loss here:* nothing that could be told apart
# from 0, and if anything a loss, not a gain: MHA was lower with three seeds of four, and learned faster at first. MLA
# is there to make the cache small without making the model worse. *What the small scale cannot show:*
# the gain. Nobody needs a smaller cache at 128 bytes of context. And whether the model is worse or better is a question
# for larger ones: DeepSeek compared the two at two sizes, on four benchmarks each (arXiv:2405.04434, table 9).

# %%
TABLE_9 = {  # benchmark: small MHA, small MLA, large MHA, large MLA
    "numbers cached [K]": (110.6, 15.6, 860.2, 34.6),
    "BBH": (37.9, 39.0, 46.6, 50.7),
    "MMLU": (48.7, 50.0, 57.5, 59.0),
    "C-Eval": (51.6, 50.9, 57.9, 59.2),
    "CMMLU": (52.3, 53.4, 60.7, 62.5),
}
print(f"{'':20}{'small MoE':^16}{'large MoE':^16}\n{'':20}" + 2 * f"{'MHA':>8}{'MLA':>8}")
for name, values in TABLE_9.items():
    print(f"{name:20}" + "".join(f"{value:8}" for value in values))
better = [mla > mha for name, row in TABLE_9.items() if name != "numbers cached [K]" for mha, mla in (row[:2], row[2:])]
print(f"MLA is better in {sum(better)} of {len(better)}")

# %% [markdown]
# So the authors found MLA better, not only smaller. Our runs can neither confirm nor deny that: a point or two on such
# a benchmark has no counterpart in a model that writes stories.
#
# **Experts or dense?** *What they cost:* more than twice the memory for weights, a router, a load to keep even. *What
# they give here:* the second verdict, at equal work per token. In the terms of the text:

# %%
difference, mean, half = result["dense, no experts"]
left_over = {name: (values - text.floor).mean().item() for name, values in loss.items()}
extra = left_over["dense, no experts"] / left_over["whole"] - 1
assert mean > 0
print(f"the dense model is worse with {sum(d > 0 for d in difference)} of {len(difference)} seeds;")
print(f"what it has still to learn above the floor is {extra:.0%} more than with experts")

# %% [markdown]
# *What the small scale cannot show:* how much it becomes. In the paper that introduced these experts, a dense model
# that uses 0.2 billion parameters has a loss of 2.060 nats a token; the mixtures, which hold 2.0 billion and use 0.2 or
# 0.3, have 1.932 to 1.808 (arXiv:2401.06066, tables 1 and 2; lesson 03). They hold ten times as much as the dense one,
# ours twice. They learned from 100 billion tokens, ours from 1.6 million bytes, and experts learn from their share of
# those only.
#
# Two fair doubts. *Is it the experts, or the parameters?* A dense model that holds as much as ours does more work on
# each token, so that is another comparison; question 1 asks about it. *Is equal work equal time?* No: look once more at
# the times of the steps above. A few large products suit hardware better than many small ones, and how much better
# depends on the machine.
#
# **MTP or none?** *What it costs:* one more block and head in training, and nothing in use, where the module may be
# dropped. *What it gives here:* the third verdict, at equal steps and therefore *more* work with MTP. *What the small
# scale cannot show:* what V3 has it for. In the report's own comparison the loss on text hardly moves (the Pile, in
# bits per byte), and benchmarks do (arXiv:2412.19437, table 4; the small model holds 15.7 billion parameters, the large
# one 228.7 billion).

# %%
TABLE_4 = {  # small without and with MTP, large without and with
    "BBH": (39.0, 41.4, 70.0, 70.7), "MMLU": (50.0, 53.3, 67.5, 66.6), "DROP": (39.2, 41.3, 68.5, 70.6),
    "TriviaQA": (56.9, 57.7, 67.0, 67.3), "NaturalQuestions": (22.7, 22.3, 27.2, 28.5),
    "HumanEval": (20.7, 26.8, 44.5, 53.7), "MBPP": (35.8, 36.8, 61.6, 62.2),
    "GSM8K": (25.4, 31.4, 72.3, 74.0), "MATH": (10.7, 12.6, 38.6, 39.8),
}  # fmt: skip
print("Pile, bits per byte: 0.729 -> 0.729 (small), 0.658 -> 0.657 (large)")
for name, values in TABLE_4.items():
    columns = (f"{a:8.1f} -> {b:4.1f} ({b - a:+.1f})" for a, b in (values[:2], values[2:]))
    print(f"{name:18}", *columns)
for size, at in (("small", 0), ("large", 2)):
    better = sum(values[at + 1] > values[at] for values in TABLE_4.values())
    print(f"{size}: better in {better} of {len(TABLE_4)}")

# %% [markdown]
# And its other use is speed: drafts for the main model to check, which lesson 05 measured. For that use it need not
# improve the loss at all.
#
# What did 800 steps of small models teach, then? The bill for each part, and one line for its gain:

# %%
bills = {
    "MHA, not MLA": f"cache of {cache_elements(mini(**MODELS['MHA, not MLA']))} -> {cache_elements(config)} numbers a token",
    "dense, no experts": f"{dense.total:,} -> {whole.total:,} parameters held, the work the same",
    "no MTP": f"{mtp_parameters(config):,} parameters more, in training only",
}
for name, bill in bills.items():
    _, mean, half = result[name]
    gain = "lower" if mean > half else "higher" if mean < -half else "not told apart"
    print(f"{config.attention_kind if 'MLA' in name else name.split()[-1]:8} {bill:56} loss {gain}")

# %% [markdown]
# Where it says "not told apart", an effect may be there that is smaller than these bars. More seeds make a bar shorter,
# by the square root of their number; they do not make the model larger.
#
# ## One that has read Shakespeare
#
# The course comes with a trained model, somewhat larger, with all the parts: **the model in the box**. It has read nine
# tenths of tinyshakespeare, 1.1 million characters of plays. This is what it reached on the tenth that it had not read.

# %%
from course_lib import boxed

model, record = boxed.load(), boxed.record()
c = model.config
count = parameters(c)
print(f"{count.total:,} parameters, {count.active_without_vocabulary:,} active without vocabulary")
print(
    f"{c.num_experts_per_tok} of {c.n_routed_experts} experts; {record['steps']:,} steps, windows of {record['window']} bytes\n"
)
names = {"nats_per_character": "the model in the box", "nanogpt": "nanoGPT's CPU example"}
names |= {name: name for name in ("xz", "bz2", "gzip")}
print("nats per character of the last tenth")
for key in sorted(names, key=record.get):
    print(f"  {names[key]:24}{record[key]:.2f}")

# %% [markdown]
# What these compare, and what not. nanoGPT is a well-known small transformer. Its documentation gives a command
# for a short run on a CPU and promises a loss of 1.88; run here, it reached 1.886 on the same tenth. Another size, windows
# of 64, another training. The compressors saw the
# last tenth only and had to learn English from it, while the model had read the other nine. One that had read them too
# would do better. Still, a loss *is* a compressed size: with an arithmetic coder, the model would need so many nats a
# character, where a plain byte takes $\ln 256 = 5.55$.
#
# **Look at** its training: on the left the loss in nats per byte, which in these plays is a character; on the right MaxVio,
# which the balance bias keeps low.

# %%
log = boxed.log()
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.6), layout="constrained")
steps = [row["step"] for row in log]
left.plot(steps, [row["loss"] for row in log], color="#0072B2")
left.set(title="training loss [nats per byte]", xlabel="step", ylim=(0, 4.1))
left.axhline(record["nats_per_character"], color="0.5", linestyle="--", linewidth=1)
left.annotate("last tenth, at the end", (steps[-1], record["nats_per_character"]), ha="right", va="bottom")
right.plot(steps, [row["max_violation"] for row in log], color="#D55E00")
right.set(title="batch MaxVio", xlabel="step", ylim=(0, None))
alt = "Two panels over 4,000 steps. Left, training loss in nats per byte: falls fast from 3.94, passes below the dashed 1.52, which is the loss on the last tenth at the end, after some 1,200 steps, and ends at 1.27. Right, batch MaxVio: falls from 3.0 to below 0.3 in 500 steps and ends at 0.13."
show_figure(figure, alt)

# %% [markdown]
# And what it writes, within the window it was trained on:

# %%
prompt = corpus.encode("ROMEO:\n")
written = generate(model, prompt[None], 160, temperature=0.8)
print("ROMEO:\n" + corpus.decode(written.tokens[0]))

# %% [markdown]
# ## Have its experts specialised?
#
# Load balance says that all experts work. It does not say that they do different things. The simplest question one can
# ask of a model that reads bytes: do some experts prefer some kinds of bytes? We need text. The model writes 32
# pieces itself, and for a text that it neither wrote nor read we take a sonnet (number 18; there are only plays in what
# it has read).

# %%
sonnet = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade
Nor lose possession of that fair thou owest;
Nor shall Death brag thou wander'st in his shade,
When in eternal lines to time thou growest:
So long as men can breathe or eyes can see,
So long lives this and this gives life to thee."""

# %%
KINDS = ("vowel", "consonant", "capital", "space", "newline", "punctuation")


def kind(byte):
    letter = chr(byte)
    if letter.isalpha():
        return KINDS.index("capital" if letter.isupper() else "vowel" if letter in "aeiou" else "consonant")
    return KINDS.index({" ": "space", "\n": "newline"}.get(letter, "punctuation"))


# %%
start = torch.full((32, 1), ord("\n"))
own = torch.cat([start, generate(model, start, record["window"] // 2 - 1, temperature=0.8, seed=1).tokens], dim=1)
verse = corpus.encode(sonnet)
texts = {"own writing": own, "sonnet": verse[: len(verse) // 5 * 5].view(5, -1)}  # pieces that fit into the window
for name, tokens in texts.items():
    count = torch.tensor([kind(byte) for byte in tokens.flatten().tolist()]).bincount(minlength=len(KINDS)).tolist()
    print(f"{name}: {tokens.numel()} bytes;", ", ".join(f"{n} {word}" for word, n in zip(KINDS, count, strict=True)))

# %% [markdown]
# Each byte chooses three experts in each of the layers with experts. We count choices by kind of byte and by expert,
# and divide twice: by the number of choices of that kind, and by the share of the expert in all choices. 1 then means
# that the kind likes this expert as much as all bytes do.


# %%
from course_lib.moe import recorded_routing


def choices(tokens):
    """Chosen experts (layer, byte, k) and the kind of each byte."""
    with recorded_routing(model) as routings, torch.no_grad():
        model(tokens)
    kinds = torch.tensor([kind(byte) for byte in tokens.flatten().tolist()])
    return torch.stack([routing.indices for routing in routings]), kinds


def table(indices, kinds):
    """Choices by kind and expert, of one layer."""
    cell = kinds[:, None] * c.n_routed_experts + indices
    return cell.flatten().bincount(minlength=len(KINDS) * c.n_routed_experts).view(len(KINDS), -1).double()


# %%
indices, kinds = choices(own)
counts = [table(layer, kinds) for layer in indices]
relative = torch.stack([n / n.sum(1, keepdim=True) / (n.sum(0) / n.sum()) for n in counts])
for word, row in zip(KINDS, relative.transpose(0, 1), strict=True):
    best = [f"expert {layer.argmax():2} {layer.max():4.1f} times" for layer in row]
    print(f"{word:12} likes most:  ", ",  ".join(best))

# %% [markdown]
# **Look at** a row: where is it brown? Those experts see far more of this kind of byte than of others. The dark purple
# ones hardly ever see it. If experts took no notice of what a byte is, all would be white.

# %%
figure, panels = plt.subplots(1, len(relative), figsize=(10, 2.6), layout="constrained", sharey=True)
for number, (axes, layer) in enumerate(zip(panels, relative, strict=True)):
    image = axes.imshow(layer.clamp(min=1 / 8).log2(), cmap="PuOr_r", vmin=-3, vmax=3, aspect="auto")
    axes.set(title=f"layer {number + c.first_k_dense_replace + 1}", xlabel="expert", yticks=range(len(KINDS)))
panels[0].set_yticklabels(KINDS)
bar = figure.colorbar(image, ax=panels, ticks=[-3, -2, -1, 0, 1, 2, 3])
bar.ax.set_yticklabels(["< 1/8", "1/4", "1/2", "1", "2", "4", "8"])
bar.set_label("choices, relative to all bytes")
alt = "Three grids, layers 2 to 4: six kinds of byte by 16 experts, shaded by how often a kind chooses an expert relative to all bytes, from below 1/8 to 8, logarithmic. In each row a few experts are chosen several times as often and many hardly ever. This is sharpest for spaces and newlines and in layer 2, faintest for consonants and in layer 4."
show_figure(figure, alt)

# %% [markdown]
# It looks specialised. But any table of counts has colours, the more so where counts are small; there are few newlines.
# So measure it with one number, and find out what that number is when nothing is there. The **mutual information** of
# kind and expert says how many nats you learn about one from the other:
#
# $$I = \sum_{\text{kind},\, i} p(\text{kind}, i)\, \ln \frac{p(\text{kind}, i)}{p(\text{kind})\; p(i)} .$$
#
# For a control, move the row of kinds along the text by some distance and measure again. Kinds are then as frequent as
# before, and follow one another as before; they only belong to other bytes. The largest of 100 such values is what
# chance can do.


# %%
def information(counts):
    p = counts / counts.sum()
    return torch.special.xlogy(p, p / (p.sum(0) * p.sum(1, keepdim=True))).sum().item()


print(f"{'':13}{'layer':>6}{'this byte':>12}{'next byte':>12}{'chance at most':>17}   [nats]")
for name, tokens in texts.items():
    indices, kinds = choices(tokens)
    for number, layer in enumerate(indices, c.first_k_dense_replace + 1):
        moved = [kinds.roll(20 + i * (len(kinds) - 40) // 99) for i in range(100)]
        this, following, *chance = (information(table(layer, each)) for each in (kinds, kinds.roll(-1), *moved))
        print(f"{name:13}{number:6}{this:12.2f}{following:12.2f}{max(chance):17.2f}")
        assert this > 3 * max(chance)

# %% [markdown]
# All values of the column *this byte* are more than three times what chance did in 100 attempts, on the sonnet too. So
# this is measured: **the experts of this model prefer kinds of bytes**, in each layer. The column *next byte* asks how
# much the choice tells about the byte that is to be predicted. (Part of that comes for free: a space is often followed
# by a consonant.) Compare the two columns from layer to layer: which of them falls with depth?
#
# What is not measured: that an expert "knows" vowels, or that the model is better because of it. Routing by kinds of
# bytes is the simplest specialisation there can be, and mostly says that similar vectors go to the same expert. In a
# model with words for tokens one would ask for subjects or languages; nothing here tells whether V3's experts divide
# their work so.
#
# ## Summary
#
# - DeepSeek-V3 in small is a table, a stack of blocks (norm, MLA, sum; norm, experts, sum), a norm and a head; and beside
#   it an MTP module that shares the table and the head.
# - A training can be judged by its distance to a floor, when the entropy of the text is known. A model is not to be
#   used beyond the window it was trained on.
# - A comparison says what it holds equal, pairs its runs, has several seeds and an interval, and says what it cannot show.
# - At equal work per token, our model with experts had a lower loss than a dense one, and pays with memory. At equal steps
#   it had a lower loss with MTP than without, and pays with work in training. MLA is there for the cache; four seeds could
#   not tell its loss from that of MHA.
# - Experts of a trained model prefer kinds of bytes, far beyond chance.
#
# ## Three questions
#
# 1. Give the dense model as many parameters as the whole one holds: how wide must its three feed-forward layers be, and how
#    many times the active parameters would a token then meet?
# 2. Someone trains the whole model and the one without MTP once each, and reports that MTP lowers the loss by 0.005. What do
#    you ask for? Take the interval above as a measure.
# 3. Suppose that each byte chose a single expert, and that one expert had all newlines and nothing else. How much would the
#    choice tell about whether a byte is a newline, if 1 byte in 40 is one?
#
# <details><summary>Answers</summary>
#
# 1. The whole model has $327{,}208 - 153{,}096 = 174{,}112$ parameters more. A feed-forward layer has $3 d = 192$ for each unit
#    of width, so three layers need $174{,}112 / (3 \cdot 192) \approx 302$ more: 430 wide. A token then meets all of them,
#    $120{,}328 + 174{,}112 = 294{,}440$ active parameters without vocabulary, 2.4 times as many.
# 2. More seeds, the same for both, and an interval of the paired differences. Set 0.005 beside the spread of the
#    dots in the picture: one seed and another differ by three times that. And equal work: the model without MTP could have trained
#    for more steps in that time.
# 3. All of it: then the entropy of "newline or not" is known from the choice, $-\tfrac{1}{40} \ln \tfrac{1}{40} -
#    \tfrac{39}{40} \ln \tfrac{39}{40} \approx 0.117$ nats.
#
# </details>
#
# ## Assignment
#
# [hw3_mtp](../assignments/release/hw3_mtp/hw3_mtp.ipynb) belongs to lesson 05 and this one. Lesson 07 asks how a loss
# depends on parameters, text and work, with small models like these, and how far one may trust the answer.
