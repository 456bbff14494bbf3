"""The parametric law, loss = E + A/N^alpha + B/D^beta (arXiv:2203.15556 s3.3), and what follows from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.batched_fit import Fits, Runs, minimise
from course_lib.design import UNDETERMINED, check_design, strength
from course_lib.fit_data import (
    Column,
    Device,
    check_above_0,
    check_level,
    columns,
    one_thread,
    percentiles,
    resample_counts,
)
from course_lib.quantity import Estimate, table

FITS = tuple(field.name for field in fields(Fits))
FLOPS_PER_PARAMETER_AND_TOKEN = 6  # forward 2, backward 4; attention scores are not counted
NO_FLOOR = 1e-3  # E below this part of the lowest loss counts as 0
# Starts: exponents, E as a part of the lowest loss, and the part of the rest that A/N^alpha has at the mean run
EXPONENTS, FLOORS, SHARES = (0.1, 0.3, 0.6, 1.2), (0.3, 0.6, 0.9), (0.2, 0.5, 0.8)


@dataclass(frozen=True, kw_only=True)
class ParametricLaw:
    """Loss of N parameters after D tokens."""

    E: float  # loss no model of this kind goes below
    A: float
    B: float
    alpha: float
    beta: float
    source: str = ""

    @property
    def a(self) -> float:
        """Exponent of the compute-optimal N in C = 6ND."""
        return self.beta / (self.alpha + self.beta)

    @property
    def theta(self) -> Float[Tensor, " 5"]:
        """(ln A, ln B, ln E, alpha, beta)."""
        logs = [math.log(x) for x in (self.A, self.B, self.E)]
        return torch.tensor([*logs, self.alpha, self.beta], dtype=torch.float64, device="cpu")

    def loss(self, params: Column, tokens: Column, *, device: Device = None) -> Float[Tensor, " n"]:
        n, d = columns(device, params=params, tokens=tokens)
        return predict(self.theta.to(n.device)[None], n, d)[0]

    def allocation(self, flops: float) -> tuple[float, float]:
        """(N, D) that minimise the loss under 6ND = flops."""
        log_n, log_d = optimal_logs(self.theta[None], flops)
        return float(log_n.exp()), float(log_d.exp())


PUBLISHED_LAWS = {
    "hoffmann-rounded": ParametricLaw(
        E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, source="Hoffmann et al. 2022, arXiv:2203.15556 eq 10"
    ),
    "hoffmann-tex": ParametricLaw(
        E=1.6934, A=math.exp(6.0073404), B=math.exp(6.0179186), alpha=0.33917084, beta=0.2849083,
        source="TeX source of arXiv:2203.15556, quoted by Besiroglu et al. 2024, arXiv:2404.10102",
    ),
    "besiroglu": ParametricLaw(
        E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658, source="Besiroglu et al. 2024, arXiv:2404.10102"
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """How to spend a budget, with what that is worth."""

    flops: float
    params: Estimate
    tokens: Estimate
    tokens_per_param: Estimate
    loss: Estimate

    def _repr_html_(self) -> str:
        rows = {"N": self.params, "D": self.tokens, "D/N": self.tokens_per_param, "loss": self.loss}
        return table(f"Compute-optimal for {self.flops:.3g} FLOP", rows)


@dataclass(frozen=True, kw_only=True)
class ParametricFit:
    """A fitted law. `message` says what is wrong with it, and is empty where nothing is; each estimate carries it too.

    Tensors lie on the device of the fit.
    """

    E: Estimate
    A: Estimate
    B: Estimate
    alpha: Estimate
    beta: Estimate
    a: Estimate  # beta / (alpha + beta), exponent of N in C
    objective: float  # sum over runs of Huber(ln loss - ln predicted)
    residuals: Float[Tensor, " n"]  # ln loss - ln predicted
    message: str
    level: float
    resampled: Float[Tensor, "b 5"]  # theta of each resample that determines the law

    @cached_property
    def law(self) -> ParametricLaw:
        values = (each.value for each in (self.E, self.A, self.B, self.alpha, self.beta))
        return ParametricLaw(**dict(zip(("E", "A", "B", "alpha", "beta"), values, strict=True)), source=self.E.source)

    def allocation(self, flops: float) -> Allocation:
        """The best (N, D) for a budget and the loss there; intervals are of the law, not of one more run."""
        usable = self.resampled[(self.resampled[:, 3:] > 0).all(1)]
        every = torch.cat([self.law.theta[None].to(usable), usable])
        log_n, log_d = optimal_logs(every, flops)
        n, d = log_n.exp(), log_d.exp()
        loss = predict(every, n[:, None], d[:, None])[:, 0]
        units = (("parameters", n), ("tokens", d), ("tokens per parameter", d / n), (self.E.unit, loss))
        found = [percentiles(float(x[0]), x[1:], self.level, unit=unit, source=self.E.source) for unit, x in units]
        message = self.message
        if lost := len(self.resampled) - len(usable):
            left_out = (
                f"{lost} of {len(self.resampled)} resamples have no best model and are left out of the intervals."
            )
            message = f"{message} {left_out}".lstrip()
        found = [replace(each, message=message) for each in found]
        return Allocation(flops=flops, params=found[0], tokens=found[1], tokens_per_param=found[2], loss=found[3])

    def _repr_html_(self) -> str:
        names = ("E", "A", "B", "alpha", "beta", "a")
        note = f"Objective {self.objective:.6g} over {len(self.residuals)} runs."
        return table("loss = E + A/N^alpha + B/D^beta", {name: getattr(self, name) for name in names}, note)


@one_thread()
def fit_parametric(
    params: Column,
    tokens: Column,
    loss: Column,
    *,
    delta: float = 1e-3,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    unit: str = "nats per token",
    source: str = "",
    device: Device = None,
) -> ParametricFit:
    """Least sum over runs of Huber(ln loss - ln predicted), from a grid of 144 starts.

    Intervals are percentiles of as many `resamples` of the runs, each fitted from the optimum of all runs (and from a
    law with a floor, where that optimum has none); 0 gives none. A resample whose runs cannot determine the law, since
    too few of them are different, is left out; if that concerns more than half, there are no intervals. One that does
    not converge is counted as it is: those are the ones with a low floor, and without them the interval would be too
    narrow. Of 400 simulated sets of 240 runs with heavy-tailed noise, 95% intervals covered the true a in 377.

    Runs that determine the law only weakly give a message and no intervals, see `course_lib.design`. Where the loss
    shows no floor, the best E is 0, which ln E never reaches: then E is some small number, and the message says so.

    Raises:
        ValueError: columns that are not finite numbers above 0, fewer than 6 runs, or runs that cannot determine the
            law, such as runs that all have the same N, D or D/N.
    """
    n, d, y = columns(device, params=params, tokens=tokens, loss=loss)
    check_level(level, resamples)
    check_above_0(delta=delta)
    weakness = check_design(n, d)
    runs = Runs.of(n, d, y)
    finalists, floored = _from_all_starts(runs, y, delta)
    best = finalists.theta[0]
    counts = resample_counts(0 if weakness else resamples, len(y), seed=seed, device=y.device)
    counts, too_few = _determined(n, d, counts)
    again = _lowest([minimise(x.expand(len(counts), 5), counts, runs, delta=delta) for x in (best, *floored)])
    message = " ".join(part for part in (weakness, *_problems(finalists, y), too_few, *_restless(again)) if part)
    values = _readable(torch.cat([best[None], again.theta]))
    units = {"E": unit, "A": f"{unit} x parameters^alpha", "B": f"{unit} x tokens^beta"}
    found = {
        name: replace(percentiles(float(x[0]), x[1:], level, unit=units.get(name, ""), source=source), message=message)
        for name, x in values.items()
    }
    residuals = y.log() - predict(best[None], n, d)[0].log()
    objective = float(finalists.objective[0])
    return ParametricFit(
        **found, objective=objective, residuals=residuals, message=message, level=level, resampled=again.theta
    )


def _determined(
    n: Float[Tensor, " n"], d: Float[Tensor, " n"], counts: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "some n"], str]:
    """The resamples that determine the law, if they are at least half; and what to say of the others."""
    if not len(counts):
        return counts, ""
    enough = strength(n, d, counts) >= UNDETERMINED
    of, lost = len(counts), int((~enough).sum())
    if 2 * lost > of:
        return counts[:0], f"Too few runs for intervals: {lost} of {of} resamples do not determine the law."
    return counts[enough], f"{lost} of {of} resamples do not determine the law and are left out." if lost else ""


def predict(
    theta: Float[Tensor, "b 5"], params: Float[Tensor, "*b n"], tokens: Float[Tensor, "*b n"]
) -> Float[Tensor, "b n"]:
    """Losses of many laws; logarithms are summed, so that A may be e^800."""
    a, b, e, alpha, beta = theta[:, :, None].unbind(1)
    terms = torch.broadcast_tensors(a - alpha * params.log(), b - beta * tokens.log(), e)
    return torch.stack(terms).logsumexp(0).exp()


def optimal_logs(theta: Float[Tensor, "b 5"], flops: float) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """ln N and ln D at the least loss under 6ND = flops, where alpha A/N^alpha = beta B/D^beta."""
    a, b, _, alpha, beta = theta.unbind(1)
    check_above_0(flops=flops)
    if bool((alpha[0] <= 0) | (beta[0] <= 0)):
        exponents = f"alpha {float(alpha[0]):.3g} and beta {float(beta[0]):.3g}"
        raise ValueError(f"there is no best model, since an exponent is not above 0: {exponents}")
    product = math.log(flops / FLOPS_PER_PARAMETER_AND_TOKEN)
    log_n = (alpha.log() + a - beta.log() - b + beta * product) / (alpha + beta)
    return log_n, product - log_n


def _from_all_starts(runs: Runs, loss: Float[Tensor, " n"], delta: float) -> tuple[Fits, Float[Tensor, "some 5"]]:
    """A few steps from every start, then the best dozen to the end; the best of these first.

    If that one has no floor, also an early law that has one, for resamples: where E is 0, ln E has no gradient that
    would lead one with a floor back to it.
    """
    starts = _starts(runs, loss)
    weights = torch.ones_like(loss).expand(len(starts), -1)
    first = _sorted(minimise(starts, weights, runs, delta=delta, iterations=10))
    finalists = minimise(first.theta[:12], weights[:12], runs, delta=delta, iterations=400)
    finalists = _sorted(finalists if bool(finalists.converged.any()) else _without_floor(finalists, loss, runs, delta))
    if bool(_has_floor(finalists.theta[:1], loss).all()):
        return finalists, first.theta[:0]
    return finalists, first.theta[_has_floor(first.theta, loss, part=0.03)][:1]


def _has_floor(theta: Float[Tensor, "b 5"], loss: Float[Tensor, " n"], part: float = NO_FLOOR) -> Bool[Tensor, " b"]:
    return theta[:, 2].exp() >= part * loss.min()


def _lowest(fits: Sequence[Fits]) -> Fits:
    """Of several fits of the same problems, the one with the lowest objective for each."""
    best = torch.stack([each.objective for each in fits]).argmin(0)
    rows = torch.arange(len(best), device=best.device)
    return Fits(*(torch.stack([getattr(each, name) for each in fits])[best, rows] for name in FITS))


def _without_floor(fits: Fits, loss: Float[Tensor, " n"], runs: Runs, delta: float) -> Fits:
    """With the best law that has no floor among them: the steps towards E = 0 get shorter without end.

    It is sought from where ln loss has the value and the slopes of the best law at the mean run.
    """
    a, b, e, alpha, beta = runs.centred(_sorted(fits).theta[:1]).unbind(1)
    none = (loss.min() * NO_FLOOR**3).log().expand_as(e)
    part = (a.exp() + b.exp()) / (a.exp() + b.exp() + 1)  # of the loss that is not E
    shift = e - none - part.log()
    start = runs.plain(torch.stack([a + shift, b + shift, none, alpha * part, beta * part], dim=1))
    weights = torch.ones_like(loss)[None]
    more = minimise(start, weights, runs, delta=delta, iterations=400, hold_floor=True)
    return Fits(*(torch.cat([getattr(each, name) for each in (fits, more)]) for name in FITS))


def _sorted(fits: Fits) -> Fits:
    order = fits.objective.nan_to_num(torch.inf).argsort()
    return Fits(fits.theta[order], fits.objective[order], fits.converged[order])


def _starts(runs: Runs, loss: Float[Tensor, " n"]) -> Float[Tensor, "b 5"]:
    grid = [loss.new_tensor(values) for values in (EXPONENTS, EXPONENTS, FLOORS, SHARES)]
    alpha, beta, floor, share = torch.cartesian_prod(*grid).unbind(1)
    e = floor * loss.min()
    rest = loss.median() / e - 1
    return runs.plain(torch.stack([(rest * share).log(), (rest * (1 - share)).log(), e.log(), alpha, beta], dim=1))


def _readable(theta: Float[Tensor, "b 5"]) -> dict[str, Float[Tensor, " b"]]:
    a, b, e, alpha, beta = theta.unbind(1)
    return {"E": e.exp(), "A": a.exp(), "B": b.exp(), "alpha": alpha, "beta": beta, "a": beta / (alpha + beta)}


def _problems(fits: Fits, loss: Float[Tensor, " n"]) -> list[str]:
    best, problems = fits.theta[0], []
    at_best = fits.objective <= fits.objective[0] * (1 + 1e-9)
    if not bool(_has_floor(best[None], loss).all()):
        problems.append("Optimum at the edge: E runs to 0, so these runs show no floor.")
    elif not bool((fits.converged & at_best).any()):
        problems.append("No convergence: the best start had not reached a minimum when the iterations were spent.")
    if bool((best[3:] <= 0).any()):
        problems.append("Optimum at the edge: an exponent is not above 0, so more of N or D does not help.")
    return problems


def _restless(again: Fits) -> list[str]:
    """Most of these run to an E of 0, for ever: without them intervals would be too narrow, and the floor too sure."""
    count, of = int((~again.converged).sum()), len(again.converged)
    return [f"{count} of {of} resamples did not converge; they count as they stand."] if count else []
