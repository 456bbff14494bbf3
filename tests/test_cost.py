"""Hours, dollars and energy against hand arithmetic and published figures; ranges against every corner."""

import itertools
import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.accounting import experts_touched, parameters, parameters_read, training_flops
from course_lib.config import mini, published
from course_lib.cost import Swing, between, dollars, emissions, energy, gpu_hours, swings, utilisation
from course_lib.cost_data import BLOOM, CARDS, GPT_3, H800, HOST, LLAMA_405B, PUE, V3, WATTS
from course_lib.model import MiniDeepSeek
from course_lib.quantity import Estimate

V3_FLOPS = V3.tokens * training_flops(published(V3.config), V3.context)


def test_the_bill_of_v3() -> None:
    bill = dollars(V3.hours, 2.0)
    assert (bill.value, bill.unit, bill.source) == (5_576_000, "USD", "arXiv:2412.19437 table 1")
    assert not bill.has_interval
    assert [dollars(hours, 2).value for hours in V3.stages.values()] == [5_328_000, 238_000, 10_000]
    assert V3.pretraining.value == 2_664_000


def test_flops_of_a_token() -> None:
    v3 = published("deepseek-v3")
    by_hand = {  # 3 x 2 x a half of (128 heads x (192 + 128) x 61 layers x 4096 keys)
        "none": 6 * 36_625_618_432,
        "causal": 6 * 36_625_618_432 + 3 * 128 * 320 * 61 * 4096,
        "full": 6 * 36_625_618_432 + 6 * 128 * 320 * 61 * 4096,
    }
    assert {kind: training_flops(v3, 4096, kind) for kind in by_hand} == by_hand
    assert training_flops(v3, 4096) / 1e9 == pytest.approx(250, abs=0.5)  # arXiv:2505.09343 table 2
    assert pytest.approx(3.707e24, rel=1e-4) == V3_FLOPS
    llama = 6 * (403_752_042_496 + 126 * 128 * 128 * 8192)  # keys and values of 128, half of the pairs
    assert training_flops(published("llama-3.1-405b"), 8192) == llama
    mistral = published("mistral-7b")  # its window is as long as this context
    products = 32 * 32 * 128 * 4096
    assert training_flops(mistral, 4096) == 6 * (parameters(mistral).active_without_embedding + products)


def test_flops_are_those_that_a_training_step_does() -> None:
    """PyTorch's own counter over forward and backward; it sees matrix products, all pairs of tokens among them."""
    # a token visits every weight, and values are as wide as keys: narrower ones are padded on the way
    config = mini(n_routed_experts=0, intermediate_size=128, v_head_dim=24)
    torch.manual_seed(0)
    model, tokens = MiniDeepSeek(config), torch.randint(256, (2, 40))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(tokens).sum().backward()
    norms = sum(part.active for name, part in parameters(config).components.items() if "norm" in name)
    assert counter.get_total_flops() == 2 * 40 * (training_flops(config, 40, "full") - 6 * norms)


@pytest.mark.parametrize(
    ("kind", "peak", "mfu"),
    [
        ("causal", H800.bf16, 0.3906),
        ("causal", H800.fp8, 0.1953),
        ("none", H800.bf16, 0.3427),
        ("full", H800.bf16, 0.4385),
    ],
)
def test_one_run_in_four_conventions(kind: str, peak: float, mfu: float) -> None:
    flops = V3.tokens * training_flops(published(V3.config), V3.context, kind)
    assert utilisation(flops, V3.pretraining, peak).value == pytest.approx(mfu, abs=5e-5)


def test_mfu_near_the_printed_one() -> None:
    printed = {"causal": 0.3894, "full": 0.4373}  # arXiv:2505.09343 table 4; ours divides by all hours of the run
    for kind, value in printed.items():
        flops = V3.tokens * training_flops(published(V3.config), V3.context, kind)
        assert utilisation(flops, V3.pretraining, H800.bf16).value == pytest.approx(value, rel=0.005)
    assert utilisation(3.14e23, GPT_3.gpu_hours, 125e12).value == pytest.approx(24.6 / 125, rel=0.003)


def test_hours_and_mfu_undo_each_other() -> None:
    mfu = utilisation(V3_FLOPS, V3.pretraining, H800.bf16)
    assert gpu_hours(V3_FLOPS, H800.bf16, mfu).value == pytest.approx(2_664_000)
    assert gpu_hours(3600e12, 1e12, 0.5).value == 2
    assert not mfu.message and "more than the peak" in utilisation(3600e12, 1, 0.9e12).message


def test_published_energies() -> None:
    """What the publications print follows from their hours and watts; each figure to the digits printed."""
    assert energy(GPT_3.gpu_hours, GPT_3.watts, pue=GPT_3.pue).value == pytest.approx(1287, rel=0.002)
    assert energy(BLOOM.gpu_hours, BLOOM.watts).value == pytest.approx(433.196, abs=1e-9)
    assert energy(V3.hours, H800.watts).value == pytest.approx(1951.6)
    assert energy(LLAMA_405B.hours, 700.0).value == pytest.approx(21588)
    with_building = energy(V3.hours, 700, pue=PUE)
    assert (with_building.low, with_building.high) == pytest.approx((2146.76, 2537.08))
    assert energy(V3.hours, 700, host=0.5, pue=1.2).value == pytest.approx(1951.6 * 1.8)
    for card in CARDS:
        (same,) = {each.watts for each in CARDS if each.source == card.source}
        assert card.tonnes and 0.41 < card.tonnes / energy(card.gpu_hours, same).value < 0.43


