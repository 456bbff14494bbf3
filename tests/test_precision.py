"""Eight-bit products against loops over single numbers that round by hand."""

import math
from operator import mul

import numpy as np
import pytest
import torch
from torch import Tensor

from course_lib.figures.engineering import precision_figure
from course_lib.precision import (
    ACTIVATION_TILE,
    E4M3,
    WEIGHT_TILE,
    Quantized,
    flushed,
    product,
    quantize,
    relative_error,
    tensor_core_product,
)


def e4m3_by_hand(x: float) -> float:
    """The nearest number of 4 exponent and 3 fraction bits, ties to even; subnormal below 2^-6."""
    if x == 0:
        return 0.0
    step = 2.0 ** (max(math.floor(math.log2(abs(x))), -6) - 3)
    return max(-448.0, min(448.0, round(x / step) * step))


def by_hand(x: Tensor, rows: int, columns: int, top: float) -> list[list[float]]:
    """Quantized and turned back, number by number."""
    m, k = x.shape
    result = [[0.0] * k for _ in range(m)]
    for down in range(0, m, rows):
        for along in range(0, k, columns):
            tile = x[down : down + rows, along : along + columns]
            scale = tile.abs().max() / top
            codes = (tile / scale).tolist() if scale else tile.tolist()
            for i, row in enumerate(codes):
                for j, code in enumerate(row):
                    rounded = e4m3_by_hand(code) if top == 448 else round(code)
                    result[down + i][along + j] = rounded * (scale.item() or 1.0)
    return result


@pytest.mark.parametrize(("dtype", "top"), [(E4M3, 448.0), (torch.int8, 127.0)])
@pytest.mark.parametrize("tile", [(1, 8), (3, 4), (7, 23), (5, 30), None])
def test_quantize_matches_a_loop(dtype: torch.dtype, top: float, tile: tuple[int, int] | None) -> None:
    x = torch.randn(7, 23, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 4, 23)
    rows, columns = tile or x.shape
    wanted = torch.tensor(by_hand(x, rows, columns, top))
    quantized = quantize(x, tile, dtype)
    assert quantized.codes.dtype == dtype and quantized.codes.shape == x.shape
    assert quantized.scales.shape == (math.ceil(7 / rows), math.ceil(23 / columns))
    torch.testing.assert_close(quantized.dequantize(), wanted, rtol=1e-6, atol=0)


def test_product_matches_a_loop_at_sizes_that_no_tile_divides() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(5, 300, generator=generator), torch.randn(131, 300, generator=generator)
    a[:, 7] *= 900
    x, y = (torch.tensor(by_hand(each, *tile, 448)).double() for each, tile in ((a, (1, 128)), (b, (128, 128))))
    rows, columns = x.tolist(), y.tolist()
    wanted = torch.tensor([[math.fsum(map(mul, row, column)) for column in columns] for row in rows])
    got = product(quantize(a, ACTIVATION_TILE), quantize(b, WEIGHT_TILE))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_what_can_be_written_in_eight_bits_stays() -> None:
    x = torch.tensor([[448.0, -3.5, 0.0, 2.0**-9], [0.0, 0.0, 0.0, 0.0], [56.0, 1.125, -0.25, 0.5]])
    quantized = quantize(x)
    assert torch.equal(quantized.dequantize(), x) and quantized.scales.item() == 1
    assert torch.equal(quantize(4 * x).dequantize(), 4 * x)
    whole = torch.tensor([[127.0, -5.0], [3.0, 0.0]])
    assert torch.equal(quantize(whole, dtype=torch.int8).dequantize(), whole)


def test_a_tile_of_zeros_has_scale_one() -> None:
    x = torch.zeros(2, 8)
    x[1, 4:] = torch.tensor([1.0, -448.0, 2.0, 3.0])
    quantized = quantize(x, (1, 4))
    assert quantized.scales.tolist() == [[1, 1], [1, 1]] and torch.equal(quantized.dequantize(), x)
    assert product(quantized, quantized)[0].tolist() == [0, 0]


def test_no_code_is_nan_whatever_the_size() -> None:
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(2)) * torch.logspace(-40, 37, 64)[:, None]
    assert quantize(x, (1, 16)).dequantize().isfinite().all()


