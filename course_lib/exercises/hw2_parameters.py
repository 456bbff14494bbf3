"""hw2_moe, all parameters of a model, and those that work on one token (arXiv:2412.19437 section 4.2)."""

from collections.abc import Callable
from typing import Any

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case

Config = dict[str, Any]  # keys as in config.json
Counts = tuple[int, int]


def parameter_counts(config: Config) -> Counts:
    parts = components(config).values()
    return sum(total for total, _ in parts), sum(active for _, active in parts)


def components(config: Config) -> dict[str, Counts]:
    """Total and active parameters by name, all layers together."""
    d, layers, e = config["hidden_size"], config["num_hidden_layers"], config["n_routed_experts"]
    dense = config["first_k_dense_replace"]
    moe = layers - dense
    expert = 3 * d * config["moe_intermediate_size"]
    every_token = {
        "embedding": config["vocab_size"] * d,
        "head": 0 if config["tie_word_embeddings"] else config["vocab_size"] * d,
        **{name: layers * size for name, size in attention(config).items()},
        "layer norms": layers * 2 * d,
        "final norm": d,
        "dense": dense * 3 * d * config["intermediate_size"],
        "gate": moe * e * d,
        "balance biases": moe * e if config["topk_method"] == "noaux_tc" else 0,
        "shared": moe * config["n_shared_experts"] * expert,
    }
    routed = (moe * e * expert, moe * config["num_experts_per_tok"] * expert)
    return {**{name: (size, size) for name, size in every_token.items()}, "routed": routed}


def attention(config: Config) -> dict[str, int]:
    """One layer's, by name."""
    d, h, c, q = (config[key] for key in ("hidden_size", "num_attention_heads", "kv_lora_rank", "q_lora_rank"))
    n, r, v = (config[key] for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    if c is None:
        keys = d * config["num_key_value_heads"] * config["head_dim"]
        return {"query": d * h * config["head_dim"], "key": keys, "value": keys, "output": h * config["head_dim"] * d}
    return {
        "query": d * h * (n + r) if q is None else d * q + q * h * (n + r),
        "query norm": q or 0,
        "down": d * c,
        "rotary key": d * r,
        "latent norm": c,
        "key": c * h * n,
        "value": c * h * v,
        "output": h * v * d,
    }


def parameter_cases(seed: int) -> list[Case]:
    pick = Draw(seed).integer
    cases = []
    for latent, compressed, method, tied, dense, shared in (
        (True, True, "noaux_tc", False, 2, 1),
        (True, False, "group_limited_greedy", False, 1, 2),
        (False, False, "noaux_tc", True, 0, 0),
        (False, False, "greedy", False, 1, 2),
        (True, True, "greedy", True, 0, 2),
    ):
        kv_heads, groups = pick(2, 6), pick(2, 5)
        h = kv_heads * groups
        config: Config = {
            "vocab_size": pick(500, 900), "hidden_size": 2 * pick(30, 60) + 1, "num_hidden_layers": dense + pick(3, 8),
            "num_attention_heads": h, "num_key_value_heads": h if latent else kv_heads, "head_dim": pick(40, 60),
            "q_lora_rank": pick(60, 80) if compressed else None, "kv_lora_rank": pick(35, 50) if latent else None,
            "qk_nope_head_dim": pick(20, 30), "qk_rope_head_dim": 2 * pick(4, 8), "v_head_dim": pick(30, 40),
            "intermediate_size": pick(200, 300), "moe_intermediate_size": pick(50, 90),
            "n_routed_experts": pick(9, 20), "n_shared_experts": shared, "num_experts_per_tok": pick(4, 8),
            "first_k_dense_replace": dense, "topk_method": method, "tie_word_embeddings": tied,
            "num_nextn_predict_layers": 1,
        }  # fmt: skip
        cases.append({"config": config})
    return cases


# Counts misread, and with parts left out or added --------------------------------------------------------------------


def read_as(**changes: Callable[[Config], object]) -> Callable[[Config], Counts]:
    """The right count of a config misread: each change computes what was put in place of a key."""
    return lambda config: parameter_counts({**config, **{key: change(config) for key, change in changes.items()}})


def read_as_active(**changes: Callable[[Config], object]) -> Callable[[Config], Counts]:
    """The same, where only the active count is misread."""
    return lambda config: (parameter_counts(config)[0], read_as(**changes)(config)[1])


def without(*names: str, active_alone: bool = False) -> Callable[[Config], Counts]:
    """Some parts left out, of both counts or of the active one."""

    def wrong(config: Config) -> Counts:
        total, active = parameter_counts(config)
        parts = components(config)
        missing = [parts[name] for name in names if name in parts]
        kept = total if active_alone else total - sum(part for part, _ in missing)
        return kept, active - sum(part for _, part in missing)

    return wrong


def plus(total: Callable[[Config], int], active: Callable[[Config], int] | None = None) -> Callable[[Config], Counts]:
    """Something more (or less) in each count; `active` None: the same in both."""
    return lambda config: (
        parameter_counts(config)[0] + total(config),
        parameter_counts(config)[1] + (active or total)(config),
    )


def per_latent_layer(size: Callable[[Config], int]) -> Callable[[Config], int]:
    """Something in the attention of each layer, where it is from a latent."""
    return lambda config: 0 if config["kv_lora_rank"] is None else config["num_hidden_layers"] * size(config)
