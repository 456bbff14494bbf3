"""Many robust fits of E + A/N^alpha + B/D^beta as one: all starts of a grid, or all resamples of a bootstrap.

Every problem has the same N and D, and its own start and its own weight on each run (how often a resample drew it). One
iteration does the same few products over a matrix [problems, runs] and solves one 5 x 5 system a problem.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.fit_data import one_thread

PROBLEMS_AT_ONCE = {"cpu": 256, "cuda": 8192}  # on a CPU what fits its cache; more only waits for memory
ENOUGH = 1e-13  # relative decrease still to be had, below which a last step is taken
GIVE_UP = 1e12  # damping with which no step can matter


@dataclass(frozen=True)
class Fits:
    """One row a problem. theta = (ln A, ln B, ln E, alpha, beta)."""

    theta: Float[Tensor, "b 5"]
    objective: Float[Tensor, " b"]
    converged: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Runs:
    """What all problems share. Logarithms are centred: then ln A and alpha, ln B and beta are nearly independent."""

    log_loss: Float[Tensor, " n"]
    x: Float[Tensor, " n"]  # ln N less its mean
    y: Float[Tensor, " n"]  # ln D less its mean
    mean_x: Float[Tensor, ""]
    mean_y: Float[Tensor, ""]
    monomials: tuple[Float[Tensor, "n _"], ...]  # that go with 1, p, q, pp, pq, qq

    @classmethod
    def of(cls, params: Float[Tensor, " n"], tokens: Float[Tensor, " n"], loss: Float[Tensor, " n"]) -> "Runs":
        log_n, log_d = params.log(), tokens.log()
        x, y = log_n - log_n.mean(), log_d - log_d.mean()
        one = torch.ones_like(x)
        kinds = ([one], [one, x], [one, y], [one, x, x * x], [one, x, y, x * y], [one, y, y * y])
        monomials = tuple(torch.stack(kind).mT for kind in kinds)  # rows in memory: the products are three times faster
        return cls(loss.log(), x, y, log_n.mean(), log_d.mean(), monomials)

    def centred(self, theta: Float[Tensor, "b 5"]) -> Float[Tensor, "b 5"]:
        """(ln A/E, ln B/E at the mean run, ln E, alpha, beta): a linear change, so it changes no Newton step."""
        a, b, e, alpha, beta = theta.unbind(1)
        return torch.stack([a - e - alpha * self.mean_x, b - e - beta * self.mean_y, e, alpha, beta], dim=1)

    def plain(self, centred: Float[Tensor, "b 5"]) -> Float[Tensor, "b 5"]:
        a, b, e, alpha, beta = centred.unbind(1)
        return torch.stack([a + e + alpha * self.mean_x, b + e + beta * self.mean_y, e, alpha, beta], dim=1)


@dataclass
class State:
    """Where each unfinished problem stands: objective, gradient, Hessian and the matrix that damps its steps."""

    theta: Float[Tensor, "b 5"]
    objective: Float[Tensor, " b"]
    gradient: Float[Tensor, "b 5"]
    hessian: Float[Tensor, "b 5 5"]
    metric: Float[Tensor, "b 5 5"]

    def keep(self, rows: Tensor) -> "State":
        return State(*(getattr(self, field.name)[rows] for field in fields(self)))

    def take(self, better: Bool[Tensor, " b"], other: "State") -> None:
        for field in fields(self):
            mine = getattr(self, field.name)
            where = better.view(-1, *[1] * (mine.ndim - 1))
            setattr(self, field.name, torch.where(where, getattr(other, field.name), mine))


def minimise(
    starts: Float[Tensor, "b 5"],
    weights: Float[Tensor, "b n"],
    runs: Runs,
    *,
    delta: float,
    iterations: int = 200,
    hold_floor: bool = False,
) -> Fits:
    """The minimum of sum over runs of weight * Huber(ln loss - ln predicted) near each start.

    With `hold_floor`, ln E stays as it is in the start, and the other four are fitted.
    """
    size = PROBLEMS_AT_ONCE.get(starts.device.type, len(starts))
    # A large block, freed at once: from then on glibc keeps freed memory of up to twice its size for the next
    # intermediate result. Handed back to the system each time, it took two thirds of a fit.
    torch.empty(2**24, dtype=torch.uint8, device="cpu")
    parts = zip(runs.centred(starts).split(size), weights.split(size), strict=True)
    with one_thread():
        done = [_minimise(theta, part, runs, delta, iterations, hold_floor) for theta, part in parts]
    theta, objective, converged = (torch.cat(columns) for columns in zip(*done, strict=True))
    return Fits(runs.plain(theta), objective, converged)


def _minimise(
    start: Float[Tensor, "b 5"], weights: Float[Tensor, "b n"], runs: Runs, delta: float, iterations: int, held: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's method, damped as Levenberg and Marquardt did, until each problem is done; the done leave the batch.

    The step solves (Hessian + damping * metric) step = -gradient. Most residuals lie outside delta, where Huber's loss
    has no curvature; the metric is that of reweighted least squares, which has, so that with damping the step is
    downhill whatever the scale of the parameters. A step that does not help is not taken, and the damping grows.
    """
    theta, objective = start.clone(), torch.full_like(start[:, 0], torch.inf)
    converged = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    look = _look_with_floor_held if held else _look
    state, row = look(start, weights, runs, delta), torch.arange(len(start), device=start.device)
    damping = torch.full_like(state.objective, 0.1)
    floor = 1e-16 * delta**2 * weights.sum(1)  # rounding: the objective of a perfect fit is not quite 0
    for _ in range(iterations):
        matrix = state.hessian + damping[:, None, None] * state.metric
        factor, failed = torch.linalg.cholesky_ex(matrix)
        step = -torch.cholesky_solve(state.gradient[:, :, None], factor)[:, :, 0]
        step = torch.where((failed == 0)[:, None], step, 0.0)
        promised = -0.5 * (step * state.gradient).sum(1)  # decrease
        trial = look(state.theta + step, weights, runs, delta)
        little = (promised < floor) | (promised < ENOUGH * state.objective) & (damping < 0.01)
        nearly = (failed == 0) & little
        slack = nearly * (1e-12 * state.objective + floor)  # rounding decides no last step
        better = (failed == 0) & (trial.objective < state.objective + slack)
        state.take(better, trial)
        damping = torch.where(better, damping / 8, damping * 4).clamp_min(1e-10)
        over = nearly | (damping > GIVE_UP)
        theta[row], objective[row], converged[row] = state.theta, state.objective, nearly
        if bool(over.any()):
            go_on = (~over).nonzero()[:, 0]
            if not len(go_on):
                break
            state, row, weights = state.keep(go_on), row[go_on], weights[go_on]
            damping, floor = damping[go_on], floor[go_on]
    return theta, objective, converged


