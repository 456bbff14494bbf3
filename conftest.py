"""Shapes in annotations are checked while tests run; what pytest must not collect; the devices to test on."""

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("course_lib", "beartype.beartype")  # before the first import of course_lib

collect_ignore = ["notebooks/source", "notebooks/build.py"]


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return request.param


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
