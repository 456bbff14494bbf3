"""A measured or fitted number: never without what is known of its error, its unit and where it comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value between `low` and `high`. NaN for both: nothing is known of its error.

    `interval` says what the two are, "95% Student-t" or "one standard error"; the value may lie outside of some kinds,
    such as bootstrap percentiles. `message` is a warning, empty where there is none.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    interval: str = ""
    unit: str = ""  # "" is a pure number
    source: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        if self.low > self.high or math.isnan(self.low) != math.isnan(self.high):
            raise ValueError(f"want low <= high, or NaN for both, got {self.low} and {self.high}")

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)

    def covers(self, truth: float) -> bool:
        return self.low <= truth <= self.high

    def __str__(self) -> str:
        text = f"{self.value:.4g}{self._unit}"
        if self.has_interval:
            text += f" ({self.low:.4g} to {self.high:.4g}{', ' + self.interval if self.interval else ''})"
        return text + (f"; {self.message}" if self.message else "")

    def _repr_html_(self) -> str:
        return table("", {"": self})

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 user", "2,048 users", "3 passes"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def table(title: str, rows: Mapping[str, Estimate], note: str = "") -> str:
    """Estimates as an HTML table; intervals, warnings and sources that they share are said once, below it."""
    body = "".join(_row(name, each) for name, each in rows.items())
    intervals = {each.interval for each in rows.values() if each.has_interval and each.interval}
    below = [note, *(f"Intervals: {kind}." for kind in sorted(intervals))]
    for message in dict.fromkeys(each.message for each in rows.values() if each.message):
        names = ", ".join(name for name, each in rows.items() if each.message == message)
        below.append(f"{names}: {message}" if names else message)
    below += dict.fromkeys(f"Source: {each.source}" for each in rows.values() if each.source)
    notes = "<br>".join(escape(line) for line in below if line)
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("", "value", "low", "high", "unit"))
    return f"<table><caption>{escape(title)}</caption><tr>{heads}</tr>{body}</table><p>{notes}</p>"


def _row(name: str, each: Estimate) -> str:
    ends = (f"{each.low:.4g}", f"{each.high:.4g}") if each.has_interval else ("", "")
    cells = "".join(f"<td>{cell}</td>" for cell in (f"{each.value:.4g}", *ends, escape(each.unit)))
    return f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>"
