"""Nodes, bytes and seconds against counting by hand."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from matplotlib.patches import Rectangle

from course_lib.all_to_all import NVLINK, DecodeLimit, expected_nodes, nodes_visited
from course_lib.figures.engineering import nodes_figure
from course_lib.routing import choose_experts


@pytest.mark.parametrize(("experts", "nodes", "chosen"), [(12, 4, 3), (10, 5, 4), (9, 3, 1), (8, 2, 8), (6, 1, 2)])
def test_expected_nodes_against_counting_every_choice(experts: int, nodes: int, chosen: int) -> None:
    every = [
        len({expert // (experts // nodes) for expert in choice}) for choice in combinations(range(experts), chosen)
    ]
    assert expected_nodes(experts, nodes, chosen) == Fraction(sum(every), len(every))


def test_nodes_visited_against_sets() -> None:
    indices = torch.randint(0, 30, (200, 4), generator=torch.Generator().manual_seed(0))
    wanted = [len({expert // 6 for expert in row}) for row in indices.tolist()]
    assert nodes_visited(indices, 30, 5).tolist() == wanted and len(set(wanted)) == 3
    assert nodes_visited(torch.tensor([[0, 31], [31, 32], [255, 0]]), 256, 8).tolist() == [1, 2, 2]


def test_routing_of_v3_stays_within_its_limit_and_random_choice_meets_the_formula() -> None:
    scores = torch.rand(20_000, 256, generator=torch.Generator().manual_seed(1))
    free = nodes_visited(choose_experts(scores, 8), 256, 8).double()
    limited = nodes_visited(choose_experts(scores, 8, n_group=8, topk_group=4), 256, 8).double()
    error = free.std().item() / len(free) ** 0.5
    assert abs(free.mean().item() - float(expected_nodes(256, 8, 8))) < 4 * error
    assert limited.max() == 4 < free.max() and limited.min() >= 1


def test_the_limit_of_the_paper_step_by_step() -> None:
    """arXiv:2505.09343 s2.3.2, where a hidden size of "7K" is 7,000."""
    limit = DecodeLimit(hidden=7000, layers=61, copies=9)
    assert limit.all_to_all == pytest.approx(120.96e-6, rel=1e-12)
    assert limit.layer == pytest.approx(241.92e-6, rel=1e-12)
    assert limit.token == pytest.approx(14.76e-3, abs=5e-6) and int(1 / limit.token) == 67
    fast = DecodeLimit(hidden=7000, layers=61, copies=9, bandwidth=900e9)
    assert fast.all_to_all == pytest.approx(6.72e-6, rel=1e-12) and fast.token == pytest.approx(0.82e-3, abs=5e-6)


def test_every_premise_counts() -> None:
    base = DecodeLimit(hidden=100, layers=3, copies=5, bandwidth=1.0)
    assert base.token == 3 * 2 * 3 * 32 * 5 * 100
    assert replace(base, tokens=1, micro_batches=1).token == 3 * 3 * 5 * 100
    assert replace(base, bytes_there_and_back=6, bandwidth=2.0).token == base.token
    assert NVLINK / 50e9 == 3.2


def test_what_is_wanted_is_said() -> None:
    with pytest.raises(ValueError, match="equal parts"):
        expected_nodes(256, 7, 8)
    with pytest.raises(ValueError, match="equal parts"):
        nodes_visited(torch.tensor([[0]]), 10, 0)
    for chosen in (0, 17):
        with pytest.raises(ValueError, match=f"cannot choose {chosen} of 16"):
            expected_nodes(16, 4, chosen)
    for wrong in (-1, 16):
        with pytest.raises(ValueError, match="want experts 0 to 15"):
            nodes_visited(torch.tensor([[3, wrong]]), 16, 4)


def test_the_picture_has_a_bar_for_each_number_of_nodes() -> None:
    figure = nodes_figure({"free": [0.25, 0.75], "limited": [1.0, 0.0]})
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert [bar.get_height() for bar in bars] == [0.25, 0.75, 1.0, 0.0]
