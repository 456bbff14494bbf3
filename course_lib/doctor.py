"""What this machine has, and how to fix what is missing."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True)
class Finding:
    name: str
    found: str
    remedy: str = ""  # empty: nothing to fix


def chromium() -> str | None:
    """A browser for the browser tests: the first Chromium on the path."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def examine() -> list[Finding]:
    """Check what the course uses; nothing here needs more than a CPU."""
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    memory = torch.cuda.mem_get_info()[1] if cuda else _memory()
    lab = importlib.util.find_spec("jupyterlab") is not None
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Finding("Python", platform.python_version()),
        Finding("PyTorch", torch.__version__),
        Finding("device", device, "" if cuda else _unused_gpu()),
        Finding("memory", f"{memory / 2**30:.0f} GiB" if memory else "unknown"),
        Finding("JupyterLab", "installed" if lab else "absent", "" if lab else "python3 course.py lab installs it"),
        Finding(
            "disk", f"{free / 1e9:.0f} GB free", "" if free > 2e9 else "free some: an installation takes about 2 GB"
        ),
        Finding(
            "Chromium",
            chromium() or "absent",
            "" if chromium() else "only browser tests want it; on Debian: sudo apt install chromium",
        ),
        _sandbox(),
    ]


def _unused_gpu() -> str:
    """What a GPU lacks that is here and that PyTorch does not see."""
    if not shutil.which("nvidia-smi"):
        return ""  # a CPU is enough
    if torch.version.cuda:
        return "PyTorch sees no GPU, though there is a driver: nvidia-smi tells what it sees"
    return "this PyTorch is for CPUs: to use the GPU, install a CUDA build of it into .venv"


def _sandbox() -> Finding:
    """Whether bubblewrap, in which students' code is graded, can make what it needs."""
    wanted = "only `course.py grade` wants it, on Linux"
    if not (bubblewrap := shutil.which("bwrap")):
        install = "; on Debian: sudo apt install bubblewrap" if sys.platform == "linux" else ""
        return Finding("sandbox", "absent", wanted + install)
    command = [bubblewrap, "--ro-bind", "/", "/", "--unshare-pid", "--unshare-net", "--proc", "/proc", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode:
        reason = tried.stderr.strip().splitlines()[-1:]
        return Finding("sandbox", "bubblewrap, not working", f"{wanted}; {''.join(reason) or 'it gives no reason'}")
    return Finding("sandbox", f"{bubblewrap}, working")


def _memory() -> int | None:
    """Bytes of main memory, where the system tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
