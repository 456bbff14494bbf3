"""Training a model on a text: one loop for lessons, sweeps and the command line.

The model trains on the device that it lies on. Results (losses, loads, biases) come back as Python numbers or as
tensors on the CPU, wherever that is.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib import distributed, host
from course_lib.corpus import Corpus
from course_lib.devices import place_of
from course_lib.model import MiniDeepSeek
from course_lib.moe import Router, Routing, recorded_routing
from course_lib.mtp import mtp_loss
from course_lib.routing import (
    expert_balance_loss,
    expert_load,
    max_violation,
    sequence_balance_loss,
    update_bias,
)

UpdateBias = Callable[[Tensor, Tensor, float], Tensor]
TRIM_EVERY = 100  # steps between two requests to give freed memory back


class DivergedError(ArithmeticError):
    """A loss or a gradient became infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Steps are optimizer steps, lengths are in tokens.

    Raises:
        ValueError: a number out of range; the message names each of them.
    """

    steps: int
    batch_size: int = 16  # b, sequences per step, over all processes
    length: int = 128  # s, tokens per sequence
    learning_rate: float = 3e-3  # at its peak
    warmup: int = 20  # steps of a linear rise to the peak
    final_fraction: float = 0.1  # of the peak, reached by half a cosine at the last step
    weight_decay: float = 0.1  # on matrices only
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0  # largest norm of the gradient
    bias_speed: float = 0.0  # gamma: how far a balance bias moves per step
    sequence_alpha: float = 0.0  # weight of V3's sequence-wise balance loss
    expert_alpha: float = 0.0  # weight of V2's expert-level balance loss
    mtp_weight: float = 0.3  # lambda, weight of the MTP loss if the model has depths
    mixed_precision: bool = False  # products in bfloat16; weights, norms, affinities, sums and losses stay in float32
    seed: int = 0  # of the order of the text

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "length": 1, "warmup": 0}
        wrong = [
            f"{name}: expected >= {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        rates = ("learning_rate", "clip")
        wrong += [f"{name}: expected > 0, got {getattr(self, name)}" for name in rates if not getattr(self, name) > 0]
        weights = ("weight_decay", "bias_speed", "sequence_alpha", "expert_alpha", "mtp_weight", "final_fraction")
        wrong += [
            f"{name}: expected >= 0, got {getattr(self, name)}" for name in weights if not getattr(self, name) >= 0
        ]
        wrong += [f"{name}: expected a finite number, got inf" for name in weights if getattr(self, name) == math.inf]
        if not all(0 <= beta < 1 for beta in self.betas):
            wrong.append(f"betas: expected 0 <= beta < 1, got {self.betas}")
        if wrong:
            raise ValueError("; ".join(wrong))

    def rate(self, step: int) -> float:
        """Learning rate of 0-based `step`."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - 1 - self.warmup, 1)
        cosine = (1 + math.cos(math.pi * min(done, 1.0))) / 2
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * cosine)


@dataclass(frozen=True)
class Step:
    """What one step of training was like."""

    loss: float  # cross-entropy of the next token in nats, without what is added to it
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float
    load: Int[Tensor, "layer e"]  # tokens given to each expert, one row per layer of experts
    bias: Float[Tensor, "layer e"]  # balance biases that routed this step; zeros if the model has none


@dataclass
class History:
    """All steps so far, and the validation losses taken between them."""

    steps: list[Step] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)  # after that many steps, in nats per token

    @property
    def loss(self) -> list[float]:
        return [step.loss for step in self.steps]

    @property
    def load(self) -> Int[Tensor, "step layer e"]:
        return torch.stack([step.load for step in self.steps])

    @property
    def bias(self) -> Float[Tensor, "step layer e"]:
        return torch.stack([step.bias for step in self.steps])

    @property
    def max_violation(self) -> Float[Tensor, "step layer"]:
        """Batch MaxVio: that of each step's own load."""
        return max_violation(self.load)


@dataclass(frozen=True)
class Evaluation:
    loss: float  # nats per token
    load: Int[Tensor, "layer e"]

    @property
    def max_violation(self) -> float:
        """Global MaxVio: of the load over all of the validation text, mean over layers (arXiv:2408.15664 s4.1)."""
        return max_violation(self.load).mean().item()


