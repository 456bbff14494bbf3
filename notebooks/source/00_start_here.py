# %% [markdown]
# # 00 Start here: what was claimed, and how you will test it
#
# *Read: 15 minutes. Runs: seconds on a CPU. Needs: some Python.*
#
# In December 2024 the Chinese company DeepSeek gave away the weights of its language model V3, and said that training
# it had cost 5.576 million dollars (arXiv:2412.19437, table 1). In January 2025, with the reasoning model R1 built upon
# it, the world noticed. Much was written in the weeks that followed. Some of it was true.
#
# In this course you find out which, by building the parts that make the difference: the attention that remembers little,
# the experts of which few are awake, the second token predicted ahead, the small runs that foretell the large one. At the
# end you check the bill. Everything runs on a laptop. Every number on these pages is computed on the page or comes
# with its source.
#
# | lesson | what you can do after it |
# |---|---|
# | 00 this page | check the machine; meet the claims |
# | [01 The KV cache](01_kv_cache.ipynb) | say from a config how many users fit on one GPU |
# | [02 Latent attention](02_mla.ipynb) | compress keys and values, and find when absorbing loses |
# | [03 Routing to experts](03_moe_routing.ipynb) | count V3's 671 and 37 billion parameters from its config |
# | [04 Load balancing](04_load_balancing.ipynb) | watch routing collapse, and mend it with a bias |
# | [05 Multi-token prediction](05_mtp.ipynb) | train a second prediction, and decode with it without loss |
# | [06 A small DeepSeek](06_mini_deepseek.ipynb) | assemble the whole, train it, let it write |
# | [07 Scaling laws](07_scaling_laws.ipynb) | fit small runs, forecast a large one, with intervals |
# | [08 Cost and energy](08_cost_and_energy.ipynb) | check the bill line by line |
#
# In an assignment you write the functions yourself, and `check` says precisely what is wrong with an answer:
#
# | assignment | you write | after lesson |
# |---|---|---|
# | [hw1_mla](../assignments/release/hw1_mla/hw1_mla.ipynb) | the KV cache and latent attention | 02 |
# | [hw2_moe](../assignments/release/hw2_moe/hw2_moe.ipynb) | routing to experts and load balancing | 04 |
# | [hw3_mtp](../assignments/release/hw3_mtp/hw3_mtp.ipynb) | multi-token prediction and speculative decoding | 05 |
# | [hw4_scaling](../assignments/release/hw4_scaling/hw4_scaling.ipynb) | scaling laws, training cost and energy | 08 |

# %% tags=["bootstrap"]

# %% [markdown]
# ## Check the machine
#
# Nothing here needs a GPU. **Look at** the right-hand column: empty means that there is nothing to mend.

# %% tags=["nbval-ignore-output"]
from course_lib.doctor import examine

for finding in examine():
    print(f"{finding.name:11} {finding.found:20} {finding.remedy}")

# %% [markdown]
# ## A first taste: 671 billion, of which few work
#
# The shape of DeepSeek-V3 is public: a `config.json` of a few dozen lines. From those alone every parameter of the model
# can be counted. (An extra module that predicts further ahead is counted apart; it comes in lesson 05.) **Look at** the
# share of them that one token uses.

# %%
from course_lib.accounting import parameters
from course_lib.config import published
from course_lib.figures import show_figure

counts = parameters(published("deepseek-v3"))
print(f"parameters: {counts.total:,}")
print(f"used by one token: {counts.active:,}, {counts.active / counts.total:.1%} of them")
print(f"without the embedding, of which a token looks up one row: {counts.active_without_embedding:,}")

# %% [markdown]
# The announcement said 671 billion and 37 billion, and you have just checked it. The second number depends on what one
# counts: 36.6 rounds to 37, and 37.6 does not. Lesson 03 sorts it out. The picture sets V3 beside models that were public
# at the time. **Look at** the gap between pale and dark: a dense model uses all it has for every token, a mixture of
# experts does not.

# %%
import matplotlib.pyplot as plt

names = ["llama-3-8b", "mixtral-8x7b", "deepseek-llm-67b", "deepseek-v2", "llama-3.1-405b", "deepseek-v3"]
pairs = [(parameters(published(name)).total / 1e9, parameters(published(name)).active / 1e9) for name in names]
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
axes.barh(names, [total for total, _ in pairs], color="#9ecae1", label="held")
axes.barh(names, [active for _, active in pairs], color="#0072B2", height=0.4, label="used by one token")
for i, (total, active) in enumerate(pairs):
    axes.annotate(f"{active:.3g} of {total:.3g}", (total, i), (5, 0), textcoords="offset points", va="center")
axes.set(xlim=(0, 780), xlabel="billion parameters")
axes.legend(loc="upper right")
axes.invert_yaxis()
alt = "Horizontal bars: billions of parameters that six models hold, with an inner bar for those one token uses. Dense models use all: Llama 3 8B 8.03, DeepSeek LLM 67B 67.4, Llama 3.1 405B 406. Mixtures of experts use few: Mixtral 8x7B 12.9 of 46.7, DeepSeek-V2 21.4 of 236, DeepSeek-V3 37.6 of 671."
show_figure(figure, alt)

# %% [markdown]
# ## The claims
#
# A blog post and a set of slides of those weeks, typical of many, made the claims below (the wording is ours). The column
# *lesson* says where you can test each one; a dash means that there is nothing to compute. **Before you open a
# verdict, guess it.** Right, wrong, or impossible to know?

# %%
from IPython.display import HTML

from course_lib.claims import claims, claims_html

HTML(claims_html(claims()))

# %% [markdown]
# How did they do? **Look at** how many are simply right, and at how many nobody outside the companies can know.

# %%
from collections import Counter

for verdict, number in Counter(claim.verdict for claim in claims()).most_common():
    print(f"{number:3}  {verdict}")

# %% [markdown]
# Two lessons before the first lesson. The figures about DeepSeek itself fare well, since it published them; those about
# its rivals mostly have no public source. Formulas fare worse than figures: five of the eight contradicted claims misread
# one and the same formula, which you will meet in lesson 05. And the most quoted figure of all was right and misread: the
# 5.6 million dollars are the rental price of the last run alone (arXiv:2412.19437, section 1 says so). Lesson 08 takes it
# apart.
#
# ## Summary
#
# - DeepSeek-V3 holds 671 billion parameters, and one token uses 37 billion of them; both follow from its config.
# - A claim can be right, wrong, or beyond checking, and it matters to say which.
# - Latent attention, experts, their balance and the second prediction have a lesson each, and you will build them.
#
# ## Three questions
#
# 1. Mixtral-8x7B is not a model of 8 x 7 = 56 billion parameters. Which number above says so, and what could be shared?
# 2. A dense model and a mixture of experts both use 37 billion parameters per token. Which of the two needs more memory,
#    and which more arithmetic per token?
# 3. Find a claim whose verdict is *no public source*. What would have to be published to settle it?
#
# <details><summary>Answers</summary>
#
# 1. It holds 46.7 billion: only the feed-forward layers come eight times; attention and embeddings are shared.
# 2. The mixture needs more memory, since it holds experts that this token does not use. The arithmetic is about the same.
# 3. For a model's size, its config or weights; for a cost, the GPU hours and the price of one.
#
# </details>
#
# ## Next
#
# This lesson has no assignment. Go on to [01 The KV cache](01_kv_cache.ipynb).
