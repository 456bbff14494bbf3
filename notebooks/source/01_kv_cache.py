# %% [markdown]
# # 01 The KV cache: what a long conversation costs
#
# *Read: 25 minutes. Runs: under a minute on a CPU. Needs: PyTorch and matrices; attention as softmax(QKᵀ)V.*
#
# A chat model writes one token at a time, and every new token looks back at all earlier ones. What it looks at is kept in
# memory: the **KV cache**. With long conversations and many users it fills a GPU, and sets how many people that GPU can
# serve. It is the first thing that this course makes small. After this lesson you can
#
# - derive the size of the cache of any model from its `config.json`,
# - say how many users fit on one GPU, and
# - check a published table of cache sizes, and find the number in it that does not add up.

# %% tags=["bootstrap"]

# %% [markdown]
# ## Why there is a cache
#
# To predict token $t+1$ a layer needs the *query* of token $t$, and the *keys* and *values* of tokens $0 \dots t$. Keys
# and values of the earlier tokens were computed before, and causal attention guarantees that they do not change: a token
# never sees what follows it. So keep them.
#
# Here is a small model with random weights, and a real text: the help pages that come with Python, read as bytes.

# %%
import torch

from course_lib import corpus
from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek

torch.manual_seed(0)
sizes = dict(vocab_size=corpus.VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=3)
model = MiniDeepSeek(ModelConfig(**sizes, num_attention_heads=8)).eval()
tokens = corpus.encode(corpus.text("python-docs")[:120])[None]
print(f"{tokens.shape[1]} tokens, {sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# Predict after every token, twice. First without a cache: each step feeds the whole text so far. Then with one: each step
# feeds a single token. **Look at** the two counts, and at the difference between the two predictions.

# %%
work = {"without": 0, "with": 0}
cache = model.new_cache()
worst = 0.0
with torch.inference_mode():
    for end in range(1, tokens.shape[1] + 1):
        again = model(tokens[:, :end])[:, -1]
        once = model(tokens[:, end - 1 : end], cache)[:, -1]
        work["without"] += end
        work["with"] += 1
        worst = max(worst, (again - once).abs().max().item())
print(f"tokens computed without a cache: {work['without']:,}; with one: {work['with']}")
print(f"largest difference of two predictions below 1e-5: {worst < 1e-5}")

# %% [markdown]
# The same predictions up to rounding, for 120 tokens of work instead of 7,260: $n$ instead of $n(n+1)/2$. Nobody decodes
# without a cache. The price is memory, so let us count it.
#
# ## What is in it
#
# Per token and layer, plain multi-head attention (MHA) keeps one key and one value for each head. A model with $h$ heads
# of $d_h$ numbers keeps
#
# $$2 \cdot h \cdot d_h \quad \text{numbers per token and layer.}$$
#
# Two older ideas make it smaller by letting query heads *share* keys and values: **grouped-query attention** (GQA,
# arXiv:2305.13245) has fewer KV heads than query heads, **multi-query attention** (MQA, arXiv:1911.02150) a single one.
# In the formula $h$ becomes `num_key_value_heads`. Write it down once:


# %%
def cached_numbers_by_hand(layers: int, kv_heads: int, head_dim: int) -> int:
    """Keys and values of one token, all layers."""
    return 2 * layers * kv_heads * head_dim


for name, layers, kv_heads, head_dim in [("Llama-2-7B, MHA", 32, 32, 128), ("Llama-3-8B, GQA", 32, 8, 128)]:
    numbers = cached_numbers_by_hand(layers, kv_heads, head_dim)
    print(f"{name}: {numbers:,} numbers, {2 * numbers:,} bytes a token in bf16")

# %% [markdown]
# `accounting.cache_elements` does the same from a config, for every model of this course. **Look at** the column of
# bytes: a 671-billion-parameter model caches less than one of 7 billion.

# %%
from course_lib.accounting import cache_bytes, cache_elements
from course_lib.config import published
from course_lib.figures import show_figure

assert cache_elements(published("llama-2-7b")) == cached_numbers_by_hand(32, 32, 128)
print(f"{'model':18}{'kind':6}{'layers':>7}{'KV heads':>9}{'numbers':>10}{'bytes, bf16':>13}")
for name in ("llama-2-7b", "llama-3-8b", "qwen2.5-72b", "llama-3.1-405b", "deepseek-llm-67b", "deepseek-v3"):
    config = published(name)
    kv_heads = "-" if config.is_mla else config.num_key_value_heads
    row = f"{name:18}{config.attention_kind:6}{config.num_hidden_layers:7}{kv_heads:>9}"
    print(f"{row}{cache_elements(config):10,}{cache_bytes(config, tokens=1):13,}")

# %% [markdown]
# DeepSeek-V3 has no KV heads to count. Its **Multi-head Latent Attention** (MLA) keeps, per token and layer, one *latent*
# of $c = 512$ numbers, from which all 128 heads' keys and values can be made again, and one rotated key of $r = 64$
# numbers that all heads share: $c + r = 576$. Why that is enough, and why it takes two parts, is lesson 02. What it saves
# can be counted now: take V3 as it is, and give it each of the other kinds of attention, with heads of 128.

# %%
from dataclasses import replace

v3 = published("deepseek-v3")
no_latent = dict(kv_lora_rank=None, q_lora_rank=None, qk_nope_head_dim=0, qk_rope_head_dim=0, v_head_dim=0)
kinds = {"MLA, as built": v3}
for label, kv_heads in (("MQA", 1), ("GQA, 8 KV heads", 8), ("MHA, 128 heads", 128)):
    kinds[label] = replace(v3, **no_latent, num_key_value_heads=kv_heads, head_dim=128)
per_layer = {label: cache_elements(config) // config.num_hidden_layers for label, config in kinds.items()}
for label, numbers in per_layer.items():
    print(f"{label:17}{numbers:7,} numbers, {numbers / per_layer['MLA, as built']:5.2f} times MLA")

# %% [markdown]
# **Look at** the picture's logarithmic axis: from MHA to MLA is a factor of 57. GQA with 8 KV heads would still keep more
# than three times as much. MQA would keep less than MLA, but all heads would have to work with the same key and value; in
# MLA they share a row too, yet each makes keys and values of its own from it.

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 2.2), layout="constrained")
bars = axes.barh(list(per_layer), list(per_layer.values()), color=["#0072B2", "#009E73", "#E69F00", "#D55E00"])
axes.bar_label(bars, labels=[f"{n:,}" for n in per_layer.values()], padding=4)
axes.set(xscale="log", xlim=(100, 100_000), xlabel="numbers cached per token and layer", title="DeepSeek-V3, four ways")
axes.invert_yaxis()
alt = "Horizontal bars on a logarithmic axis: numbers cached per token and layer if DeepSeek-V3 had each kind of attention. MQA 256, MLA as built 576, GQA with 8 KV heads 2,048, MHA with 128 heads 32,768."
show_figure(figure, alt)

