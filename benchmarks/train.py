"""A step of training a whole model: ours against transformers' DeepseekV3, same weights, same batches, in turns.

    python benchmarks/train.py [--threads 2] [--rounds 25] [--batch 8] [--length 256] [--device cpu]

A step is forward, loss, backward, clipping, AdamW and zero_grad, all in float32. The model is that of decode.py with
experts in every layer but the first, and no MTP module on either side. transformers runs with its loop over experts
("eager") and with "grouped_mm"; its "batched_mm" copies an expert for every token and is meant for decoding.

FLOPs of a step: tokens x 6 x parameters that a token is multiplied with (k of the experts; the norms' thousandth is in
it, the embedding is not), and three times `accounting.attention_flops`, which counts k_up, v_up, scores and mix, and
takes nothing off for the mask. Beside them stands the rate of one large matrix product in the same run.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from _timing import timed
from decode import CONFIG
from torch import Tensor, nn
from tqdm import trange
from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3ForCausalLM

from course_lib.accounting import attention_flops, parameters
from course_lib.config import ModelConfig
from course_lib.corpus import Corpus, load
from course_lib.model import MiniDeepSeek

SIZES: dict[str, Any] = CONFIG | {"first_k_dense_replace": 1, "num_nextn_predict_layers": 0}


def transformers_model(kind: str, device: str) -> DeepseekV3ForCausalLM:
    config = DeepseekV3Config(**SIZES)
    config._attn_implementation, config._experts_implementation = "sdpa", kind
    model: Any = DeepseekV3ForCausalLM(config)  # transformers wraps `to`, and its type is lost
    return model.to(device)


def trainer(model: nn.Module, logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A step that trains `model`, whose forward pass is `logits`, on a batch; it returns the loss before it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(batch: Tensor) -> Tensor:
        loss = F.cross_entropy(logits(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def step_flops(config: ModelConfig, batch: int, length: int) -> int:
    """Forward, and backward at twice the cost."""
    count = parameters(config)
    expanded = sum(count.components[f"attention.{name}"].active for name in ("k_up", "v_up"))
    attention = batch * config.num_hidden_layers * attention_flops(config, length, length, absorb=False)
    return 6 * batch * length * (count.active_without_embedding - expanded) + 3 * attention


def square(device: str) -> tuple[Callable[[], Tensor], int]:
    """A product of large matrices, and its FLOPs."""
    side = 8192 if device == "cuda" else 2048
    x = torch.randn(side, side, device=device)
    return lambda: x @ x, 2 * side**3


def compare(corpus: Corpus, rounds: int, batch: int, length: int, device: str) -> None:
    theirs = {kind: transformers_model(kind, device) for kind in ("eager", "grouped_mm")}
    theirs["grouped_mm"].load_state_dict(theirs["eager"].state_dict())
    ours = MiniDeepSeek(ModelConfig.from_json(theirs["eager"].config.to_dict())).to(device)
    ours.load_transformers(theirs["eager"])
    steps = {
        f"transformers, {kind}": trainer(model, lambda tokens, m=model: m(tokens, use_cache=False).logits)
        for kind, model in theirs.items()
    } | {"ours": trainer(ours, ours)}
    product, product_flops = square(device)
    times: dict[str, list[float]] = {name: [] for name in [*steps, "product"]}
    first: dict[str, float] = {}
    for i in trange(rounds + 2, desc="steps", leave=False):
        tokens = corpus.batch(i, batch, length, device=device)
        for name, step in steps.items():
            seconds, loss = timed(lambda step=step, tokens=tokens: step(tokens), device)
            times[name].append(seconds)
            first.setdefault(name, loss.item())
        times["product"].append(timed(product, device)[0])
    median = {name: statistics.median(values[2:]) for name, values in times.items()}  # two to warm up
    peak = product_flops / median["product"]
    print("| side | step [ms] | tokens/s | GFLOP/s | of a matrix product's |\n|---|---:|---:|---:|---:|")
    for name in steps:
        rate = step_flops(ours.config, batch, length) / median[name]
        speed = batch * length / median[name]
        print(f"| {name} | {median[name] * 1e3:.0f} | {speed:.0f} | {rate / 1e9:.1f} | {rate / peak:.0%} |")
    faster = min(seconds for name, seconds in median.items() if name.startswith("transformers"))
    print(
        f"\nRatio to the faster: {faster / median['ours']:.2f}. Matrix product: {peak / 1e9:.0f} GFLOP/s. First losses "
        f"({first['ours']:.4f}) differ by at most {max(first.values()) - min(first.values()):.0e}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    compare(load("python-docs"), args.rounds, args.batch, args.length, args.device)


if __name__ == "__main__":
    main()
