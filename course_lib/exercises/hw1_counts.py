"""hw1_mla, what is counted: numbers in the cache, FLOPs of attention from a latent."""

from collections.abc import Callable
from typing import Any, NamedTuple

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Config = dict[str, Any]  # keys as in config.json


def kv_cache_elements(config: Config) -> int:
    layers = config["num_hidden_layers"]
    if config.get("kv_lora_rank") is not None:
        return layers * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    return layers * 2 * config["num_key_value_heads"] * config["head_dim"]


def cache_cases(seed: int) -> list[Case]:
    pick = Draw(seed).integer
    cases = []
    for latent in (None, None, True, "absent", True):
        kv_heads = pick(2, 6)
        config: Config = {
            "num_hidden_layers": pick(3, 9), "num_attention_heads": kv_heads * pick(2, 5),
            "num_key_value_heads": kv_heads, "head_dim": 2 * pick(5, 20), "num_nextn_predict_layers": 1,
        }  # fmt: skip
        if latent != "absent":
            config |= {"kv_lora_rank": latent and 3 * pick(30, 60) + 1, "qk_rope_head_dim": latent and 2 * pick(11, 25)}
        if latent is True:
            config["num_key_value_heads"] = config["num_attention_heads"]
        cases.append({"config": config})
    return cases


def with_config(**changes: Callable[[Config], object]) -> Callable[[Config], int]:
    """The right count of a config misread: each change computes what was put in place of a key."""
    return lambda config: kv_cache_elements({**config, **{key: change(config) for key, change in changes.items()}})


def only(latent: bool, wrong: Callable[[Config], int]) -> Callable[[Config], int]:
    """Wrong where the cache is (or is not) a latent, right elsewhere."""
    return lambda c: wrong(c) if (c.get("kv_lora_rank") is not None) == latent else kv_cache_elements(c)


LATENT = Section("02_mla", "One latent for all heads")
ROTATED_KEY = Section("02_mla", "The way out: a part that turns, and a part that does not")

