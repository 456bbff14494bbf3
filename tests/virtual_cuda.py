"""A virtual CUDA device, so that device mistakes fail on machines without a GPU.

Inside `with present():` PyTorch reports one card. A tensor that is moved there or made there is a `VirtualTensor`: it
says `cuda:0`, computes on the CPU, and refuses what CUDA refuses: operands on different devices, a generator of the
other kind, `.numpy()`, a CUDA index into a CPU tensor, a fused optimizer whose step count is on the CPU, a collective
of a CPU tensor in a process group for CUDA tensors. What CUDA allows is allowed: 0-dim CPU tensors in pointwise
operations, CPU indices into CUDA tensors, copies.

How it works. A wrapper subclass holds the CPU tensor with the values. To C++ the wrapper is a meta tensor, because
autograd would ask a build without CUDA for streams; Python code sees `cuda:0`. A dispatch mode runs every operation on
the wrapped tensors, checks the operands first and wraps the results. A function mode on top translates `device="cuda"`
before C++ can refuse it. Threads that start inside the block have both modes too.

What it does not show:

* rounding, speed and memory of kernels: values are those of the CPU, and `mem_get_info` returns what the test sets;
* non-determinism: CUDA adds some gradients atomically, so only the CPU repeats a training bit for bit;
* autocast: `torch.autocast("cuda")` can be entered and changes nothing;
* NCCL, several cards, streams, graphs, pinned memory, `torch.compile`, other processes;
* device-side assertions: an index out of range raises IndexError at once;
* Python code inside PyTorch's own functions that makes tensors from lists on the device of an argument.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, wraps
from types import SimpleNamespace
from typing import Any
from unittest import mock
from weakref import WeakValueDictionary

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, _utils, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _device as default_device
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map

aten: Any = torch.ops.aten
CPU, CUDA, META = torch.device("cpu"), torch.device("cuda:0"), torch.device("meta")
Device = torch.device | str | int | None
Function = Callable[..., Any]

_INDEXED = {"index", "_unsafe_index", "index_put", "index_put_", "_unsafe_index_put", "_index_put_impl_"}
# besides those that PyTorch tags as pointwise
_TAKE_SCALARS = {"fill", "fill_", "masked_fill", "masked_fill_", "rsub", "floor_divide", "floor_divide_"} | _INDEXED
# Lazy operations mark their result for dispatch keys that a wrapped tensor no longer passes.
_EAGER = {
    aten._conj.default: aten._conj_physical.default,
    aten._neg_view.default: aten.neg.default,
    aten._efficientzerotensor.default: aten.zeros.default,
}
_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray}
_SET_DATA: Any = Tensor.data.__set__  # pyright: ignore[reportAttributeAccessIssue]
_SPECIAL = {*_FROM_DATA, Tensor.to, Tensor.cuda, Tensor.pin_memory, _SET_DATA}
_CpuGenerator = torch.Generator


@dataclass
class Card:
    """What `torch.cuda` reports about the device. A test may change it while the device is present."""

    name: str = "virtual CUDA device"
    capability: tuple[int, int] = (8, 0)
    memory: int = 16 * 2**30  # bytes
    free: int = 15 * 2**30  # bytes

    def properties(self) -> SimpleNamespace:
        major, minor = self.capability
        return SimpleNamespace(
            name=self.name, total_memory=self.memory, major=major, minor=minor, multi_processor_count=1
        )


class VirtualTensor(Tensor):
    """A tensor on cuda:0 whose values are in `values_on_cpu`."""

    values_on_cpu: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "VirtualTensor":
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=META,
        )
        made.values_on_cpu = inner
        return made

    # or results on the CPU would become VirtualTensors
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})

    device = property(lambda self: CUDA)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda self: True)  # pyright: ignore[reportAssignmentType]
    is_cpu = property(lambda self: False)  # pyright: ignore[reportAssignmentType]
    is_meta = property(lambda self: False)  # pyright: ignore[reportAssignmentType]

    def get_device(self) -> int:
        return 0

    def to(self, *args: Any, **kwargs: Any) -> Any:
        device, dtype, copy = _destination(args, kwargs)
        if _kind(device) == "meta":
            return aten._to_copy.default(self.values_on_cpu, device=META, dtype=dtype or self.dtype)
        place = CPU if _kind(device) == "cpu" else None
        if place is None and not copy and dtype in (None, self.dtype):
            return self
        return aten._to_copy.default(self, dtype=dtype or self.dtype, device=place)

    def cuda(self, device: Device = None, *_: Any, **__: Any) -> "VirtualTensor":
        return self.to("cuda" if device is None else device)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return self.numpy()

    def tolist(self) -> Any:
        return self.values_on_cpu.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA} | options)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_index(index), value)

    def data_ptr(self) -> int:
        return self.values_on_cpu.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.values_on_cpu.untyped_storage()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else super().__format__(spec)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{repr(self.values_on_cpu)[:-1]}, device='{CUDA}'{grad})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "VirtualTensor":
        if id(self) not in memo:
            if not self.is_leaf:
                raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
            copy = VirtualTensor(self.values_on_cpu.clone()).requires_grad_(self.requires_grad)
            for name in self.__dict__.keys() - {"values_on_cpu"}:  # such as being a Parameter
                setattr(copy, name, getattr(self, name))
            copy.grad = None if self.grad is None else self.grad.__deepcopy__(memo)
            memo[id(self)] = copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as PyTorch saves tensors of devices without PyTorch storage, which `torch.load` understands."""
        rebuild = _utils._rebuild_device_tensor_from_cpu_tensor
        return rebuild, (self.values_on_cpu, self.dtype, str(CUDA), self.requires_grad)