# %% [markdown]
# ## A real cache, measured
#
# A formula is a claim. Fill real caches and weigh them: four small models that differ only in their attention decode 300
# bytes of real text, and we ask PyTorch how many bytes their caches' storage takes. `capacity` reserves exactly the room
# that is needed; without it the buffer doubles whenever it is full, and up to half of it stands empty.

# %%
latent = dict(kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16)
small = {
    "MHA": ModelConfig(**sizes, num_attention_heads=8),
    "GQA": ModelConfig(**sizes, num_attention_heads=8, num_key_value_heads=2),
    "MQA": ModelConfig(**sizes, num_attention_heads=8, num_key_value_heads=1),
    "MLA": ModelConfig(**sizes, num_attention_heads=8, **latent),
}
text = corpus.encode(corpus.text("python-docs")[:300])[None]

# %% [markdown]
# **Look at** the last two columns: measured and computed agree to the byte.

# %%
print(f"{'kind':5}{'numbers a token':>16}{'measured bytes':>16}{'computed bytes':>16}")
for kind, config in small.items():
    model = MiniDeepSeek(config).eval()
    cache = model.new_cache(capacity=text.shape[1])
    with torch.inference_mode():
        model(text[:, :100], cache)  # the prompt, all at once
        for i in range(100, text.shape[1]):  # then one token at a time
            model(text[:, i : i + 1], cache)
    computed = cache_bytes(config, tokens=text.shape[1], bytes_per_element=4)
    print(f"{kind:5}{cache_elements(config):16,}{cache.allocated_nbytes:16,}{computed:16,}")
    assert cache.allocated_nbytes == cache.nbytes == computed

# %% [markdown]
# ## How many users fit on one GPU
#
# Every user has a conversation, so every user has a cache. In a GPU with $M$ bytes, of which $W$ hold weights,
#
# $$\text{users} = \left\lfloor \frac{M - W}{\text{context} \cdot \text{bytes per token}} \right\rfloor .$$
#
# Take a context of 32,768 tokens and a GPU with 80 GB (1 GB = 10⁹ bytes) that holds nothing but caches:

