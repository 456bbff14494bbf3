"""Pipeline schedules against a timeline drawn by hand, and against the formulas of the report."""

import pytest
from matplotlib.colors import to_hex

from course_lib.figures.engineering import pipeline_figure
from course_lib.pipeline import (
    TABLE_2,
    ChunkTimes,
    Part,
    Span,
    dual_pipe,
    held,
    idle,
    one_f_one_b,
    simulate,
    zero_bubble,
)

ORDERS = {"1F1B": one_f_one_b, "ZB1P": zero_bubble, "DualPipe": dual_pipe}
UNIT = ChunkTimes(forward=1, input_backward=1, weight_backward=1)


def named(spans: list[Span], rank: int) -> list[tuple[str, float, float]]:
    return [(s.task[0].kind + str(s.task[0].micro), s.start, s.end) for s in spans if s.rank == rank]


def test_1f1b_against_a_timeline_drawn_by_hand() -> None:
    # F takes 2, B takes 3; three micro-batches on two ranks
    spans = simulate(one_f_one_b(2, 3), ChunkTimes(forward=2, input_backward=2, weight_backward=1))
    assert named(spans, 0) == [
        ("F0", 0, 2), ("F1", 2, 4), ("B0", 7, 10), ("F2", 10, 12), ("B1", 12, 15), ("B2", 17, 20),
    ]  # fmt: skip
    assert named(spans, 1) == [
        ("F0", 2, 4), ("B0", 4, 7), ("F1", 7, 9), ("B1", 9, 12), ("F2", 12, 14), ("B2", 14, 17),
    ]  # fmt: skip
    assert idle(spans) == [5, 5] and held(spans) == [2, 1]


def test_zb1p_against_a_timeline_drawn_by_hand() -> None:
    # F 2, I 2, W 1: rank 1 puts W off by one micro-batch and ends with it
    spans = simulate(zero_bubble(2, 3), ChunkTimes(forward=2, input_backward=2, weight_backward=1))
    assert named(spans, 0) == [
        ("F0", 0, 2), ("F1", 2, 4), ("I0", 6, 8), ("W0", 8, 9), ("F2", 9, 11), ("I1", 11, 13), ("W1", 13, 14),
        ("I2", 15, 17), ("W2", 17, 18),
    ]  # fmt: skip
    assert named(spans, 1) == [
        ("F0", 2, 4), ("I0", 4, 6), ("F1", 6, 8), ("I1", 8, 10), ("W0", 10, 11), ("F2", 11, 13), ("I2", 13, 15),
        ("W1", 15, 16), ("W2", 16, 17),
    ]  # fmt: skip
    assert idle(spans) == [3, 3] and held(spans) == [2, 2]


