"""What builds on a wrong function earns its points, and nothing else does."""

import time
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import torch

from course_grader import lending, release
from course_grader.judge import Judged, judge, seed
from course_grader.lending import Loans, does_the_same
from course_grader.notebook import code_cells
from course_grader.sandbox import Limits, Sandbox
from course_lib.exercises import BANK
from course_lib.exercises.comparing import same
from course_lib.exercises.engine import answer_key
from tests.hostile_lending import MISUSES, RIGHT, WRONG

sandboxed = pytest.mark.usefixtures("bubblewrap")
ROTATE = BANK["hw1_mla"]["rotate"]
EVERY = [exercise for assignment in BANK.values() for exercise in assignment.values()]


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(cell_seconds=2, call_seconds=3, seconds=60, memory=1 << 30)) as box:
        yield box


def judged(sandbox: Sandbox, *cells: str, assignment: str = "hw1_mla") -> Judged:
    return judge(sandbox, cells, assignment, lambda name: seed(b"secret", "ann", name, 1))


def earned(found: Judged) -> dict[str, float]:
    return {mark.exercise: mark.points for mark in found.marks if mark.points}


# Credit --------------------------------------------------------------------------------------------------------------


UNUSABLE = {
    "wrong": WRONG,
    "not written": "def rotate(x, positions, theta=10000.0): raise NotImplementedError",
    "missing": "x = 1",
    "stopped": "import no_such_module\n" + WRONG,
    "endless": "def rotate(x, positions, theta=10000.0):\n    while True: pass",
    "deadly": "import os\ndef rotate(x, positions, theta=10000.0): os._exit(1)",
    "no function": "rotate = 3",
}
CALLS = {
    "as it is": RIGHT,
    "by other names of its parameters": RIGHT.replace("(key, positions, theta)", "(base=theta, x=key, at=positions)"),
    "from threads": "from concurrent.futures import ThreadPoolExecutor as Pool\n" + RIGHT.replace(
        "rotate(key, positions, theta)", "list(Pool(4).map(lambda _: rotate(key, positions, theta), range(50)))[-1]"),
    "under another name": "turn = rotate\n" + RIGHT.replace("rotate(key", "turn(key"),
    "in a helper": "def helper(*given): return rotate(*given)\n" + RIGHT.replace("rotate(key", "helper(key"),
}  # fmt: skip


@sandboxed
@pytest.mark.parametrize("rotate", UNUSABLE.values(), ids=UNUSABLE)
def test_what_builds_on_a_wrong_function_earns_its_points(rotate: str, sandbox: Sandbox) -> None:
    found = judged(sandbox, rotate, RIGHT)
    assert earned(found) == {"compress": 3}
    assert found.marks[2].message == "Right with the course's `rotate`; yours is not right yet."
    assert [mark.lent for mark in found.marks] == [[], [], ["rotate"], [], [], []]


@sandboxed
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_however_it_is_called(call: str, sandbox: Sandbox) -> None:
    wrong = "def rotate(x, at, base=10000.0): return -x"
    assert earned(judged(sandbox, wrong, call)) == {"compress": 3}


@sandboxed
def test_a_mistake_of_its_own_is_what_is_told(sandbox: Sandbox) -> None:
    mistaken = RIGHT.replace("dim=-1, keepdim", "dim=(0, 1, 2), keepdim")
    mark = judged(sandbox, WRONG, mistaken).marks[2]
    message = mark.message
    assert message.endswith("Judged with the course's `rotate`, because yours is not right yet.")
    assert (mark.points, mark.lent) == (0, ["rotate"])
    assert message == judged(sandbox, WRONG.replace("-x", "x"), mistaken).marks[2].message


@sandboxed
def test_a_function_that_only_might_call_another_keeps_its_message(sandbox: Sandbox) -> None:
    mistaken = "def compress(x, *rest):\n    if x is None: rotate(x)\n    return x, x"
    mark = judged(sandbox, WRONG, mistaken).marks[2]
    assert mark.message.startswith("Case 1 of 3: ") and "course's" not in mark.message and mark.lent == []


