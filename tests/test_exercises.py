"""Every reference earns everything; every named mistake is named; nothing else earns a point."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from course_lib import accounting, mla, rope
from course_lib.config import published, published_names
from course_lib.exercises import BANK, Exercise, Misconception, check

EXERCISES = [exercise for assignment in BANK.values() for exercise in assignment.values()]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.misconceptions]
HW1 = BANK["hw1_mla"]
SEEDS = range(12)  # the grader's seeds are secret, so any must do


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_reference_earns_everything(exercise: Exercise) -> None:
    for seed in SEEDS:
        outcome = exercise.grade(exercise.reference, seed)
        assert outcome.solved and outcome.points == exercise.points, outcome


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=lambda x: getattr(x, "name", "")[:40])
def test_every_mistake_gets_its_own_message(exercise: Exercise, mistake: Misconception) -> None:
    structural = exercise.structure is not None and mistake in exercise.structure.misconceptions
    for seed in SEEDS:
        outcome = exercise.grade(mistake.wrong, seed)
        assert mistake.message in outcome.message, (seed, outcome)
        assert outcome.points == (0.6 * exercise.points if structural else 0)


NULL: list[Callable[..., Any]] = [
    lambda *a: None, lambda *a: 0, lambda *a: [], lambda *a: (), lambda *a: "", lambda *a: a[0], lambda *a: a,
    lambda *a: (None, None), lambda *a: torch.zeros(()), lambda *a: math.nan, lambda *a: True, lambda *a: {},
    lambda *a: torch.zeros_like(a[0]) if isinstance(a[0], Tensor) else 0,
    lambda *a: torch.full((2, 3, 5, 8), math.nan),
]  # fmt: skip


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_null_answers_earn_nothing(exercise: Exercise) -> None:
    for answer in NULL:
        assert exercise.grade(answer).points == 0


# Right solutions, written another way ------------------------------------------------------------------------------


def cache_by_kind(config: dict[str, Any]) -> Tensor:
    latent = config.get("kv_lora_rank")
    width = latent + config["qk_rope_head_dim"] if latent else config["head_dim"] * config["num_key_value_heads"] * 2
    return torch.tensor(width * config["num_hidden_layers"])


def rotate_complex(x: Tensor, pos: Tensor, base: float = 1e4) -> Tensor:
    angle = torch.outer(pos.float(), base ** (-2 * torch.arange(x.shape[-1] // 2) / x.shape[-1]))
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def compress_by_rows(x, w_down, gain, positions, rope_dim, theta=1e4, eps=1e-6) -> list[Tensor]:
    c = len(gain)
    latent, key = x.float() @ w_down[:c].T.float(), x.float() @ w_down[c:].T.float()
    scale = torch.stack([(row * row).sum() / c for row in latent.flatten(0, 1)]).add(eps).rsqrt()
    return [latent * scale.view(*latent.shape[:2], 1) * gain.float(), rotate_complex(key, positions, theta)]


def attend_by_loops(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0) -> Tensor:
    b, s, h, n = q_nope.shape
    out = torch.empty(b, s, h, w_uv.shape[1], dtype=torch.float32)
    for i in range(b):
        for j in range(s):
            seen, roped = latent[i, : offset + j + 1], k_rope[i, : offset + j + 1]
            for head in range(h):
                scores = seen @ (w_uk[head].T @ q_nope[i, j, head]) + roped @ q_rope[i, j, head]
                weights = torch.softmax(scores / math.sqrt(n + q_rope.shape[-1]), dim=0)
                out[i, j, head] = w_uv[head] @ (seen.T @ weights)
    return out


def attend_by_library(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0) -> Tensor:
    seen = latent.shape[1]
    rows = torch.cat([latent, k_rope], dim=-1)[:, :seen]
    scale = (q_nope.shape[-1] + q_rope.shape[-1]) ** -0.5
    return mla.absorbed_attention(q_nope, q_rope, rows, w_uk, w_uv, offset=offset, scale=scale)


def flops_by_products(config: dict[str, Any], query_tokens: int, key_tokens: int, absorb: bool) -> int:
    h, c, s, t = config["num_attention_heads"], config["kv_lora_rank"], query_tokens, key_tokens
    n, r, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    products = [(s, n, c), (s, c, t), (s, r, t), (s, t, c), (s, c, v)] if absorb else []
    products = products or [(t, c, n), (t, c, v), (s, n, t), (s, r, t), (s, t, v)]
    return sum(2 * h * math.prod(product) for product in products)


OTHERWISE = [
    ("kv_cache_elements", cache_by_kind),
    ("rotate", rotate_complex),
    ("compress", compress_by_rows),
    ("expanded_attention", attend_by_loops),
    ("expanded_attention", attend_by_library),
    ("absorbed_attention", attend_by_loops),
    ("absorbed_attention", attend_by_library),
    ("attention_flops", flops_by_products),
]


@pytest.mark.parametrize(("name", "solution"), OTHERWISE)
def test_a_right_solution_written_another_way_earns_everything(name: str, solution: Callable[..., Any]) -> None:
    for seed in SEEDS:
        outcome = HW1[name].grade(solution, seed)
        assert outcome.solved, outcome


# What else can go wrong ----------------------------------------------------------------------------------------------


def scaled_in_place(x: Tensor, positions: Tensor, theta: float = 1e4) -> Tensor:
    x *= 1.0000001
    return rotate_complex(x, positions, theta)


def forever(*arguments: object) -> None:
    raise SystemExit("bye")


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda *a: 1 / 0, "It did not run: ZeroDivisionError: division by zero"),
        (lambda x: x, "It did not run: TypeError:"),
        (forever, "It did not run: SystemExit: bye"),
        (scaled_in_place, "It changed its input x"),
        (lambda *a: None, "Case 1 of 3: wanted a tensor of shape (2, 3, 5, 8), got None; is the `return` missing"),
        (lambda *a: 3.5, "wanted a tensor of shape (2, 3, 5, 8), got a float"),
        (lambda x, *a: x[0], "wanted shape (2, 3, 5, 8), got (3, 5, 8)"),
        (lambda x, *a: x + 1j, "wanted real numbers, got torch.complex128"),
        (lambda *a: 2 * rotate_complex(*a), "values differ, the first at [0, 0, 0, 0]: wanted"),
    ],
)
def test_what_is_wrong_is_said(fn: Callable[..., Any], message: str) -> None:
    outcome = HW1["rotate"].grade(fn)
    assert outcome.points == 0
    assert message in outcome.message


def test_counts_and_pairs_are_described() -> None:
    assert "wanted an integer, got a float" in HW1["kv_cache_elements"].grade(lambda c: 1.0).message
    assert re.search(r"wanted [\d,]+, got 7\.", HW1["kv_cache_elements"].grade(lambda c: 7).message)
    assert "wanted 2 values (latent, k_rope), got None" in HW1["compress"].grade(lambda *a: None).message
    right = HW1["compress"].reference
    assert (
        "k_rope: 60 of 60 values differ" in HW1["compress"].grade(lambda *a: (right(*a)[0], 3 * right(*a)[1])).message
    )


def test_an_unwritten_function_says_so() -> None:
    def unwritten(*arguments: object) -> None:
        raise NotImplementedError

    for exercise in EXERCISES:
        assert exercise.grade(unwritten).message == "Not written yet."


def test_check_prints_and_never_raises(capsys: pytest.CaptureFixture[str]) -> None:
    def rotate(*arguments: object) -> None:
        raise RuntimeError("oh no")

    check(rotate)
    check(HW1["rotate"].reference)
    check(lambda x: x)
    check(3)  # pyright: ignore[reportArgumentType]
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first == "rotate: ✗ 0 of 3 points. It did not run: RuntimeError: oh no"
    assert second == "rotate: ✓ 3 of 3 points. rotate is right on all 3 cases."
    assert "There is no exercise '<lambda>'. There are: kv_cache_elements, rotate" in third
    assert "There is no exercise '3'" in fourth


# The references, against the package and the published models --------------------------------------------------------


def test_counts_of_published_models() -> None:
    for name in published_names():
        config = published(name)
        given = {key: getattr(config, key) for key in (
            "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "kv_lora_rank",
            "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim",
        )}  # fmt: skip
        assert HW1["kv_cache_elements"].reference(given) == accounting.cache_elements(config)
        if config.is_mla:
            for question in ((1, 4096, True), (512, 700, False)):
                expected = accounting.attention_flops(config, *question)
                assert HW1["attention_flops"].reference(given, *question) == expected


def test_rotation_is_the_package_s() -> None:
    x = torch.randn(5, 3, 6, dtype=torch.float64)  # s, h, r
    turns = torch.polar(
        torch.ones(5, 3, dtype=torch.float64), torch.outer(torch.arange(4.0, 9.0).double(), rope.frequencies(6, 500.0))
    )
    got = HW1["rotate"].reference(x.transpose(0, 1), torch.arange(4, 9), 500.0).transpose(0, 1)
    torch.testing.assert_close(got, rope.rotate(x, turns))


def test_the_exercise_in_the_contributing_guide_works() -> None:
    guide = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block.group(1), names)
    exercise = names["MAX_VIOLATION"]
    test_the_reference_earns_everything(exercise)
    test_every_mistake_gets_its_own_message(exercise, exercise.misconceptions[0])
    test_null_answers_earn_nothing(exercise)


def test_a_decode_step_is_judged_like_any_case() -> None:
    exercise = HW1["absorbed_attention"]
    broken = exercise.grade(lambda q, *rest: 1 / 0 if q.shape[1] == 1 else exercise.reference(q, *rest))
    assert (broken.points, broken.message) == (0, "It did not run: ZeroDivisionError: division by zero")
    dodging = exercise.grade(lambda q, *rest: torch.zeros(1) if q.shape[1] == 1 else exercise.reference(q, *rest))
    assert dodging.points == 0 and "wanted shape" in dodging.message
