"""hw1_mla, attention from a latent: expanded and absorbed."""

from collections.abc import Callable

import torch
from torch import Tensor, einsum

from course_lib.exercises.engine import Case, Exercise, Misconception, Structure
from course_lib.exercises.hw1_counts import Config, attention_flops


def expanded_attention(
    q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
) -> Tensor:
    scores = einsum("bshn,bthn->bhst", q_nope, einsum("btc,hnc->bthn", latent, w_uk))
    scores = (scores + einsum("bshr,btr->bhst", q_rope, k_rope)) * (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    weights = scores.masked_fill(later(scores, offset), -torch.inf).softmax(-1)
    return einsum("bhst,bthv->bshv", weights, einsum("btc,hvc->bthv", latent, w_uv))


def absorbed_attention(
    q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
) -> Tensor:
    query = einsum("bshn,hnc->bshc", q_nope, w_uk)
    return einsum("bshc,hvc->bshv", mix(query, q_nope, q_rope, latent, k_rope, offset), w_uv)


def mix(query: Tensor, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, offset: int) -> Tensor:
    """Latents mixed by folded queries."""
    scores = einsum("bshc,btc->bhst", query, latent) + einsum("bshr,btr->bhst", q_rope, k_rope)
    scores = scores * (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    return einsum("bhst,btc->bshc", scores.masked_fill(later(scores, offset), -torch.inf).softmax(-1), latent)


def later(scores: Tensor, offset: int) -> Tensor:
    """True where key t stands behind the query at offset + s."""
    s, t = scores.shape[-2:]
    return torch.arange(t) > torch.arange(offset, offset + s)[:, None]


def attention_cases(seed: int) -> list[Case]:
    """t = offset + s, and t beyond it: the later keys must not be seen, by a single query neither."""
    return [
        random_case(seed, s=3, t=9, offset=4),
        random_case(seed + 1, s=4, t=6, offset=2),
        random_case(seed + 2, s=1, t=10, offset=4),
    ]


def random_case(
    seed: int, s: int, t: int, offset: int, h: int = 5, n: int = 7, c: int = 11, r: int = 6, v: int = 8
) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def x(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return {
        "q_nope": x(2, s, h, n), "q_rope": x(2, s, h, r), "latent": x(2, t, c), "k_rope": x(2, t, r),
        "w_uk": x(h, n, c), "w_uv": x(h, v, c), "offset": offset,
    }  # fmt: skip


def attention_with(
    hide: Callable[[Tensor, int], Tensor] = later,
    scales: Callable[[int, int], tuple[float, float]] = lambda n, r: ((n + r) ** -0.5,) * 2,
    softmax_over: int = -1,
    hidden: float = -torch.inf,
) -> Callable[..., Tensor]:
    """The expanded form with a mask, scales of its two scores, or a softmax axis that it should not have."""

    def wrong(
        q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
    ) -> Tensor:
        for_content, for_position = scales(q_nope.shape[-1], q_rope.shape[-1])
        content = einsum("bshn,bthn->bhst", q_nope, einsum("btc,hnc->bthn", latent, w_uk))
        scores = for_content * content + for_position * einsum("bshr,btr->bhst", q_rope, k_rope)
        weights = scores.masked_fill(hide(scores, offset), hidden).softmax(softmax_over)
        return einsum("bhst,bthv->bshv", weights, einsum("btc,hvc->bthv", latent, w_uv))

    return wrong


def finite(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same for those who mend the nan of a column without any query."""
    return lambda *arguments: wrong(*arguments).nan_to_num()


WRONG_AXIS = "This matches a softmax over the queries: each query shares its weight of 1 among the keys, the last axis."
ATTENTION_MISTAKES = [
    Misconception(
        "This matches attention without a mask: query j stands at offset + j and sees no key behind that.",
        attention_with(hide=lambda scores, offset: torch.zeros_like(scores, dtype=torch.bool)),
    ),
    Misconception(
        "This matches a mask that forgets the cache: query j stands at offset + j, not at j.",
        attention_with(hide=lambda scores, offset: later(scores, 0)),
    ),
    Misconception(
        "This matches queries placed at the end of all keys: they stand at offset, and keys behind them exist here.",
        attention_with(hide=lambda scores, offset: later(scores, scores.shape[-1] - scores.shape[-2])),
    ),
    Misconception(
        "This matches a mask that hides a query's own key: it sees keys up to offset + j, that one included.",
        attention_with(hide=lambda scores, offset: later(scores, offset - 1)),
    ),
    Misconception(
        "This matches a scale by n alone: the score is a product over n + r numbers, so its scale is (n + r)^-1/2.",
        attention_with(scales=lambda n, r: (n**-0.5, n**-0.5)),
    ),
    Misconception(
        "This matches two scales, one for each part: the parts make one score, scaled once by (n + r)^-1/2.",
        attention_with(scales=lambda n, r: (n**-0.5, r**-0.5)),
    ),
    Misconception(
        "This matches scores without a scale: multiply them by (n + r)^-1/2.",
        attention_with(scales=lambda n, r: (1.0, 1.0)),
    ),
    Misconception(WRONG_AXIS, attention_with(softmax_over=-2)),
    Misconception(WRONG_AXIS, finite(attention_with(softmax_over=-2))),
    Misconception(WRONG_AXIS, attention_with(softmax_over=-2, hidden=-1e9)),
    Misconception(
        "This matches attention without a mask for a single query: later keys exist here, and it must not see them.",
        attention_with(hide=lambda scores, offset: later(scores, offset if scores.shape[-2] > 1 else 10**6)),
    ),
    Misconception(
        "This matches a scale of 1 / (n + r): it is the root of that, (n + r)^-1/2.",
        attention_with(scales=lambda n, r: (1 / (n + r), 1 / (n + r))),
    ),
    Misconception(
        "This matches a score without its rotary part: add q_rope . k_rope before the softmax.",
        attention_with(scales=lambda n, r: ((n + r) ** -0.5, 0.0)),
    ),
    Misconception(
        "This matches masked scores set to 0: that is a score like any other. Set them to -inf.",
        attention_with(hidden=0.0),
    ),
]

EXPANDED_ATTENTION = Exercise(
    name="expanded_attention",
    points=4,
    reference=expanded_attention,
    cases=attention_cases,
    mistakes=ATTENTION_MISTAKES,
)


def expand_keys_only(
    q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
) -> Tensor:
    """Folds w_uv, not w_uk."""
    scores = einsum("bshn,bthn->bhst", q_nope, einsum("btc,hnc->bthn", latent, w_uk))
    scores = (scores + einsum("bshr,btr->bhst", q_rope, k_rope)) * (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    weights = scores.masked_fill(later(scores, offset), -torch.inf).softmax(-1)
    return einsum("bshc,hvc->bshv", einsum("bhst,btc->bshc", weights, latent), w_uv)


def expand_values_only(
    q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
) -> Tensor:
    """Folds w_uk, not w_uv."""
    query = einsum("bshn,hnc->bshc", q_nope, w_uk)
    scores = einsum("bshc,btc->bhst", query, latent) + einsum("bshr,btr->bhst", q_rope, k_rope)
    scores = scores * (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    weights = scores.masked_fill(later(scores, offset), -torch.inf).softmax(-1)
    return einsum("bhst,bthv->bshv", weights, einsum("btc,hvc->bthv", latent, w_uv))


def decode_case(seed: int) -> Case:
    return random_case(seed, s=1, t=96, offset=95, n=4, c=47, v=9)


def sizes(case: Case) -> Config:
    """The case as a config.json."""
    h, n, c = case["w_uk"].shape
    return {
        "num_attention_heads": h, "kv_lora_rank": c, "qk_nope_head_dim": n,
        "qk_rope_head_dim": case["q_rope"].shape[-1], "v_head_dim": case["w_uv"].shape[1],
    }  # fmt: skip


def absorbed_flops(case: Case) -> int:
    b, s = case["q_nope"].shape[:2]
    return b * attention_flops(sizes(case), s, case["latent"].shape[1], absorb=True)


ABSORBED_ATTENTION = Exercise(
    name="absorbed_attention",
    points=5,
    reference=absorbed_attention,
    cases=attention_cases,
    mistakes=ATTENTION_MISTAKES,
    structure=Structure(
        case=decode_case,
        flops=absorbed_flops,
        advice="But the work is more than the absorbed form needs: no head's keys or values are ever made.",
        misconceptions=[
            Misconception(
                "But keys and values of every head are made after all: fold w_uk into the query, and apply w_uv last.",
                expanded_attention,
            ),
            Misconception(
                "But every head's values are made: mix the latents first, and apply w_uv to the mixture.",
                expand_values_only,
            ),
            Misconception(
                "But every head's keys are made: q . (w_uk latent) = (q w_uk) . latent, so fold w_uk into the query.",
                expand_keys_only,
            ),
        ],
    ),
)
