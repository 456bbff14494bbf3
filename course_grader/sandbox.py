"""Where a student's code runs: in bubblewrap where that works, otherwise in a plain subprocess, which protects nothing.

The judge tells workers apart by their sockets, and by what the kernel reports about their processes.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from course_grader import processes
from course_grader.inside import wire
from course_grader.limits import WATCH_SECONDS, Budget, Limits, LostError, ShortageError, Wait, await_memory

INSIDE = Path(__file__).parent / "inside"
FIRST_USER = 61_000  # a sandbox that root starts runs as this user id plus the sandbox's number
START_SECONDS = 120
TMP_BYTES = 64 << 20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
CREDENTIALS = struct.Struct("3i")

Lend = Callable[[dict[str, Any]], dict[str, Any]]


class UnavailableError(Exception):
    """No sandbox can be started here; the text says why."""


class Sandbox:
    """A worker that has done the slow imports, from which one is forked for each submission.

    `kind`: "private" (bubblewrap, with new namespaces for each submission), "alone" (bubblewrap, restarted for each
    submission), or "bare" (no bubblewrap: its limits stop honest mistakes, not a hostile student). With `warm=False` it
    skips the imports, which is enough to try whether a kind works.
    """

    def __init__(
        self, limits: Limits | None = None, *, kind: str | None = None, number: int = 0, warm: bool = True
    ) -> None:
        self.limits, self.kind, self.number, self._warm = limits or Limits(), kind or best_kind(), number, warm
        self.alone = False  # whether no other submission is being marked, here or in another sandbox
        self._folder: TemporaryDirectory[str] | None = None  # for the student's files, without bubblewrap
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def budget(self) -> Budget:
        """For a submission that begins now."""
        return Budget(self.limits, alone=self.alone)

    def open(self, cells: list[tuple[int, str]], budget: Budget | None = None, only: Sequence[str] = ()) -> "Session":
        """A worker that starts to run these numbered cells, at the expense of this budget. With `only`, it runs nothing
        but what defines these names and what that uses.

        Raises:
            UnavailableError: no worker can be started. The submission is not to blame, as none of it has run yet.
            ShortageError: the machine is short of CPU time or memory.
        """
        budget = budget or self.budget()
        if budget.shortage:
            raise budget.shortage
        await_memory()
        try:
            return self._open(cells, budget, only)
        except (OSError, LostError):  # the last submission may have taken the sandbox down with it
            self.close()
        try:
            return self._open(cells, budget, only)
        except (OSError, LostError) as error:
            self.close()
            raise UnavailableError(f"The sandbox {self.kind!r} does not start here: {error}") from None

    def _open(self, cells: list[tuple[int, str]], budget: Budget, only: Sequence[str]) -> "Session":
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
        session, text = Session(ours, budget, root), json.dumps(cells, ensure_ascii=False)
        try:
            session.tell({"limits": self.limits.of_process(self.kind), "only": list(only)})
            session.tell({"cells": np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)})
        except BaseException:
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
            with suppress(RecursionError):  # a student's folders may be nested that deep
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

    def __init__(self, channel: socket.socket, budget: Budget, root: int | None) -> None:
        self._channel, self._budget, self._number = channel, budget, 0
        sender = self._sender()
        self.process = root or sender

    def _sender(self) -> int:
        """The process that says hello, by the number that it has here, which the kernel adds."""
        self._channel.settimeout(START_SECONDS)
        hello, extra, _, _ = self._channel.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        if not hello or not extra:
            self._channel.close()
            raise LostError("could not be started")
        return CREDENTIALS.unpack(extra[0][2][: CREDENTIALS.size])[0]

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message, for which the worker may take so many seconds of the submission's time.

        Raises:
            LostError: the worker has ended, has used what it may, or sends something else.
            ShortageError: the machine is short of CPU time or memory, and the submission is not to blame.
        """
        with self._budget.waiting(self.process, seconds) as wait:
            return self._message(wait)

    def ask(self, request: dict[str, Any], lend: Lend | None = None) -> dict[str, Any]:
        """The answer to one request. A late answer to an earlier request is not mistaken for it.

        `lend` answers the worker's own calls, which it makes in the meantime.
        """
        self._number += 1
        self.tell({**request, "id": self._number})
        with self._waiting_for_call() as wait:
            while True:
                reply = self._message(wait)
                if "over" in reply:
                    raise LostError("ended its process")
                if reply.get("id") != self._number:
                    continue
                if not lend or "asks" not in reply:
                    return reply
                self._send(lend(reply), wait)

    def begin(self, exercise: str, others: Sequence[str] = (), lent: Sequence[str] = ()) -> list[str]:
        """Starts a process for an exercise. There, calls of the functions in `lent` become messages to the judge.

        Returns which functions of `others` this one may call; so the worker claims.
        """
        self._before = set(processes.tree(self.process))
        self.tell({"exercise": exercise, "others": list(others), "lent": list(lent)})
        with self._waiting_for_call() as wait:
            while not isinstance(reached := (message := self._message(wait)).get("reaches"), list):
                if "over" in message:
                    raise LostError("ended its process")
        return [name for name in others if name in reached]

    def finish(self) -> None:
        """Ends the process of the current exercise.

        Raises:
            LostError: it has left other processes behind, which could answer in place of the next one.
        """
        self.tell({"end": True})
        with self._waiting_for_call() as wait:
            while "over" not in self._message(wait):
                pass
        if set(processes.tree(self.process)) - self._before:
            raise LostError("left processes behind")

    def close(self) -> None:
        """Ends all its processes, including those that do not want to end."""
        processes.end(self.process)
        self._channel.close()

    def tell(self, message: dict[str, Any]) -> None:
        """Sends a message. A worker that does not read it within the time of a call counts as hung."""
        with self._waiting_for_call() as wait:
            self._send(message, wait)

    def _send(self, message: dict[str, Any], wait: Wait) -> None:
        try:
            wire.send(_Sender(self._channel, wait), message)
        except OSError:
            raise LostError("ended before it was asked") from None

    @contextmanager
    def _waiting_for_call(self) -> Iterator[Wait]:
        with self._budget.waiting(self.process, self._budget.limits.call_seconds) as wait:
            yield wait

    def _message(self, wait: Wait) -> dict[str, Any]:
        try:
            header, body = wire.lengths(self._exactly(wire.LENGTHS.size, wait))
            return wire.read(self._exactly(header, wait), self._exactly(body, wait))
        except wire.GarbledError as error:
            raise LostError(f"sent {error}") from None

    def _exactly(self, size: int, wait: Wait) -> bytes:
        data = bytearray()
        while len(data) < size:
            wait.check()
            if select.select([self._channel], [], [], WATCH_SECONDS)[0]:
                try:
                    part = self._channel.recv(min(size - len(data), 1 << 20))
                except OSError:
                    part = b""
                if not part:
                    raise LostError("ended its process")
                data += part
        return bytes(data)


