"""Published exponents: complete, consistent with each other and with their data, and anchored by hand arithmetic."""

import math

import pytest

from course_lib.exponents import CHINCHILLA_APPROACHES, PORIAN_EXPONENTS, PORIAN_STAGES, TABLE_4
from course_lib.scaling import deepseek_allocation, fit_power_law, load_published


def test_table_4() -> None:
    """Row by row as printed in arXiv:2401.02954; the two of a row share all of the compute."""
    printed = [("0.730", "0.270"), ("0.490", "0.510"), ("0.450", "0.550"), ("0.524", "0.476"), ("0.578", "0.422")]
    assert [(f"{row.a.value:.3f}", f"{row.b.value:.3f}") for row in TABLE_4.values()] == printed
    assert all(row.a.value + row.b.value == pytest.approx(1) for row in TABLE_4.values())
    assert {row.a.source for row in TABLE_4.values()} == {"DeepSeek LLM, arXiv:2401.02954 table 4"}
    assert [name for name, row in TABLE_4.items() if row.data == "OpenWebText2"] == ["OpenAI", "DeepSeek, OpenWebText2"]


def test_the_current_row_is_the_published_law() -> None:
    """Between two budgets a thousand times apart, eq 4 must have the slope of its row in table 4."""
    small, large = deepseek_allocation(1e17), deepseek_allocation(1e20)
    slope = math.log(large.M.value / small.M.value) / math.log(1000)
    assert TABLE_4["DeepSeek, current data"].a.value == pytest.approx(slope, abs=5e-4)


def test_anchored_by_hand() -> None:
    """A budget 10,000 times the anchor's: the size grows by 10^(4a), and 6ND is the budget."""
    for name, growth in (("OpenAI", 10**2.92), ("Chinchilla", 10**1.96)):
        params, tokens = TABLE_4[name].allocate(3e24, anchor=(3e20, 2e9))
        assert params == pytest.approx(2e9 * growth) and 6 * params * tokens == pytest.approx(3e24)
    assert TABLE_4["OpenAI"].allocate(3e20, anchor=(3e20, 2e9)) == pytest.approx((2e9, 25e9))
    with pytest.raises(ValueError, match="flops must be a finite number above 0, got 0"):
        TABLE_4["OpenAI"].allocate(0, anchor=(1.0, 2.0))


def test_the_approaches_of_chinchilla() -> None:
    by_hand = [(0.50, 0.488, 0.502), (0.49, 0.462, 0.534), (0.46, 0.454, 0.455)]
    assert [(each.value, each.low, each.high) for each in CHINCHILLA_APPROACHES.values()] == by_hand
    assert not CHINCHILLA_APPROACHES["parametric law"].covers(0.46)  # as printed


def test_porian_exponents_follow_from_their_optima() -> None:
    try:
        optima = load_published("porian-optima")
    except OSError:
        pytest.skip("COURSE_DATA does not name a folder with Porian's tables")
    for data, stages in PORIAN_EXPONENTS.items():
        assert tuple(stages) == PORIAN_STAGES
        for number, published in enumerate(stages.values()):
            rows = optima.where(dataset=data.lower(), stage=number)
            rows = rows.rows(rows.params.isfinite())
            assert fit_power_law(rows.flops, rows.params).exponent.value == pytest.approx(published.value, abs=1e-3)
            assert published.source.endswith(data)
