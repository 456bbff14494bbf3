"""Stories: simple English without end, from a grammar of our own, so that its entropy is known exactly.

    In the market lives a lone thornmiller named Damus. His friend is Nadina, a muddy merchant. He dreams of a hard jar.
    The mudmerchant that Sovan raises beside the damp deep tough huge ryescale is vain. At last Damus the thornmiller
    finds the jar past the daypurse and shows it to Jorlen.

A story is a line. It has a place, with creatures and things of its own and an order of its own of how common each word
is (by Zipf's law; about 28 000 words in all, most of them compounds); a hero, a friend, and a wish; then sentences of
any number, and an end. What a model must remember over fifty bytes and more costs no nats: the number of a subject
until its verb, the hero's name and pronoun, what the hero is, what was wished for.

- **The same bytes everywhere.** Weights are integers, and every draw is one `Random.random()`, the one method whose
  sequence Python promises to keep (not `choice`, not `shuffle`).
- **One derivation for each text**, since one word ahead settles every choice (`grammar`). So a text by itself tells its
  probability: `surprisal(story(), line)`.
- **The entropy per byte** is E[nats of a story] / E[bytes of a story], for stories are independent; both are sums over
  the rules. No model can have a lower loss on average over an endless text.
"""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from random import Random

from course_lib.grammar import Choice, Item, Memory, build, derive

Draw = Callable[[], float]
Words = dict[str, Item]

# No noun or adjective starts with a vowel, so that "a" is always right, and all words take a plain s or es.
PLACES = {  # who lives there, what is found there
    "barnyard": (
        "farmer horse lamb pig hen goat dog mule duck bull chick rat",
        "barn cart fence gate plow saddle stable rope rake sack pail hut",
    ),
    "forest": (
        "hunter fox bear badger rabbit robin beetle raven toad mole lynx wren",
        "log root branch nest path cave trail tent creek bush lantern leek",
    ),
    "harbor": (
        "sailor captain gull crab seal whale diver pilot turtle carp squid ray",
        "boat net mast sail dock barrel shell cable hook raft pier map",
    ),
    "market": (
        "merchant baker butcher tailor porter peddler clerk cook monkey miller vendor guest",
        "basket coin scale ribbon melon bottle cloak purse table box button jar",
    ),
    "castle": (
        "king queen knight duke jester guard prince squire bard wizard dragon giant",
        "tower crown sword throne shield banner cup chain candle mirror drum door",
    ),
    "village": (
        "teacher nurse doctor painter potter smith singer dancer barber mayor maid twin",
        "house well lamp bench clock kettle chair spoon quilt fiddle bed pan",
    ),
    "garden": (
        "bee snail worm sparrow cat frog spider cricket moth lizard newt bug",
        "rose tulip pond hedge spade pot vine plum pear bean seed lawn",
    ),
    "valley": (
        "ranger herder hawk beaver pilgrim hiker miner falcon ram stag mare bat",
        "river bridge meadow field cabin stream road hill tunnel rock mill tree",
    ),
}
FIRST_HALVES = (
    "moon snow rain wind sun star storm cloud stone sand wood pine corn milk salt gold tin glass silk wool day night "
    "fire frost mist song bell bone clay coal fern moss marsh lake sea mud hay dew fur tar wax plum bark rye beech "
    "bog dust fog jade lace lime mint pearl reed rust spark straw thorn wheat wing"
)
VERBS = (
    "see find hold bring paint wash watch follow lift push pull hide keep like love help miss need show draw break "
    "build clean count drop feed fill fix hear know leave make mend move pick reach send touch throw want visit chase "
    "greet call guide bend bless blame bump catch cheer choose cover dig doubt dust face fear fetch free fold forget "
    "grab heal honor hug join judge kiss lead lend lick lose mark meet name pat pinch poke praise raise rub save seek "
    "shake shut sketch smell tap tease test thank tie trick trust turn wake warm warn weigh wipe wrap serve teach "
    "tickle sort spot polish nudge"
)
ADJECTIVES = (
    "big small red blue green tall short kind brave shy proud quiet loud quick slow warm cold wet dry soft hard "
    "bright dark rich poor happy sad gentle wild young new bold calm clever cool damp deep dim dull fair fine fresh "
    "full funny golden good grand gray great heavy hot huge keen large late lazy lean light little lone long lost "
    "lucky mad mean merry mild muddy narrow neat nice noble pale pink plain pretty pure purple rare round rude rusty "
    "safe sharp shiny silent silly silver simple sleepy slim smart smooth sour strange strong sweet tame thick thin "
    "tidy tiny tired tough vain vast weak wide wise jolly"
)
NAME_STARTS = (
    "Ba Be Bo Da De Do Fa Fe Ga Ha Ja Jo Ka Ke La Le Li Lo Ma Me Mi Mo Na Ne No Pa Pe Ra Re Ro Sa Se Si So Ta Te Ti "
    "To Va Ve Vi Za"
)
NAME_MIDDLES = "b d l m n r s t v nd rl ll"
GIRL_ENDINGS, BOY_ENDINGS = "a ia ina ela", "o us an en"

