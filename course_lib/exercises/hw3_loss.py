"""hw3_mtp, what predicting further ahead adds to the loss (arXiv:2412.19437 section 2.2, eqs. 24 and 25)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def mtp_loss(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
    b, inputs = tokens.shape[0], tokens.shape[1] - 1  # `inputs` is T
    total = 0.0
    for depth, each in enumerate(logits, 1):
        targets = tokens[:, depth + 1 :]
        total += F.cross_entropy(each.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return weight / len(logits) * total / inputs / b


def loss_cases(seed: int) -> list[Case]:
    draw = Draw(seed)
    cases = []
    for b, inputs, depths, z, weight in ((2, 9, 3, 11, 0.3), (3, 8, 2, 13, 0.1)):
        shapes = [(b, inputs - depth, z) for depth in range(1, depths + 1)]
        logits = [2 * draw.normal(*shape) for shape in shapes]
        tokens = draw.integers(0, z, b, inputs + 1)
        cases.append({"logits": logits, "tokens": tokens, "weight": weight})
    return cases


@dataclass
class Sizes:
    """What a loss is divided by or multiplied with, so that each mistake reads as one line."""

    weight: float
    b: int
    inputs: int  # T
    depths: int  # D


Total = Callable[[Tensor, Sizes], Tensor]  # of one loss per depth
Targets = Callable[[Tensor, int, int], Tensor]  # of tokens, a depth k and its T-k
Term = Callable[[Tensor, Tensor], Tensor]  # of logits and their targets, b T-k as these


def right_total(losses: Tensor, by: Sizes) -> Tensor:
    return by.weight * losses.mean()


def right_targets(tokens: Tensor, depth: int, positions: int) -> Tensor:
    return tokens[:, depth + 1 :]


def early_targets(tokens: Tensor, depth: int, positions: int) -> Tensor:
    return tokens[:, depth : depth + positions]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return at(logits.log_softmax(-1), targets)


def at(values: Tensor, targets: Tensor) -> Tensor:
    """Minus the values at the targets."""
    return -values.gather(-1, targets[..., None])[..., 0]


def losing(
    total: Total = right_total, targets: Targets = right_targets, term: Term = cross_entropy, own: bool = False
) -> Callable[[list[Tensor], Tensor, float], float]:
    """A loss with something wrong in it; `own` divides each depth by its own T-k, not by T."""

    def wrong(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
        by, losses = Sizes(weight, tokens.shape[0], tokens.shape[1] - 1, len(logits)), []
        for depth, each in enumerate(logits, 1):
            wanted = targets(tokens, depth, each.shape[1])
            terms = term(each[:, : wanted.shape[1]], wanted)
            losses.append(terms.mean() if own else terms.sum() / by.b / by.inputs)
        return total(torch.stack(losses), by).item()

    return wrong


def named(
    message: str,
    totals: Sequence[Total] = (right_total,),
    targets: Sequence[Targets] = (right_targets,),
    terms: Sequence[Term] = (cross_entropy,),
) -> list[Misconception]:
    """Each over T, and over T-k, which F.cross_entropy does by itself."""
    return [Misconception(message, losing(*parts)) for parts in product(totals, targets, terms, (False, True))]


def divided(message: str, *totals: Total) -> list[Misconception]:
    return [Misconception(message, losing(total)) for total in totals]


def mean_of_all(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
    """One mean over all terms of all depths."""
    terms = [cross_entropy(each, tokens[:, depth + 1 :]) for depth, each in enumerate(logits, 1)]
    return weight * torch.cat(terms, dim=1).mean().item()


def fading(losses: Tensor, by: Sizes) -> Tensor:
    return losses * by.weight ** torch.arange(1, by.depths + 1)


MTP_LOSS = Exercise(
    name="mtp_loss",
    points=4,
    lesson=Section("05_mtp", "The loss"),
    reference=mtp_loss,
    cases=loss_cases,
    mistakes=[
        Misconception(
            "This matches a division by T-k, the mean over a depth's own positions: the report divides by T at every "
            "depth.",
            losing(own=True),
        ),
        Misconception(
            "This matches one mean over all terms of all depths: each depth is divided by T, and their sum by D.",
            mean_of_all,
        ),
        *named(
            "This matches a sum over the depths that is not divided by their number D.",
            [lambda losses, by: by.weight * losses.sum()],
        ),
        *named(
            "This matches a division by D+1: the main model's own loss is not among these, there are D depths.",
            [lambda losses, by: by.weight * losses.sum() / (by.depths + 1)],
        ),
        *named(
            "This matches a division by D twice, as a mean of what is already divided: once is enough.",
            [lambda losses, by: right_total(losses, by) / by.depths],
        ),
        *named(
            "This matches the first list item taken as depth 0, its targets one token early: it is depth 1, whose "
            "position i predicts token i+2.",
            targets=[early_targets],
        ),
        *named(
            "This matches the first list item left out, as if it were the main model's: it is depth 1 and counts.",
            [
                lambda losses, by: by.weight * losses[1:].mean(),
                lambda losses, by: by.weight * losses[1:].sum() / by.depths,
            ],
            [right_targets, early_targets],
        ),
        *(
            Misconception(
                f"This matches a division by T-k{off:+}: the tokens hold T inputs and one target more, and the report "
                "divides by T at every depth.",
                losing(
                    term=lambda x, targets, off=off: cross_entropy(x, targets) / (1 + off / targets.shape[1]), own=True
                ),
            )
            for off in (-1, 1)
        ),
        *divided(
            "This matches a division by T+1: of the T+1 tokens the last is only a target, T are inputs.",
            lambda losses, by: right_total(losses, by) * by.inputs / (by.inputs + 1),
        ),
        *divided(
            "This matches a division by T-1, the positions of depth 1, at every depth: divide by T.",
            lambda losses, by: right_total(losses, by) * by.inputs / (by.inputs - 1),
        ),
        *divided(
            "This matches a division by T-D, the positions of the last depth, at every depth: divide by T.",
            lambda losses, by: right_total(losses, by) * by.inputs / (by.inputs - by.depths),
        ),
        *divided(
            "This matches sums over the positions that are not divided by T.",
            lambda losses, by: right_total(losses, by) * by.inputs,
        ),
        *named(
            "This matches the sum over the batch: average the losses of its b sequences.",
            [lambda losses, by: right_total(losses, by) * by.b],
        ),
        *divided(
            "This matches bare sums over the batch and its positions: divide by T, and by b.",
            lambda losses, by: right_total(losses, by) * by.inputs * by.b,
            lambda losses, by: by.weight * losses.sum() * by.inputs * by.b,
        ),
        *named(
            "This matches the loss without its weight: multiply the mean over the depths by it.",
            [lambda losses, by: losses.mean()],
        ),
        *named(
            "This matches a weight that fades, weight^k at depth k: all depths have the same weight.",
            [lambda losses, by: fading(losses, by).mean(), lambda losses, by: fading(losses, by).sum()],
        ),
        *named(
            "This matches the loss of one depth alone: add up those of all D, then divide by D.",
            [
                lambda losses, by: by.weight * losses[0],
                lambda losses, by: by.weight * losses[0] / by.depths,
                lambda losses, by: by.weight * losses[-1],
                lambda losses, by: by.weight * losses[-1] / by.depths,
            ],
        ),
        *named(
            "This matches targets one token late: position i of depth k predicts token i+k+1.",
            targets=[lambda tokens, depth, positions: tokens[:, depth + 2 :]],
        ),
        *named(
            "This matches labels that a roll has shifted once too often, with the last ones wrapped round: depth k "
            "predicts token i+k+1 (miles#2215 had rolled twice).",
            targets=[
                lambda tokens, depth, positions: tokens.roll(-1, 1)[:, depth + 1 :],
                lambda tokens, depth, positions: tokens.roll(-2 * depth, 1)[:, :positions],
                lambda tokens, depth, positions: tokens.roll(-2 * depth - 1, 1)[:, :positions],
            ],
        ),
        *named(
            "This matches the same targets at every depth: depth k predicts token i+k+1.",
            targets=[
                lambda tokens, depth, positions: tokens[:, 1 : positions + 1],
                lambda tokens, depth, positions: tokens[:, 2 : positions + 2],
            ],
        ),
        *named(
            "This matches each position's own token for a target: depth k predicts token i+k+1.",
            targets=[lambda tokens, depth, positions: tokens[:, :positions]],
        ),
        *named(
            "This matches targets in another order than the logits: flatten both the same way, b first.",
            terms=[lambda logits, targets: cross_entropy(logits, targets.mT.reshape(targets.shape))],
        ),
        *named(
            "This matches logits reshaped to b z T-k, which mixes the positions: exchange their axes instead, with "
            "transpose(1, 2).",
            terms=[lambda logits, targets: cross_entropy(logits.reshape(logits.mT.shape).mT, targets)],
        ),
        *named(
            "This matches a second softmax: a cross-entropy takes logits and makes the probabilities itself.",
            terms=[lambda logits, targets: cross_entropy(logits.softmax(-1), targets)],
        ),
        *named(
            "This matches bare logits for log probabilities: take their log_softmax first.",
            terms=[at],
        ),
        *named(
            "This matches probabilities without their logarithm: a cross-entropy is -log p of the target.",
            terms=[
                lambda logits, targets: at(logits.softmax(-1), targets),
                lambda logits, targets: at(logits.softmax(-1) - 1, targets),
            ],
        ),
        *named(
            "This matches logarithms to base 2 or 10: a cross-entropy here is in nats, with the natural logarithm.",
            terms=[lambda logits, targets, base=base: cross_entropy(logits, targets) / log(base) for base in (2, 10)],
        ),
        *named(
            "This matches the opposite sign: a cross-entropy is minus the log probability, so it is above 0.",
            terms=[lambda logits, targets: -cross_entropy(logits, targets)],
        ),
        *named(
            "This matches a softmax over the positions: each position's probabilities sum to 1 over the vocabulary.",
            terms=[lambda logits, targets: at(logits.log_softmax(1), targets)],
        ),
    ],
)
