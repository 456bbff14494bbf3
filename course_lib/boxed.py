"""The model in the box: trained on tinyshakespeare, so that lessons can look at a model that has learned something."""

import csv
import json
from pathlib import Path
from typing import Any

from course_lib.checkpoint import load_model
from course_lib.model import MiniDeepSeek

FOLDER = Path(__file__).parent / "data" / "shakespeare"


def load() -> MiniDeepSeek:
    """MLA, experts and one MTP depth; tokens are bytes."""
    return load_model(FOLDER)


def record() -> dict[str, Any]:
    """How it was trained, what it reached on the tenth of the text that it had not read, and what others reach."""
    return json.loads((FOLDER / "record.json").read_text(encoding="utf-8"))


def log() -> list[dict[str, float]]:
    """Its training, each row the mean of some steps."""
    with (FOLDER / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
