"""hw2_moe, how much a token wants each expert (arXiv:2412.19437 section 2.1.2, eq. 15; arXiv:2401.06066 eq. 5)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def affinities(x: Tensor, centroids: Tensor, score: str) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    products = x.to(wide) @ centroids.to(wide).mT
    return products.sigmoid() if score == "sigmoid" else products.softmax(-1)


def affinity_cases(seed: int) -> list[Case]:
    draw = Draw(seed)
    cases = []
    for score, dtype, m, d, e in (
        ("sigmoid", torch.float64, 5, 12, 7),
        ("softmax", torch.float64, 6, 11, 9),
        ("softmax", torch.bfloat16, 4, 24, 10),
        ("sigmoid", torch.bfloat16, 7, 32, 5),
    ):
        x, centroids = (draw.normal(rows, d) for rows in (m, e))
        cases.append({"x": x.to(dtype), "centroids": (0.4 * centroids).to(dtype), "score": score})
    return cases


def with_width(answer: Any) -> tuple[Any, int]:
    """The answer, and how many bits its numbers have; more than 32 are as good as 32."""
    return answer, min(8 * answer.element_size(), 32) if isinstance(answer, Tensor) else 32


def scored(
    sigmoid: Callable[[Tensor], Tensor] = torch.sigmoid,
    softmax: Callable[[Tensor], Tensor] = lambda products: products.softmax(-1),
    products: Callable[[Tensor, Tensor], Tensor] = lambda x, centroids: x @ centroids.mT,
) -> Callable[..., Tensor]:
    """Affinities from products, or with scores, that they should not have."""

    def wrong(x: Tensor, centroids: Tensor, score: str) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        return (sigmoid if score == "sigmoid" else softmax)(products(x.to(wide), centroids.to(wide)))

    return wrong


def narrow(x: Tensor, centroids: Tensor, score: str) -> Tensor:
    """All of it in the dtype of x."""
    products = x @ centroids.mT
    return products.sigmoid() if score == "sigmoid" else products.softmax(-1)


def widened_late(x: Tensor, centroids: Tensor, score: str) -> Tensor:
    """Products in the dtype of x, the rest in float32 or wider."""
    products = (x @ centroids.mT).to(torch.promote_types(x.dtype, torch.float32))
    return products.sigmoid() if score == "sigmoid" else products.softmax(-1)


def over_sum(scores: Tensor) -> Tensor:
    return scores / scores.sum(-1, keepdim=True)


RETURNED_NARROW = (
    "This matches affinities returned in 16 bits, where near ones are equal: "
    "compute and return them in float32 or wider."
)
COMPUTED_NARROW = (
    "This matches products made in bfloat16: a later cast does not bring back what was rounded away. "
    "Cast x and centroids to float32 or wider first."
)

AFFINITIES = Exercise(
    name="affinities",
    points=2,
    lesson=Section("03_moe_routing", "Two kinds of affinity"),
    reference=affinities,
    cases=affinity_cases,
    parts=("affinities", "bits of each number"),
    canonical=with_width,
    mistakes=[
        Misconception(
            "This matches a softmax over the tokens: each token's weights sum to 1 over the experts, the last axis.",
            scored(softmax=lambda products: products.softmax(0)),
        ),
        Misconception(
            "This matches one softmax over all tokens together: each token's weights sum to 1 over the experts.",
            scored(softmax=lambda products: products.flatten().softmax(0).view_as(products)),
        ),
        Misconception(
            "This matches a sigmoid whatever was asked for: `score` may be softmax too.",
            scored(softmax=torch.sigmoid),
        ),
        Misconception(
            "This matches a softmax whatever was asked for: `score` may be sigmoid too.",
            scored(sigmoid=lambda products: products.softmax(-1)),
        ),
        Misconception(
            "This matches sigmoid and softmax exchanged.",
            scored(sigmoid=lambda products: products.softmax(-1), softmax=torch.sigmoid),
        ),
        Misconception(
            "This matches the bare products: their sigmoid or softmax, as `score` says, is the affinity.",
            scored(sigmoid=lambda products: products, softmax=lambda products: products),
        ),
        Misconception(
            "This matches bare products where a sigmoid was asked for: take the sigmoid of each.",
            scored(sigmoid=lambda products: products),
        ),
        Misconception(
            "This matches products with tokens of length 1: the length counts, so norm nothing.",
            scored(products=lambda x, centroids: F.normalize(x, dim=-1) @ centroids.mT),
        ),
        Misconception(
            "This matches products with centroids of length 1: the length counts, so norm nothing.",
            scored(products=lambda x, centroids: x @ F.normalize(centroids, dim=-1).mT),
        ),
        Misconception(
            "This matches sigmoids divided by their sum: only the chosen experts are normalised, and later, in route.",
            scored(sigmoid=lambda products: over_sum(products.sigmoid())),
        ),
        Misconception(
            "This matches products divided by the root of d, as in attention: a router takes them as they are.",
            scored(products=lambda x, centroids: x @ centroids.mT * x.shape[-1] ** -0.5),
        ),
        Misconception(
            "This matches the cosine of token and centroid: the length of both counts, so norm neither.",
            scored(products=lambda x, centroids: F.normalize(x, dim=-1) @ F.normalize(centroids, dim=-1).mT),
        ),
        Misconception(RETURNED_NARROW, narrow),
        Misconception(
            COMPUTED_NARROW,
            lambda *arguments: narrow(*arguments).to(torch.promote_types(arguments[0].dtype, torch.float32)),
        ),
        Misconception(COMPUTED_NARROW, widened_late),
        Misconception(RETURNED_NARROW, lambda x, centroids, score: affinities(x, centroids, score).to(x.dtype)),
    ],
)
