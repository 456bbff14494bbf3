"""Learning tinyshakespeare in the wall time of nanoGPT's documented CPU run: 151 s on 2 cores, 1.886 nats a character.

    python benchmarks/shakespeare.py [--seconds 151] [--threads 2] [--seed 0]

Trains the shape of the model in the box, without MTP, until the time is over: from before PyTorch is imported to the
last step, the steps that find out how many more fit included. Only then is the last tenth of the text read, whole, in
windows that do not overlap. Recipe and shape were chosen on the last tenth of the other nine.
"""

# ruff: noqa: E402 (the clock starts before the imports)

import time

BEGAN = time.perf_counter()

import argparse
import statistics
from dataclasses import replace

import torch
from tqdm import tqdm

from course_lib import boxed, corpus
from course_lib.config import ModelConfig
from course_lib.model import MiniDeepSeek
from course_lib.training import Recipe, Training, held_out_loss

NANOGPT = 1.886  # karpathy/nanoGPT, its README's CPU run: 4 layers, 128 wide, 2000 steps
TRIAL = 12  # steps that tell how long one takes
RECIPE = Recipe(steps=TRIAL, batch_size=16, length=128, learning_rate=4e-3, final_fraction=0.02, bias_speed=0.01)


def begin(text: corpus.Corpus, recipe: Recipe, seed: int) -> Training:
    torch.manual_seed(seed)
    config = replace(ModelConfig.from_json(boxed.FOLDER / "config.json"), num_nextn_predict_layers=0)
    return Training(MiniDeepSeek(config), text, replace(recipe, seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=151)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        text = corpus.load("tinyshakespeare")
    except OSError as error:
        print(f"skipped: {error}")
        return
    trial = statistics.median(step.seconds for step in begin(text, RECIPE, args.seed).run())
    left = args.seconds - (time.perf_counter() - BEGAN)
    training = begin(text, replace(RECIPE, steps=max(int(0.97 * left / trial), RECIPE.warmup + 1)), args.seed)
    for _ in tqdm(training.run(), total=training.recipe.steps, unit="step"):
        if time.perf_counter() - BEGAN > args.seconds:
            break
    seconds = time.perf_counter() - BEGAN
    loss = held_out_loss(training.model, text, RECIPE.length)
    read = training.step * RECIPE.batch_size * RECIPE.length
    print("| | wall time [s] | characters read | nats per character, last tenth |")
    print("|---|---:|---:|---:|")
    print(f"| nanoGPT, as documented | 151 | {2000 * 12 * 64:,} | {NANOGPT} |")
    print(f"| MiniDeepSeek, {training.step} of {training.recipe.steps} steps | {seconds:.0f} | {read:,} | {loss:.3f} |")


if __name__ == "__main__":
    main()
