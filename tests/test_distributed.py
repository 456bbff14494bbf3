"""What one process trains, two and three train as well, or they refuse."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from course_lib import corpus, distributed
from course_lib.model import MiniDeepSeek
from course_lib.training import Recipe, Training
from tests.conftest import tiny_heads, tiny_moe

ROOT = Path(__file__).parents[1]
BASE = Recipe(steps=4, batch_size=6, length=11, warmup=2, learning_rate=0.01)
MOE, MTP = tiny_moe(vocab_size=256), tiny_moe(vocab_size=256, num_nextn_predict_layers=2)
CASES = {
    "plain": (MOE, BASE),
    "sequence loss and bias": (MOE, replace(BASE, sequence_alpha=0.3, bias_speed=0.01)),
    "expert loss": (MOE, replace(BASE, expert_alpha=2.0)),
    "MTP": (MTP, replace(BASE, mtp_weight=2.0, expert_alpha=0.5, bias_speed=0.01)),
    "clipped": (MOE, replace(BASE, clip=0.1, expert_alpha=1.0)),
    "dense": (tiny_heads(2, vocab_size=256), BASE),
}
WORKER = """
import sys, torch, torch.distributed as dist
from tests import test_distributed
dist.init_process_group("gloo")
results = test_distributed.all_cases()
if dist.get_rank() == 0:
    torch.save(results, sys.argv[1])
dist.destroy_process_group()
"""


def begin(name: str, **changes: Any) -> Training:
    config, recipe = CASES[name]
    torch.manual_seed(3)
    return Training(MiniDeepSeek(config).double(), corpus.load("stories", 40_000), replace(recipe, **changes))


def all_cases() -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in CASES:
        run = begin(name)
        list(run.run())
        evaluation = run.evaluate(sequences=5)
        norms = [step.gradient_norm for step in run.history.steps]
        numbers = torch.tensor([*run.history.loss, *norms, evaluation.loss], dtype=torch.float64)
        loads = [run.history.load, run.history.bias, evaluation.load]
        results[name] = {"numbers": numbers, "loads": loads, "weights": run.model.state_dict()}
    try:
        begin("plain", batch_size=7)
    except ValueError as error:
        results["refused"] = str(error)
    return results


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return all_cases()


@pytest.fixture(scope="module", params=[2, 3])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(request.param)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(folder / "worker.py"), str(folder / "out.pt")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    return {"processes": request.param, **torch.load(folder / "out.pt")}


@pytest.mark.parametrize("name", CASES)
def test_many_processes_train_what_one_trains(name: str, alone: dict[str, Any], together: dict[str, Any]) -> None:
    one, many = alone[name], together[name]
    torch.testing.assert_close(many["numbers"], one["numbers"], rtol=0, atol=1e-10)
    for load, expected in zip(many["loads"], one["loads"], strict=True):
        assert torch.equal(load, expected)
    for key, weight in one["weights"].items():
        torch.testing.assert_close(many["weights"][key], weight, rtol=0, atol=1e-10)


def test_a_batch_that_they_cannot_share_is_refused(alone: dict[str, Any], together: dict[str, Any]) -> None:
    processes = together["processes"]
    assert together["refused"].startswith(f"batch_size 7 is not a multiple of the {processes} processes")
    assert "refused" not in alone


@pytest.mark.parametrize("name", ["dense", "MTP"])
def test_only_tensors_of_the_models_device_are_summed(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL takes no others. A dense model has an empty load, which is summed like any."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(distributed, "sum_over_processes", lambda tensor: seen.append(tensor) or tensor)
    run = begin(name)
    run = Training(run.model.to(device), run.corpus, run.recipe)
    list(run.run(1))
    assert len(seen) == 2
    assert {tensor.device.type for tensor in seen} == {torch.device(device).type}


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As one process of two that torchrun started; the backends that were asked for."""
    backends: list[str] = []
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", backends.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: backends.append("destroyed"))
    return backends


def test_a_cpu_that_is_asked_for_is_used_though_there_are_gpus(
    torchrun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: pytest.fail("no GPU was asked for"))
    with distributed.joined(torch.device("cpu")) as own:
        assert own == torch.device("cpu")
    assert torchrun == ["gloo", "destroyed"]


def test_each_process_takes_its_own_gpu(torchrun: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    with distributed.joined(torch.device("cuda")) as own:
        assert own == torch.device("cuda:1")
    assert taken == [own] and torchrun == ["nccl", "destroyed"]


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("cuda:0", "cuda:0: 2 processes cannot share one GPU; use cuda"),
        ("cuda", "need a GPU each, and this machine has 1"),
    ],
)
def test_too_few_gpus_are_refused(
    device: str, reason: str, torchrun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: pytest.fail("it was to be refused"))
    with pytest.raises(ValueError, match=reason), distributed.joined(torch.device(device)):
        pass
    assert torchrun == []


def test_the_group_is_left_after_an_error_too(torchrun: list[str]) -> None:
    with pytest.raises(RuntimeError, match="out of memory"), distributed.joined(torch.device("cpu")):
        raise RuntimeError("out of memory")
    assert torchrun == ["gloo", "destroyed"]


def test_a_single_process_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(dist, "init_process_group", lambda _: pytest.fail("there is nobody to join"))
    with distributed.joined(torch.device("cpu")) as own:
        assert own == torch.device("cpu")


def test_processes_that_stand_at_different_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(values: list[int], _: int) -> None:
        values[:] = [40, 0]

    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    with pytest.raises(ValueError, match="the processes disagree: 40, 0 steps done"):
        distributed.refuse_different(40, "steps done")
