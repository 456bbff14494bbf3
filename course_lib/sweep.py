"""Many small trainings, side by side: one row of a CSV per finished run, and what is there is not run again."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from course_lib import files

Row = dict[str, str | int | float]
PATIENCE = 10  # seconds that a cluster may take to answer
_one_training_at_a_time = Lock()  # all threads of a process share PyTorch's seed


def sweep(
    runs: Sequence[Row],
    train: Callable[..., Row],
    out: Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
) -> list[dict[str, str]]:
    """Calls `train(**run)` for each of `runs`, and appends {**run, **result} to the CSV `out` as soon as it is there.

    Runs whose row is in `out` already are left out, so a sweep that was stopped continues when it is called again.
    Each run has one thread, and `workers` run at a time. With the address of a Dask `cluster` its workers take the runs
    instead, those that join later included; a run whose worker dies is given to another.

    Returns:
        All rows of `out`, as text.
    Raises:
        ValueError: `out` holds other columns than these runs have, or another sweep is writing to it; workers without
            the course, or with many threads.
        ConnectionError: no cluster at this address, or one without workers.
    """
    with files.locked(
        out.with_name(f".{out.name}.lock"), f"another sweep is writing to {out}; wait for it or take another file"
    ):
        missing = _missing(runs, out)
        _drop_cut_line(out)
        with backend(cluster if missing else None, train):
            # all at once, so that workers who come late find something to do
            results = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="all")(
                delayed(_one)(train, run) for run in missing
            )
            for row in tqdm(results, total=len(runs), initial=len(runs) - len(missing), desc=out.stem, unit="run"):
                _append(out, cast(Row, row))
        return read(out)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a sweep's CSV; a last line that a crash cut short is left out."""
    return list(csv.DictReader(_whole_lines(path).splitlines(keepends=True)))


def _missing(runs: Sequence[Row], out: Path) -> list[Row]:
    """The runs without a row."""
    rows, named = read(out), list(runs[0]) if runs else []
    if rows and not set(named) <= set(rows[0]):
        raise ValueError(
            f"{out} has the columns {', '.join(rows[0])}, and these runs {', '.join(named)}: take another file"
        )
    done = {tuple(row[name] for name in named) for row in rows}
    return [run for run in runs if tuple(str(run[name]) for name in named) not in done]


def _one(train: Callable[..., Row], run: Row) -> Row:
    torch.set_num_threads(1)  # runs share the cores by number, and their sums do not depend on how many there are
    try:
        with _one_training_at_a_time:
            return {**run, **train(**run)}
    except Exception as error:
        error.add_note(f"in the run {run}")
        raise


def _append(path: Path, row: Mapping[str, str | int | float]) -> None:
    """One write of a whole line, so that a crash can cut no other."""
    header = next(csv.reader(_whole_lines(path).splitlines()[:1]), None)
    if header and header != list(row):
        raise ValueError(f"{path} has the columns {', '.join(header)}, this row {', '.join(row)}")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if header is None:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(path: Path) -> str:
    return files.decoded(_uncut(path.read_bytes()), path) if path.exists() else ""


def _drop_cut_line(path: Path) -> None:
    if path.exists() and (data := path.read_bytes()) != _uncut(data):
        with files.replacing(path) as part:
            part.write_bytes(_uncut(data))


def _uncut(data: bytes) -> bytes:
    """Up to the last line end: a line without one was cut off by a crash."""
    return data[: data.rfind(b"\n") + 1]


@contextmanager
def backend(cluster: str | None, train: Callable[..., Any]) -> Iterator[None]:
    """Where joblib runs `train` in this block: in processes here, or on the workers of a Dask cluster."""
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise ValueError('--cluster needs Dask: pip install "dask[distributed]"') from None

    class AtLeastTwoCores(Client):
        """joblib runs everything in the calling process if a cluster has one core, so this one reports two."""

        def ncores(self, *arguments: Any, **options: Any) -> Any:
            cores: Any = super().ncores(*arguments, **options)
            return cores if sum(cores.values()) != 1 else dict.fromkeys(cores, 2)

    try:
        client = AtLeastTwoCores(cluster, timeout=PATIENCE)
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {cluster} ({error}); `dask scheduler` starts one"
        ) from None
    with client:
        _examine(client, cluster, train)
        with parallel_config(backend="dask", client=client):
            yield


def _examine(client: Any, cluster: str, train: Callable[..., Any]) -> None:
    """Raises if runs would only wait for ever: without workers, or with workers that die as they import a run."""
    remedy = f"start them, on machines that have the course, with `dask worker {cluster} --nworkers -1 --nthreads 1`"
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise ConnectionError(f"the Dask scheduler at {cluster} has no workers: {remedy}") from None
    threads = client.nthreads()
    if many := [f"{worker} has {n}" for worker, n in threads.items() if n > 1]:
        raise ValueError(f"each Dask worker must have one thread, and {many[0]}: {remedy}")
    needed = {"course_lib", _package(train)} - {"__main__"}
    # a function without a name is sent whole, so that workers need nothing to answer
    found = client.run(lambda: [name for name in needed if find_spec(name) is None])
    for worker, missing in found.items():
        if missing:
            raise ValueError(f"the Dask worker {worker} cannot import {missing[0]}: {remedy}")


def _package(function: Callable[..., Any]) -> str:
    """The package that a worker imports for a function, whatever arguments are bound to it already."""
    while isinstance(function, partial):
        function = function.func
    return function.__module__.split(".")[0]
