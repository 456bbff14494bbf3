"""The draft explorer: watch a model write with drafts, and go back to see which of them stood."""

import math
import time
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from html import escape
from threading import RLock, Thread
from typing import Any

import ipywidgets as widgets
import torch

from course_lib.corpus import VOCABULARY, encode
from course_lib.devices import place_of
from course_lib.figures.mtp import DraftedText, Pass, draft_html, quoted
from course_lib.generation import ACCEPTED, REPLACED, Generation, Verify, generate
from course_lib.model import MiniDeepSeek
from course_lib.quantity import counted
from course_lib.speculative import tokens_per_step
from course_lib.widgets.controls import IntegerSlider, Slider, box, in_a_row, named
from course_lib.widgets.telling import told

PROMPTS = ("ROMEO:\n", "JULIET:\nO ", "First Citizen:\n", "To be, or not to be", "In the garden lives a ")
DRAW_EVERY = 0.1  # seconds, while it writes
NEAR = 1e-3  # logits of float32 that differ by less may change places with the order of summation
WIDE = {"description_width": "90px"}


@dataclass
class Writing:
    """One text: what was asked for, and the passes so far."""

    prompt: str = ""
    temperature: float = 0.0
    seed: int = 0
    depth: int = 0  # drafts a pass; 0 without
    passes: list[Pass] = field(default_factory=list)
    over: bool = True  # nothing will be added

    @property
    def tokens(self) -> list[int]:
        return [token for one in self.passes for token in one.tokens]

    @property
    def length(self) -> str:
        return counted(len(self.passes), "pass")

    def add(self, so_far: Generation) -> None:
        """One more pass."""
        start = len(self.tokens)
        self.passes.append(
            Pass(
                tokens=so_far.tokens[0, start:].tolist(),
                origins=so_far.origins[start:],
                drafted=so_far.drafted[start:],
                offered=so_far.offered - sum(one.offered for one in self.passes),
                accepted=so_far.accepted - sum(one.accepted for one in self.passes),
            )
        )


