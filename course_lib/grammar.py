"""Grammars that write: every choice has integer weights, and the next word of a text tells which was taken.

A grammar in which one word of look-ahead settles every choice is called LL(1). A text of such a grammar has a single
derivation, so its probability can be read off the text alone, and expected surprisals are sums over the rules.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import log
from typing import Union

_WORD = re.compile(r" ?[A-Za-z]+|[.,\n]")  # a word carries the blank before it


class Choice:
    """Alternatives with integer weights; each is a sequence of texts, further choices and remembered words."""

    def __init__(self, alternatives: Iterable[tuple[int, tuple["Item", ...]]] = ()) -> None:
        self.weights: list[int] = []
        self.alternatives: list[tuple[Item, ...]] = []
        for weight, items in alternatives:
            self.add(weight, items)

    def add(self, weight: int, items: tuple["Item", ...]) -> None:
        self.weights.append(weight)
        self.alternatives.append(items)

    @cached_property
    def cumulative(self) -> list[int]:
        return list(accumulate(self.weights))

    def draw(self, random: Callable[[], float]) -> int:
        """An alternative, by one number from [0, 1): one product of doubles, so the same on every machine."""
        return bisect(self.cumulative, int(random() * self.cumulative[-1]))

    def surprisal(self, chosen: int) -> float:
        """Nats: -ln of the probability of one alternative."""
        return log(self.cumulative[-1] / self.weights[chosen])

    @cached_property
    def announced(self) -> dict[str, int]:
        """Which alternative begins with a word.

        Raises:
            ValueError: one word begins two of them.
        """
        found: dict[str, int] = {}
        for index, items in enumerate(self.alternatives):
            for word in _first_words(items[0]):
                if found.setdefault(word, index) != index:
                    raise ValueError(f"ambiguous: {word!r} begins two alternatives, {found[word]} and {index}")
        return found

    @cached_property
    def expected(self) -> tuple[float, float]:
        """Nats and characters, on average, of a text from here. A rule may contain itself, but no longer circle."""
        nats = length = again = 0.0
        for index, items in enumerate(self.alternatives):
            p = self.weights[index] / self.cumulative[-1]
            inner = [_expected(item) for item in items if item is not self]
            nats += p * (self.surprisal(index) + sum(n for n, _ in inner))
            length += p * sum(size for _, size in inner)
            again += p * (len(items) - len(inner))
        return nats / (1 - again), length / (1 - again)  # solves x = nats + again * x


@dataclass(frozen=True)
class Memory:
    """A word that is drawn the first time (`new`), and comes back later without a choice."""

    name: str
    word: Choice
    new: bool


Item = Union[str, Choice, Memory]  # noqa: UP007


def build(rules: Mapping[str, Mapping[str, int]], known: Mapping[str, Item]) -> dict[str, Choice]:
    """Each rule as a choice. A rule maps templates to weights; braces in a template name a rule or what is known."""
    made = {name: Choice() for name in rules}
    scope: dict[str, Item] = {**known, **made}
    for name, alternatives in rules.items():
        for template, weight in alternatives.items():
            parts = re.findall(r"{(.+?)}|([^{]+)", template)
            made[name].add(weight, tuple(scope[symbol] if symbol else text for symbol, text in parts))
    return made


def derive(start: Choice, choose: Callable[[Choice], int]) -> Iterator[str]:
    """The pieces of one text. `choose` is asked for an alternative when all pieces before it have been taken."""
    remembered: dict[str, str] = {}
    waiting: list[Item] = [start]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Choice):
            waiting.extend(item.alternatives[choose(item)][::-1])
        else:
            if item.new:
                (word,) = item.word.alternatives[choose(item.word)]
                assert isinstance(word, str)
                remembered[item.name] = word
            yield remembered[item.name]


def surprisal(start: Choice, text: str) -> float:
    """Nats: -ln of the probability of a whole text, from the text alone.

    Raises:
        ValueError: the grammar does not write this text.
    """
    nats, at = 0.0, 0

    def choose(choice: Choice) -> int:
        nonlocal nats
        word = _WORD.match(text, at)
        chosen = choice.announced.get(word.group()) if word else None
        if chosen is None:
            raise ValueError(f"no such text: after {text[:at][-40:]!r} stands {text[at : at + 20]!r}")
        nats += choice.surprisal(chosen)
        return chosen

    for piece in derive(start, choose):
        if not text.startswith(piece, at):
            raise ValueError(f"no such text: after {text[:at][-40:]!r} stands {text[at : at + 20]!r}, not {piece!r}")
        at += len(piece)
    if at != len(text):
        raise ValueError(f"no such text: it ends before {text[at : at + 20]!r}")
    return nats


def _first_words(item: Item) -> Iterable[str]:
    if isinstance(item, str):
        return _WORD.findall(item)[:1]
    return (item if isinstance(item, Choice) else item.word).announced


def _expected(item: Item) -> tuple[float, float]:
    if isinstance(item, str):
        return 0.0, float(len(item))
    if isinstance(item, Choice):
        return item.expected
    nats, length = item.word.expected
    return (nats if item.new else 0.0), length
