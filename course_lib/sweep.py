"""Many small trainings, side by side: one row of a CSV per finished run, and what is there is not run again."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

Row = dict[str, str | int | float]


def sweep(
    runs: Sequence[Row],
    train: Callable[..., Row],
    out: Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
) -> list[dict[str, str]]:
    """Calls `train(**run)` for each of `runs`, and appends {**run, **result} to the CSV `out` as soon as it is there.

    Runs whose row stands in `out` already are left out, so a sweep that was stopped goes on when it is called again.
    Each run has one thread; `workers` run at a time, on the machines of a Dask `cluster` if its address is given.

    Returns:
        All rows of `out`, as text.
    Raises:
        ValueError: `out` holds other columns than these runs have.
    """
    rows = read(out)
    named = list(runs[0]) if runs else []
    if rows and not set(named) <= set(rows[0]):
        raise ValueError(
            f"{out} has the columns {', '.join(rows[0])}, and these runs {', '.join(named)}: take another file"
        )
    done = {tuple(row[name] for name in named) for row in rows}
    missing = [run for run in runs if tuple(str(run[name]) for name in named) not in done]
    with _backend(cluster):
        results = Parallel(n_jobs=workers, return_as="generator_unordered")(
            delayed(_one)(train, run) for run in missing
        )
        for row in tqdm(results, total=len(runs), initial=len(runs) - len(missing), desc=out.stem, unit="run"):
            _append(out, cast(Row, row))
    return read(out)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a sweep's CSV; a last line that was cut short by a crash is no row."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))


def _one(train: Callable[..., Row], run: Row) -> Row:
    torch.set_num_threads(1)  # runs share the cores by number, and their sums do not depend on how many there are
    return {**run, **train(**run)}


def _append(path: Path, row: Mapping[str, str | int | float]) -> None:
    """One write of whole lines, so that a crash can cut no more than the last of them."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if (header := next(csv.reader(whole.splitlines()[:1]), None)) and header != list(row):
        raise ValueError(f"{path} has the columns {', '.join(header)}, this row {', '.join(row)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w" if whole != text else "a", newline="", encoding="utf-8") as file:
        if whole != text:
            file.write(whole)
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if header is None:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _backend(cluster: str | None) -> Iterator[None]:
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise ValueError('--cluster needs Dask: pip install "dask[distributed]"') from None
    with Client(cluster), parallel_config(backend="dask"):
        yield
