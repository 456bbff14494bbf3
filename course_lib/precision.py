"""Numbers of eight bits: quantize with a scale for each tile, multiply, see what is lost.

Sources: DeepSeek-V3 report (arXiv:2412.19437 s3.3.2), Insights into DeepSeek-V3 (arXiv:2505.09343 s3.1.1).
Everything here runs on any device: codes are real float8 or int8, arithmetic on them is float32.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

E4M3 = torch.float8_e4m3fn
ACTIVATION_TILE, WEIGHT_TILE = (1, 128), (128, 128)  # rows, columns; columns are what a product sums over
WGMMA = 32  # products of FP8 numbers that one tensor core instruction of an H800 sums for each output


@dataclass(frozen=True)
class Quantized:
    """codes * scales is the matrix, each scale for a tile; tiles at the edge may be smaller."""

    codes: Tensor  # m k, float8_e4m3fn or int8
    scales: Float[Tensor, "tiles_down tiles_along"]
    tile: tuple[int, int]

    def block(self, along: int) -> tuple[Tensor, Tensor]:
        """Codes in float32 (m x) and scales (m) of one column of tiles."""
        rows, columns = self.tile
        codes = self.codes[:, along * columns : (along + 1) * columns].float()
        return codes, self.scales[:, along].repeat_interleave(rows)[: len(codes)]

    def dequantize(self) -> Float[Tensor, "m k"]:
        parts = (self.block(along) for along in range(self.scales.shape[1]))
        return torch.cat([codes * scales[:, None] for codes, scales in parts], dim=1)


def largest(dtype: torch.dtype) -> float:
    """The largest code: 448 in E4M3; 127 in int8, where -128 is left out.

    Raises:
        ValueError: another type.
    """
    if dtype == E4M3:
        return torch.finfo(E4M3).max
    if dtype == torch.int8:
        return 127.0
    raise ValueError(f"want torch.float8_e4m3fn or torch.int8, got {dtype}")


def quantize(x: Float[Tensor, "m k"], tile: tuple[int, int] | None = None, dtype: torch.dtype = E4M3) -> Quantized:
    """Scale each tile so that its largest number gets the largest code, and round. `tile` None: all of x is one tile.

    A tile of zeros has scale 1.

    Raises:
        ValueError: x is empty, no matrix or not finite, a tile without rows or columns, another type than the two.
    """
    top = largest(dtype)
    if x.ndim != 2 or not x.numel() or not x.isfinite().all():
        raise ValueError(f"want a matrix of finite numbers, got shape {tuple(x.shape)}")
    rows, columns = x.shape if tile is None else tile
    if min(rows, columns) < 1:
        raise ValueError(f"want a tile of at least 1 x 1, got {rows} x {columns}")
    m, k = x.shape
    padded = F.pad(x.float(), (0, -k % columns, 0, -m % rows))
    tiles = padded.unflatten(1, (-1, columns)).unflatten(0, (-1, rows))  # tile down, row, tile along, column
    scales = tiles.abs().amax((1, 3), keepdim=True) / top
    scales = scales.where(scales > 0, 1.0)
    codes = (tiles / scales).clamp(-top, top)  # the division may end a last bit above it, and E4M3 has no infinity
    if not dtype.is_floating_point:
        codes = codes.round()
    return Quantized(codes.to(dtype).flatten(2).flatten(0, 1)[:m, :k], scales[:, 0, :, 0], (rows, columns))


def product(a: Quantized, b: Quantized) -> Float[Tensor, "m n"]:
    """a bᵀ: codes are multiplied tile by tile, and each partial sum gets its scales on the way to a float32 total.

    Raises:
        ValueError: a and b differ in columns, or in the columns of their tiles.
    """
    if a.codes.shape[1] != b.codes.shape[1] or a.tile[1] != b.tile[1]:
        raise ValueError(
            f"want equal columns and tiles of equal columns, got {a.codes.shape[1]} in {a.tile[1]} "
            f"and {b.codes.shape[1]} in {b.tile[1]}"
        )
    total = a.scales.new_zeros(len(a.codes), len(b.codes))
    for along in range(a.scales.shape[1]):
        (x, x_scales), (y, y_scales) = a.block(along), b.block(along)
        total += (x @ y.mT) * x_scales[:, None] * y_scales
    return total


def tensor_core_product(
    a: Float[Tensor, "m k"], b: Float[Tensor, "n k"], *, promote_every: int | None = None, fraction_bits: int = 13
) -> Float[Tensor, "m n"]:
    """a bᵀ summed as arXiv:2505.09343 s3.1.1 describes an H800: the products of 32 numbers are aligned to the largest
    of them and cut off after 13 binary places, their sum goes to a register that keeps 13 places too.

    `promote_every`: after so many numbers the register is added to a float32 total and cleared (128 in V3). How the
    hardware aligns the register with the products is not said; here it is cut off after the sum. Memory is m n 32.

    Raises:
        ValueError: `promote_every` is no multiple of 32.
    """
    if promote_every is not None and (promote_every < 1 or promote_every % WGMMA):
        raise ValueError(f"promote_every: want a multiple of {WGMMA}, got {promote_every}")
    total = register = a.new_zeros(len(a), len(b), dtype=torch.float32)
    for start in range(0, a.shape[1], WGMMA):
        window = slice(start, start + WGMMA)
        products = a[:, None, window].float() * b[None, :, window].float()
        exponent = torch.frexp(products.abs().amax(-1, keepdim=True)).exponent - 1
        register = _cut(register + _cut(products, fraction_bits, exponent).sum(-1), fraction_bits)
        if promote_every is not None and (start + WGMMA) % promote_every == 0:
            total, register = total + register, torch.zeros_like(register)
    return total + register


def _cut(x: Tensor, fraction_bits: int, exponent: Tensor | None = None) -> Tensor:
    """x without what stands more than so many binary places below 2^exponent (None: its own leading bit)."""
    if exponent is None:
        exponent = torch.frexp(x).exponent - 1
    return torch.ldexp(torch.ldexp(x, fraction_bits - exponent).trunc(), exponent - fraction_bits)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference over that of `wanted`."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


def flushed(x: Tensor, quantized: Quantized) -> float:
    """Share of the numbers in x, zeros aside, whose code is zero."""
    nonzero = x != 0
    return (nonzero & (quantized.codes.float() == 0)).sum().item() / max(int(nonzero.sum()), 1)