KV_CACHE_ELEMENTS = Exercise(
    name="kv_cache_elements",
    points=2,
    lesson=Section("01_kv_cache", "What is in it"),
    reference=kv_cache_elements,
    cases=cache_cases,
    mistakes=[
        Misconception(
            "This matches one layer only: every layer has a cache of its own.",
            with_config(num_hidden_layers=lambda c: 1),
        ),
        Misconception(
            "This matches one layer only, where the model has MLA: there too every layer has a cache of its own.",
            only(True, with_config(num_hidden_layers=lambda c: 1)),
        ),
        Misconception(
            "This matches one layer only, where there is no MLA: there too every layer has a cache of its own.",
            only(False, with_config(num_hidden_layers=lambda c: 1)),
        ),
        Misconception(
            "This matches keys without values: plain attention keeps both, hence the 2.",
            only(False, lambda c: kv_cache_elements(c) // 2),
        ),
        Misconception(
            "This matches counting the query heads: only num_key_value_heads have keys and values to keep.",
            with_config(num_key_value_heads=lambda c: c["num_attention_heads"]),
        ),
        Misconception(
            "This matches the latent alone: the rotated key, qk_rope_head_dim numbers, is cached beside it.",
            only(True, with_config(qk_rope_head_dim=lambda c: 0)),
            ROTATED_KEY,
        ),
        Misconception(
            "This matches a rotated key for each head: all heads share one.",
            only(
                True,
                lambda c: (
                    c["num_hidden_layers"] * (c["kv_lora_rank"] + c["num_attention_heads"] * c["qk_rope_head_dim"])
                ),
            ),
            ROTATED_KEY,
        ),
        Misconception(
            "This matches counting the latent for keys and again for values: both are made from the same one.",
            only(True, with_config(kv_lora_rank=lambda c: 2 * c["kv_lora_rank"])),
            LATENT,
        ),
        Misconception(
            "This matches keys and values per head: with kv_lora_rank set, the latent is cached in their place.",
            with_config(kv_lora_rank=lambda c: None),
            LATENT,
        ),
        Misconception(
            "This matches counting the MTP layers too: they are not among the num_hidden_layers asked for.",
            with_config(num_hidden_layers=lambda c: c["num_hidden_layers"] + c["num_nextn_predict_layers"]),
        ),
        Misconception(
            "This matches bytes, 2 for each number: the numbers themselves are asked for.",
            lambda c: 2 * kv_cache_elements(c),
        ),
        Misconception(
            "This matches one KV head only: plain attention keeps keys and values for each of num_key_value_heads.",
            only(False, with_config(num_key_value_heads=lambda c: 1)),
        ),
        Misconception(
            "This matches 2 (c + r) for MLA: the 2 is for keys and values, and here one latent serves both.",
            only(True, lambda c: 2 * kv_cache_elements(c)),
            LATENT,
        ),
        *(
            Misconception(
                "This matches 2 x layers x kv_lora_rank: one latent serves keys and values, and the rotated key is "
                "cached too (a public calculator had this formula, LMCache#694).",
                only(True, lambda c, layers=layers: layers(c) * 2 * c["kv_lora_rank"]),
                LATENT,
            )
            for layers in (lambda c: c["num_hidden_layers"], lambda c: 1)
        ),
        Misconception(
            "This matches a latent and a rotated key for each head: all heads share one of each.",
            only(True, lambda c: c["num_attention_heads"] * kv_cache_elements(c)),
            ROTATED_KEY,
        ),
    ],
)


def attention_flops(config: Config, query_tokens: int, key_tokens: int, absorb: bool) -> int:
    h, c, s, t = config["num_attention_heads"], config["kv_lora_rank"], query_tokens, key_tokens
    n, r, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    if absorb:
        return 2 * (s * h * n * c + s * t * h * (c + r) + s * t * h * c + s * h * c * v)
    return 2 * (t * c * h * (n + v) + s * t * h * (n + r) + s * t * h * v)


def flops_cases(seed: int) -> list[Case]:
    draw = Draw(seed)
    keys = (
        "num_hidden_layers",
        "num_attention_heads",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
    )
    cases = []
    for tokens, absorb in (((1, 4096), True), ((1, 4096), False), ((70, 95), True), ((70, 95), False)):
        sizes = draw.order(30)[: len(keys)] + 5  # all different
        config = dict(zip(keys, sizes.tolist(), strict=True)) | {"num_hidden_layers": 3}
        cases.append({"config": config, "query_tokens": tokens[0], "key_tokens": tokens[1], "absorb": absorb})
    return cases


class Letters(NamedTuple):
    h: int
    c: int
    n: int
    r: int
    v: int
    s: int
    t: int


def flops_plus(
    expanded: Callable[[Letters], int] = lambda z: 0, absorbed: Callable[[Letters], int] = lambda z: 0
) -> Callable[..., int]:
    """Multiply-adds too many, or too few, in each form."""

    def wrong(config: Config, query_tokens: int, key_tokens: int, absorb: bool) -> int:
        keys = ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        letters = Letters(*(config[key] for key in keys), s=query_tokens, t=key_tokens)
        surplus = (absorbed if absorb else expanded)(letters)
        return attention_flops(config, query_tokens, key_tokens, absorb) + 2 * surplus

    return wrong


def doubled_first(config: Config, query_tokens: int, key_tokens: int, absorb: bool) -> int:
    """The factor of 2 before a sum without brackets."""
    h, c, s, t = config["num_attention_heads"], config["kv_lora_rank"], query_tokens, key_tokens
    first = s * h * config["qk_nope_head_dim"] * c
    if not absorb:
        first = t * c * h * (config["qk_nope_head_dim"] + config["v_head_dim"])
    return attention_flops(config, query_tokens, key_tokens, absorb) // 2 + first


def rotary(z: Letters) -> int:
    return -z.s * z.t * z.h * z.r


def in_either_form(
    message: str, expanded: Callable[[Letters], int], absorbed: Callable[[Letters], int]
) -> list[Misconception]:
    """A mistake made in both forms, or in one."""
    wrongs = (flops_plus(expanded, absorbed), flops_plus(expanded=expanded), flops_plus(absorbed=absorbed))
    return [Misconception(message, wrong) for wrong in wrongs]


FOLDS_FOR_KEYS = (
    "This matches folds made for each key: a query is folded once, an output is unfolded once, "
    "so s of each, s h n c and s h c v."
)

ATTENTION_FLOPS = Exercise(
    name="attention_flops",
    points=3,
    lesson=Section("02_mla", "When absorbing loses"),
    reference=attention_flops,
    cases=flops_cases,
    mistakes=[
        Misconception(
            "This matches the expanded form without its up-projection: making all keys and values costs t c h (n + v).",
            flops_plus(expanded=lambda z: -z.t * z.c * z.h * (z.n + z.v)),
        ),
        Misconception(
            "This matches the absorbed form without folding the query: s h n c multiply-adds are missing.",
            flops_plus(absorbed=lambda z: -z.s * z.h * z.n * z.c),
        ),
        Misconception(
            "This matches the absorbed form without folding the output: s h c v multiply-adds are missing.",
            flops_plus(absorbed=lambda z: -z.s * z.h * z.c * z.v),
        ),
        Misconception(
            "This matches the absorbed form without both folds: s h n c and s h c v multiply-adds are missing.",
            flops_plus(absorbed=lambda z: -z.s * z.h * z.c * (z.n + z.v)),
        ),
        Misconception(
            "This matches an up-projection to keys alone: all values are made too, t c h v more multiply-adds.",
            flops_plus(expanded=lambda z: -z.t * z.c * z.h * z.v),
        ),
        Misconception(
            "This matches an up-projection to values alone: all keys are made too, t c h n more multiply-adds.",
            flops_plus(expanded=lambda z: -z.t * z.c * z.h * z.n),
        ),
        Misconception(
            "This matches an up-projection of s tokens: keys and values are made of all t that are looked at.",
            flops_plus(expanded=lambda z: (z.s - z.t) * z.c * z.h * (z.n + z.v)),
        ),
        Misconception(FOLDS_FOR_KEYS, flops_plus(absorbed=lambda z: (z.t - z.s) * z.h * z.c * (z.n + z.v))),
        Misconception(FOLDS_FOR_KEYS, flops_plus(absorbed=lambda z: (z.t - 1) * z.s * z.h * z.c * (z.n + z.v))),
        *in_either_form(
            "This matches scores without their rotary part: q_rope . k_rope costs s t h r in both forms.",
            rotary,
            rotary,
        ),
        *in_either_form(
            "This matches attention without mixing: the weighted sum costs s t h v expanded and s t h c absorbed.",
            lambda z: -z.s * z.t * z.h * z.v,
            lambda z: -z.s * z.t * z.h * z.c,
        ),
        *in_either_form(
            "This matches attention without scores: q . k costs s t h (n + r) expanded and s t h (c + r) absorbed.",
            lambda z: -z.s * z.t * z.h * (z.n + z.r),
            lambda z: -z.s * z.t * z.h * (z.c + z.r),
        ),
        *in_either_form(
            "This matches a rotary part for one head: the key is shared, but each head has a q_rope, so s t h r.",
            lambda z: -z.s * z.t * (z.h - 1) * z.r,
            lambda z: -z.s * z.t * (z.h - 1) * z.r,
        ),
        Misconception(
            "This matches a 2 that reaches the first product alone: put brackets round the sum.", doubled_first
        ),
        Misconception(
            "This matches s and t exchanged: s counts the query tokens, t the key tokens.",
            lambda config, s, t, absorb: attention_flops(config, t, s, absorb),
        ),
        Misconception(
            "This matches the expanded form whatever was asked for: with `absorb` the second row counts.",
            lambda config, s, t, absorb: attention_flops(config, s, t, False),
        ),
        Misconception(
            "This matches the absorbed form whatever was asked for: without `absorb` the first row counts.",
            lambda config, s, t, absorb: attention_flops(config, s, t, True),
        ),
        Misconception(
            "This matches one head: each of the num_attention_heads does this work.",
            lambda config, *rest: attention_flops({**config, "num_attention_heads": 1}, *rest),
        ),
        Misconception(
            "This matches multiply-adds: each is two FLOPs, a product and a sum.",
            lambda *arguments: attention_flops(*arguments) // 2,
        ),
        Misconception(
            "This matches all layers: one layer is asked for.",
            lambda config, *rest: config["num_hidden_layers"] * attention_flops(config, *rest),
        ),
        Misconception(
            "This matches the two forms exchanged: `absorb` asks for the one that folds.",
            lambda config, s, t, absorb: attention_flops(config, s, t, not absorb),
        ),
    ],
)