class _CudaGenerator(_CpuGenerator):
    """A CPU generator that says cuda:0. An operation is handed another object for it, with the same address."""

    alive: "WeakValueDictionary[int, _CudaGenerator]" = WeakValueDictionary()
    device = property(lambda self: CUDA)  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        self.alive[self._cdata] = self  # pyright: ignore[reportAttributeAccessIssue]


class _GeneratorMeta(type):
    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, _CpuGenerator)


class _Generator(metaclass=_GeneratorMeta):
    """What `torch.Generator` is while the device is present."""

    def __new__(cls, device: Device = "cpu") -> Any:
        return _CudaGenerator() if _kind(device) == "cuda" else _CpuGenerator(device)


class _State:
    """What operations share."""

    default_generator = _CudaGenerator()
    twins: dict[str, Any] = {}  # CPU process groups, by the name of the CUDA group that each replaces


class _Asked(threading.local):
    kind: str | None = None  # "cuda" or "meta" while Python code asks for a tensor there; C++ says "meta" in both cases


_asked = _Asked()


@contextmanager
def _asking_for(kind: str) -> Iterator[None]:
    _asked.kind, before = kind, _asked.kind
    try:
        yield
    finally:
        _asked.kind = before


def _kind(device: Device) -> str | None:
    """The type of a device. A number means a CUDA device.

    Raises:
        RuntimeError: a second card.
    """
    if device is None:
        return None
    made = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if made.type == "cuda" and (made.index or 0) > 0:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return made.type


def _destination(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Device, torch.dtype | None, bool]:
    """Device, dtype and copy of the arguments of `Tensor.to`: (device, dtype, non_blocking, copy), (dtype, ...) or
    (tensor, ...)."""
    device, dtype, flags = kwargs.get("device"), kwargs.get("dtype"), []
    for each in [*args, *([kwargs["other"]] if "other" in kwargs else [])]:
        if isinstance(each, Tensor):
            device, dtype = each.device, each.dtype
        elif isinstance(each, torch.dtype):
            dtype = each
        elif isinstance(each, bool):
            flags.append(each)
        elif each is not None:
            device = each
    return device, dtype, bool(kwargs.get("copy", flags[1:2] == [True]))


