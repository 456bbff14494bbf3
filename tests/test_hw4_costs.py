"""The exercises of hw4_scaling on a budget and its bill: solutions and mistakes written otherwise, what cases show."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from course_lib.exercises.comparing import Roughly, same
from course_lib.exercises.engine import Exercise, Misconception
from course_lib.exercises.hw4_allocation import ALLOCATION, roughly
from course_lib.exercises.hw4_costs import ENERGY, MFU, TRAINING_COST
from course_lib.parametric import PUBLISHED_LAWS, ParametricLaw

EXERCISES = {exercise.name: exercise for exercise in (ALLOCATION, TRAINING_COST, MFU, ENERGY)}
SEEDS = range(12)


def test_points() -> None:
    points = {name: exercise.points for name, exercise in EXERCISES.items()}
    assert points == {"optimal_allocation": 2, "training_cost": 1, "mfu": 2, "energy_mwh": 1}


# Right solutions, written another way --------------------------------------------------------------------------------


def law_at(log_n: Any, flops: float, a: float, b: float, alpha: float, beta: float) -> Any:
    """The law without its floor, at N = e^log_n."""
    n = np.exp(log_n)
    return a / n**alpha + b / (flops / 6 / n) ** beta


def by_search(flops: float, *law: float) -> tuple[float, float]:
    """Bounded, as scipy comes, and with a floor that makes the bottom flat."""
    found: Any = minimize_scalar(
        lambda log10_n: 1.8 + law_at(log10_n * math.log(10), flops, *law), bounds=(2, 14), method="bounded"
    )
    return 10**found.x, flops / 6 / 10**found.x


def by_search_in_logs(flops: float, *law: float) -> list[np.floating]:
    found: Any = minimize_scalar(law_at, bounds=(0, math.log(flops / 6)), method="bounded", args=(flops, *law))
    return [np.exp(found.x), flops / 6 / np.exp(found.x)]


def by_search_in_parameters(flops: float, *law: float) -> tuple[int, int]:
    """In N itself, and whole numbers."""
    found: Any = minimize_scalar(lambda n: law_at(np.log(n), flops, *law), bounds=(1, flops / 6), method="bounded")
    return round(found.x), int(flops / 6 / found.x)


def by_grid(flops: float, *law: float) -> np.ndarray:
    grid = np.linspace(1, math.log(flops / 6), 40_001)
    log_n = grid[law_at(grid, flops, *law).argmin()]
    return np.exp([log_n, math.log(flops / 6) - log_n])


def by_bracketing(flops: float, *law: float) -> np.ndarray:
    """scipy's default for one variable, from where the budget is halved."""
    log_n = minimize(lambda x: law_at(x[0], flops, *law), [math.log(flops / 6) / 2], tol=1e-9).x
    return np.exp(np.array([log_n[0], math.log(flops / 6) - log_n[0]]))


def by_bisection(flops: float, a: float, b: float, alpha: float, beta: float) -> tuple[float, float]:
    """Where one more percent of N gains what one more percent of D does."""
    low, high = 1.0, flops / 6
    for _ in range(100):
        n = math.sqrt(low * high)
        if alpha * a / n**alpha > beta * b / (flops / 6 / n) ** beta:
            low = n
        else:
            high = n
    return low, flops / (6 * low)


def by_tensors(flops: float, a: float, b: float, alpha: float, beta: float) -> torch.Tensor:
    """In float32, and logs."""
    law = torch.tensor([a, b, alpha, beta])
    log_g = (law[2] * law[0] / (law[3] * law[1])).log() / law[2:].sum()
    shares = law[2:].flip(0) / law[2:].sum()
    return (shares * math.log(flops / 6) + torch.stack([log_g, -log_g])).exp()


def by_the_package(flops: float, a: float, b: float, alpha: float, beta: float) -> tuple[float, float]:
    return ParametricLaw(E=1.7, A=a, B=b, alpha=alpha, beta=beta, source="").allocation(flops)


def energy_by_joules(gpu_hours: float, watts: float, pue: float = 1.0) -> torch.Tensor:
    return torch.tensor(gpu_hours, dtype=torch.float64) * 3600 * watts * pue / 3.6e9


def added_up(hours: float, price: float) -> float:
    """Hour by hour, as far as that is quick."""
    whole = int(hours) if hours < 10_000 else 0
    return sum(price for _ in range(whole)) + (hours - whole) * price


