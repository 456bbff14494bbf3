"""Published figures that lesson 08 reckons with, each with its source."""

from collections.abc import Mapping
from dataclasses import dataclass

from course_lib.cost import between
from course_lib.quantity import Estimate

REPORT = "arXiv:2412.19437 table 1"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One accelerator: rated power [W], and the peak of its matrix units without sparsity [FLOP/s]."""

    name: str
    watts: float
    bf16: float
    fp8: float | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training as its makers published it."""

    name: str
    gpu: Gpu
    stages: Mapping[str, float]  # GPU hours of each
    tokens: float  # of pre-training, which is the first stage
    context: int  # of pre-training
    config: str  # name in `published_names()`
    source: str

    @property
    def hours(self) -> Estimate:
        """All stages."""
        return Estimate(value=sum(self.stages.values()), unit="h", source=self.source)

    @property
    def pretraining(self) -> Estimate:
        return Estimate(value=next(iter(self.stages.values())), unit="h", source=self.source)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A training whose energy or carbon was published. `watts` are those that the publication reckons with."""

    name: str
    gpu_hours: float
    watts: float
    pue: float = 1.0
    megawatt_hours: float | None = None
    tonnes: float | None = None  # CO2 equivalents, of the place where it ran
    source: str


# NVIDIA prints 1,979 and 3,958 TFLOP/s with sparsity, twice what dense matrices get.
H100 = Gpu(name="H100 SXM", watts=700, bf16=1979e12 / 2, fp8=3958e12 / 2, source="NVIDIA H100 data sheet")
# Slower links, the same matrix units: 385 TFLOP/s are called 38.94% there, of 989. That it draws as much is assumed.
H800 = Gpu(name="H800", watts=700, bf16=H100.bf16, fp8=H100.fp8, source="as the H100; arXiv:2505.09343 table 4")

V3 = Run(
    name="DeepSeek-V3",
    gpu=H800,
    stages={"pre-training": 2_664_000, "context extension": 119_000, "post-training": 5_000},
    tokens=14.8e12,
    context=4096,
    config="deepseek-v3",
    source=REPORT,
)
LLAMA_405B = Run(
    name="Llama 3.1 405B",
    gpu=H100,
    stages={"training": 30_840_000},
    tokens=15.6e12,
    context=8192,
    config="llama-3.1-405b",
    source="Meta Llama 3.1 model card; tokens and context from arXiv:2407.21783",
)
RUNS = {run.name: run for run in (V3, LLAMA_405B)}

_CARDS = {2: "Meta Llama 2 model card", 3: "Meta Llama 3 model card", 3.1: "Meta Llama 3.1 model card"}
CARDS = [
    Footprint(name="Llama 2 7B", gpu_hours=184_320, watts=400, tonnes=31.22, source=_CARDS[2]),
    Footprint(name="Llama 2 13B", gpu_hours=368_640, watts=400, tonnes=62.44, source=_CARDS[2]),
    Footprint(name="Llama 2 70B", gpu_hours=1_720_320, watts=400, tonnes=291.42, source=_CARDS[2]),
    Footprint(name="Llama 3 70B", gpu_hours=6_400_000, watts=700, tonnes=1900, source=_CARDS[3]),
    Footprint(name="Llama 3.1 405B", gpu_hours=30_840_000, watts=700, tonnes=8930, source=_CARDS[3.1]),
]
GPT_3 = Footprint(
    name="GPT-3",
    gpu_hours=10_000 * 14.8 * 24,
    watts=330,  # measured, the V100's share of its whole machine; the chip is rated at 300
    pue=1.10,
    megawatt_hours=1287,
    tonnes=552.1,
    source="arXiv:2104.10350 table 4",
)
BLOOM = Footprint(
    name="BLOOM",
    gpu_hours=1_082_990,
    watts=400,  # the rating of the A100
    megawatt_hours=433.196,
    tonnes=24.7,
    source="arXiv:2211.02001 table 1 and section 4",
)

# A machine with eight H100 in training: what it draws in demanding work, at most, and what is printed on it [W].
NODE_USUAL, NODE_MOST, NODE_RATED = 0.76 * 10_200, 8_400.0, 10_200.0
NODE_SOURCE = "arXiv:2506.14551 and arXiv:2412.08602, abstracts"
# GPUs at the same 76% of their rating, or all of it; the rest is what remains of the machine when they take all of it.
WATTS = between(0.76 * H100.watts, H100.watts, "W", NODE_SOURCE)
HOST = between(NODE_USUAL / (8 * H100.watts) - 1, NODE_MOST / (8 * H100.watts) - 1, "of the GPU", NODE_SOURCE)
PUE = between(1.1, 1.3, "", "assumed by Epoch AI, after arXiv:2104.10350 and SemiAnalysis")
GRIDS = {"French": 57.0, "average US": 429.0}  # g CO2e a kWh, as the papers on BLOOM and GPT-3 have them

# DeepSeek's own account of a day of serving V3 and R1, 27 to 28 February 2025
DAY = "deepseek-ai/open-infra-index, Open Source Week, day 6"
DAY_NODES, GPUS_OF_A_NODE = 226.75, 8  # on average
DAY_INPUT, DAY_CACHED, DAY_OUTPUT = 608e9, 342e9, 168e9  # tokens
DECODE_RATE = 14_800.0  # output tokens a second of a decoding node

# pJ on a chip of 45 nm; M. Horowitz, "Computing's Energy Problem", ISSCC 2014, as reprinted
PICOJOULES = {
    "fp32 multiply": 3.7, "fp32 add": 0.9, "int8 multiply": 0.2, "int32 add": 0.1,
    "8 KB cache, 64 bits": 10.0, "1 MB cache, 64 bits": 100.0, "DRAM, low": 1300.0, "DRAM, high": 2600.0,
}  # fmt: skip
