"""hw4_scaling, the bill: dollars, the share of the peak that was used (MFU), energy.

The first case of each is DeepSeek-V3's: hours and price from arXiv:2412.19437 table 1, the rest as lesson 08 has it.
"""

from collections.abc import Callable

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case

HOUR, DAY = 3600, 86400  # seconds


def training_cost(gpu_hours: float, dollars_per_hour: float) -> float:
    return float(gpu_hours * dollars_per_hour)


def mfu(flops: float, gpu_hours: float, peak_flops: float) -> float:
    return flops / (gpu_hours * HOUR * peak_flops)


def energy_mwh(gpu_hours: float, watts: float, pue: float = 1.0) -> float:
    return gpu_hours * watts * pue / 1e6


def drawer(seed: int) -> Callable[[float, float], float]:
    """Numbers between two, spread evenly in the logarithm, with four digits as people write them."""
    draw = Draw(seed)

    def drawn(low: float, high: float) -> float:
        share = draw.number(0, 1)
        return float(f"{low * (high / low) ** share:.4g}")

    return drawn


def cost_cases(seed: int) -> list[Case]:
    """V3's, in whole numbers; then an hour of one small GPU, a month of a hall, and whole hours."""
    drawn = drawer(seed)
    return [
        {"gpu_hours": 2_788_000, "dollars_per_hour": 2},
        {"gpu_hours": drawn(0.2, 0.9), "dollars_per_hour": drawn(0.21, 0.89)},
        {"gpu_hours": drawn(1e6, 1e8), "dollars_per_hour": drawn(2.2, 12)},
        {"gpu_hours": round(drawn(100, 9000)), "dollars_per_hour": drawn(1.1, 1.9)},
    ]


def mfu_cases(seed: int) -> list[Case]:
    """V3's pre-training, its FLOPs with causal attention counted, against BF16; then drawn ones, small and large."""
    drawn = drawer(seed)
    cases: list[Case] = [{"flops": 3.707e24, "gpu_hours": 2_664_000, "peak_flops": 989.5e12}]
    for hours, peak in (((0.2, 9), (1e13, 9e13)), ((1e4, 9e5), (1.2e14, 4e14)), ((2e6, 3e7), (1.1e15, 5e15))):
        gpu_hours, peak_flops = drawn(*hours), drawn(*peak)
        flops = drawn(0.12, 0.62) * gpu_hours * HOUR * peak_flops
        cases.append({"flops": flops, "gpu_hours": gpu_hours, "peak_flops": peak_flops})
    return cases


def energy_cases(seed: int) -> list[Case]:
    """V3's hours at 700 W, without a PUE; then a small machine, a hall, and whole numbers."""
    drawn = drawer(seed)
    return [
        {"gpu_hours": 2_788_000, "watts": 700},
        {"gpu_hours": drawn(0.3, 9), "watts": drawn(40, 350), "pue": drawn(1.3, 1.9)},
        {"gpu_hours": drawn(3e6, 9e7), "watts": drawn(720, 1400), "pue": drawn(1.05, 1.25)},
        {"gpu_hours": round(drawn(100, 9000)), "watts": round(drawn(150, 690)), "pue": 2},
    ]