# Templates and how often each is taken. Braces name another rule, a kind of word, or a word remembered (drawn at the
# `!`). `#` is s for singular or p for plural, the same throughout a rule.
RULES = {
    "tale": {"{hero!}.{Her} friend is{friend!}, a{adjective}{being.s}.{She}{seeks} a{adjective}{prize!}.{more}": 1},
    "seeks": {" looks for": 3, " dreams of": 2, " would like": 2, " has lost": 1},
    "more": {"{sentence}{more}": 7, "{end}": 1},
    "sentence": {"{hero}{does.s}": 3, "{She}{does.s}": 3, "{friend}{does.s}": 2, " The{subject}": 6, "{time}{who}": 2},
    "time": {" Then": 4, " Soon": 2, " Later": 2, " Today": 1, " In the morning": 1, " By noon": 1},
    "who": {"{hero}{does.s}": 1, "{she}{does.s}": 2, "{friend}{does.s}": 1, " the{subject}": 2},
    "subject": {"{being.s}{acts.s}": 2, "{being.p}{acts.p}": 2, "{adjective}{subject}": 1},
    "acts.#": {" that{seen}{then.#}": 3, "{where}{does.#}": 1, "{does.#}": 3},
    "seen": {"{she}{verb.s}": 1, "{anyone}{verb.s}": 3, " the{other}": 3},
    "other": {"{being.s}{near.s}": 1, "{being.p}{near.p}": 1, "{adjective}{other}": 1},
    "near.#": {"{where}{verb.#}": 1, "{verb.#}": 1},
    "then.#": {"{where}{does.#}": 1, "{does.#}": 2},
    "does.#": {"{verb.#}{object}{and.#}": 6, "{is.#}{adjective}.": 1},
    "object": {" the{things}": 4, " a{one}": 4, "{many}{several}": 2, "{her}{prize}": 1, "{anyone}": 3, "{several}": 3},
    "things": {"{thing.s}": 2, "{thing.p}": 1, "{adjective}{things}": 2},
    "one": {"{thing.s}": 3, "{adjective}{one}": 2},
    "several": {"{thing.p}": 3, "{adjective}{several}": 2},
    "many": {" two": 3, " three": 2, " many": 2, " some": 2, " seven": 1},
    "and.#": {".": 6, "{where}.": 3, " and{verb.#}{object}.": 2},
    "where": {"{by} the{one}": 1},
    "by": {" near": 3, " behind": 2, " under": 2, " beside": 2, " below": 1, " past": 1},
    "end": {" At last{hero} the{kind} finds the{prize}{where} and{last}": 1},
    "last": {" gives it to{friend}.\n": 2, " keeps it.\n": 1, " shows it to{anyone}.\n": 1},
}
_TALE = {
    name.replace("#", n): {t.replace("#", n): w for t, w in rule.items()} for name, rule in RULES.items() for n in "sp"
}


