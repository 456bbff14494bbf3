"""How near an answer must be is decided by the exercise alone: nothing about the answer widens it."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from course_lib.exercises import BANK, Exercise, Misconception
from course_lib.exercises.comparing import ROUNDED, Roughly, Single, difference, in_half, same

EXERCISES = [exercise for assignment in BANK.values() for exercise in assignment.values()]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
HW1, HW2 = BANK["hw1_mla"], BANK["hw2_moe"]
Function = Callable[..., Any]


def cast(answer: Any, dtype: torch.dtype, scale: float = 1.0) -> Any:
    """Every float in `answer`, times `scale`, as a tensor of `dtype`."""
    if isinstance(answer, tuple | list):
        return tuple(cast(each, dtype, scale) for each in answer)
    if (isinstance(answer, Tensor) and answer.is_floating_point()) or isinstance(answer, float):
        return (torch.as_tensor(answer, dtype=torch.float64) * scale).to(dtype)
    return answer


def wrong_in_half(exercise: Exercise, fn: Function, seed: int, scale: float, dtype: torch.dtype) -> None:
    """It earns nothing, or what the same number earns as a float where points depend on the distance from the truth."""
    half = exercise.grade(lambda *given: cast(fn(*given), dtype, scale), seed)
    if exercise.closeness:
        same_number = exercise.grade(lambda *given: cast(fn(*given), dtype, scale).item(), seed)
        assert half.points == same_number.points
    else:
        assert half.points == 0, (exercise.name, seed, dtype, half)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_half_precision_does_not_excuse_a_wrong_factor(exercise: Exercise, dtype: torch.dtype) -> None:
    answers = [exercise.reference(*case.values()) for case in exercise.cases(0)]
    if any(isinstance(x, float) or getattr(x, "is_floating_point", bool)() for a in answers for x in flat(a)):
        for seed in range(3):
            wrong_in_half(exercise, exercise.reference, seed, 1.015, dtype)


def flat(answer: Any) -> list[Any]:
    return [x for each in answer for x in flat(each)] if isinstance(answer, tuple | list) else [answer]


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=lambda x: getattr(x, "name", "")[:40])
def test_half_precision_does_not_excuse_a_mistake(exercise: Exercise, mistake: Misconception) -> None:
    wrong_in_half(exercise, mistake.wrong, 1, 1.0, torch.float16)


def test_only_cases_in_half_precision_are_compared_with_its_accuracy() -> None:
    """Where the right answer has 2 or 3 digits, any more of the student's are welcome but not expected."""
    cases = {
        e.name: sum(in_half(x) for case in e.cases(0) for x in flat(e.reference(*case.values()))) for e in EXERCISES
    }
    assert {name: count for name, count in cases.items() if count} == {"rotate": 1, "compress": 2}
    for name in ("rotate", "compress"):
        right = HW1[name].reference
        assert HW1[name].grade(lambda *given, right=right: cast(right(*given), torch.float64)).solved
        assert HW1[name].grade(right).solved


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_mistake_is_named_whatever_the_dtype_on_a_case_in_half_precision(dtype: torch.dtype) -> None:
    rotate = HW1["rotate"]
    for mistake in rotate.mistakes:
        wide = rotate.grade(lambda *given, wrong=mistake.wrong: cast(wrong(*given), dtype))
        assert wide.points == 0 and (dtype == torch.float32 or wide.message == mistake.message)


def test_a_mistake_in_half_precision_is_named() -> None:
    """Its own dtype counts too: the right answer to these cases is in float32."""
    affinities = HW2["affinities"]
    rounded = [mistake for mistake in affinities.mistakes if "16 bits" in mistake.message]
    for mistake in rounded:
        jittered = affinities.grade(lambda *given, wrong=mistake.wrong: nudged(wrong(*given)))
        assert jittered.points == 0 and jittered.message == mistake.message
    assert rounded


def nudged(x: Tensor) -> Tensor:
    """The next number of half precision, as another order of operations may give; float64 stays."""
    return (x.double() * 1.003).to(x.dtype) if in_half(x) else x


