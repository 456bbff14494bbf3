"""Where tensors are computed: a CPU or a CUDA device, chosen or refused in one sentence."""

import torch
from torch import nn


def choose(name: str | None = None) -> torch.device:
    """The device called `name`, such as "cpu", "cuda" or "cuda:1"; by default CUDA where there is one, else the CPU.

    Raises:
        ValueError: no such device here, or one that the course does not support.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}; expected cpu, cuda or cuda:N") from None
    if device.type == "mps":
        raise ValueError("device mps is not supported, because balance and fits need float64; use cpu")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name} is not supported; expected cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {name}: this PyTorch ({torch.__version__}) finds no CUDA device; use cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device {name}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def place_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters, which its inputs must share."""
    return next(module.parameters()).device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices natively: CUDA cards from compute capability 8.0 (A100) on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
