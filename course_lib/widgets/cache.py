"""The cache explorer: who fits on one GPU."""

import operator
import reprlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

import ipywidgets as widgets

from course_lib.accounting import serving
from course_lib.config import ModelConfig, published, published_names
from course_lib.figures.cache import CacheBars, cache_html
from course_lib.widgets.controls import IntegerSlider, OptionSlider, box, choice, in_a_row, named

MODELS = ("deepseek-v3", "deepseek-v2-lite", "llama-3-8b", "llama-3.1-405b", "deepseek-llm-67b", "llama-2-7b")
# as published by NVIDIA for each card
MEMORY = {"80 GB (A100, H100)": 80, "141 GB (H200)": 141, "180 GB (B200)": 180}
ELEMENTS = {"fp32, 4 bytes": 4, "bf16, 2 bytes": 2, "fp8, 1 byte": 1, "6 bits, as V2 serves": 0.75}


class CacheExplorer(widgets.VBox):
    """Context [tokens], users, element size and GPU beside the cache bars of several models [GB].

    `elements` counts the numbers cached per token from a config as a dict, in place of the course's own count.
    """

    def __init__(
        self,
        models: tuple[str, ...] = MODELS,
        context: int = 32768,
        users: int = 8,
        elements: Callable[[dict[str, Any]], int] | None = None,
    ) -> None:
        self.elements = elements
        names = dict.fromkeys((*models, *published_names()))
        self.models = {name: box(name, name in models) for name in names}
        self.context = OptionSlider(
            options=[(f"{2**i:,}", 2**i) for i in range(9, 21)], value=context, description="context [tokens]"
        )
        self.users = IntegerSlider(value=users, min=1, max=128, description="users")
        self.element = choice("cached as", ELEMENTS, value=2)
        self.memory = choice("GPU", MEMORY, value=80)
        self.weights = box("with the weights, 2 bytes each")
        self.picture = widgets.HTML()
        super().__init__(
            [
                in_a_row(self.context, self.users),
                self.element,
                in_a_row(self.memory, self.weights),
                named("models", *self.models.values()),
                self.picture,
            ]
        )
        for control in (self.context, self.users, self.element, self.memory, self.weights, *self.models.values()):
            control.observe(self._draw, names="value")
        self._draw()

    @property
    def bars(self) -> CacheBars:
        """What the picture shows now."""
        context, users = cast(int, self.context.value), cast(int, self.users.value)
        memory, bytes_per_element = cast(int, self.memory.value), cast(float, self.element.value)
        rows = [
            (config, serving(
                config, context=context, users=users, memory_bytes=memory * 1e9, bytes_per_element=bytes_per_element,
                bytes_per_weight=2 if self.weights.value else 0,
                elements=self._count(config),
            ))
            for config in map(published, self._ticked)
        ]  # fmt: skip
        return CacheBars(rows, context=context, users=users, memory=memory)

    @property
    def _ticked(self) -> list[str]:
        return [name for name, each in self.models.items() if each.value]

    def _count(self, config: ModelConfig) -> int | None:
        """What `elements` says of the model; None where the course counts."""
        if self.elements is None:
            return None
        answer = self.elements(asdict(config))
        try:
            count = operator.index(cast(Any, answer))
        except (TypeError, RuntimeError):
            count = 0
        if count < 1:
            name = getattr(self.elements, "__name__", "count")
            raise ValueError(f"your {name} gave {reprlib.repr(answer)} for {config.name}; wanted a positive integer")
        return count

    def _draw(self, change: Any = None) -> None:
        self.picture.value = cache_html(self.bars)

    def __repr__(self, **_: object) -> str:
        return "CacheExplorer: run this cell to move the sliders; a picture of its first state stands beside it"
