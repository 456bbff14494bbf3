"""Marks are deserved: by honest work, by known mistakes, and by notebooks that attack whoever marks them."""

import sys
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from course_grader.judge import judge, seed
from course_grader.sandbox import Limits, Sandbox, best_kind
from tests.hostile import ATTACKS, HONEST, Attack

pytestmark = pytest.mark.skipif(sys.platform != "linux" or best_kind() == "bare", reason="needs bubblewrap")
SEEDS = partial(seed, b"secret", "somebody", attempt=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    torch.set_num_threads(1)
    limits = Limits(cell_seconds=3, call_seconds=3, seconds=30, memory=1 << 30)
    with Sandbox(limits, kind=best_kind()) as box:
        yield box


def points(sandbox: Sandbox, cells: list[str]) -> dict[str, float]:
    marks = judge(sandbox, cells, "hw1_mla", lambda name: SEEDS(exercise=name))
    return {mark.exercise: mark.points for mark in marks}


DESERVED = {"kv_cache_elements": 2, "attention_flops": 3}
NOTHING = dict.fromkeys(
    ["kv_cache_elements", "rotate", "compress", "expanded_attention", "absorbed_attention", "attention_flops"], 0
)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_gains_and_costs_nothing(attack: Attack, sandbox: Sandbox) -> None:
    earned = points(sandbox, [*HONEST.values(), *attack.cells])
    deserved = NOTHING | {name: DESERVED[name] for name in attack.deserves}
    assert earned == deserved or (not attack.certain and earned == NOTHING)
    after = points(sandbox, list(HONEST.values()))
    assert after == NOTHING | DESERVED, "the next student"
