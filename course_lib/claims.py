"""What was said of DeepSeek in January 2025, what the sources say, and which lesson tests it."""

import json
from dataclasses import dataclass
from html import escape
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class Claim:
    claim: str
    said_in: str  # "blog" or "slides": two of the texts that carried these claims
    lesson: str  # "01" to "08"; empty: nothing to compute
    verdict: str
    reading: str  # what the sources say
    source: str


def claims() -> list[Claim]:
    """All of them, in the order in which they were made."""
    text = (resources.files("course_lib") / "claims.json").read_text(encoding="utf-8")
    return [Claim(**entry) for entry in json.loads(text)]


def claims_html(chosen: list[Claim]) -> str:
    """A table whose verdicts stay folded until the reader has made up her mind."""
    rows = [
        f"<tr><td>{i}</td><td style='text-align:left'>{plain(c.claim)}</td><td>{c.said_in}</td>"
        f"<td>{c.lesson or '-'}</td>"
        f"<td style='text-align:left'><details><summary>open</summary><b>{plain(c.verdict)}</b>. "
        f"{plain(c.reading)} <i>{plain(c.source)}</i></details></td></tr>"
        for i, c in enumerate(chosen, 1)
    ]
    head = "<tr><th></th><th style='text-align:left'>claim</th><th>said in</th><th>lesson</th><th>verdict</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def plain(text: str) -> str:
    """Text for HTML; a dollar in an element of its own is money, two in one text would be taken for a formula."""
    return escape(text).replace("$", "<span>$</span>")