def _look(theta: Float[Tensor, "b 5"], weights: Float[Tensor, "b n"], runs: Runs, delta: float) -> State:
    """Objective and derivatives, analytic. `theta` is centred.

    With p, q the shares of A/N^alpha and B/D^beta in the loss, ln predicted has gradient (p, q, 1, -p x, -q y). Each
    entry of a 5 x 5 matrix is then a sum over runs of a weight, at most two shares and a monomial in x and y.
    """
    a, b, e, alpha, beta = theta[:, :, None].unbind(1)
    first, second = a - alpha * runs.x, b - beta * runs.y
    top = torch.maximum(first, second).clamp_min(0)
    p, q, rest = (first - top).exp(), (second - top).exp(), (-top).exp()
    total = p + q + rest
    p, q = p / total, q / total
    residual = runs.log_loss - (e + top + total.log())
    size = residual.abs()
    slope = residual.clamp(-delta, delta)
    objective = (weights * (slope.abs() * (size - 0.5 * slope.abs()))).sum(1)
    pull, inside, flat = weights * slope, weights * (size <= delta), weights * (delta / size.clamp_min(delta))
    pull_p, pull_q, inside_p, inside_q, flat_p, flat_q = pull * p, pull * q, inside * p, inside * q, flat * p, flat * q
    bent_p, bent_q = inside_p + pull_p, inside_q + pull_q  # ln predicted is curved itself, by what its terms share
    hessian = (inside, inside_p, inside_q, bent_p * p - pull_p, bent_p * q, bent_q * q - pull_q)
    metric = (flat, flat_p, flat_q, flat_p * p, flat_p * q, flat_q * q)
    gradient = -_sums((pull, pull_p, pull_q), runs)[:, [1, 3, 0, 2, 4]] * SIGNS.to(theta)
    return State(theta, objective, gradient, _symmetric(hessian, runs), _symmetric(metric, runs))


def _look_with_floor_held(
    theta: Float[Tensor, "b 5"], weights: Float[Tensor, "b n"], runs: Runs, delta: float
) -> State:
    """The same, with derivatives in ln E that let no step change it."""
    state = _look(theta, weights, runs, delta)
    state.gradient[:, 2] = 0
    for matrix in (state.hessian, state.metric):
        matrix[:, 2], matrix[:, :, 2] = 0, 0
        matrix[:, 2, 2] = 1
    return state


def _sums(columns: tuple[Float[Tensor, "b n"], ...], runs: Runs) -> Float[Tensor, "b sums"]:
    return torch.cat([column @ runs.monomials[i] for i, column in enumerate(columns)], dim=1)


# Places of the entries of a symmetric matrix over (a, b, e, alpha, beta) among the fifteen sums, and signs of its rows
ENTRIES = [[5, 8, 1, 6, 10], [8, 12, 3, 9, 13], [1, 3, 0, 2, 4], [6, 9, 2, 7, 11], [10, 13, 4, 11, 14]]
SIGNS = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0], device="cpu")


def _symmetric(columns: tuple[Float[Tensor, "b n"], ...], runs: Runs) -> Float[Tensor, "b 5 5"]:
    signs = SIGNS.to(columns[0])
    return _sums(columns, runs)[:, ENTRIES] * (signs[:, None] * signs)
