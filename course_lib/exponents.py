"""Published exponents of the compute-optimal model size, N ~ C^a, and what each says once it is anchored."""

from dataclasses import dataclass

from course_lib.fit_data import check_above_0
from course_lib.parametric import FLOPS_PER_PARAMETER_AND_TOKEN
from course_lib.quantity import Estimate

DEEPSEEK_TABLE_4 = "DeepSeek LLM, arXiv:2401.02954 table 4"
HOFFMANN_TABLE_2 = "Hoffmann et al. 2022, arXiv:2203.15556 table 2"
PORIAN = "Porian et al. 2024, arXiv:2406.19146"


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """One row: model size grows as C^a and text as C^b."""

    data: str  # that the models were trained on
    a: Estimate
    b: Estimate

    def allocate(self, flops: float, *, anchor: tuple[float, float]) -> tuple[float, float]:
        """(N, D) for 6ND = flops on the line of slope a through `anchor`, a budget and the best N there.

        An exponent alone allocates nothing: where its line lies is up to the anchor.

        Raises:
            ValueError: a number that is not finite and above 0.
        """
        budget, size = anchor
        check_above_0(flops=flops, budget=budget, size=size)
        params = size * (flops / budget) ** self.a.value
        return params, flops / (FLOPS_PER_PARAMETER_AND_TOKEN * params)


def _row(data: str, a: float, b: float) -> Exponents:
    values = (Estimate(value=exponent, source=DEEPSEEK_TABLE_4) for exponent in (a, b))
    return Exponents(data=data, **dict(zip(("a", "b"), values, strict=True)))


# DeepSeek's own rows are of M, non-embedding FLOPs per token; OpenAI's N is without embedding, Chinchilla's is not.
# Texts as printed there; OpenAI's own was WebText2 (arXiv:2001.08361 s2.3), of which OpenWebText2 is an open copy
TABLE_4 = {
    "OpenAI": _row("OpenWebText2", 0.73, 0.27),
    "Chinchilla": _row("MassiveText", 0.49, 0.51),
    "DeepSeek, early data": _row("DeepSeek's early data", 0.450, 0.550),
    "DeepSeek, current data": _row("DeepSeek's data of 2023", 0.524, 0.476),
    "DeepSeek, OpenWebText2": _row("OpenWebText2", 0.578, 0.422),
}

# One set of runs, three ways to read it. Intervals are as printed; the third is far too narrow (arXiv:2404.10102)
CHINCHILLA_APPROACHES = {
    name: Estimate(
        value=value, low=low, high=high, interval="10th to 90th percentile of a bootstrap", source=HOFFMANN_TABLE_2
    )
    for name, value, low, high in (
        ("lowest loss of all runs", 0.50, 0.488, 0.502),
        ("isoFLOP parabolas", 0.49, 0.462, 0.534),
        ("parametric law", 0.46, 0.454, 0.455),
    )
}

# Each stage keeps the changes before it, but the last, in which the learning rate is constant again
PORIAN_STAGES = ("as Kaplan et al.", "count the last layer", "shorter warm-up", "cosine decay", "tuned by size")
PORIAN_EXPONENTS = {
    data: {
        stage: Estimate(value=value, source=f"{PORIAN}, {data}")
        for stage, value in zip(PORIAN_STAGES, values, strict=True)
    }
    for data, values in (
        ("RefinedWeb", (0.8338, 0.7009, 0.6035, 0.5714, 0.4970)),
        ("OpenWebText2", (0.8700, 0.7000, 0.6016, 0.5689, 0.5184)),
    )
}
