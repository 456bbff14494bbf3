"""Training a model on a text: one loop for lessons, sweeps and the command line."""

import ctypes
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.corpus import Corpus
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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Steps count optimizer steps, lengths tokens."""

    steps: int
    batch_size: int = 16  # b, sequences a step, over all processes
    length: int = 128  # s, tokens of a sequence
    learning_rate: float = 3e-3  # at its peak
    warmup: int = 20  # steps of a linear rise to the peak
    final_fraction: float = 0.1  # of the peak, reached by half a cosine at the last step
    weight_decay: float = 0.1  # on matrices only
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0  # largest norm of the gradient
    bias_speed: float = 0.0  # gamma: how far a balance bias moves in a step
    sequence_alpha: float = 0.0  # weight of V3's sequence-wise balance loss
    expert_alpha: float = 0.0  # weight of V2's expert-level balance loss
    mtp_weight: float = 0.3  # lambda, weight of the MTP loss where the model has depths
    mixed_precision: bool = False  # products in bfloat16; weights, norms, affinities, sums and losses stay in float32
    seed: int = 0  # of the order of the text

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "length": 1, "warmup": 0}
        wrong = [
            f"{name}: wanted >= {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        rates = ("learning_rate", "clip")
        wrong += [f"{name}: wanted > 0, got {getattr(self, name)}" for name in rates if not getattr(self, name) > 0]
        weights = ("weight_decay", "bias_speed", "sequence_alpha", "expert_alpha", "mtp_weight", "final_fraction")
        wrong += [f"{name}: wanted >= 0, got {getattr(self, name)}" for name in weights if not getattr(self, name) >= 0]
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
    bias: Float[Tensor, "layer e"]  # balance biases that routed this step; zeros where there are none


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
    """What is minimised: a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: MiniDeepSeek, recipe: Recipe):
        super().__init__()
        self.model, self.recipe = model, recipe

    def forward(self, batch: Int[Tensor, "b window"]) -> tuple[Tensor, Tensor, list[Routing]]:
        """Cross-entropy of the next token, what balance and MTP add to it, and where the tokens went."""
        mixed = torch.autocast(batch.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision)
        with mixed, recorded_routing(self.model) as routings:
            next_one, *further = map(_wide, self.model.predict_ahead(batch[:, :-1]))
        loss = F.cross_entropy(next_one.flatten(0, 1), batch[:, 1:].flatten())
        added = self._balance_loss(routings, len(batch)) + loss.new_zeros(())
        if further:
            added = added + mtp_loss(further, batch, self.recipe.mtp_weight)
        return loss, added, routings

    def _balance_loss(self, routings: list[Routing], b: int) -> Tensor | float:
        total: Tensor | float = 0.0
        for routing in routings:
            scores, indices = routing.scores.unflatten(0, (b, -1)), routing.indices.unflatten(0, (b, -1))
            if self.recipe.sequence_alpha:
                total = total + sequence_balance_loss(scores, indices, self.recipe.sequence_alpha)
            if self.recipe.expert_alpha:
                total = total + expert_balance_loss(scores, indices, self.recipe.expert_alpha)
        return total