class _Sender:
    """A channel as `wire.send` wants it, that keeps an eye on the worker while it reads."""

    def __init__(self, channel: socket.socket, wait: Wait) -> None:
        self._channel, self._wait = channel, wait

    def sendall(self, data: wire.Buffer, /) -> None:
        rest = memoryview(data)
        while rest:
            self._wait.check()
            if select.select([], [self._channel], [], WATCH_SECONDS)[1]:
                with suppress(BlockingIOError):
                    rest = rest[self._channel.send(rest, socket.MSG_DONTWAIT) :]


@cache
def best_kind() -> str:
    """The strongest kind of sandbox that works here, found by trying.

    Raises:
        UnavailableError: the machine is short of memory or CPU time, so a failed trial says nothing about the kind.
    """
    try:
        return next((kind for kind in ("private", "alone") if _works(kind)), "bare")
    except ShortageError as shortage:
        raise UnavailableError(f"The sandbox could not be tried: {shortage}. Close other programs.") from None


def _works(kind: str) -> bool:
    with Sandbox(kind=kind, warm=False) as sandbox:
        budget = sandbox.budget()
        try:
            session = sandbox.open([], budget)
            session.receive(START_SECONDS)
            session.close()
        except (LostError, OSError, UnavailableError):
            budget.settle()  # raises if the kernel killed a process for want of memory
            return False
    return True


def why_none() -> str:
    """Why bubblewrap cannot be used here, in bubblewrap's own words if it is installed."""
    try:
        tried = subprocess.run(
            [*_bubblewrap(), "true"], capture_output=True, text=True, errors="replace", timeout=START_SECONDS
        )
    except UnavailableError:
        return "bubblewrap is not installed; install it with sudo apt install bubblewrap"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here ({error})"
    if not tried.returncode:
        return "bubblewrap works, but the grader does not start inside it"
    return f"bubblewrap does not work here ({''.join(tried.stderr.strip().splitlines()[-1:]) or 'it gives no reason'})"


def _bubblewrap() -> list[str]:
    """No network, a read-only system, an empty /tmp, and the Python environment without the course in it.

    As root, bubblewrap needs no user namespace, so it can reach an environment that only root can read; the worker then
    becomes another user at once.
    """
    if not (program := shutil.which("bwrap")):
        raise UnavailableError("bubblewrap is not installed here.")
    command = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    if os.geteuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    command += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]  # first: the environment may be in it
    places = [*SYSTEM, sys.base_prefix, sys.prefix, str(INSIDE)]
    for folder in sorted({str(parent) for place in places for parent in Path(place).parents if parent.name}, key=len):
        command += ["--perms", "0755", "--dir", folder]  # those that bubblewrap makes are closed to other users
    for place in dict.fromkeys(places):
        command += ["--ro-bind-try", place, place]
    for folder in dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")):
        for package in ("course_lib", "course_grader"):
            if Path(folder, package).is_dir():  # the course is installed as a copy
                command += ["--tmpfs", f"{folder}/{package}"]
    return [*command, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--chdir", "/tmp", "--"]


def _environment(folder: str) -> dict[str, str]:
    """None of the judge's variables, as any of them may hold a secret."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {
        "PATH": "/usr/bin:/bin", "HOME": folder, "USER": "student", "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": folder, "PYTHONHASHSEED": "0",
        "TORCHDYNAMO_DISABLE": "1",  # torch.compile leaves functions as they are: compiling takes too long
        **threads,
    }  # fmt: skip
