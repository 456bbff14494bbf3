"""The routing explorer: one token at a time before a router."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import ipywidgets as widgets
from jaxtyping import Float
from torch import Tensor

from course_lib.figures.routing import RoutedToken, problem_html, routing_html
from course_lib.routing import affinities, choose_experts, gate_weights
from course_lib.widgets.controls import IntegerSlider, OptionSlider, Slider, choice, in_a_column, in_a_row

BIAS = {"sigmoid": 0.3, "softmax": 0.1}  # how far the slider goes: about the spread of such affinities


class RoutingExplorer(widgets.VBox):
    """Token, experts chosen, groups, kind of affinity and one expert's bias beside the affinities of a token.

    `hidden` is what the router sees of each token, `centroids` the router's rows; gates are normalised to `scale`.
    """

    def __init__(
        self, tokens: Sequence[str], hidden: Float[Tensor, "m d"], centroids: Float[Tensor, "e d"], scale: float = 2.5
    ) -> None:
        self.tokens, self.hidden, self.centroids, self.scale = tokens, hidden, centroids, scale
        experts = len(centroids)
        sizes = [n for n in range(1, experts + 1) if experts % n == 0]
        self.token = IntegerSlider(description="token", value=0, min=0, max=len(tokens) - 1)
        self.top_k = IntegerSlider(description="experts chosen", value=min(4, experts), min=1, max=min(8, experts))
        self.n_group = OptionSlider(options=sizes, value=4 if 4 in sizes else 1, description="groups")
        self.topk_group = IntegerSlider(
            description="open groups", value=2 if 4 in sizes else 1, min=1, max=min(8, experts)
        )
        self.scoring = choice("affinity", list(BIAS))
        self.expert = IntegerSlider(description="biased expert", value=0, min=0, max=experts - 1)
        reach = BIAS["sigmoid"]
        self.bias = Slider(value=0, min=-reach, max=reach, step=reach / 30, description="bias", readout_format=".3f")
        self.picture = widgets.HTML()
        left = in_a_column(self.token, self.top_k, self.n_group, self.topk_group)
        right = in_a_column(self.expert, self.bias, self.scoring)
        super().__init__([in_a_row(left, right), self.picture])
        self.scoring.observe(self._fit_bias, names="value")
        for control in (
            self.token, self.top_k, self.n_group, self.topk_group, self.scoring, self.expert, self.bias,
        ):  # fmt: skip
            control.observe(self._draw, names="value")
        self._draw()

    @property
    def routed(self) -> RoutedToken:
        """What the picture shows now.

        Raises:
            ValueError: the controls ask for a choice that cannot be made.
        """
        position, n_group = cast(int, self.token.value), cast(int, self.n_group.value)
        top_k, topk_group = cast(int, self.top_k.value), cast(int, self.topk_group.value)
        scoring = cast(str, self.scoring.value)
        everyone = affinities(self.hidden, self.centroids, scoring)
        scores = everyone[position, None]
        bias = scores.new_zeros(scores.shape[1])
        bias[cast(int, self.expert.value)] = cast(float, self.bias.value)
        choose = partial(choose_experts, scores, bias=bias)
        chosen = choose(top_k, n_group=n_group, topk_group=topk_group)
        size = scores.shape[1] // n_group
        open_experts = choose(topk_group * size, n_group=n_group, topk_group=topk_group)  # as many as can be chosen
        gates = gate_weights(scores, chosen, normalise=True, scale=self.scale)
        return RoutedToken(
            tokens=self.tokens,
            position=position,
            scores=scores[0].tolist(),
            biased=(scores + bias)[0].tolist(),
            n_group=n_group,
            open_experts=frozenset(open_experts[0].tolist()),
            best=frozenset(choose(top_k)[0].tolist()),
            gates=dict(zip(chosen[0].tolist(), gates[0].tolist(), strict=True)),
            limits=(min(everyone.min().item() - BIAS[scoring], 0), everyone.max().item() + BIAS[scoring]),
        )

    def _fit_bias(self, change: Any) -> None:
        """A softmax over many experts is small, and so is a bias that matters to it."""
        reach = BIAS[change["new"]]
        self.bias.min, self.bias.max, self.bias.step = -reach, reach, reach / 30

    def _draw(self, change: Any = None) -> None:
        try:
            self.picture.value = routing_html(self.routed)
        except ValueError as error:
            self.picture.value = problem_html(str(error))

    def __repr__(self, **_: object) -> str:
        return "RoutingExplorer: run this cell to move the sliders; a picture of its first state stands beside it"
