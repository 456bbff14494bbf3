import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_lib import doctor
from course_lib.__main__ import app
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["params", "deepseek-v9"], "Published models: deepseek-llm-67b"),
        (["params", "absent/config.json"], "no file"),
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
    assert run("doctor")[0] == 0
