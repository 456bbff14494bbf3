"""Pipeline schedules: who computes what when, how long ranks wait, and how many micro-batches they hold.

A model is cut into `stages` pieces of layers, one a rank, and a batch into micro-batches. Sources: DeepSeek-V3 report
(arXiv:2412.19437 s3.2.1 and table 2), zero-bubble schedules (arXiv:2401.10241), deepseek-ai/DualPipe at commit 89f5de1.
Sending between ranks takes no time here.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """A rank's work on one micro-batch: forward, full backward, or one half of it (gradient of input, of weights)."""

    kind: str  # F, B, I or W
    micro: int  # micro-batch, counted in its direction
    direction: int = 0  # 1: enters at the last rank (DualPipe)


Task = tuple[Part, ...]  # one part, or a forward and a backward that overlap


@dataclass(frozen=True, kw_only=True)
class ChunkTimes:
    """What one rank takes for one micro-batch, in any unit. `overlapped` is F&B: one forward and one backward of
    another micro-batch, each computing while the other communicates; None: as long as the two in turn."""

    forward: float
    input_backward: float
    weight_backward: float
    overlapped: float | None = None

    def __post_init__(self) -> None:
        if min(self.forward, self.input_backward, self.weight_backward, self.both) <= 0:
            raise ValueError(f"chunk times must be positive, got {self}")

    @property
    def backward(self) -> float:
        return self.input_backward + self.weight_backward

    @property
    def both(self) -> float:
        return self.forward + self.backward if self.overlapped is None else self.overlapped

    def of(self, task: Task) -> float:
        if len(task) == 2:
            return self.both
        return {"F": self.forward, "B": self.backward, "I": self.input_backward, "W": self.weight_backward}[
            task[0].kind
        ]


class Method(NamedTuple):
    """A row of table 2 in arXiv:2412.19437, for `stages` ranks."""

    bubble: Callable[[int, ChunkTimes], float]  # time a rank waits in one step
    parameters: int  # copies of its layers that a rank holds, in those of a plain pipeline
    activations: Callable[[int], int]  # micro-batches whose activations a rank holds at most


TABLE_2 = {
    "1F1B": Method(lambda pp, t: (pp - 1) * (t.forward + t.backward), 1, lambda pp: pp),
    "ZB1P": Method(lambda pp, t: (pp - 1) * (t.forward + t.backward - 2 * t.weight_backward), 1, lambda pp: pp),
    "DualPipe": Method(
        lambda pp, t: (pp / 2 - 1) * (t.both + t.backward - 3 * t.weight_backward), 2, lambda pp: pp + 1
    ),
}


def one_f_one_b(stages: int, micro_batches: int) -> list[list[Task]]:
    """1F1B: ranks fill up with forwards, then take backward and forward in turn. In order of work, one list a rank."""
    return [_one_f_one_b(rank, stages, micro_batches, None) for rank in range(stages)]


def zero_bubble(stages: int, micro_batches: int) -> list[list[Task]]:
    """ZB1P, the memory-efficient handmade schedule ZB-H1 of arXiv:2401.10241 s2: the order of 1F1B, the backward cut in
    two. Rank r puts its weight gradients off by r micro-batches and fills the end with them."""
    return [_one_f_one_b(rank, stages, micro_batches, rank) for rank in range(stages)]


def _one_f_one_b(rank: int, stages: int, micro_batches: int, delay: int | None) -> list[Task]:
    if stages < 1 or micro_batches < stages:
        raise ValueError(f"want at least as many micro-batches as stages, got {micro_batches} for {stages}")
    ahead = stages - rank
    parts = [Part("F", micro) for micro in range(ahead)]
    for micro in range(micro_batches):
        parts.append(Part("B" if delay is None else "I", micro))
        if delay is not None and micro >= delay:
            parts.append(Part("W", micro - delay))
        if ahead + micro < micro_batches:
            parts.append(Part("F", ahead + micro))
    if delay is not None:
        parts += [Part("W", micro) for micro in range(micro_batches - delay, micro_batches)]
    return [(part,) for part in parts]


def dual_pipe(stages: int, micro_batches: int) -> list[list[Task]]:
    """DualPipe: half of the micro-batches enter at either end, and each rank holds its own stage and its mirror's.

    The phases are those of deepseek-ai/DualPipe; 0 and 1 are a rank's near and far direction.
    """
    if stages < 2 or stages % 2 or micro_batches % 2 or micro_batches < 2 * stages:
        raise ValueError(
            f"want an even number of stages and of micro-batches, two or more a stage, got {stages} and {micro_batches}"
        )
    return [_dual_pipe(rank, stages, micro_batches) for rank in range(stages)]


