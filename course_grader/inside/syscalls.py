"""A seccomp filter for student code: it refuses system calls that notebooks do not need and attacks do.

It applies to the process that installs it and to everything that process starts. No one can remove it.
"""

import ctypes
import errno
import os
from collections.abc import Sequence

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 4, 38, 22, 2
CLONE_NEWUSER, X32 = 0x10000000, 0x40000000
# by machine: the kernel's name for its set of system calls, and the column of the numbers below
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
REFUSED: dict[str, tuple[int, int | None]] = {  # None: this machine has no such call
    # the memory and descriptors of other processes: all processes of a student have the same user id
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
    # memory that belongs to no process, so no limit would count it
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # new namespaces, mounts and roots
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "chroot": (161, 51),
    # files by their number on the disk, past the mounts; watching files that the whole system uses
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # the machine as a whole. The kernel also asks for a capability here, and the student has none
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89),
    "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    # parts of the kernel in which most holes have been found, or that make one easier to use
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "personality": (135, 92),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
# These do nothing and report success, because honest code calls them too. Each session of processes gets a share of the
# CPU, and with a lower priority or a busier core a process can pretend that others keep it waiting.
IGNORED = {
    "setsid": (112, 157), "setpriority": (141, 140), "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
}  # fmt: skip
PRCTL, SOCKETS = (157, 167), {"socket": (41, 198), "socketpair": (53, 199)}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}  # the only ones that the network namespace bounds
CLONE, CLONE3 = (56, 220), (435, 435)
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter
# Offsets in the data the filter sees. An argument has 64 bits, lower half first; those tested here are ints, and of
# these the kernel, too, takes the lower half alone.
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, ERROR = 0x7FFF0000, 0x00050000  # with the number of an error; 0 skips the call and reports success


class Instruction(ctypes.Structure):
    """A test also says how many of the next instructions to skip if it `holds` and if it `fails`."""

    _fields_ = [("code", ctypes.c_uint16), ("holds", ctypes.c_uint8), ("fails", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("first", ctypes.POINTER(Instruction))]


def refuse() -> None:
    """Installs the filter, for good.

    Raises:
        OSError: the kernel does not support such filters, or the numbers of this machine's calls are not listed here.
    """
    if (machine := os.uname().machine) not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    instructions = _filter(*MACHINES[machine])
    program = Program(len(instructions), (Instruction * len(instructions))(*instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls")


def _filter(mark: int, column: int) -> list[Instruction]:
    allowed, refused, ignored = _end(ALLOW), _end(ERROR | errno.EPERM), _end(ERROR)
    unknown = _end(ERROR | errno.ENOSYS)  # glibc then falls back to clone, whose flags can be read here
    # what a kernel without the family says, so libraries fall back to what there is
    no_family = _end(ERROR | errno.EAFNOSUPPORT)
    steps = [_load(MACHINE), Instruction(EQUAL, 1, 0, mark), refused]  # no calls of another machine
    steps += [_load(NUMBER), Instruction(AT_LEAST, 0, 1, X32), refused]
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            steps += _call(number, [refused])
    for numbers in IGNORED.values():
        steps += _call(numbers[column], [ignored])
    steps += _call(CLONE3[column], [unknown])
    steps += _call(CLONE[column], [_load(FIRST_ARGUMENT), Instruction(ANY_BIT, 0, 1, CLONE_NEWUSER), refused, allowed])
    # a process that hides its files in /proc would hide its memory from the grader
    steps += _call(PRCTL[column], _first_argument([PR_SET_DUMPABLE], ignored, allowed))
    for numbers in SOCKETS.values():
        steps += _call(numbers[column], _first_argument([*FAMILIES.values()], allowed, no_family))
    return [*steps, allowed]


def _call(number: int, steps: list[Instruction]) -> list[Instruction]:
    """For the call of this number these steps, which end the filter."""
    return [Instruction(EQUAL, 0, len(steps), number), *steps]


def _first_argument(values: Sequence[int], same: Instruction, other: Instruction) -> list[Instruction]:
    tests = [step for value in values for step in (Instruction(EQUAL, 0, 1, value), same)]
    return [_load(FIRST_ARGUMENT), *tests, other]


def _load(offset: int) -> Instruction:
    return Instruction(LOAD, 0, 0, offset)


def _end(verdict: int) -> Instruction:
    return Instruction(RETURN, 0, 0, verdict)
