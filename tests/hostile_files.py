"""Files that are handed in as notebooks, and which cells of them count."""

import json
from typing import Any

from tests.hostile import HONEST

BOTH = list(HONEST.values())
GRADED = {
    "nbgrader": {
        "grade": True,
        "locked": True,
        "points": 99,
        "grade_id": "check_rotate",
        "solution": True,
        "schema_version": 3,
    }
}


def cell(source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], **more}


def page(*cells: Any, **more: Any) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4, "nbformat_minor": 5, "metadata": {}, **more}).encode()


HONEST_CELLS = [cell(source) for source in BOTH]
FILES: dict[str, tuple[bytes, list[str] | None]] = {  # and the cells that count; None where it is no notebook
    "points in its metadata": (page(*(cell(x, metadata=GRADED) for x in BOTH), metadata=GRADED), BOTH),
    "a graded cell copied": (page(*HONEST_CELLS, *[cell("check(rotate)", metadata=GRADED, id="a")] * 3), [*BOTH, *["check(rotate)"] * 3]),
    "an output that says so": (page(*(cell(x, outputs=[{"data": {"text/plain": "20.0"}}]) for x in BOTH)), BOTH),
    "ids doubled": (page(*(cell(x, id="same") for x in BOTH)), BOTH),
    "no ids, no format": (json.dumps({"cells": HONEST_CELLS}).encode(), BOTH),
    "a format of the future": (page(*HONEST_CELLS, nbformat="ninety-nine", nbformat_minor=-1), BOTH),
    "cells of other types": (page(*HONEST_CELLS, *({"cell_type": kind, "source": "x"} for kind in ("Code", "raw", None, 7, ["code"], {}))), BOTH),
    "cells that are none": (page(None, 7, "code", [], [[]], {}, *HONEST_CELLS), BOTH),
    "sources of other types": (page(*HONEST_CELLS, *map(cell, (None, 7, 1.5, True, {"x": 1}, [[["x"]]], [None, "y = 1"]))), [*BOTH, *[""] * 6, "y = 1"]),
    "keys twice": (page(*HONEST_CELLS).replace(b'{"cells"', b'{"cells": [], "cells"', 1), BOTH),
    "no numbers": (page(*HONEST_CELLS, metadata={"a": float("nan"), "b": -float("inf")}), BOTH),
    "a huge number": (page(*HONEST_CELLS).replace(b'"nbformat": 4', b'"nbformat": ' + b"4" * 4000), BOTH),
    "lines of Windows": (page(*HONEST_CELLS).replace(b'{"cell_type', b'\r\n{"cell_type'), BOTH),
    "a mark at its start": (b"\xef\xbb\xbf" + page(*HONEST_CELLS), BOTH),
    "zeros after it": (page(*HONEST_CELLS) + bytes(5_000), BOTH),
    "zeros before it": (bytes(512) + b"\xef\xbb\xbf" + page(*HONEST_CELLS), BOTH),
    "markers of a merge in its code": (page(*HONEST_CELLS, cell("<<<<<<< HEAD\n=======\n>>>>>>> b")), [*BOTH, "<<<<<<< HEAD\n=======\n>>>>>>> b"]),
    "a merge that failed in its middle": (page(*HONEST_CELLS).replace(b'"nbformat"', b'\n<<<<<<< HEAD\n"nbformat"'), None),
    "UTF-16 without a mark": (page(*HONEST_CELLS).decode().encode("utf-16-le"), None),
    "a link to the cloud": (b'{"doc_id": "1", "email": "ann@b"}', None),
    "a pointer to a large file": (b"version https://git-lfs.github.com/spec/v1\n", None),
    "a merge of a million lines": (b"<<<<<<<x\n" * (2 << 20), None),
    "text after its end": (page(*HONEST_CELLS) + b"\n{}", None),
    "a merge that failed": (b"<<<<<<< HEAD\n" + page(*HONEST_CELLS), None),
    "a page of the web": (b"<!DOCTYPE html><html>", None),
    "a program": (BOTH[0].encode(), None),
    "an archive": (b"PK\3\4" + bytes(1000), None),
    "zeros": (bytes(10_000), None),
    "deep": (b'{"cells":' + b"[" * 200_000, None),
    "deep and whole": (b'{"cells":' + b"[" * 5_000 + b"]" * 5_000 + b"}", None),
    "cells in a dict": (json.dumps({"cells": {"0": HONEST_CELLS[0]}}).encode(), None),
    "cells in a text": (b'{"cells": "code"}', None),
    "worksheets of nothing": (b'{"worksheets": [null, 7, {"cells": 7}, {"cells": [7]}], "nbformat": 3}', []),
    "text that is none, without end": (b'{"cells": [{"cell_type": "code", "source": "' + b"\xff" * (11 << 20) + b'"}]}', None),
    "far too many cells": (page(*[cell("1")] * 6_000), None),
}  # fmt: skip
