import cmath
import math

import pytest
import torch

from course_lib.config import RopeScaling
from course_lib.rope import Rotary, frequencies, rotate, score_scale
from tests.conftest import YARN, tiny_heads, tiny_mla
from tests.hf import hf

FREQUENCIES = "ROPE_INIT_FUNCTIONS", ".modeling_rope_utils"


@pytest.mark.parametrize("theta", [10000.0, 500.0])
@torch.no_grad()
def test_neighbouring_pairs_turn_by_position_times_frequency(theta: float, device: str) -> None:
    x = torch.randn(2, 5, 3, 6, dtype=torch.float64)
    rotary = Rotary(tiny_mla(rope_theta=theta))
    got = rotate(x.to(device), rotary.turns(7, 5, like=x.to(device))).cpu()
    for s in range(5):
        for i in range(3):
            angle = (7 + s) * theta ** (-2 * i / 6)
            a, b = x[:, s, :, 2 * i], x[:, s, :, 2 * i + 1]
            torch.testing.assert_close(got[:, s, :, 2 * i], a * math.cos(angle) - b * math.sin(angle))
            torch.testing.assert_close(got[:, s, :, 2 * i + 1], a * math.sin(angle) + b * math.cos(angle))


@pytest.mark.parametrize(
    "mscales", [{}, {"mscale": 0.707, "mscale_all_dim": 0.707}, {"mscale": 1.0, "mscale_all_dim": 0.5}]
)
@pytest.mark.parametrize(("factor", "context", "dim"), [(40.0, 4096, 64), (4.0, 64, 16), (2.5, 1000, 6), (2.0, 4, 8)])
def test_yarn_agrees_with_transformers(factor: float, context: int, dim: int, mscales: dict[str, float]) -> None:
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": context, **mscales}
    hf_config = hf("DeepseekV3Config")(
        qk_rope_head_dim=dim,
        max_position_embeddings=int(factor * context),
        rope_parameters={**scaling, "rope_theta": 1e4},
    )
    expected, gain = hf(*FREQUENCIES)["yarn"](hf_config)
    config = tiny_mla(qk_rope_head_dim=dim, rope_theta=1e4, rope_scaling=RopeScaling(**scaling))
    rotary = Rotary(config)
    torch.testing.assert_close(rotary.frequencies.float(), expected, rtol=1e-5, atol=0)
    assert rotary.gain == pytest.approx(gain, rel=1e-12)


def test_llama3_scaling_agrees_with_transformers() -> None:
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    }  # fmt: skip
    hf_config = hf("LlamaConfig")(
        hidden_size=4096, num_attention_heads=32, max_position_embeddings=131072,
        rope_parameters={**scaling, "rope_theta": 5e5},
    )  # fmt: skip
    expected, _ = hf(*FREQUENCIES)["llama3"](hf_config)
    got = frequencies(128, 5e5, RopeScaling(**scaling))
    torch.testing.assert_close(got.float(), expected, rtol=1e-5, atol=0)


def test_v3_sharpens_its_scores_as_its_report_says() -> None:
    config = tiny_mla(rope_scaling=RopeScaling(rope_type="yarn", factor=40, original_max_position_embeddings=4096,
                                               mscale=1.0, mscale_all_dim=1.0))  # fmt: skip
    assert score_scale(config) == pytest.approx(13**-0.5 * (0.1 * math.log(40) + 1) ** 2)
    assert score_scale(tiny_heads(3, rope_scaling=YARN)) == 8**-0.5


def test_angles_stay_exact_in_narrow_dtypes() -> None:
    x = torch.randn(1, 1, 1, 6)
    rotary, position = Rotary(tiny_mla()), 30001  # bfloat16 cannot tell 30001 from 30000
    expected = rotate(x, rotary.turns(position, 1, like=x))
    narrow = x.bfloat16()
    got = rotate(narrow, rotary.turns(position, 1, like=narrow))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=0, atol=0.02)


def test_a_table_made_while_decoding_serves_training() -> None:
    x = torch.randn(1, 4, 1, 6, requires_grad=True)
    rotary = Rotary(tiny_mla())
    with torch.inference_mode():
        rotary.turns(0, 4, like=x)
    rotate(x, rotary.turns(0, 4, like=x)).sum().backward()
    assert x.grad is not None


def test_the_table_serves_every_position_dtype_and_device(device: str) -> None:
    """Kept from call to call, and made anew where it is too short or of another kind."""
    rotary = Rotary(tiny_mla(rope_scaling=RopeScaling(rope_type="yarn", factor=4, original_max_position_embeddings=64)))
    assert rotary.gain != 1
    for start, count, place, dtype in [
        (0, 3, "cpu", torch.float32), (2, 5, device, torch.float64), (250, 9, device, torch.float64),
        (700, 1, "cpu", torch.float64), (698, 4, device, torch.bfloat16), (0, 2, device, torch.float64),
    ]:  # fmt: skip
        got = rotary.turns(start, count, like=torch.zeros(1, device=place, dtype=dtype))
        wide = dtype == torch.float64
        assert got.device.type == place and got.dtype == (torch.complex128 if wide else torch.complex64)
        for row, position in zip(got.tolist(), range(start, start + count), strict=True):
            expected = [cmath.rect(rotary.gain, position * f) for f in rotary.frequencies.tolist()]
            assert row == pytest.approx(expected, abs=1e-12 if wide else 1e-6)
