"""Matrix-product work, counted while a function runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


class _Counter(TorchDispatchMode):
    """As PyTorch's `FlopCounterMode`, with its formulas, but without loading a compiler, which takes 2 s."""

    flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what loads it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, operation = kwargs or {}, func.overloadpacket
        if operation not in flop_registry:
            with self:  # what it is made of may be known
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if operation in flop_registry:
            self.flops += flop_registry[operation](*args, **kwargs, out_val=out)
        elif operation in (aten.mv, aten.dot):  # PyTorch's own counter leaves these out
            self.flops += 2 * args[0].numel()
        return out


def matrix_flops(run: Callable[[], object]) -> int:
    """FLOPs of all matrix products that `run` makes; a multiply-add is 2."""
    with _Counter() as counter:
        run()
    return counter.flops
