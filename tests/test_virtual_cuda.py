"""The virtual CUDA device refuses what CUDA refuses, allows what CUDA allows, computes as the CPU does, and leaves
no trace."""

import copy
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from tests import devices
from tests.devices import why_no_virtual_device

if lacks := why_no_virtual_device():
    pytest.skip(lacks, allow_module_level=True)

from tests import virtual_cuda
from tests.virtual_cuda import Card, VirtualTensor

ON_CUDA = torch.device("cuda:0")


@pytest.fixture
def card() -> Iterator[Card]:
    with virtual_cuda.present() as card:
        yield card


def gpu(*shape: int) -> Tensor:
    return torch.randn(shape, device="cuda")


def test_a_pytorch_without_its_internals_skips_the_cuda_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> None:
        raise AttributeError("module 'torch' has no attribute 'x'")

    monkeypatch.setattr(virtual_cuda, "present", lacking)
    reason = why_no_virtual_device.__wrapped__()
    assert reason is not None and "has no attribute 'x'" in reason and torch.__version__ in reason
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "why_no_virtual_device", lambda: reason)
    with pytest.raises(pytest.skip.Exception, match="does not work with PyTorch"):
        devices.cuda()


MIXED = "Expected all tensors to be on the same device"
GENERATOR = "device type for generator but found"
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a sum": (lambda: gpu(3) + torch.ones(3), MIXED),
    "a scalar on the device, a vector on the CPU": (lambda: gpu() * torch.ones(3), MIXED),
    "a product": (lambda: gpu(2, 3) @ torch.ones(3, 2), MIXED),
    "a product with a number of the CPU in it": (lambda: torch.addmm(torch.tensor(1.0), gpu(2, 3), gpu(3, 2)), MIXED),
    "in place": (lambda: torch.ones(3).add_(gpu(3)), MIXED),
    "a number of the CPU changed in place": (lambda: torch.ones(()).add_(gpu()), MIXED),
    "out": (lambda: torch.add(gpu(3), gpu(3), out=torch.empty(3)), MIXED),
    "cat": (lambda: torch.cat([gpu(3), torch.ones(3)]), MIXED),
    "stack of numbers": (lambda: torch.stack([gpu(), torch.ones(())]), MIXED),
    "where": (lambda: torch.where(torch.ones(3) > 0, gpu(3), 0.0), MIXED),
    "mask": (lambda: gpu(3).masked_fill(torch.ones(3) > 0, 0.0), MIXED),
    "gather": (lambda: gpu(2, 3).gather(1, torch.zeros(2, 1, dtype=torch.int64)), MIXED),
    "index_select": (lambda: gpu(3).index_select(0, torch.tensor([1])), MIXED),
    "embedding": (lambda: F.embedding(torch.tensor([1]), gpu(3, 2)), MIXED),
    "a layer": (lambda: nn.Linear(3, 2).to("cuda")(torch.ones(1, 3)), MIXED),
    "a norm": (lambda: nn.RMSNorm(3)(gpu(2, 3)), MIXED),
    "a loss": (lambda: F.cross_entropy(gpu(2, 3), torch.tensor([0, 1])), MIXED),
    "attention": (
        lambda: F.scaled_dot_product_attention(gpu(1, 2, 3), gpu(1, 2, 3), torch.ones(1, 2, 3)),
        "same device",
    ),
    "searchsorted": (lambda: torch.searchsorted(gpu(3).sort().values, torch.tensor(0.0)), MIXED),
    "quantile": (lambda: gpu(3).quantile(torch.tensor([0.5])), "same device"),
    "equal": (lambda: torch.equal(gpu(3), torch.ones(3)), MIXED),
    "values put in": (lambda: gpu(3).index_put_((torch.tensor([1]),), torch.ones(1)), MIXED),
    "an index of the device into the CPU": (
        lambda: torch.ones(3)[torch.tensor([1], device="cuda")],
        "indices should be",
    ),
    "the same, written": (
        lambda: torch.ones(3).index_put_((torch.tensor([1], device="cuda"),), torch.ones(1)),
        "indices should be",
    ),
    "a meta tensor": (lambda: gpu(3) + torch.ones(3, device="meta"), "meta"),
    "numpy()": (lambda: gpu(3).numpy(), "can't convert cuda:0 device type tensor to numpy"),
    "asarray": (lambda: np.asarray(gpu(3)), "can't convert cuda:0 device type tensor to numpy"),
    "a CPU generator in a factory": (lambda: torch.rand(3, generator=torch.Generator(), device="cuda"), GENERATOR),
    "a CUDA generator on the CPU": (lambda: torch.rand(3, generator=torch.Generator("cuda")), GENERATOR),
    "a CPU generator in a draw": (lambda: gpu(3).abs().multinomial(1, generator=torch.Generator()), GENERATOR),
    "a CPU generator in place": (lambda: gpu(3).normal_(generator=torch.Generator()), GENERATOR),
    "a move of a tensor without values": (lambda: torch.ones(2, device="meta").to("cuda"), "Cannot copy out of meta"),
    "a second card": (lambda: torch.ones(2, device="cuda:1"), "invalid device ordinal"),
    "a move to a second card": (lambda: torch.ones(2).to("cuda:1"), "invalid device ordinal"),
    "a gradient on the CPU": (lambda: setattr(nn.Linear(2, 3).to("cuda").weight, "grad", torch.ones(3, 2)), "'cpu'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(name: str, card: Card) -> None:
    call, reason = REFUSED[name]
    with pytest.raises((RuntimeError, TypeError), match=reason):
        call()


def lands(make: Callable[[], Tensor]) -> Callable[[], None]:
    def check() -> None:
        made = make()
        assert isinstance(made, VirtualTensor) and made.device == ON_CUDA and made.is_cuda and not made.is_meta

    return check


ALLOWED: dict[str, Callable[[], Any]] = {
    "a number of the CPU times a tensor": lambda: torch.tensor(2.0) * gpu(3),
    "added in place": lambda: gpu(3).add_(torch.tensor(2.0)),
    "where": lambda: torch.where(gpu(3) > 0, gpu(3), torch.tensor(0.0)),
    "filled": lambda: gpu(3).masked_fill(gpu(3) > 0, torch.tensor(0.0)),
    "clamped": lambda: gpu(3).clamp(min=torch.tensor(0.0)),
    "an index on the CPU": lambda: gpu(3)[torch.tensor([0, 2])],
    "a mask on the CPU": lambda: gpu(3)[torch.tensor([True, False, True])],
    "a list": lambda: gpu(3)[[0, 2]],
    "a list after a slice": lambda: gpu(3, 4)[1:, [0, 2]],
    "an array": lambda: gpu(3)[np.array([0, 2])],
    "put in at an index on the CPU": lambda: gpu(3).index_put_((torch.tensor([0]),), torch.tensor(1.0)),
    "to(name)": lambda: torch.ones(2).to("cuda"),
    "to(device, dtype, non_blocking, copy)": lambda: torch.ones(2).to(ON_CUDA, torch.float64, True, True),
    "to(device=, dtype=)": lambda: torch.ones(2).to(device="cuda", dtype=torch.int64),
    "to(tensor)": lambda: torch.ones(2).to(gpu(1)),
    "to(dtype)": lambda: gpu(2).to(torch.bfloat16),
    "type_as": lambda: torch.ones(2).type_as(gpu(1)),
    "cuda()": lambda: torch.ones(2).cuda(),
    "cuda(0)": lambda: torch.ones(2).cuda(0),
    "pinned": lambda: torch.ones(2).pin_memory().to("cuda", non_blocking=True),
    "double": lambda: gpu(2).double(),
    "tensor": lambda: torch.tensor([1, 2], device="cuda"),
    "tensor of numbers on the device": lambda: torch.tensor([[gpu(), 2.0]], device="cuda"),
    "as_tensor of an array": lambda: torch.as_tensor(np.ones(2), device="cuda"),
    "asarray": lambda: torch.asarray([1.0], device="cuda"),
    "empty": lambda: torch.empty(2, device="cuda"),
    "zeros": lambda: torch.zeros(2, device=torch.device("cuda")),
    "full": lambda: torch.full((2,), 3, device="cuda:0"),
    "arange": lambda: torch.arange(3, device="cuda"),
    "linspace": lambda: torch.linspace(0, 1, 3, device="cuda"),
    "rand": lambda: torch.rand(2, device="cuda", generator=torch.Generator("cuda")),
    "randint": lambda: torch.randint(5, (2,), device="cuda"),
    "randperm": lambda: torch.randperm(5, device="cuda"),
    "zeros_like": lambda: torch.zeros_like(gpu(2)),
    "zeros_like of a CPU tensor": lambda: torch.zeros_like(torch.ones(2), device="cuda"),
    "empty_like of a meta tensor": lambda: torch.empty_like(torch.ones(2, device="meta"), device="cuda"),
    "new_zeros": lambda: gpu(2).new_zeros(3),
    "new_zeros of a CPU tensor": lambda: torch.ones(2).new_zeros(3, device="cuda"),
    "new_tensor": lambda: gpu(2).new_tensor([1, 2]),
    "one_hot": lambda: F.one_hot(torch.tensor([1], device="cuda"), 3),
    "dropout": lambda: F.dropout(gpu(3)),
    "unsqueezed in place": lambda: gpu(3).unsqueeze_(0),
    "sum of rows": lambda: sum(gpu(3, 2)),
    "vmap of a gradient": lambda: torch.func.vmap(torch.func.grad(lambda x: (x**3).sum()))(gpu(2, 3)),
    "a Hessian": lambda: torch.func.hessian(lambda x: (x**3).sum())(gpu(3)),
    "deepcopy": lambda: copy.deepcopy(gpu(3)),
    "in inference mode": lambda: torch.inference_mode()(lambda: gpu(3) * 2)(),
    "a view in inference mode": lambda: torch.inference_mode()(lambda x: x[1:])(gpu(3)) + torch.ones(()),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, when torch.func is first used
@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_is_allowed_and_stays_on_the_device(name: str, card: Card) -> None:
    lands(ALLOWED[name])()


def test_what_comes_back_is_a_tensor_of_the_cpu(card: Card) -> None:
    x = gpu(2, 3)
    plain = [x.cpu(), x.to("cpu"), x.to(device="cpu", dtype=torch.float64), torch.zeros_like(x, device="cpu")]
    plain += [torch.as_tensor(x, device="cpu"), torch.tensor([x[0, 0], x[1, 1]]), torch.empty(2, 3).copy_(x)]
    assert {(type(each), each.device.type) for each in plain} == {(Tensor, "cpu")}
    assert torch.equal(plain[0], plain[1]) and torch.equal(plain[0], plain[6])
    assert x.to("cuda") is x and x.cuda() is x and x.to(torch.float32) is x and x.to("cuda", copy=True) is not x
    assert (
        x.tolist() == x.cpu().tolist()
        and float(x[0, 0]) == x[0, 0].item()
        and f"{x[0, 0]:.3f}" == f"{x[0, 0].item():.3f}"
    )
    assert repr(x).endswith("device='cuda:0')") and torch.equal(x.cpu(), torch.from_numpy(x.numpy(force=True)))


def test_writing_through_views_reaches_the_tensor(card: Card) -> None:
    x = torch.zeros(3, 4, device="cuda")
    x[1] = 1.0
    x[:, 2] += 2
    x.view(12)[0] = torch.tensor(5.0)
    x[[0, 2], 3] = torch.tensor([7.0, 8.0], device="cuda")
    x[2, 0].copy_(torch.tensor(9.0))
    assert x.tolist() == [[5, 0, 2, 7], [1, 1, 3, 1], [9, 0, 2, 8]]


class Net(nn.Module):
    """Ties its head to its embedding, as small language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.norm, self.up = nn.RMSNorm(5), nn.Linear(5, 5)
        self.register_buffer("offset", torch.ones(5))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(x + F.silu(self.up(self.norm(x))) + self.offset)


def trained(net: Net, **settings: Any) -> tuple[Net, torch.optim.Optimizer, list[float]]:
    optimizer, place = torch.optim.AdamW(net.parameters(), lr=0.05, **settings), net.up.weight.device
    tokens, losses = torch.arange(42, device=place).view(6, 7) % 7, []
    for _ in range(4):
        loss = F.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        assert norm.device == place
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return net, optimizer, losses


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda x, w: x @ w.mT,
    "norm": lambda x, w: F.rms_norm(x * w[:4], (6,)),
    "softmax": lambda x, w: (x @ w.mT).log_softmax(-1),
    "attention": lambda x, w: F.scaled_dot_product_attention(x[None], x[None] * 2, w[None, :4], is_causal=True),
    "rotation": lambda x, w: torch.view_as_real(
        torch.view_as_complex(x.view(4, 3, 2)) * torch.view_as_complex(w[:4].reshape(4, 3, 2)).conj()
    ),
    "imaginary part": lambda x, w: torch.view_as_complex(x.view(4, 3, 2)).conj().imag * 2 + w[:4, :3],
    "einsum": lambda x, w: torch.einsum("ab,cb->ac", x, w),
    "gather": lambda x, w: (
        x.gather(1, (w[:4] > 0).long()) * x.index_select(1, torch.tensor([5, 0], device=x.device))[:, :1]
    ),
    "sorted": lambda x, w: x.sort(-1).values.cumsum(-1) + w[:4].topk(6).values,
    "scattered": lambda x, w: torch.zeros_like(x).scatter(1, (w[:4] > 0).long(), x).masked_fill(x > 1, 0.5),
    "solved": lambda x, w: torch.linalg.solve(x.mT @ x + torch.eye(6, dtype=x.dtype, device=x.device), w.mT),
    "powers": lambda x, w: (x.abs() + 0.1) ** 1.5 / (w[:4].exp() + 2) - (x > 0).double(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_the_cpu(name: str, card: Card) -> None:
    results = []
    for place in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(1)
        x, w = (torch.randn(n, 6, dtype=torch.float64, generator=generator).to(place) for n in (4, 5))
        x.requires_grad_()
        w.requires_grad_()
        y = FUNCTIONS[name](x, w)
        assert y.device.type == place
        (y * torch.arange(1.0, y.numel() + 1, device=place).view(y.shape)).sum().backward()
        results.append([each.detach().cpu() for each in (y, x.grad, w.grad) if each is not None])
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{"fused": True}, {"foreach": True}, {}, {"capturable": True}])
def test_a_training_gives_the_values_of_the_cpu(settings: dict[str, bool], card: Card) -> None:
    net, settings_of_the_cpu = Net(), {name: on for name, on in settings.items() if name != "capturable"}
    on_device = copy.deepcopy(net).to("cuda")
    (there, _, losses), (here, _, expected) = trained(on_device, **settings), trained(net, **settings_of_the_cpu)
    assert losses == pytest.approx(expected, rel=1e-5) and losses[-1] < losses[0]
    for moved, weight in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(moved.cpu(), weight, rtol=0, atol=1e-5)


def test_a_module_that_moves_keeps_its_parameters_and_ties(card: Card) -> None:
    net = Net()
    before, optimizer = list(net.parameters()), torch.optim.SGD(net.parameters(), lr=0.1)
    for place in ("cuda", "cpu", "cuda"):
        assert net.to(place) is net
        assert all(one is other for one, other in zip(net.parameters(), before, strict=True))
        assert all(isinstance(each, nn.Parameter) and each.is_leaf and each.device.type == place for each in before)
        assert net.head.weight is net.embedding.weight and net.offset.device.type == place  # pyright: ignore
    net(torch.tensor([[1]], device="cuda")).sum().backward()
    optimizer.step()
    weights = [weight.cpu() for weight in net.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(weights, net.cpu().state_dict().values(), strict=True))
    graph = net.cpu()(torch.tensor([[1]]))
    assert net.to("cuda").up.weight.device == net.norm.weight.device == ON_CUDA and graph.device.type == "cpu"
    with torch.device("meta"):
        empty = Net()
    assert empty.up.weight.is_meta and empty.to_empty(device="cuda").up.weight.device == ON_CUDA
    assert Net().to("cuda").double().up.weight.dtype == torch.float64


def test_a_fused_optimizer_wants_its_step_on_the_device(card: Card) -> None:
    """What a checkpoint that puts `step` on the CPU runs into; PyTorch's own `load_state_dict` puts it right."""
    net, optimizer, _ = trained(Net().to("cuda"), fused=True)
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    again = torch.optim.AdamW(net.parameters(), fused=True)
    again.load_state_dict(torch.load(saved, map_location="cpu"))
    net(torch.tensor([[1, 2]], device="cuda")).sum().backward()
    again.step()
    for state in again.state.values():
        assert state["step"].device == ON_CUDA
        state["step"] = state["step"].cpu()
    with pytest.raises(RuntimeError, match=MIXED):
        again.step()


def test_what_is_saved_comes_back_where_it_is_asked_for(card: Card, tmp_path: Path) -> None:
    x, path = gpu(2, 3), tmp_path / "x.safetensors"
    for place, expected in [
        (None, "cuda"),
        ("cpu", "cpu"),
        ("cuda", "cuda"),
        (ON_CUDA, "cuda"),
        ({"cuda:0": "cpu"}, "cpu"),
    ]:
        saved = io.BytesIO()
        torch.save({"x": x, "more": [x[0]]}, saved)
        saved.seek(0)
        got = torch.load(saved, map_location=place)
        assert got["x"].device.type == got["more"][0].device.type == expected
        assert torch.equal(got["x"].cpu(), x.cpu())
    plain = io.BytesIO()
    torch.save(x.cpu(), plain)
    plain.seek(0)
    assert torch.load(plain, map_location="cuda").device == ON_CUDA
    safetensors.torch.save_file({"x": x}, path)
    assert torch.equal(safetensors.torch.load_file(path, device="cuda")["x"], x)
    assert safetensors.torch.load_file(path)["x"].device.type == "cpu"
    net = Net().to("cuda")
    net.load_state_dict(Net().state_dict())
    assert net.up.weight.device == ON_CUDA


def test_the_device_has_a_random_stream_of_its_own(card: Card) -> None:
    torch.manual_seed(3)
    here, there = torch.rand(5), torch.rand(5, device="cuda")
    torch.manual_seed(3)
    assert torch.equal(torch.rand(5, device="cuda"), there) and torch.equal(torch.rand(5), here)
    torch.cuda.manual_seed(3)
    assert torch.equal(torch.rand(5, device="cuda"), there)
    state = torch.cuda.get_rng_state()
    drawn = F.dropout(gpu(9))
    torch.cuda.set_rng_state(state)
    assert torch.equal(F.dropout(gpu(9)), drawn)
    mine = torch.Generator("cuda").manual_seed(3)
    assert mine.device == ON_CUDA and isinstance(mine, torch.Generator) and not torch.equal(mine.get_state(), state)


def test_the_default_device_places_what_names_no_other(card: Card) -> None:
    torch.set_default_device("cuda")
    made = [
        torch.tensor([1.0]),
        torch.as_tensor([1.0]),
        torch.zeros(1),
        torch.arange(1),
        torch.randn(1),
        nn.Linear(1, 1).bias,
    ]
    made += [torch.zeros(1, device=None), torch.tensor(1.0, device=None)]
    assert {each.device for each in made} == {ON_CUDA} and torch.get_default_device() == ON_CUDA
    assert torch.zeros(1, device="cpu").device.type == torch.from_numpy(np.ones(1)).device.type == "cpu"
    with pytest.raises(RuntimeError, match=GENERATOR):
        torch.rand(1, generator=torch.Generator())
    with pytest.raises(RuntimeError, match="indices should be"):
        torch.ones(3, device="cpu")[torch.tensor([1])]
    with torch.device("cpu"):
        assert torch.tensor(1.0).device.type == "cpu"


def test_a_thread_sees_the_device_too(card: Card) -> None:
    x, found = gpu(3), []

    def work() -> None:
        x[0] = 2.0
        found.append(torch.ones(3, device="cuda") + x.cuda())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].device == ON_CUDA and torch.equal(found[0], x + 1) and x[0].item() == 2


def test_the_card_is_what_the_test_sets(card: Card) -> None:
    card.name, card.capability, card.free = "Tesla T4", (7, 5), 2**30
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    assert torch.cuda.get_device_name() == torch.cuda.get_device_name("cuda:0") == "Tesla T4"
    assert torch.cuda.get_device_capability(ON_CUDA) == (7, 5)
    assert torch.cuda.mem_get_info() == (2**30, 16 * 2**30)
    assert torch.cuda.get_device_properties(0).major == 7
    with torch.autocast("cuda", torch.bfloat16), torch.cuda.device(0):
        torch.cuda.synchronize()


@pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")
def test_a_collective_wants_tensors_of_the_group(card: Card) -> None:
    """A process group with a backend for CUDA only, as NCCL is."""
    store: Any = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("cuda:gloo", store=store, rank=0, world_size=1)
    try:
        x, out = torch.ones(2, device="cuda"), [torch.zeros(2, device="cuda")]
        dist.all_reduce(x)
        dist.all_gather(out, x)
        assert out[0].tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="No backend type associated with device type cpu"):
            dist.all_reduce(torch.ones(2))
    finally:
        dist.destroy_process_group()


def fail_on_the_device() -> None:
    with virtual_cuda.present():
        torch.set_default_device("cuda")
        assert torch.cuda.is_available() and gpu(2).device == ON_CUDA
        raise ZeroDivisionError


def test_nothing_is_left_behind_even_after_a_failure() -> None:

    def state() -> list[object]:
        patched = [getattr(torch.cuda, name) for name in vars(torch.cuda) if not name.startswith("__")]
        swaps, load = torch.__future__.get_swap_module_params_on_conversion(), torch.load
        return [*patched, torch.Generator, load, swaps, torch.get_default_device(), torch.get_rng_state().tolist()]

    before = state()
    with pytest.raises(ZeroDivisionError):
        fail_on_the_device()
    assert state() == before
    assert type(torch.ones(2).to("cpu")) is Tensor