@sandboxed
def test_a_function_that_calls_no_other_is_judged_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    lent: list[str] = []
    monkeypatch.setattr(Loans, "__init__", lambda self, exercises, seed: lent.extend(e.name for e in exercises))
    cells = code_cells(release.target(release.sources()["hw1_mla"]).read_bytes())
    assert earned(judged(sandbox, *cells)) == {} and lent == [], "nothing on the page as it is released"


@sandboxed
def test_the_second_look_has_other_inputs(sandbox: Sandbox) -> None:
    """The notebook may have kept those of the first one."""
    numbers: list[int] = []

    def noted(name: str) -> int:
        numbers.append(seed(b"secret", "ann", name, 1))
        return numbers[-1]

    judge(sandbox, [WRONG, RIGHT], "hw1_mla", noted)
    assert len(numbers) == 12 and len(set(numbers)) == 12, "two for each exercise"


@sandboxed
def test_who_calls_a_wrong_function_that_does_the_same_is_told(sandbox: Sandbox) -> None:
    expanded = "def expanded_attention(*given): return given[0]"
    absorbed = "def absorbed_attention(*given): return expanded_attention(*given)"
    mark = judged(sandbox, expanded, absorbed).marks[-2]
    why = "It calls `expanded_attention`, which is not right yet and does the same work. Fix that first."
    assert (mark.exercise, mark.points) == ("absorbed_attention", 0) and mark.message.endswith(why)


@sandboxed
def test_other_assignments(sandbox: Sandbox) -> None:
    load = "def expert_load(indices, n_experts): return indices"
    loss = """
import torch
def sequence_balance_loss(scores, indices, alpha):
    (b, t, e), k = scores.shape, indices.shape[-1]
    p = (scores / scores.sum(dim=2, keepdim=True)).mean(dim=1)
    f = torch.stack([expert_load(each, e) for each in indices]) * e / (k * t)
    return alpha * (f * p).sum(dim=1).mean()
"""
    assert earned(judged(sandbox, load, loss, assignment="hw2_moe")) == {"sequence_balance_loss": 4}
    law = "def parametric_loss(theta, params, tokens): return params"
    huber = """
import torch
def huber_objective(theta, params, tokens, loss, delta=1e-3):
    miss = (loss.log() - parametric_loss(theta, params, tokens).log()).abs()
    return torch.where(miss <= delta, miss**2 / 2, delta * (miss - delta / 2)).sum()
"""
    assert list(earned(judged(sandbox, law, huber, assignment="hw4_scaling"))) == ["huber_objective"]


# No more than that ---------------------------------------------------------------------------------------------------


@sandboxed
@pytest.mark.parametrize("cells", MISUSES.values(), ids=MISUSES)
def test_misuse_earns_nothing(cells: tuple[str, ...], sandbox: Sandbox) -> None:
    began = time.monotonic()
    found = judged(sandbox, *cells)
    assert earned(found) == {}
    assert time.monotonic() - began < 60
    assert earned(judged(sandbox, WRONG, RIGHT)) == {"compress": 3}, "the next student"


