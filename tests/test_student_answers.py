"""What `check` says about wrong answers as students write them, and about the notebook that they are in."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor
from torch.nn import functional as F
from traitlets.config import Config

from course_lib.exercises import BANK, check, when_written
from course_lib.exercises.cells import called
from tests.cells import run_cell
from tests.student_answers import ANSWERS, IMPORTS

EXERCISES = {name: exercise for assignment in BANK.values() for name, exercise in assignment.items()}


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize(
    ("name", "what", "cell", "words"), ANSWERS, ids=[f"{name}: {what}" for name, what, *_ in ANSWERS]
)
def test_a_wrong_answer_is_explained(
    name: str, what: str, cell: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_cell(IMPORTS, {"rotate": EXERCISES["rotate"].reference})
    assert check(run_cell(cell, names)[name]) == 0
    said = capsys.readouterr().out
    assert words in said, said
    assert said.count("\n") == 1 and len(said) < 1000


def test_all_functions_have_a_wrong_answer() -> None:
    assert {name for name, *_ in ANSWERS} == set(EXERCISES) and len(ANSWERS) >= 40


# Mistakes in released code: each named, whoever writes it ------------------------------------------------------------


def attention(scale: Callable[[int], float]) -> Callable[..., Tensor]:
    """Queries scaled before the product, by other means than the mistakes in the bank."""

    def wrong(q_nope, q_rope, latent, k_rope, w_uk, w_uv, offset=0) -> Tensor:
        factor = scale(q_nope.shape[-1] + q_rope.shape[-1])
        query = torch.cat([torch.einsum("bshn,hnc->bshc", q_nope, w_uk), q_rope], dim=-1) * factor
        scores = torch.einsum("bshx,btx->bhst", query, torch.cat([latent, k_rope], dim=-1))
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(offset)
        weights = torch.where(seen, scores, -torch.inf).softmax(dim=-1)
        return torch.einsum("bhst,btc,hvc->bshv", weights, latent, w_uv)

    return wrong


def routed(gates: Callable[[Tensor, float], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    def wrong(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0) -> tuple[Tensor, Tensor]:
        indices, _ = EXERCISES["route"].reference(scores, bias, top_k, n_group, topk_group, scale)
        return indices, gates(torch.take_along_dim(scores, indices, dim=1), scale)

    return wrong


def normalised(gates: Tensor) -> Tensor:
    return gates / gates.sum(-1, keepdim=True)


def loss_with_rolled_labels(logits: list[Tensor], tokens: Tensor, weight: float, own: bool) -> Tensor:
    labels, total = tokens.roll(-1, dims=1), torch.zeros(())
    for each in logits:
        labels = labels.roll(-1, dims=1)
        mean = F.cross_entropy(each.mT, labels.roll(-1, dims=1)[:, : each.shape[1]])
        total = total + mean * (1 if own else each.shape[1] / (tokens.shape[1] - 1))
    return weight * total / len(logits)


YARN = 0.1 * math.log(40) + 1
PUBLIC = [
    ("kv_cache_elements", lambda c: EXERCISES["kv_cache_elements"].reference(c) if c.get("kv_lora_rank") is None else
        2 * c["num_hidden_layers"] * c["kv_lora_rank"], "LMCache#694"),
    ("expanded_attention", attention(lambda width: 1 / width), "scaling the scores twice"),
    ("absorbed_attention", attention(lambda width: width**-0.5 * width**-0.5), "scaling the scores twice"),
    ("expanded_attention", attention(lambda width: YARN * YARN / width**0.5), "YaRN's factor"),
    ("absorbed_attention", attention(lambda width: YARN / width**0.5), "YaRN's factor"),
    ("expanded_attention", attention(lambda width: width**0.5), "the root of n + r"),
    ("route", routed(lambda gates, scale: normalised(gates) if gates.shape[1] > 1 else scale * gates), "an `else`"),
    ("route", routed(lambda gates, scale: scale * (normalised(gates) if gates.shape[1] > 1 else gates)),
        "only if top_k > 1"),
    ("update_bias", lambda bias, load, speed: bias + speed * ((s := (load.double().mean() - load).sgn()) - s.mean()),
        "torchtitan#1506"),
    ("mtp_loss", lambda *given: loss_with_rolled_labels(*given, own=False), "miles#2215"),
    ("mtp_loss", lambda *given: loss_with_rolled_labels(*given, own=True), "miles#2215"),
    ("mtp_pairs", lambda t, k: (t[:, k:-1], t.roll(-k - 2, dims=1)[:, : -k - 1]), "miles#2215"),
    ("parameter_counts", lambda c: EXERCISES["parameter_counts"].reference({**c, "n_shared_experts": 1}),
        "minimind#129"),
    ("parameter_counts", lambda c: EXERCISES["parameter_counts"].reference(
        {**c, "n_shared_experts": bool(c["n_shared_experts"])}), "minimind#129"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "words"), PUBLIC)
def test_a_mistake_that_was_made_in_public_is_named(name: str, wrong: Callable[..., Any], words: str) -> None:
    for seed in range(6):
        outcome = EXERCISES[name].grade(wrong, seed)
        assert outcome.points == 0 and words in outcome.message and "matches" in outcome.message, outcome


def test_the_helpers_of_these_tests_are_right_otherwise() -> None:
    assert EXERCISES["absorbed_attention"].grade(attention(lambda width: width**-0.5)).points >= 3
    assert EXERCISES["route"].grade(routed(lambda gates, scale: scale * normalised(gates))).solved


# The order of what is said -------------------------------------------------------------------------------------------


def stopping(at: int, before: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Answers as `before` does, and raises on case number `at`."""
    calls = iter(range(1, 100))

    def fn(*arguments: Any) -> Any:
        if next(calls) == at:
            raise error
        return before(*arguments)

    return fn


