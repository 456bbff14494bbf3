"""DeepSeekMoE: many small routed experts, a few shared ones, no token dropped (arXiv:2401.06066, arXiv:2412.19437)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.config import ModelConfig
from course_lib.routing import affinities, choose_experts, expert_load, gate_weights

_PADDING = 1.25  # products may be this much larger than the tokens need, so that fewer and larger ones do


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x): one expert, and the dense layer of all models here (arXiv:2002.05202)."""

    def __init__(self, hidden_size: int, width: int):
        super().__init__()
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(hidden_size, width, bias=False)
        self.down = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: Float[Tensor, "*m d"]) -> Float[Tensor, "*m d"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


@dataclass(frozen=True)
class Routing:
    """Where one layer sent its tokens."""

    scores: Float[Tensor, "m e"]  # affinities, without the balance bias
    indices: Int[Tensor, "m k"]
    weights: Float[Tensor, "m k"]


class Router(nn.Module):
    """Scores tokens against one centroid per expert; a config with `noaux_tc` has a balance bias per expert as well."""

    bias: Tensor | None

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, e = config, config.n_routed_experts
        self.centroids = nn.Parameter(torch.randn(e, config.hidden_size) * config.initializer_range)
        # no gradient reaches the bias: training.py moves it by the load
        self.register_buffer("bias", torch.zeros(e) if config.topk_method == "noaux_tc" else None)

    def forward(self, x: Float[Tensor, "m d"]) -> Routing:
        scores = affinities(x, self.centroids, self.config.scoring_func)
        return Routing(scores, *self.route(scores))

    def route(self, scores: Float[Tensor, "m e"]) -> tuple[Int[Tensor, "m k"], Float[Tensor, "m k"]]:
        """Chosen experts and their gates."""
        c, best = self.config, 2 if self.config.topk_method == "noaux_tc" else 1
        groups = {} if c.topk_method == "greedy" else {"n_group": c.n_group, "topk_group": c.topk_group}
        indices = choose_experts(scores.detach(), c.num_experts_per_tok, bias=self.bias, group_best=best, **groups)
        return indices, gate_weights(scores, indices, normalise=c.norm_topk_prob, scale=c.routed_scaling_factor)


class MoE(nn.Module):
    """Shared experts see every token, each routed expert only the tokens that chose it."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, e, f = config.hidden_size, config.n_routed_experts, config.moe_intermediate_size
        self.router = Router(config)
        self.gate_up = nn.Parameter(torch.randn(e, 2 * f, d) * config.initializer_range)
        self.down = nn.Parameter(torch.randn(e, d, f) * config.initializer_range)
        self.shared = SwiGLU(d, config.n_shared_experts * f) if config.n_shared_experts else None

    def forward(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        routing = self.router(x.flatten(0, 1))
        y = routed_experts(x.flatten(0, 1), routing.indices, routing.weights, self.gate_up, self.down).view_as(x)
        return y if self.shared is None else y + self.shared(x)


def routed_experts(
    x: Float[Tensor, "m d"],
    indices: Int[Tensor, "m k"],
    weights: Float[Tensor, "m k"],
    gate_up: Float[Tensor, "e gate_up d"],
    down: Float[Tensor, "e d f"],
) -> Float[Tensor, "m d"]:
    """The weighted sum of each token's chosen experts, which are all that is computed.

    Tokens are laid out by expert, and neighbouring experts with about as many tokens share one batched product.
    """
    runs, slots, tokens = _layout(indices, len(gate_up))
    inputs = torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, tokens)
    experts = [run.experts for run in runs]
    outputs = []
    for run, part, into, out in zip(
        runs, inputs.split([run.rows for run in runs]), gate_up.split(experts), down.split(experts), strict=True
    ):
        gate, up = torch.bmm(part.unflatten(0, (run.experts, run.capacity)), into.mT).chunk(2, dim=-1)
        outputs.append(torch.bmm(F.silu(gate) * up, out.mT).flatten(0, 1))
    y = torch.cat(outputs).index_select(0, slots.flatten()).unflatten(0, indices.shape)
    return (weights.to(x.dtype)[:, None] @ y)[:, 0]


@dataclass(frozen=True)
class Run:
    """Neighbouring experts, with room for `capacity` tokens each."""

    experts: int
    capacity: int

    @property
    def rows(self) -> int:
        return self.experts * self.capacity


def _layout(indices: Int[Tensor, "m k"], n_experts: int) -> tuple[list[Run], Int[Tensor, "m k"], Int[Tensor, " rows"]]:
    """Runs of experts, the row where each token's choices lie, and the token of each row (m: a row of padding)."""
    (m, k), chosen = indices.shape, indices.flatten()
    load = expert_load(indices, n_experts)
    runs = _runs(load.tolist())
    capacity = torch.tensor([run.capacity for run in runs for _ in range(run.experts)], device=indices.device)
    by_expert = chosen.argsort(stable=True)
    rank = torch.arange(m * k, device=indices.device) - (load.cumsum(0) - load)[chosen[by_expert]]
    slots = torch.empty_like(chosen)
    slots[by_expert] = (capacity.cumsum(0) - capacity)[chosen[by_expert]] + rank
    tokens = torch.full((sum(run.rows for run in runs),), m, device=indices.device)
    tokens[slots] = torch.arange(m, device=indices.device).repeat_interleave(k)
    return runs, slots.view(m, k), tokens


def _runs(load: list[int]) -> list[Run]:
    """Joins neighbours as long as their padded rows stay within _PADDING of their tokens."""
    runs, run, filled = [], Run(1, load[0]), load[0]
    for tokens in load[1:]:
        longer = Run(run.experts + 1, max(run.capacity, tokens))
        if longer.rows <= _PADDING * (filled + tokens):
            run, filled = longer, filled + tokens
        else:
            runs.append(run)
            run, filled = Run(1, tokens), tokens
    return [*runs, run]


@contextmanager
def recorded_routing(model: nn.Module) -> Iterator[list[Routing]]:
    """Collects what the routers inside `model` decide while the block runs, in the order of their layers."""
    record: list[Routing] = []

    def note(_router: nn.Module, _inputs: object, routing: Routing) -> None:
        record.append(routing)

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, Router)]
    try:
        yield record
    finally:
        for hook in hooks:
            hook.remove()
