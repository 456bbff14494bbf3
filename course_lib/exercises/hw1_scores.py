"""hw1_mla, what both forms of attention can get wrong between scores and weights: mask, scale, softmax."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, einsum

from course_lib.exercises.engine import Misconception


def later(scores: Tensor, offset: int) -> Tensor:
    """True where key t stands behind the query at offset + s."""
    s, t = scores.shape[-2:]
    return torch.arange(t) > torch.arange(offset, offset + s)[:, None]


def not_later(scores: Tensor, offset: int) -> Tensor:
    return ~later(scores, offset)


def beyond(scores: Tensor, last: int) -> Tensor:
    """True for keys behind `last`, the same for all queries."""
    return (torch.arange(scores.shape[-1]) > last).expand(scores.shape[-2:])


def attention_with(
    hide: Callable[[Tensor, int], Tensor] = later,
    scales: Callable[[int, int, int, int], tuple[float, float]] = lambda n, r, c, h: ((n + r) ** -0.5,) * 2,
    weigh: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(-1),
    hidden: float = -torch.inf,
    hide_weights: bool = False,
    adds: bool = False,
    values: str = "btc,hvc->bthv",
) -> Callable[..., Tensor]:
    """The expanded form with a mask, scales of its two scores, weights or values that it should not have."""

    def wrong(
        q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, w_uk: Tensor, w_uv: Tensor, offset: int = 0
    ) -> Tensor:
        for_content, for_position = scales(q_nope.shape[-1], q_rope.shape[-1], latent.shape[-1], q_nope.shape[-2])
        content = einsum("bshn,bthn->bhst", q_nope, einsum("btc,hnc->bthn", latent, w_uk))
        scores = for_content * content + for_position * einsum("bshr,btr->bhst", q_rope, k_rope)
        if adds:
            weights = weigh(scores + hidden * hide(scores, offset))
        elif hide_weights:
            weights = weigh(scores).masked_fill(hide(scores, offset), 0.0)
        else:
            weights = weigh(scores.masked_fill(hide(scores, offset), hidden))
        return einsum("bhst,bthv->bshv", weights, einsum(values, latent, w_uv))

    return wrong


def over(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda scores: scores.softmax(axis)


def finite(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same for those who mend the nan of a query or a key that nothing is left for."""
    return lambda *arguments: wrong(*arguments).nan_to_num()


def misweighed(message: str, weigh: Callable[[Tensor], Tensor]) -> list[Misconception]:
    """With the mask as -inf, with the nan of that mended, and with the mask as a large number or, of weights, as 0."""
    return [
        Misconception(message, attention_with(weigh=weigh)),
        Misconception(message, finite(attention_with(weigh=weigh))),
        Misconception(message, attention_with(weigh=weigh, hidden=-1e9)),
        Misconception(message, attention_with(weigh=weigh, hide_weights=True)),
    ]


YARN = 0.1 * math.log(40) + 1  # V3's mscale, of which the released code takes the square
MASK_OF_100 = "This matches a mask of -100. It hides a key only while all scores are near 0. Use -inf."
INVERTED = "This matches a mask the wrong way round: the keys to hide are those later than offset + i."

