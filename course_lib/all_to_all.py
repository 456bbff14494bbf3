"""What it costs to send tokens to experts on other machines: nodes visited, bytes, seconds.

Sources: DeepSeek-V3 report (arXiv:2412.19437 s3.2.2), Insights into DeepSeek-V3 (arXiv:2505.09343 s2.3.2 and s4.3).
Experts lie on nodes in equal runs: with 256 of them on 8 nodes, experts 0 to 31 are on node 0.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from jaxtyping import Int
from torch import Tensor

INFINIBAND = 50e9  # byte/s between nodes, one network card a GPU (arXiv:2412.19437 s3.2.2)
NVLINK = 160e9  # byte/s between GPUs of a node (same place)


def expected_nodes(experts: int, nodes: int, chosen: int) -> Fraction:
    """Mean number of nodes that hold at least one of `chosen` experts drawn at random, exactly.

    Raises:
        ValueError: nodes of unequal size, or more experts chosen than there are.
    """
    _check(experts, nodes)
    if not 1 <= chosen <= experts:
        raise ValueError(f"cannot choose {chosen} of {experts} experts")
    missed = Fraction(math.comb(experts - experts // nodes, chosen), math.comb(experts, chosen))
    return nodes * (1 - missed)


def nodes_visited(indices: Int[Tensor, "m k"], experts: int, nodes: int) -> Int[Tensor, " m"]:
    """On how many nodes each token's chosen experts lie.

    Raises:
        ValueError: nodes of unequal size, or an index that is no expert's.
    """
    _check(experts, nodes)
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < experts:
        raise ValueError(f"want experts 0 to {experts - 1}, got {int(indices.min())} to {int(indices.max())}")
    node = indices // (experts // nodes)
    return node.new_zeros(len(indices), nodes).scatter(1, node, 1).sum(1)


def _check(experts: int, nodes: int) -> None:
    if nodes < 1 or experts % nodes:
        raise ValueError(f"{nodes} nodes do not hold {experts} experts in equal parts")


@dataclass(frozen=True, kw_only=True)
class DecodeLimit:
    """How fast a model with experts can write at best, if only the network takes time (arXiv:2505.09343 s2.3.2).

    Two micro-batches share a GPU, and one computes while the other communicates; if computing takes no time, the
    network serves them one after the other.
    """

    hidden: int  # numbers in a token's vector
    layers: int  # that communicate
    copies: int  # of a token: one for each routed expert and one for the shared one
    tokens: int = 32  # on a GPU, in each micro-batch
    bytes_there_and_back: float = 1 + 2  # of a number: FP8 on the way to the experts, BF16 on the way back
    bandwidth: float = INFINIBAND
    micro_batches: int = 2

    @property
    def all_to_all(self) -> float:
        """Seconds for one dispatch and one combine."""
        return self.bytes_there_and_back * self.tokens * self.copies * self.hidden / self.bandwidth

    @property
    def layer(self) -> float:
        """Seconds."""
        return self.micro_batches * self.all_to_all

    @property
    def token(self) -> float:
        """Seconds from one token to the next (TPOT)."""
        return self.layers * self.layer
