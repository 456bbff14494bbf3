"""Marks are deserved: by honest work, by known mistakes, and by notebooks that attack whoever marks them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from course_grader import limits, notebook
from course_grader.judge import Pupil, _mark, seed
from course_grader.sandbox import Limits, Sandbox
from course_lib.exercises import BANK, Case
from course_lib.exercises.engine import FaultError
from tests.hostile import ATTACKS, HONEST, Attack
from tests.hostile_files import FILES
from tests.judged import judged, points

sandboxed = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    small = Limits(cell_seconds=2, call_seconds=2, seconds=60, memory=1 << 30, processes=16)
    with pytest.MonkeyPatch.context() as patch, Sandbox(small) as box:
        patch.setattr(limits, "PATIENCE", 100)  # a busy machine is no reason to give up
        yield box


DESERVED = {"kv_cache_elements": 2, "attention_flops": 3}


@sandboxed
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_gains_and_costs_nothing(attack: Attack, sandbox: Sandbox) -> None:
    earned = points(sandbox, [*HONEST.values(), *attack.cells], dict(zip(HONEST, HONEST, strict=True)))
    deserved = {name: DESERVED[name] if name in attack.deserves else 0 for name in HONEST}
    if attack.certain:
        assert earned == deserved
    assert all(earned[name] in (0, deserved[name]) for name in deserved)
    with judged(sandbox, [HONEST["kv_cache_elements"]]) as following:
        assert following.mark("kv_cache_elements").points == 2, "the next student"


def test_where_the_exercise_itself_fails_there_is_no_mark() -> None:
    def fails(seed: int) -> list[Case]:
        raise IndexError("no such axis")

    broken = replace(BANK["hw1_mla"]["rotate"], cases=fails)
    with pytest.raises(FaultError, match="no such axis"):
        _mark(Pupil(Sandbox(kind="bare"), []), broken, 1)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "cells"), FILES.values(), ids=FILES)
def test_of_a_file_only_its_code_counts(content: bytes, cells: list[str] | None) -> None:
    try:
        found = notebook.code_cells(content)
    except notebook.UnreadableError:
        found = None
    assert found == cells or (not cells and not found)


# Seeds ---------------------------------------------------------------------------------------------------------------


def test_inputs_differ_by_all_that_they_are_drawn_from() -> None:
    drawn = [
        seed(secret, student, exercise, attempt)
        for secret in (b"a", b"b")
        for student in ("ann", "bob", "an", "\udcff")
        for exercise in ("rotate", "nrotate")
        for attempt in (1, 11)
    ]
    assert len(set(drawn)) == len(drawn)
    assert seed(b"a", "ann", "rotate", 1) == drawn[0]
