"""hw4_scaling, the page: with its solutions it fits the committed sweep, rebuilds the table and bets.

Rules that hold for every graded page are in `test_assignments.py`, and what needs a run of this one in a kernel.
"""

import math
import re

import numpy as np
import pytest
import torch
from nbformat import NotebookNode

from course_grader import release
from course_lib.exercises import BANK
from course_lib.exponents import TABLE_4
from course_lib.parametric import PUBLISHED_LAWS
from course_lib.scaling import load_sweep
from tests.graded import by_id, code_cells, prose, read, said_here, with_bodies

NAME = "hw4_scaling"
SMALL_RUNS, BIG = 15, 1e14


@pytest.fixture(scope="module")
def said() -> str:
    """All that the page prints with its solutions, to a student who has bet."""
    return "".join(said_here(opened(read(release.sources()[NAME]))).values())


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return [float(group.replace(",", "")) for group in found.groups()]


def test_what_the_prose_says_of_the_sweep_is_so() -> None:
    table = load_sweep()
    small = table.rows(table.flops < BIG)
    assert len(small) == SMALL_RUNS and small.flops.unique(return_counts=True)[1].tolist() == [5, 5, 5]
    assert float(small.flops.sum()) == pytest.approx(7e13)
    assert float((table.flops == BIG).sum()) >= 1
    text = " ".join(prose(read(release.sources()[NAME])).split())
    assert "15 runs with three budgets, five sizes each" in text and r"together took $7 \cdot 10^{13}$ FLOP" in text


def test_small_experiments_come_out_as_the_prose_says(said: str) -> None:
    assert numbers(r"made with 3 x\^0\.5, fitted \S+ x\^(\S+)", said)[0] == pytest.approx(0.5, abs=0.02)
    (huber, true), (square, _) = (
        numbers(rf"{name}: lowest at E = (\S+), true (\S+)", said) for name in ("Huber", "square")
    )
    assert abs(huber - true) <= 0.002 < 0.01 < square - true
    for name, law in PUBLISHED_LAWS.items():
        n, d = law.allocation(5.88e23)
        assert numbers(rf"{name} .* D/N = (\S+)", said) == [pytest.approx(d / n, abs=0.06)]
    assert 35 <= numbers(r"(\d+) of 40 intervals hold the true exponent", said)[0] <= 39


def test_the_bill_is_that_of_the_report(said: str) -> None:
    """arXiv:2412.19437 table 1; MFU and energy by hand: 3.707e24 / (2.664e6 x 3600 x 989.5e12), 2.788e6 x 700 W."""
    assert numbers(r"all +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", said) == [
        2788000,
        5576000,
        1952,
        2147,
        2537,
    ]
    assert numbers(r"with causal attention .* (\S+)%", said) == [39.1]
    assert numbers(r"causal, of the FP8 peak .* (\S+)%", said) == [19.5]
    assert numbers(r"6ND only .* (\S+)%", said) == [34.3]
    for yours, published in re.findall(r": yours ([\d,]+) MWh, published ([\d,]+)", said):
        assert float(yours.replace(",", "")) == pytest.approx(float(published.replace(",", "")), rel=0.003)


def test_the_vertices_are_those_of_numpy(said: str) -> None:
    table = load_sweep()
    budgets, vertices = table.flops[table.flops < BIG].unique().tolist(), []
    for flops in budgets:
        mine = table.rows(table.flops == flops)
        u = np.log(mine.params.numpy())
        bend, slope, _ = np.polyfit(u - 12, mine.loss.numpy(), 2)
        vertices.append(math.exp(12 - slope / (2 * bend)))
        (shown,) = numbers(rf"{re.escape(f'{flops:.0e}')} FLOP: your vertex N = +([\d,]+),", said)
        assert shown == pytest.approx(vertices[-1], abs=0.6)
    a, height = np.polyfit(np.log(budgets), np.log(vertices), 1)
    assert f"N grows as C^{a:.2f}, so at 1e+14 FLOP" in said
    (best,) = numbers(r"FLOP the best N is ([\d,]+)", said)
    assert best == pytest.approx(math.exp(height + a * math.log(BIG)), rel=1e-4)
    assert "the course's code says the same: True" in said


def test_the_objective_of_the_student_fits_the_law(said: str) -> None:
    assert "as low, to 1%: True" in said
    n, d = numbers(r"best at 1e\+14 FLOP: N = ([\d,]+), D = ([\d,]+) bytes", said)
    assert 6 * n * d == pytest.approx(BIG, rel=1e-4)


def test_the_published_table_is_rebuilt(said: str) -> None:
    for name, row in TABLE_4.items():
        a, b, yours_a, yours_b, size, text = numbers(rf"{name} +(\S+) +(\S+) +(\S+) +(\S+) +([\d,]+)B +(\S+)T", said)
        assert (a, b) == (yours_a, yours_b) == (row.a.value, row.b.value)
        assert 6 * size * 1e9 * text * 1e12 == pytest.approx(3.25e24, rel=0.02)
    sizes = [float(n.replace(",", "")) for n in re.findall(r"([\d,]+)B +\S+T +\S+\n", said)]
    rows = sorted(zip((row.a.value for row in TABLE_4.values()), sizes, strict=True))
    assert [size for _, size in rows] == sorted(sizes)  # a larger exponent, a larger model


def opened(page: NotebookNode) -> NotebookNode:
    """As a student leaves it who has bet."""
    for cell in code_cells(page):
        cell.source = cell.source.replace("PLAYED = False", "PLAYED = True")
    return page


def test_the_forecast_is_scored_by_the_rule_of_the_check(said: str) -> None:
    table = load_sweep()
    truth = float(table.loss[table.flops == BIG].min())
    assert f"the run at 1e+14 FLOP has a loss of {truth:.3f}" in said
    (bet,) = numbers(r"your forecast +(\S+), off by", said)
    (best,) = numbers(r"the best run so far +(\S+), off by", said)
    assert best == pytest.approx(float(table.loss[table.flops < BIG].min()), abs=6e-4)
    (share,) = numbers(r"it would earn (\d+)% of the points", said)
    off = [abs(float(loss) / truth - 1) for loss in re.findall(r" (0\.\d{3}), off by", said)]
    error, end = off[0], min(off[1:])
    assert off[0] == pytest.approx(abs(bet / truth - 1))
    wanted = 1.0 if error <= 0.01 else max((end - error) / (end - 0.01), 0)
    assert share / 100 == pytest.approx(wanted, abs=0.12)  # from three digits of each loss


def test_a_forecast_without_a_floor_earns_less_and_the_page_goes_on() -> None:
    source = opened(read(release.sources()[NAME]))
    line = "return min(loss for _, _, loss in runs)"
    said = said_here(with_bodies(source, forecast=line))
    assert "This matches the best run so far" in said["check(forecast)"]
    (score,) = (words for cell, words in said.items() if cell.startswith("PLAYED"))
    assert "Do not trust this cell yet" in score and "it would earn 0% of the points" in score


def test_checks_and_points_are_those_of_the_bank(said: str) -> None:
    assert sum(exercise.points for exercise in BANK[NAME].values()) == 20
    assert len(by_id(read(release.sources()[NAME]), "grade")) == len(BANK[NAME]) == 10
    assert len(re.findall(r"✓ .* points", said)) == 10


def test_columns_are_float64_as_the_page_says() -> None:
    for exercise in BANK[NAME].values():
        for case in exercise.cases(0):
            floats = [x for x in case.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
            assert all(x.dtype == torch.float64 for x in floats)
