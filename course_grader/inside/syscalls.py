"""System calls that no notebook needs and attacks do. A seccomp filter refuses them, to this process and to all that it
starts.
"""

import ctypes
import errno
import os

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
CLONE_NEWUSER, X32 = 0x10000000, 0x40000000
# by machine: how the kernel marks its calls, and which column of numbers below is its own
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
REFUSED = {
    # another process's memory and descriptors: a student's processes are one user's, and each must stay as it is
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    # memory that belongs to no process, and so counts for nobody
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    # namespaces and mounts of its own
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    # parts of the kernel where most holes were found
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # where they stand in what it looks at
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


class Instruction(ctypes.Structure):
    """If its test fails, so many of the next ones are passed over."""

    _fields_ = [("code", ctypes.c_uint16), ("holds", ctypes.c_uint8), ("fails", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("first", ctypes.POINTER(Instruction))]


def refuse() -> None:
    """From here on.

    Raises:
        OSError: the kernel has no such filters, or this machine's numbers are not known here.
    """
    if (machine := os.uname().machine) not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    instructions = _filter(*MACHINES[machine])
    program = Program(len(instructions), (Instruction * len(instructions))(*instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls")


def _filter(mark: int, column: int) -> list[Instruction]:
    refused = Instruction(RETURN, 0, 0, REFUSE | errno.EPERM)
    unknown = Instruction(RETURN, 0, 0, REFUSE | errno.ENOSYS)  # glibc then takes clone, whose flags can be read here
    steps = [Instruction(LOAD, 0, 0, MACHINE), Instruction(EQUAL, 1, 0, mark), refused]  # no calls of another machine
    steps += [Instruction(LOAD, 0, 0, NUMBER), Instruction(AT_LEAST, 0, 1, X32), refused]
    for numbers in REFUSED.values():
        steps += [Instruction(EQUAL, 0, 1, numbers[column]), refused]
    steps += [Instruction(EQUAL, 0, 1, CLONE3[column]), unknown]
    steps += [Instruction(EQUAL, 0, 3, CLONE[column]), Instruction(LOAD, 0, 0, FIRST_ARGUMENT)]
    steps += [Instruction(ANY_BIT, 0, 1, CLONE_NEWUSER), refused]
    return [*steps, Instruction(RETURN, 0, 0, ALLOW)]
