"""Many small trainings, side by side: one row of a CSV per finished run, and what is there is not run again."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

Row = dict[str, str | int | float]
PATIENCE = 10  # seconds that a cluster may take to answer
ALONE = Lock()  # all threads of a process share PyTorch's seed


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
    Each run has one thread, and `workers` run at a time. With the address of a Dask `cluster` its workers take the runs
    instead, all of them and those that come later; a run whose worker dies is given to another.

    Returns:
        All rows of `out`, as text.
    Raises:
        ValueError: `out` holds other columns than these runs have; workers without the course, or with many threads.
        ConnectionError: no cluster at this address, or one without workers.
    """
    rows = read(out)
    named = list(runs[0]) if runs else []
    if rows and not set(named) <= set(rows[0]):
        raise ValueError(
            f"{out} has the columns {', '.join(rows[0])}, and these runs {', '.join(named)}: take another file"
        )
    done = {tuple(row[name] for name in named) for row in rows}
    missing = [run for run in runs if tuple(str(run[name]) for name in named) not in done]
    with backend(cluster if missing else None, train):
        # all at once, so that workers who come late find something to do
        results = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="all")(
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
    try:
        with ALONE:
            return {**run, **train(**run)}
    except Exception as error:
        error.add_note(f"in the run {run}")
        raise


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
def backend(cluster: str | None, train: Callable[..., Any]) -> Iterator[None]:
    """Where joblib runs `train` in this block: in processes here, or on the workers of a Dask cluster."""
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
        from joblib._dask import DaskDistributedBackend
    except ImportError:
        raise ValueError('--cluster needs Dask: pip install "dask[distributed]"') from None
    try:
        client = Client(cluster, timeout=PATIENCE)
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {cluster} ({error}); `dask scheduler` starts one"
        ) from None
    with client:
        _examine(client, cluster, train)
        dask = DaskDistributedBackend(client=client)
        cores = dask.effective_n_jobs
        dask.effective_n_jobs = lambda n_jobs: max(2, cores(n_jobs))  # with one, joblib would run everything here
        with parallel_config(backend=dask):
            yield


def _examine(client: Any, cluster: str, train: Callable[..., Row]) -> None:
    """Raises where runs could only wait for ever, as without workers, or with some that die as they import them."""
    remedy = f"start them, on machines that have the course, with `dask worker {cluster} --nworkers -1 --nthreads 1`"
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise ConnectionError(f"the Dask scheduler at {cluster} has no workers: {remedy}") from None
    threads = client.nthreads()
    if many := [f"{worker} has {n}" for worker, n in threads.items() if n > 1]:
        raise ValueError(f"each Dask worker must have one thread, and {many[0]}: {remedy}")
    needed = {"course_lib", train.__module__.split(".")[0]} - {"__main__"}
    # a function without a name is sent whole, so that workers need nothing to answer
    found = client.run(lambda: [name for name in needed if find_spec(name) is None])
    for worker, missing in found.items():
        if missing:
            raise ValueError(f"the Dask worker {worker} cannot import {missing[0]}: {remedy}")
