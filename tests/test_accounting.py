import json
from pathlib import Path

import pytest

from course_lib import config as config_module
from course_lib.accounting import attention_flops, cache_bytes, cache_elements, parameters
from course_lib.config import ModelConfig, published
from tests.conftest import tiny_heads, tiny_mla

# name: total, active without vocabulary, without embedding, with both; derived from the published configs
TOTALS = {
    "deepseek-v3": (671026419200, 35698939392, 36625618432, 37552297472),
    "deepseek-v2": (235741434880, 20327224320, 20851512320, 21375800320),
    "deepseek-v2-lite": (15706484224, 2241719808, 2451435008, 2661150208),
    "deepseek-moe-16b": (16375728128, 2409220096, 2618935296, 2828650496),
    "deepseek-llm-7b": (6910365696, 6071504896, 6490935296, 6910365696),
    "deepseek-llm-67b": (67425001472, 65747279872, 66586140672, 67425001472),
    "llama-2-7b": (6738415616, 6476271616, 6607343616, 6738415616),
    "llama-2-70b": (68976648192, 68452360192, 68714504192, 68976648192),
    "llama-3-8b": (8030261248, 6979588096, 7504924672, 8030261248),
    "llama-3-70b": (70553706496, 68452360192, 69503033344, 70553706496),
    "llama-3.1-405b": (405853388800, 401650696192, 403752042496, 405853388800),
    "qwen2.5-72b": (72706203648, 70214787072, 71460495360, 72706203648),
    "mistral-7b": (7241732096, 6979588096, 7110660096, 7241732096),
    "mixtral-8x7b": (46702792704, 12617781248, 12748853248, 12879925248),
}
# As announced: total [B], active [B], and how far rounding and the choice of convention may reach
ANNOUNCED = {
    "deepseek-v3": (671, 37, 0.6),  # arXiv:2412.19437
    "deepseek-v2": (236, 21, 0.6),  # arXiv:2405.04434
    "deepseek-v2-lite": (15.7, 2.4, 0.06),  # arXiv:2405.04434
    "deepseek-moe-16b": (16.4, 2.8, 0.06),  # arXiv:2401.06066
    "mixtral-8x7b": (46.7, 12.9, 0.06),
}
# numbers cached per token, all layers
CACHED = {
    "deepseek-v3": 35136, "deepseek-v2": 34560, "deepseek-v2-lite": 15552, "deepseek-llm-67b": 194560,
    "deepseek-llm-7b": 245760, "deepseek-moe-16b": 114688, "llama-2-7b": 262144, "llama-2-70b": 163840,
    "llama-3-8b": 65536, "llama-3-70b": 163840, "llama-3.1-405b": 258048, "qwen2.5-72b": 163840,
    "mistral-7b": 65536, "mixtral-8x7b": 65536,
}  # fmt: skip


@pytest.mark.parametrize("name", TOTALS)
def test_totals_to_the_unit(name: str) -> None:
    counts = parameters(published(name))
    got = (counts.total, counts.active_without_vocabulary, counts.active_without_embedding, counts.active)
    assert got == TOTALS[name]


@pytest.mark.parametrize("name", TOTALS)
def test_a_published_config_that_lacks_a_key_counts_the_same_or_is_refused(name: str) -> None:
    given = json.loads((Path(config_module.__file__).parent / "published" / f"{name}.json").read_text(encoding="utf-8"))
    assert "model_type" in given
    # the first Llamas had no such key, so there it means as many as query heads
    for gone in given.keys() - ({"num_key_value_heads"} if given["model_type"] == "llama" else set()):
        try:
            config = ModelConfig.from_json({key: value for key, value in given.items() if key != gone})
        except ValueError:
            continue
        assert (parameters(config).total, cache_elements(config)) == (TOTALS[name][0], CACHED[name]), gone


@pytest.mark.parametrize("name", ANNOUNCED)
def test_announced_figures_hold_in_one_of_the_conventions(name: str) -> None:
    total, active, tolerance = ANNOUNCED[name]
    counts = parameters(published(name))
    assert counts.total / 1e9 == pytest.approx(total, abs=tolerance)
    conventions = (counts.active, counts.active_without_embedding, counts.active_without_vocabulary)
    assert min(abs(count / 1e9 - active) for count in conventions) <= tolerance


def test_components_of_v3() -> None:
    parts = parameters(published("deepseek-v3")).components
    attention = {name.removeprefix("attention."): part.each for name, part in parts.items() if "attention" in name}
    assert attention == {
        "q_down": 11010048, "q_norm": 1536, "q_up": 37748736, "kv_down": 4128768, "latent_norm": 512,
        "k_up": 8388608, "v_up": 8388608, "o_proj": 117440512,
    }  # fmt: skip
    assert sum(attention.values()) == 187107328
    assert (parts["gate"].each, parts["gate"].layers) == (1835264, 58)
    assert (parts["routed_experts"].each, parts["routed_experts"].active) == (11274289152, 58 * 8 * 44040192)
    assert (parts["dense_ffn"].total, parts["shared_experts"].each) == (1189085184, 44040192)


def test_a_tied_embedding_is_one_matrix_and_counts_as_the_head() -> None:
    tied, untied = parameters(tiny_mla(tie_word_embeddings=True)), parameters(tiny_mla())
    assert untied.total - tied.total == 37 * 26
    assert tied.active_without_embedding == untied.active_without_embedding == tied.active
    assert tied.active_without_vocabulary == untied.active_without_vocabulary


@pytest.mark.parametrize("name", CACHED)
def test_cache_per_token(name: str) -> None:
    assert cache_elements(published(name)) == CACHED[name]
    assert cache_bytes(published(name), tokens=1) == 2 * CACHED[name]


def test_cache_of_v3_and_of_a_bad_question() -> None:
    v3 = published("deepseek-v3")
    assert cache_bytes(v3, tokens=1) == 70272  # arXiv:2505.09343 table 1: 70.272 KB
    assert cache_bytes(v3, tokens=8, bytes_per_element=0.75) == 8 * 35136 * 6 // 8  # V2 serves 6-bit caches
    assert cache_bytes(v3, tokens=1, bytes_per_element=0.55) == 19_325, "the nearest integer"
    for tokens, width in ((-1, 2), (1, 0)):
        with pytest.raises(ValueError, match="want tokens >= 0 and bytes_per_element > 0"):
            cache_bytes(v3, tokens, width)


def flops_by_hand(config: ModelConfig, s: int, t: int, absorb: bool) -> int:
    """Every matrix product as (rows, shared, columns), one head at a time."""
    h, c = config.num_attention_heads, config.kv_lora_rank or 0
    n, r, v = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
    if absorb:
        products = [(s, n, c), (s, c + r, t), (s, t, c), (s, c, v)]
    else:
        products = [(t, c, n), (t, c, v), (s, n + r, t), (s, t, v)]
    return sum(2 * rows * shared * columns for rows, shared, columns in products) * h


@pytest.mark.parametrize("absorb", [False, True])
@pytest.mark.parametrize(("s", "t"), [(1, 1), (1, 4096), (17, 23), (64, 64)])
def test_attention_flops(s: int, t: int, absorb: bool) -> None:
    for config in (tiny_mla(), published("deepseek-v3")):
        assert attention_flops(config, s, t, absorb) == flops_by_hand(config, s, t, absorb)


def test_only_a_latent_can_be_absorbed() -> None:
    with pytest.raises(ValueError, match="no kv_lora_rank, so nothing to absorb"):
        attention_flops(tiny_heads(3), 1, 5, absorb=True)
