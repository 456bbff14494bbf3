"""A training in a lesson is interrupted: what follows runs or says why not, and running the cell again repairs it."""

import re
import signal
from pathlib import Path
from typing import Any

import jupytext
import matplotlib.pyplot as plt
import pytest

from course_lib.corpus import Corpus

SOURCE = Path(__file__).parents[1] / "notebooks/source"
# lesson, words of the cell that is interrupted, where the section ends
TRAININGS = [
    ("04_load_balancing", "for _ in training.run():", "## Repair 2: a bias"),
    ("05_mtp", "for _ in tqdm(training.run()", "## The loss"),
    ("05_mtp", 'desc="two depths"', "## The loss"),
    ("06_mini_deepseek", "go_on(recipe.steps // 2)", "# And its text."),
    ("06_mini_deepseek", "go_on(recipe.steps)", "# And its text."),
]
SHORTER = re.compile(r"(?<=steps=)\d+|(?<=total=)60|(?<=range\()60|(?<=new=)120")  # 6 steps, 6 bytes


@pytest.fixture
def signals_after_three_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C on the third batch from now on, where the list counts down; empty: never."""
    countdown: list[int] = []
    batch = Corpus.batch

    def counting(*arguments: Any, **options: Any) -> Any:
        if countdown:
            countdown[0] -= 1
            if countdown[0] == 0:
                countdown.clear()
                signal.raise_signal(signal.SIGINT)
        return batch(*arguments, **options)

    monkeypatch.setattr(Corpus, "batch", counting)
    return countdown


@pytest.mark.parametrize(("lesson", "words", "end"), TRAININGS, ids=lambda value: value[:24])
def test_an_interrupted_training_spoils_nothing(
    lesson: str, words: str, end: str, signals_after_three_batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plt, "show", plt.close)
    text = (SOURCE / f"{lesson}.py").read_text(encoding="utf-8").split(end)[0]
    notebook = jupytext.reads(SHORTER.sub("6", text).replace("# %matplotlib inline", ""), fmt="py:percent")
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    (place,) = [i for i, cell in enumerate(cells) if words in cell]
    names: dict[str, Any] = {}
    for cell in cells[:place]:
        exec(cell, names)
    signals_after_three_batches[:] = [3]
    with pytest.raises(KeyboardInterrupt):
        exec(cells[place], names)
    for cell in [*cells[place + 1 :], *cells[place:]]:  # "Run all below", then the cell again and all below
        run(cell, names)


def run(cell: str, names: dict[str, Any]) -> None:
    """A claim about the trained model may fail, if it says why."""
    try:
        exec(cell, names)
    except AssertionError as error:
        if not str(error).startswith("was the training interrupted?"):
            raise
