"""What the tests of the wall run inside: cells that define `asked`, which says what it has found."""

READ = """
import os
def asked(paths):
    seen = []
    for path in paths:
        try:
            seen.append(path + " is a folder of " + repr(os.listdir(path)) if os.path.isdir(path) else open(path).read())
        except OSError as error:
            seen.append(type(error).__name__)
    return seen
"""

CONNECT = """
import socket
def asked(port, name):
    outcomes = []
    for family, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, chr(0) + name), (socket.AF_INET, ("192.0.2.1", 80))):
        try:
            with socket.socket(family) as one:
                one.settimeout(2)
                one.connect(address)
            outcomes.append("connected")
        except OSError as error:
            outcomes.append("no")
    try:
        outcomes.append(str(socket.getaddrinfo("example.org", 80)))
    except OSError:
        outcomes.append("no")
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError:  # they come by AF_NETLINK
        names = []
    return outcomes + [names in ([], ["lo"])]
"""

WRITE = """
import os, sys, sysconfig, wire
def asked():
    written = []
    places = ["/", "/usr", "/usr/lib", "/bin", "/etc", "/dev", "/home", "/root", "/proc", sys.prefix, sys.base_prefix, os.path.dirname(wire.__file__),
              sysconfig.get_path("purelib"), os.path.dirname(sys.executable), "/tmp"]
    for place in places:
        for path in (os.path.join(place, "mine"), wire.__file__, sys.executable):
            for opened in ("w", "a", "r+"):
                try:
                    open(path, opened).close()
                    written.append(path)
                except OSError:
                    pass
        try:
            os.chmod(place, 0o777); os.rename(place, place + "2")
            written.append(place)
        except OSError:
            pass
    return sorted(set(written))
"""

RISE = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def tried(function, *arguments):
    try: return function(*arguments)
    except OSError as error: return type(error).__name__
def asked():
    before = [os.getuid(), os.geteuid(), libc.prctl(39, 0, 0, 0, 0), list(resource.getrlimit(resource.RLIMIT_CORE))]
    changed = [tried(os.setuid, 0), tried(os.setgid, 0), tried(os.chroot, "/tmp"), tried(os.mknod, "/tmp/sda", 0o60666, os.makedev(8, 0))]
    libc.unshare(0x10000000 | 0x00020000)  # a namespace of users and mounts, where there may be capabilities
    umounted = [libc.umount2(place, 2) for place in (b"/proc", b"/tmp", b"/dev", b"/usr")]
    return before, changed, umounted, os.listdir("/proc")
"""

KILL = """
import os
def asked(pids):
    reached = []
    for pid in pids:
        try: os.kill(pid, 0); reached.append(pid)
        except OSError: pass
    return reached, os.getpid(), sorted(n for n in os.listdir("/proc") if n.isdigit())
"""

DESCRIPTORS = """
import os, stat
def asked():
    kinds = []
    for number in range(3, 1024):
        try: kinds.append(stat.S_IFMT(os.fstat(number).st_mode))
        except OSError: pass
    return kinds
"""

SEARCH = """
import os

def search(root, lines, modules, skipped):
    "Files that have one of the lines, or the name of one of the modules; and how many have been looked into."
    found, count, lines, modules = [], 0, set(lines), set(modules)
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in skipped]
        for name in files:
            path = os.path.join(folder, name)
            count += 1
            try:
                if name.split(".")[0] in modules:
                    found.append(path)
                elif os.path.isfile(path) and os.path.getsize(path) < 1_000_000:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        if any(line.strip(" \\t\\n,") in lines for line in file):
                            found.append(path)
            except OSError:
                pass
    return count, found
"""

ASKED_TO_SEARCH = """
CONTROL = os.path.join(os.getcwd(), "control")

def asked(lines, modules, skipped):
    os.makedirs(CONTROL, exist_ok=True)
    with open(CONTROL + "/notes", "w") as file:
        file.write("x = 1" + chr(10) + "    " + lines[0] + chr(10))
    open(CONTROL + "/" + modules[0] + ".cpython-311.pyc", "w").close()
    count, found = search("/", lines, modules, set(skipped))
    return count, sorted(found)
"""

LEFT = """
import os, time
from multiprocessing import shared_memory
open("/tmp/left", "w").write("x")
def asked():
    if os.fork() == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            while True: time.sleep(0.1)
        os._exit(0)
    time.sleep(0.1)
    return True
"""

REFUSED = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Part(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
def asked():
    data = ctypes.create_string_buffer(8)
    here = ctypes.byref(Part(ctypes.addressof(data), 8))
    calls = {
        "a user namespace": lambda: libc.unshare(0x10000000),
        "a user namespace with a process": lambda: libc.syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], 0x10000000 | 17, 0, 0, 0, 0),
        "another's namespaces": lambda: libc.setns(0, 0),
        "memory of another": lambda: libc.process_vm_writev(os.getppid(), here, 1, here, 1, 0),
        "a trace of another": lambda: libc.ptrace(16, os.getppid(), 0, 0),
        "memory of no process": lambda: libc.memfd_create(b"x", 0),
        "shared memory of old": lambda: libc.shmget(0, 1 << 20, 0o1600),
    }
    refused = {}
    for name, call in calls.items():
        ctypes.set_errno(0)
        if call() == 0 and "process" in name: os._exit(0)  # the child, where there is one
        refused[name] = ctypes.get_errno()
    return refused
"""

SOCKETS = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
SOCKET, PAIR = {"x86_64": (41, 53), "aarch64": (198, 199)}[os.uname().machine]
def asked(families):
    "By family: the error of a socket, of one whose number has more bits than the kernel looks at, and of a pair."
    found = {}
    for family in families:
        errors = []
        for number, value in ((SOCKET, family), (SOCKET, family | 1 << 32), (PAIR, family)):
            ctypes.set_errno(0)
            pair = (ctypes.c_int * 2)()
            made = libc.syscall(number, ctypes.c_long(value), 2 if number == SOCKET else 1, 0, pair)
            errors.append(ctypes.get_errno())
            for one in (pair if number == PAIR else [made]):
                if made >= 0: os.close(one)
        found[str(family)] = errors
    return found
"""

CALLED = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def asked(numbers):
    "The errors of system calls without meaningful arguments."
    errors = []
    for number in numbers:
        ctypes.set_errno(0)
        libc.syscall(number, -1, -1, -1, -1, -1, -1)
        errors.append(ctypes.get_errno())
    return errors
"""

SAME_SHARE = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def state():
    return [os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), libc.prctl(3, 0, 0, 0, 0)]
def asked():
    before, (read, write) = state(), os.pipe()
    if os.fork() == 0:
        os.setsid(); os.nice(19); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        libc.prctl(4, 0, 0, 0, 0)
        os.write(write, repr(state() == before).encode()); os._exit(0)
    own = subprocess.run([sys.executable, "-c", "import os; print(os.getsid(0))"], start_new_session=True, capture_output=True)
    return os.read(read, 100).decode(), int(own.stdout) == before[0]
"""