@sandboxed
@pytest.mark.parametrize("kind", ["a later function", "another that does the same"])
def test_it_is_not_only_the_size_that_prevents_it(kind: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_ELEMENTS", "LEAST_INTEGER", "MOST_PAIR"):
        monkeypatch.setattr(lending, name, 1 << 60)
    assert earned(judged(sandbox, *MISUSES[kind])) == {}


@pytest.mark.parametrize("exercise", EVERY, ids=[each.name for each in EVERY])
def test_a_loan_answers_the_cases_of_its_exercise(exercise: Any) -> None:
    loans, key = Loans([exercise], 1), answer_key(exercise, 2)
    for case, expected in zip(key.cases, key.expected, strict=True):
        reply = loans.answer({"asks": exercise.name, "arguments": list(case.values()), "named": {}})
        assert "answer" in reply, reply
        assert same(exercise.canonical(reply["answer"]), expected)


def test_a_call_that_would_take_much_is_refused() -> None:
    load, steps = BANK["hw2_moe"]["expert_load"], BANK["hw3_mtp"]["tokens_per_step"]
    others = [BANK["hw1_mla"][name] for name in ("compress", "kv_cache_elements")]
    loans, x, at = Loans([ROTATE, load, steps, *others], 1), torch.zeros(3, 4), torch.zeros(3)
    refused = [
        ("rotate", [torch.zeros(1 << 20, 4), at]),
        ("rotate", [torch.zeros(4096, 1, 1), torch.zeros(4096)]),
        ("rotate", [torch.zeros(0, 1 << 40), at]),
        ("rotate", [x * torch.nan, at]),
        ("rotate", [x, at, float("inf")]),
        ("rotate", [[x] * 5000, at]),
        ("expert_load", [torch.zeros(4, 2, dtype=torch.long), 10**9]),
        ("expert_load", [torch.zeros(8192, 2, dtype=torch.long), 1000]),
        ("expert_load", [torch.full((4, 2), 10**12), 4]),
        ("tokens_per_step", [0.5, 10**9]),
        ("tokens_per_step", [0.5, 10**5]),
        ("affinities", [x]),
        # small each, and large together
        ("rotate", [torch.zeros(300, 1, 1, 2), torch.zeros(300, 1, 1), torch.ones(300, 1)]),
        ("compress", [torch.zeros(300, 1, 1, 1, 1), torch.zeros(300, 1, 3, 1), torch.ones(300, 1, 1, 1, 1), at, 2]),
        ("kv_cache_elements", [{"num_hidden_layers": [0] * 4000, "kv_lora_rank": 1000, "qk_rope_head_dim": 1000}]),
        ("kv_cache_elements", [{"num_hidden_layers": "x" * 9999, "kv_lora_rank": 1000, "qk_rope_head_dim": 1000}]),
    ]
    for name, arguments in refused:
        began = time.monotonic()
        reply = loans.answer({"asks": name, "arguments": arguments, "named": {}})
        assert reply["error"] == "RuntimeError" and reply["why"] != "wrong arguments", (name, reply)
        assert time.monotonic() - began < 1, name
    wrong = loans.answer({"asks": "rotate", "arguments": [x], "named": {"angle": 1}})
    assert wrong == {"error": "TypeError", "why": "wrong arguments"}


def test_numbers_and_arrays_may_be_of_other_types_than_in_the_cases() -> None:
    loans, x, at = Loans([ROTATE, BANK["hw2_moe"]["expert_load"]], 1), torch.ones(2, 3, 4), torch.arange(3)
    calls: list[tuple[str, list[Any]]] = [
        ("rotate", [x.half(), at.double(), torch.tensor(500)]),
        ("rotate", [x[0], at, 500]),
        ("expert_load", [torch.zeros(2, 2, 2, 2, 2, dtype=torch.long), torch.tensor(4)]),
    ]
    for name, arguments in calls:
        assert "answer" in loans.answer({"asks": name, "arguments": arguments, "named": {}}), (name, arguments)


def test_calls_are_limited_in_number_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "MOST_CALLS", 2)
    call = {"asks": "rotate", "arguments": [torch.zeros(1, 2), torch.zeros(1)], "named": {}}
    loans = Loans([ROTATE], 1)
    assert ["answer" in loans.answer(call) for _ in range(3)] == [True, True, False]
    monkeypatch.setattr(lending, "MOST_SECONDS", 0)
    loans = Loans([ROTATE], 1)
    assert ["answer" in loans.answer(call) for _ in range(2)] == [True, False]


def test_what_answers_an_exercise_by_itself_is_not_lent_for_it() -> None:
    pairs = [
        (above.name, below.name)
        for assignment in BANK.values()
        for above, below in combinations(assignment.values(), 2)
        if does_the_same(above, below, 1)
    ]
    assert pairs == [("expanded_attention", "absorbed_attention")]
