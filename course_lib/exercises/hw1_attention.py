"""hw1_mla, attention from a latent: expanded and absorbed."""

import torch
from torch import Tensor, einsum

from course_lib.exercises.drawing import Draw
from course_lib.exercises.effort import Heavy
from course_lib.exercises.engine import Case, Exercise, Misconception, Section, Structure
from course_lib.exercises.hw1_counts import Config, attention_flops
from course_lib.exercises.hw1_scores import ATTENTION_MISTAKES, later


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


def attention_cases(seed: int) -> list[Case]:
    """Some keys are later than every query, and no query may see them, a single one neither, whatever their scores."""
    return [
        random_case(seed, 0, s=3, t=9, offset=4),
        random_case(seed, 1, s=4, t=6, offset=2),
        random_case(seed, 2, s=1, t=10, offset=4),
        far_case(seed),
    ]


def far_case(seed: int) -> Case:
    """Later keys score hundreds above the ones to attend to, so that no mask of -100 hides them.

    Scores stay within 500 of 0, for those who take exp() of them in float64, and one key gets nearly all the weight,
    so that float32 is enough.
    """
    case, draw, b, s, t, offset, r = {}, Draw(seed, 6), 2, 2, 7, 3, 6
    case |= random_case(seed, 7, s=s, t=t, offset=offset, b=b, r=r)
    levels = torch.stack(
        [torch.cat([-150.0 - 30 * draw.order(offset + s), draw.uniform(50, 90, t - offset - s)]) for _ in range(b)]
    )
    direction = draw.normal(r)
    direction /= direction.norm()
    h, n = case["q_nope"].shape[-2:]
    case["q_rope"] = draw.uniform(1, 1.3, b, s, h, 1) * direction
    case["k_rope"] = levels[:, :, None] * direction * (n + r) ** 0.5
    return case


def random_case(
    seed: int, part: int, s: int, t: int, offset: int,
    b: int = 2, h: int = 5, n: int = 7, c: int = 11, r: int = 6, v: int = 8,
) -> Case:  # fmt: skip
    x = Draw(seed, part).normal
    return {
        "q_nope": x(b, s, h, n), "q_rope": x(b, s, h, r), "latent": x(b, t, c), "k_rope": x(b, t, r),
        "w_uk": x(h, n, c), "w_uv": x(h, v, c), "offset": offset,
    }  # fmt: skip


EXPANDED_ATTENTION = Exercise(
    name="expanded_attention",
    points=4,
    lesson=Section("02_mla", "Two ways to compute the same thing"),
    reference=expanded_attention,
    cases=attention_cases,
    axes="b s h v",
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
    return random_case(seed, 3, s=1, t=96, offset=95, n=4, c=47, v=9)


def large_case(seed: int, part: int, n: int, v: int) -> Case:
    """A decode step of one head so large that making its keys (if n is large) or values (if v is) takes far more time
    than any other way, a loop over the keys included. Scores are small, so that float32 keeps enough digits.
    """
    t, c, r = 1024, 2304, 8
    x = Draw(seed, part).floats
    by_c = (3 / c) ** 0.5  # so that a key or value has a variance of 1
    return {
        "q_nope": x(-1, 1, 1, 1, 1, n), "q_rope": x(-1, 1, 1, 1, 1, r), "latent": x(-1.7, 1.7, 1, t, c),
        "k_rope": x(-1, 1, 1, t, r), "w_uk": x(-by_c, by_c, 1, n, c), "w_uv": x(-by_c, by_c, 1, v, c), "offset": t - 1,
    }  # fmt: skip


def large_keys(seed: int) -> Case:
    return large_case(seed, 4, n=2048, v=8)


def large_values(seed: int) -> Case:
    return large_case(seed, 5, n=8, v=2048)


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


FOLDING = Section("02_mla", "The trick that makes it fast")

ABSORBED_ATTENTION = Exercise(
    name="absorbed_attention",
    points=5,
    lesson=Section("02_mla", "Two ways to compute the same thing"),
    reference=absorbed_attention,
    cases=attention_cases,
    axes="b s h v",
    mistakes=ATTENTION_MISTAKES,
    structure=Structure(
        case=decode_case,
        heavy=(
            Heavy(large_keys, expand_keys_only, "making the keys of every head"),
            Heavy(large_values, expand_values_only, "making the values of every head"),
        ),
        flops=absorbed_flops,
        advice="But the work is more than the absorbed form needs, which makes no head's keys or values.",
        misconceptions=[
            Misconception(
                "But keys and values of every head are made after all: fold w_uk into the query, and apply w_uv last.",
                expanded_attention,
                FOLDING,
            ),
            Misconception(
                "But every head's values are made: mix the latents first, and apply w_uv to the mixture.",
                expand_values_only,
                FOLDING,
            ),
            Misconception(
                "But every head's keys are made: q . (w_uk latent) = (q w_uk) . latent, so fold w_uk into the query.",
                expand_keys_only,
                FOLDING,
            ),
        ],
    ),
)