def test_who_rounds_is_told_so() -> None:
    expanded = HW1["expanded_attention"]

    def rounds(*given: Any) -> Tensor:
        return expanded.reference(*given).half()

    assert ROUNDED in expanded.grade(rounds).message
    discreet = expanded.grade(rounds, measure=lambda *a: pytest.fail("wrong values need no measurement"))
    assert discreet.message == f"Wrong values on case 1 of 4. {ROUNDED}"
    speed = BANK["hw3_mtp"]["tokens_per_step"]
    for kind in (torch.tensor, np.array):
        half = torch.float16 if kind is torch.tensor else np.float16
        assert (
            ROUNDED
            in speed.grade(lambda *given, kind=kind, half=half: kind(speed.reference(*given), dtype=half)).message
        )


class Generous(Roughly):
    """As an answer, not as what is expected."""

    tolerance = near = 1.0

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    "answer",
    [
        Generous(2.02), Single(2.0001), torch.tensor(2.02).half(), torch.tensor(2.02).bfloat16(), np.float16(2.02),
        np.array([2.02], dtype=np.float16), torch.tensor(2 + 0.02j), 2 + 0j, True, np.bool_(True), np.complex64(2),
        torch.tensor(2.02, requires_grad=True), Fraction(202, 100), float("nan"), float("inf"), torch.tensor(torch.nan),
        torch.tensor([2.0, 2.0]), torch.tensor(2.0).to_sparse(), torch.tensor(2.5, dtype=torch.float8_e5m2), "2.0",
    ],
    ids=repr,
)  # fmt: skip
def test_the_kind_of_an_answer_widens_nothing(answer: Any) -> None:
    assert not same(answer, 2.0)
    assert not same(answer, torch.tensor(2.0, dtype=torch.float64))
    assert not same(answer, 2) and not same((answer, 1), (2.0, 1))


@pytest.mark.parametrize(
    "answer", [2.0, Fraction(2), np.float16(2), torch.tensor(2.0, requires_grad=True), torch.tensor([[2]]), 2]
)
def test_the_right_number_is_right_in_every_form(answer: Any) -> None:
    assert same(answer, 2.0) and same(answer, Roughly(2)) and same(answer, Single(2))


def test_a_part_in_half_precision_widens_no_other() -> None:
    right = (torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.bfloat16), torch.arange(60))
    assert same((right[0], 1.01 * right[0], right[2]), right)
    for number in (0, 2):
        answer = [*right]
        answer[number] = answer[number] * 1.01
        found = difference(tuple(answer), right)
        assert found is not None and found.part == f"part {number}"


# What the grader says -------------------------------------------------------------------------------------------------


class Telling:
    """An answer whose class says what the inputs were."""


SAID: list[tuple[str, Callable[..., Any], str]] = [
    ("rotate", lambda *a: None, "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got None; is the `return`"),
    ("rotate", lambda x, *a: x.numpy(), "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got a NumPy array."),
    ("rotate", lambda x, *a: x.transpose(1, 2), "Case 1 of 3: expected shape (2, 3, 5, 8), got (2, 5, 3, 8)."),
    ("rotate", lambda x, *a: torch.ones(512, 3), "Case 1 of 3: expected shape (2, 3, 5, 8), got another shape."),
    ("rotate", lambda *a: torch.ones([1] * 9), "Case 1 of 3: expected shape (2, 3, 5, 8), got another shape."),
    ("rotate", lambda *a: Telling(), "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got an object of another"),
    ("kv_cache_elements", lambda config: 7, "Wrong result on case 1 of 5."),
    ("kv_cache_elements", lambda config: torch.ones(512, 3), "Case 1 of 5: expected an integer, got a tensor."),
    ("expanded_attention", lambda *a: torch.ones(2, 3, 5, 8), "Wrong values on case 1 of 4."),
    ("compress", lambda *a: (1,) * 512, "expected 2 values (latent, k_rope), got a tuple."),
    ("kv_cache_elements", lambda config: config["mine"], "It raised a KeyError on case 1 of 5. Run `check(kv_cache_"),
]


@pytest.mark.parametrize(("name", "wrong", "said"), SAID)
def test_a_discreet_message_says_what_came_but_not_what_could_encode_inputs(
    name: str, wrong: Callable[..., Any], said: str
) -> None:
    message = HW1[name].grade(wrong, measure=lambda *a: pytest.fail("nothing to measure")).message
    assert said in message and "512" not in message and "Telling" not in message, message