class Training:
    """A model, a text and a recipe, on the way from step 0 to `recipe.steps`.

    Interrupt it whenever you like: a step is done whole or not at all, and going on gives what going through would
    have given, to the bit. Under `torchrun` every process takes its share of each batch.

    Raises:
        ValueError: bias_speed without balance biases in the model, or a text shorter than one sequence.
    """

    def __init__(self, model: MiniDeepSeek, corpus: Corpus, recipe: Recipe, *, update_bias: UpdateBias = update_bias):
        self.model, self.corpus, self.recipe, self.update_bias = model, corpus, recipe, update_bias
        self.routers = [module for module in model.modules() if isinstance(module, Router)]
        if recipe.bias_speed and not any(router.bias is not None for router in self.routers):
            raise ValueError('bias_speed moves balance biases, and this model has none: set topk_method = "noaux_tc"')
        self.history = History()
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)
        self._processes = dist.get_world_size() if dist.is_initialized() else 1
        objective = Objective(model, recipe)
        self._objective = nn.parallel.DistributedDataParallel(objective) if self._processes > 1 else objective

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.history.steps)

    def run(self, steps: int | None = None) -> Iterator[Step]:
        """Trains a step for each value taken, `steps` of them or all that are left."""
        last = self.recipe.steps if steps is None else min(self.step + steps, self.recipe.steps)
        while self.step < last:
            with _whole():
                self.history.steps.append(self._train_step())
            if self.step % 100 == 0:
                _give_memory_back()
            yield self.history.steps[-1]

    def evaluate(self, sequences: int = 64) -> Evaluation:
        """Loss and load on validation text; the loss is kept in the history too."""
        evaluation = evaluate(self.model, self.corpus, sequences=sequences, length=self.recipe.length)
        self.history.validation[self.step] = evaluation.loss
        return evaluation

    def _train_step(self) -> Step:
        recipe, began = self.recipe, time.perf_counter()
        device = self.model.embedding.weight.device
        batch = self.corpus.batch(self.step, recipe.batch_size, recipe.length, seed=recipe.seed, device=device)
        if self._processes > 1:
            batch = batch[dist.get_rank() :: self._processes]
        loss, added, routings = self._objective(batch)
        load = _loads(routings, self.model.config.n_routed_experts)
        mean = loss.detach() / self._processes
        if self._processes > 1:
            dist.all_reduce(load)
            dist.all_reduce(mean)
        before, after = self._biases(load)  # may be a student's function: if it fails, nothing has moved yet
        (loss + added).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for bias, moved in after:
            bias.copy_(moved)
        return Step(mean.item(), recipe.rate(self.step), norm.item(), time.perf_counter() - began, load.cpu(), before)

    def _biases(self, load: Int[Tensor, "layer e"]) -> tuple[Float[Tensor, "layer e"], list[tuple[Tensor, Tensor]]]:
        """Those that led to this load, and each with what it becomes in answer."""
        before, after = torch.zeros(load.shape), []
        for layer, router in enumerate(self.routers):
            if router.bias is not None:
                before[layer] = router.bias
                after.append((router.bias, self.update_bias(router.bias, load[layer], self.recipe.bias_speed)))
        return before, after


@torch.no_grad()
def evaluate(model: MiniDeepSeek, corpus: Corpus, *, sequences: int, length: int) -> Evaluation:
    """Loss and load of a model on validation text, the same sequences every time."""
    losses, loads = [], []
    for batch in corpus.windows(sequences, length, device=model.embedding.weight.device).split(16):
        with recorded_routing(model) as routings:
            logits = model(batch[:, :-1])
        losses += [F.cross_entropy(logits.mT, batch[:, 1:], reduction="none")]
        loads.append(_loads(routings, model.config.n_routed_experts))
    return Evaluation(torch.cat(losses).mean().item(), torch.stack(loads).sum(0))


@torch.no_grad()
def held_out_loss(model: MiniDeepSeek, corpus: Corpus, length: int) -> float:
    """Nats per byte over the whole validation text, in windows of `length` that do not overlap (one is shorter)."""
    text = corpus.validation.to(model.embedding.weight.device).long()
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


def _loads(routings: list[Routing], n_experts: int) -> Int[Tensor, "layer e"]:
    loads = [expert_load(routing.indices, n_experts) for routing in routings]
    return torch.stack(loads) if loads else torch.zeros(0, n_experts, dtype=torch.int64)


def _give_memory_back() -> None:
    """glibc keeps what a step has freed, in pieces that the next one cannot use: 7 GB after 2,000 steps of 40 MB."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


@contextmanager
def _whole() -> Iterator[None]:
    """Holds an interrupt from the keyboard back until the block is done: half a step is worth nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