def stories(n_bytes: int, seed: int = 0) -> bytes:
    """The first `n_bytes` bytes of an endless row of stories, all ASCII; another seed, other stories.

    Raises:
        ValueError: a negative size or seed.
    """
    if n_bytes < 0 or seed < 0:  # Random takes -1 for 1
        raise ValueError(f"size and seed must be 0 or more, got {n_bytes} and {seed}")
    random, start, lines, size = Random(seed).random, story(), [], 0
    while size < n_bytes:
        lines.append("".join(derive(start, lambda choice: choice.draw(random))))
        size += len(lines[-1])
    return "".join(lines)[:n_bytes].encode("ascii")


def entropy_per_byte() -> float:
    """Nats that a byte of `stories` costs on average, given all of its story before it and the grammar."""
    nats, size = story().expected
    return nats / size


@cache
def story() -> Choice:
    """The grammar of one story; `grammar.surprisal(story(), line)` are the nats of a line, its newline included."""
    lot = Random(0).random  # words by lot, so that how frequent one is cannot be seen from how it is spelled
    girls = _zipf(_by_lot(lot, NAME_STARTS, NAME_MIDDLES, GIRL_ENDINGS))
    boys = _zipf(_by_lot(lot, NAME_STARTS, NAME_MIDDLES, BOY_ENDINGS))
    anyone = build({"anyone": {"{girl}": 1, "{boy}": 1}}, {"girl": girls, "boy": boys})
    she = {"She": " She", "she": " she", "Her": " Her", "her": " her"} | _memory(hero=girls, friend=boys) | anyone
    he = {"She": " He", "she": " he", "Her": " His", "her": " his"} | _memory(hero=boys, friend=girls) | anyone
    places = {place: _place(place, she, he, lot) for place in PLACES}
    return build({"story": {"In the{place}": 1}, "place": {f"{{{place}}}": 1 for place in places}}, places)["story"]


def _place(place: str, she: Words, he: Words, lot: Draw) -> Choice:
    """What a story goes on with when it happens at this place."""
    beings, things = PLACES[place]
    being = _by_lot(lot, beings) + _by_lot(lot, FIRST_HALVES, beings)
    thing = _by_lot(lot, things) + _by_lot(lot, FIRST_HALVES, things)
    verb = _by_lot(lot, VERBS)
    adjective = _by_lot(lot, ADJECTIVES)
    one = {"being.s": _zipf(being), "thing.s": _zipf(thing), "verb.s": _zipf(map(_with_s, verb)), "is.s": " is"}
    more = {"being.p": _zipf(map(_with_s, being)), "thing.p": _zipf(map(_with_s, thing)), "verb.p": _zipf(verb)}
    words: Words = {**one, **more, "is.p": " are", "adjective": _zipf(adjective)}
    words |= _memory(kind=one["being.s"], prize=one["thing.s"])
    tales = {"her tale": build(_TALE, words | she)["tale"], "his tale": build(_TALE, words | he)["tale"]}
    opening = {"opening": {f" {place} lives a{{adjective}}{{kind!}} named{{tale}}": 1}}
    either = {"tale": {"{her tale}": 1, "{his tale}": 1}}
    return build(opening | either, words | tales)["opening"]


def _by_lot(lot: Draw, *parts: str) -> list[str]:
    """All compounds of one part from each table, or a table's own words, in an order drawn by lot."""
    return sorted(map("".join, product(*map(str.split, parts))), key=lambda _: lot())


def _zipf(words: Iterable[str]) -> Choice:
    """The most frequent word first; each carries the blank before it."""
    return Choice((10**6 // (rank + 6), (f" {word}",)) for rank, word in enumerate(words))


def _with_s(word: str) -> str:
    """Plural of a noun, third person of a verb."""
    return word + ("es" if word.endswith(("s", "x", "sh", "ch")) else "s")


def _memory(**kinds: Choice) -> Words:
    """Two symbols a name: `{name!}` draws and keeps a word, `{name}` says it again."""
    keep: Words = {f"{name}!": Memory(name, kind, new=True) for name, kind in kinds.items()}
    return keep | {name: Memory(name, kind, new=False) for name, kind in kinds.items()}
