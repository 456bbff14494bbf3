"""What `params` prints: every count in full, whatever the width of the terminal."""

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from course_lib import accounting
from course_lib.config import ModelConfig

_COLUMNS = ("one layer", "layers", "total", "active")
_SUMS = ("all", "no embedding", "no vocabulary")


def print_counts(console: Console, config: ModelConfig, title: str, bytes_per_element: float = 2) -> None:
    """Parameters by part, their sums in the three conventions, and the cache per token.

    A table, if it fits; else one number per line, which is never cut, nor wrapped by `console`.
    """
    rows = _rows(config)
    table = _table(title, rows)
    unlimited = console.options.update(width=1000)  # else no table is wider than the console
    if Measurement.get(console, unlimited, table).minimum <= console.width:
        console.print(table)
    else:
        console.print(_lines(title, rows), soft_wrap=True, highlight=False)
    elements = accounting.cache_elements(config)
    size = accounting.cache_bytes(config, 1, bytes_per_element)
    cached = f"cache per token: {elements:,} numbers, {size:,} bytes"
    if len(cached) > console.width:
        cached = cached.replace(": ", ":\n  ").replace(", ", ",\n  ")
    console.print(cached, soft_wrap=True, highlight=False)


def _rows(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """The texts of the four columns, by the name of the part or sum."""
    counts = accounting.parameters(config)
    rows = {
        name.replace("attention.", "attn ").replace("_", " "): tuple(
            f"{number:,}" for number in (part.each, part.layers, part.total, part.active)
        )
        for name, part in counts.components.items()
    }
    sums = (counts.active, counts.active_without_embedding, counts.active_without_vocabulary)
    rows |= {name: ("", "", "", f"{number:,}") for name, number in zip(_SUMS, sums, strict=True)}
    rows["all"] = ("", "", f"{counts.total:,}", f"{counts.active:,}")
    return rows


def _table(title: str, rows: dict[str, tuple[str, ...]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("part", no_wrap=True)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, numbers in rows.items():
        if name == _SUMS[0]:
            table.add_section()
        table.add_row(name, *numbers, style="bold" if name == _SUMS[0] else None)
    return table


def _lines(title: str, rows: dict[str, tuple[str, ...]]) -> str:
    lines = [title]
    for name, numbers in rows.items():
        lines += ["", name]
        lines += [f"  {heading:10}{text:>20}" for heading, text in zip(_COLUMNS, numbers, strict=True) if text]
    return "\n".join([*lines, ""])
