"""Published runs: where they come from, and that our fits of them say what was published."""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import pytest

from course_lib import scaling, scaling_data
from course_lib.scaling import fit_parametric, fit_power_law, isoflop_optima
from tests.conftest import Site

TWO_RUNS = b"""[
  {"parameters": 100, "compute_budget": 6e4, "final_loss": 3.5},
  {"parameters": 200, "compute_budget": 6e4, "final_loss": 3}
]"""


@pytest.fixture
def site(loopback: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that cs336 is downloaded from."""
    url, sha256 = f"{loopback.url}/isoflops_curves.json", hashlib.sha256(TWO_RUNS).hexdigest()
    monkeypatch.setitem(
        scaling_data.PUBLISHED, "cs336", dataclasses.replace(scaling_data.CS336, url=url, sha256=sha256)
    )
    return loopback.folder


def test_published_runs_are_downloaded_once_and_checked(site: Path) -> None:
    (site / "isoflops_curves.json").write_bytes(b"other")
    with pytest.raises(ValueError, match="does not match the known hash"):
        scaling.load_published("cs336")
    (site / "isoflops_curves.json").write_bytes(TWO_RUNS)
    assert len(scaling.load_published("cs336")) == 2
    (site / "isoflops_curves.json").unlink()
    runs = scaling.load_published("cs336")
    assert runs.params.tolist() == [100, 200] and runs.tokens.tolist() == [100, 50] and runs.loss.tolist() == [3.5, 3]
    assert "synthetic" in runs.source and runs.cells[1]["final_loss"] == "3"


def test_without_network_or_folder_it_says_what_to_do(site: Path) -> None:
    with pytest.raises(
        ConnectionError,
        match=r"not download cs336 .* Save http.*/isoflops_curves\.json as isoflops_curves\.json in .* COURSE_DATA",
    ):
        scaling.load_published("cs336")
    with pytest.raises(
        FileNotFoundError, match=r"gadre.*\.csv is not in COURSE_DATA, which is not set; gadre cannot be"
    ):
        scaling.load_published("gadre")
    with pytest.raises(ValueError, match="no published runs 'kaplan'; known: chinchilla, cs336, porian-runs"):
        scaling.load_published("kaplan")


def test_a_folder_of_ones_own_is_checked_too(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (site / "isoflops_curves.json").write_bytes(TWO_RUNS)  # must not be asked
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"has no isoflops_curves\.json; unset it to download cs336 from http"):
        scaling.load_published("cs336")
    with pytest.raises(FileNotFoundError, match=r"has no porian_optima\.csv; porian-optima cannot be downloaded"):
        scaling.load_published("porian-optima")
    (tmp_path / "isoflops_curves.json").write_bytes(b"other")
    with pytest.raises(ValueError, match="is another file: its sha256 is"):
        scaling.load_published("cs336")
    (tmp_path / "isoflops_curves.json").write_bytes(TWO_RUNS)
    assert len(scaling.load_published("cs336")) == 2


def test_rows_and_cells_of_a_table(site: Path) -> None:
    (site / "isoflops_curves.json").write_bytes(TWO_RUNS)
    runs = scaling.load_published("cs336")
    assert runs.where(parameters=200).loss.tolist() == [3] and len(runs.where(parameters=7)) == 0
    assert runs.rows(runs.loss > 3.2).cells[0]["parameters"] == "100"
    with pytest.raises(ValueError, match="cs336 has no column 'stage'; it has parameters, compute_budget, final_loss"):
        runs.where(stage=0)


def test_a_table_without_rows_stays_one(site: Path) -> None:
    (site / "isoflops_curves.json").write_bytes(TWO_RUNS)
    nothing = scaling.load_published("cs336").where(parameters=7)
    assert len(nothing.where(stage=0)) == 0 and nothing.where(stage=0).params.shape == (0,)


def test_an_empty_cell_of_a_published_table_is_nan(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TWO_RUNS.replace(b'"final_loss": 3}', b'"final_loss": null}')
    origin = dataclasses.replace(scaling_data.PUBLISHED["cs336"], sha256=hashlib.sha256(text).hexdigest())
    monkeypatch.setitem(scaling_data.PUBLISHED, "cs336", origin)
    (site / "isoflops_curves.json").write_bytes(text)
    runs = scaling.load_published("cs336")
    assert runs.loss[0] == 3.5 and runs.loss[1].isnan() and runs.cells[1]["final_loss"] == ""


# A sweep that somebody edited

SWEEP = "budget,params,tokens,loss,seed\n2e12,300,4000,1.5,0\n1e12,200,3000,1.75,0\n1e12,100,6000,2,1\n"


@pytest.mark.parametrize(
    "text",
    [
        SWEEP,
        "\ufeff" + SWEEP,
        SWEEP.replace("\n", "\r\n"),
        SWEEP.replace("\n", "\r"),
        SWEEP.rstrip("\n"),
        "\n" + SWEEP.replace("\n", "\n\n") + ",,,,\n",
        SWEEP.replace("\n", ",,\n"),
        SWEEP.replace("budget,params", "budget, params "),
    ],
    ids=["plain", "mark", "windows", "old mac", "no end", "blank lines", "filled up", "spaces"],
)
def test_sweeps_as_editors_save_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_bytes(text.encode())
    for given in (path, str(path)):
        runs = scaling.load_sweep(given)
        assert runs.flops.tolist() == [1e12, 1e12, 2e12] and runs.params.tolist() == [100, 200, 300]
        assert runs.tokens.tolist() == [6000, 3000, 4000] and runs.loss.tolist() == [2, 1.75, 1.5]
        assert [row["seed"] for row in runs.cells] == ["1", "0", "0"] and runs.source == str(path)
    assert scaling.load_sweep().source == "runs of the course's own, course_lib/logs/isoflop.csv"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.75", "", "line 3, column 'loss': expected a finite number above 0, the cell is empty"),
        ("1.75", " ", "line 3, column 'loss': expected a finite number above 0, the cell is empty"),
        ("200", "", "line 3, column 'params': expected a finite number above 0, the cell is empty"),
        ("1e12,100", "running,100", "line 4, column 'budget': expected a finite number above 0, got 'running'"),
        ("6000", "-", "line 4, column 'tokens': expected a finite number above 0, got '-'"),
        ("6000", "-6000", "line 4, column 'tokens': expected a finite number above 0, got '-6000'"),
        ("300", "0", "line 2, column 'params': expected a finite number above 0, got '0'"),
        ("1.5", "nan", "line 2, column 'loss': expected a finite number above 0, got 'nan'"),
        ("1.5", "inf", "line 2, column 'loss': expected a finite number above 0, got 'inf'"),
        ("1.5", '"1,5"', "column 'loss': expected a finite number above 0, got '1,5'; write 1234.5, with a decimal"),
        ("4000", '"4,000"', "column 'tokens': expected a finite number above 0, got '4,000'; write 1234.5, with"),
        ("4000", "4,000", "line 2: expected 5 cells, as in the header, got 6: too many commas, or a number with a"),
        ("1.75,0", "1.7", "line 3: expected 5 cells, as in the header, got 4: is it cut short?"),
        ("1e12,100", "\n\nx,100", "line 6, column 'budget': expected"),  # blank lines count
        ("0\n1e12,200", '"a\nb"\n,200', "line 4, column 'budget': expected"),  # so do those within a cell
        ("2e12,", "budget,params,tokens,loss,seed\n2e12,", "line 2 repeats the header; delete it"),
        (SWEEP, SWEEP.replace(",", ";"), "line 1: the columns are separated by semicolons; save the table with commas"),
        (SWEEP, SWEEP.replace(",", "\t"), "line 1: the columns are separated by tabs; save the table with commas"),
        ("loss,seed", "loss,loss", "line 1: there are two columns 'loss'"),
        (SWEEP, "\n", " is empty"),
        ("budget", "flops", "no column 'budget'; its columns are flops, params, tokens, loss, seed"),
    ],
)
def test_a_wrong_cell_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    assert old in SWEEP
    path.write_text(SWEEP.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{re.escape(message)}"):
        scaling.load_sweep(path)


def test_a_sweep_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(SWEEP, encoding="utf-16")
    with pytest.raises(ValueError, match=r"sweep\.csv is encoded in UTF-16; save it as UTF-8"):
        scaling.load_sweep(path)


needs_data = pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="needs published runs in COURSE_DATA")


@needs_data
def test_chinchilla() -> None:
    """Refit by Besiroglu et al. 2024: 0.5126 with a standard error of 0.018, without the five highest losses."""
    runs = scaling.load_published("chinchilla")
    assert len(runs) == 245
    runs = runs.rows(runs.loss < runs.loss.topk(5).values.min())
    fit = fit_parametric(runs.params, runs.tokens, runs.loss, resamples=1000, source=runs.source)
    assert len(runs) == 240 and fit.objective <= 0.0010183 and fit.message == ""
    assert fit.a.value == pytest.approx(0.514, abs=0.002)
    assert (fit.a.high - fit.a.low) / (2 * 1.96) == pytest.approx(0.018, rel=0.1)
    assert fit.a.covers(0.5126) and fit.E.covers(1.8172) and not fit.E.covers(1.69)


@needs_data
def test_synthetic_isoflops() -> None:
    runs = scaling.load_published("cs336")
    fit = isoflop_optima(runs.flops, runs.params, runs.loss)
    law, best = fit.law(), fit.law_of_best_runs()
    assert [law.exponent.value, law.at(1e23).value, law.at(1e24).value] == pytest.approx(
        [0.5146, 9.11e10, 2.98e11], rel=1e-3
    )
    assert [best.exponent.value, best.at(1e23).value, best.at(1e24).value] == pytest.approx(
        [0.4687, 7.01e10, 2.06e11], rel=1e-3
    )


@needs_data
def test_porians_ten_exponents() -> None:
    """From Kaplan's 0.88 to Chinchilla's 0.5, one correction after another (arXiv:2406.19146)."""
    optima, found = scaling.load_published("porian-optima"), []
    for dataset in ("refinedweb", "openwebtext2"):
        for stage in range(5):
            runs = optima.where(dataset=dataset, stage=stage)
            runs = runs.rows(~runs.params.isnan())
            found.append(fit_power_law(runs.flops, runs.params).exponent.value)
    printed = [0.8338, 0.7009, 0.6035, 0.5714, 0.4970, 0.8700, 0.7000, 0.6016, 0.5689, 0.5184]
    assert found == pytest.approx(printed, abs=0.001)


@needs_data
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("gadre", [411616256, 2058081280, 5082838266103726080, 3.5279492850157737]),
        ("porian-runs", [331776, 6279337062.757201, 1.25e16, 4.709075571728609]),
        ("porian-optima", [1229786.9901751066, 1694060312.864987, 1.25e16, 4.665437060126084]),
        ("chinchilla", [6795600349.289497, 245105957.9245427, 9.993852799709755e18, 5.005581996193246]),
    ],
)
def test_columns_of_published_tables(name: str, first: list[float]) -> None:
    """The first row as it is in the file; tokens are FLOPs / 6N only for chinchilla, whose file has none."""
    runs = scaling.load_published(name)
    assert [float(column[0]) for column in (runs.params, runs.tokens, runs.flops, runs.loss)] == pytest.approx(first)


@needs_data
def test_every_published_table_can_be_read() -> None:
    rows = {name: len(scaling.load_published(name)) for name in scaling_data.PUBLISHED}
    assert rows == {"chinchilla": 245, "cs336": 72, "porian-runs": 1160, "porian-optima": 118, "gadre": 104}
