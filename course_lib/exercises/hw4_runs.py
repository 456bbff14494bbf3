"""hw4_scaling, small runs to forecast from: laws of which every constant is drawn, and what takes no insight."""

import math
from dataclasses import dataclass

import numpy as np

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case

Run = tuple[float, float, float]  # parameters, tokens, loss
NOISE = 1e-3  # of ln loss: two seeds of the same training differ by about as much
BUDGETS, SIZES = 5, 7
# log10 of tokens per parameter, where they are best: laws that ask for size, for both, and for text, so that no rule of
# thumb is near in all.
SHARES = ((0, 0.4), (0.8, 1.8), (2.7, 3.2))


@dataclass(frozen=True)
class Law:
    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, n: float, d: float) -> float:
        return self.E + self.A / n**self.alpha + self.B / d**self.beta

    def best(self, flops: float) -> tuple[float, float, float]:
        """N, D and loss, where alpha A/N^alpha = beta B/D^beta."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        n = (ratio * (flops / 6) ** self.beta) ** (1 / (self.alpha + self.beta))
        return n, flops / 6 / n, self.loss(n, flops / 6 / n)


def forecast_cases(seed: int) -> list[Case]:
    return [case for case, _ in _drawn(seed)]


def true_losses(seed: int) -> list[float]:
    return [truth for _, truth in _drawn(seed)]


def _drawn(seed: int) -> list[tuple[Case, float]]:
    random = Draw(seed)
    draw = random.number
    drawn = []
    for share in SHARES:
        first, step = 10 ** draw(16.5, 18.5), 10 ** draw(0.4, 0.6)
        budgets = [float(f"{first * step**i:.2g}") for i in range(BUDGETS)]  # two digits: easy to read and to group
        alpha = draw(0.28, 0.36)
        beta = alpha + draw(0.04, 0.08) * (1 if draw(-1, 1) > 0 else -1)
        law = _law(budgets[2], draw(1.5, 2.2), draw(0.5, 0.9), alpha, beta, tokens_per_param=10 ** draw(*share))
        runs = []
        for flops in budgets:
            off_centre = draw(-0.5, 0.5)
            for i in range(SIZES):
                # floats, since 6ND of whole numbers is more than int64 holds
                n = float(round(law.best(flops)[0] * math.exp(off_centre + 3 * i / (SIZES - 1) - 1.5)))
                d = float(round(flops / 6 / n))
                runs.append((n, d, law.loss(n, d) * math.exp(NOISE * random.normal().item())))
        target = budgets[-1] * 10 ** draw(1.2, 2)
        drawn.append(({"runs": runs, "flops": target}, law.best(target)[2]))
    return drawn


def _law(flops: float, e: float, above: float, alpha: float, beta: float, tokens_per_param: float) -> Law:
    """The law by which `flops` are best spent at so many tokens per parameter, for a loss of E (1 + above)."""
    n = math.sqrt(flops / 6 / tokens_per_param)
    n_share = beta / (alpha + beta)  # of what is above E: at the best N, alpha A/N^alpha = beta B/D^beta
    a, b = e * above * n_share * n**alpha, e * above * (1 - n_share) * (flops / 6 / n) ** beta
    return Law(e, a, b, alpha, beta)


def best_of_budgets(runs: list[Run]) -> tuple[np.ndarray, np.ndarray]:
    """ln C and the lowest loss of each budget."""
    lowest: dict[str, float] = {}
    for n, d, loss in runs:
        budget = f"{6 * n * d:.2g}"
        lowest[budget] = min(loss, lowest.get(budget, math.inf))
    return np.log([float(budget) for budget in lowest]), np.array(list(lowest.values()))


def best_run(runs: list[Run], flops: float) -> float:
    return min(loss for _, _, loss in runs)


def straight(runs: list[Run], flops: float) -> float:
    """The line of the loss in ln C."""
    return float(np.polyval(np.polyfit(*best_of_budgets(runs), 1), math.log(flops)))


def straight_in_logs(runs: list[Run], flops: float) -> float:
    """The line of ln loss in ln C: a power law without a floor."""
    ln_c, loss = best_of_budgets(runs)
    return math.exp(np.polyval(np.polyfit(ln_c, np.log(loss), 1), math.log(flops)))


def guesses(case: Case) -> dict[str, float]:
    line = "a straight line through the best loss of each budget"
    return {
        "the best run so far": best_run(**case),
        f"{line}, loss over ln C": straight(**case),
        f"{line}, ln loss over ln C": straight_in_logs(**case),
    }