class DraftExplorer(widgets.VBox):
    """Prompt, temperature, seed and drafts on or off; the text written so, pass by pass, in colours.

    `verify(draft, logits)`, or with a temperature `verify(draft, draft_probs, probs, uniforms)`, judges the drafts in
    place of the course's.
    """

    def __init__(
        self,
        model: MiniDeepSeek,
        prompt: str = PROMPTS[0],
        new_tokens: int = 200,
        verify: Verify | None = None,
        seed: int = 0,
    ) -> None:
        if model.config.vocab_size != VOCABULARY:
            raise ValueError(
                f"tokens are bytes here: wanted a vocab_size of {VOCABULARY}, got {model.config.vocab_size}"
            )
        self.model, self.new_tokens, self.verify = model, new_tokens, verify
        self.writing, self.thread, self._lock = Writing(), Thread(), RLock()
        self.prompt = widgets.Textarea(
            value=prompt, rows=2, description="prompt", style=WIDE, layout={"width": "400px", "max_width": "98%"}
        )
        self.ready = {
            words: widgets.Button(description=words.replace("\n", "↵").strip(), layout={"width": "max-content"})
            for words in PROMPTS
        }
        self.temperature = Slider(value=0, min=0, max=1.2, step=0.1, readout_format=".1f", description="temperature")
        self.seed = widgets.BoundedIntText(
            value=seed, min=0, max=10**9, description="seed", style={"description_width": "40px"},
            layout={"width": "130px"},
        )  # fmt: skip
        self.speculate = box("Speculate", bool(len(model.mtp)), disabled=not len(model.mtp))
        self.button = widgets.Button(description="Write", button_style="primary")  # Stop while it writes
        self.upto = IntegerSlider(value=0, min=0, max=0, description="up to pass")
        self.status, self.picture = widgets.HTML(), widgets.HTML()
        settings = [self.temperature, self.seed, self.speculate, self.button]
        ready = named("or one of", *self.ready.values())
        super().__init__([self.prompt, ready, in_a_row(*settings), self.status, self.upto, self.picture])
        for words, button in self.ready.items():
            button.on_click(partial(self._take, words))
        for control in (self.prompt, self.temperature, self.seed, self.speculate):
            control.observe(self._changed, names="value")
        self.upto.observe(self._draw, names="value")
        self.button.on_click(self._pressed)
        self._draw()
        self.write()

    @property
    def shown(self) -> DraftedText:
        """What the picture shows now."""
        writing, passes = self.writing, self.writing.passes[: self.upto.value]
        offered, accepted = sum(one.offered for one in passes), sum(one.accepted for one in passes)
        expected = tokens_per_step(accepted / offered, writing.depth) if offered else math.nan
        prompt, total = writing.prompt, len(writing.passes)
        return DraftedText(prompt=prompt, passes=passes, total=total, depth=writing.depth, expected=expected)

    def write(self) -> None:
        """Writes what the controls ask for and waits for the end, as the button does not; an interrupt stops it."""
        if (writing := self._begin()) is not None:
            self._write(writing)

    def _pressed(self, button: Any) -> None:
        if not self.writing.over:
            self._end(self.writing, f"Stopped after {self.writing.length}.")
        elif (writing := self._begin(background=True)) is not None:  # the kernel goes on listening
            self.thread = Thread(target=copy_context().run, args=(self._write, writing), daemon=True)
            self.thread.start()

    def _begin(self, background: bool = False) -> Writing | None:
        prompt, depth = self.prompt.value, len(self.model.mtp) if self.speculate.value else 0
        if not prompt:
            self._say("<b>Not written.</b> The prompt is empty, and the model needs at least one byte to go on from.")
            return None
        self._end(self.writing, "")
        self.writing = Writing(prompt, self.temperature.value, self.seed.value, depth, over=False)
        self.button.description, self.button.button_style = "Stop", "warning"
        self.button.disabled = not background  # a busy kernel would hear the click only after the cell
        self._say("Writing ...")
        self._show()
        return self.writing

    def _write(self, writing: Writing) -> None:
        try:
            said = self._written(writing)
        except (_StoppedError, KeyboardInterrupt):
            said = f"Stopped after {writing.length}."
        except BaseException as error:  # whatever a student's verify may raise
            said = f"<b>An error stopped the writing after {writing.length}.</b> {escape(told(error, self.verify))}"
        self._end(writing, said)

    def _written(self, writing: Writing) -> str:
        """What to say of the text, once written."""
        drawn = 0.0

        def watch(so_far: Generation) -> None:
            nonlocal drawn
            with self._lock:
                self._go_on(writing)
                writing.add(so_far)
                if time.monotonic() - drawn > DRAW_EVERY:
                    self._show()
                    drawn = time.monotonic()

        prompt = encode(writing.prompt)[None].to(place_of(self.model))
        settings: dict[str, Any] = {"temperature": writing.temperature, "seed": writing.seed}
        generate(
            self.model, prompt, self.new_tokens, **settings,
            speculate=writing.depth > 0, verify=self.verify and _checked(self.verify), watch=watch,
        )  # fmt: skip
        said = _oddities(writing)
        if not writing.depth:
            return "Written without drafts: one token per pass."
        if writing.temperature > 0:
            return (
                f"Written. {said}Tokens were drawn: another text than without drafts, and as likely if verify is right."
            )
        with self._lock:
            self._go_on(writing)
            self._say("Written. Now once more without drafts, to compare ...")
        plain = generate(self.model, prompt, self.new_tokens, watch=lambda _: self._go_on(writing)).tokens[0]
        return f"Written. {said}{self._compared(prompt, plain, torch.tensor(writing.tokens).to(plain))}"

    @torch.no_grad()
    def _compared(self, prompt: torch.Tensor, plain: torch.Tensor, drafted: torch.Tensor) -> str:
        differ = (plain != drafted).nonzero()
        if not len(differ):
            return "It is the same text as without drafts, token for token."
        at = int(differ[0])
        logits = self.model(torch.cat([prompt, plain[None, :at]], dim=1))[0, -1]
        gap = float((logits[plain[at]] - logits[drafted[at]]).abs())
        there, here = (quoted(bytes([int(tokens[at])])) for tokens in (plain, drafted))
        far = "more than rounding moves them, short of sending a token to another expert; look at verify first"
        why = "a near tie, which rounding may decide either way" if gap < NEAR else far
        return (
            f"<b>Token {at + 1} is not what is written without drafts</b>: there {escape(there)}, here {escape(here)}. "
            f"The model's logits of the two are {gap:.2g} apart: {why}."
        )

    def _go_on(self, writing: Writing) -> None:
        if writing.over:
            raise _StoppedError

    def _end(self, writing: Writing, said: str) -> None:
        """The last word on a writing; what comes later, from a verify that took its time, is not heard."""
        with self._lock:
            if writing.over:
                return
            writing.over = True
            self.button.description, self.button.button_style = "Write", "primary"
            self.button.disabled = False
            self._show()
            self._say(said)

    def _show(self) -> None:
        """All that is written."""
        self.upto.max = self.upto.value = len(self.writing.passes)
        self._draw()

    def _draw(self, change: Any = None) -> None:
        self.picture.value = draft_html(self.shown)

    def _take(self, words: str, button: Any) -> None:
        self.prompt.value = words

    def _changed(self, change: Any = None) -> None:
        if self.writing.over:
            self._say("Changed: press <i>Write</i> for a new text.")

    def _say(self, what: str) -> None:
        self.status.value = f'<div aria-live="polite" style="line-height:1.4;min-height:1.4em">{what}</div>'

    def __repr__(self, **_: object) -> str:
        return "DraftExplorer: run this cell to write with drafts; a picture of its first state stands beside it"


class _StoppedError(Exception):
    """Raised where a text is written that nobody waits for any more."""


def _checked(verify: Verify) -> Verify:
    def checked(*rows: torch.Tensor) -> torch.Tensor:
        row = verify(*rows)
        fits = isinstance(row, torch.Tensor) and row.ndim == 1 and not row.is_floating_point()
        if fits and bool(((row >= 0) & (row < VOCABULARY)).all()):
            return row
        raise ValueError(f"verify must give a row of tokens, integers from 0 to {VOCABULARY - 1}; it gave {row!r}")

    return checked


def _oddities(writing: Writing) -> str:
    """What no right verification does."""
    told = [fact for one in writing.passes for fact in zip(one.origins, one.tokens, one.drafted, strict=True)]
    other = sum(origin == ACCEPTED and token != draft for origin, token, draft in told)
    same = sum(origin == REPLACED and token == draft for origin, token, draft in told)
    words = f"verify kept {counted(other, 'draft')} but returned other tokens in their place. " if other else ""
    return words + (f"verify rejected {counted(same, 'draft')} and returned the same tokens. " if same else "")