def _dual_pipe(rank: int, stages: int, micro_batches: int) -> list[Task]:
    inward = min(rank, stages - 1 - rank)  # 0 at both ends
    outer = stages // 2 - 1 - inward  # 0 at the two ranks in the middle
    main = "F0&B1 F1&B0 " * (micro_batches // 2 - stages + inward + 1)
    if outer == 0:
        main = main.replace("F0&B1", "F0 B1", 1)  # the first pair of the middle ranks does not overlap: it is awaited
    last = ["B1", "B0"] * (inward + 1)  # the second half of these puts its weight gradients off
    last[inward + 1 :] = [name.replace("B", "I") for name in last[inward + 1 :]]
    phases = [
        "F0 F0 " * outer, "F0 F1 " * (inward + 1), "I1 W F1 " * outer, main,
        "B1 F1&B0 " * outer, " ".join(last), "W I0 " * outer, "W " * (inward + 1),
    ]  # fmt: skip
    return _numbered(" ".join(phases).split(), mirrored=rank >= stages // 2)


def _numbered(names: Sequence[str], mirrored: bool) -> list[Task]:
    """Names to tasks: micro-batches are taken in turn within a direction; "W" takes the oldest that was put off."""
    count = {(kind, direction): 0 for kind in "FB" for direction in (0, 1)}
    put_off: deque[Part] = deque()

    def part(name: str) -> Part:
        if name == "W":
            return put_off.popleft()._replace(kind="W")
        kind, direction = name[0], int(name[1]) ^ mirrored
        counter = ("F" if kind == "F" else "B", direction)
        new = Part(kind, count[counter], direction)
        count[counter] += 1
        if kind == "I":
            put_off.append(new)
        return new

    return [tuple(part(name) for name in names.split("&")) for names in names]


class Span(NamedTuple):
    rank: int
    task: Task
    start: float
    end: float


def simulate(orders: Sequence[Sequence[Task]], times: ChunkTimes) -> list[Span]:
    """When each task runs: as soon as its rank is free and what it needs is done.

    A forward needs the forward of the stage before it, a backward (or its input half) that of the stage after it and
    its own forward, a weight gradient its own input half.

    Raises:
        ValueError: the orders wait for one another.
    """
    done: dict[tuple[int, str, int, int], float] = {}  # stage, "F", "back" or "W", direction, micro-batch
    clock, at, spans, moved = [0.0] * len(orders), [0] * len(orders), list[Span](), True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while at[rank] < len(order):
                task = order[at[rank]]
                needs = [need for part in task for need in _needs(part, rank, len(orders))]
                if any(need not in done for need in needs):
                    break
                start = max([clock[rank], *(done[need] for need in needs)])
                clock[rank] = start + times.of(task)
                done |= {_key(part, rank, len(orders)): clock[rank] for part in task}
                spans.append(Span(rank, task, start, clock[rank]))
                at[rank] += 1
                moved = True
    stuck = {rank: order[at[rank]] for rank, order in enumerate(orders) if at[rank] < len(order)}
    if stuck:
        raise ValueError(f"these wait for one another: {stuck}")
    return spans


def _stage(part: Part, rank: int, stages: int) -> int:
    return stages - 1 - rank if part.direction else rank


def _key(part: Part, rank: int, stages: int) -> tuple[int, str, int, int]:
    kind = "back" if part.kind in "BI" else part.kind
    return _stage(part, rank, stages), kind, part.direction, part.micro


def _needs(part: Part, rank: int, stages: int) -> list[tuple[int, str, int, int]]:
    stage = _stage(part, rank, stages)
    if part.kind == "F":
        kinds = [(stage - 1, "F")] if stage else []
    elif part.kind == "W":
        kinds = [(stage, "back")]
    else:
        kinds = [(stage, "F"), *([(stage + 1, "back")] if stage < stages - 1 else [])]
    return [(where, kind, part.direction, part.micro) for where, kind in kinds]


def idle(spans: Sequence[Span]) -> list[float]:
    """Time each rank waits between the first start and the last end of all."""
    last, waiting = max(span.end for span in spans), dict[int, float]()
    for span in spans:
        waiting[span.rank] = waiting.get(span.rank, last) - (span.end - span.start)
    return [waiting[rank] for rank in sorted(waiting)]


def held(spans: Sequence[Span]) -> list[int]:
    """Most micro-batches that each rank holds at once: from the begin of the forward until all gradients are done."""
    events: dict[int, list[tuple[float, int]]] = {}
    for span in spans:
        for part in span.task:
            if part.kind == "F":
                events.setdefault(span.rank, []).append((span.start, 1))
            elif part.kind in "BW":
                events.setdefault(span.rank, []).append((span.end, -1))
    most = []
    for rank in sorted(events):
        now = [0]
        for _, change in sorted(events[rank]):  # at the same moment an end comes before a begin
            now.append(now[-1] + change)
        most.append(max(now))
    return most
