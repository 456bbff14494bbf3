"""The routing explorer without a browser: set a control as a hand would, read the picture."""

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from course_lib.figures.routing import BIASED, BOLD, CHOSEN, CLOSED, OPEN, routing_figure
from course_lib.figures.svg import WIDTHS
from course_lib.routing import affinities, choose_experts, gate_weights
from course_lib.widgets.routing import RoutingExplorer
from tests import drawn

TOKENS = ["a", " ", "<", "b", "c"]
EXPERTS = 16


@pytest.fixture
def explorer() -> RoutingExplorer:
    generator = torch.Generator().manual_seed(0)
    hidden, centroids = (torch.randn(n, 8, generator=generator) / 2 for n in (len(TOKENS), EXPERTS))
    return RoutingExplorer(TOKENS, hidden, centroids)


def svg(explorer: RoutingExplorer, width: int = WIDTHS[-1]) -> ElementTree.Element:
    """The picture on a page so wide, without its legend."""
    picture = drawn.shown(explorer.picture.value, width)
    for parent in picture.iter():
        for legend in parent.findall("g"):
            parent.remove(legend)
    return picture


def label(explorer: RoutingExplorer) -> str:
    return drawn.label(explorer.picture.value)


def bars(explorer: RoutingExplorer, kind: str = "affinity", width: int = WIDTHS[-1]) -> list[dict[str, str]]:
    return [rect.attrib for rect in svg(explorer, width).iter("rect") if rect.get("class") == kind]


def heights(explorer: RoutingExplorer, kind: str = "affinity") -> list[float]:
    return [float(bar["height"]) for bar in bars(explorer, kind)]


def coloured(explorer: RoutingExplorer, colour: str) -> set[int]:
    return {expert for expert, bar in enumerate(bars(explorer)) if bar["fill"] == colour}


def gates(explorer: RoutingExplorer) -> dict[int, float]:
    """As told in words."""
    return {int(i): float(gate) for i, gate in re.findall(r"(\d+) with gate (\d\.\d\d)", label(explorer))}


def routed_by_hand(
    explorer: RoutingExplorer, token: int, top_k: int, n_group: int = 1, topk_group: int = 1
) -> dict[int, Any]:
    scores = affinities(explorer.hidden, explorer.centroids, "sigmoid")[token, None]
    indices = choose_experts(scores, top_k, n_group=n_group, topk_group=topk_group)
    weights = gate_weights(scores, indices, normalise=True, scale=2.5)
    return {i: pytest.approx(w, abs=0.006) for i, w in zip(indices[0].tolist(), weights[0].tolist(), strict=True)}


def test_bars_are_as_high_as_the_affinities(explorer: RoutingExplorer) -> None:
    for position in range(len(TOKENS)):
        explorer.token.value = position
        scores = affinities(explorer.hidden, explorer.centroids, "sigmoid")[position]
        high = torch.tensor(heights(explorer))
        torch.testing.assert_close(high / high.max(), scores / scores.max(), rtol=1e-3, atol=1e-3)
        assert [f"{score:.2f}" for score in scores.tolist()] == decimals(explorer, "")


def decimals(explorer: RoutingExplorer, style: str) -> list[str]:
    """Gates are bold, above the bars; affinities are plain, below them."""
    texts = [text.text or "" for text in svg(explorer).iter("text") if text.get("style") == style]
    return [text for text in texts if re.fullmatch(r"\d\.\d\d", text)]


