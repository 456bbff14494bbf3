import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from course_lib import doctor, runs
from course_lib.__main__ import app
from course_lib.experiments import EXPERIMENTS
from course_lib.sweep import Row, read
from tests.test_config import V3


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    return result.exit_code, " ".join(result.output.split())


def test_params_prints_every_total_of_a_published_model() -> None:
    code, text = run("params", "deepseek-v3")
    assert code == 0
    assert "all 671,026,419,200 37,552,297,472" in text
    assert "36,625,618,432" in text and "35,698,939,392" in text
    assert "attn q down 11,010,048 61 671,612,928 671,612,928" in text
    assert "35,136 numbers, 70,272 bytes" in text


def test_params_reads_any_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(V3))
    code, text = run("params", str(tmp_path / "config.json"), "--bytes-per-element", "1")
    assert code == 0
    assert "671,026,419,200" in text and "35,136 numbers, 35,136 bytes" in text


KIMI_K2: dict[str, Any] = {
    **V3, "name": "Kimi-K2", "model_type": "kimi_k2", "vocab_size": 163840, "num_attention_heads": 64,
    "num_key_value_heads": 64, "n_routed_experts": 384, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
KIMI_NUMBERS = {"1,026,408,232,448", "1,014,686,023,680", "16,911,433,728", "35,136", "70,272", "60"}


@pytest.mark.parametrize("columns", [*range(1, 12), 20, 32, 38, 40, 50, 60, 71, 72, 73, 79, 80, 81, 100, 200])
def test_params_cuts_and_wraps_no_number_at_any_width(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(KIMI_K2))
    monkeypatch.chdir(tmp_path)  # the title is the path as given, and a long path is not cut either
    result = CliRunner().invoke(app, ["params", "config.json"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0 and "…" not in result.output
    assert set(re.findall(r"[\d,]*\d", result.output)) >= KIMI_NUMBERS
    assert all(len(line) <= columns for line in result.output.splitlines()) or columns < 36


@pytest.mark.parametrize("name", ["DeepSeek-V3", "deepseek_v3", "deepseek v3", "DEEPSEEK-V3"])
def test_params_takes_a_published_name_in_any_spelling(name: str) -> None:
    assert run("params", name) == run("params", "deepseek-v3")


def test_params_names_a_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text("{}", encoding="utf-8-sig")
    code, text = run("params", "mine.json")
    assert code == 2 and "mine.json: it is empty" in text


def test_params_does_not_import_pytorch() -> None:
    """It takes seconds, and a count needs none of it."""
    code = "import sys; sys.modules['torch'] = None; import course_lib.__main__ as m; m.app(['params', 'deepseek-v3'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "671,026,419,200" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["params", "deepseek-v9"], "no published model 'deepseek-v9'; did you mean deepseek-v3"),
        (["params", "DepSeek-V3"], "did you mean deepseek-v3"),
        (["params", "absent/config.json"], "no file"),
        (["params", "deepseek-ai/DeepSeek-V3"], "V3; did you mean the published model deepseek-v3?"),
        (["params", "deepseek-v3.json"], "no file deepseek-v3.json; did you mean the published model deepseek-v3?"),
        (["params", ""], "no published model ''; known: deepseek"),
        (["params", "deepseek-v3", "--bytes-per-element", "inf"], "Invalid value for '--bytes-per-element'"),
        (["bench", "nothing"], "no benchmark 'nothing'; known: decode"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(arguments: list[str], reason: str) -> None:
    code, text = run(*arguments)
    assert code == 2
    assert reason in text.replace("│ ", "")


def test_doctor_names_what_is_there_and_mends_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["PyTorch"].found and not findings["PyTorch"].remedy
    assert findings["Chromium"].found == "absent" and "apt install chromium" in findings["Chromium"].remedy
    assert findings["sandbox"].found == "absent"
    assert run("doctor")[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(("code", "found"), [(0, "bwrap, working"), (1, "bubblewrap, not working")])
def test_doctor_tries_the_sandbox(code: int, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    finding = {each.name: each for each in doctor.examine()}["sandbox"]
    assert found in finding.found
    assert ("No permissions" in finding.remedy) == bool(code)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(("build", "remedy"), [(None, "CPU build cannot use the GPU"), ("13.0", "finds no GPU")])
def test_doctor_tells_of_a_gpu_that_is_not_used(
    build: str | None, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.torch.version, "cuda", build)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {each.name: each for each in doctor.examine()}["device"].remedy == ""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert remedy in {each.name: each for each in doctor.examine()}["device"].remedy


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("sweep", "balanse"), "unknown experiment 'balanse'; known: balance"),
        (("sweep", "balance", "--seeds", "one"), "seeds: expected numbers separated by commas, got 'one'"),
        (("sweep", "isoflop", "--budgets", "1e9,nan"), "budgets: expected numbers separated by commas, got '1e9,nan'"),
        (("sweep", "isoflop", "--budgets", "10"), "budgets of 1e6 FLOP or more, got 5 and [10.0]"),
        (("sweep", "isoflop", "--steps", "3"), "isoflop takes no --steps, but --budgets, --sizes"),
    ],
)
def test_what_cannot_be_run_is_told(
    arguments: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(*arguments)
    assert code == 2 and reason in re.sub(r"[│\s]+", " ", text)
    assert not list(tmp_path.iterdir())


def test_a_stopped_sweep_says_where_its_runs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "sweep", stop)
    code, text = run("sweep", "balance", "--out", str(tmp_path / "log.csv"))
    assert code == 130 and "log.csv; the same command trains the rest" in text


def test_a_sweep_prints_means_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(strategy: str, seed: int, **_: object) -> Row:
        return {"validation_loss": 2.0 + seed, "global_max_violation": float(len(strategy))}

    monkeypatch.setitem(EXPERIMENTS, "balance", replace(EXPERIMENTS["balance"], train=note))
    out = tmp_path / "log.csv"
    code, text = run("sweep", "balance", "--seeds", "0,2", "--steps", "7", "--workers", "1", "--out", str(out))
    assert code == 0
    assert text.startswith("balance: trains on cpu, rows go to ")
    assert "none 2 3.000 ± 1.414 4.000 ± 0.000" in text
    assert [row["steps"] for row in read(out)] == ["7"] * 8
