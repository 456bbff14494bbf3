"""The draft explorer without a browser: write, step back, stop, judge drafts wrongly; read the picture."""

import re
from collections import Counter
from collections.abc import Callable
from threading import Event, main_thread
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from course_lib.corpus import encode
from course_lib.generation import Generation, generate
from course_lib.model import MiniDeepSeek
from course_lib.speculative import tokens_per_step, verify_greedy
from course_lib.widgets import mtp
from course_lib.widgets.mtp import DraftExplorer
from tests.conftest import tiny_heads
from tests.drawn_drafts import html, outlined, spans, text

NEW = 16


def model(depths: int) -> MiniDeepSeek:
    """Quick. At a temperature of 1 every kind of token comes; greedily hardly a draft stands."""
    torch.manual_seed(2)
    sizes = {"vocab_size": 256, "num_hidden_layers": 1, "num_nextn_predict_layers": depths}
    config = tiny_heads(2, initializer_range=0.1, **sizes)
    return MiniDeepSeek(config).double().eval()


def explorer(depths: int = 2, new_tokens: int = NEW, **settings: Any) -> DraftExplorer:
    return DraftExplorer(model(depths), **{"prompt": "ab", "new_tokens": new_tokens, **settings})


def said(each: DraftExplorer) -> str:
    return "".join(ElementTree.fromstring(each.status.value).itertext())


def written(each: DraftExplorer, speculate: bool = True) -> Generation:
    """What the explorer should have written."""
    return generate(
        each.model, encode(each.prompt.value)[None], each.new_tokens, speculate=speculate,
        temperature=each.temperature.value, seed=each.seed.value,
    )  # fmt: skip


@pytest.mark.parametrize("depths", [1, 2])
def test_counts_and_colours_are_those_of_the_generation(depths: int) -> None:
    each = explorer(depths)
    each.temperature.value = 1.0
    each.write()
    right = written(each)
    kinds = Counter(right.origins)
    assert min(kinds.values()) > 0 and len(kinds) == 4, kinds
    assert each.writing.tokens == right.tokens[0].tolist() and len(each.writing.passes) == right.passes
    told = text(each.picture.value).attrib["aria-label"]
    for kind, words in (("plain", "without a draft"), ("accepted", "draft stood"), ("replaced", "draft replaced")):
        assert f"{words}: {kinds[kind]}. " in told
    assert f"all stood: {kinds['free']}. " in told and "prompt: 2. " in told
    expected = tokens_per_step(right.acceptance, depths)
    for words in (
        f"{NEW} tokens (bytes) in {right.passes} passes: {right.tokens_per_pass:.2f} per pass",
        f"of {right.offered} judged drafts {right.accepted} stood: {right.acceptance:.0%}",
        f"{1 + right.accepted / (right.passes - 1):.2f}, expected at this acceptance {expected:.2f}",
    ):
        assert words in told and words in each.picture.value
    assert "another text than without drafts" in said(each)


def test_the_slider_goes_back_pass_by_pass() -> None:
    each = explorer()
    each.temperature.value = 1.0
    each.write()
    right, end, all_spans = written(each), 0, []
    assert each.upto.value == each.upto.max == right.passes
    for step, one in enumerate(each.writing.passes, 1):
        each.upto.value = step
        end += len(one.tokens)
        assert sum(each.shown.counts.values()) == end + 2
        assert f"Pass {step} of {right.passes} " in html(each.picture.value).findtext(".//b", "")
        assert len(spans(each.picture.value)) > len(all_spans)
        all_spans = spans(each.picture.value)
        assert outlined(each.picture.value).endswith(all_spans[-1][1])
        assert each.shown.passes[-1].tokens == right.tokens[0, end - len(one.tokens) : end].tolist()
    each.upto.value = 0
    assert [span[0] for span in spans(each.picture.value)] == ["prompt"] * 2 and outlined(each.picture.value) == ""
    assert f"Before pass 1 of {right.passes}" in each.picture.value


