"""Ctrl-C waits for its moment; memory that is left is measured within the limits of container and shell."""

import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from course_lib import host


def test_ctrl_c_is_raised_after_the_block_and_then_works_as_before() -> None:
    before, done = signal.getsignal(signal.SIGINT), list[str]()

    def work() -> None:
        with host.defer_ctrl_c():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done and signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_is_passed_on_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="out of memory"), host.defer_ctrl_c():
        raise RuntimeError("out of memory")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_are_left_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with host.defer_ctrl_c():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize(("limit", "available"), [(None, 900), ("max\n", 900), ("700\n", 700), ("5000\n", 900)])
def test_the_limit_of_a_container_counts(
    limit: str | None, available: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(host, "CGROUP_LIMITS", (str(tmp_path / "memory.max"), str(tmp_path / "absent")))
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert host.available_memory() == available


@pytest.mark.parametrize("limits", [("800", "600"), ("600", "800")])
def test_the_lowest_limit_counts_of_whichever_version(
    limits: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    for path, limit in zip(paths, limits, strict=True):
        path.write_text(limit)
    monkeypatch.setattr(host, "CGROUP_LIMITS", paths)
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert host.available_memory() == 600


@pytest.mark.parametrize(
    ("limit", "usage", "cache"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_what_a_container_uses_is_not_left_but_its_cache_is(
    limit: str, usage: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in ((limit, "800\n"), (usage, "500\n"), ("memory.stat", f"anon 300\n{cache} 150\nactive_file 50\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host, "CGROUP_LIMITS", (tmp_path / limit,))
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=900, total=1000))
    assert (host.unused_memory(), host.total_memory()) == (450, 800)
    (tmp_path / usage).write_text("999\n")
    assert host.unused_memory() == 0
    (tmp_path / limit).write_text("max\n")
    assert (host.unused_memory(), host.total_memory()) == (900, 1000)


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux's")
@pytest.mark.parametrize(("taken", "left"), [(200, 300), (800, 0)])
def test_the_limit_of_the_shell_counts(taken: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(rlimit=lambda _: (500, -1), memory_info=lambda: SimpleNamespace(vms=taken))
    monkeypatch.setattr(host.psutil, "Process", lambda: process)
    assert host.available_memory() == left


def test_freed_memory_can_be_returned_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    host.return_freed_memory()
    monkeypatch.setattr(host.ctypes, "CDLL", lambda _: SimpleNamespace())  # musl has no malloc_trim
    host.return_freed_memory()
    monkeypatch.setattr(host.sys, "platform", "win32")
    monkeypatch.setattr(host.ctypes, "CDLL", lambda _: pytest.fail("there is none"))
    host.return_freed_memory()