def _index(index: Any) -> Any:
    """Lists become tensors here, because C++ would make meta tensors of them."""
    if isinstance(index, tuple):
        return tuple(_index(each) for each in index)
    if isinstance(index, list | np.ndarray | range):
        return torch.tensor(np.asarray(index), device="cpu")
    return index


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """All tensors among the arguments of an operation, which come alone or in lists."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _unwrapped(value: Any) -> Any:
    if isinstance(value, VirtualTensor):
        return value.values_on_cpu
    return type(value)([_unwrapped(each) for each in value]) if isinstance(value, list | tuple) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, Tensor):
        return VirtualTensor(value)
    return type(value)([_wrapped(each) for each in value]) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class _Traits:
    """What matters here of an operation."""

    name: str
    copies: bool
    collective: bool
    takes_scalars: bool  # accepts 0-dim CPU tensors together with CUDA tensors
    draws: bool  # from the default generator if it is given none
    aliases: bool  # returns a view of an argument, or an argument


@cache
def _traits(func: Any) -> _Traits:
    name = func.overloadpacket.__name__
    pointwise = torch.Tag.pointwise in func.tags or name in _TAKE_SCALARS or name.startswith("_foreach_")
    return _Traits(
        name=name,
        copies=name in ("copy_", "_to_copy", "_foreach_copy_"),
        collective=func.namespace == "c10d",
        takes_scalars=pointwise,
        draws=torch.Tag.nondeterministic_seeded in func.tags,
        aliases=any(each.alias_info is not None for each in func._schema.returns),
    )


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """One operation: check where its operands are, compute on the CPU, wrap what lands on the device."""
    traits, operands = _traits(func), _tensors([*args, *kwargs.values()])
    ours = [each for each in operands if isinstance(each, VirtualTensor)]
    others = [each for each in operands if not isinstance(each, VirtualTensor)] if len(ours) < len(operands) else []
    if ours and others and not traits.copies:
        _refuse_mixture(traits, args, kwargs, others)
    if traits.collective:
        return _collective(func, args) if ours or traits.name == "barrier" else func(*args, **kwargs)
    device, generator = kwargs.get("device"), kwargs.get("generator")
    if device is None:
        lands = isinstance(args[0], VirtualTensor) if traits.copies else bool(ours)
    elif device.type == "meta":
        lands = _asked.kind == "cuda" or (_asked.kind is None and not any(each.is_meta for each in others))
    else:
        lands = device.type == "cuda"
    if generator is not None and (generator._cdata in _CudaGenerator.alive) != lands:
        wanted, got = ("cuda", "cpu") if lands else ("cpu", "cuda")
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{got}'")
    out = _computed(func, args, kwargs, lands, lands and traits.draws and generator is None)
    if not lands:
        return out
    # In inference mode a view of a normal tensor is a normal tensor.
    normal = traits.aliases and torch.is_inference_mode_enabled() and not any(each.is_inference() for each in ours)
    with torch.inference_mode(False) if normal else nullcontext():
        out = _wrapped(out)
    return return_and_correct_aliasing(func, args, kwargs, out) if ours and traits.aliases else out


def _computed(func: Any, args: tuple, kwargs: dict[str, Any], lands: bool, draws: bool) -> Any:
    func = _EAGER.get(func, func)
    if kwargs:
        kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
        if lands and kwargs.get("device") is not None:
            kwargs["device"] = CPU
    with _drawing_from(_State.default_generator) if draws else nullcontext():
        return func(*_unwrapped(args), **kwargs)


def _refuse_mixture(traits: _Traits, args: tuple, kwargs: dict[str, Any], others: list[Tensor]) -> None:
    name = traits.name
    indices: list[Tensor] = _tensors(args[1]) if name in _INDEXED else []
    if indices and not isinstance(args[0], VirtualTensor) and any(isinstance(each, VirtualTensor) for each in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    written = _tensors(args[:1] if name.endswith("_") else [kwargs.get("out")])
    harmless = [id(each) for each in indices]
    if traits.takes_scalars:
        harmless += [id(each) for each in others if each.ndim == 0 and not any(each is target for target in written)]
    if wrong := [each for each in others if id(each) not in harmless]:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {CUDA} and "
            f"{wrong[0].device}! (operation {name}, shape {tuple(wrong[0].shape)} on {wrong[0].device})"
        )


def _collective(func: Any, args: tuple) -> Any:
    """Runs on a twin of the process group: the same processes, but with a backend for CPU tensors."""
    boxed = [each for each in args if isinstance(each, torch.ScriptObject) and "ProcessGroup" in str(each._type())]
    group: Any = dist.ProcessGroup.unbox(boxed[0])
    twin: Any = _State.twins.get(group.group_name)
    if twin not in dist.distributed_c10d._world.pg_map:
        twin = dist.new_group(dist.get_process_group_ranks(group), backend="gloo")
        _State.twins[group.group_name] = twin
    return func(*(twin.boxed() if each is boxed[0] else _unwrapped(each) for each in args))


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """PyTorch's default generator of the CPU, with the state of another that moves on."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


