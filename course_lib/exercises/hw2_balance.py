"""hw2_moe, the load of the experts, and the bias that follows it (arXiv:2412.19437 section 2.1.2)."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section


def expert_load(indices: Tensor, n_experts: int) -> Tensor:
    return torch.bincount(indices.flatten(), minlength=n_experts)


def load_cases(seed: int) -> list[Case]:
    """The last expert without a token; one in the middle too."""
    draw = Draw(seed)
    cases = []
    for m, e, k, idle in ((12, 7, 3, [6]), (10, 9, 2, [4, 8]), (40, 5, 1, [])):
        open_experts = torch.tensor([expert for expert in range(e) if expert not in idle])
        chosen = draw.uniform(0, 1, m, len(open_experts)).topk(k).indices
        chosen[-len(open_experts) :, 0] = torch.arange(len(open_experts))[-m:]  # each open one at least once
        cases.append({"indices": open_experts[chosen], "n_experts": e})
    return cases


def shares(of: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    return lambda indices, n_experts: of(expert_load(indices, n_experts).double(), indices)


EXPERT_LOAD = Exercise(
    name="expert_load",
    points=1,
    lesson=Section("04_load_balancing", "Watch it collapse"),
    reference=expert_load,
    cases=load_cases,
    axes="e",
    mistakes=[
        Misconception(
            "This matches bincount without minlength: experts after the last one used have a count too, 0.",
            lambda indices, n_experts: torch.bincount(indices.flatten()),
        ),
        Misconception(
            "This matches counts of the used experts alone: one without a token has a count too, 0.",
            lambda indices, n_experts: indices.unique(return_counts=True)[1],
        ),
        Misconception(
            "This matches shares of all choices: the counts themselves are asked for.",
            shares(lambda load, indices: load / load.sum()),
        ),
        Misconception(
            "This matches choices per token: the counts themselves are asked for.",
            shares(lambda load, indices: load / len(indices)),
        ),
        Misconception(
            "This matches loads over their mean: the counts themselves are asked for.",
            shares(lambda load, indices: load / load.mean()),
        ),
        Misconception(
            "This matches counting each token's first expert alone: all k of its choices count.",
            lambda indices, n_experts: expert_load(indices[:, 0], n_experts),
        ),
        Misconception(
            "This matches which experts were used at all: count how often each was.",
            shares(lambda load, indices: (load > 0).double()),
        ),
    ],
)


def max_violation(load: Tensor) -> float:
    mean = load.double().mean()
    return ((load.max() - mean) / mean).item()


def skewed_load(draw: Draw, e: int, least: int) -> Tensor:
    """Most below the mean, which is 12, one exactly there, one barely above, one far; the least busy has `least`."""
    below = draw.integers(1, 9, e - 4)
    far = int(below.sum()) + 12 - least - 1
    return (12 + torch.cat([-below, torch.tensor([least - 12, 0, 1, far])]))[draw.order(e)]


def violation_cases(seed: int) -> list[Case]:
    draw = Draw(seed)
    one_idle = torch.cat([draw.integers(10, 14, 7), torch.tensor([2, 14])])
    loads = [skewed_load(draw, e, least) for e, least in ((7, 0), (10, 3))]
    loads[1][loads[1].argmax()] += 5  # a mean of 12.5
    return [{"load": load} for load in (*loads, one_idle)]


def spread(measure: Callable[[Tensor], Tensor]) -> Callable[[Tensor], float]:
    return lambda load: measure(load.double()).item()


STANDARD_DEVIATION = "This matches the standard deviation over the mean: only the busiest expert counts here."

MAX_VIOLATION = Exercise(
    name="max_violation",
    points=1,
    lesson=Section("04_load_balancing", "MaxVio: how uneven is it"),
    reference=max_violation,
    cases=violation_cases,
    mistakes=[
        Misconception(
            "This matches max/mean: a perfectly even load gives 0, so take the mean away first.",
            spread(lambda load: load.max() / load.mean()),
        ),
        Misconception(
            "This matches (max - min)/mean: the busiest expert is compared with the mean.",
            spread(lambda load: (load.max() - load.min()) / load.mean()),
        ),
        Misconception(
            "This matches (mean - min)/mean, the idlest expert: the busiest is asked for.",
            spread(lambda load: (load.mean() - load.min()) / load.mean()),
        ),
        Misconception(
            "This matches the largest distance from the mean on either side: the busiest expert is asked for.",
            spread(lambda load: (load - load.mean()).abs().max() / load.mean()),
        ),
        Misconception(
            "This matches a division by the maximum: divide by the mean.",
            spread(lambda load: (load.max() - load.mean()) / load.max()),
        ),
        Misconception(
            "This matches max - mean, in tokens: divide by the mean.", spread(lambda load: load.max() - load.mean())
        ),
        Misconception(
            "This matches a division by all choices: divide by the mean, their number over e.",
            spread(lambda load: (load.max() - load.mean()) / load.sum()),
        ),
        Misconception(
            "This matches the median in place of the mean. MaxVio compares with the mean.",
            spread(lambda load: (load.max() - load.median()) / load.median()),
        ),
        Misconception(
            "This matches the median in place of the mean. MaxVio compares with the mean.",
            spread(lambda load: (load.max() - load.quantile(0.5)) / load.quantile(0.5)),
        ),
        Misconception(
            "This matches a mean over the used experts alone: one without a token counts too.",
            spread(lambda load: load.max() / load[load > 0].mean() - 1),
        ),
        Misconception(
            "This matches a mean rounded to whole tokens: take it as it is, so no // and no int().",
            spread(lambda load: load.max() / load.mean().floor() - 1),
        ),
        Misconception(
            "This matches a quotient rounded down: divide with /, and not with //.",
            spread(lambda load: ((load.max() - load.mean()) / load.mean()).floor()),
        ),
        Misconception(STANDARD_DEVIATION, spread(lambda load: load.std() / load.mean())),
        Misconception(STANDARD_DEVIATION, spread(lambda load: load.std(correction=0) / load.mean())),
        Misconception(
            "This matches the mean distance from the mean: only the busiest expert counts here.",
            spread(lambda load: (load - load.mean()).abs().mean() / load.mean()),
        ),
        Misconception(
            "This matches a percentage: a fraction is asked for.",
            spread(lambda load: 100 * (load.max() / load.mean() - 1)),
        ),
    ],
)


def update_bias(bias: Tensor, load: Tensor, speed: float) -> Tensor:
    load = load.to(bias.dtype)
    return bias + speed * (load.mean() - load).sign()


def bias_cases(seed: int) -> list[Case]:
    """The last mean is no whole number: experts with 12 tokens lie below it, those with 13 above."""
    draw = Draw(seed)
    cases = []
    for e, least, speed, more in ((9, 0, 0.05, 0), (12, 2, 0.02, 0), (11, 1, 0.03, 5)):
        load = skewed_load(draw, e, least)
        load[load.argmax()] += more
        cases.append({"bias": draw.normal(e), "load": load, "speed": speed})
    return cases


def stepped(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """A bias that moves by speed x step(load)."""
    return lambda bias, load, speed: bias + speed * step(load.double())


PROPORTIONAL = "This matches a step in proportion to the load: it is `speed` up or down, whatever the distance"
AT_THE_MEAN = "This matches a step for an expert exactly at the mean too: that one keeps its bias."
ROUNDED = "This matches a mean rounded to whole tokens: compare with the mean as it is."
MEDIAN = "This matches a comparison with the median: most experts lie below the mean here, so use the mean."

UPDATE_BIAS = Exercise(
    name="update_bias",
    points=2,
    lesson=Section("04_load_balancing", "Repair 2: a bias"),
    reference=update_bias,
    cases=bias_cases,
    axes="e",
    mistakes=[
        Misconception(
            "This matches the opposite sign: an expert with too little work gets a higher bias, to be chosen more.",
            stepped(lambda load: (load - load.mean()).sign()),
        ),
        Misconception(f"{PROPORTIONAL} in tokens.", stepped(lambda load: load.mean() - load)),
        Misconception(
            f"{PROPORTIONAL} in parts of the mean.", stepped(lambda load: (load.mean() - load) / load.mean())
        ),
        Misconception(
            f"{PROPORTIONAL} in parts of all choices.", stepped(lambda load: (load.mean() - load) / load.sum())
        ),
        Misconception(
            f"{PROPORTIONAL} in standard deviations.", stepped(lambda load: (load.mean() - load) / load.std())
        ),
        Misconception(
            f"{PROPORTIONAL} in standard deviations.",
            stepped(lambda load: (load.mean() - load) / load.std(correction=0)),
        ),
        Misconception(MEDIAN, stepped(lambda load: (load.median() - load).sign())),
        Misconception(MEDIAN, stepped(lambda load: (load.quantile(0.5) - load).sign())),
        Misconception(
            "This matches a mean over the used experts alone: one without a token counts too.",
            stepped(lambda load: (load[load > 0].mean() - load).sign()),
        ),
        Misconception(ROUNDED, stepped(lambda load: (load.mean().floor() - load).sign())),
        Misconception(ROUNDED, stepped(lambda load: (load.mean().ceil() - load).sign())),
        Misconception(AT_THE_MEAN, stepped(lambda load: 2.0 * (load <= load.mean()) - 1)),
        Misconception(AT_THE_MEAN, stepped(lambda load: 2.0 * (load < load.mean()) - 1)),
        Misconception(
            "This matches raising the underloaded alone: lower the overloaded by `speed` too.",
            stepped(lambda load: (load.mean() - load).sign().clamp(min=0)),
        ),
        Misconception(
            "This matches lowering the overloaded alone: raise the underloaded by `speed` too.",
            stepped(lambda load: (load.mean() - load).sign().clamp(max=0)),
        ),
        Misconception(
            "This matches the step alone: it is added to the bias that was there.",
            lambda bias, load, speed: update_bias(torch.zeros_like(bias), load, speed),
        ),
        Misconception(
            "This matches a step of 0.001 whatever `speed` was given.",
            lambda bias, load, speed: update_bias(bias, load, 0.001),
        ),
        Misconception(
            "This matches a step of 1: multiply it by `speed`.",
            lambda bias, load, speed: update_bias(bias, load, 1.0),
        ),
        Misconception(
            "This matches a bias that is multiplied: `speed` is added to it or taken from it.",
            lambda bias, load, speed: bias * update_bias(torch.ones_like(bias), load, speed),
        ),
        Misconception(
            "This matches a step with its mean taken away, so that the biases keep theirs: a step is `speed` up or "
            "down and nothing else (torchtitan#1506 asks about such a line).",
            stepped(lambda load: (load.mean() - load).sign() - (load.mean() - load).sign().mean()),
        ),
        Misconception(
            "This matches biases shifted to a mean of 0: leave them where the step takes them.",
            lambda bias, load, speed: update_bias(bias, load, speed) - update_bias(bias, load, speed).mean(),
        ),
    ],
)