OTHERWISE = [
    *(
        ("optimal_allocation", fn)
        for fn in (
            by_search,
            by_search_in_logs,
            by_search_in_parameters,
            by_grid,
            by_bracketing,
            by_bisection,
            by_tensors,
            by_the_package,
            lambda *given: tuple(torch.tensor(x) for x in by_bisection(*given)),
        )
    ),
    ("training_cost", added_up),
    ("training_cost", lambda hours, price: hours * price),  # an int where both are
    ("training_cost", lambda hours, price: torch.tensor(hours) * torch.tensor(price)),
    ("training_cost", lambda hours, price: np.float32(hours) * np.float32(price)),
    ("mfu", lambda flops, hours, peak: flops / hours / 60 / 60 / peak),
    ("mfu", lambda flops, hours, peak: torch.tensor(flops) / (torch.tensor(hours) * 3600 * torch.tensor(peak))),
    ("mfu", lambda flops, hours, peak: np.float64(flops) / np.prod([float(hours), 3600, peak])),
    ("mfu", lambda flops, hours, peak: math.exp(math.log(flops) - math.log(hours) - math.log(3600 * peak))),
    ("energy_mwh", energy_by_joules),
    ("energy_mwh", lambda hours, watts, pue=1: hours * (watts / 1000) * pue / 1000),
    ("energy_mwh", lambda hours, watts, pue=None: hours * watts * (1 if pue is None else pue) * 1e-6),
    ("energy_mwh", lambda hours, watts, pue=1.0: np.float64(hours) * watts * (1 + (pue - 1)) / 10**6),
]


@pytest.mark.parametrize(("name", "solution"), OTHERWISE)
def test_a_right_solution_written_another_way_earns_everything(name: str, solution: Callable[..., Any]) -> None:
    for seed in SEEDS:
        outcome = EXERCISES[name].grade(solution, seed)
        assert outcome.solved, outcome


def test_an_allocation_may_be_a_part_in_a_thousand_off_and_no_more() -> None:
    def off(by: float) -> Callable[..., list[float]]:
        return lambda *given: [x * (1 + by) for x in by_bisection(*given)]

    assert all(ALLOCATION.grade(off(by)).solved for by in (0, 9e-4, -9e-4))
    assert not any(ALLOCATION.grade(off(by)).points for by in (1.1e-3, -1.1e-3))
    assert same(1.0009, Roughly(1)) and not same(1.0009, 1.0) and not same(Roughly(1.0009), 1.0)
    assert not same(True, Roughly(1)) and not same(None, Roughly(1)) and not same(math.nan, Roughly(1))
    assert roughly((torch.ones(3),)) and roughly(None) is None and roughly([3, None]) == (3, None)


# Wrong solutions, written another way --------------------------------------------------------------------------------

NAMED = [
    ("optimal_allocation", lambda c, a, b, x, y: by_search(c, b, a, x, y), "A and B exchanged"),
    ("optimal_allocation", lambda c, a, b, x, y: by_search(c, a, b, y, x), "alpha and beta exchanged throughout"),
    ("optimal_allocation", lambda *given: by_search(*given)[0], "expected 2 values (N, D), got a float"),
    ("optimal_allocation", lambda *given: [3 * x for x in by_bisection(*given)], "Case 1 of 4: N: expected 7.30"),
    ("optimal_allocation", lambda c, a, b, x, y: by_search(c, b, a, y, x), "in the other order"),
    ("optimal_allocation", lambda c, *law: by_search_in_logs(6 * c, *law), "the 6 forgotten"),
    ("optimal_allocation", lambda c, *law: by_search(36 * c, *law), "6 flops in place of flops/6"),
    ("optimal_allocation", lambda c, *law: by_search(3 * c, *law), "2 N D = flops"),
    ("optimal_allocation", lambda c, a, b, x, y: by_bisection(c, a / x, b / y, x, y), "alpha and beta left out of G"),
    ("optimal_allocation", lambda c, *law: np.log(by_bracketing(c, *law)), "logs of N and D"),
    ("optimal_allocation", lambda c, *law: [x / 1e9 for x in by_search(c, *law)], "in billions"),
    ("optimal_allocation", lambda c, *law: (math.sqrt(c / 120), 20 * math.sqrt(c / 120)), "D = 20 N"),
    ("optimal_allocation", lambda c, *law: [(c / 6) ** 0.5] * 2, "N = D"),
    (
        "optimal_allocation",
        lambda c, a, b, x, y: ((c / 6) ** (y / (x + y)), (c / 6) ** (x / (x + y))),
        "/(alpha+beta)) left out",
    ),
    ("training_cost", lambda hours, price: hours * 60 * 60 * price, "a price per second"),
    ("training_cost", lambda hours, price: hours / 24 * price, "a price per day"),
    ("training_cost", lambda hours, price: int(hours * price), "whole dollars"),
    ("training_cost", lambda hours, price: f"${hours * price}", "expected a number, got a str"),
    ("mfu", lambda flops, hours, peak: flops / hours / peak, "hours taken for seconds, or a peak taken for FLOP per"),
    ("mfu", lambda flops, hours, peak: torch.tensor(100 * flops / 3600 / hours / peak), "a percentage"),
    ("mfu", lambda flops, hours, peak: flops / (hours / 24) / 86400 / (3600 * peak), "3600 twice"),
    ("mfu", lambda flops, hours, peak: hours * 3600 * peak / flops, "MFU inverted"),
    ("mfu", lambda flops, hours, peak: flops / 24 / 3600 / peak, "one GPU in one day"),
    ("energy_mwh", lambda hours, watts, pue=1.0: hours * watts / 1e6 / pue, "dividing by the PUE"),
    ("energy_mwh", lambda hours, watts, pue=1.0: hours * watts * 1e-6, "PUE left out"),
    ("energy_mwh", lambda hours, watts, pue=1.0: hours * watts / 1e3 * pue, "kilowatt-hours"),
    ("energy_mwh", lambda hours, watts, pue=1.0: hours * 3600 * watts * pue, "joules, which are watt-seconds"),
    ("energy_mwh", lambda hours, watts, pue: hours * watts * pue / 1e6, "missing 1 required positional argument"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), NAMED)
