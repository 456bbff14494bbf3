"""The exercises of hw3_mtp: solutions written otherwise, mistakes written otherwise, what the cases must show."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import mtp, speculative
from course_lib.exercises import BANK

HW3 = BANK["hw3_mtp"]
SEEDS = range(12)


def test_points() -> None:
    assert {name: exercise.points for name, exercise in HW3.items()} == {
        "mtp_pairs": 3, "mtp_input": 3, "mtp_loss": 4, "verify_greedy": 4, "verify_sampled": 5, "tokens_per_step": 1,
    }  # fmt: skip


# Right solutions, written another way --------------------------------------------------------------------------------


def pairs_by_loops(tokens: Tensor, depth: int) -> list[Tensor]:
    rows = tokens.tolist()
    inputs = len(rows[0]) - 1
    embedded = [[row[i + depth] for i in range(inputs - depth)] for row in rows]
    return [torch.tensor(embedded), torch.tensor([[row[i + depth + 1] for i in range(inputs - depth)] for row in rows])]


def pairs_by_windows(tokens: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    windows = tokens.unfold(1, depth + 2, 1)
    return windows[..., depth].int(), windows[..., -1].double()


def pairs_by_shifts(tokens: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """A roll, and what wrapped round cut off."""
    x, y = tokens[:, :-1], tokens[:, 1:]
    return x.roll(-depth, 1)[:, :-depth], y.roll(-depth, 1)[:, :-depth]


def input_by_library(hidden, embedding, gain_h, gain_e, proj, eps=1e-6) -> Tensor:
    size = gain_h.shape
    joined = torch.cat([F.rms_norm(hidden, size, gain_h, eps), F.rms_norm(embedding, size, gain_e, eps)], dim=-1)
    return F.linear(joined, proj)


def input_by_modules(hidden, embedding, gain_h, gain_e, proj, eps=1e-6) -> Tensor:
    """In float32, with what keeps a gradient."""
    layer = nn.Linear(proj.shape[1], proj.shape[0], bias=False)
    norms = [nn.RMSNorm(len(gain_h), eps=eps) for _ in range(2)]
    with torch.no_grad():
        for parameter, value in zip((layer.weight, *(n.weight for n in norms)), (proj, gain_h, gain_e), strict=True):
            parameter.copy_(value)
    return layer(torch.cat([norms[0](hidden.float()), norms[1](embedding.float())], dim=2))


def input_by_halves(hidden, embedding, gain_h, gain_e, proj, eps=1e-6) -> Tensor:
    out = torch.zeros(hidden.shape, dtype=torch.float64)
    for x, gain, half in zip((hidden, embedding), (gain_h, gain_e), proj.chunk(2, dim=1), strict=True):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] += half @ (gain * x[i, j] / math.sqrt(float((x[i, j] ** 2).sum()) / len(gain) + eps))
    return out


def loss_by_loops(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
    inputs, per_sequence = tokens.shape[1] - 1, []
    for row in range(len(tokens)):
        losses = []
        for depth, each in enumerate(logits, 1):
            scores = each[row].tolist()
            right = [int(tokens[row, i + depth + 1]) for i in range(inputs - depth)]
            terms = [
                math.log(sum(map(math.exp, line))) - line[token] for line, token in zip(scores, right, strict=True)
            ]
            losses.append(sum(terms) / inputs)
        per_sequence.append(weight * sum(losses) / len(losses))
    return sum(per_sequence) / len(per_sequence)


def loss_from_means(logits: list[Tensor], tokens: Tensor, weight: float) -> Tensor:
    """In float32, with a gradient; means that are brought from T-k to T."""
    inputs, losses = tokens.shape[1] - 1, []
    for k in range(1, len(logits) + 1):
        scores = logits[k - 1].float().requires_grad_().transpose(1, 2)
        losses.append(F.cross_entropy(scores, tokens[:, k + 1 :]) * (inputs - k) / inputs)
    return weight * torch.stack(losses).mean()


def loss_with_ignored(logits: list[Tensor], tokens: Tensor, weight: float) -> Tensor:
    """Padded to T positions, of which the last do not count but are divided by."""
    total = torch.zeros(())
    for index, each in enumerate(logits):
        targets = F.pad(tokens[:, index + 2 :], (0, index + 1), value=-100)
        padded = F.pad(each, (0, 0, 0, index + 1))
        total = total + F.cross_entropy(padded.mT, targets, reduction="none", ignore_index=-100).mean()
    return total * weight / len(logits)


def greedy_by_loop(draft: Tensor, target_logits: Tensor) -> Tensor:
    out = []
    for j, row in enumerate(target_logits):
        out.append(int(row.argmax()))
        if j == len(draft) or out[-1] != draft[j]:
            break
    return torch.tensor(out, dtype=torch.int32)


def greedy_by_search(draft: Tensor, target_logits: Tensor) -> Tensor:
    best = target_logits.float().softmax(-1).max(-1).indices
    wrong = (draft != best[: len(draft)]).nonzero()
    end = wrong[0, 0] if len(wrong) else len(draft)
    return torch.cat([draft[:end], best[end].unsqueeze(0)])


def sampled_by_loops(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    q, p, u, out = draft_probs.tolist(), target_probs.tolist(), uniforms.tolist(), []
    weights = p[len(draft)]
    for j, token in enumerate(draft.tolist()):
        if not u[j] < p[j][token] / q[j][token]:
            weights = [max(a - b, 0.0) for a, b in zip(p[j], q[j], strict=True)]
            break
        out.append(token)
    below = 0.0
    for token, weight in enumerate(weights):
        below += weight / sum(weights)
        if below > u[-1]:
            return torch.tensor([*out, token])
    raise AssertionError


def sampled_by_search(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    """All at once, in float32; the uniform is scaled, not the residual, and nothing is drafted after the draft."""
    k, p, q, u = len(draft), target_probs.float(), draft_probs.float(), uniforms.float()
    rows = torch.arange(k)
    kept = int((u[:k] < (p[rows, draft] / q[rows, draft]).clamp(max=1)).int().cumprod(0).sum())
    cdf = torch.relu(p - F.pad(q, (0, 0, 0, 1)))[kept].cumsum(0)
    return torch.cat([draft[:kept], torch.searchsorted(cdf, u[-1:] * cdf[-1], right=True)])


def sampled_in_logs(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    weights, out = target_probs[-1], []
    for j, token in enumerate(draft):
        if uniforms[j].log() >= target_probs[j, token].log() - draft_probs[j, token].log():
            weights = torch.maximum(target_probs[j], draft_probs[j]) - draft_probs[j]
            break
        out.append(token)
    out.append((weights.cumsum(0) <= uniforms[-1] * weights.sum()).sum())
    return torch.stack(out)


def speed_by_horner(acceptance: float, depth: int) -> float:
    tokens = 1.0
    for _ in range(depth):
        tokens = 1 + acceptance * tokens
    return tokens


OTHERWISE = [
    ("mtp_pairs", pairs_by_loops),
    ("mtp_pairs", pairs_by_windows),
    ("mtp_pairs", pairs_by_shifts),
    ("mtp_input", input_by_library),
    ("mtp_input", input_by_modules),
    ("mtp_input", input_by_halves),
    ("mtp_loss", loss_by_loops),
    ("mtp_loss", loss_from_means),
    ("mtp_loss", loss_with_ignored),
    ("mtp_loss", mtp.mtp_loss),
    ("verify_greedy", greedy_by_loop),
    ("verify_greedy", greedy_by_search),
    ("verify_greedy", speculative.verify_greedy),
    ("verify_sampled", sampled_by_loops),
    ("verify_sampled", sampled_by_search),
    ("verify_sampled", sampled_in_logs),
    ("verify_sampled", speculative.verify_sampled),
    ("tokens_per_step", speed_by_horner),
    ("tokens_per_step", lambda a, depth: depth + 1 if a == 1 else (1 - a ** (depth + 1)) / (1 - a)),
    ("tokens_per_step", lambda a, depth: (torch.tensor(a) ** torch.arange(depth + 1)).sum()),
    ("tokens_per_step", speculative.tokens_per_step),
]


@pytest.mark.parametrize(("name", "solution"), OTHERWISE)
def test_a_right_solution_written_another_way_earns_everything(name: str, solution: Callable[..., Any]) -> None:
    for seed in SEEDS:
        outcome = HW3[name].grade(solution, seed)
        assert outcome.solved, outcome


# Wrong solutions, written another way --------------------------------------------------------------------------------


def pairs_by_modulo(tokens: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    inputs = tokens.shape[1] - 1
    places = (torch.arange(inputs) + depth) % inputs
    return tokens[:, :-1][:, places], tokens[:, 1:][:, places]


def input_with_layer_norm(hidden, embedding, gain_h, gain_e, proj, eps=1e-6) -> Tensor:
    normed = [F.layer_norm(x, gain.shape, gain, eps=eps) for x, gain in ((hidden, gain_h), (embedding, gain_e))]
    return F.linear(torch.cat(normed, dim=-1), proj)


def input_stored(hidden, embedding, gain_h, gain_e, proj, eps=1e-6) -> Tensor:
    return input_by_library(hidden, embedding, gain_h, gain_e, torch.cat(proj.chunk(2, dim=1)[::-1], dim=1), eps)


def loss_by_library(logits: list[Tensor], tokens: Tensor, weight: float) -> Tensor:
    terms = [F.cross_entropy(each.flatten(0, 1), tokens[:, k + 2 :].flatten()) for k, each in enumerate(logits)]
    return weight * sum(terms, torch.zeros(())) / len(logits)


def loss_from_depth_0(logits: list[Tensor], tokens: Tensor, weight: float) -> Tensor:
    total, inputs = torch.zeros(()), tokens.shape[1] - 1
    for depth, each in enumerate(logits):
        targets = tokens[:, depth + 1 :][:, : each.shape[1]]
        total = total + F.cross_entropy(each.mT, targets, reduction="sum") / inputs
    return weight * total / len(logits) / len(tokens)


def greedy_without_stop(draft: Tensor, target_logits: Tensor) -> Tensor:
    out = [int(row.argmax()) for row in target_logits[:-1]]
    return torch.tensor([*out, int(target_logits[-1].argmax())])


def greedy_if_sure(draft: Tensor, target_logits: Tensor) -> Tensor:
    out = []
    for token, row in zip(draft, target_logits, strict=False):
        if row.softmax(-1).max() < 0.7:
            break
        out.append(int(token))
    return torch.tensor([*out, int(target_logits[len(out)].argmax())])


def greedy_in_a_loop(draft: Tensor, target_logits: Tensor) -> Tensor:
    """Returns as soon as a token is refused, and forgets to add one when none is."""
    out = []
    for token, own in zip(draft.tolist(), target_logits.argmax(-1).tolist(), strict=False):
        out.append(own)
        if token != own:
            break
    return torch.tensor(out)


def sampled_from(weights: Callable[[Tensor, Tensor], Tensor], normalise: bool = True) -> Callable[..., Tensor]:
    """Right, but for the weights that replace a refused token; a list, as a loop makes it."""

    def wrong(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
        kept, out = target_probs[-1], []
        for token, u, q, p in zip(draft, uniforms, draft_probs, target_probs, strict=False):
            if u >= p[token] / q[token]:
                kept = weights(p, q)
                break
            out.append(int(token))
        kept = kept / kept.sum() if normalise else kept
        return torch.tensor([*out, int(torch.searchsorted(kept.cumsum(0), uniforms[-1], right=True))])

    return wrong


def sampled_past_refusals(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    out, left = [], target_probs[-1]
    for token, u, q, p in zip(draft, uniforms, draft_probs, target_probs, strict=False):
        if u * q[token] < p[token]:
            out.append(int(token))
        elif left is target_probs[-1]:
            left = (p - q).clamp(min=0)
    return torch.tensor([*out, int((left.cumsum(0) <= uniforms[-1] * left.sum()).sum())])


def sampled_from_row(row: int) -> Callable[..., Tensor]:
    """Draws from a residual whatever was accepted."""

    def wrong(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
        right = sampled_by_loops(draft, draft_probs, target_probs, uniforms)
        if len(right) <= len(draft):
            return right
        cdf = torch.relu(target_probs[-1] - draft_probs[row if row < 0 else len(draft)]).cumsum(0)
        return torch.cat([draft, (cdf > uniforms[-1] * cdf[-1]).nonzero()[0]])

    return wrong


def sampled_from_above(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    """With 1 - u for the last."""
    kept = len(sampled_by_loops(draft, draft_probs, target_probs, uniforms)) - 1
    weights = torch.relu(target_probs - F.pad(draft_probs, (0, 0, 0, 1)))[kept]
    cdf = (weights / weights.sum()).cumsum(0)
    return torch.tensor([*draft[:kept].tolist(), int(torch.searchsorted(cdf, 1 - uniforms[-1], right=True))])


def loss_reshaped(logits: list[Tensor], tokens: Tensor, weight: float) -> Tensor:
    b, window = tokens.shape
    losses = [
        F.cross_entropy(each.reshape(b, -1, window - 1 - k), tokens[:, k + 1 :], reduction="sum")
        for k, each in enumerate(logits, 1)
    ]
    return weight * torch.stack(losses).mean() / b / (window - 1)


def greedy_to(find: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """Up to where `find` sees the first mismatch."""

    def wrong(draft: Tensor, target_logits: Tensor) -> Tensor:
        best = target_logits.argmax(-1)
        end = int(find(draft == best[:-1]))
        return torch.cat([draft[:end], best[end : end + 1]])

    return wrong


def first_mismatch(same: Tensor) -> int:
    for j in range(len(same)):
        if not same[j]:
            stop = j
            break
    return stop  # pyright: ignore[reportPossiblyUnboundVariable]


def last_looked_at(same: Tensor) -> int:
    for j in range(len(same)):
        if not same[j]:
            break
    return j  # pyright: ignore[reportPossiblyUnboundVariable]


def greedy_of_what_was_seen(draft: Tensor, target_logits: Tensor) -> Tensor:
    seen = []
    for drafted, row in zip(draft, target_logits, strict=False):
        seen.append(row.argmax())
        if drafted != row.argmax():
            break
    return torch.stack(seen)


def sampled_where_refused(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    kept = []
    for token, q, p, u in zip(draft, draft_probs, target_probs, uniforms, strict=False):
        if u * q[token] >= p[token]:
            weights = (p - q).relu()
            break
        kept.append(token)
    cdf = (weights / weights.sum()).cumsum(0)  # pyright: ignore[reportPossiblyUnboundVariable]
    return torch.stack([*kept, torch.searchsorted(cdf, uniforms[-1], right=True)])


def speed_from_tensor(acceptance: float, depth: int) -> Tensor:
    a = torch.tensor(acceptance)
    return (1 - a ** (depth + 1)) / (1 - a)


NAMED = [
    ("mtp_pairs", pairs_by_modulo, "wrap round the end"),
    ("mtp_pairs", lambda tokens, depth: (tokens[:, 1 + depth :],) * 2, "joining the target itself"),
    ("mtp_pairs", lambda tokens, depth: pairs_by_loops(tokens, depth - 1), "one depth less"),
    ("mtp_pairs", lambda tokens, depth: pairs_by_windows(tokens[:, :-1], depth), "the last target left out"),
    ("mtp_input", input_with_layer_norm, "a layer norm"),
    ("mtp_input", input_stored, "as some released weights store it"),
    ("mtp_input", lambda *a: input_by_library(*a[:5]), "without the eps"),
    ("mtp_input", lambda h, e, a, b, w, eps: input_by_library(h, e, b, a, w, eps), "the gains exchanged"),
    ("mtp_loss", loss_by_library, "a division by T-k"),
    ("mtp_loss", loss_from_depth_0, "taken as depth 0"),
    ("mtp_loss", lambda x, t, w: loss_from_means([y.softmax(-1) for y in x], t, w), "a second softmax"),
    ("mtp_loss", lambda x, t, w: len(x) * loss_from_means(x, t, w), "not divided by their number D"),
    ("mtp_loss", lambda x, t, w: loss_by_loops(x, t, w) / len(x), "a division by D twice"),
    ("mtp_loss", loss_reshaped, "reshaped to b z T-k"),
    ("mtp_loss", lambda x, t, w: len(x) / (len(x) + 1) * loss_by_loops(x, t, w), "a division by D+1"),
    ("verify_greedy", greedy_without_stop, "past the first mismatch"),
    ("verify_greedy", greedy_if_sure, "while the target is sure of itself"),
    ("verify_greedy", greedy_in_a_loop, "no bonus when all are accepted"),
    ("verify_greedy", lambda draft, x: torch.cat([draft, x[-1:].argmax(-1)]), "the last row's token: keep"),
    ("verify_greedy", greedy_to(lambda same: (~same).int().argmax() if len(same) else 0), "where there is none"),
    ("verify_greedy", lambda draft, x: len(greedy_by_loop(draft, x)) - 1, "a count"),
    ("verify_greedy", lambda draft, x: greedy_by_loop(draft, F.one_hot(x.argmax(0)[: len(x)])), "argmax over axis 0"),
    ("verify_sampled", sampled_from(lambda p, q: p), "drawn anew from p"),
    ("verify_sampled", sampled_from(lambda p, q: torch.relu(p - q), normalise=False), "not normalised"),
    ("verify_sampled", sampled_from(lambda p, q: torch.relu(q - p)), "the wrong way round"),
    ("verify_sampled", sampled_past_refusals, "going on after a refusal"),
    ("verify_sampled", sampled_from_above, "adds up in another order"),
    ("tokens_per_step", speed_from_tensor, "0/0 at a = 1"),
    ("tokens_per_step", lambda a, depth: sum(a**j for j in range(depth)), "stops one short"),
    ("tokens_per_step", lambda a, depth: sum(a**j for j in range(1, depth + 1)), "the accepted drafts alone"),
    ("tokens_per_step", lambda a, depth: 1 + torch.tensor(a), "1 + a, as if one token"),
    ("tokens_per_step", lambda a, depth: round(speed_by_horner(a, depth), 2), "a rounded number"),
    ("tokens_per_step", lambda a, depth: math.prod([1 + a] * depth), "a power of 1 + a"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), NAMED)
def test_a_mistake_written_another_way_is_named(name: str, wrong: Callable[..., Any], message: str) -> None:
    for seed in SEEDS:
        outcome = HW3[name].grade(wrong, seed)
        assert outcome.points == 0 and message in outcome.message, outcome


STOPS = [
    ("tokens_per_step", lambda a, depth: (a ** (depth + 1) - 1) / (a - 1), "3 of 3: ZeroDivisionError", "0/0 at a = 1"),
    ("tokens_per_step", lambda a, depth: (1 - a**depth) / (1 - a), "3 of 3: ZeroDivisionError", "stops one short"),
    ("tokens_per_step", lambda a, depth: (1 - a) ** -1, "3 of 3: ZeroDivisionError", "drafts without end"),
    ("verify_greedy", greedy_to(lambda same: same.int().argmin()), "4 of 6: IndexError", "where there is none"),
    ("verify_greedy", greedy_to(lambda same: (~same).nonzero()[0]), "3 of 6: IndexError", "where there is none"),
    ("verify_greedy", greedy_to(lambda same: same.tolist().index(False)), "3 of 6: ValueError", "where there is none"),
    ("verify_greedy", greedy_to(first_mismatch), "3 of 6: UnboundLocalError", "a count that only a mismatch sets"),
    ("verify_greedy", greedy_to(last_looked_at), "4 of 6: UnboundLocalError", "a count that only a mismatch sets"),
    ("verify_greedy", greedy_of_what_was_seen, "4 of 6: RuntimeError", "no bonus when all are accepted"),
    ("verify_sampled", sampled_where_refused, "3 of 9: UnboundLocalError", "probabilities that only a refusal sets"),
    ("verify_sampled", sampled_from_row(-1), "4 of 9: IndexError", "a bonus token from a residual"),
    ("verify_sampled", sampled_from_row(0), "3 of 9: IndexError", "a bonus token from a residual"),
]


@pytest.mark.parametrize(("name", "wrong", "where", "message"), STOPS)
def test_a_mistake_that_stops_is_named_too(name: str, wrong: Callable[..., Any], where: str, message: str) -> None:
    for seed in SEEDS:
        said = HW3[name].grade(wrong, seed).message
        number, error = where.split(": ")
        assert re.match(rf"It raised an? {error} on case {number}[:.] ", said) and message in said, said


def raised(error: Exception) -> float:
    raise error


def test_a_stop_is_named_only_after_the_same_answers_and_with_the_same_error() -> None:
    exercise = HW3["tokens_per_step"]

    def stopping(factor: float, error: type[Exception]) -> Callable[[float, int], float]:
        return lambda a, depth: raised(error("oh")) if a == 1 else factor * exercise.reference(a, depth)

    for error in (ValueError, TypeError):
        told = f"{error.__name__} on case 3 of 3: oh. Its inputs: acceptance 1, depth 3."
        assert told in exercise.grade(stopping(1.0, error)).message
    assert exercise.grade(stopping(2.0, ZeroDivisionError)).message.startswith("Case 1 of 3: expected ")
    assert exercise.grade(lambda a, depth: 1 / 0).message.startswith("It raised a ZeroDivisionError on case 1 of 3: ")
    assert "matches" not in exercise.grade(lambda a, depth: 1 / 0).message.partition(" The line: ")[0]


def test_a_draw_of_ones_own_is_told_what_draws() -> None:
    def drawn(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
        right = sampled_by_loops(draft, draft_probs, target_probs, uniforms)
        return torch.cat([right[:-1], torch.tensor([5 if right[-1] == 3 else 3])])

    message = HW3["verify_sampled"].grade(drawn).message
    assert "values differ" in message and message.endswith(HW3["verify_sampled"].note)
    assert HW3["verify_sampled"].grade(lambda *a: None).message.endswith("got None; is the `return` missing?")


@pytest.mark.parametrize("bar", [0.12, 0.2, 0.25, 0.35, 0.4, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("of_draft", [True, False])
def test_no_bar_of_sureness_is_right(bar: float, of_draft: bool) -> None:
    def sure(draft: Tensor, logits: Tensor) -> Tensor:
        probs = logits.softmax(-1)[:-1]
        stands = (probs.gather(-1, draft[:, None])[:, 0] if of_draft else probs.amax(-1)) > bar
        kept = int(stands.cumprod(0).sum())
        return torch.cat([draft[:kept], logits[kept : kept + 1].argmax(-1)])

    for seed in SEEDS:
        assert HW3["verify_greedy"].grade(sure, seed).points == 0


def test_messages_are_short_and_tell_the_mistake() -> None:
    for exercise in HW3.values():
        for mistake in exercise.misconceptions:
            assert mistake.message.startswith("This matches ") and mistake.message.endswith(".")
            assert len(re.findall(r"\.(?= |$)", mistake.message)) <= 2 and "—" not in mistake.message


# What else can go wrong ----------------------------------------------------------------------------------------------


def first_logits_changed(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
    logits[0] *= 1.0000001
    return loss_by_loops(logits, tokens, weight)


def logits_taken_out(logits: list[Tensor], tokens: Tensor, weight: float) -> float:
    loss = loss_by_loops(logits, tokens, weight)
    logits.pop()
    return loss


def logits_replaced(logits: list[Any], tokens: Tensor, weight: float) -> float:
    loss = loss_by_loops(logits, tokens, weight)
    logits[1] = None
    return loss


@pytest.mark.parametrize(
    ("name", "fn", "message"),
    [
        ("tokens_per_step", lambda a, depth: None, "expected a number, got None; is the `return` missing?"),
        ("mtp_loss", first_logits_changed, "It changed its input logits"),
        ("mtp_loss", logits_taken_out, "It changed its input logits"),
        ("mtp_loss", logits_replaced, "It changed its input logits"),
        ("mtp_loss", lambda x, *a: x[9], "Its inputs: logits [(2, 8, 11), (2, 7, 11), (2, 6, 11)], tokens (2, 10)"),
        ("mtp_loss", lambda x, *a: x, "expected a number, got a list."),
        ("mtp_pairs", lambda *a: None, "expected 2 values (joined, predicted), got None"),
        ("mtp_pairs", lambda t, k: t, "expected 2 values (joined, predicted), got a tensor of shape (2, 9)"),
        ("mtp_input", lambda *a: input_by_library(*a).mT, "The axes are b s d; yours look like b d s."),
        ("verify_greedy", lambda *a: greedy_by_loop(*a).tolist(), "expected a tensor of shape (2,), got a list."),
        ("verify_greedy", lambda *a: 7 + 0 * greedy_by_loop(*a), "values differ, the first at [0]: expected"),
        ("verify_sampled", lambda d, q, p, u: q[-1], "Case 1 of 9: expected shape (3,), got (9,)."),
    ],
)
def test_what_is_wrong_is_said(name: str, fn: Callable[..., Any], message: str) -> None:
    outcome = HW3[name].grade(fn)
    assert outcome.points == 0 and message in outcome.message, outcome


# What the cases must show --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_every_branch_of_verification_has_a_case(seed: int) -> None:
    for name in ("verify_greedy", "verify_sampled"):
        cases = HW3[name].cases(seed)
        kept = [len(HW3[name].reference(*case.values())) - 1 for case in cases]
        ends = {(n == 0, n == len(case["draft"])) for n, case in zip(kept, cases, strict=True)}
        assert ends == {(True, True), (True, False), (False, False), (False, True)}
        for case in cases:  # axes of different sizes
            z = next(iter(x for key, x in case.items() if key.startswith("target"))).shape[1]
            assert len(case["draft"]) + 1 < z


@pytest.mark.parametrize("seed", SEEDS)
def test_probabilities_are_exact_and_uniforms_are_at_every_edge(seed: int) -> None:
    at_equality, at_a_step, smallest, draws_at = 0, 0, 0, []
    for draft, q, p, u in (case.values() for case in HW3["verify_sampled"].cases(seed)):
        for rows in (q, p):
            assert (rows * 32 == (rows * 32).round()).all() and (rows.sum(-1) == 1).all()
        assert (q.gather(-1, draft[:, None]) > 0).all() and (u >= 0).all() and (u < 1).all()
        of_q, of_p = (rows[: len(draft)].gather(-1, draft[:, None])[:, 0] for rows in (q, p))
        at_equality += int((u[:-1] * of_q == of_p).sum())
        kept = len(sampled_by_loops(draft, q, p, u)) - 1
        weights = (p[kept] - q[kept]).clamp(min=0) if kept < len(draft) else p[-1]
        near = ((weights.cumsum(0) / weights.sum())[:-1] - u[-1]).abs()
        assert ((near == 0) | (near > 1e-3)).all()
        at_a_step += int((near == 0).any() and u[-1] > 0)
        smallest += int(u[-1] == 0 and weights[0] == 0)
        draws_at.append(u[-1].item())
    assert at_equality == 2 and at_a_step == 2 and smallest == 1 and max(draws_at) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_of_the_target_have_no_ties(seed: int) -> None:
    for case in HW3["verify_greedy"].cases(seed):
        best = case["target_logits"].topk(2).values
        assert (best[:, 0] - best[:, 1] > 0.15).all()


# Against code that shares nothing with the references -----------------------------------------------------------------


def test_what_is_sampled_follows_the_target() -> None:
    """Exactly: ratios are quarters and the residual's CDF has fifths, so a grid of 4 x 5 uniforms makes no error."""
    q, p = torch.tensor([[8.0, 2.0, 4.0, 2.0]]).double() / 16, torch.tensor([[4.0, 5.0, 3.0, 4.0]] * 2).double() / 16
    first = torch.zeros(4, dtype=torch.float64)
    grids = [(torch.arange(steps, dtype=torch.float64) + 0.5) / steps for steps in (4, 5)]
    for token in range(4):
        for u in torch.cartesian_prod(*grids):
            out = HW3["verify_sampled"].reference(torch.tensor([token]), q, p, u)
            first[out[0]] += q[0, token] / 20
    torch.testing.assert_close(first, p[0], rtol=0, atol=1e-12)


def test_the_pairs_are_those_of_the_loss() -> None:
    """Logits that are sure of each pair's target make the loss 0."""
    tokens = torch.randperm(20)[:18].view(2, 9)
    logits = [100.0 * F.one_hot(HW3["mtp_pairs"].reference(tokens, k)[1], 20) for k in (1, 2, 3)]
    assert HW3["mtp_loss"].reference(logits, tokens, 0.3) == pytest.approx(0.0, abs=1e-12)
