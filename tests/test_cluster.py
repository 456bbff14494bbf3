"""Sweeps and grading on Dask: a real scheduler and two workers, of which one is killed; and what a cluster can lack."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster, get_worker
from typer.testing import CliRunner

from course_grader import processes
from course_lib import sweep as sweeps
from course_lib.__main__ import app
from course_lib.sweep import Row, read, sweep
from tests.cluster_runs import NUMBERS, begun, die_once, fail_at_5, note, refuse, runs_in
from tests.dask_cluster import ROOT, patiently, two_workers
from tests.small_class import alive, check_everybody, eight_students, here, records


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with two_workers(tmp_path_factory.mktemp("dask")) as scheduler:
        yield scheduler


SWEEP = """
import sys
from pathlib import Path
from course_lib.sweep import sweep
from tests.cluster_runs import note, runs_in
folder = Path(sys.argv[1])
sweep(runs_in(folder), note, folder / "log.csv", cluster=sys.argv[2])
"""


def test_a_killed_sweep_goes_on(address: str, tmp_path: Path) -> None:
    log, command = tmp_path / "log.csv", [sys.executable, "-c", SWEEP, str(tmp_path), address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    patiently(lambda: len(read(log)) >= 2)
    process.kill()
    process.wait()
    whole = read(log)
    assert 2 <= len(whole) < len(NUMBERS), "killed in the middle"
    rows = sweep(runs_in(tmp_path), note, log, cluster=address)
    assert rows[: len(whole)] == whole
    assert sorted(int(row["number"]) for row in rows) == list(NUMBERS)
    assert all(begun(str(tmp_path))[int(row["number"])] == 1 for row in whole), "none of these is run again"


def test_a_run_that_fails_there_is_named_here(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    with pytest.raises(RuntimeError, match="out of memory") as failure:
        sweep(runs_in(tmp_path), fail_at_5, log, cluster=address)
    assert failure.value.__notes__ == [f"in the run {runs_in(tmp_path)[5]}"]
    assert 5 not in [int(row["number"]) for row in read(log)]
    assert len(sweep(runs_in(tmp_path), note, log, cluster=address)) == len(NUMBERS)


def test_the_command_line_trains_on_a_cluster(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    command = ["sweep", "isoflop", "--budgets", "1e6", "--sizes", "1", "--seeds", "4", "--cluster", address]
    done = CliRunner().invoke(app, [*command, "--out", str(log)])
    assert done.exit_code == 0, done.output
    assert [(row["budget"], row["seed"]) for row in read(log)] == [("1000000.0", "4")]


def test_a_killed_worker_loses_nothing(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = sweep(runs_in(tmp_path), die_once, log, cluster=address)
    assert sorted((int(row["number"]), int(row["square"])) for row in rows) == [(n, n**2) for n in NUMBERS]
    assert begun(str(tmp_path))[3] == 2
    assert sweep(runs_in(tmp_path), refuse, log, cluster="tcp://127.0.0.1:9") == rows, "nothing left, none needed"


@pytest.mark.usefixtures("bubblewrap")
def test_a_class_is_marked_whole_though_a_worker_is_lost(address: str, tmp_path: Path) -> None:
    few, family = eight_students(tmp_path), list[int]()
    with Client(address) as client:
        client.wait_for_workers(2)  # the test before has killed one
        workers: Any = client.run(os.getpid)

    def kill_one() -> None:
        patiently(lambda: len(records(few)) >= 2)
        family.extend(max(map(processes.tree, workers.values()), key=len))  # one that is at work
        os.kill(family[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    code, said = here(few, "--cluster", address)
    killer.join()
    assert code == 0 and "sandbox: bubblewrap" in said
    check_everybody(few)
    assert len(family) > 1, "the worker and its sandbox"
    patiently(lambda: not any(map(alive, family)), seconds=20)


# What a cluster can lack ---------------------------------------------------------------------------------------------


def local_cluster(workers: int, threads: int = 1) -> Any:
    return LocalCluster(n_workers=workers, threads_per_worker=threads, processes=False, dashboard_address="127.0.0.1:0")


def on_a_worker(number: int) -> Row:
    return {"worker": get_worker().address}  # a ValueError elsewhere


def test_a_cluster_with_one_core_is_used_as_well(tmp_path: Path) -> None:
    """With one job, joblib would run it where it is called."""
    with local_cluster(1) as cluster:
        rows = sweep(
            [{"number": n} for n in (1, 2)], on_a_worker, tmp_path / "log.csv", cluster=cluster.scheduler_address
        )
    assert len(rows) == 2 and len({row["worker"] for row in rows}) == 1


def of_another_package(option: int, number: int) -> Row:
    return {"square": number**2}


def test_a_function_with_bound_arguments_needs_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_another_package, "__module__", "no_such_module.of_mine")
    bound = partial(partial(of_another_package, 1))
    with local_cluster(1) as cluster, pytest.raises(ValueError, match="cannot import no_such_module: start them"):
        sweep([{"number": 1}], bound, tmp_path / "log.csv", cluster=cluster.scheduler_address)


def test_what_a_cluster_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(number: int) -> Row:
        return {}

    elsewhere.__module__ = "no_such_module.of_mine"
    runs: list[Row] = [{"number": 1}]
    monkeypatch.setattr(sweeps, "PATIENCE", 0.3)
    with (
        local_cluster(1) as cluster,
        pytest.raises(ValueError, match="cannot import no_such_module: start them, on mach"),
    ):
        sweep(runs, elsewhere, tmp_path / "log.csv", cluster=cluster.scheduler_address)
    with local_cluster(1, threads=2) as cluster, pytest.raises(ValueError, match=r"one thread, and .* has 2: start"):
        sweep(runs, on_a_worker, tmp_path / "log.csv", cluster=cluster.scheduler_address)
    with local_cluster(0) as cluster, pytest.raises(ConnectionError, match=r"has no workers: .*`dask worker inproc://"):
        sweep(runs, on_a_worker, tmp_path / "log.csv", cluster=cluster.scheduler_address)
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .* `dask scheduler`"):
        sweep(runs, on_a_worker, tmp_path / "log.csv", cluster="tcp://127.0.0.1:9")
    with pytest.raises(ValueError, match="missing port number in address 'nonsense'"):
        sweep(runs, on_a_worker, tmp_path / "log.csv", cluster="nonsense")
    assert not (tmp_path / "log.csv").exists()
