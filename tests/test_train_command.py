"""`course.py train` refuses early what it cannot do, keeps what it did, and `course.py write` uses the result."""

import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from course_lib import boxed, checkpoint, corpus, devices, files, host, preflight, runs
from course_lib.__main__ import app
from course_lib.config import mini, published
from course_lib.generation import generate
from course_lib.model import MiniDeepSeek
from course_lib.training import Recipe
from tests.conftest import tiny_moe

ROOT = Path(__file__).parents[1]
V3 = ROOT / "course_lib" / "published" / "deepseek-v3.json"
SMALL = ("train", "--steps", "4", "--batch-size", "2", "--length", "16", "--text", "python-docs", "--device", "cpu")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80"})


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output, on one line and without the frame of an error."""
    result = invoke(*arguments)
    return result.exit_code, re.sub(r"[│\s]+", " ", result.output)


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training with an MTP depth."""
    out = tmp_path_factory.mktemp("runs") / "my run"
    code, text = run(*SMALL, "--mtp-depths", 1, "--out", out)
    assert code == 0, text
    return out


# What it says and keeps ----------------------------------------------------------------------------------------------


def test_a_training_says_where_it_runs_what_it_reached_and_what_to_do_next(tmp_path: Path) -> None:
    code, text = run(*SMALL, "--out", tmp_path / "my run")
    assert code == 0
    for part in (
        "training on cpu, products in float32", "4 of 4 steps are done", "validation loss", "MaxVio",
        f"course.py write --model '{tmp_path / 'my run'}' --prompt '",
    ):  # fmt: skip
        assert part in text
    assert "continues" not in text, "it is complete"
    assert sorted(file.name for file in (tmp_path / "my run").iterdir() if file.name != ".lock") == [
        "checkpoint.safetensors", "config.json", "log.csv", "model.safetensors",
    ]  # fmt: skip
    before = load_file(tmp_path / "my run" / "model.safetensors")
    code, again = run(*SMALL, "--out", tmp_path / "my run")
    assert code == 0 and "4 of 4 steps are done" in again
    after = load_file(tmp_path / "my run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_floor_of_a_text_is_told_where_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(corpus.load("python-docs"), floor=1.25)
    monkeypatch.setattr(corpus, "load", lambda name: text)
    assert "nats per byte; no model can be below 1.250" in run(*SMALL, "--out", tmp_path)[1]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--seed", 1), "is of another training: seed is 0 there and 1 here. Use another folder (--out) for this one"),
        (("--mtp-depths", 0), "num_nextn_predict_layers is 1 there and 0 here"),
        (("--text", "stories"), "training: the text is python-docs there and stories here. Use another"),
    ],
)
def test_a_folder_of_another_training_is_refused_and_stays_as_it_is(
    option: tuple[object, ...], reason: str, trained: Path
) -> None:
    before = {file.name: file.read_bytes() for file in trained.iterdir()}
    code, text = run(*SMALL, "--mtp-depths", 1, "--out", trained, *option)
    assert code == 2 and reason in text
    assert {file.name: file.read_bytes() for file in trained.iterdir()} == before


