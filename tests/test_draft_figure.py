"""The picture of a drafted text, from passes written by hand."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from course_lib import generation
from course_lib.figures.mtp import COLOURS, UNREADABLE, DraftedText, Pass, draft_html, picture
from tests.drawn_drafts import html, outlined, spans, text


def test_the_kinds_are_those_of_the_generation() -> None:
    assert set(COLOURS) == {generation.PLAIN, generation.ACCEPTED, generation.REPLACED, generation.FREE}


# two drafts a pass, by hand: é comes in two halves, of which the second replaced an x
BY_HAND = DraftedText(
    prompt='<script>"&\n',
    passes=[
        Pass(tokens=[97], origins=["plain"], drafted=[None]),
        Pass(
            tokens=[60, 98, 195], origins=["accepted", "accepted", "free"], drafted=[60, 98, None],
            offered=2, accepted=2,
        ),
        Pass(tokens=[169], origins=["replaced"], drafted=[120], offered=1),
        Pass(tokens=[10, 32], origins=["accepted", "replaced"], drafted=[10, 62], offered=2, accepted=1),
        Pass(tokens=[7], origins=["accepted"], drafted=[7], offered=2, accepted=1),
    ],
    total=5, depth=2, expected=2.25,
)  # fmt: skip


def upto(passes: int) -> DraftedText:
    return DraftedText(prompt=BY_HAND.prompt, passes=BY_HAND.passes[:passes], total=5, depth=2, expected=2.25)


def test_every_character_says_where_it_came_from() -> None:
    drawn = spans(draft_html(BY_HAND))
    assert "".join(shown for _, shown, _ in drawn) == f'<script>"&↵\na<bé↵\n {UNREADABLE}'
    assert [kind for kind, *_ in drawn] == ["prompt"] * 11 + [
        "plain", "accepted", "accepted", "replaced", "accepted", "replaced", "accepted"
    ]  # fmt: skip
    assert [note for *_, note in drawn[11:]] == [
        "pass 1: without a draft",
        "pass 2: draft stood",
        "pass 2: draft stood",
        "pass 3: draft replaced; the draft was “x”; last of 2 bytes",
        "pass 4: draft stood",
        "pass 4: draft replaced; the draft was “>”",
        "pass 5: draft stood",
    ]
    assert "<script" not in draft_html(BY_HAND)


@pytest.mark.parametrize(
    ("passes", "words", "end"),
    [
        (1, "wrote “a” without a draft", "a"),
        (2, "drafted “<b”: “<b” stood, “\\xc3” came free", f"<b{UNREADABLE}"),
        (3, "drafted “x”: “x” was replaced by “\\xa9”, 1 more not judged", "é"),
        (4, "drafted “↵>”: “↵” stood, “>” was replaced by “␣”", "↵\n "),
        (5, "drafted “\\x07”: “\\x07” stood, no room for more", UNREADABLE),
    ],
)
def test_the_last_pass_is_outlined_and_told(passes: int, words: str, end: str) -> None:
    drawn = draft_html(upto(passes))
    assert html(drawn).findtext(".//b") == f"Pass {passes} of 5 {words}"
    assert text(drawn).attrib["aria-label"].startswith(f"Pass {passes} of 5 {words}. ")
    assert outlined(drawn) == end


def test_numbers_by_hand() -> None:
    assert upto(1).numbers == ["1 token (bytes) in 1 pass: 1.00 per pass"]
    assert BY_HAND.numbers == [
        "8 tokens (bytes) in 5 passes: 1.60 per pass",
        "of 7 judged drafts 4 stood: 57%",
        "tokens per pass with drafts: 2.00, expected at this acceptance 2.25",
    ]
    assert BY_HAND.counts == {"prompt": 11, "plain": 1, "accepted": 4, "replaced": 2, "free": 1}
    assert DraftedText(prompt="").last_pass == "Nothing written yet"


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"\xe2\x82", b"a\xe2\x82b", b"\xf0\x9f\x99\x82!", b"\xed\xa0\x80"])
def test_any_bytes_can_be_shown(garbage: bytes) -> None:
    one = Pass(tokens=list(garbage), origins=["plain"] * len(garbage), drafted=[None] * len(garbage))
    drawn = "".join(shown for _, shown, _ in spans(draft_html(DraftedText(prompt="\udc00", passes=[one], total=1))))
    bad = sum(byte >= 128 for byte in garbage) * UNREADABLE
    assert drawn[1:] == ("🙂!" if b"!" in garbage else f"a{bad}b" if b"a" in garbage else bad)


def test_the_static_picture_shows_the_same() -> None:
    axes = picture(BY_HAND).axes[0]
    cells = BY_HAND.cells
    assert [each.get_text() for each in axes.texts] == [cell.text.rstrip("\n") for cell in cells]
    tinted = [each for each in axes.patches if isinstance(each, Rectangle) and each.get_fill()]
    assert [to_hex(each.get_facecolor()).upper() for each in tinted] == [COLOURS[cell.origin] for cell in cells[11:]]
    assert len(axes.patches) - len(tinted) == 1, "the last pass is outlined"
    assert BY_HAND.last_pass in axes.get_title(loc="left") and BY_HAND.numbers[1] in axes.get_title(loc="left")
    lines = [each.get_position()[1] for each in axes.texts]
    assert lines == sorted(lines) and len(set(lines)) == 3  # two newlines
    formula = Pass(tokens=list(b"$\\frac$"), origins=["plain"] * 7, drafted=[None] * 7)
    long = DraftedText(prompt="$" * 200 + "中", passes=[formula], total=1)
    figure = picture(long)
    figure.draw_without_rendering()
    assert {each.get_position()[1] for each in figure.axes[0].texts} == {0.45, 1.45, 2.45}
    assert UNREADABLE in [each.get_text() for each in figure.axes[0].texts], "not in the font"
