"""hw3_mtp, which token a depth reads, and which it predicts (arXiv:2412.19437 section 2.2)."""

from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section

Pairs = tuple[Tensor, Tensor]


def mtp_pairs(tokens: Tensor, depth: int) -> Pairs:
    return tokens[:, depth:-1], tokens[:, depth + 1 :]


def pairs_cases(seed: int) -> list[Case]:
    """No token stands twice, so that each place shows."""
    draw = Draw(seed)
    return [
        {"tokens": (1 + draw.order(90)[: b * window]).view(b, window), "depth": depth}
        for b, window, depth in ((2, 9, 1), (3, 7, 2), (4, 11, 3))
    ]


def positions(tokens: Tensor, depth: int) -> int:
    """T - depth, how many positions have a target."""
    return tokens.shape[1] - 1 - depth


def padded(embedded: int, target: int) -> tuple[Misconception, ...]:
    """Filled up at the end, to T positions and to T + 1."""

    def up_to(extra: int):
        def wrong(tokens: Tensor, depth: int) -> Pairs:
            first, second = mtp_pairs(tokens, depth)
            return F.pad(first, (0, depth + extra), value=embedded), F.pad(second, (0, depth + extra), value=target)

        return wrong

    return tuple(Misconception(PADDED, up_to(extra)) for extra in (0, 1))


PREDICTS_EMBEDDED = (
    "This matches predicting token i+depth: that token is the one joined, so it is known. The target is i+depth+1."
)
LEAK = "This matches joining the target itself: what is to be predicted would be read. Join token i+depth."
WRAPS = "This matches tokens that wrap round the end: the last `depth` positions have no target, so leave them out."
ROLLED_BACK = "This matches a roll in the other direction: later tokens move to earlier positions, by -depth."
PADDED = "This matches rows filled up at the end: a position without a target is left out, T - depth remain."
TOO_SHALLOW = (
    "This matches one depth less: depth 1 joins token i+1 and predicts token i+2. "
    "To read i and predict i+1 is the main model's part."
)
TOO_DEEP = "This matches one depth more: depth 1 joins token i+1 and predicts token i+2, counted from 0."
MAIN_MODEL = "This matches the main model's own pairs, i and i+1: both move on by `depth`."
TOO_EARLY = "This matches joining one token early: position i joins token i+depth."
LAST_TARGET = "This matches the last target left out: `tokens` holds T inputs and one target more, so T - depth remain."
ONE_TOO_MANY = (
    "This matches one joined token too many: the last one is only a target, nothing after it can be predicted."
)

MTP_PAIRS = Exercise(
    name="mtp_pairs",
    points=3,
    lesson=Section("05_mtp", "What is asked"),
    reference=mtp_pairs,
    cases=pairs_cases,
    parts=("joined", "predicted"),
    mistakes=[
        Misconception(PREDICTS_EMBEDDED, lambda t, k: (t[:, k:-1], t[:, k:-1])),
        Misconception(PREDICTS_EMBEDDED, lambda t, k: (t[:, k:], t[:, k:])),
        Misconception(LEAK, lambda t, k: (t[:, k + 1 :], t[:, k + 1 :])),
        Misconception(WRAPS, lambda t, k: (t.roll(-k, 1), t.roll(-k - 1, 1))),
        Misconception(WRAPS, lambda t, k: (t.roll(-k, 1)[:, :-1], t.roll(-k - 1, 1)[:, :-1])),
        Misconception(WRAPS, lambda t, k: (t[:, :-1].roll(-k, 1), t[:, 1:].roll(-k, 1))),
        Misconception(WRAPS, lambda t, k: (t.roll(-k), t.roll(-k - 1))),
        Misconception(WRAPS, lambda t, k: (t.roll(-k)[:, :-1], t.roll(-k - 1)[:, :-1])),
        Misconception(WRAPS, lambda t, k: (t[:, :-1].roll(-k), t[:, 1:].roll(-k))),
        Misconception(ROLLED_BACK, lambda t, k: (t.roll(k, 1), t.roll(k + 1, 1))),
        Misconception(ROLLED_BACK, lambda t, k: (t[:, :-1].roll(k, 1), t[:, 1:].roll(k, 1))),
        Misconception(
            ROLLED_BACK, lambda t, k: (t.roll(k, 1)[:, : positions(t, k)], t.roll(k + 1, 1)[:, : positions(t, k)])
        ),
        *(mistake for values in ((0, 0), (0, -100), (-1, -1), (-100, -100)) for mistake in padded(*values)),
        Misconception(TOO_SHALLOW, lambda t, k: (t[:, k - 1 : -1], t[:, k:])),
        Misconception(TOO_SHALLOW, lambda t, k: (t[:, k - 1 : -2], t[:, k:-1])),
        Misconception(TOO_DEEP, lambda t, k: (t[:, k + 1 : -1], t[:, k + 2 :])),
        Misconception(MAIN_MODEL, lambda t, k: (t[:, :-1], t[:, 1:])),
        Misconception(MAIN_MODEL, lambda t, k: (t[:, : positions(t, k)], t[:, 1 : positions(t, k) + 1])),
        Misconception(
            "This matches depth 1 whatever was asked for: both ends of the pair move with `depth`.",
            lambda t, k: mtp_pairs(t, 1),
        ),
        Misconception(
            "This matches joining token i, which the main model has read already: join the one at i+depth.",
            lambda t, k: (t[:, : positions(t, k)], t[:, k + 1 :]),
        ),
        Misconception(TOO_EARLY, lambda t, k: (t[:, k - 1 : -2], t[:, k + 1 :])),
        Misconception(
            "This matches joining the next token, i+1, at every depth: depth k joins the one at i+k.",
            lambda t, k: (t[:, 1 : positions(t, k) + 1], t[:, k + 1 :]),
        ),
        Misconception(
            "This matches the main model's targets, i+1: depth k predicts k tokens further, i+k+1.",
            lambda t, k: (t[:, k:-1], t[:, 1 : positions(t, k) + 1]),
        ),
        Misconception(
            "This matches targets that a roll has shifted once too often, with the last one wrapped round: position i "
            "predicts token i+depth+1 (miles#2215 had rolled twice).",
            lambda t, k: (t[:, k:-1], t.roll(-1, 1)[:, k + 1 :]),
        ),
        Misconception(
            "This matches targets one token late: right after the joined token i+depth comes i+depth+1.",
            lambda t, k: (t[:, k:-2], t[:, k + 2 :]),
        ),
        Misconception(
            "This matches the pair in the other order: the joined tokens come first, then those predicted.",
            lambda t, k: mtp_pairs(t, k)[::-1],
        ),
        Misconception(LAST_TARGET, lambda t, k: (t[:, k:-2], t[:, k + 1 : -1])),
        Misconception(LAST_TARGET, lambda t, k: (t[:, k:-1], t[:, k + 1 : -1])),
        Misconception(ONE_TOO_MANY, lambda t, k: (t[:, k:], t[:, k + 1 :])),
        Misconception(
            "This matches a cut through the batch: the positions are the second axis.",
            lambda t, k: (t[k:-1], t[k + 1 :]),
        ),
    ],
)