def test_an_outlier_harms_its_own_tile_only() -> None:
    x = torch.randn(3, 24, generator=torch.Generator().manual_seed(3))
    plain = quantize(x, (1, 8), torch.int8).dequantize()
    x[1, 10] = 1e6
    spoilt = quantize(x, (1, 8), torch.int8).dequantize()
    changed = (plain != spoilt).nonzero()
    assert len(changed) == 8 and (changed[:, 0] == 1).all() and set(changed[:, 1].tolist()) == set(range(8, 16))
    assert flushed(x, quantize(x, (1, 8), torch.int8)) == pytest.approx(7 / 72)
    assert flushed(x, quantize(x, None, torch.int8)) == pytest.approx(71 / 72)
    assert flushed(torch.zeros(2, 2), quantize(torch.zeros(2, 2))) == 0


def register_by_hand(x: list[float], y: list[float], promote: int | None) -> float:
    def cut(value: float, step: float) -> float:
        return math.trunc(value / step) * step

    def leading(value: float) -> int:
        return math.floor(math.log2(abs(value))) if value else 0

    total = register = 0.0
    for start in range(0, len(x), 32):
        products = [a * b for a, b in zip(x[start : start + 32], y[start : start + 32], strict=True)]
        step = 2.0 ** (leading(max(products, key=abs)) - 13)
        register += sum(cut(each, step) for each in products)
        register = cut(register, 2.0 ** (leading(register) - 13))
        if promote and (start + 32) % promote == 0:
            total, register = total + register, 0.0
    return total + register


@pytest.mark.parametrize("promote", [None, 32, 64, 128])
def test_the_short_register_matches_a_loop(promote: int | None) -> None:
    generator = torch.Generator().manual_seed(4)
    a, b = (torch.randn(n, 272, generator=generator).to(E4M3).float() for n in (3, 4))
    wanted = [[register_by_hand(x, y, promote) for y in b.tolist()] for x in a.tolist()]
    got = tensor_core_product(a, b, promote_every=promote)
    torch.testing.assert_close(got.double(), torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_the_short_register_loses_more_the_longer_the_sum() -> None:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.rand(6, 4096, generator=generator).to(E4M3).float() for _ in "ab")
    errors = {
        (length, promote): relative_error(
            tensor_core_product(a[:, :length], b[:, :length], promote_every=promote),
            a[:, :length].double() @ b[:, :length].double().mT,
        )
        for length in (512, 4096)
        for promote in (None, 128)
    }
    assert errors[4096, None] > 5 * errors[512, None] > 10 * errors[4096, 128]
    assert errors[4096, 128] == pytest.approx(errors[512, 128], rel=0.1)
    exact = torch.ones(2, 96)
    assert torch.equal(tensor_core_product(exact, exact), torch.full((2, 2), 96.0))


def test_relative_error_is_of_the_whole() -> None:
    assert relative_error(torch.tensor([3.0, 0.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.8)


def test_what_is_wanted_is_said() -> None:
    x = torch.ones(2, 4)
    for bad in (torch.ones(0, 4), torch.tensor([[math.nan]]), torch.tensor([[math.inf]])):
        with pytest.raises(ValueError, match="want a matrix of finite numbers"):
            quantize(bad)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        quantize(x, (0, 4))
    with pytest.raises(ValueError, match="float8_e4m3fn or"):
        quantize(x, dtype=torch.float16)
    with pytest.raises(ValueError, match="equal columns"):
        product(quantize(x, (1, 2)), quantize(x, (1, 4)))
    with pytest.raises(ValueError, match="equal columns"):
        product(quantize(x), quantize(torch.ones(2, 5)))
    with pytest.raises(ValueError, match="multiple of 32"):
        tensor_core_product(x, x, promote_every=48)


def test_the_picture_shows_every_format() -> None:
    curves = {"E4M3, one scale": [0.04, 0.4], "E4M3, tiles": [0.04, 0.07]}
    figure = precision_figure([1, 10], curves, {"E4M3, tiles": [0.1] * 256}, tile=128)
    left, right = figure.axes
    assert left.get_legend_handles_labels()[1] == list(curves)
    assert np.asarray(left.lines[0].get_ydata()).tolist() == [0.04, 0.4]
    assert np.asarray(right.lines[0].get_ydata()).shape == (256,)


def test_codes_are_kept_as_they_are() -> None:
    quantized = Quantized(torch.tensor([[2, -3]], dtype=torch.int8), torch.tensor([[0.5, 2.0]]), (1, 1))
    assert quantized.dequantize().tolist() == [[1, -6]]
