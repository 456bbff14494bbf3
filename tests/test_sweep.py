"""Sweeps: one row per finished run, nothing run twice, nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.experiments import EXPERIMENTS, STRATEGIES, train_balance
from course_lib.sweep import Row, read, sweep

ROOT = Path(__file__).parents[1]
RUNS: list[Row] = [{"kind": kind, "seed": seed} for seed in (0, 1) for kind in ("a", "b")]


def note(kind: str, seed: int) -> Row:
    return {"loss": seed + len(kind) / 2}


def refuse(kind: str, seed: int) -> Row:
    raise AssertionError("this run was done before")


def fail_at_b1(kind: str, seed: int) -> Row:
    if (kind, seed) == ("b", 1):
        raise RuntimeError("out of memory")
    return note(kind, seed)


def count_threads(kind: str, seed: int) -> Row:
    return {"threads": torch.get_num_threads()}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_run_is_a_row(workers: int, tmp_path: Path) -> None:
    rows = sweep(RUNS, note, tmp_path / "new" / "log.csv", workers=workers)
    wanted = [{"kind": str(run["kind"]), "seed": str(run["seed"]), "loss": str(note(**run)["loss"])} for run in RUNS]  # type: ignore[arg-type]
    assert sorted(rows, key=str) == sorted(wanted, key=str)
    assert rows == read(tmp_path / "new" / "log.csv")


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    with pytest.raises(RuntimeError, match="out of memory") as failure:
        sweep(RUNS, fail_at_b1, log)
    assert failure.value.__notes__ == ["in the run {'kind': 'b', 'seed': 1}"]
    done = log.read_text()
    assert len(read(log)) == 3
    assert len(sweep(RUNS, note, log)) == 4
    assert log.read_text().startswith(done)
    assert len(sweep(RUNS, refuse, log)) == 4


def test_each_row_reaches_the_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, flushed = tmp_path / "log.csv", list[int]()
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(len(read(log))))
    sweep(RUNS, note, log)
    assert flushed == [1, 2, 3, 4]


def test_progress_counts_what_was_done_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(RUNS[:3], note, tmp_path / "log.csv")
    capsys.readouterr()
    sweep(RUNS, note, tmp_path / "log.csv")
    assert "| 4/4 [" in capsys.readouterr().err


def test_each_run_has_one_thread(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = sweep(RUNS, count_threads, tmp_path / "log.csv")
    finally:
        torch.set_num_threads(before)
    assert {row["threads"] for row in rows} == {"1"}


def test_a_row_that_a_crash_cut_short_is_run_again(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    sweep(RUNS, note, log)
    whole = log.read_text()
    log.write_text(whole[:-3])
    assert len(read(log)) == 3
    assert len(sweep(RUNS, note, log)) == 4
    assert log.read_text() == whole


def test_a_log_of_other_runs_is_refused_untouched(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("alpha,loss\n0.1,2.0\n")
    with pytest.raises(ValueError, match="has the columns alpha, loss, and these runs kind, seed: take another file"):
        sweep(RUNS, refuse, log)
    assert log.read_text() == "alpha,loss\n0.1,2.0\n"


def test_the_balance_experiment_notes_what_it_compares() -> None:
    experiment = EXPERIMENTS["balance"]
    runs = experiment.runs([5, 6], 2)
    assert [(run["strategy"], run["seed"]) for run in runs] == [(name, seed) for seed in (5, 6) for name in STRATEGIES]
    row = train_balance(**runs[2])  # type: ignore[arg-type]
    assert {*experiment.compares, *experiment.shows} <= {*runs[2], *row}
    assert row["loss_curve"] == f"{float(row['loss_curve']):.3f}", "two steps are one point"  # type: ignore[arg-type]
    assert train_balance(**runs[2]) | {"seconds": 0} == row | {"seconds": 0}  # type: ignore[arg-type]


HOLD = """
import sys, time
from pathlib import Path
from course_lib.sweep import sweep
def hold(kind, seed):
    print("begun", flush=True)
    time.sleep(600)
sweep([{"kind": "c", "seed": 0}], hold, Path(sys.argv[1]))
"""


def test_two_sweeps_on_one_file_are_refused_until_the_first_has_ended_or_died(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    sweep(RUNS, note, log)
    before = log.read_bytes()
    command = [sys.executable, "-c", HOLD, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == b"begun\n"
            with pytest.raises(
                ValueError, match=r"another sweep is writing to .*log\.csv; wait for it or take another"
            ):
                sweep(RUNS, refuse, log)
            assert log.read_bytes() == before
            assert len(sweep(RUNS, note, tmp_path / "other.csv")) == 4, "another file is free"
        finally:
            first.kill()
    assert len(sweep(RUNS, refuse, log)) == 4


def test_a_line_cut_in_the_middle_of_a_character_is_no_row(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("kind,seed,loss\na,0,0.5\nb,0,é".encode()[:-1])
    assert len(read(log)) == 1
    assert len(sweep(RUNS, note, log)) == 4


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(b"\xef\xbb\xbfkind,seed,loss\r\na,0,0.5\r\nb,0,0.5\r\n")
    assert len(sweep(RUNS, note, log)) == 4


def test_where_an_experiment_trains_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {name: experiment.device() for name, experiment in EXPERIMENTS.items()} == {
        "balance": "cpu", "ablations": "cpu", "isoflop": "cuda",
    }  # fmt: skip