def test_a_mistake_written_another_way_is_named(name: str, wrong: Callable[..., Any], message: str) -> None:
    for seed in SEEDS:
        outcome = EXERCISES[name].grade(wrong, seed)
        assert outcome.points == 0 and message in outcome.message, outcome


MISTAKES = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.misconceptions]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.name)
def test_mistakes_are_told_apart(exercise: Exercise) -> None:
    for seed in range(100, 104):
        assert exercise.grade(exercise.reference, seed).solved
        for mistake in exercise.misconceptions:
            outcome = exercise.grade(mistake.wrong, seed)
            assert (outcome.points, outcome.message) == (0, mistake.message), seed


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_messages_are_short_and_tell_the_mistake(exercise: Exercise, mistake: Misconception) -> None:
    assert mistake.message.startswith("This matches ") and mistake.message.endswith(".")
    assert len(re.findall(r"\.(?= |$)", mistake.message)) <= 2 and "—" not in mistake.message


# What the cases must show --------------------------------------------------------------------------------------------


def test_what_was_published_comes_first() -> None:
    first = {name: exercise.cases(seed)[0] for seed in SEEDS for name, exercise in EXERCISES.items()}
    answers = {name: EXERCISES[name].reference(*case.values()) for name, case in first.items()}
    n, d = answers.pop("optimal_allocation")
    assert d / n == pytest.approx(18.4, abs=0.05)  # tokens a parameter, arXiv:2404.10102
    assert (n, d) == pytest.approx(PUBLISHED_LAWS["besiroglu"].allocation(5.88e23))
    assert first["mfu"] == {"flops": 3.707e24, "gpu_hours": 2_664_000, "peak_flops": 989.5e12}
    assert answers == pytest.approx({"training_cost": 5.576e6, "mfu": 0.3906, "energy_mwh": 1951.6}, abs=5e-5)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.name)
def test_all_cases_but_the_first_come_from_the_seed(exercise: Exercise) -> None:
    one, other = exercise.cases(3), exercise.cases(4)
    assert one == exercise.cases(3) and one[0] == other[0]
    assert all(a[key] != b[key] for a, b in zip(one[1:], other[1:], strict=True) for key in a if a[key] != 2)
    remembered = exercise.reference(*one[0].values())
    assert exercise.grade(lambda *given: remembered).points == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_cases_are_of_every_kind(seed: int) -> None:
    cases = ALLOCATION.cases(seed)
    for big, small in (("A", "B"), ("B", "A"), ("alpha", "beta"), ("beta", "alpha")):
        assert any(case[big] > 1.05 * case[small] for case in cases)
    assert min(case["flops"] for case in cases) < 1e16 and max(case["flops"] for case in cases) > 1e22
    for name, number in (("training_cost", "gpu_hours"), ("mfu", "gpu_hours"), ("energy_mwh", "gpu_hours")):
        values = [case[number] for case in EXERCISES[name].cases(seed)]
        assert min(values) < 10 and max(values) > 1e6 and {type(x) for x in values} == {int, float}
    assert all(0.1 < MFU.reference(*case.values()) < 0.65 for case in MFU.cases(seed))
    assert [case.get("pue", 1) > 1 for case in ENERGY.cases(seed)] == [False, True, True, True]
