"""Scaling laws: all fits of the course, and the laws that DeepSeek published.

Every fit takes arrays or tensors and computes in float64, by default on the device of its first column, whatever
PyTorch's default device is. Results are Estimates, which hold Python numbers; one tensor per run, such as residuals,
stays on the device of the fit.
"""

from dataclasses import dataclass

from course_lib.fit_data import check_above_0
from course_lib.isoflop import IsoflopFit, IsoflopOptimum, isoflop_optima, run_budgets
from course_lib.parametric import PUBLISHED_LAWS, Allocation, ParametricFit, ParametricLaw, fit_parametric, predict
from course_lib.power_law import PowerLawFit, fit_power_law
from course_lib.quantity import Estimate, table
from course_lib.scaling_data import Table, load_published, load_sweep

__all__ = [
    "PUBLISHED_LAWS", "Allocation", "IsoflopFit", "IsoflopOptimum", "ModelScales", "ParametricFit", "ParametricLaw",
    "PowerLawFit", "Table", "deepseek_allocation", "deepseek_hyperparameters", "fit_parametric", "fit_power_law",
    "isoflop_optima", "load_published", "load_sweep", "model_scales", "predict", "run_budgets",
]  # fmt: skip

DEEPSEEK_LLM = "DeepSeek LLM, arXiv:2401.02954"
HYPERPARAMETER_BUDGETS = (1e17, 2e19)  # FLOP; checked at 1e20
ALLOCATION_BUDGETS = (1e17, 3e20)


@dataclass(frozen=True, kw_only=True)
class ModelScales:
    """Three measures of a model's size, all in FLOP per trained token, and none of them exact but the last."""

    without_vocabulary: Estimate  # 6 N1
    with_vocabulary: Estimate  # 6 N2
    M: Estimate  # without the vocabulary, with attention scores

    def _repr_html_(self) -> str:
        rows = {"6 N, no embedding": self.without_vocabulary, "6 N, all": self.with_vocabulary, "M": self.M}
        return table("Model scale", rows)


def model_scales(layers: int, width: int, *, vocabulary: int = 102_400, context: int = 4096) -> ModelScales:
    """DeepSeek's M next to 6N, for layers of 12 width^2 parameters (arXiv:2401.02954 eq 2 and table 3).

    M = 72 layers width^2 + 12 layers width context: the second term is attention over the context, which 6N leaves out.
    """
    if min(layers, width, vocabulary, context) < 1:
        raise ValueError(f"want sizes >= 1, got {layers}, {width}, vocabulary {vocabulary}, context {context}")
    body = 72 * layers * width**2
    sizes = (body, body + 6 * vocabulary * width, body + 12 * layers * width * context)
    found = [Estimate(value=float(size), unit="FLOP per token", source=f"{DEEPSEEK_LLM} eq 2") for size in sizes]
    return ModelScales(without_vocabulary=found[0], with_vocabulary=found[1], M=found[2])


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    learning_rate: Estimate
    batch: Estimate

    def _repr_html_(self) -> str:
        return table("Hyper-parameters", {"learning rate": self.learning_rate, "batch": self.batch})


def deepseek_hyperparameters(flops: float) -> Hyperparameters:
    """Their near-optimal learning rate and batch for a budget C = M D (arXiv:2401.02954 eq 1).

    7B on 2T tokens, C = 8.456e22: 4.25e-4 and 9.2M tokens; they used 4.2e-4 and 9.4M.
    """
    return Hyperparameters(
        learning_rate=_published(0.3118, -0.1250, flops, "", "eq 1", HYPERPARAMETER_BUDGETS),
        batch=_published(0.2920, 0.3271, flops, "tokens", "eq 1", HYPERPARAMETER_BUDGETS),
    )


@dataclass(frozen=True, kw_only=True)
class DeepseekAllocation:
    M: Estimate
    tokens: Estimate

    def _repr_html_(self) -> str:
        return table("Compute-optimal by DeepSeek LLM", {"M": self.M, "D": self.tokens})


def deepseek_allocation(flops: float) -> DeepseekAllocation:
    """Their best model scale M and tokens D for a budget C = M D (arXiv:2401.02954 eq 4)."""
    return DeepseekAllocation(
        M=_published(0.1715, 0.5243, flops, "FLOP per token", "eq 4", ALLOCATION_BUDGETS),
        tokens=_published(5.8316, 0.4757, flops, "tokens", "eq 4", ALLOCATION_BUDGETS),
    )


def _published(
    coefficient: float, exponent: float, flops: float, unit: str, equation: str, budgets: tuple[float, float]
) -> Estimate:
    check_above_0(flops=flops)
    low, high = budgets
    message = "" if low <= flops <= high else f"Outside the {low:.0e} to {high:.0e} FLOP it was fitted on."
    source = f"{DEEPSEEK_LLM} {equation}"
    return Estimate(value=coefficient * flops**exponent, unit=unit, source=source, message=message)
