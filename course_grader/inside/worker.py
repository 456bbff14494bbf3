"""Runs a student's cells and answers calls of the functions they define. Everything it says is only a claim.

The first process imports the slow packages once, and waits. For each submission it starts a second one, in separate
namespaces if the kernel allows that. For each exercise the second starts a third, so that an exercise can only break
itself.
"""

import ctypes
import importlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import running
import stand_in
import syscalls
import wire
from answering import answer_calls

NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000  # mounts, IPC, users, processes
NO_SETUID_NO_DEVICES, BIND_ALL = 2 | 4, 0x1000 | 0x4000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, CAPABILITY_VERSION_3 = 4, 24, 36, 0x20080522


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
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps children that have ended
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
    """Imports what most notebooks import."""
    import torch

    for name in ("ipywidgets", "matplotlib.pyplot", "scipy.optimize", "tqdm.auto"):
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(ImportError):
        # other backends may need a screen
        importlib.import_module("matplotlib").__dict__["use"] = lambda *args, **kwargs: None
    torch.set_num_threads(1)
    torch.set_num_threads = torch.set_num_interop_threads = lambda number: None  # none may start while work is measured
    torch.ones(2, 2).matmul(torch.ones(2, 2))


def _renew_threads() -> None:
    """After a fork the first operation makes PyTorch's pool of threads again. If two threads did so at the same time,
    PyTorch would raise an error.
    """
    if "torch" in sys.modules:
        sys.modules["torch"]._C.set_num_threads(1)


def _enclosed(channel: socket.socket, kind: str) -> None:
    """Runs a submission. If private, it is process 1 of a new namespace: when it ends, everything it started ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if kind == "private":
        _unshare()
        if child := os.fork():
            os.waitpid(child, 0)
            return
    else:  # orphans become children of this process, as they do of process 1
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()  # one share of the CPU per submission: the filter refuses further sessions
    if kind != "bare":
        syscalls.refuse()
    channel.sendall(b"!")  # the kernel adds who sent it
    with suppress(OSError, wire.GarbledError):
        start, cells = wire.receive(channel), wire.receive(channel)["cells"].tobytes()
        for name, most in start["limits"].items():
            _limit(name, most)
        _renew_threads()
        sys.path[0] = ""  # as in Jupyter: a module next to the notebook can be imported
        serve(channel, start, json.loads(cells.decode("utf-8", "surrogatepass")), kind)


def _limit(name: str, most: int) -> None:
    """Sets RLIMIT_name to `most`, or to the present hard limit if that is lower."""
    import resource  # here, so that this module can be imported on Windows

    which = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(which)[1]
    allowed = most + (running.SPARE_PROCESSES if name == "NPROC" else 0)
    allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
    resource.setrlimit(which, (min(most, allowed), allowed))


def _unshare() -> None:
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(NEW_NAMESPACES):
        raise OSError(ctypes.get_errno(), "no separate namespaces")
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # after a change of user, root would own its files in /proc
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    kept = [(place, os.open(place, os.O_PATH)) for place in _mounted_in(b"/tmp/")]  # the environment may be there
    _mount(libc, b"tmpfs", b"/tmp", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=64m,mode=1777")
    for place, opened in kept:
        os.makedirs(place, exist_ok=True)
        _mount(libc, b"/proc/self/fd/%d" % opened, place, None, BIND_ALL, None)
        os.close(opened)
    _mount(libc, b"tmpfs", b"/dev/shm", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=16m,mode=1777")  # multiprocessing's
    # an empty /proc: the old one would show the memory of the process that started this one
    _mount(libc, b"tmpfs", b"/proc", b"tmpfs", NO_SETUID_NO_DEVICES, b"size=4k,mode=0555")
    os.chdir("/tmp")
    _drop_capabilities(libc)


def _mounted_in(folder: bytes) -> list[bytes]:
    """Mount points below a folder, without those that are inside another of them."""
    with open("/proc/self/mountinfo", "rb") as file:
        places = [re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), line.split()[4]) for line in file]
    inside = [place for place in places if place.startswith(folder)]
    return [place for place in inside if not any(place.startswith(other + b"/") for other in inside)]


def _mount(libc: ctypes.CDLL, source: bytes, place: bytes, kind: bytes | None, flags: int, data: bytes | None) -> None:
    if libc.mount(source, place, kind, flags, data):
        raise OSError(ctypes.get_errno(), f"{place!r} cannot be mounted")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Without capabilities it cannot change the mounts."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the last capability that the kernel knows
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def serve(channel: socket.socket, start: dict[str, Any], cells: Sequence[tuple[int, str]], kind: str) -> None:
    names = running.run_cells(channel, cells, start["only"], kind)
    while True:
        request = wire.receive(channel)
        if (child := os.fork()) == 0:
            try:
                _renew_threads()
                answer_calls(channel, names, request)
            finally:
                os._exit(0)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        wire.send(channel, {"over": request["exercise"]})


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "warm")
