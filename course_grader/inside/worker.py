"""Runs a student's cells and answers calls of the functions they define. Everything it says is only a claim.

One process imports what takes long, once, and waits. For each submission it starts another, in namespaces of its own
where the kernel allows that; for each exercise that one starts a third, so that what an exercise breaks stays broken
for that exercise only.
"""

import builtins
import ctypes
import importlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import stand_in
import syscalls
import wire
from notebook_cells import Notebook

NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000  # mounts, IPC, users, processes
NO_SETUID_NO_DEVICES, BIND_ALL = 2 | 4, 0x1000 | 0x4000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, CAPABILITY_VERSION_3 = 4, 24, 0x20080522


def main(control: socket.socket, user: int, kind: str, warm: bool) -> None:
    """Starts a worker for every channel that comes over `control`."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the machine runs out of memory, the kernel kills students' processes, not the judge
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    stand_in.install()
    if warm:
        _import_much()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the ended
    control.sendall(b"ready")
    while True:
        message, channels, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            try:
                control.close()
                with socket.socket(fileno=channels[0]) as channel:
                    _enclosed(channel, kind)
            finally:
                os._exit(0)
        os.close(channels[0])


def _import_much() -> None:
    """What most notebooks import."""
    import torch

    for name in ("ipywidgets", "matplotlib.pyplot", "scipy.optimize", "tqdm.auto"):
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(ImportError):
        # another backend may want a screen
        importlib.import_module("matplotlib").__dict__["use"] = lambda *args, **kwargs: None
    torch.set_num_threads(1)
    torch.set_num_threads = torch.set_num_interop_threads = lambda number: None  # where work is measured none may start
    torch.ones(2, 2).matmul(torch.ones(2, 2))


def _enclosed(channel: socket.socket, kind: str) -> None:
    """Goes on, if private, as process 1 of a new process namespace: when it ends, all that it started ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if kind == "private":
        _unshare()
        if child := os.fork():
            os.waitpid(child, 0)
            return
    os.setsid()  # its own share of the CPU; the filter keeps it to this one
    if kind != "bare":
        syscalls.refuse()
    channel.sendall(b"!")  # the kernel adds who sent it
    with suppress(OSError, wire.GarbledError):
        limits, cells = _receive(channel)["limits"], _receive(channel)["cells"].tobytes()
        for name, most in limits.items():
            _limit(name, most)
        sys.path[0] = ""  # as in Jupyter: a module beside the notebook can be imported
        serve(channel, json.loads(cells.decode("utf-8", "surrogatepass")))


def _limit(name: str, most: int) -> None:
    """Sets RLIMIT_name to `most`, or to what is allowed here if that is less."""
    import resource  # here, so that this module can be imported on Windows

    which = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _unshare() -> None:
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(NEW_NAMESPACES):
        raise OSError(ctypes.get_errno(), "no namespaces of its own")
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # after a change of user its files in /proc would be root's
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    kept = [(place, os.open(place, os.O_PATH)) for place in _mounted_in(b"/tmp/")]  # an environment may lie there
    _mount(libc, b"tmpfs", b"/tmp", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=64m,mode=1777")
    for place, opened in kept:
        os.makedirs(place, exist_ok=True)
        _mount(libc, b"/proc/self/fd/%d" % opened, place, None, BIND_ALL, None)
        os.close(opened)
    _mount(libc, b"tmpfs", b"/dev/shm", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=16m,mode=1777")  # multiprocessing's
    # an empty /proc: the one of the process before would show that process's memory
    _mount(libc, b"tmpfs", b"/proc", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=4k,mode=0555")
    os.chdir("/tmp")
    _drop_capabilities(libc)


def _mounted_in(folder: bytes) -> list[bytes]:
    """What is mounted there, without what lies in another such place."""
    with open("/proc/self/mountinfo", "rb") as file:
        places = [re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), line.split()[4]) for line in file]
    inside = [place for place in places if place.startswith(folder)]
    return [place for place in inside if not any(place.startswith(other + b"/") for other in inside)]


def _mount(libc: ctypes.CDLL, source: bytes, place: bytes, kind: bytes | None, flags: int, data: bytes | None) -> None:
    if libc.mount(source, place, kind, flags, data):
        raise OSError(ctypes.get_errno(), f"{place!r} cannot be mounted")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """So that what is mounted stays mounted."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the last one the kernel knows
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capabilities stay")


def serve(channel: socket.socket, cells: list[tuple[int, str]]) -> None:
    names = run_cells(channel, cells)
    while True:
        name = _receive(channel)["exercise"]
        if (child := os.fork()) == 0:
            try:
                _answer_calls(channel, names.get(name))
            finally:
                os._exit(0)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        wire.send(channel, {"over": name})


def run_cells(channel: socket.socket, cells: list[tuple[int, str]]) -> dict[str, Any]:
    """All cells; an error in one does not stop the next."""
    notebook = Notebook()
    for number, source in cells:
        wire.send(channel, {"began": number})
        stand_in.Uses.seen = False
        try:
            notebook.run(source)
        except (SystemExit, KeyboardInterrupt):  # exit(), and whatever else ends a cell on purpose
            pass
        except BaseException as error:
            hollow = stand_in.Uses.seen and not isinstance(error, ImportError | NameError | SyntaxError)
            wire.send(channel, {"stopped": number, "error": _described(error), "hollow": hollow})
    wire.send(channel, {"ready": True})
    return notebook.names


def _described(error: BaseException) -> str:
    """Its kind and its text; a syntax error in a cell with the line it is in."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and str(error.filename).startswith("<cell "):
        return f"{kind} in line {error.lineno}: {error.msg}"
    try:
        return f"{kind}: {error}".removesuffix(": ")
    except Exception:  # whatever a notebook's own error does when it is asked for its text
        return kind


def _answer_calls(channel: socket.socket, function: Any) -> None:
    while True:
        request = _receive(channel)
        if "arguments" not in request:
            return
        reply = {"missing": True} if not callable(function) else _called(function, request["arguments"])
        try:
            wire.send(channel, {**reply, "id": request["id"]})
        except Exception as error:  # an answer that not even its parts can be asked of
            wire.send(channel, {"raised": type(error).__name__, "id": request["id"]})


def _called(function: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    before = [_copied(each) for each in arguments]
    try:
        answer = function(*arguments)
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
        return {"raised": type(error).__name__, "kinds": kinds}
    changed = [number for number, (old, new) in enumerate(zip(before, arguments, strict=True)) if not _equal(old, new)]
    return {"answer": answer, "changed": changed}


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value.clone() if wire.is_tensor(value) else dict(value) if isinstance(value, dict) else value


def _equal(old: Any, new: Any) -> bool:
    """Tensors bit by bit, so that NaN stays NaN."""
    if wire.is_tensor(old):
        if not wire.is_tensor(new) or old.shape != new.shape or old.dtype != new.dtype:
            return False
        return bool(np.array_equal(wire.bytes_of(old), wire.bytes_of(new)))
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_equal, old, new))
    return bool(old == new)


def _receive(channel: socket.socket) -> dict[str, Any]:
    header, body = wire.lengths(_exactly(channel, wire.LENGTHS.size))
    return wire.read(_exactly(channel, header), _exactly(channel, body))


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (part := channel.recv(min(size - len(data), 1 << 20))):
            raise OSError("the judge is gone")
        data += part
    return bytes(data)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "warm")