@pytest.mark.parametrize("token", range(len(TOKENS)))
@pytest.mark.parametrize(("top_k", "n_group", "topk_group"), [(4, 4, 2), (1, 4, 1), (8, 8, 4), (5, 2, 1), (3, 1, 1)])
def test_chosen_experts_and_gates_are_those_of_the_router(
    explorer: RoutingExplorer, token: int, top_k: int, n_group: int, topk_group: int
) -> None:
    for control, value in zip(
        (explorer.token, explorer.top_k, explorer.n_group, explorer.topk_group),
        (token, top_k, n_group, topk_group),
        strict=True,
    ):
        control.value = value
    right = routed_by_hand(explorer, token, top_k, n_group=n_group, topk_group=topk_group)
    assert gates(explorer) == right
    assert coloured(explorer, CHOSEN) == set(right)
    assert decimals(explorer, BOLD) == [f"{gate:.2f}" for _, gate in sorted(explorer.routed.gates.items())]
    size = EXPERTS // n_group
    visited = {expert // size for expert in right}
    assert len(visited) <= topk_group and explorer.routed.visited == sorted(visited)
    where = f" on {len(visited)} of {n_group} machines" if n_group > 1 else ";"
    assert f"{top_k} of 16 experts{where}" in label(explorer) and "gates sum to 2.50" in label(explorer)
    still_open = coloured(explorer, CHOSEN) | coloured(explorer, OPEN)
    assert len(still_open) == topk_group * size and len({expert // size for expert in still_open}) == topk_group


def test_open_groups_are_those_with_the_best_two(explorer: RoutingExplorer) -> None:
    routed = explorer.routed
    best_two = [sum(sorted(routed.scores[i] for i in group)[-2:]) for group in routed.groups]
    order = sorted(range(4), key=best_two.__getitem__)
    assert {expert // 4 for expert in coloured(explorer, CLOSED)} == set(order[:2])
    for group, score in enumerate(best_two):
        state = "closed" if group in order[:2] else "open"
        assert routed.header(group) == (f"machine {group}: {state}", f"best two: {score:.2f}")
        assert f"machine {group}: {state}" in explorer.picture.value


def test_the_bias_moves_the_choice_and_not_the_gate(explorer: RoutingExplorer) -> None:
    explorer.n_group.value, explorer.topk_group.value = 1, 1
    free, before = heights(explorer), gates(explorer)
    worst = min(before, key=before.__getitem__)
    explorer.expert.value, explorer.bias.value = worst, 0.1
    assert gates(explorer) == before and heights(explorer) == free  # chosen already: nothing but the outline changes
    (outline,), scores = heights(explorer, "biased"), explorer.routed.scores
    assert outline / free[worst] == pytest.approx((scores[worst] + 0.1) / scores[worst], rel=1e-3)
    assert f"expert {worst} is biased from {scores[worst]:.2f} to {scores[worst] + 0.1:.2f}" in label(explorer)
    explorer.bias.value = -0.3
    assert worst not in gates(explorer) and heights(explorer) == free
    assert len(gates(explorer)) == 4 and "gates sum to 2.50" in label(explorer)
    explorer.bias.value = 0
    assert gates(explorer) == before and heights(explorer, "biased") == []


def test_experts_that_lose_their_place_to_a_closed_group_are_named(explorer: RoutingExplorer) -> None:
    for position in range(len(TOKENS)):
        explorer.token.value = position
        lost = set(routed_by_hand(explorer, position, 4)) & coloured(explorer, CLOSED)
        assert explorer.routed.shut_out == lost
        assert drawn.words(explorer.picture.value).count("shut") == len(lost)
    explorer.topk_group.value = 4
    assert not coloured(explorer, CLOSED) and ">shut<" not in explorer.picture.value


def test_softmax_gates_differ_and_the_bias_reaches_less_far(explorer: RoutingExplorer) -> None:
    explorer.n_group.value, explorer.topk_group.value = 1, 1
    explorer.bias.value, before = 0.3, gates(explorer)
    explorer.scoring.value = "softmax"
    assert explorer.bias.value == explorer.bias.max == 0.1
    scores = affinities(explorer.hidden, explorer.centroids, "softmax")[0]
    assert explorer.routed.scores == pytest.approx(scores.tolist()) and sum(explorer.routed.scores) == pytest.approx(1)
    explorer.bias.value = 0
    assert gates(explorer) != before and "gates sum to 2.50" in label(explorer)
    explorer.scoring.value = "sigmoid"
    assert explorer.bias.max == 0.3


@pytest.mark.parametrize(
    ("top_k", "n_group", "topk_group", "message"),
    [
        (4, 8, 1, "cannot choose 4 experts from 1 of 8 groups of 2"),
        (4, 2, 3, "cannot choose 4 experts from 3 of 2 groups of 8"),
        (2, 16, 4, "groups of 1 have no 2 best experts"),
    ],
)
def test_the_impossible_is_told_in_the_picture(
    explorer: RoutingExplorer, top_k: int, n_group: int, topk_group: int, message: str
) -> None:
    before = explorer.picture.value
    explorer.top_k.value, explorer.n_group.value, explorer.topk_group.value = top_k, n_group, topk_group
    assert f"No such routing: {message}" in label(explorer) and bars(explorer) == []
    assert message in "".join(svg(explorer).itertext())
    explorer.top_k.value, explorer.n_group.value, explorer.topk_group.value = 4, 4, 2
    assert explorer.picture.value == before


def test_tokens_are_shown_as_they_are(explorer: RoutingExplorer) -> None:
    explorer.token.value = 1
    assert label(explorer).startswith("Token 1, space: ") and "a<tspan" in explorer.picture.value
    explorer.token.value = 2
    assert label(explorer).startswith("Token 2, <: ")
    assert drawn.words(explorer.picture.value)[:2] == ["a␣<bc", "token 2, counted from 0 to 4"]


def test_a_negative_biased_score_hangs_below_the_line(explorer: RoutingExplorer) -> None:
    lowest = affinities(explorer.hidden, explorer.centroids, "sigmoid").argmin().item()
    explorer.token.value, explorer.expert.value = divmod(int(lowest), EXPERTS)
    explorer.bias.value = -0.3
    lowest, scores = explorer.routed.scores.index(min(explorer.routed.scores)), explorer.routed.scores
    (outline,) = bars(explorer, "biased")
    line = float(bars(explorer)[lowest]["y"]) + float(bars(explorer)[lowest]["height"])
    assert scores[lowest] < 0.3
    assert float(outline["y"]) == pytest.approx(line, abs=0.1)
    (frame, *_) = [rect for rect in svg(explorer).iter("rect") if rect.get("rx")]
    assert (
        float(outline["y"]) + float(outline["height"]) < float(frame.attrib["y"]) + float(frame.attrib["height"]) - 36
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("experts", "n_group"), [(16, 4), (16, 1), (16, 8), (24, 3), (24, 2), (10, 5), (3, 1), (64, 16)]
)
def test_every_expert_is_drawn_once_and_has_room(width: int, experts: int, n_group: int) -> None:
    """Beside and below each other, in the frame of its group, with room for its number below the bar."""
    some = torch.Generator().manual_seed(1)
    explorer = RoutingExplorer("abc", torch.randn(3, 8, generator=some), torch.randn(experts, 8, generator=some))
    explorer.top_k.value, explorer.topk_group.value, explorer.n_group.value = 2, 1, n_group
    picture = svg(explorer, width)
    numbers = [
        (float(each.attrib["x"]), float(each.attrib["y"]), int(each.text or ""))
        for each in picture.iter("text")
        if each.get("style") == BOLD and (each.text or "").isdigit()
    ]
    assert [number for *_, number in numbers] == list(range(experts))
    frames = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in picture.iter("rect")
        if rect.get("rx")
    ]
    size, (_, _, across, high) = experts // n_group, map(float, next(picture.iter("svg")).attrib["viewBox"].split())
    inside = [
        {number // size for x, y, number in numbers if left < x < left + wide and top < y < top + tall}
        for left, top, wide, tall in frames
    ]
    assert all(len(groups) == 1 for groups in inside) and set.union(*inside) == set(range(n_group))
    assert all(left > 0 and left + wide <= across and top + tall <= high for left, top, wide, tall in frames)
    rows = {y: sorted(x for x, other, _ in numbers if other == y) for _, y, _ in numbers}
    for y, row in rows.items():
        assert [number for x in row for other, at, number in numbers if (other, at) == (x, y)] == sorted(
            number for _, at, number in numbers if at == y
        )
    gaps = [right - left for row in rows.values() for left, right in pairwise(row)]
    assert min(gaps) >= 32


def test_the_router_may_be_on_any_device(explorer: RoutingExplorer, device: str) -> None:
    there = RoutingExplorer(TOKENS, explorer.hidden.to(device), explorer.centroids.to(device))
    for each in (explorer, there):
        each.token.value, each.expert.value, each.bias.value = 3, 5, 0.2
    assert label(there) == label(explorer)


def test_few_experts_that_do_not_split_into_four(explorer: RoutingExplorer) -> None:
    small = RoutingExplorer(TOKENS, explorer.hidden, explorer.centroids[:3], scale=1.0)
    assert small.n_group.value == 1 and gates(small).keys() == {0, 1, 2} and "gates sum to 1.00" in label(small)


def test_the_static_picture_shows_the_same(explorer: RoutingExplorer) -> None:
    explorer.expert.value, explorer.bias.value = 3, 0.2
    routed = explorer.routed
    axes = routing_figure(routed).axes[0]
    drawn = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    solid = [bar for bar in drawn if bar.get_fill() and bar.get_height()]
    assert [bar.get_height() for bar in solid] == pytest.approx(routed.scores)
    assert [to_hex(bar.get_facecolor()).upper() for bar in solid] == [routed.colour(i) for i in range(EXPERTS)]
    (outline,) = [bar for bar in drawn if not bar.get_fill()]
    assert outline.get_height() == pytest.approx(routed.biased[3])
    assert to_hex(outline.get_edgecolor()).upper() == BIASED
    texts = [text.get_text() for text in axes.texts]
    assert all(f"{gate:.2f}" in texts for gate in routed.gates.values())
    assert routed.result in axes.get_title()
    assert re.search("run this cell", repr(explorer))
