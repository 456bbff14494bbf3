"""The filter of system calls: its numbers are the kernel's, and it holds where a notebook runs."""

import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_grader.inside import syscalls
from course_grader.sandbox import Limits, Sandbox
from tests.hostile_probes import CALLED, SAME_SHARE, SOCKETS
from tests.test_inside import asked

HEADERS = [
    ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0), ("/usr/include/asm/unistd_64.h", 0),
    ("/usr/include/asm-generic/unistd.h", 1),
]  # fmt: skip
boxed = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(Limits(), warm=False) as box:
        yield box


@pytest.mark.parametrize(("header", "column"), HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(header: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header}: apt install linux-libc-dev")
    numbers = dict(re.findall(r"define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    rest = {"clone": syscalls.CLONE, "clone3": syscalls.CLONE3, "prctl": syscalls.PRCTL}
    ours = {**syscalls.REFUSED, **syscalls.IGNORED, **syscalls.SOCKETS, **rest}
    new = {name for name in ours if name not in numbers and ours[name][column] is not None}
    assert all((ours[name][column] or 0) > 440 for name in new), "no name is misspelt; old headers lack new calls"
    assert {name: str(ours[name][column]) for name in ours if name in numbers} == {
        name: numbers[name] for name in ours if name in numbers
    }


def test_jumps_and_length_are_within_what_a_filter_may_have() -> None:
    for mark, column in syscalls.MACHINES.values():
        steps = syscalls._filter(mark, column)
        assert len(steps) < 4096 and all(n + max(s.holds, s.fails) + 1 < len(steps) for n, s in enumerate(steps[:-1]))


@boxed
def test_of_sockets_there_are_three_families(sandbox: Sandbox) -> None:
    """AF_VSOCK, for one, reaches beyond the network namespace: the host of a virtual machine."""
    found = asked(sandbox, SOCKETS, list(range(46)))
    others = {family: errors for family, errors in found.items() if int(family) not in syscalls.FAMILIES.values()}
    assert len(others) == 43 and set(map(tuple, others.values())) == {(errno.EAFNOSUPPORT,) * 3}, others
    assert found[str(int(socket.AF_UNIX))] == [0, 0, 0]
    assert found[str(int(socket.AF_INET))][0] == 0 and found[str(int(socket.AF_INET6))][0] in (0, errno.EAFNOSUPPORT)


@boxed
def test_every_listed_call_is_refused(sandbox: Sandbox) -> None:
    column = syscalls.MACHINES[os.uname().machine][1]
    numbers = {name: number for name, each in syscalls.REFUSED.items() if (number := each[column]) is not None}
    found = dict(zip(numbers, asked(sandbox, CALLED, [*numbers.values()]), strict=True))
    assert {name for name, error in found.items() if error != errno.EPERM} == set()


@boxed
def test_nothing_changes_the_share_of_the_cpu_and_nothing_fails_for_it(sandbox: Sandbox) -> None:
    assert list(asked(sandbox, SAME_SHARE)) == ["True", True]
