"""Every reference earns everything; every named mistake is named; nothing else earns a point."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from course_lib import accounting, mla, rope
from course_lib.config import published, published_names
from course_lib.exercises import BANK, Exercise, Misconception, Section, check, when_written
from course_lib.exercises.comparing import Roughly, difference
from course_lib.exercises.counting import matrix_flops
from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import FaultError, answer_key
from course_lib.exercises.hw1_rotate import HALF_SPLIT
from course_lib.exercises.telling import facts

ROOT = Path(__file__).parents[1]

EXERCISES = [exercise for assignment in BANK.values() for exercise in assignment.values()]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.misconceptions]
HW1 = BANK["hw1_mla"]
SECTION = Section("02_mla", "Summary")
SEEDS = range(2)  # the grader's seeds are secret, so any must do


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


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_lessons_have_the_sections_that_explain_an_exercise(exercise: Exercise) -> None:
    for section in {exercise.lesson, *(each.lesson for each in exercise.misconceptions if each.lesson)}:
        cells = json.loads((ROOT / f"notebooks/{section.notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert re.findall(rf"^#+ {re.escape(section.heading)}$", text, re.MULTILINE), section


def test_a_mistake_may_be_explained_elsewhere() -> None:
    compress = HW1["compress"]
    assert compress.explained("This matches a norm without its gain.") == compress.lesson
    turned = compress.explained(f"Case 2 stopped. {HALF_SPLIT}")
    assert turned == HW1["rotate"].lesson != compress.lesson


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_every_bit_of_a_seed_reaches_the_cases(exercise: Exercise) -> None:
    """With the lowest 32 alone a function could try them all, and know cases that it has not seen yet."""
    made = [exercise.cases, *large_cases(exercise)]
    for cases in made:
        shown = {repr(cases(seed)) for seed in (5, 6, 5 + 2**32, 5 + 2**64, 5 + 2**127)}
        assert len(shown) == 5 and repr(cases(5)) in shown


def large_cases(exercise: Exercise) -> list[Callable[[int], Any]]:
    return [exercise.structure.case, *(heavy.case for heavy in exercise.structure.heavy)] if exercise.structure else []


def test_only_draw_makes_random_numbers_for_exercises() -> None:
    for file in (ROOT / "course_lib/exercises").glob("*.py"):
        if file.name != "drawing.py":
            assert not re.findall(r"manual_seed|Generator\(|torch\.rand|np\.random|import random", file.read_text()), (
                file
            )


def test_parts_of_a_seed_are_independent() -> None:
    drawn = [Draw(seed, part).normal(99) for seed in (3, 4) for part in (0, 1)]
    assert torch.corrcoef(torch.stack(drawn)).fill_diagonal_(0).abs().max() < 0.4
    assert all(torch.equal(a, Draw(seed, 1).normal(99)) for seed, a in ((3, drawn[1]), (4, drawn[3])))


def test_draws_stay_in_their_bounds() -> None:
    draw = Draw(7)
    assert draw.integers(2, 5, 400).unique().tolist() == [2, 3, 4] and draw.order(9).sort().values.tolist() == [
        *range(9)
    ]
    assert 2 <= draw.uniform(2, 3, 400).min() < 2.05 and draw.uniform(2, 3, 400).max() < 3
    assert draw.uniform(0, 1).shape == () and draw.normal(2, 3).dtype == torch.float64
    with pytest.raises(ValueError, match="non-negative"):
        Draw(-1)


NULL: list[Callable[..., Any]] = [
    lambda *a: None, lambda *a: 0, lambda *a: [], lambda *a: (), lambda *a: "", lambda *a: a[0], lambda *a: a,
    lambda *a: (None, None), lambda *a: torch.zeros(()), lambda *a: math.nan, lambda *a: True, lambda *a: {},
    lambda *a: torch.zeros_like(a[0]) if isinstance(a[0], Tensor) else 0,
    lambda *a: torch.full((2, 3, 5, 8), math.nan),
]  # fmt: skip


@pytest.mark.parametrize("broken", ["cases", "reference"])
def test_a_fault_of_the_exercise_is_told_as_one(
    broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any) -> Any:
        raise IndexError("no such axis")

    def rotate(*arguments: Any) -> Tensor:
        return rotate_complex(*arguments)

    monkeypatch.setitem(HW1, "rotate", replace(HW1["rotate"], **{broken: fails}))
    told = "The exercise rotate itself fails: IndexError: no such axis"
    with pytest.raises(FaultError, match=told):
        HW1["rotate"].grade(rotate)
    assert check(rotate) == 0
    assert f"0 of 3 points. {told}. That is our fault, not yours." in capsys.readouterr().out


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


def compress_by_library(x, w_down, gain, positions, rope_dim, theta=1e4, eps=1e-6) -> tuple[Tensor, Tensor]:
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    return F.rms_norm(latent, gain.shape, gain, eps), rotate_complex(key, positions, theta)


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
    ("compress", compress_by_library),
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


# Wrong solutions, written another way ------------------------------------------------------------------------------


def rotate_upwards(x: Tensor, positions: Tensor, theta: float = 1e4) -> Tensor:
    angle = torch.outer(positions.float(), theta ** (torch.arange(0, x.shape[-1], 2) / x.shape[-1]))
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1).flatten(-2)


def rotate_with_cat(x: Tensor, positions: Tensor, theta: float = 1e4) -> Tensor:
    angle = torch.outer(positions.float(), theta ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1]))
    cos, sin = torch.cat([angle, angle], dim=-1).cos(), torch.cat([angle, angle], dim=-1).sin()
    return x * cos + torch.view_as_real(1j * torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))).flatten(-2) * sin


def compress_with_layer_norm(x, w_down, gain, positions, rope_dim, theta=1e4, eps=1e-6) -> tuple[Tensor, Tensor]:
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    return F.layer_norm(latent, gain.shape, gain, eps=eps), rotate_complex(key, positions, theta)


def compress_with_normalize(x, w_down, gain, positions, rope_dim, theta=1e4, eps=1e-6) -> tuple[Tensor, Tensor]:
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    return F.normalize(latent.float(), dim=-1) * gain, rotate_complex(key, positions, theta)


def compress_in_its_dtype(x, w_down, gain, positions, rope_dim, theta=1e4, eps=1e-6) -> tuple[Tensor, Tensor]:
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    return latent * torch.rsqrt((latent**2).mean(-1, keepdim=True) + eps) * gain, rotate_complex(key, positions, theta)


def attend_with_weights(weigh: Callable[[Tensor, Tensor], Tensor], content: float = 1.0) -> Callable[..., Tensor]:
    """Attention in float32, from what `weigh` makes of scores and of which keys are seen."""

    def wrong(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0) -> Tensor:
        folded = torch.einsum("bshn,hnc->bhsc", q_nope, w_uk).float()
        scores = content * (folded @ latent.float().mT[:, None])
        scores = scores + q_rope.float().transpose(1, 2) @ k_rope.float().mT[:, None]
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(offset)
        weights = weigh(scores / (q_nope.shape[-1] + q_rope.shape[-1]) ** 0.5, seen)
        return torch.einsum("bhsc,hvc->bshv", weights @ latent.float()[:, None], w_uv.float())

    return wrong


NAMED = [
    ("rotate", rotate_upwards, "theta^(+2i/r)"),
    ("rotate", rotate_with_cat, "angles laid out for halves"),
    ("compress", compress_with_layer_norm, "a layer norm"),
    ("compress", compress_with_normalize, "the sum of squares"),
    ("compress", compress_in_its_dtype, "a norm in the dtype of x"),
    ("attention", attend_with_weights(lambda x, seen: x.softmax(-1) * seen), "weights masked after the softmax"),
    ("attention", attend_with_weights(lambda x, seen: x.where(~seen, -1e9).softmax(-1)), "the wrong way round"),
    ("attention", attend_with_weights(lambda x, seen: x.where(seen, 0).softmax(-1)), "masked scores set to 0"),
    # Numbers that are too small to hide a key, but not known by name.
    ("attention", attend_with_weights(lambda x, seen: x.where(seen, -5).softmax(-1)), "values differ"),
    ("attention", attend_with_weights(lambda x, seen: x.where(seen, -10).softmax(-1)), "values differ"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), NAMED)
def test_a_mistake_written_another_way_is_named(name: str, wrong: Callable[..., Any], message: str) -> None:
    for exercise in [HW1[name]] if name in HW1 else [HW1["expanded_attention"], HW1["absorbed_attention"]]:
        for seed in SEEDS:
            outcome = exercise.grade(wrong, seed)
            assert outcome.points == 0 and message in outcome.message, outcome


def test_attend_with_weights_is_right_with_the_right_weights() -> None:
    right = attend_with_weights(lambda x, seen: x.where(seen, -torch.inf).softmax(-1))
    assert HW1["expanded_attention"].grade(right).solved and HW1["absorbed_attention"].grade(right).solved


# What else can go wrong ----------------------------------------------------------------------------------------------


def scaled_in_place(x: Tensor, positions: Tensor, theta: float = 1e4) -> Tensor:
    x *= 1.0000001
    return rotate_complex(x, positions, theta)


def turned_in_place(x: Tensor, positions: Tensor, theta: float = 1e4) -> Tensor:
    return x.copy_(rotate_complex(x, positions, theta))


def raised(error: Exception) -> None:
    raise error


def forever(*arguments: object) -> None:
    raise SystemExit("bye")


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda *a: 1 / 0, "It raised a ZeroDivisionError on case 1 of 3: division by zero."),
        (lambda x: x, "It raised a TypeError on case 1 of 3:"),
        (forever, "It raised a SystemExit on case 1 of 3: bye."),
        (lambda *a: raised(AssertionError()), "It raised an AssertionError on case 1 of 3. Its inputs"),
        (lambda *a: (yield a), "got a generator: a function with a `yield` makes one, so write `return`."),
        (scaled_in_place, "It changed its input x"),
        (turned_in_place, "It changed its input x"),
        (lambda *a: None, "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got None; is the `return` missing?"),
        (lambda *a: 3.5, "expected a tensor of shape (2, 3, 5, 8), got a float"),
        (lambda x, *a: x[0], "expected shape (2, 3, 5, 8), got (3, 5, 8)"),
        (
            lambda x, *a: x.transpose(0, 1),
            "expected shape (2, 3, 5, 8), got (3, 2, 5, 8). These are the same axes in another order.",
        ),
        (lambda x, *a: x.to_sparse(), "expected an ordinary, dense tensor, got one of layout torch.sparse_coo."),
        (
            lambda x, *a: torch.nested.nested_tensor(list(x), layout=torch.jagged),
            "expected an ordinary, dense tensor, got a nested tensor.",
        ),
        (lambda x, *a: x.to("meta"), "expected numbers, got a tensor on the device 'meta'"),
        (lambda x, *a: x + 1j, "expected real numbers, got torch.complex128"),
        (lambda *a: 2 * rotate_complex(*a), "values differ, the first at [0, 0, 0, 0]: expected"),
    ],
)
def test_what_is_wrong_is_said(fn: Callable[..., Any], message: str) -> None:
    outcome = HW1["rotate"].grade(fn)
    assert outcome.points == 0
    assert message in outcome.message


def test_counts_and_pairs_are_described() -> None:
    assert "expected an integer, got a float" in HW1["kv_cache_elements"].grade(lambda c: 1.0).message
    assert re.search(r"expected [\d,]+, got 7\.", HW1["kv_cache_elements"].grade(lambda c: 7).message)
    assert "expected 2 values (latent, k_rope), got None" in HW1["compress"].grade(lambda *a: None).message
    right = HW1["compress"].reference
    assert (
        "k_rope: 60 of 60 values differ" in HW1["compress"].grade(lambda *a: (right(*a)[0], 3 * right(*a)[1])).message
    )


@pytest.mark.parametrize("name", ["expanded_attention", "absorbed_attention"])
def test_exchanged_axes_are_told_by_their_letters(name: str) -> None:
    outcome = HW1[name].grade(lambda *a: HW1[name].reference(*a).transpose(1, 2))
    assert outcome.points == 0
    assert outcome.message.endswith("got (2, 5, 3, 8). The axes are b s h v; yours look like b h s v.")


def test_axes_of_one_size_are_not_told_apart() -> None:
    found = difference(torch.ones(1, 2, 1), torch.ones(1, 1, 2), axes="x y z")
    assert str(found).endswith("the same axes in another order.")


def test_keys_that_a_config_does_not_have_are_told() -> None:
    def always_latent(config: dict[str, Any]) -> int:
        return config["num_hidden_layers"] * (config["kv_lora_rank"] + config["qk_rope_head_dim"])

    exercise, plain = HW1["kv_cache_elements"], HW1["kv_cache_elements"].reference
    assert exercise.grade(always_latent).message == (
        "It raised a TypeError on case 1 of 5: unsupported operand type(s) for +: 'NoneType' and 'NoneType'. "
        "In this case config has None for: kv_lora_rank, qk_rope_head_dim. "
        'The line: `return config["num_hidden_layers"] * (config["kv_lora_rank"] + config["qk_rope_head_dim"])`.'
    )
    asked = exercise.grade(lambda config: plain({**config, "kv_lora_rank": config["kv_lora_rank"]}))
    assert asked.message.startswith(
        "It raised a KeyError on case 4 of 5: 'kv_lora_rank'. In this case config has only: num_hidden"
    )
    assert "kv_lora_rank" not in asked.message.split("only:")[1].split("The line:")[0]
    assert exercise.grade(lambda config: {}["mine"]).message.startswith(
        "It raised a KeyError on case 1 of 5: 'mine'. In this"
    )
    assert exercise.grade(lambda config: {}["head_dim"]).message.startswith(
        "It raised a KeyError on case 1 of 5: 'head_dim'. The line: "
    )
    assert exercise.grade(lambda: 0).message.endswith(
        "takes 0 positional arguments but 1 was given. "
        "`check` calls <lambda>(config): keep the parameters that the page gives it."
    )


def test_a_nan_is_explained() -> None:
    assert str(difference(torch.tensor([1.0, torch.nan]), torch.ones(2))).endswith("nothing but -inf.")
    assert "nan" not in str(difference(torch.tensor([2.0, torch.nan]), torch.ones(2)))


def test_a_short_case_is_told_where_values_differ() -> None:
    plain = HW1["kv_cache_elements"]
    told = plain.grade(lambda config: plain.reference(config) + (config.get("kv_lora_rank") or 0) // 7)
    assert re.search(r"expected [\d,]+, got [\d,]+\. In this case: config {num_hidden_layers: \d", told.message)
    assert "In this case" not in plain.grade(lambda config: "7").message
    assert "In this case" not in HW1["rotate"].grade(lambda *a: 2 * rotate_complex(*a)).message
    assert re.search(r"In this case: load \[\d+, ", BANK["hw2_moe"]["max_violation"].grade(lambda load: -3.0).message)
    moved = BANK["hw2_moe"]["update_bias"].grade(lambda bias, *a: bias * 0.3)
    assert re.search(r"In this case: bias \[-?\d", moved.message)


def test_a_case_too_long_to_go_through_is_not_told() -> None:
    found = difference(1, 2)
    assert found is not None and facts(found, {"n": 4}) == " In this case: n 4."
    assert facts(found, {f"argument_{n}": n for n in range(99)}) == ""


def test_an_input_that_is_changed_in_a_later_case_is_noticed() -> None:
    def spoils(x: Tensor) -> Tensor:
        answer = x / 2
        if x[0] == 4:
            x += 1
        return answer

    half = Exercise(
        "half", 1, SECTION, lambda x: x / 2, lambda seed: [{"x": torch.ones(2)}, {"x": torch.full((2,), 4.0)}], []
    )
    assert half.grade(spoils).message.startswith("It changed its input x")


def test_of_two_mistakes_that_fit_what_came_before_an_error_none_is_named() -> None:
    mistakes = [Misconception("You doubled it.", lambda x: 2 * x), Misconception("You added 2.", lambda x: x + 2)]
    half = Exercise("half", 1, SECTION, lambda x: x / 2, lambda seed: [{"x": 2.0}, {"x": 8.0}], mistakes)
    stops = lambda x: 4.0 if x == 2 else raised(RuntimeError())  # noqa: E731
    assert half.grade(stops).message.startswith("Case 1 of 2: ")
    assert replace(half, mistakes=mistakes[:1]).grade(stops).message == "You doubled it."


def test_a_near_miss_is_told_from_another_formula() -> None:
    exact = torch.arange(1.0, 9.0).double()
    for near, far in ((exact * (1 + 1e-4), exact * 1.01), (exact[3].item() * (1 - 5e-4), exact[3].item() * 1.002)):
        right = exact if isinstance(near, Tensor) else exact[3].item()
        assert "Such a near miss" in str(difference(near, right)) and "near miss" not in str(difference(far, right))
    assert "Such a near miss" in str(difference(1.01, Roughly(1))) and "near miss" not in str(
        difference(1.03, Roughly(1))
    )


@pytest.fixture(params=["meta", "cuda:9"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """Tensors are made on a device that is not there, as far as their makers do not say where."""
    answer_key.cache_clear()  # or nothing would be made there
    torch.set_default_device(request.param)
    yield request.param
    torch.set_default_device(None)


def test_the_default_device_decides_nothing(elsewhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    for exercise in EXERCISES:
        assert exercise.grade(exercise.reference).solved
        assert exercise.grade(exercise.misconceptions[0].wrong).message.endswith(exercise.misconceptions[0].message)
    assert HW1["absorbed_attention"].grade(attend_by_loops).solved
    assert HW1["rotate"].grade(lambda x, *a: torch.empty_like(x, device="meta")).points == 0
    check(HW1["rotate"].reference)
    assert "✓ 3 of 3" in capsys.readouterr().out
    assert torch.get_default_device() == torch.device(elsewhere)


def test_a_function_that_moves_the_default_device_harms_nobody() -> None:
    def moves(x: Tensor, *arguments: Any) -> Tensor:
        torch.set_default_device("meta")
        return HW1["rotate"].reference(x, *arguments)

    assert HW1["rotate"].grade(moves).points == 0
    assert torch.ones(1).device.type == "cpu"
    assert HW1["rotate"].grade(HW1["rotate"].reference).solved
    torch.set_default_device(None)


@pytest.mark.parametrize("make", [lambda: torch.ones((), device="meta"), lambda: torch.ones(()).to_sparse()])
def test_a_count_that_cannot_be_read_is_said(make: Callable[[], Tensor]) -> None:
    for name in ("kv_cache_elements", "attention_flops"):
        outcome = HW1[name].grade(lambda *a: make())
        assert outcome.points == 0 and "got" in outcome.message
    latent, key = HW1["compress"].grade(lambda *a: (make(), make())), HW1["compress"].grade(lambda *a: [make()] * 2)
    assert latent.message == key.message and latent.message.startswith("Case 1 of 3: latent: expected")


def test_an_unwritten_function_says_so() -> None:
    def unwritten(*arguments: object) -> None:
        raise NotImplementedError

    for exercise in EXERCISES:
        assert exercise.grade(unwritten).message == "Not written yet."
        calls = exercise.grade(lambda *arguments: unwritten(*arguments))
        assert calls.message == "It calls unwritten, which is not written yet."


def test_a_function_that_fails_is_told_on_which_case_and_on_which_shapes() -> None:
    exercise = HW1["absorbed_attention"]

    def stops(q_nope: Tensor, *rest: Any) -> Tensor:
        if q_nope.shape[1] == 4:
            return torch.ones(2) + torch.ones(3)
        return exercise.reference(q_nope, *rest)

    small = exercise.grade(stops)
    assert small.message == (
        "It raised a RuntimeError on case 2 of 5: The size of tensor a (2) must match the size of tensor b (3) at "
        "non-singleton dimension 0. Axes are aligned from the last one on, and their sizes must be equal or 1. "
        "`keepdim=True` keeps the axis of a sum or a mean, `x[:, None]` adds one. "
        "Its inputs: q_nope (2, 4, 5, 7), q_rope (2, 4, 5, 6), "
        "latent (2, 6, 11), k_rope (2, 6, 6), w_uk (5, 7, 11), w_uv (5, 8, 11), offset 2. "
        "The line: `return torch.ones(2) + torch.ones(3)`."
    )


def test_check_prints_returns_the_points_and_never_raises(capsys: pytest.CaptureFixture[str]) -> None:
    def rotate(*arguments: object) -> None:
        raise RuntimeError("oh no")

    assert check(rotate) == 0
    assert check(HW1["rotate"].reference) == 3
    assert check(lambda x: x) == check(3) == 0
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first.startswith("rotate: ✗ 0 of 3 points. It raised a RuntimeError on case 1 of 3: oh no.")
    assert second == "rotate: ✓ 3 of 3 points. Right on all 3 cases."
    assert third == "✗ There is no exercise '<lambda>'. Its name must be that of an exercise on the page."
    assert fourth.endswith("by its name and without brackets; this is of type int.")


def test_check_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    wrongs = "rotate", partial(HW1["rotate"].reference, theta=3.0), None, under("rotates", print)
    assert [check(wrong) for wrong in wrongs] == [0, 0, 0, 0]
    quoted, partly, nothing, misspelt = capsys.readouterr().out.splitlines()
    assert quoted == "✗ `check` takes the function itself, without quotes: check(rotate)"
    assert partly == "✗ `check` goes by a function's name, and a partial has none: write it with `def`."
    assert nothing == "✗ `check` takes your function itself, by its name and without brackets; this is None."
    assert misspelt == "✗ There is no exercise 'rotates'. Did you mean rotate?"


def test_a_warning_does_not_reach_stderr_where_nbgrader_takes_all_points(capsys: pytest.CaptureFixture[str]) -> None:
    def rotate(*arguments: Any) -> Tensor:
        print("mind this", file=sys.stderr)
        return HW1["rotate"].reference(*arguments)

    assert check(rotate) == 3
    said = capsys.readouterr()
    assert said.err == "" and "mind this" in said.out


def under(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    def renamed(*arguments: Any) -> Any:
        return fn(*arguments)

    renamed.__name__ = name
    return renamed


def test_a_cell_says_which_functions_it_cannot_trust(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: Exception) -> Callable[[], None]:
        return lambda: raised(error)

    right, wasteful = HW1["rotate"].reference, under("absorbed_attention", HW1["expanded_attention"].reference)
    wrong, none = under("compress", lambda *a: None), under("kv_cache_elements", lambda config: None)
    unwritten = under("attention_flops", lambda *a: raised(NotImplementedError()))
    waiting = "This cell comes to life when attention_flops is written. Then run it again."
    distrust = "Do not trust this cell yet: compress is not right, see `check` above. Then run it again."
    for show, functions, shown, said in (
        (lambda: 7, [right, wasteful], 7, []),
        (lambda: 7, [wrong, right], 7, [distrust]),
        (lambda: 7, [wrong, none], 7, [distrust.replace("compress is", "compress and kv_cache_elements are")]),
        (lambda: 7, [wrong, unwritten], None, [waiting]),
        (fails(RuntimeError("size of tensor a")), [wrong], None, [distrust, "It stopped here."]),
        (fails(RuntimeError("size of tensor a")), [right], None, ["It stopped here: size of tensor a"]),
        (fails(ValueError("your count gave 0")), [wrong], None, [distrust, "It stopped here: your count gave 0"]),
    ):  # fmt: skip
        assert when_written(show, *functions) == shown
        assert capsys.readouterr().out.splitlines() == said


# Matrix products, against the counter that PyTorch has ---------------------------------------------------------------


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_products_are_counted_as_pytorch_does(mode: Callable[[], Any]) -> None:
    x, w, b = torch.randn(2, 3, 5, 7), torch.randn(4, 7), torch.randn(4)
    for run in (
        lambda: x @ w.T,
        lambda: F.linear(x, w, b),
        lambda: torch.einsum("abcd,ed->abce", x, w),
        lambda: torch.bmm(x[0], x[1].mT),
        lambda: F.scaled_dot_product_attention(x, x, x),
        lambda: torch.nn.MultiheadAttention(7, 1)(x[0], x[0], x[0]),
        lambda: F.conv1d(x[0], w[None, :3, :5].permute(1, 2, 0)),
        lambda: x.softmax(-1).sum(),
    ):
        with mode(), FlopCounterMode(display=False) as theirs:
            run()
        with mode():
            ours = matrix_flops(run)
        assert ours == theirs.get_total_flops()
    assert matrix_flops(lambda: (w @ w[0], w[0] @ w[1])) == 2 * 4 * 7 + 2 * 7


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
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
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
    assert broken.points == 0 and "It raised a ZeroDivisionError on case 3 of 5:" in broken.message
    dodging = exercise.grade(lambda q, *rest: torch.zeros(1) if q.shape[1] == 1 else exercise.reference(q, *rest))
    assert dodging.points == 0 and "expected shape" in dodging.message
