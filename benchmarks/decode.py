"""Decoding with a latent cache: our absorbed form against transformers' DeepseekV3, same weights, in turns.

    python benchmarks/decode.py [--threads 2] [--steps 40] [--tokens 512 4096 16000] [--device cpu]

Prints, for each context, the median time of a step of both, their ratio, and how near ours comes to the bound: the
time that copying the bytes a step must read (weights and cache, each once) takes at the measured bandwidth.
"""

import argparse
import statistics

import torch
from _timing import timed
from tqdm import tqdm
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, DynamicCache

from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek

CONFIG = {
    "vocab_size": 256, "hidden_size": 256, "intermediate_size": 704, "moe_intermediate_size": 128,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
    "n_shared_experts": 1, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 1, "topk_group": 1,
    "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16, "v_head_dim": 32, "qk_nope_head_dim": 32,
    "first_k_dense_replace": 4, "max_position_embeddings": 32768, "routed_scaling_factor": 1.0,
}  # fmt: skip


def copy_bandwidth(device: str, megabytes: int = 64) -> float:
    """Bytes read per second while copying."""
    source = torch.ones(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return source.nbytes / statistics.median(timed(lambda: target.copy_(source), device)[0] for _ in range(20))


@torch.inference_mode()
def compare(ours: MiniDeepSeek, theirs: DeepseekV3ForCausalLM, tokens: int, steps: int, device: str) -> str:
    text = torch.randint(ours.config.vocab_size, (1, tokens + steps), device=device)
    cache, hf_cache = ours.new_cache(capacity=tokens + steps), DynamicCache(config=theirs.config)
    for part in tqdm(text[:, :tokens].split(2000, dim=1), desc=f"filling {tokens} tokens", leave=False):
        ours(part, cache)
        theirs(part, past_key_values=hf_cache, use_cache=True, logits_to_keep=1)
    our_times, their_times, difference = [], [], 0.0
    for i in range(tokens, tokens + steps):
        token = text[:, i : i + 1]
        seconds, logits = timed(lambda token=token: ours(token, cache), device)
        our_times.append(seconds)
        seconds, expected = timed(
            lambda token=token: theirs(token, past_key_values=hf_cache, use_cache=True).logits, device
        )
        their_times.append(seconds)
        difference = max(difference, ((logits - expected).abs().max() / expected.abs().max()).item())
    our, their = statistics.median(our_times), statistics.median(their_times)
    must_read = sum(p.nbytes for p in ours.parameters()) - ours.embedding.weight.nbytes + cache.nbytes
    bound = must_read / copy_bandwidth(device)
    return (
        f"| {tokens:6} | {their * 1e3:8.2f} | {our * 1e3:8.2f} | {their / our:5.1f} | "
        f"{bound / our:5.0%} | {difference:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 4096, 16000])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    hf_config = DeepseekV3Config(**CONFIG)
    hf_config._attn_implementation = "sdpa"
    theirs = DeepseekV3ForCausalLM(hf_config).eval().to(args.device)
    ours = MiniDeepSeek(ModelConfig.from_json(hf_config.to_dict())).eval().to(args.device).load_transformers(theirs)
    print("| tokens | transformers [ms] | ours [ms] | ratio | share of bound | largest difference |")
    print("|---:|---:|---:|---:|---:|---:|")
    for tokens in args.tokens:
        print(compare(ours, theirs, tokens, args.steps, args.device), flush=True)


if __name__ == "__main__":
    main()
