"""hw2_moe, the loss that keeps each sequence balanced (arXiv:2412.19437 section 2.1.2, eqs. 17 to 20)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def sequence_balance_loss(scores: Tensor, indices: Tensor, alpha: float) -> float:
    e, (t, k) = scores.shape[-1], indices.shape[1:]
    probability = (scores / scores.sum(-1, keepdim=True)).mean(1)  # b e
    frequency = F.one_hot(indices, e).sum((1, 2)) * e / (k * t)
    return alpha * (frequency * probability).sum(-1).mean().item()


def loss_cases(seed: int) -> list[Case]:
    """Scores of a sigmoid; experts chosen with a bias, so not those of the best scores, and not alike per sequence."""
    x = Draw(seed).normal
    cases = []
    for b, t, e, k, alpha in ((2, 9, 7, 3, 0.3), (3, 5, 8, 2, 0.07)):
        logits, liking = x(b, t, e) + x(b, 1, e), x(b, 1, e)
        cases.append({"scores": logits.sigmoid(), "indices": (logits + liking).topk(k).indices, "alpha": alpha})
    return cases


@dataclass
class Batch:
    """What the loss is made of, so that each mistake reads as one line."""

    scores: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        self.e, (self.t, self.k) = self.scores.shape[-1], self.indices.shape[1:]

    @property
    def share(self) -> Tensor:
        return self.scores / self.scores.sum(-1, keepdim=True)

    @property
    def of_chosen(self) -> Tensor:
        """The scores of the chosen experts, 0 elsewhere."""
        return torch.zeros_like(self.scores).scatter(-1, self.indices, self.scores.gather(-1, self.indices))

    def counts(self, indices: Tensor | None = None) -> Tensor:
        return F.one_hot(self.indices if indices is None else indices, self.e).sum((1, 2)).double()


def right_frequency(batch: Batch) -> Tensor:
    return batch.counts() * batch.e / (batch.k * batch.t)


def losing(
    share: Callable[[Batch], Tensor] = lambda batch: batch.share,
    frequency: Callable[[Batch], Tensor] = right_frequency,
    total: Callable[[Tensor], Tensor] = lambda products: products.sum(-1).mean(),
) -> Callable[[Tensor, Tensor, float], float]:
    """A loss from other probabilities or frequencies, or put together in another way."""

    def wrong(scores: Tensor, indices: Tensor, alpha: float) -> float:
        batch = Batch(scores, indices)
        return alpha * total(frequency(batch) * share(batch).mean(1)).item()

    return wrong


def one_sequence(scores: Tensor, indices: Tensor, alpha: float) -> float:
    return sequence_balance_loss(scores.flatten(0, 1)[None], indices.flatten(0, 1)[None], alpha)


NOT_NORMALISED = "This matches scores that are not normalised per token: divide each by the sum over all e experts."
NO_FACTOR = "This matches f without e/k: with it an even load gives f = 1 for each expert."

SEQUENCE_BALANCE_LOSS = Exercise(
    name="sequence_balance_loss",
    points=4,
    lesson=Section("04_load_balancing", "The formula, symbol by symbol"),
    reference=sequence_balance_loss,
    cases=loss_cases,
    mistakes=[
        Misconception(NOT_NORMALISED, losing(share=lambda batch: batch.scores)),
        Misconception(
            "This matches a softmax over the scores: they are affinities already, so divide by their sum.",
            losing(share=lambda batch: batch.scores.softmax(-1)),
        ),
        Misconception(
            "This matches scores normalised over the tokens: each token divides by its sum over all e experts.",
            losing(share=lambda batch: batch.scores / batch.scores.sum(1, keepdim=True)),
        ),
        Misconception(
            "This matches gates for P, normalised over the chosen experts: P takes the scores of all e.",
            losing(share=lambda batch: batch.of_chosen / batch.of_chosen.sum(-1, keepdim=True)),
        ),
        Misconception(
            "This matches scores divided by the sum over the chosen experts, as in route: in P it is that over all e.",
            losing(share=lambda batch: batch.scores / batch.of_chosen.sum(-1, keepdim=True)),
        ),
        Misconception(
            "This matches scores averaged over the tokens first, and divided by their sum then: each token divides by "
            "its own sum, and then comes the mean.",
            losing(share=lambda batch: batch.scores / batch.scores.mean(1, keepdim=True).sum(-1, keepdim=True)),
        ),
        Misconception(
            "This matches the counts of all texts together: each text has its own f.",
            losing(frequency=lambda batch: right_frequency(batch).sum(0, keepdim=True)),
        ),
        Misconception(
            "This matches the chosen experts' scores for P: those of the others count too.",
            losing(share=lambda batch: batch.of_chosen / batch.scores.sum(-1, keepdim=True)),
        ),
        Misconception(NO_FACTOR, losing(frequency=lambda batch: batch.counts() / batch.t)),
        Misconception(
            "This matches f without the k in e/(k t): each token makes k choices, so divide by k too.",
            losing(frequency=lambda batch: batch.counts() * batch.e / batch.t),
        ),
        Misconception(
            "This matches f without the e in e/(k t), or a mean over the experts: f P is added up over them.",
            losing(frequency=lambda batch: batch.counts() / (batch.k * batch.t)),
        ),
        Misconception(
            "This matches f without the t in e/(k t), or P summed over the tokens: both are averages over them.",
            losing(frequency=lambda batch: batch.counts() * batch.e / batch.k),
        ),
        Misconception(
            "This matches bare counts for f: multiply them by e/(k t).",
            losing(frequency=lambda batch: batch.counts()),
        ),
        Misconception(
            "This matches one loss over the whole batch: f and P are made per text, then the losses are averaged.",
            one_sequence,
        ),
        Misconception(
            "This matches the sum over the batch: average the losses of its texts.",
            losing(total=lambda products: products.sum()),
        ),
        Misconception(
            "This matches f made of scores: f counts how often an expert is in the indices.",
            losing(frequency=lambda batch: batch.e * batch.share.mean(1)),
        ),
        Misconception(
            "This matches experts chosen anew by their scores: count those in the indices given.",
            losing(
                frequency=lambda batch: batch.counts(batch.scores.topk(batch.k).indices) * batch.e / (batch.k * batch.t)
            ),
        ),
        Misconception(
            "This matches counting each token's first expert alone: all k of its choices count.",
            losing(frequency=lambda batch: batch.counts(batch.indices[..., :1]) * batch.e / (batch.k * batch.t)),
        ),
        Misconception(
            "This matches counting each token's first expert alone, with f = e/t: all k of its choices count.",
            losing(frequency=lambda batch: batch.counts(batch.indices[..., :1]) * batch.e / batch.t),
        ),
        Misconception(
            "This matches the loss without alpha.",
            lambda scores, indices, alpha: sequence_balance_loss(scores, indices, 1),
        ),
    ],
)