@pytest.mark.parametrize("at", [2, 3])
@pytest.mark.parametrize(
    ("name", "before", "said"),
    [
        (
            "rotate",
            lambda x, *rest: x.numpy(),
            "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got a NumPy array.",
        ),
        ("rotate", lambda x, *rest: x.tolist(), "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got a list."),
        ("rotate", lambda x, *rest: x.mT, "Case 1 of 3: expected shape (2, 3, 5, 8), got (2, 3, 8, 5)."),
        ("rotate", lambda x, *rest: x + 1, "Case 1 of 3: 240 of 240 values differ"),
        ("rotate", lambda x, *rest: None, "Case 1 of 3: expected a tensor of shape (2, 3, 5, 8), got None; is the"),
        (
            "rotate",
            lambda x, positions, *rest: EXERCISES["rotate"].reference(x, -positions, *rest),
            "the opposite turn",
        ),
        ("forecast", lambda runs, flops: [1.0], "Case 1 of 3: expected a number, got a list."),
        (
            "affinities",
            lambda x, *rest: x.numpy(),
            "Case 1 of 4: affinities: expected a tensor of shape (5, 7), got a NumPy",
        ),
        (
            "route",
            lambda *a: [x.tolist() for x in EXERCISES["route"].reference(*a)],
            "Case 1 of 6: indices: expected a",
        ),
    ],
)
def test_the_first_case_that_shows_something_decides(name: str, before: Callable[..., Any], said: str, at: int) -> None:
    for error in (RuntimeError("later"), NotImplementedError()):
        outcome = EXERCISES[name].grade(stopping(at, before, error))
        assert said in outcome.message and "later" not in outcome.message and not outcome.unwritten
        assert outcome.points == 0


def test_a_stop_is_told_where_the_answers_before_it_are_right() -> None:
    for name, at in (("rotate", 3), ("forecast", 2), ("route", 4)):
        right = EXERCISES[name].reference
        assert f"It raised an OSError on case {at} of " in EXERCISES[name].grade(stopping(at, right, OSError())).message
        unwritten = EXERCISES[name].grade(stopping(at, right, NotImplementedError()))
        assert unwritten.message.endswith("not written yet.") and unwritten.unwritten
    near = EXERCISES["forecast"].grade(stopping(3, lambda runs, flops: 2.0, OSError("full")))
    assert near.message.startswith("It raised an OSError on case 3 of 3: full.")


def test_an_input_that_is_changed_later_comes_after_a_wrong_answer() -> None:
    def changing(x: Tensor, positions: Tensor, theta: float) -> Any:
        return x.mul_(2) if x.dtype == torch.bfloat16 else x.numpy()

    assert EXERCISES["rotate"].grade(changing).message.startswith("Case 1 of 3: expected a tensor")


def test_answers_before_a_stop_that_match_several_mistakes_name_none() -> None:
    """In its first case, expert_load has one idle expert, the last: what counts the used ones alone cannot be told from
    bincount without minlength."""
    exercise = EXERCISES["expert_load"]
    wrongs = [m for m in exercise.mistakes if "minlength" in m.message or "used experts alone" in m.message]
    for mistake in wrongs:
        said = exercise.grade(stopping(2, mistake.wrong, OSError())).message
        assert said.startswith("Case 1 of 3: expected shape (7,), got (6,).")
        assert exercise.grade(mistake.wrong).message == mistake.message
    assert len(wrongs) == 2