ATTENTION_MISTAKES = [
    Misconception(
        "This matches attention without a mask: query i stands at offset + i and sees no later key.",
        attention_with(hide=lambda scores, offset: torch.zeros_like(scores, dtype=torch.bool)),
    ),
    Misconception(
        "This matches a mask that forgets the cache: query i stands at offset + i, not at i.",
        attention_with(hide=lambda scores, offset: later(scores, 0)),
    ),
    Misconception(
        "This matches queries placed at the end of all keys: they stand at offset, and later keys exist here.",
        attention_with(hide=lambda scores, offset: later(scores, scores.shape[-1] - scores.shape[-2])),
    ),
    Misconception(
        "This matches a mask that hides a query's own key: it sees keys up to offset + i, that one included.",
        attention_with(hide=lambda scores, offset: later(scores, offset - 1)),
    ),
    Misconception(
        "This matches a mask that shows one key too many: query i sees keys up to offset + i, and no later one.",
        attention_with(hide=lambda scores, offset: later(scores, offset + 1)),
    ),
    Misconception(
        "This matches keys up to offset for every query: query i sees i keys more, up to offset + i.",
        attention_with(hide=beyond),
    ),
    Misconception(
        "This matches keys up to offset + s - 1 for every query: only the last one sees so far, query i to offset + i.",
        attention_with(hide=lambda scores, offset: beyond(scores, offset + scores.shape[-2] - 1)),
    ),
    Misconception(INVERTED, attention_with(hide=not_later)),
    Misconception(INVERTED, finite(attention_with(hide=not_later))),
    Misconception(INVERTED, attention_with(hide=not_later, hidden=-1e9)),
    Misconception(INVERTED, attention_with(hide=lambda scores, offset: ~later(scores, offset - 1))),
    Misconception(
        "This matches weights masked after the softmax, so that they no longer add up to 1: "
        "hide the scores before it, with -inf.",
        attention_with(hide_weights=True),
    ),
    Misconception(
        "This matches a scale by n alone: the score is a product over n + r numbers, so its scale is (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (n**-0.5, n**-0.5)),
    ),
    Misconception(
        "This matches two scales, one for each part: the parts make one score, scaled once by (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (n**-0.5, r**-0.5)),
    ),
    Misconception(
        "This matches scores without a scale: multiply them by (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (1.0, 1.0)),
    ),
    Misconception(
        "This matches a scale by c + r: absorbed or not, it is that of the n + r numbers of a query, (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: ((c + r) ** -0.5,) * 2),
    ),
    Misconception(
        "This matches a scale by c: the latent is not what a query has, and the scale is (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (c**-0.5,) * 2),
    ),
    Misconception(
        "This matches a scale by r alone: the score is a product over n + r numbers, so its scale is (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (r**-0.5,) * 2),
    ),
    Misconception(
        "This matches a scale by the width of all heads: each head makes its own scores, and scales by (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: ((h * (n + r)) ** -0.5,) * 2),
    ),
    Misconception(
        "This matches a scale for the content alone: q_rope . k_rope belongs to the same score, so scale the sum.",
        attention_with(scales=lambda n, r, c, h: ((n + r) ** -0.5, 1.0)),
    ),
    Misconception(
        "This matches a scale for the rotary part alone: the content belongs to the same score, so scale the sum.",
        attention_with(scales=lambda n, r, c, h: (1.0, (n + r) ** -0.5)),
    ),
    *misweighed(
        "This matches a softmax over the queries: each query's weights sum to 1 over the keys, the last axis.",
        over(-2),
    ),
    *misweighed(
        "This matches a softmax over the heads: in each head the weights sum to 1 over the keys, the last axis.",
        over(-3),
    ),
    *misweighed(
        "This matches scores without a softmax: it makes weights of them that add up to 1 over the keys.",
        lambda scores: scores,
    ),
    Misconception(
        "This matches an offset that is taken away: query i stands at offset + i.",
        attention_with(hide=lambda scores, offset: later(scores, -offset)),
    ),
    Misconception(
        "This matches scores multiplied by the root of n + r: divide by it.",
        attention_with(scales=lambda n, r, c, h: ((n + r) ** 0.5,) * 2),
    ),
    *(
        Misconception(
            "This matches a scale with YaRN's factor, as in the code released for V3, which stretches its context: "
            "here it is (n + r)^-1/2 and nothing else.",
            attention_with(scales=lambda n, r, c, h, power=power: (YARN**power * (n + r) ** -0.5,) * 2),
        )
        for power in (1, 2)
    ),
    Misconception(
        "This matches the mixed latents, c numbers for each head: w_uv makes the head's v numbers of them.",
        lambda q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0: attention_with(values="btc,hxc->bthc")(
            q_nope, q_rope, latent, k_rope, w_uk, torch.ones_like(w_uv[:, :1]), offset
        ),
    ),
    Misconception(
        "This matches heads joined in one axis: keep them apart, b s h v. The calling layer joins them.",
        lambda *arguments: attention_with()(*arguments).flatten(2),
    ),
    Misconception(
        "This matches attention without a mask for a single query: later keys exist here, and it must not see them.",
        attention_with(hide=lambda scores, offset: later(scores, offset if scores.shape[-2] > 1 else 10**6)),
    ),
    Misconception(
        "This matches scaling the scores twice, or by 1 / (n + r) without the root. Scale them once, by (n + r)^-1/2.",
        attention_with(scales=lambda n, r, c, h: (1 / (n + r), 1 / (n + r))),
    ),
    Misconception(
        "This matches a score without its rotary part: add q_rope . k_rope before the softmax.",
        attention_with(scales=lambda n, r, c, h: ((n + r) ** -0.5, 0.0)),
    ),
    Misconception(
        "This matches masked scores set to 0: that is a score like any other. Set them to -inf.",
        attention_with(hidden=0.0),
    ),
    Misconception(MASK_OF_100, attention_with(hidden=-100.0)),
    Misconception(MASK_OF_100, attention_with(hidden=-100.0, adds=True)),
]
