"""hw2_moe, what the chosen experts make of a token (arXiv:2412.19437 eq. 12; arXiv:2401.06066 eq. 3)."""

from collections.abc import Callable

import torch
from torch import Tensor, einsum
from torch.nn import functional as F

from course_lib.exercises.drawing import Draw
from course_lib.exercises.effort import Heavy
from course_lib.exercises.engine import Case, Exercise, Misconception, Section, Structure


def moe_output(x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for expert in indices.unique().tolist():
        token, slot = (indices == expert).nonzero(as_tuple=True)
        hidden = F.silu(x[token] @ w_gate[expert].mT) * (x[token] @ w_up[expert].mT)
        out.index_add_(0, token, weights[token, slot, None] * (hidden @ w_down[expert].mT))
    return out


def expert_cases(seed: int) -> list[Case]:
    """The last expert has no token in the first case; in the second each token has a single expert."""
    return [
        random_case(seed, 0, m=9, e=7, k=3, d=5, f=4, used=6),
        random_case(seed, 1, m=4, e=5, k=1, d=6, f=8, used=5),
        random_case(seed, 2, m=11, e=4, k=2, d=3, f=6, used=4),
    ]


def random_case(seed: int, part: int, m: int, e: int, k: int, d: int, f: int, used: int) -> Case:
    """Experts 0 .. used - 1 have tokens; weights do not add up to 1."""
    draw = Draw(seed, part)
    x = draw.normal
    return {
        "x": x(m, d), "indices": draw.uniform(0, 1, m, used).topk(k).indices,
        "weights": draw.uniform(0.1, 1.1, m, k),
        "w_gate": x(e, f, d), "w_up": x(e, f, d), "w_down": x(e, d, f),
    }  # fmt: skip


def step_case(seed: int) -> Case:
    """Three tokens of a decode step, each with experts that no other token has, of many."""
    case = random_case(seed, 3, m=3, e=48, k=2, d=10, f=7, used=48)
    return {**case, "indices": Draw(seed, 4).order(48)[:6].view(3, 2)}


def large_case(seed: int) -> Case:
    """A few of many small experts have no token, and nothing but NaN.

    There are so many experts that each of them on every token takes far more time than any other way: a loop over the
    tokens, over all experts, or a copy of the weights for each token.
    """
    case = random_case(seed, 5, m=1024, e=328, k=1, d=80, f=80, used=320)
    idle = torch.ones(328, dtype=torch.bool).index_fill(0, case["indices"].unique(), False)
    for name in ("w_gate", "w_up", "w_down"):
        case[name][idle] = torch.nan
    return {name: x.float() if x.is_floating_point() else x for name, x in case.items()}


def chosen_flops(case: Case) -> int:
    """Three products of d f multiply-adds for each pair of a token and a chosen expert."""
    _, f, d = case["w_gate"].shape
    return 3 * 2 * case["indices"].numel() * d * f


Activation = Callable[[Tensor, Tensor], Tensor]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def mixed(
    hidden: Activation = swiglu,
    weigh: Callable[[Tensor], Tensor] = lambda weights: weights,
    slots: slice = slice(None),
    weighed: tuple[str, ...] = ("output",),
) -> Callable[..., Tensor]:
    """Experts with another activation, other weights, weights in other places, or only some of the chosen ones."""

    def wrong(x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
        chosen, share = indices[:, slots], weigh(weights)[:, slots]
        by = {place: share[..., None] if place in weighed else 1 for place in ("input", "gate", "output")}
        into = x[:, None].expand(-1, chosen.shape[1], -1) * by["input"]
        gate, up = (einsum("mkd,mkfd->mkf", into, w[chosen]) for w in (w_gate, w_up))
        return (einsum("mkf,mkdf->mkd", hidden(gate * by["gate"], up), w_down[chosen]) * by["output"]).sum(1)

    return wrong


def last_expert_alone(
    x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor
) -> Tensor:
    """Written over by each later expert, in the order of their numbers."""
    last = indices.argmax(-1, keepdim=True)
    return moe_output(x, indices.gather(-1, last), weights.gather(-1, last), w_gate, w_up, w_down)


def weights_by_rank(
    x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor
) -> Tensor:
    return moe_output(x, indices.sort(-1).values, weights, w_gate, w_up, w_down)


def every_expert(x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Each expert on each token, most of them with weight 0."""
    share = x.new_zeros(len(x), len(w_gate)).scatter(1, indices, weights)
    gate, up = (einsum("md,efd->mef", x, w) for w in (w_gate, w_up))
    return (share[..., None] * einsum("mef,edf->med", swiglu(gate, up), w_down)).sum(1)


def every_token(x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Each expert that somebody has chosen on each token."""
    used, place = indices.unique(return_inverse=True)
    return every_expert(x, place, weights, w_gate[used], w_up[used], w_down[used])


def every_token_by_expert(
    x: Tensor, indices: Tensor, weights: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor
) -> Tensor:
    """As `every_token`, but one expert after the other, which is three times as fast."""
    out = torch.zeros_like(x)
    for expert in indices.unique().tolist():
        share = (weights * (indices == expert)).sum(-1, keepdim=True)
        out += share * (swiglu(x @ w_gate[expert].mT, x @ w_up[expert].mT) @ w_down[expert].mT)
    return out


def activated(message: str, *hidden: Activation) -> list[Misconception]:
    return [Misconception(message, mixed(hidden=each)) for each in hidden]


OVERWRITTEN = (
    "This matches the output of one expert per token, written over that of the others: add them up "
    "(out[tokens] += ... adds only once to a token that stands there twice; index_add_ does not)."
)

MOE_OUTPUT = Exercise(
    name="moe_output",
    points=5,
    lesson=Section("03_moe_routing", "The whole layer"),
    reference=moe_output,
    cases=expert_cases,
    axes="m d",
    mistakes=[
        Misconception(
            "This matches a plain sum over the chosen experts: each output is multiplied by its weight.",
            mixed(weigh=torch.ones_like),
        ),
        Misconception(
            "This matches the mean over the chosen experts: each output is multiplied by its weight.",
            mixed(weigh=lambda weights: torch.full_like(weights, 1 / weights.shape[-1])),
        ),
        Misconception(
            "This matches weights normalised once more: take them as they are given, route has scaled them.",
            mixed(weigh=lambda weights: weights / weights.sum(-1, keepdim=True)),
        ),
        Misconception(
            "This matches a softmax over the weights: take them as they are given.",
            mixed(weigh=lambda weights: weights.softmax(-1)),
        ),
        Misconception(
            "This matches the first weight for all of a token's experts: weights[i, j] belongs to indices[i, j].",
            mixed(weigh=lambda weights: weights[:, :1].expand_as(weights)),
        ),
        Misconception(
            "This matches weights in another order than their experts: weights[i, j] belongs to indices[i, j].",
            weights_by_rank,
        ),
        Misconception(
            "This matches weights applied twice: once to an expert's output is enough.", mixed(weigh=torch.square)
        ),
        Misconception(
            "This matches weights applied to the input: an expert is not linear, so weigh its output.",
            mixed(weighed=("input",)),
        ),
        Misconception(
            "This matches weights applied to the input and again to the output: once, to the output, is enough.",
            mixed(weighed=("input", "output")),
        ),
        Misconception(
            "This matches weights applied to the gate's branch, before silu: an expert is not linear, so weigh its "
            "output.",
            mixed(weighed=("gate",)),
        ),
        *activated(
            "This matches silu on the wrong branch: it is silu(x w_gate) times x w_up.",
            lambda gate, up: gate * F.silu(up),
        ),
        *activated(
            "This matches silu on both branches: only the gate has it.",
            lambda gate, up: F.silu(gate) * F.silu(up),
        ),
        *activated(
            "This matches silu of the product: it is silu(x w_gate) times x w_up.",
            lambda gate, up: F.silu(gate * up),
        ),
        *activated(
            "This matches the product of the two branches without silu: the gate passes through it first.",
            lambda gate, up: gate * up,
        ),
        *activated(
            "This matches silu of the gate alone: multiply it by x w_up.",
            lambda gate, up: F.silu(gate),
        ),
        *activated(
            "This matches silu(x w_gate) + x w_up: the two branches are multiplied.",
            lambda gate, up: F.silu(gate) + up,
        ),
        *activated(
            "This matches gelu in place of silu, which is z sigmoid(z).",
            lambda gate, up: F.gelu(gate) * up,
            lambda gate, up: F.gelu(gate, approximate="tanh") * up,
        ),
        *activated(
            "This matches relu in place of silu, which is z sigmoid(z).",
            lambda gate, up: F.relu(gate) * up,
        ),
        *activated(
            "This matches a sigmoid in place of silu: silu(z) is z sigmoid(z).",
            lambda gate, up: gate.sigmoid() * up,
        ),
        Misconception(
            "This matches the token added to what its experts make: the sum over the experts alone is asked for.",
            lambda x, *rest: x + moe_output(x, *rest),
        ),
        Misconception(
            "This matches a sum divided by k: the weights are all that the outputs are multiplied by.",
            mixed(weigh=lambda weights: weights / weights.shape[-1]),
        ),
        Misconception(
            "This matches the first expert of each token alone: add all k of them.", mixed(slots=slice(0, 1))
        ),
        Misconception(OVERWRITTEN, mixed(slots=slice(-1, None))),
        Misconception(OVERWRITTEN, last_expert_alone),
    ],
    structure=Structure(
        case=step_case,
        heavy=(
            Heavy(
                large_case,
                every_token_by_expert,
                "running each chosen expert on every token",
                "There, experts that no token chose have weights of NaN, and these have reached the output: leave such "
                "experts out, since a weight of 0 does not take them away.",
            ),
        ),
        flops=chosen_flops,
        advice="But the work is more than m k experts need: each token goes through its own k alone.",
        misconceptions=[
            Misconception(
                "But it runs every expert on every token: most outputs are thrown away. Give each expert "
                "only the tokens that chose it.",
                every_expert,
            ),
            Misconception(
                "But it runs each chosen expert on every token: give it only the tokens that chose it.",
                every_token,
            ),
        ],
    ),
)