class Objective(nn.Module):
    """What training minimises. A module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: MiniDeepSeek, recipe: Recipe):
        super().__init__()
        self.model, self.recipe = model, recipe

    def forward(
        self, batch: Int[Tensor, "b window"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Int[Tensor, "layer e"]]:
        """Cross-entropy of the next token, what the balance and MTP losses add to it, and the load of the experts.

        The losses are of this process's share of the batch, the load is of the whole batch.
        """
        mixed = torch.autocast(batch.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision)
        with mixed, recorded_routing(self.model) as routings:
            next_one, *further = map(_wide, self.model.predict_ahead(batch[:, :-1]))
        load = distributed.sum_over_processes(_load(routings, self.model.config.n_routed_experts, batch.device))
        loss = F.cross_entropy(next_one.flatten(0, 1), batch[:, 1:].flatten())
        added = self._balance_loss(routings, load, len(batch)) + loss.new_zeros(())
        if further:
            added = added + mtp_loss(further, batch, self.recipe.mtp_weight)
        return loss, added, load

    def _balance_loss(self, routings: list[Routing], load: Int[Tensor, "layer e"], b: int) -> Tensor | float:
        total: Tensor | float = 0.0
        for routing, of_layer in zip(routings, load, strict=True):
            scores, indices = routing.scores.unflatten(0, (b, -1)), routing.indices.unflatten(0, (b, -1))
            if self.recipe.sequence_alpha:
                total = total + sequence_balance_loss(scores, indices, self.recipe.sequence_alpha)
            if self.recipe.expert_alpha:
                total = total + expert_balance_loss(scores, indices, self.recipe.expert_alpha, load=of_layer)
        return total


class Training:
    """A model, a text and a recipe, on the way from step 0 to `recipe.steps`.

    A step is done completely or not at all, so you can interrupt and continue at any time. On a CPU the result is the
    same to the bit; on a GPU up to rounding, because sums of gradients are taken in changing order there. Under
    `torchrun` each process trains on an equal share of each batch, and all have the same model and history.

    Raises:
        ValueError: bias_speed for a model without balance biases, a text shorter than one sequence, a batch that the
            processes cannot share equally, or a model whose parameters are all frozen.
    """

    def __init__(self, model: MiniDeepSeek, corpus: Corpus, recipe: Recipe, *, update_bias: UpdateBias = update_bias):
        self.model, self.corpus, self.recipe, self.update_bias = model, corpus, recipe, update_bias
        self.routers = [module for module in model.modules() if isinstance(module, Router)]
        self._refuse_the_impossible()
        self.history = History()
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)
        objective = Objective(model, recipe)
        alone = distributed.processes() == 1
        self._objective = objective if alone else nn.parallel.DistributedDataParallel(objective)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.history.steps)

    def run(self, steps: int | None = None) -> Iterator[Step]:
        """Yields each step when it is done: `steps` of them, or all that are left.

        Raises:
            DivergedError: the loss or the gradient is no longer finite. The training stays at the step before.
        """
        last = self.recipe.steps if steps is None else min(self.step + steps, self.recipe.steps)
        while self.step < last:
            with host.defer_ctrl_c():
                self.history.steps.append(self._train_step())
            if self.step % TRIM_EVERY == 0:
                host.return_freed_memory()
            yield self.history.steps[-1]

    def evaluate(self, sequences: int = 64) -> Evaluation:
        """Loss and load on validation text; the loss is kept in the history too."""
        evaluation = evaluate(self.model, self.corpus, sequences=sequences, length=self.recipe.length)
        self.history.validation[self.step] = evaluation.loss
        return evaluation

    def _refuse_the_impossible(self) -> None:
        recipe, processes = self.recipe, distributed.processes()
        if recipe.bias_speed and not any(router.bias is not None for router in self.routers):
            raise ValueError('bias_speed moves balance biases, and this model has none: set topk_method = "noaux_tc"')
        if recipe.batch_size % processes:
            raise ValueError(
                f"batch_size {recipe.batch_size} is not a multiple of the {processes} processes, which must share it "
                "equally"
            )
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ValueError("all parameters of this model are frozen; call model.requires_grad_() to train it")
        self.corpus.batch(0, 1, recipe.length)  # raises if the text is too short

    def _train_step(self) -> Step:
        recipe, began = self.recipe, time.perf_counter()
        try:
            loss, added, load = self._objective(self._share_of_batch())
            before, after = self._biases(load)  # may call a student's function: if it fails, nothing has moved yet
            (loss + added).backward()
            mean = distributed.sum_over_processes(loss.detach() / distributed.processes()).item()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip).item()
            self._refuse_divergence(mean, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.rate(self.step)
            self.optimizer.step()
            for bias, moved in after:
                bias.copy_(moved)
        finally:
            self.optimizer.zero_grad()
        return Step(mean, recipe.rate(self.step), norm, time.perf_counter() - began, load.cpu(), before)

    def _share_of_batch(self) -> Int[Tensor, "b window"]:
        recipe = self.recipe
        batch = self.corpus.batch(
            self.step, recipe.batch_size, recipe.length, seed=recipe.seed, device=place_of(self.model)
        )
        return batch[distributed.rank() :: distributed.processes()]

    def _biases(self, load: Int[Tensor, "layer e"]) -> tuple[Float[Tensor, "layer e"], list[tuple[Tensor, Tensor]]]:
        """The biases that led to this load, and pairs of each bias and its next value."""
        before, after = torch.zeros(load.shape, device="cpu"), []
        for layer, router in enumerate(self.routers):
            if router.bias is not None:
                before[layer] = router.bias
                moved = self.update_bias(router.bias.clone(), load[layer], self.recipe.bias_speed)
                if not isinstance(moved, Tensor) or moved.shape != router.bias.shape:
                    got = f"shape {tuple(moved.shape)}" if isinstance(moved, Tensor) else type(moved).__name__
                    raise ValueError(
                        f"update_bias must return a tensor of shape {tuple(router.bias.shape)}, one bias per expert; "
                        f"got {got}"
                    )
                after.append((router.bias, moved))
        return before, after

    def _refuse_divergence(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        last = f"; the last finite loss was {self.history.steps[-1].loss:.4g}" if self.history.steps else ""
        raise DivergedError(
            f"step {self.step + 1} diverged: its loss is {loss:.4g} and the norm of its gradient {norm:.4g}{last}. "
            f"Lower the learning rate, which is {self.recipe.learning_rate:g}."
        )


@torch.no_grad()
def evaluate(model: MiniDeepSeek, corpus: Corpus, *, sequences: int, length: int) -> Evaluation:
    """Loss and load of a model on validation text, the same sequences every time.

    Raises:
        ValueError: a validation text shorter than one sequence.
    """
    losses, loads = [], []
    for batch in corpus.windows(sequences, length, device=place_of(model)).split(16):
        with recorded_routing(model) as routings:
            logits = model(batch[:, :-1])
        losses += [F.cross_entropy(logits.mT, batch[:, 1:], reduction="none")]
        loads.append(_load(routings, model.config.n_routed_experts, batch.device))
    return Evaluation(torch.cat(losses).mean().item(), torch.stack(loads).sum(0).cpu())


@torch.no_grad()
def held_out_loss(model: MiniDeepSeek, corpus: Corpus, length: int) -> float:
    """Nats per byte over the whole validation text, in windows of `length` that do not overlap (one is shorter)."""
    text = corpus.validation.to(place_of(model)).long()
    length = min(length, len(text) - 1)
    whole = (len(text) - 1) // length * length
    windows = [*text[: whole + 1].unfold(0, length + 1, length).split(64), text[None, whole:]]
    sums = [
        F.cross_entropy(model(window[:, :-1]).mT, window[:, 1:], reduction="sum").item()
        for window in windows
        if window.shape[1] > 1
    ]
    return sum(sums) / (len(text) - 1)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _load(routings: list[Routing], n_experts: int, device: torch.device) -> Int[Tensor, "layer e"]:
    loads = [expert_load(routing.indices, n_experts) for routing in routings]
    return torch.stack(loads) if loads else torch.zeros(0, n_experts, dtype=torch.int64, device=device)
