"""Reading files that people edit, and writing files that must never be half there."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, mode: int = 0o644, lasting: bool = False) -> Iterator[Path]:
    """Yields a temporary path next to `path`; what is written there becomes `path` when the block ends.

    If the block raises, the temporary file is removed and `path` stays as it was. Readers see the old file or the new
    one, never a part. With `lasting` the data is on the disk before it gets its name, so that even a power cut leaves
    one of the two; that takes milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)  # left by a killed process that had the same number
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT, mode))
        permissions = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(permissions)  # safetensors makes a new file in its place, which only its owner could read
        if lasting:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, mode: int = 0o644, lasting: bool = False) -> None:
    """Writes UTF-8 with the line ends of `text`, whole or not at all."""
    with replacing(path, mode=mode, lasting=lasting) as part:
        part.write_bytes(text.encode("utf-8"))


def read_text(path: Path) -> str:
    """Text in UTF-8, with or without the byte-order mark that Windows editors and Excel put at its start.

    Raises:
        ValueError: another encoding; the message names the file.
        OSError: the file cannot be read.
    """
    return decoded(path.read_bytes(), path)


def decoded(data: bytes, path: Path) -> str:
    """As `read_text`, for `data` that were read from `path`."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is encoded in UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}; save it as UTF-8"
        ) from None


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Holds a lock on the file `path`, which is made for it. The system lifts it when the process ends in any way.

    Raises:
        ValueError: it is held already, in this process or another; the message is `refusal`.
    """
    from filelock import FileLock, Timeout  # here: its import takes a fifth of a second

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path, timeout=0).acquire()
    except Timeout:
        raise ValueError(refusal) from None
    with lock:
        yield
