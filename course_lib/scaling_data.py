"""Published runs to test fits on: downloaded once from where they were published, never part of this project."""

import csv
import io
import json
import math
from dataclasses import dataclass, replace
from importlib.resources import files
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.fetch import fetch
from course_lib.files import read_text

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
    """Training runs. Loss is in nats per token. A cell that is empty in a published table is NaN."""

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
        """The rows for which `keep` is true."""
        return replace(
            self,
            params=self.params[keep],
            tokens=self.tokens[keep],
            flops=self.flops[keep],
            loss=self.loss[keep],
            cells=[row for row, kept in zip(self.cells, keep.tolist(), strict=True) if kept],
        )

    def where(self, **cells: object) -> "Table":
        """The rows in which each of these published columns is exactly this: `where(dataset="refinedweb", stage=0)`.

        Raises:
            ValueError: no such column. A table without rows has no columns to check, and stays as it is.
        """
        columns = self.cells[0] if self.cells else cells
        if unknown := [column for column in cells if column not in columns]:
            raise ValueError(f"{self.name} has no column {unknown[0]!r}; it has {', '.join(columns)}")
        keep = [all(row[column] == str(wanted) for column, wanted in cells.items()) for row in self.cells]
        return self.rows(torch.tensor(keep, dtype=torch.bool, device=self.params.device))


@dataclass(frozen=True)
class _Rows:
    """A table as text, and for each row its place in the file, for messages."""

    cells: list[dict[str, str]]
    places: list[str]

    def numbers(self, column: str, *, empty: bool) -> Float[Tensor, " n"]:
        """Numbers above 0; with `empty` an empty cell is NaN.

        Raises:
            ValueError: any other cell; names its place, the column, what was expected and what is there.
        """
        values = [
            _number(row[column], f"{place}, column {column!r}", empty)
            for row, place in zip(self.cells, self.places, strict=True)
        ]
        return torch.tensor(values, dtype=torch.float64, device="cpu")


def _number(cell: str, place: str, empty: bool) -> float:
    if empty and not cell.strip():
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        got = f"got {cell!r}" if cell.strip() else "the cell is empty"
        comma = "; write 1234.5, with a decimal point and without thousands separators" if "," in cell else ""
        raise ValueError(f"{place}: expected a finite number above 0, {got}{comma}")
    return value


def _read_csv(name: str, text: str) -> _Rows:
    """Rows of a CSV with a header; blank lines are skipped.

    Raises:
        ValueError: no header, a separator other than the comma, a column twice, or a row that is longer or shorter
            than the header or repeats it; names the file and the line as an editor counts them.
    """
    reader, lines, last = csv.reader(io.StringIO(text, newline="")), [], 0
    for row in reader:
        if any(cell.strip() for cell in row):
            lines.append((f"{name}, line {last + 1}", row))
        last = reader.line_num  # a quoted cell may go over several lines; its row begins in the first
    if not lines:
        raise ValueError(f"{name} is empty")
    (place, header), *rows = lines
    _trim(header, 1)
    header = [column.strip() for column in header]
    _check_header(place, header)
    for place, row in rows:
        if [cell.strip() for cell in row] == header:
            raise ValueError(f"{place} repeats the header; delete it")
        _trim(row, len(header))
        if len(row) != len(header):
            commas = "too many commas, or a number with a comma?" if len(row) > len(header) else "is it cut short?"
            raise ValueError(f"{place}: expected {len(header)} cells, as in the header, got {len(row)}: {commas}")
    return _Rows([dict(zip(header, row, strict=True)) for _, row in rows], [place for place, _ in rows])


def _trim(row: list[str], least: int) -> None:
    """Drops the empty cells at the end with which spreadsheets fill up their rows."""
    while len(row) > least and not row[-1].strip():
        row.pop()


def _check_header(place: str, header: list[str]) -> None:
    for separator, words in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(
                f"{place}: the columns are separated by {words}; save the table with commas between columns and with "
                "decimal points"
            )
    if twice := [column for column in header if header.count(column) > 1]:
        raise ValueError(f"{place}: there are two columns {twice[0]!r}")


def _read_json(name: str, text: str) -> _Rows:
    rows = [{column: "" if cell is None else str(cell) for column, cell in row.items()} for row in json.loads(text)]
    return _Rows(rows, [f"{name}, row {number}" for number in range(1, len(rows) + 1)])


def load_published(name: str) -> Table:
    """Runs that others published; tokens that they do not give are FLOPs / 6N. An empty cell is NaN.

    Raises:
        ValueError: an unknown table, or a file with another sha256.
        OSError: a file that cannot be read, or a failed download.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no published runs {name!r}; known: {', '.join(PUBLISHED)}")
    origin = PUBLISHED[name]
    by_hand = f"{name} cannot be downloaded, since it is a table made by hand from its origin: {origin.source}"
    text = fetch(name, origin.file, origin.sha256, origin.url, "" if origin.url else by_hand).decode("utf-8")
    rows = (_read_json if origin.file.endswith(".json") else _read_csv)(origin.file, text)
    numbers = {ours: rows.numbers(theirs, empty=True) for ours, theirs in origin.columns.items()}
    numbers.setdefault("tokens", numbers["flops"] / (6 * numbers["params"]))
    return Table(name=name, source=origin.source, cells=rows.cells, **numbers)


SWEEP = {"flops": "budget", "params": "params", "tokens": "tokens", "loss": "loss"}  # ours: the sweep's


def load_sweep(path: str | PathLike[str] | None = None) -> Table:
    """The course's own runs on stories, or those of another `course.py sweep isoflop`; tokens are bytes.

    Rows are sorted by budget, then by size. Each needs a budget, params, tokens and a loss: a run that has not finished
    has no row.

    Raises:
        ValueError: no such file, no run in it, columns of another experiment, or a cell that is not a number above 0;
            the message names file, line and column.
    """
    file = files("course_lib") / "logs" / "isoflop.csv" if path is None else Path(path)
    if not file.is_file():
        raise ValueError(f"no sweep at {file}; course.py sweep isoflop makes one")
    rows = _read_csv(str(file), read_text(Path(str(file))))
    if not rows.cells:
        raise ValueError(f"{file} holds no isoFLOP runs: it is empty below its header")
    if missing := [column for column in SWEEP.values() if column not in rows.cells[0]]:
        raise ValueError(
            f"{file} holds no isoFLOP runs: no column {missing[0]!r}; its columns are {', '.join(rows.cells[0])}"
        )
    numbers = {name: rows.numbers(column, empty=False) for name, column in SWEEP.items()}
    order = sorted(range(len(rows.cells)), key=lambda i: (float(numbers["flops"][i]), float(numbers["params"][i])))
    source = "runs of the course's own, course_lib/logs/isoflop.csv" if path is None else str(path)
    cells, numbers = [rows.cells[i] for i in order], {name: column[order] for name, column in numbers.items()}
    return Table(name="stories", source=source, cells=cells, **numbers)
