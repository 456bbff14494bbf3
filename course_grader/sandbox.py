"""Where a student's code runs: in bubblewrap where that works, else in a plain subprocess, which is no protection.

The judge knows the worker by a socket, and by what the kernel says of its processes.
"""

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from course_grader import processes
from course_grader.inside import wire

INSIDE = Path(__file__).parent / "inside"
FIRST_USER = 61_000  # whom a sandbox that root starts becomes, plus a number of its own
START_SECONDS, WATCH_SECONDS = 120, 0.1
LEAST_LEFT = 0.03  # of the machine's memory
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
CREDENTIALS = struct.Struct("3i")


class LostError(Exception):
    """The worker is gone, or must go; the text says why: "took too long"."""


class UnavailableError(Exception):
    """There is no sandbox to be had here; why, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one submission."""

    cell_seconds: float = 60
    call_seconds: float = 20
    seconds: float = 300  # for everything
    memory: int = 4 << 30  # bytes in use, of all its processes
    processes: int = 64
    file_bytes: int = 64 << 20

    def of_process(self, kind: str) -> dict[str, int]:
        """By the names of setrlimit. Address space is not memory: PyTorch alone maps several GiB."""
        limits = {
            "AS": self.memory + (8 << 30), "FSIZE": self.file_bytes, "CORE": 0, "NOFILE": 256,
            "CPU": int(self.seconds) + 1,
        }  # fmt: skip
        # outside a sandbox all that the user runs would count
        return limits if kind == "bare" else {**limits, "NPROC": self.processes}


class Sandbox:
    """A worker that has imported what takes long, from which one is forked for each submission.

    `kind`: "private" (bubblewrap, and namespaces of its own for each submission), "alone" (bubblewrap, started anew for
    each), or "bare" (no bubblewrap: limits on honest mistakes, none on a hostile student). One that is not `warm` has
    not imported what notebooks want: for a trial.
    """

    def __init__(
        self, limits: Limits | None = None, *, kind: str | None = None, number: int = 0, warm: bool = True
    ) -> None:
        self.limits, self.kind, self.number, self._warm = limits or Limits(), kind or best_kind(), number, warm
        self._folder: TemporaryDirectory[str] | None = None  # without bubblewrap: where the student's files go
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def open(self, cells: list[tuple[int, str]], ends: float | None = None) -> "Session":
        """A worker that begins to run these numbered cells, and is given up when the clock stands at `ends`.

        Raises:
            UnavailableError: there is none, and the submission is not to blame: none of it has run yet.
        """
        try:
            return self._open(cells, ends)
        except (OSError, LostError):  # as where the last submission has taken a sandbox down with it
            self.close()
        try:
            return self._open(cells, ends)
        except (OSError, LostError) as error:
            self.close()
            raise UnavailableError(f"The sandbox {self.kind!r} does not start here: {error}") from None

    def _open(self, cells: list[tuple[int, str]], ends: float | None) -> "Session":
        if self.kind != "private":
            self.close()
        if self._process is None or self._process.poll() is not None:
            self._start()
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with theirs:
            assert self._control is not None and self._process is not None
            socket.send_fds(self._control, [b"+"], [theirs.fileno()])
        root = None if self.kind == "private" else self._process.pid
        ends = ends or time.monotonic() + self.limits.seconds
        session, text = Session(ours, self.limits, root, ends), json.dumps(cells, ensure_ascii=False)
        try:
            session.tell({"limits": self.limits.of_process(self.kind)})
            session.tell({"cells": np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)})
        except LostError:
            session.close()
            raise
        return session

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            processes.end(self._process.pid)
            self._process.wait()
        if self._folder is not None:
            with suppress(RecursionError):  # folders in folders in folders
                self._folder.cleanup()
        self._process = self._control = self._folder = None

    def _start(self) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        if self.kind == "bare":
            self._folder = TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        folder = self._folder.name if self._folder else "/tmp"
        user = FIRST_USER + self.number % 1000 if os.geteuid() == 0 and self.kind != "bare" else 0
        with theirs:
            command = _bubblewrap() if self.kind != "bare" else []
            command += [sys.executable, "-E", "-s", str(INSIDE / "worker.py"), str(theirs.fileno()), str(user)]
            self._process = subprocess.Popen(
                [*command, self.kind, "warm" if self._warm else "cold"], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=_environment(folder), start_new_session=True, cwd=folder,
            )  # fmt: skip
        ours.settimeout(START_SECONDS)
        self._control = ours
        if ours.recv(5) != b"ready":
            self.close()
            raise LostError("could not be started")