def test_a_wrong_type_in_one_part_comes_before_wrong_values_in_another() -> None:
    exercise = EXERCISES["compress"]
    said = exercise.grade(lambda *a: (exercise.reference(*a)[0] + 1, None)).message
    assert said == "Case 1 of 3: k_rope: expected a tensor of shape (2, 5, 6), got None."


# Numbers and grammar -------------------------------------------------------------------------------------------------


def test_numbers_are_written_in_one_way() -> None:
    def stops(*arguments: Any) -> None:
        raise OSError

    for name, words in (
        ("tokens_per_step", "depth 2"),
        ("mfu", "gpu_hours "),
        ("compress", "theta 500, eps 2"),
        ("affinities", "score 'sigmoid'"),
    ):
        assert words in EXERCISES[name].grade(stops).message
    last = EXERCISES["tokens_per_step"].grade(
        lambda a, depth: 2.5 if a == 1 else EXERCISES["tokens_per_step"].reference(a, depth)
    )
    assert "In this case: acceptance 1, depth 3." in last.message and "expected 4, got 2.5." in last.message
    for exercise in EXERCISES.values():
        said = exercise.grade(stops).message + exercise.grade(lambda *a: -7.5).message
        assert not re.search(r"\d\.0+\b", said), said


def test_one_value_is_not_a_plural() -> None:
    exercise = EXERCISES["verify_greedy"]

    def one_off(draft: Tensor, logits: Tensor) -> Tensor:
        out = exercise.reference(draft, logits).clone()
        out[-1] = (out[-1] + 1) % 11
        return out

    assert re.match(
        r"Case 1 of 6: 1 of 2 values differs, at \[1\]: expected \d+, got \d+\.$", exercise.grade(one_off).message
    )
    short = exercise.grade(
        lambda draft, logits: exercise.reference(draft, logits) if len(draft) > 1 else one_off(draft, logits)
    )
    assert re.match(r"Case 4 of 6: expected \d+, got \d+\.$", short.message)
    assert (
        "60 of 60 values differ, the first at [0, 0, 0]: "
        in EXERCISES["compress"]
        .grade(lambda *a: (EXERCISES["compress"].reference(*a)[0], 3 * EXERCISES["compress"].reference(*a)[1]))
        .message
    )


def test_huge_integers_are_told_by_their_digits() -> None:
    for digits in (30, 5000, 10**6):
        said = EXERCISES["kv_cache_elements"].grade(lambda config, digits=digits: 10**digits).message
        assert re.search(rf"got a number of about {digits}\d? digits\.", said.replace(str(digits + 1), str(digits))), (
            said
        )


@pytest.mark.parametrize("raise_in", ["function", "show"])
def test_long_errors_are_cut_everywhere(raise_in: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("begin " + 5000 * "x" + " end")

    def rotate(*arguments: Any) -> None:
        raise error

    if raise_in == "show":
        when_written(lambda: rotate(), EXERCISES["rotate"].reference)
    else:
        check(rotate)
    said = capsys.readouterr().out
    assert len(said) < 700 and "begin xxx" in said and "xxx [...] xxx" in said and "xxx end" in said
    refused = EXERCISES["route"].grade(lambda *given: _refusing_with(KeyError(5000 * "x"), *given))
    assert "your function raised a KeyError: 'xxx" in refused.message and len(refused.message) < 700


def _refusing_with(error: Exception, scores: Tensor, bias: Tensor, top_k: int, n_group: int = 1, *rest: Any) -> Any:
    if scores.shape[-1] == n_group and n_group > 1:
        raise error
    return EXERCISES["route"].reference(scores, bias, top_k, n_group, *rest)


# The notebook around a function --------------------------------------------------------------------------------------


WRONG_ROTATE = "def rotate(x, positions, theta=1e4):\n    return -x"
COMPRESS = """
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    wide = latent.to(torch.promote_types(latent.dtype, torch.float32))
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain, turned(key, positions, theta)
"""


def test_a_function_that_calls_a_wrong_exercise_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_cell(IMPORTS + WRONG_ROTATE)
    run_cell(
        "def turned(key, positions, theta):\n    print('turning')\n    return rotate(key, positions, theta)", names
    )
    compress = run_cell(COMPRESS, names)["compress"]
    assert check(compress) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line != "turning"]
    assert len(said) == 1
    assert said[0].startswith(
        "compress: ✗ 0 of 3 points. It calls rotate, which has no ✓ yet: start there. Case 1 of 3: "
    )
    names["rotate"] = EXERCISES["rotate"].reference  # what is right is not mentioned
    assert check(compress) == 3
    assert "rotate" not in capsys.readouterr().out
    run_cell(COMPRESS.replace("+ eps", "+ 2 * eps"), names)
    assert check(names["compress"]) == 0
    assert "rotate" not in capsys.readouterr().out


