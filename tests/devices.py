"""The pytest plugin for devices: the `device` fixture, which takes each test to the CPU and to CUDA on every machine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import pytest
import torch

REAL_CUDA = "real_cuda"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{REAL_CUDA}(reason): on CUDA the test needs a GPU, because ...")


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a test computes. "cuda" is a GPU where there is one, elsewhere the device of tests/virtual_cuda.py.

    The virtual device is switched on for this test only. It emulates neither autocast nor kernels: mark a test that
    depends on them with `@pytest.mark.real_cuda("why")`, and its CUDA case is skipped without a GPU.
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
