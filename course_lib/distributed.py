"""Processes that train one model together, as `torchrun` starts them. With one process nothing here has an effect."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Adds up what each process has in its `tensor`, in place. It must lie on the device of the process group."""
    if processes() > 1:
        dist.all_reduce(tensor)
    return tensor


def refuse_different(value: int, what: str) -> None:
    """Raises ValueError in all processes if they do not have the same `value`."""
    values: list[int | None] = [value] * processes()
    if processes() > 1:
        dist.all_gather_object(values, value)
    if len(set(values)) > 1:
        raise ValueError(f"the processes disagree: {', '.join(map(str, values))} {what}")


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Joins the processes that `torchrun` started, for the length of the block, and yields this one's device.

    CPUs talk through gloo, whatever else the machine has; GPUs through NCCL, one per process.

    Raises:
        ValueError: more processes than GPUs on this machine, or one GPU asked for by its number for all of them.
    """
    if "RANK" not in os.environ:  # torchrun sets it
        yield device
        return
    if device.type == "cuda":
        device = _own_gpu(device)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _own_gpu(device: torch.device) -> torch.device:
    local_rank, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.index is not None and here > 1:
        raise ValueError(f"device {device}: {here} processes cannot share one GPU; use cuda, and each takes its own")
    if device.index is not None:
        return device
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"device cuda: {here} processes need a GPU each, and this machine has {torch.cuda.device_count()}; "
            "start fewer, or use cpu"
        )
    return torch.device("cuda", local_rank)
