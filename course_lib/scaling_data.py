"""Published runs to test fits on: downloaded once from where they were published, never part of this project."""

import csv
import io
import json
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.fetch import fetch

GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Origin:
    """A file, what it must hash to, and the columns that have one name here. Without `url`: a table made from its
    origin by hand, that can only be read from the folder that COURSE_DATA names."""

    file: str
    sha256: str
    columns: dict[str, str]  # ours: theirs
    source: str
    url: str | None = None


CHINCHILLA = Origin(
    "svg_extracted_data.csv",
    "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
    {"params": "Model Size", "flops": "Training FLOP", "loss": "loss"},
    "read off Figure 4 of Hoffmann et al. 2022 (arXiv:2203.15556) by Besiroglu et al. 2024 (arXiv:2404.10102), "
    "epoch-research/analyzing-chinchilla at 9225883; no licence stated",
    f"{GITHUB}/epoch-research/analyzing-chinchilla/92258837425e1b5f2851d624287f0120583a3d0e/data/svg_extracted_data.csv",
)
CS336 = Origin(
    "isoflops_curves.json",
    "da6a464c3f5e5039d3f20e137dfcab3031a3d8e7ef0ac2f376f96e295d4afd27",
    {"params": "parameters", "flops": "compute_budget", "loss": "final_loss"},
    "synthetic, by its own handout: stanford-cs336/assignment3-scaling at 24a558e, MIT, Stanford 2026",
    f"{GITHUB}/stanford-cs336/assignment3-scaling/24a558ee8f1078d0d44e0e3b1e8c17697e72a153/data/isoflops_curves.json",
)
PORIAN = "Porian et al. 2024 (arXiv:2406.19146), formll/resolving-scaling-law-discrepancies at 0dc60d9, MIT"
PORIAN_RUNS = Origin(
    "porian_isoflop_points.csv",
    "97278261b00a5cd19687549b46de846ed38af22ac9202ccfd590d00d9b909ebd",
    {"params": "n_params", "tokens": "tokens", "flops": "flops", "loss": "loss"},
    f"{PORIAN}, exported from data/summary_df*.pickle.xz",
)
PORIAN_OPTIMA = Origin(
    "porian_optima.csv",
    "e7054fa9711b5d21cdf15f90110622ea61a38cc07542c274a24df9e7d0700f0e",
    {"params": "n_opt", "tokens": "tokens_opt", "flops": "flops", "loss": "loss_opt"},
    f"{PORIAN}, exported from data/summary_df*.pickle.xz",
)
GADRE = Origin(
    "gadre_overtraining_104.csv",
    "04f763dd9c384773925d9607ea4a7c47d499443127720dde553ae36c2a04c24c",
    {"params": "params", "tokens": "tokens", "flops": "train_flops_6ND", "loss": "loss_c4_val"},
    "Gadre et al. 2024 (arXiv:2403.08540), mlfoundations/scaling at a003c49, MIT, exported from exp_data/models/*.json",
)
PUBLISHED = {
    "chinchilla": CHINCHILLA, "cs336": CS336, "porian-runs": PORIAN_RUNS, "porian-optima": PORIAN_OPTIMA, "gadre": GADRE
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Training runs. Loss is in nats a token; an empty cell is NaN."""

    name: str
    params: Float[Tensor, " n"]
    tokens: Float[Tensor, " n"]
    flops: Float[Tensor, " n"]
    loss: Float[Tensor, " n"]
    source: str
    cells: list[dict[str, str]]  # as published

    def __len__(self) -> int:
        return len(self.cells)

    def rows(self, keep: Bool[Tensor, " n"]) -> "Table":
        return replace(
            self,
            params=self.params[keep],
            tokens=self.tokens[keep],
            flops=self.flops[keep],
            loss=self.loss[keep],
            cells=[row for row, kept in zip(self.cells, keep.tolist(), strict=True) if kept],
        )

    def where(self, **cells: object) -> "Table":
        """Rows in which the published columns say just this: `where(dataset="refinedweb", stage=0)`."""
        if unknown := [column for column in cells if column not in self.cells[0]]:
            raise ValueError(f"{self.name} has no column {unknown[0]!r}; it has {', '.join(self.cells[0])}")
        keep = [all(row[column] == str(wanted) for column, wanted in cells.items()) for row in self.cells]
        return self.rows(torch.tensor(keep))


def load_published(name: str) -> Table:
    """Runs that others published; tokens not given are FLOPs / 6N.

    Raises:
        ValueError: no such table, or a file with another sha256.
        OSError: a file that cannot be read, a download that failed.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no published runs {name!r}; known: {', '.join(PUBLISHED)}")
    origin = PUBLISHED[name]
    by_hand = f"{name} cannot be downloaded, since it is a table made by hand from its origin: {origin.source}"
    text = fetch(name, origin.file, origin.sha256, origin.url, "" if origin.url else by_hand).decode("utf-8")
    rows = json.loads(text) if origin.file.endswith(".json") else csv.DictReader(io.StringIO(text))
    cells = [{column: str(value) for column, value in row.items()} for row in rows]
    numbers = {ours: _numbers(cells, theirs) for ours, theirs in origin.columns.items()}
    numbers.setdefault("tokens", numbers["flops"] / (6 * numbers["params"]))
    return Table(name=name, source=origin.source, cells=cells, **numbers)


def load_sweep(path: Path | None = None) -> Table:
    """The course's own runs on stories, or those of another `course.py sweep isoflop`; tokens are bytes.

    Raises:
        ValueError: no such file, no run in it, or columns of another experiment.
    """
    file = files("course_lib") / "logs" / "isoflop.csv" if path is None else path
    if not file.is_file():
        raise ValueError(f"no sweep at {file}; course.py sweep isoflop makes one")
    cells = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    ours = {"flops": "budget", "params": "params", "tokens": "tokens", "loss": "loss"}
    if not cells:
        raise ValueError(f"{file} holds no isoFLOP runs: it is empty")
    if missing := [column for column in ours.values() if column not in cells[0]]:
        raise ValueError(f"{file} holds no isoFLOP runs: no column {missing[0]!r}")
    order = sorted(range(len(cells)), key=lambda i: (float(cells[i]["budget"]), float(cells[i]["params"])))
    cells = [cells[i] for i in order]
    numbers = {name: _numbers(cells, column) for name, column in ours.items()}
    source = "runs of the course's own, course_lib/logs/isoflop.csv" if path is None else str(path)
    return Table(name="stories", source=source, cells=cells, **numbers)


def _numbers(cells: list[dict[str, str]], column: str) -> Float[Tensor, " n"]:
    return torch.tensor([float(row[column] or "nan") for row in cells], dtype=torch.float64)
