"""A layer of experts, forward and backward: ours against the faster of transformers' two, same weights, in turns.

    python benchmarks/moe.py [--threads 2] [--rounds 30] [--device cpu]

Prints, for each number of experts, median times and ratios. The bound is what the same matrix products take when
tokens lie perfectly packed, every expert with the same number of them: no routing, no gathering, no gates.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from _timing import timed
from tqdm import trange
from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

from course_lib.config import ModelConfig
from course_lib.moe import MoE

TOKENS, HIDDEN, WIDTH = 2048, 256, 128


def layers(experts: int, top_k: int, device: str) -> tuple[MoE, dict[str, Any]]:
    """Our layer, and transformers' by implementation, all with the same weights."""
    sizes: dict[str, Any] = {
        "hidden_size": HIDDEN, "moe_intermediate_size": WIDTH, "n_routed_experts": experts, "n_shared_experts": 1,
        "num_experts_per_tok": top_k, "n_group": 1, "topk_group": 1, "num_hidden_layers": 1, "first_k_dense_replace": 0,
    }  # fmt: skip
    theirs = {}
    for kind in ("eager", "grouped_mm"):
        config = DeepseekV3Config(**sizes)
        config._experts_implementation = kind
        theirs[kind] = DeepseekV3MoE(config).to(device)
    one = theirs["eager"]
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, std=0.06)
    theirs["grouped_mm"].load_state_dict(one.state_dict())
    ours = MoE(ModelConfig.from_json(config.to_dict())).to(device)
    shared = {f"shared.{name.replace('_proj', '')}": weight for name, weight in one.shared_experts.state_dict().items()}
    ours.load_state_dict({
        "router.centroids": one.gate.weight, "router.bias": one.gate.e_score_correction_bias,
        "gate_up": one.experts.gate_up_proj, "down": one.experts.down_proj, **shared,
    })  # fmt: skip
    return ours, theirs


def packed(layer: MoE, top_k: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The products of `layer` on as many rows, dealt out evenly."""
    weights: Any = copy.deepcopy(layer)

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1).repeat(top_k, 1).unflatten(0, (len(weights.gate_up), -1))
        gate, up = torch.bmm(rows, weights.gate_up.mT).chunk(2, dim=-1)
        routed = torch.bmm(F.silu(gate) * up, weights.down.mT)
        return routed.flatten(0, 1).unflatten(0, (top_k, *x.shape[:2])).sum(0) + weights.shared(x)

    return run


def compare(experts: int, top_k: int, rounds: int, device: str) -> str:
    ours, theirs = layers(experts, top_k, device)
    x = torch.randn(1, TOKENS, HIDDEN, device=device, requires_grad=True)
    direction = torch.randn_like(x)
    runs: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {**theirs, "ours": ours, "packed": packed(ours, top_k)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in trange(rounds, desc=f"{experts} experts", leave=False):
        for name, run in runs.items():
            times[name].append(timed(lambda run=run: (run(x) * direction).sum().backward(), device)[0])
    with torch.no_grad():
        expected = theirs["eager"](x)
        difference = ((ours(x) - expected).abs().max() / expected.abs().max()).item()
    median = {name: statistics.median(values) for name, values in times.items()}
    best = min(median["eager"], median["grouped_mm"])
    return (
        f"| {experts} | {top_k} | {median['eager'] * 1e3:.1f} | {median['grouped_mm'] * 1e3:.1f} | "
        f"{median['ours'] * 1e3:.1f} | {best / median['ours']:.2f} | {median['packed'] / median['ours']:.0%} | "
        f"{difference:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(
        "| experts | top-k | transformers, eager [ms] | grouped_mm [ms] | ours [ms] | ratio to the faster "
        "| share of bound | largest difference |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for experts, top_k in ((16, 4), (64, 6)):
        print(compare(experts, top_k, args.rounds, args.device), flush=True)


if __name__ == "__main__":
    main()
