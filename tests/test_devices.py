"""A device is used or refused in one sentence."""

import pytest
import torch

from course_lib import devices


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_the_default_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose() == torch.device("cuda")


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_here_is_used_also_the_cpu_of_a_machine_with_cuda(name: str) -> None:
    assert devices.choose(name) == torch.device(name)


def test_a_single_card_has_the_number_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("cuda", "cuda:0"):
        assert devices.choose(name) == torch.device(name)
    with pytest.raises(ValueError, match="device cuda:1: this machine has 1 CUDA device"):
        devices.choose("cuda:1")


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpu", "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        ("", "unknown device ''"),
        ("cuda:2", "device cuda:2: this machine has 2 CUDA device"),
        ("mps", "device mps is not supported, because balance and fits need float64; use cpu"),
        ("xpu", "device xpu is not supported"),
        ("meta", "device meta is not supported"),
    ],
)
def test_any_other_device_is_refused_in_one_sentence(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match="device") as error:
        devices.choose(name)
    assert reason in str(error.value)


def test_cuda_without_a_card_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device cuda: this PyTorch .* finds no CUDA device; use cpu"):
        devices.choose("cuda")


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_is_a_question_of_the_card(
    capability: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.has_bfloat16(torch.device("cuda:0")) == native
    assert not devices.has_bfloat16(torch.device("cpu"))


def test_the_place_of_a_module_is_that_of_its_parameters() -> None:
    assert devices.place_of(torch.nn.Linear(2, 3, device="meta")) == torch.device("meta")
