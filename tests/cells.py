"""Functions as a notebook defines them: from the text of a cell, whose lines a traceback can show."""

import itertools
import linecache
from typing import Any

_numbers = itertools.count(1)


def run_cell(source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names of a notebook after this cell; `names` are those before it."""
    name = f"<cell {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    names = {} if names is None else names
    exec(compile(source, name, "exec"), names)
    return names