def test_greedily_the_text_is_compared_with_the_plain_one() -> None:
    each = explorer()
    assert "It is the same text as without drafts, token for token." in said(each)
    each.speculate.value = False
    assert "Changed: press Write" in said(each)
    each.write()
    assert each.shown.counts["plain"] == NEW == len(each.writing.passes) and each.shown.depth == 0
    assert "judged" not in each.picture.value and "Written without drafts" in said(each)


def credulous(draft: Any, logits: Any) -> Any:
    return torch.cat([draft, logits[-1:].argmax(-1)])


def test_a_text_that_differs_is_told_with_the_gap_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    each = explorer(verify=credulous)
    plain, here = written(each, speculate=False).tokens[0], torch.tensor(each.writing.tokens)
    at = int((plain != here).nonzero()[0])
    logits = each.model(torch.cat([encode("ab"), plain[:at]])[None])[0, -1]
    gap = (logits[plain[at]] - logits[here[at]]).item()
    assert f"Token {at + 1} is not what is written without drafts" in said(each)
    assert f"{gap:.2g} apart: more than rounding moves them" in said(each)
    monkeypatch.setattr(mtp, "NEAR", 1e9)
    each.write()
    assert "a near tie, which rounding may decide either way" in said(each)


def test_what_no_right_verify_does_is_told() -> None:
    each = explorer(verify=lambda draft, logits: draft[:1])
    assert f"verify rejected {NEW - 1} drafts and returned the same tokens." in said(each)
    each.verify = lambda draft, logits: torch.cat([draft[:1] ^ 1, draft])
    each.write()
    assert re.search(r"verify kept \d+ drafts but returned other tokens in their place\.", said(each))
    assert any("draft stood; the draft was" in note for *_, note in spans(each.picture.value))


def broken(draft: Any, logits: Any) -> Any:
    return draft[0] / {}["<script>"]


@pytest.mark.parametrize(
    ("verify", "message"),
    [
        (broken, "KeyError: '<script>' (in broken, line "),
        (lambda draft: draft, "TypeError: "),
        (lambda draft, logits: None, "integers from 0 to 255; it gave None"),
        (lambda draft, logits: [97], "it gave [97]"),
        (lambda draft, logits: logits[0], "it gave tensor("),
        (lambda draft, logits: draft[:, None], "it gave tensor("),
        (lambda draft, logits: torch.tensor([256]), "it gave tensor([256])"),
        (lambda draft, logits: torch.tensor([-1]), "it gave tensor([-1])"),
        (lambda draft, logits: draft[:0], "of a draft of 2 verify kept 0 tokens, wanted 1 to 3"),
        (lambda draft, logits: exit(), "SystemExit"),
    ],
)
def test_an_error_of_verify_is_told_and_mended(verify: Callable[..., Any], message: str) -> None:
    each = explorer(new_tokens=6, verify=verify)
    assert "An error stopped the writing after 1 pass." in said(each) and message in said(each)
    assert each.button.description == "Write" and each.shown.counts["plain"] == 1
    each.verify = None
    each.write()
    assert "It is the same text" in said(each) and len(each.writing.tokens) == 6


class Slow:
    """The right verification, which on its fifth call waits until it is let go."""

    def __init__(self) -> None:
        self.calls, self.reached, self.released = 0, Event(), Event()

    def __call__(self, draft: Any, logits: Any) -> Any:
        self.calls += 1
        if self.calls == 5:
            self.reached.set()
            assert self.released.wait(60)
        return verify_greedy(draft, logits)