def interrupt_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of that step, which is 1 for the first."""
    usual, steps = torch.optim.AdamW.step, []

    def step(optimizer: torch.optim.AdamW) -> None:
        steps.append(optimizer)
        if len(steps) == number:
            signal.raise_signal(signal.SIGINT)
        usual(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


def test_ctrl_c_keeps_the_last_loss_in_sight_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(2, patch)
        result = invoke(*SMALL, "--out", tmp_path)
    assert result.exit_code == 130 and "Traceback" not in result.output
    bar = re.split(r"[\r\n]+", result.stderr.strip())[-1]
    assert re.search(r" 2/4 .*loss \d\.\d{3}, MaxVio \d\.\d\d\]$", bar), "with the step that Ctrl-C waited for"
    assert "Stopped after 2 of 4 steps; the same command continues from " in result.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "checkpoint.safetensors"]
    assert run(*SMALL, "--out", tmp_path)[0] == 0
    through = run(*SMALL, "--out", tmp_path / "through")
    assert through[0] == 0
    one, other = (load_file(folder / "model.safetensors") for folder in (tmp_path, tmp_path / "through"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rate", ["1e4", "1e30"])
def test_a_training_that_diverges_stops_and_keeps_the_checkpoint_of_before(
    rate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), tmp_path)
    options = ("--config", config, "--learning-rate", rate, "--steps", 60, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        interrupt_in_step(1, patch)
        assert invoke(*SMALL, *options).exit_code == 130
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    code, text = run(*SMALL, *options)
    if code == 0:
        assert "no better than guessing (5.545): try a lower --learning-rate" in text
        return
    assert code == 1
    assert re.search(r"Error: step \d+ diverged: its loss is .*; the last finite loss was [\d.e+]+\. Lower", text)
    assert f"Lower the learning rate, which is {float(rate):g}. " in text and "is as it was before" in text
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_training_is_saved_every_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash costs SAVE_EVERY seconds, not the training."""
    saved: list[int] = []
    monkeypatch.setattr(runs, "SAVE_EVERY", 0)
    monkeypatch.setattr(checkpoint, "save", lambda training, path: saved.append(training.step))
    assert run(*SMALL, "--out", tmp_path)[0] == 0
    assert saved == [1, 2, 3, 4, 4]
    monkeypatch.setattr(runs, "SAVE_EVERY", 1000)
    saved.clear()
    assert run(*SMALL, "--out", tmp_path / "other")[0] == 0
    assert saved == [4]
    minutes = count()
    monkeypatch.setattr(runs, "SAVE_EVERY", 90)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    saved.clear()
    assert run(*SMALL, "--out", tmp_path / "third")[0] == 0
    assert saved == [2, 4, 4], "90 seconds after the last save"


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--text", "bible"), "no text 'bible' and no file of that name"),
        (("--learning-rate", 0), "learning_rate: expected > 0, got 0.0"),
        (("--bias-speed", "inf"), "bias_speed: expected a finite number, got inf"),
        (("--seed", 2**70), "--seed"),
        (("--mtp-depths", 999), "999 MTP depths need a --length above 999, got"),
        (("--batch-size", 10**9), "(--batch-size times --length) takes at least"),
        (("--device", "gpu"), "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        (("--device", "mps"), "device mps is not supported"),
        (("--config", "absent.json"), "absent.json"),
        (
            ("--config", V3),
            "deepseek-v3.json: training 680,786,799,360 parameters takes at least 10,892.6 GB (16 bytes",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_no_trace(
    arguments: tuple[object, ...], reason: str, tmp_path: Path
) -> None:
    code, text = run(*SMALL, *arguments, "--out", tmp_path / "new" / "run")
    assert code == 2 and reason in text
    assert not list(tmp_path.iterdir())


def test_a_validation_text_shorter_than_a_sequence_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(30 * "ten bytes ")
    code, text = run(*SMALL, "--text", tmp_path / "text", "--length", 40, "--out", tmp_path / "run")
    assert code == 2 and "windows of 40 + 1 bytes do not fit the validation text of 30 bytes" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused(tmp_path: Path) -> None:
    code, text = run(*SMALL, "--device", "cuda", "--out", tmp_path / "run")
    assert code == 2 and "finds no CUDA device; use cpu" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["run", "run/checkpoint.safetensors", "run/model.safetensors", "run/log.csv", "no"])
def test_what_cannot_be_written_is_refused_before_the_text_is_read(
    taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "load", lambda name: pytest.fail("it was to be refused first"))
    if taken == "run":
        (tmp_path / "run").write_text("a file")
        reason = f"cannot write to the folder {tmp_path / 'run' / 'deep'}: {tmp_path / 'run'} is a file"
    elif taken == "no":

        def refuse(**_: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(preflight.tempfile, "TemporaryFile", refuse)
        reason = "Read-only file system"
    else:
        (tmp_path / "run" / "deep" / Path(taken).name).mkdir(parents=True)
        reason = f"cannot write the file {tmp_path / 'run' / 'deep' / Path(taken).name}: it is a folder"
    code, text = run(*SMALL, "--out", tmp_path / "run" / "deep")
    assert code == 2 and reason.replace(" ", "") in text.replace(" ", "")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    code, text = run(*SMALL, "--out", tmp_path / "run" / "deep")
    assert code == 2 and "is a link that leads nowhere" in text


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    with files.locked(tmp_path / ".lock", "taken"):
        code, text = run(*SMALL, "--out", tmp_path)
    assert code == 2 and "another training is writing to" in text
    assert run(*SMALL, "--out", tmp_path)[0] == 0


def test_a_giant_is_refused_before_pytorch_is_imported() -> None:
    script = f"""
import sys
from pathlib import Path
from course_lib import host, preflight
try:
    preflight.refuse_too_large(preflight.byte_model(Path({str(V3)!r}), None), host.available_memory(), "this machine")
except ValueError as error:
    print(error)
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "training 680,786,799,360 parameters takes" in result.stdout and "this machine has" in result.stdout


def test_what_is_counted_is_what_is_built() -> None:
    for config in (tiny_moe(num_nextn_predict_layers=2), mini(), tiny_moe(tie_word_embeddings=True)):
        model = MiniDeepSeek(config)
        built = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
        assert preflight.parameters_to_train(config) == built
        preflight.refuse_too_large(config, 16 * built, "this machine")
        with pytest.raises(ValueError, match=f"training {built:,} parameters .* and this GPU has 0.0 GB available"):
            preflight.refuse_too_large(config, 16 * built - 1, "this GPU")


def test_a_gigabyte_is_a_billion_bytes_in_what_is_needed_and_in_what_is_there() -> None:
    with pytest.raises(ValueError, match=r"takes at least 10,922\.2 GB .* and this machine has 64\.0 GB available"):
        preflight.refuse_too_large(published("deepseek-v3"), 64 * 10**9, "this machine")


def test_a_training_fits_the_device_that_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = 16 * preflight.parameters_to_train(mini())
    recipe = Recipe(steps=1, batch_size=2, length=16)
    monkeypatch.setattr(host, "available_memory", lambda: need - 1)
    with pytest.raises(ValueError, match="and this machine has"):
        runs.train("python-docs", mini(), recipe, tmp_path, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (need - 1, 9 * need))
    monkeypatch.setattr(host, "available_memory", lambda: 9 * need)
    with pytest.raises(ValueError, match="and this GPU has"):
        runs.train("python-docs", mini(), recipe, tmp_path, torch.device("cuda:0"))
    assert published("deepseek-v3").num_nextn_predict_layers == 1


@pytest.mark.parametrize(("asked", "native"), [(None, True), (None, False), (True, False), (False, True)])
def test_bfloat16_depends_on_the_card(
    asked: bool | None,
    native: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Recipe] = []
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: native)
    monkeypatch.setattr(runs, "_train", lambda data, config, recipe, out, device: seen.append(recipe))
    recipe = Recipe(steps=1, batch_size=2, length=16)
    runs.train("python-docs", mini(), recipe, tmp_path, torch.device("cpu"), mixed_precision=asked)
    mixed = native if asked is None else asked
    said = capsys.readouterr().out
    assert [recipe.mixed_precision for recipe in seen] == [mixed]
    assert f"products in {'bfloat16' if mixed else 'float32'}" in said
    assert ("has no bfloat16 arithmetic and emulates it" in said) == (mixed and not native)


# Writing -------------------------------------------------------------------------------------------------------------


def test_it_writes_what_the_model_generates(trained: Path) -> None:
    cases: list[dict[str, Any]] = [{}, {"temperature": 0.0}, {"seed": 5, "top_p": 0.9}, {"speculate": False}]
    for options in cases:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if name != "speculate"]
        flags += ["--no-speculate"] if "speculate" in options else []
        result = invoke("write", "--model", trained, "--prompt", "The ", "--tokens", 30, "--device", "cpu", *flags)
        assert result.exit_code == 0, result.output
        model = checkpoint.load_model(trained)
        usual: dict[str, Any] = {"temperature": 0.8, "speculate": True}
        tokens = generate(model, corpus.encode("The ")[None], 30, **(usual | options)).tokens[0]
        assert result.stdout == ("The " + corpus.decode(tokens)).translate(runs.UNPRINTABLE) + "\n"
        assert "30 bytes in " in result.stderr
        assert ("of the drafts accepted" in result.stderr) == ("speculate" not in options)


def test_without_a_folder_the_model_in_the_box_writes() -> None:
    result = invoke("write", "--prompt", "ROMEO:\n", "--tokens", 12, "--temperature", 0, "--device", "cpu")
    tokens = generate(boxed.load(), corpus.encode("ROMEO:\n")[None], 12).tokens[0]
    assert result.stdout == "ROMEO:\n" + corpus.decode(tokens) + "\n"
    assert "the model in the box: 12 bytes in" in result.stderr


def test_text_comes_as_it_is_written_and_never_in_half_characters(capsys: pytest.CaptureFixture[str]) -> None:
    from course_lib.generation import Generation

    show, seen = runs._Printer("a"), list[str]()
    data = "é\x1b[2J€!".encode() + b"\xe2\x82"
    for end in range(1, len(data) + 1):
        show(Generation(torch.tensor([list(data[:end])])))
        seen.append(capsys.readouterr().out)
    show.end()
    assert seen == ["a", "é", "\ufffd", "[", "2", "J", "", "", "€", "!", "", ""]
    assert capsys.readouterr().out == "\ufffd\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--model", "nowhere"), "nowhere holds no model: model.safetensors and config.json not found"),
        (("--prompt", ""), "the prompt is empty"),
        (("--top-p", 0), "want temperature >= 0 and 0 < top_p <= 1, got 0.8 and 0.0"),
        (("--device", "mps"), "device mps is not supported"),
        (("--tokens", 0), "Invalid value for '--tokens'"),
    ],
)
def test_what_cannot_be_written_is_told(arguments: tuple[object, ...], reason: str) -> None:
    result = invoke("write", *arguments)
    assert result.exit_code == 2 and reason in re.sub(r"[│\s]+", " ", result.stderr)
    assert result.stdout == "", "no text, not even the prompt"


def test_models_that_cannot_do_what_is_asked_are_named(tmp_path: Path, trained: Path) -> None:
    checkpoint.save_model(MiniDeepSeek(tiny_moe()), tmp_path / "words")
    code, text = run("write", "--model", tmp_path / "words")
    assert code == 2 and "are not bytes: it has 37 of them, not 256" in text
    checkpoint.save_model(MiniDeepSeek(tiny_moe(vocab_size=256)), tmp_path / "plain")
    code, text = run("write", "--model", tmp_path / "plain", "--speculate")
    assert code == 2 and "this model has no MTP depth to draft with: leave out --speculate" in text
    (tmp_path / "half").mkdir()
    (trained / "checkpoint.safetensors").read_bytes()
    (tmp_path / "half" / "checkpoint.safetensors").write_bytes(b"")
    code, text = run("write", "--model", tmp_path / "half")
    assert code == 2 and "its training is not finished: run the same train command again" in text