class _Operations(TorchDispatchMode):
    """Also sees what is not called on a VirtualTensor: a factory, a copy, a generator of the device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # saves a wrapper around every operation

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if VirtualTensor in types or "device" in kwargs or "generator" in kwargs or func.namespace == "c10d":
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Keeps "cuda" from C++, which in a build without CUDA would refuse it."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if "pin_memory" in kwargs:  # PyTorch refuses it without a real accelerator
            kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
        if func in _SPECIAL:
            return self._special(func, args, dict(kwargs))
        if kwargs.get("device") is None and default_device.CURRENT_DEVICE is None:
            return func(*args, **kwargs)
        return self._made(func, args, dict(kwargs))

    def _special(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.to:
            return self._moved(args[0], args[1:], kwargs)
        if func is Tensor.cuda:
            place = [*args[1:], *kwargs.values()][:1] or [CUDA]
            return self._moved(args[0], (place[0] or CUDA,), {})
        if func in _FROM_DATA:
            return self._from_data(func, args, kwargs)
        if func is _SET_DATA and isinstance(args[0], VirtualTensor):
            args[0].values_on_cpu = args[1].values_on_cpu
        return func(*args, **kwargs)

    def _made(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call that may make a tensor, on the device that it names or on the default device."""
        kind = _wanted_kind(func, kwargs)
        if kind not in ("cuda", "meta"):
            return func(*args, **kwargs)
        with _asking_for(kind):
            return func(*args, **kwargs | {"device": META})

    def _moved(self, tensor: Tensor, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        if isinstance(tensor, VirtualTensor):
            return tensor.to(*args, **kwargs)
        device, dtype, _ = _destination(args, kwargs)
        return _on_the_device(tensor, dtype) if _kind(device) == "cuda" else tensor.to(*args, **kwargs)

    def _from_data(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """`torch.tensor` and its like, which C++ fills without asking the dispatch mode."""
        data, kind = args[0], _wanted_kind(func, kwargs)
        if isinstance(data, VirtualTensor) and kind in (None, "cuda"):
            if func is not torch.tensor:
                return data.to(dtype=kwargs.get("dtype"))
            kind = "cuda"
        if kind == "meta":
            return self._made(func, args, kwargs)
        if kind is None or kind == "cpu":
            return func(_values(data), *args[1:], **kwargs)
        wanted = kwargs.pop("requires_grad", False)
        made = func(_values(data), *args[1:], **kwargs | {"device": CPU})
        return _on_the_device(made, None).requires_grad_(wanted)


def _wanted_kind(func: Any, kwargs: dict[str, Any]) -> str | None:
    """The type of device on which a call makes its tensor; None: it names none."""
    device = kwargs.get("device")
    if device is None and func in default_device._device_constructors():
        device = default_device.CURRENT_DEVICE
    return _kind(device)


def _values(data: Any) -> Any:
    """Data for a new tensor, with the values of tensors on the device."""
    if isinstance(data, VirtualTensor):
        return data.values_on_cpu
    if isinstance(data, list | tuple) and any(isinstance(each, Tensor | list | tuple) for each in data):
        return [_values(each) for each in data]
    return data


def _on_the_device(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if isinstance(tensor, VirtualTensor):
        return tensor.to(dtype=dtype)
    with _asking_for("cuda"):
        return aten._to_copy.default(tensor, device=META, dtype=dtype or tensor.dtype)


@contextmanager
def present(card: Card | None = None) -> Iterator[Card]:
    """PyTorch has one CUDA device inside the block. Everything is restored afterwards, whatever happens in it."""
    card = card or Card()
    _State.default_generator.manual_seed(0)
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    context = default_device.CURRENT_DEVICE
    with ExitStack() as stack:
        for owner, names in _replacements(card).items():
            for name, stand_in in names.items():
                stack.enter_context(mock.patch.object(owner, name, stand_in))
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        stack.enter_context(_Operations())
        stack.enter_context(_Calls())
        stack.callback(_restore_default_device, context)
        yield card


def _restore_default_device(before: torch.device | None) -> None:
    if before != default_device.CURRENT_DEVICE:
        torch.set_default_device(before)


def _replacements(card: Card) -> dict[Any, dict[str, Any]]:
    """What PyTorch's modules say while the device is present."""
    generator = _State.default_generator
    asked: dict[str, Function] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _kind,
        "_exchange_device": lambda index: 0,
        "_maybe_exchange_device": lambda index: 0,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "is_current_stream_capturing": lambda: False,
        "get_device_name": lambda device=None: card.name,
        "get_device_capability": lambda device=None: card.capability,
        "get_device_properties": lambda device=None: card.properties(),
        "is_bf16_supported": lambda including_emulation=True: including_emulation or card.capability >= (8, 0),
        "mem_get_info": lambda device=None: (card.free, card.memory),
        "memory_allocated": lambda device=None: card.memory - card.free,
        "max_memory_allocated": lambda device=None: card.memory - card.free,
        "memory_reserved": lambda device=None: card.memory - card.free,
        "max_memory_reserved": lambda device=None: card.memory - card.free,
        "reset_peak_memory_stats": lambda device=None: None,
        "manual_seed": generator.manual_seed,
        "manual_seed_all": generator.manual_seed,
        "seed": generator.seed,
        "seed_all": generator.seed,
        "initial_seed": generator.initial_seed,
        "get_rng_state": lambda device="cuda": generator.get_state(),
        "set_rng_state": lambda state, device="cuda": generator.set_state(state),
        "get_rng_state_all": lambda: [generator.get_state()],
        "set_rng_state_all": lambda states: generator.set_state(states[0]),
    }
    return {
        nn.Module: {"_apply": _applying(nn.Module._apply)},
        threading.Thread: {"run": _with_modes(threading.Thread.run)},
        torch: {"Generator": _Generator, "load": _loading(torch.load)},
        torch.cuda: asked,
        torch._C: {"_group_tensors_by_device_and_dtype": _grouping(torch._C._group_tensors_by_device_and_dtype)},
    }


def _applying(apply: Function) -> Function:
    """`Module.to` and its like keep the parameter objects, as on a real device, where PyTorch can swap their contents.

    It cannot while a graph still refers to a parameter; then the module gets new parameters.
    """

    @wraps(apply)
    def applied(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        try:
            return apply(module, fn, recurse)
        except RuntimeError as error:
            if "Couldn't swap" not in str(error):
                raise
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(fn(parameter.detach()), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else fn(buffer)
        return module

    return applied


def _with_modes(run: Function) -> Function:
    @wraps(run)
    def runs(thread: threading.Thread) -> None:
        with _Operations(), _Calls():
            run(thread)

    return runs


def _loading(load: Function) -> Function:
    """`torch.load`, whose storages cannot be on the device: they are read to the CPU, and tensors are moved."""

    @wraps(load)
    def loaded(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(map_location, str | torch.device) or _kind(map_location) != "cuda":
            return load(f, map_location, *args, **kwargs)
        everything = load(f, "cpu", *args, **kwargs)
        return tree_map(lambda each: each.to("cuda") if isinstance(each, Tensor) else each, everything)

    return loaded


def _grouping(group: Function) -> Function:
    """What optimizers and clipping group tensors with; C++ would return the meta device for ours."""

    @wraps(group)
    def grouped(lists: list[list[Tensor | None]], with_indices: bool = False) -> Any:
        groups = group(lists, with_indices)
        return {
            (CUDA if any(isinstance(each, VirtualTensor) for each in parts[0][0]) else device, dtype): parts
            for (device, dtype), parts in groups.items()
        }

    return grouped
