"""What the text promises: the same bytes everywhere, one derivation, an exact entropy, agreement over a distance."""

import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from course_lib import stories as module
from course_lib.grammar import Choice, Memory, build, derive, surprisal
from course_lib.stories import entropy_per_byte, stories, story

ROOT = Path(__file__).parents[1]


MEASURE = """
import json, sys
from course_lib.grammar import surprisal
from course_lib.stories import stories, story
lines = stories(2_000_000).decode("ascii").splitlines(keepends=True)[:-1]
json.dump({line: surprisal(story(), line) for line in lines}, sys.stdout)
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    """The whole stories of two megabytes and their nats, from a process that checks no types at every call."""
    command, other_hashes = [sys.executable, "-c", MEASURE], {**os.environ, "PYTHONHASHSEED": "7"}
    result = subprocess.run(command, cwd=ROOT, env=other_hashes, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def lines(measured: dict[str, float]) -> list[str]:
    return list(measured)


def choices(start: Choice) -> Iterator[Choice]:
    waiting, seen = [start], set()
    while waiting:
        choice = waiting.pop()
        if id(choice) not in seen:
            seen.add(id(choice))
            yield choice
            items = [item.word if isinstance(item, Memory) else item for items in choice.alternatives for item in items]
            waiting.extend(item for item in items if isinstance(item, Choice))


def test_the_bytes_are_the_same_everywhere(lines: list[str]) -> None:
    """If this fails, every loss that was ever compared is of another text."""
    text = "".join(lines).encode("ascii")
    assert (
        hashlib.sha256(text[:1_000_000]).hexdigest()
        == "0a3dd44e172cb5fa66789be8c3c12c404983eaad54e00ec9090e9b8f9dda69c2"
    )
    assert stories(9000) == text[:9000]


def test_only_the_method_that_python_keeps_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = stories(3000, 2)
    story.cache_clear()
    for name in dir(Random):
        if not name.startswith("_") and name not in ("random", "seed"):
            monkeypatch.setattr(Random, name, None)
    assert stories(3000, 2) == wanted


def test_size_and_seed() -> None:
    for size in (0, 1, 999, 5000):
        assert stories(size, 3) == stories(5000, 3)[:size] and len(stories(size, 3)) == size
    assert stories(5000, 3) != stories(5000, 4)
    for size, seed in ((-1, 0), (10, -1)):
        with pytest.raises(ValueError, match=f"got {size} and {seed}"):
            stories(size, seed)


def test_one_word_settles_every_choice() -> None:
    """LL(1), hence one derivation a text: first words differ, no piece is empty or joins a word of the one before."""
    every = list(choices(story()))
    assert len(every) > 400
    for choice in every:
        assert set(choice.announced.values()) == set(range(len(choice.weights)))
        for items in choice.alternatives:
            assert all(re.match(r"[ .,]|In the$", item) for item in items if isinstance(item, str))


@pytest.mark.parametrize(
    "rules",
    [
        {"s": {" a dog.": 1, " a cat.": 1}},
        {"s": {"{x}.": 1, " dog{x}.": 1}, "x": {" dog": 2, " cat": 1}},
        {"s": {"{again}.": 1, "{word}.": 1}},
    ],
)
def test_an_ambiguous_grammar_is_refused(rules: dict[str, dict[str, int]]) -> None:
    word = Choice([(1, (" dog",)), (1, (" cat",))])
    start = build(rules, {"word": word, "again": Memory("m", word, new=False)})["s"]
    with pytest.raises(ValueError, match=r"ambiguous: ' (a|dog)' begins two alternatives"):
        _ = start.announced


def test_a_small_grammar_against_counting_by_hand() -> None:
    word = Choice([(2, (" ox",)), (1, (" bear",))])
    memory = {"who!": Memory("who", word, new=True), "who": Memory("who", word, new=False)}
    start = build({"s": {"{who!} sees{who}{end}": 3, " No{end}": 1}, "end": {".": 4, ", no.": 1}}, memory)["s"]
    ox, bear, no = 3 / 4 * 2 / 3, 3 / 4 * 1 / 3, 1 / 4
    by_hand = {
        " ox sees ox.": ox * 4 / 5, " ox sees ox, no.": ox / 5, " bear sees bear.": bear * 4 / 5,
        " bear sees bear, no.": bear / 5, " No.": no * 4 / 5, " No, no.": no / 5,
    }  # fmt: skip
    assert sum(by_hand.values()) == pytest.approx(1, abs=1e-15)
    for text, p in by_hand.items():
        assert surprisal(start, text) == pytest.approx(-math.log(p), abs=1e-12)
    nats, size = (
        sum(p * f(t, p) for t, p in by_hand.items()) for f in (lambda t, p: -math.log(p), lambda t, p: len(t))
    )
    assert start.expected == pytest.approx((nats, size), abs=1e-12)
    with pytest.raises(ValueError, match=r"stands ' bear\.', not ' ox'"):
        surprisal(start, " ox sees bear.")


def test_a_rule_that_contains_itself() -> None:
    """Geometric: three in four go on."""
    start = build({"s": {" so{s}": 3, ".": 1}}, {})["s"]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert start.expected == pytest.approx((4 * entropy, 3 * 3 + 1), abs=1e-12)


def test_the_text_alone_tells_what_the_sampler_drew() -> None:
    random, nats = Random(11).random, 0.0

    def choose(choice: Choice) -> int:
        nonlocal nats
        chosen = choice.draw(random)
        nats += math.log(sum(choice.weights) / choice.weights[chosen])
        return chosen

    for _ in range(50):
        nats = 0.0
        line = "".join(derive(story(), choose))
        assert surprisal(story(), line) == pytest.approx(nats, rel=1e-12)


def test_the_entropy_is_what_a_long_text_costs(measured: dict[str, float]) -> None:
    """Within four standard errors of a ratio of means; the error itself is below 1%, so the test has teeth."""
    entropy = entropy_per_byte()
    size = statistics.fmean(map(len, measured))
    excess = [nats - entropy * len(line) for line, nats in measured.items()]
    error = statistics.stdev(excess) / math.sqrt(len(measured)) / size
    assert error < 0.01 * entropy
    assert abs(statistics.fmean(excess)) / size < 4 * error
    assert entropy == pytest.approx(0.5167159508305362, rel=1e-12)  # every plot of a loss shows it


def test_words_are_many_and_fit_their_articles(lines: list[str]) -> None:
    text = "".join(lines)
    assert len(set(re.findall("[A-Za-z]+", text))) > 5000
    assert not re.search(r"\ba [aeiou]", text)
    for table in (module.VERBS, *sum(module.PLACES.values(), ())):  # these take s or es
        assert not re.search("[^aeiou]y\\b", table)


def test_verbs_agree_across_a_relative_clause(lines: list[str]) -> None:
    """Read off the text, without the grammar: only main clauses have `is` and `are`, singular creatures end in no s."""
    found = re.findall(r"[Tt]he (?:[a-z]+ )*?([a-z]+)( that [^.]+) (is|are) [a-z]+\.", "".join(lines))
    assert len(found) > 300
    assert all((verb == "are") == noun.endswith("s") for noun, _, verb in found)
    assert {verb for *_, verb in found} == {"is", "are"}
    assert sum(len(between) >= 50 for _, between, _ in found) > 50


def test_hero_pronoun_and_prize_come_back(lines: list[str]) -> None:
    for line in lines:
        opening = re.match(
            r"In the \w+ lives a \w+ (\w+) named (\w+)\. (Her|His) friend is (\w+), a .*? a \w+ (\w+)\.", line
        )
        assert opening is not None
        kind, hero, whose, friend, prize = opening.groups()
        assert f" At last {hero} the {kind} finds the {prize} " in line
        assert (whose == "Her") == hero.endswith("a") == (not friend.endswith("a"))
        assert not re.search(r"\b([Hh]is|[Hh]e)\b" if whose == "Her" else r"\b([Hh]er|[Ss]he)\b", line)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" is vain", " are vain"),
        (" raises ", " raise "),
        ("Damus the", "Damos the"),
        ("thornmiller finds", "merchant finds"),
        ("the jar", "the box"),
        ("He dreams", "She dreams"),
        ("lone", "lonely"),
        (" a hard", " hard"),
        ("Jorlen.\n", "Jorlen."),
        ("Jorlen.\n", "Jorlen.\nIn the"),
        ("In the", "At the"),
    ],
)
def test_what_the_grammar_does_not_write_has_no_probability(old: str, new: str) -> None:
    assert module.__doc__ is not None
    sample = re.sub(r"\s+", " ", module.__doc__.split("\n\n")[1]).strip() + "\n"  # the story that the module shows
    assert surprisal(story(), sample) > 100
    assert old in sample
    with pytest.raises(ValueError, match="no such text"):
        surprisal(story(), sample.replace(old, new))
