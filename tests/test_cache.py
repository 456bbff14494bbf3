import pytest
import torch

from course_lib.cache import Cache, LayerCache


def test_rows_come_back_in_order_while_the_buffer_grows(device: str) -> None:
    rows = torch.randn(2, 23, 5, device=device)
    cache, end = LayerCache(), 0
    for part in rows.split([1, 1, 2, 7, 1, 11], dim=1):
        end += part.shape[1]
        assert torch.equal(cache.append(part), rows[:, :end])
    assert cache.nbytes == 2 * 23 * 5 * 4 <= cache.allocated_nbytes <= 2 * cache.nbytes


def test_reserved_room_is_taken_once_and_exactly() -> None:
    cache = LayerCache(capacity=10)
    held = cache.append(torch.zeros(2, 3, 5))
    assert cache.append(torch.ones(2, 7, 5)).data_ptr() == held.data_ptr()
    assert cache.allocated_nbytes == cache.nbytes == 2 * 10 * 5 * 4


def test_truncate_forgets_the_last_tokens() -> None:
    cache = Cache(layers=2)
    for layer in cache:
        layer.append(torch.arange(6.0).view(1, 6, 1))
    cache.truncate(2)
    assert cache.length == 2
    for layer in cache:
        assert layer.append(torch.full((1, 1, 1), 9.0)).flatten().tolist() == [0, 1, 9]


@pytest.mark.parametrize("length", [-1, 7])
def test_truncate_cannot_add_tokens(length: int) -> None:
    cache = LayerCache()
    cache.append(torch.zeros(1, 6, 1))
    with pytest.raises(ValueError, match=rf"0\.\.6 tokens, got {length}"):
        cache.truncate(length)
    with pytest.raises(ValueError, match=r"torch\.float32, got \(2, 4\) torch\.float64"):
        cache.append(torch.zeros(2, 1, 4, dtype=torch.float64))
    assert cache.length == 6


def test_another_batch_or_width_is_refused_and_nothing_is_lost() -> None:
    cache = LayerCache()
    cache.append(torch.zeros(2, 6, 4))
    with pytest.raises(ValueError, match=r"\(2, 4\) torch.float32, got \(1, 4\) torch.float32"):
        cache.append(torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match=r"\(2, 4\) torch.float32, got \(2, 3\)"):
        cache.append(torch.zeros(2, 1, 3))
    assert cache.length == 6


def test_a_buffer_doubles_when_it_is_full_and_no_sooner(device: str) -> None:
    cache, held = LayerCache(capacity=3), []
    for end in range(1, 14):
        rows = torch.full((2, 1, 5), float(end), device=device)
        assert cache.append(rows)[1, :, 4].tolist() == list(range(1, end + 1))
        held.append(cache.allocated_nbytes // (2 * 5 * 4))
    assert held == [3] * 3 + [6] * 3 + [12] * 6 + [24]
    cache.truncate(5)
    assert cache.append(torch.full((2, 2, 5), 9.0, device=device))[0, :, 0].tolist() == [1, 2, 3, 4, 5, 9, 9]
    assert cache.nbytes == 7 * 2 * 5 * 4 and cache.allocated_nbytes == 24 * 2 * 5 * 4