def test_the_button_writes_and_stops() -> None:
    each, slow = explorer(), Slow()
    assert each.button.description == "Write"
    each.verify = slow
    each.prompt.value = "other"
    each.button.click()
    assert slow.reached.wait(60) and each.thread is not main_thread()
    assert each.button.description == "Stop" and not each.button.disabled and "Writing" in said(each)
    each.button.click()  # verify has not answered, and is not waited for
    assert said(each) == "Stopped after 5 passes." and each.button.description == "Write"
    stopped = each.picture.value
    assert each.upto.value == 5 and spans(stopped)[0][1] == "o"
    slow.released.set()
    each.thread.join(60)
    assert not each.thread.is_alive()
    assert each.picture.value == stopped and said(each) == "Stopped after 5 passes."
    each.verify = None
    each.button.click()
    each.thread.join(60)
    assert "It is the same text" in said(each) and each.button.description == "Write"
    assert torch.equal(torch.tensor(each.writing.tokens), written(each).tokens[0])


def test_a_cell_that_writes_cannot_hear_the_button() -> None:
    seen: list[tuple[str, bool]] = []

    def verify(draft: Any, logits: Any) -> Any:
        seen.append((each.button.description, each.button.disabled))
        return verify_greedy(draft, logits)

    each = explorer()
    each.verify = verify
    each.write()
    assert set(seen) == {("Stop", True)} and not each.button.disabled


def test_an_abandoned_text_does_not_touch_the_next() -> None:
    each, slow = explorer(), Slow()
    each.verify = slow
    each.button.click()
    assert slow.reached.wait(60)
    left, each.verify = each.thread, None
    each.button.click()
    each.write()
    after = (each.picture.value, each.status.value, len(each.writing.passes))
    slow.released.set()
    left.join(60)
    assert (each.picture.value, each.status.value, len(each.writing.passes)) == after


def test_an_interrupt_stops_too() -> None:
    def interrupted(draft: Any, logits: Any) -> Any:
        raise KeyboardInterrupt

    each = explorer(verify=interrupted)
    assert said(each) == "Stopped after 1 pass." and each.button.description == "Write"


def test_another_prompt_and_none() -> None:
    each = explorer(prompt="")
    assert "Not written. The prompt is empty" in said(each) and "Nothing written yet" in each.picture.value
    each.button.click()
    assert "The prompt is empty" in said(each) and each.button.description == "Write"
    each.ready[mtp.PROMPTS[1]].click()
    assert each.prompt.value == mtp.PROMPTS[1] and "press Write" in said(each)
    each.write()
    start = "".join(shown for kind, shown, _ in spans(each.picture.value) if kind == "prompt")
    assert start == mtp.PROMPTS[1].replace("\n", "↵\n")
    before = each.picture.value
    each.prompt.value = ""
    each.write()
    assert "The prompt is empty" in said(each) and each.picture.value == before
    each.prompt.value = "\udc00"
    each.write()
    assert "UnicodeEncodeError" in said(each)


def test_a_seed_gives_the_same_text_again() -> None:
    each = explorer(seed=3)
    each.temperature.value = 1.0
    texts = []
    for seed in (3, 4, 3):
        each.seed.value = seed
        each.write()
        texts.append(each.writing.tokens)
    assert texts[0] == texts[2] != texts[1]


def test_the_model_may_be_on_any_device(device: str) -> None:
    here, there = DraftExplorer(model(2), "ab", 6), DraftExplorer(model(2).to(device), "ab", 6)
    assert there.writing.tokens == here.writing.tokens and said(there) == said(here)
    there.temperature.value = 1.0
    there.button.click()
    there.thread.join(60)
    assert len(there.writing.tokens) == 6 and "Tokens were drawn" in said(there)


def test_models_without_drafts_and_without_bytes() -> None:
    each = DraftExplorer(model(0), "ab", 4)
    assert each.speculate.disabled and not each.speculate.value and each.shown.counts["plain"] == 4
    with pytest.raises(ValueError, match="wanted a vocab_size of 256, got 37"):
        DraftExplorer(MiniDeepSeek(tiny_heads(2)))


def test_without_a_kernel_it_says_what_to_do() -> None:
    assert "run this cell" in repr(explorer(prompt=""))