def test_a_function_is_not_told_to_start_with_what_it_does_not_call(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_cell(IMPORTS + WRONG_ROTATE)
    run_cell("def compress(x, *rest):\n    return x.rotate, None", names)
    assert check(names["compress"]) == 0
    assert "start there" not in capsys.readouterr().out
    run_cell("def rotate(*given):\n    return rotate(*given)", names)
    assert check(names["rotate"]) == 0
    assert "start there" not in capsys.readouterr().out
    run_cell(
        "def rotate(*given):\n    raise NotImplementedError\ndef compress(*given):\n    return rotate(*given)", names
    )
    assert check(names["compress"]) == 0
    assert capsys.readouterr().out.endswith("0 of 3 points. It calls rotate, which is not written yet.\n")


def test_a_call_from_a_function_within_is_found() -> None:
    names = run_cell("def rotate(x): return x\ndef compress(xs): return list(map(lambda x: rotate(x), xs))")
    assert called(names["compress"], ["rotate", "compress"]) == {"rotate": names["rotate"]}


@pytest.fixture
def notebook() -> Iterator[Callable[[str], None]]:
    """Runs a cell as a notebook does, and keeps it in the history."""
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    shell = InteractiveShell.instance(config=config)
    shell.user_ns["check"] = check
    yield lambda cell: shell.run_cell(cell, store_history=True) and None
    assert shell.history_manager is not None
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


RIGHT_AT_FIRST = "def tokens_per_step(acceptance, depth):\n    return 1.0"
OLDER = "This is an older tokens_per_step. The cell that defines it did not run ("


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (
            "def tokens_per_step(acceptance, depth):\n    return (acceptance",
            "SyntaxError in line 2: '(' was never closed",
        ),
        ("def tokens_per_step(acceptance, depth)\n    return acceptance", "SyntaxError in line 1: expected ':'"),
        ("def tokens_per_step(acceptance, depth):\nreturn acceptance", "IndentationError in line 2"),
        (f"half = (\n{RIGHT_AT_FIRST}", "SyntaxError in line"),
        ("one / two\ndef tokens_per_step(acceptance, depth):\n    return acceptance", "it stopped before the `def`"),
    ],
)
def test_a_function_whose_cell_failed_is_older(
    later: str, why: str, notebook: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    notebook(RIGHT_AT_FIRST)
    notebook("check(tokens_per_step)")
    assert "older" not in capsys.readouterr().out
    notebook(later)
    capsys.readouterr()
    notebook("check(tokens_per_step)")
    said = capsys.readouterr().out
    assert said.startswith(f"{OLDER}{why}") and "tokens_per_step: ✗ 0 of 1 points." in said
    notebook(RIGHT_AT_FIRST.replace("1.0", "2.0"))
    notebook("check(tokens_per_step)")
    assert "older" not in capsys.readouterr().out


def test_a_function_is_not_older_for_other_reasons(
    notebook: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in (
        f"{RIGHT_AT_FIRST}\ncheck(tokens_per_step)",
        "# def tokens_per_step(acceptance, depth):",
        "text = 'def tokens_per_step('",
        "def tokens_per_step_too(acceptance, depth):\n    return (",
        f"import functools\n@functools.cache\n{RIGHT_AT_FIRST.replace('1.0', '3.0')}",
        f"%%capture\n{RIGHT_AT_FIRST.replace('1.0', '4.0')}",
        "from course_lib.exercises import BANK\ntokens_per_step = BANK['hw3_mtp']['tokens_per_step'].reference",
        "tokens_per_step = lambda a, depth: a\ntokens_per_step.__name__ = 'tokens_per_step'",
        "In = 3",
    ):
        notebook(cell)
        notebook("check(tokens_per_step)")
    said = capsys.readouterr().out
    assert "older" not in said and said.count("tokens_per_step: ") == 10