class Session:
    """One submission's worker."""

    def __init__(self, channel: socket.socket, limits: Limits, root: int | None, ends: float) -> None:
        self._channel, self._limits, self._number, self._ends = channel, limits, 0, ends
        self._looked = time.monotonic()
        sender = self._sender()
        self.process = root or sender

    def _sender(self) -> int:
        """The process that says hello, by its number here: the kernel adds it."""
        hello, extra, _, _ = self._channel.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        if not hello or not extra:
            self._channel.close()
            raise LostError("could not be started")
        return CREDENTIALS.unpack(extra[0][2][: CREDENTIALS.size])[0]

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message, within so many seconds and within what is left of the submission's."""
        ends = min(time.monotonic() + seconds, self._ends)
        try:
            header, body = wire.lengths(self._exactly(wire.LENGTHS.size, ends))
            return wire.read(self._exactly(header, ends), self._exactly(body, ends))
        except wire.GarbledError as error:
            raise LostError(f"sent {error}") from None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; an older one that comes late is not taken for it."""
        self._number += 1
        self.tell({**request, "id": self._number})
        while True:
            reply = self.receive(self._limits.call_seconds)
            if "over" in reply:
                raise LostError("ended its process")
            if reply.get("id") == self._number:
                return reply

    def begin(self, exercise: str) -> None:
        """Starts a process for an exercise."""
        self._before = set(processes.tree(self.process))
        self.tell({"exercise": exercise})

    def finish(self) -> None:
        """Ends the process of the exercise at hand.

        Raises:
            LostError: it has left others behind, which could answer in place of the next one.
        """
        self.tell({"end": True})
        while "over" not in self.receive(self._limits.call_seconds):
            pass
        if set(processes.tree(self.process)) - self._before:
            raise LostError("left processes behind")

    def close(self) -> None:
        """Ends all its processes, those too that would rather not."""
        processes.end(self.process)
        self._channel.close()

    def tell(self, message: dict[str, Any]) -> None:
        self._channel.settimeout(self._limits.call_seconds)  # a worker that does not read is a hung one
        try:
            wire.send(self._channel, message)
        except OSError:
            raise LostError("ended before it was asked") from None

    def _exactly(self, size: int, ends: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            if time.monotonic() > ends:
                raise LostError("took too long")
            self._watch_memory()
            if select.select([self._channel], [], [], WATCH_SECONDS)[0]:
                try:
                    part = self._channel.recv(min(size - len(data), 1 << 20))
                except OSError:
                    part = b""
                if not part:
                    raise LostError("ended its process")
                data += part
        return bytes(data)

    def _watch_memory(self) -> None:
        """By the clock: bytes that drip in must not keep it from being looked at."""
        if (now := time.monotonic()) < self._looked + WATCH_SECONDS:
            return
        self._looked = now
        if processes.uses_more(self.process, self._limits.memory):
            raise LostError(f"used more than {self._limits.memory / 2**30:.3g} GiB of memory")
        if processes.memory_left() < LEAST_LEFT:  # what belongs to no process, such as a file in memory
            raise LostError("left the machine without memory")


@cache
def best_kind() -> str:
    """The strongest that works here: each is tried."""
    for kind in ("private", "alone"):
        with suppress(LostError, OSError, UnavailableError), Sandbox(kind=kind, warm=False) as sandbox:
            session = sandbox.open([])
            session.receive(START_SECONDS)
            session.close()
            return kind
    return "bare"


def _bubblewrap() -> list[str]:
    """No network, a read-only system, an empty /tmp, and of the course only its environment, without the course.

    As root bubblewrap needs no namespace of users, and so can reach an environment that only root can; the worker then
    becomes another user at once.
    """
    if not (program := shutil.which("bwrap")):
        raise UnavailableError("There is no bubblewrap here.")
    command = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    if os.geteuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    command += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp"]  # first: the environment may lie there
    places = [*SYSTEM, sys.base_prefix, sys.prefix, str(INSIDE)]
    for folder in sorted({str(parent) for place in places for parent in Path(place).parents if parent.name}, key=len):
        command += ["--perms", "0755", "--dir", folder]  # bubblewrap's own would be closed to another user
    for place in dict.fromkeys(places):
        command += ["--ro-bind-try", place, place]
    for folder in dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")):
        for package in ("course_lib", "course_grader"):
            if Path(folder, package).is_dir():  # the course was installed as a copy
                command += ["--tmpfs", f"{folder}/{package}"]
    return [*command, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--chdir", "/tmp", "--"]


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the judge's own: a variable may hold a secret."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {
        "PATH": "/usr/bin:/bin", "HOME": folder, "USER": "student", "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": folder, "PYTHONHASHSEED": "0",
        "TORCHDYNAMO_DISABLE": "1",  # torch.compile leaves functions as they are: compiling takes too long
        **threads,
    }  # fmt: skip
