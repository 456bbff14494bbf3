"""Decoding with a latent cache: our absorbed form against transformers' DeepseekV3, same weights, in turns.

    python benchmarks/decode.py [--tables dense experts drafts] [--threads 2] [--steps 42] [--tokens 512 4096 16000]
        [--rounds 3] [--device cpu]

dense, experts: for each context, the median time of a step of both, their ratio, and how near ours comes to the bound:
the time that copying the bytes a step must read (the weights a token uses and the cache, each once) takes at the
measured bandwidth. All layers are dense, or all but the first hold experts and one MTP depth stands by, unused;
transformers' experts run in its three ways by turns, of which the fastest counts.

drafts: our model with its MTP depth as the drafter against the same model without it. Random weights draft nothing that
stands, so this is the trained model of `course_lib.boxed`. At temperature 0 both must write the same text: to the token
in float64; in float32 a near tie may fall otherwise when two tokens are computed at once, and such texts are counted.
"""

import argparse
import copy
import statistics
import warnings
from typing import Any

import torch
from _timing import timed
from tqdm import tqdm, trange
from transformers.cache_utils import DynamicCache
from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3ForCausalLM

from course_lib import boxed
from course_lib.accounting import parameters
from course_lib.config import ModelConfig
from course_lib.corpus import encode
from course_lib.generation import Generation, generate
from course_lib.model import MiniDeepSeek

CONFIG = {
    "vocab_size": 256, "hidden_size": 256, "intermediate_size": 704, "moe_intermediate_size": 128,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
    "n_shared_experts": 1, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 1, "topk_group": 1,
    "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16, "v_head_dim": 32, "qk_nope_head_dim": 32,
    "first_k_dense_replace": 4, "max_position_embeddings": 32768, "routed_scaling_factor": 1.0,
}  # fmt: skip
CHANGES = {"dense": {}, "experts": {"first_k_dense_replace": 1, "num_nextn_predict_layers": 1}}
PROMPTS = ("ROMEO:\n", "First Citizen:\n", "KING RICHARD II:\nWhat", "MENENIUS:\nI tell you")


def copy_bandwidth(device: str, megabytes: int = 64) -> float:
    """Bytes read per second while copying."""
    source = torch.ones(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return source.nbytes / statistics.median(timed(lambda: target.copy_(source), device)[0] for _ in range(20))


def models(changes: dict[str, Any], device: str) -> tuple[MiniDeepSeek, DeepseekV3ForCausalLM]:
    """Both sides with the same weights."""
    hf_config = DeepseekV3Config(**{**CONFIG, **changes})
    hf_config._attn_implementation = "sdpa"
    theirs: Any = DeepseekV3ForCausalLM(hf_config).eval()  # transformers wraps `to`, and its type is lost
    theirs.to(device)
    ours = MiniDeepSeek(ModelConfig.from_json(hf_config.to_dict())).eval().to(device)
    with warnings.catch_warnings(action="ignore"):  # transformers' model has no MTP weights to give
        return ours.load_transformers(theirs), theirs


@torch.inference_mode()
def compare(ours: MiniDeepSeek, theirs: DeepseekV3ForCausalLM, tokens: int, steps: int, device: str) -> str:
    text = torch.randint(ours.config.vocab_size, (1, tokens + steps), device=device)
    cache, hf_cache = ours.new_cache(capacity=tokens + steps), DynamicCache(config=theirs.config)
    kinds = ("grouped_mm", "eager", "batched_mm") if ours.config.moe_layers else ("grouped_mm",)
    theirs.set_experts_implementation(kinds[0])
    for part in tqdm(text[:, :tokens].split(2000, dim=1), desc=f"filling {tokens} tokens", leave=False):
        ours(part, cache)
        theirs(part, past_key_values=hf_cache, use_cache=True, logits_to_keep=1)
    our_times, difference = [], 0.0
    their_times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for i in range(tokens, tokens + steps):
        token, kind = text[:, i : i + 1], kinds[i % len(kinds)]
        seconds, logits = timed(lambda token=token: ours(token, cache), device)
        our_times.append(seconds)
        theirs.set_experts_implementation(kind)
        seconds, expected = timed(
            lambda token=token: theirs(token, past_key_values=hf_cache, use_cache=True).logits, device
        )
        their_times[kind].append(seconds)
        difference = max(difference, ((logits - expected).abs().max() / expected.abs().max()).item())
    our, their = statistics.median(our_times), min(map(statistics.median, their_times.values()))
    weights = parameters(ours.config).active_without_embedding * ours.embedding.weight.element_size()
    bound = (weights + cache.nbytes) / copy_bandwidth(device)
    return (
        f"| {tokens:6} | {their * 1e3:8.2f} | {our * 1e3:8.2f} | {their / our:5.1f} | "
        f"{bound / our:5.0%} | {difference:.0e} |"
    )


def drafts(model: MiniDeepSeek, temperature: float, new_tokens: int, rounds: int, device: str) -> str:
    """Plain and speculative decoding of each prompt in turns; every text has a seed of its own."""
    exact = copy.deepcopy(model).double()
    prompts = [encode(prompt)[None].to(device) for prompt in PROMPTS]
    times: dict[bool, list[float]] = {False: [], True: []}
    written: list[Generation] = []
    flips = {"float32": 0, "float64": 0}
    for seed in trange(rounds * len(prompts), desc=f"temperature {temperature}", leave=False):

        def write(model: MiniDeepSeek, speculate: bool, seed: int = seed) -> Generation:
            prompt = prompts[seed % len(prompts)]
            return generate(model, prompt, new_tokens, temperature=temperature, speculate=speculate, seed=seed)

        for speculate, taken in times.items():
            seconds, text = timed(lambda speculate=speculate, write=write: write(model, speculate), device)
            taken.append(seconds)
            written.append(text)
        if temperature == 0 and seed < len(prompts):
            flips["float32"] += not written[-1].tokens.equal(written[-2].tokens)
            flips["float64"] += not write(exact, True).tokens.equal(write(exact, False).tokens)
    drafted = written[1::2]
    acceptance = sum(text.accepted for text in drafted) / sum(text.offered for text in drafted)
    per_pass = statistics.mean(text.tokens_per_pass for text in drafted)
    plain, speculative = (new_tokens / statistics.median(taken) for taken in times.values())
    differ = f"{flips['float32']} and {flips['float64']} of {len(prompts)}" if temperature == 0 else "drawn anew"
    return (
        f"| {temperature:.0f} | {acceptance:.0%} | {per_pass:.2f} | {plain:.0f} | {speculative:.0f} | "
        f"{speculative / plain:.2f} | {differ} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = [*CHANGES, "drafts"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=42)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 4096, 16000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for table in (table for table in CHANGES if table in args.tables):
        torch.manual_seed(0)
        ours, theirs = models(CHANGES[table], args.device)
        print(f"\n{table}\n\n| tokens | transformers [ms] | ours [ms] | ratio | share of bound | largest difference |")
        print("|---:|---:|---:|---:|---:|---:|")
        for tokens in args.tokens:
            print(compare(ours, theirs, tokens, args.steps, args.device), flush=True)
    if "drafts" in args.tables:
        model = boxed.load().eval().to(args.device)
        print("\ndrafts\n\n| temperature | acceptance | tokens a pass | plain [tokens/s] | drafted [tokens/s] ", end="")
        print("| ratio | texts that differ in float32 and float64 |\n|---:|---:|---:|---:|---:|---:|---:|")
        for temperature in (0.0, 1.0):
            print(drafts(model, temperature, new_tokens=200, rounds=args.rounds, device=args.device), flush=True)


if __name__ == "__main__":
    main()
