"""Whether the sizes and tokens of some runs can determine the parametric law, whatever their losses are."""

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.fit_data import SAME, count_different

BEND = 0.5  # trial exponents, per standard deviation of ln N and of ln D; alpha is 0.3 where that is 1.7
UNDETERMINED = 1e-3  # strength below which a design cannot determine the law; D/N may then vary by about 1%
WEAK = 0.03  # strength below which the bootstrap's intervals are too narrow
ROWS_AT_ONCE = 64  # of counts, which keeps the intermediate results small


def strength(
    params: Float[Tensor, " n"], tokens: Float[Tensor, " n"], counts: Float[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """How well runs at these (N, D) determine E + A/N^alpha + B/D^beta; run i counts `counts[:, i]` times.

    It is the smallest singular value of the sensitivities of the loss to A, B, alpha and beta, each centred (E takes
    the mean) and of length 1. Published sets of runs have about 0.1. It is 0 where N or D takes fewer than three
    values, and where D = c N^k with k > 0: then both terms are powers of N, and another law, with alpha and beta k
    exchanged, gives the same losses. The trial exponents make both terms fall alike, since that is where the terms of
    a rising line coincide. On a falling line, such as a single budget, they never do: that is weak, but not 0.

    What it means was measured by simulation: laws as Besiroglu's, 12 and 40 runs, D = 20 N e^(s z) with z normal. With
    D/N all the same, 95% intervals of the bootstrap covered the true a in 5 to 7 of 40 sets. Below 0.03 they covered it
    in 49 to 96% of the sets, where N spans a factor of 4 in about half; above, in 80 to 100%.
    """
    x, y = params.log(), tokens.log()
    return torch.cat([_strength(x, y, rows / rows.sum(1, keepdim=True)) for rows in counts.split(ROWS_AT_ONCE)])


def _strength(x: Float[Tensor, " n"], y: Float[Tensor, " n"], weight: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    u, v = _standard(x, weight), _standard(y, weight)
    first, second = (-BEND * u).exp(), (-BEND * v).exp()
    columns = torch.stack([first, second, u * first, v * second], dim=2)
    columns = columns - (weight[:, None] @ columns)
    products = columns.mT @ (weight[:, :, None] * columns)
    length = products.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(length > 0, 1 / length, 0)
    lowest = torch.linalg.eigvalsh(scale[:, :, None] * products * scale[:, None])[:, 0]
    return lowest.clamp_min(0).sqrt()


def _standard(x: Float[Tensor, " n"], weight: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Mean 0 and standard deviation 1; all 0 where the values are the same."""
    away = x - (weight @ x)[:, None]
    deviation = (weight * away.square()).sum(1, keepdim=True).sqrt()
    return torch.where(deviation > SAME / 2, away / deviation, 0)


def check_design(params: Float[Tensor, " n"], tokens: Float[Tensor, " n"]) -> str:
    """A warning where these runs determine the law only weakly, or "".

    Raises:
        ValueError: fewer than 6 runs, or runs that cannot determine the law; the message gives the reason.
    """
    if len(params) < 6:
        raise ValueError(f"five parameters need 6 runs or more, got {len(params)}")
    for name, values, wanted in (("params", params, "A and alpha"), ("tokens", tokens, "B and beta")):
        different = count_different(values)
        if different == 1:
            raise ValueError(f"{name}: the same in all runs, so nothing tells how the loss depends on it")
        if different == 2:
            raise ValueError(f"{name}: only 2 different values in all runs, but {wanted} need 3")
    found = float(strength(params, tokens, torch.ones_like(params)[None])[0])
    if found < UNDETERMINED:
        raise ValueError(_reason(params, tokens, ""))
    if found < WEAK:
        return (
            f"Weakly determined: {_reason(params, tokens, 'nearly ')}. No intervals are given, since those of a "
            "bootstrap would be too narrow."
        )
    return ""


def _reason(params: Float[Tensor, " n"], tokens: Float[Tensor, " n"], nearly: str) -> str:
    """Why the design is weak or worse; "nearly " where it is only weak."""
    x, y = params.log(), tokens.log()
    correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    power = float(y.std() / x.std())
    if abs(correlation) < 0.9:
        return "the runs combine N and D in too few ways to tell five parameters apart"
    terms = f"{'hardly anything' if nearly else 'nothing'} tells A/N^alpha and B/D^beta apart"
    if correlation < 0:
        return f"D is {nearly}a falling power of N in all runs, as within a single budget, so {terms}"
    if abs(power - 1) < 0.05:
        return f"D/N is {nearly}the same in all runs, so {terms}"
    return f"D is {nearly}a power of N in all runs, N^{power:.2g}, so {terms}"