def test_carbon() -> None:
    assert emissions(energy(BLOOM.gpu_hours, BLOOM.watts), 57).value == pytest.approx(24.7, abs=0.05)
    assert emissions(GPT_3.megawatt_hours or 0, 429).value == pytest.approx(552.1, abs=0.1)


def test_a_range_reaches_every_corner() -> None:
    assumed = {"watts": WATTS, "host": HOST, "pue": PUE}
    got = energy(V3.hours, **assumed)
    corners = [
        2_788_000 * watts * (1 + host) * pue / 1e6
        for watts, host, pue in itertools.product(*((each.low, each.high) for each in assumed.values()))
    ]
    assert (got.low, got.high) == pytest.approx((min(corners), max(corners)))
    assert got.low < got.value < got.high and got.interval and got.unit == "MWh"
    assert got.source.startswith("arXiv:2412.19437 table 1; arXiv:2506.14551")


def test_what_stands_below_turns_a_range_round() -> None:
    hours = gpu_hours(V3_FLOPS, H800.bf16, between(0.2, 0.4))
    assert hours.low == gpu_hours(V3_FLOPS, H800.bf16, 0.4).value
    assert hours.high == gpu_hours(V3_FLOPS, H800.bf16, 0.2).value
    mfu = utilisation(1e20, between(100, 200), between(1e14, 3e14))
    assert (mfu.low, mfu.high) == pytest.approx((1e20 / 200 / 3600 / 3e14, 1e20 / 100 / 3600 / 1e14))


def test_swings_move_one_at_a_time() -> None:
    def result(hours: float, watts: float, pue: float) -> Estimate:
        return energy(hours, watts, pue=pue)

    found = swings(result, {"hours": 1e6, "watts": between(400, 600), "pue": between(1.1, 1.9)})
    assert [swing.name for swing in found] == ["pue", "watts"]  # the wider first; hours have no range
    assert [(swing.low, swing.high) for swing in found] == [
        pytest.approx((1e6 * 500 * 1.1 / 1e6, 1e6 * 500 * 1.9 / 1e6)),
        pytest.approx((1e6 * 400 * 1.5 / 1e6, 1e6 * 600 * 1.5 / 1e6)),
    ]
    (falling,) = swings(lambda mfu: gpu_hours(3600e12, 1e12, mfu), {"mfu": between(0.25, 0.5)})
    assert falling == Swing("mfu", 2, 4) and falling.width == 2


def test_experts_touched_against_draws() -> None:
    config = mini(n_routed_experts=16, num_experts_per_tok=3)
    generator = torch.Generator().manual_seed(0)
    for tokens in (1, 2, 7):
        draws = torch.rand(20_000, tokens, 16, generator=generator).topk(3).indices.flatten(1)
        seen = torch.zeros(20_000, 16).scatter(1, draws, 1.0).sum(1).mean().item()
        assert experts_touched(config, tokens) == pytest.approx(seen, abs=0.03)
    assert experts_touched(config, 1) == pytest.approx(3) and experts_touched(config, 0) == 0


def test_parameters_read() -> None:
    v3, dense = published("deepseek-v3"), published("llama-3-8b")
    assert parameters_read(v3, 1) == pytest.approx(36_625_618_432)
    assert parameters_read(v3, 10**6) == pytest.approx(671_026_419_200 - 926_679_040)  # all but the embedding
    assert parameters_read(dense, 1) == parameters_read(dense, 99) == 7_504_924_672
    by_hand = 36_625_618_432 + 58 * 44_040_192 * (256 * (1 - (31 / 32) ** 2) - 8)
    assert parameters_read(v3, 2) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: dollars(-1, 2), "want hours of 0 or more, got -1"),
        (lambda: dollars(1, math.nan), "want price of 0 or more, got nan"),
        (lambda: energy(1, math.inf), "want watts of 0 or more, got inf"),
        (lambda: energy(1, 1, host=-0.1), "want host of 0 or more, got -0.1"),
        (lambda: energy(1, 1, pue=0.9), "want PUE of 1 or more, got 0.9"),
        (lambda: energy(1, 1, pue=between(0.9, 1.3)), "want PUE of 1 or more, got 1.1 .0.9 to 1.3"),
        (lambda: gpu_hours(1, 1, 0), "want MFU above 0, got 0"),
        (lambda: gpu_hours(1, 1, 39), "want an MFU of 0 to 1, got 39; 40% is 0.4"),
        (lambda: utilisation(1, 0, 1), "want hours above 0, got 0"),
        (lambda: emissions(1, -5), "want grams of 0 or more, got -5"),
        (lambda: training_flops(mini(), 0), "want context >= 1 .* got 0 and 'causal'"),
        (lambda: training_flops(mini(), 8, "half"), "want .* none, causal, full, got 8 and 'half'"),
        (lambda: training_flops(published("mistral-7b"), 9000), "mistral-7b looks back 4096 tokens"),
        (lambda: experts_touched(published("llama-3-8b"), 1), "want a model with experts"),
        (lambda: parameters_read(mini(), 0), "want tokens >= 1, got 0"),
    ],
)
def test_what_cannot_be_is_told(call, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        call()