@pytest.mark.parametrize("stages", [4, 6, 8])
@pytest.mark.parametrize("name", ORDERS)
def test_every_micro_batch_passes_every_stage_once(name: str, stages: int) -> None:
    micro_batches = 2 * stages + 4
    for rank, order in enumerate(ORDERS[name](stages, micro_batches)):
        parts = [part for task in order for part in task]
        directions = 2 if name == "DualPipe" else 1
        every = {(micro, way) for way in range(directions) for micro in range(micro_batches // directions)}
        for kinds in ("F", "BI", "BW"):  # forwards, gradients of inputs, gradients of weights
            done = [(part.micro, part.direction) for part in parts if part.kind in kinds]
            assert sorted(done) == sorted(every), (rank, kinds)


@pytest.mark.parametrize(("stages", "micro_batches"), [(4, 8), (6, 18), (8, 20), (16, 48)])
@pytest.mark.parametrize("name", ORDERS)
def test_waiting_and_holding_are_those_of_table_2(name: str, stages: int, micro_batches: int) -> None:
    for times in (UNIT, ChunkTimes(forward=7, input_backward=7, weight_backward=4)):
        spans = simulate(ORDERS[name](stages, micro_batches), times)
        wanted = {
            "1F1B": (stages - 1) * (times.forward + times.backward),
            "ZB1P": (stages - 1) * (times.forward + times.backward - 2 * times.weight_backward),
            "DualPipe": (stages / 2 - 1) * (times.forward + 2 * times.backward - 3 * times.weight_backward),
        }[name]
        assert idle(spans) == [wanted] * stages
        assert TABLE_2[name].bubble(stages, times) == wanted
        assert max(held(spans)) == TABLE_2[name].activations(stages)


@pytest.mark.parametrize(("forward", "inputs", "weights"), [(5, 11, 3), (11, 5, 4), (6, 9, 6), (10, 10, 1)])
def test_1f1b_and_zb1p_follow_their_formulas_at_other_times(forward: int, inputs: int, weights: int) -> None:
    times = ChunkTimes(forward=forward, input_backward=inputs, weight_backward=weights)
    assert idle(simulate(one_f_one_b(6, 13), times)) == [5 * (forward + inputs + weights)] * 6
    assert weights <= min(forward, inputs)  # else weight gradients are too long for the holes they are to fill:
    assert idle(simulate(zero_bubble(6, 13), times)) == [5 * (forward + inputs - weights)] * 6
    long = ChunkTimes(forward=forward, input_backward=inputs, weight_backward=forward + inputs)
    assert idle(simulate(zero_bubble(6, 13), long))[0] > 0 >= TABLE_2["ZB1P"].bubble(6, long)


def test_the_formula_of_dualpipe_is_not_exact_everywhere() -> None:
    """With I longer than F ranks wait less: one pair on the middle ranks does not overlap, and is done sooner."""
    times = ChunkTimes(forward=7, input_backward=8, weight_backward=5)
    assert TABLE_2["DualPipe"].bubble(8, times) == 54
    assert idle(simulate(dual_pipe(8, 18), times)) == [51] * 8


def test_overlap_makes_a_pair_shorter() -> None:
    short = ChunkTimes(forward=2, input_backward=2, weight_backward=1, overlapped=4)
    assert short.of((Part("F", 0), Part("B", 0, 1))) == 4 and short.both == 4 and UNIT.both == 3
    end = max(span.end for span in simulate(dual_pipe(4, 24), short))
    apart = ChunkTimes(forward=2, input_backward=2, weight_backward=1)
    assert end < max(span.end for span in simulate(dual_pipe(4, 24), apart)) - 12


def test_orders_that_wait_for_one_another_are_named() -> None:
    with pytest.raises(ValueError, match=r"wait for one another.*W"):
        simulate([[(Part("F", 0),), (Part("W", 0),)]], UNIT)
    with pytest.raises(ValueError, match="wait for one another"):
        simulate([[(Part("F", 0),), (Part("B", 0),)], [(Part("B", 0),), (Part("F", 0),)]], UNIT)


def test_what_is_wanted_is_said() -> None:
    for make in (one_f_one_b, zero_bubble):
        with pytest.raises(ValueError, match="at least as many micro-batches as stages"):
            make(4, 3)
    for stages, micro_batches in ((3, 12), (4, 9), (4, 6), (0, 0)):
        with pytest.raises(ValueError, match="even number"):
            dual_pipe(stages, micro_batches)
    with pytest.raises(ValueError, match="must be positive"):
        ChunkTimes(forward=1, input_backward=0, weight_backward=1)


def test_the_picture_has_a_bar_for_all_work() -> None:
    schedules = {name: simulate(order(4, 8), UNIT) for name, order in ORDERS.items()}
    figure = pipeline_figure(schedules)
    for axes, (name, spans) in zip(figure.axes, schedules.items(), strict=True):
        assert len(axes.patches) == sum(len(span.task) for span in spans)
        wait = idle(spans)[0]
        assert axes.get_title(loc="left") == f"{name}: done at {24 + wait:g}, each rank waits {wait:g}"
        outlined = sum(to_hex(bar.get_edgecolor()) == "#000000" for bar in axes.patches)
        assert outlined == (len(axes.patches) // 2 if name == "DualPipe" else 0), "half comes in at the last rank"
    (legend,) = figure.legends
    assert legend.get_texts()[-1].get_text().startswith("outlined: came in at the last rank")
