"""What this machine has, and how to fix what is missing."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
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
    memory = torch.cuda.mem_get_info()[1] if cuda else psutil.virtual_memory().total
    lab = importlib.util.find_spec("jupyterlab") is not None
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Finding("Python", platform.python_version()),
        Finding("PyTorch", torch.__version__),
        Finding("device", device, "" if cuda else _unused_gpu()),
        Finding("memory", f"{memory / 2**30:.0f} GiB"),
        Finding("JupyterLab", "installed" if lab else "absent", "" if lab else "python3 course.py lab installs it"),
        Finding("disk", f"{free / 1e9:.0f} GB free", "" if free > 2e9 else "an installation takes about 2 GB"),
        Finding(
            "Chromium",
            chromium() or "absent",
            "" if chromium() else "needed only for browser tests; on Debian: sudo apt install chromium",
        ),
        _sandbox(),
    ]


def _unused_gpu() -> str:
    """What keeps PyTorch from using a GPU that this machine seems to have."""
    if not shutil.which("nvidia-smi"):
        return ""  # a CPU is enough
    if torch.version.cuda:
        return "PyTorch finds no GPU although NVIDIA's driver is installed; see what nvidia-smi reports"
    if sys.platform == "linux":
        return "PyTorch's CPU build cannot use the GPU; to get the CUDA build, delete .venv and run without --cpu"
    return "PyTorch's CPU build cannot use the GPU; to use it, install a CUDA build into .venv"


def _sandbox() -> Finding:
    """Whether bubblewrap, which isolates students' code while it is graded, works here."""
    needed = "needed only for `course.py grade`, on Linux"
    if not (bubblewrap := shutil.which("bwrap")):
        install = "; on Debian: sudo apt install bubblewrap" if sys.platform == "linux" else ""
        return Finding("sandbox", "absent", needed + install)
    command = [bubblewrap, "--ro-bind", "/", "/", "--unshare-pid", "--unshare-net", "--proc", "/proc", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode:
        reason = tried.stderr.strip().splitlines()[-1:]
        return Finding("sandbox", "bubblewrap, not working", f"{needed}; {''.join(reason) or 'it gives no reason'}")
    return Finding("sandbox", f"{bubblewrap}, working")
