"""Rotary positions: each pair of dimensions is a complex number, turned by its position (arXiv:2104.09864)."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from course_lib.config import ModelConfig, RopeScaling


def frequencies(rotary_dim: int, theta: float = 10000.0, scaling: RopeScaling | None = None) -> Float[Tensor, " pairs"]:
    """Angle per position of each pair [radians], float64: theta^(-2i/r), slowed for long contexts by `scaling`."""
    pair = torch.arange(rotary_dim // 2, dtype=torch.float64, device="cpu")
    plain = theta ** (-2 * pair / rotary_dim)
    if scaling is None:
        return plain
    keep = _yarn_keep(rotary_dim, theta, scaling) if scaling.rope_type == "yarn" else _llama3_keep(plain, scaling)
    return plain * keep + plain / scaling.factor * (1 - keep)


def _yarn_keep(rotary_dim: int, theta: float, scaling: RopeScaling) -> Float[Tensor, " pairs"]:
    """1 for pairs that turn often within the original context, 0 for those that hardly turn (arXiv:2309.00071 s3.2)."""
    context = scaling.original_max_position_embeddings

    def pair_that_turns(turns: float) -> float:
        return rotary_dim * math.log(context / (2 * math.pi * turns)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    last = min(math.ceil(pair_that_turns(scaling.beta_slow)), rotary_dim - 1)
    pair = torch.arange(rotary_dim // 2, dtype=torch.float64, device="cpu")
    return 1 - ((pair - first) / ((last - first) or 0.001)).clamp(0, 1)


def _llama3_keep(plain: Float[Tensor, " pairs"], scaling: RopeScaling) -> Float[Tensor, " pairs"]:
    """The same idea, linear in the number of turns (Llama 3.1's reference code)."""
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    return ((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)).clamp(0, 1)


def yarn_temperature(factor: float, mscale: float = 1.0) -> float:
    """Longer contexts flatten the softmax; scores are sharpened by this (arXiv:2309.00071 s3.3)."""
    return 0.1 * mscale * math.log(factor) + 1.0


def score_scale(config: ModelConfig) -> float:
    """What attention scores are multiplied by: (n + r)^-1/2, with YaRN's temperature squared as DeepSeek applies it."""
    scaling = config.rope_scaling
    temperature = 1.0
    if config.is_mla and scaling is not None and scaling.rope_type == "yarn" and scaling.mscale_all_dim:
        temperature = yarn_temperature(scaling.factor, scaling.mscale_all_dim)
    return config.qk_head_dim**-0.5 * temperature**2


def rotate(x: Float[Tensor, "*b s h r"], turns: Complex[Tensor, "s pairs"]) -> Float[Tensor, "*b s h r"]:
    """Turn the pairs (0, 1), (2, 3), ... of x; pairs stay where they are, angles stay in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    pairs = torch.view_as_complex(x.to(wide).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)


class Rotary:
    """The turns of positions 0, 1, 2, ... of one config, kept as a table that grows.

    No module and no buffer, and made on the CPU whatever the default device: a model that is cast to bfloat16 or built
    on the meta device must not take its angles along.
    """

    def __init__(self, config: ModelConfig):
        config.check_buildable()
        scaling = config.rope_scaling
        self.frequencies = frequencies(config.rotary_dim, config.rope_theta, scaling)
        self.gain = 1.0  # YaRN's temperature where it stands on the rotated part instead of the score
        if scaling is not None and scaling.rope_type == "yarn":
            if scaling.mscale and scaling.mscale_all_dim:
                over = yarn_temperature(scaling.factor, scaling.mscale_all_dim)
                self.gain = yarn_temperature(scaling.factor, scaling.mscale) / over
            else:
                self.gain = yarn_temperature(scaling.factor)
        self._table: Tensor | None = None

    def turns(self, start: int, count: int, like: Tensor) -> Complex[Tensor, "s pairs"]:
        """gain * e^(i * angle) of positions start .. start + count - 1, on the device of `like`, complex64 or wider."""
        table, dtype = self._table, torch.complex128 if like.dtype == torch.float64 else torch.complex64
        if table is None or len(table) < start + count or table.device != like.device or table.dtype != dtype:
            # kept past this call, so it must not become an inference tensor, which training could not use
            with torch.inference_mode(False), torch.no_grad():
                table = self._make_table(max(2 * (start + count), 256)).to(like.device, dtype)
            self._table = table
        return table[start : start + count]

    def _make_table(self, length: int) -> Complex[Tensor, "length pairs"]:
        angles = torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), self.frequencies)
        return torch.polar(torch.full_like(angles, self.gain), angles)
