"""Bootstrap fits of E + A/N^alpha + B/D^beta: ours as one batch against SciPy one by one, same resamples, in turns.

    python benchmarks/fits.py [--threads 2] [--rounds 5] [--resamples 4000] [--one-by-one 20] [--device cpu]

240 runs of a known law with heavy-tailed noise, Huber loss with delta 1e-3; everybody starts each resample from the
optimum of all runs. SciPy does BFGS with its own differences, as published notebooks do, and with an analytic gradient.
It fits only the first few resamples of each round. Prints median milliseconds a fit, ratios, and by how much SciPy's
objectives, between 0.0005 and 0.002 here, lie above ours.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import scipy.optimize
import torch
from _timing import timed
from torch import Tensor

from course_lib.batched_fit import Fits, Runs, minimise
from course_lib.fit_data import resample_counts
from course_lib.scaling import PUBLISHED_LAWS, fit_parametric

DELTA = 1e-3


def runs(n: int = 240) -> list[Tensor]:
    generator = np.random.default_rng(0)
    params = np.exp(generator.uniform(np.log(5e7), np.log(1e10), n))
    tokens = np.exp(generator.uniform(np.log(1e9), np.log(4e11), n))
    noise = torch.from_numpy(np.exp(0.004 * generator.standard_t(3, n)))
    return [*map(torch.from_numpy, (params, tokens)), PUBLISHED_LAWS["besiroglu"].loss(params, tokens) * noise]


class OneByOne:
    """The same objective for SciPy, as plain NumPy."""

    def __init__(self, params: Tensor, tokens: Tensor, loss: Tensor):
        self.log_n, self.log_d, self.log_loss = (column.log().numpy() for column in (params, tokens, loss))

    def objective(self, theta: np.ndarray, weights: np.ndarray) -> float:
        size = np.abs(self._residual(theta)[0])
        return float(weights @ np.where(size <= DELTA, size**2 / 2, DELTA * (size - DELTA / 2)))

    def with_gradient(self, theta: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        residual, first, second, floor = self._residual(theta)
        pull = -weights * np.clip(residual, -DELTA, DELTA) / (first + second + floor)
        columns = (first, second, np.full_like(first, floor), -first * self.log_n, -second * self.log_d)
        return self.objective(theta, weights), np.array([pull @ column for column in columns])

    def _residual(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        a, b, e, alpha, beta = theta
        first, second, floor = np.exp(a - alpha * self.log_n), np.exp(b - beta * self.log_d), np.exp(e)
        return self.log_loss - np.log(first + second + floor), first, second, floor

    def fit(self, fun: Callable, jac: bool, start: np.ndarray, counts: np.ndarray) -> list[float]:
        return [scipy.optimize.minimize(fun, start, args=(row,), jac=jac, method="BFGS").fun for row in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--one-by-one", type=int, default=20, help="fits of SciPy a round")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = runs()
    start = fit_parametric(*data, resamples=0).law.theta
    shared, first = Runs.of(*(column.to(args.device) for column in data)), start.to(args.device)
    scipys = OneByOne(*data)
    ways = {"BFGS, differences": (scipys.objective, False), "BFGS, gradient": (scipys.with_gradient, True)}

    def ours(counts: Tensor) -> Fits:
        return minimise(first.expand(len(counts), 5), counts, shared, delta=DELTA)

    ours(resample_counts(100, 240, seed=0, device=first.device))
    times: dict[str, list[float]] = {name: [] for name in ("ours", *ways)}
    above: dict[str, list[float]] = {name: [] for name in ways}
    converged = 0
    for seed in range(args.rounds):
        counts = resample_counts(args.resamples, 240, seed=seed, device=first.device)
        seconds, fits = timed(lambda counts=counts: ours(counts), args.device)
        times["ours"].append(seconds / args.resamples)
        converged += int(fits.converged.sum())
        few = counts[: args.one_by_one].cpu().numpy()
        for name, (fun, jac) in ways.items():
            seconds, found = timed(lambda f=fun, jac=jac, few=few: scipys.fit(f, jac, start.numpy(), few), "cpu")
            times[name].append(seconds / len(few))
            above[name] += (np.array(found) - fits.objective[: len(few)].cpu().numpy()).tolist()
    median = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    print(f"{args.resamples} resamples in {median['ours'] * args.resamples / 1e3:.2f} s,", end=" ")
    print(f"{converged} of {args.resamples * args.rounds} converged\n")
    print(
        "| | a fit [ms] | ratio | SciPy's objective above ours: least | median | most |\n|---|---:|---:|---:|---:|---:|"
    )
    print(f"| ours | {median['ours']:.3f} | 1 | | | |")
    for name, gaps in above.items():
        three = f"{min(gaps):.0e} | {statistics.median(gaps):.0e} | {max(gaps):.0e}"
        print(f"| SciPy, {name} | {median[name]:.1f} | {median[name] / median['ours']:.0f} | {three} |")


if __name__ == "__main__":
    main()
