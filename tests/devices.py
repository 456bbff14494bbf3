"""The pytest plugin for devices: the `device` fixture runs a test on the CPU and on CUDA, on every machine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import pytest
import torch

REAL_CUDA, FEW = "real_cuda", "few_on_virtual_cuda"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{REAL_CUDA}(reason): the CUDA case needs a GPU")
    config.addinivalue_line("markers", f"{FEW}(n): without a GPU, only n of the CUDA cases run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps n CUDA cases, evenly spread, of each test marked as `few_on_virtual_cuda(n)`.

    An operation on the virtual device takes about ten times as long as on the CPU, and a test's cases often differ in
    numbers, which the CPU cases check, and not in where tensors are.
    """
    if torch.cuda.is_available():
        return
    cases: dict[tuple[object, str], list[pytest.Item]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker(FEW) and _place(item) == "cuda":
            cases.setdefault((item.path, item.originalname), []).append(item)
    left_out = set()
    for same in cases.values():
        wanted = min(_few(same[0]), len(same))
        left_out |= set(same) - {same[i * len(same) // wanted] for i in range(wanted)}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _place(item: pytest.Function) -> str | None:
    return str(item.callspec.params.get("device")) if hasattr(item, "callspec") else None


def _few(item: pytest.Item) -> int:
    marker = item.get_closest_marker(FEW)
    assert marker is not None
    return marker.args[0]


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a test computes. "cuda" is a GPU where there is one, elsewhere the device of tests/virtual_cuda.py.

    The virtual device is switched on for this test only. It emulates neither autocast nor kernels: a test that depends
    on them is marked `@pytest.mark.real_cuda("why")`, and its CUDA case is skipped on machines without a GPU.
    """
    with nullcontext() if request.param == "cpu" else cuda(request.node.get_closest_marker(REAL_CUDA)):
        yield request.param


def cuda(needs_a_gpu: pytest.Mark | None = None) -> AbstractContextManager[object]:
    """A CUDA device for a `with` block; skips the test where there can be none."""
    if torch.cuda.is_available():
        return nullcontext()
    if needs_a_gpu:
        pytest.skip(f"needs a GPU: {needs_a_gpu.args[0]}")
    if reason := why_no_virtual_device():
        pytest.skip(reason)
    from tests import virtual_cuda

    return virtual_cuda.present()


@cache
def why_no_virtual_device() -> str | None:
    """What the virtual device misses in this PyTorch, whose internals it uses; None if nothing."""
    try:
        from tests import virtual_cuda

        with virtual_cuda.present():
            (torch.ones(2, device="cuda") + 1).cpu()
    except (ImportError, AttributeError, TypeError, NotImplementedError) as error:
        return f"the virtual CUDA device does not work with PyTorch {torch.__version__}: {error}"
    return None