# %%
for name in ("llama-2-7b", "llama-3-8b", "deepseek-llm-67b", "deepseek-v3"):
    each = cache_bytes(published(name), tokens=32_768)
    print(f"{name:17} {each / 1e9:6.2f} GB a user, {80e9 // each:3.0f} users")

# %% [markdown]
# Now explore. Each bar is the cache of all users together; the dashed line is the GPU. **Try this:**
#
# 1. Move *context* to the right with the arrow keys. Which bar reaches the line last?
# 2. Set *cached as* to fp8. What happens to the number of users?
# 3. Tick *weights on the same GPU*. DeepSeek-V3's do not fit at all: 671 billion weights need many GPUs whatever the
#    cache does. For decoding V3's report describes a unit of 320 GPUs, each with one expert of every layer
#    (arXiv:2412.19437, section 3.4.2).
#
# A star marks a context beyond what that model was built for.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.cache import CacheExplorer

explorer = CacheExplorer()
explorer

# %% [markdown]
# The first state of the explorer, for readers without a running kernel: 8 users with 32,768 tokens each. **Look at** the
# dashed line: three of the bars go beyond it, and there 8 such users do not fit.

# %%
from course_lib.figures.cache import cache_figure

alt = "Horizontal bars: cache of 8 users with 32,768 tokens each, in GB, and a dashed line at the 80 GB of the GPU. Below the line: DeepSeek-V2-Lite 8.15, DeepSeek-V3 18.4, Llama 3 8B 34.4. Beyond it: DeepSeek LLM 67B 102, Llama 3.1 405B 135, Llama 2 7B 137. In this order 78, 34, 18, 6, 4 and 4 users fit."
show_figure(cache_figure(CacheExplorer().bars), alt)

# %% [markdown]
# ## Check a published table
#
# DeepSeek's own comparison (arXiv:2505.09343, table 1, in KB = 1000 bytes and bf16) gives 70.272 KB a token for V3,
# 327.680 KB for Qwen2.5-72B, printed as 4.66 times as much, and 516.096 KB for Llama-3.1-405B, printed as 7.28 times.

# %%
printed = {"deepseek-v3": (70.272, 1), "qwen2.5-72b": (327.680, 4.66), "llama-3.1-405b": (516.096, 7.28)}
v3_bytes = cache_bytes(published("deepseek-v3"), tokens=1)
for name, (kilobytes, ratio) in printed.items():
    size = cache_bytes(published(name), tokens=1)
    print(f"{name:15} {size / 1000:.3f} KB, printed {kilobytes:.3f};  ratio {size / v3_bytes:.2f}, printed {ratio}")

# %% [markdown]
# All three sizes are right to the byte. The last ratio is not: 516.096 / 70.272 is 7.34. A slip of no consequence, in a
# careful paper. It is also the habit of this course: numbers that can be recomputed are recomputed.
#
# ## Summary
#
# - Decoding keeps the keys and values of all earlier tokens, so that a step costs one token of work, not all of them.
# - Per token, MHA, GQA and MQA keep $2 \cdot \text{layers} \cdot \text{KV heads} \cdot d_h$ numbers; MLA keeps
#   $\text{layers} \cdot (c + r)$.
# - DeepSeek-V3 keeps 35,136 numbers, 70,272 bytes in bf16: as little as GQA with 2.25 KV heads of 128 would (576/256).
# - The longer the conversations, the fewer fit on a GPU, in proportion.
#
# ## Three questions
#
# 1. Llama-3-70B and Qwen2.5-72B cache the same number of bytes per token. Which three numbers of their configs
#    decide it?
# 2. DeepSeek-V2 said that its cache is 93.3% smaller than that of DeepSeek 67B (arXiv:2405.04434, abstract). Compute the
#    saving from the two configs. What is missing? (Lesson 02 finds it.)
# 3. A service doubles its context length and halves the bytes per number. How does the number of users change?
#
# <details><summary>Answers</summary>
#
# 1. Layers (80), KV heads (8) and head size (128). Hidden size, vocabulary and feed-forward width do not enter.
# 2. 34,560 against 194,560 numbers: 82.2% smaller. The rest must come from storing each number in fewer bits.
# 3. Not at all, if the memory left for caches stays the same: the product of the two is what counts.
#
# </details>
#
# ## Assignment
#
# [hw1_mla](../assignments/release/hw1_mla/hw1_mla.ipynb) begins here: its first function, `kv_cache_elements(config)`, is
# what you just used, for any config. The rest goes with [lesson 02](02_mla.ipynb).
