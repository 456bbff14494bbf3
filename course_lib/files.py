"""Reading files that people edit, and writing files that must never be half there."""

import codecs
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ARCHIVE = "unpack it and use the file inside"
_ITSELF = "use the file itself"
# What people save, upload or download instead of the file they mean: how it begins, what it is, and what to do.
_KINDS = [
    (re.compile(start, re.IGNORECASE | re.DOTALL), f"{name}; {remedy}")
    for start, name, remedy in (
        (rb"version https://git-lfs", "a Git LFS pointer in place of the file", "run git lfs pull"),
        (
            rb"PK\x03\x04.{0,3000}?(word/|xl/|ppt/|\[Content_Types\]|mimetypeapplication/vnd\.oasis)|\xd0\xcf\x11\xe0|\{\\rtf",
            "an office document", _ITSELF,
        ),
        (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", _ARCHIVE),
        (rb"\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar", "an archive", _ARCHIVE),
        (rb"%PDF-", "a PDF", "use the file it was printed from"),
        (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|.ftyp", "a picture or a film", _ITSELF),
        (
            rb"bplist00|\[InternetShortcut\]|<\?xml.{0,300}<plist|https?://\S+\s*$",
            "a link", "download the file it leads to",
        ),
        (
            rb"<(!doctype|!--|\?xml|[a-z]+[\s>])", "a web page, not the file shown there",
            "download the file itself (on GitHub: Download raw file)",
        ),
    )
]  # fmt: skip
_CONFLICT = re.compile(rb"^(<{7}|>{7})( |\r?$)", re.MULTILINE)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_CODE = re.compile(
    rb"^(import \w|from \S+ import |(async )?def \w+\(|class \w+.*:|if __name__|print\(|@\w|%\w|!\w|# ?%%|# ?-\*-)",
    re.MULTILINE,
)


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
    if encoding := _wide(data):
        raise ValueError(f"{path} is {encoding}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is {recognised(data) or _not_utf8(error)}") from None


def parsed(data: bytes, *, errors: str = "strict") -> Any:
    """The JSON in `data`, which may have a byte-order mark, and zero bytes before or after it.

    `errors` is what to do with bytes that are not UTF-8, as for `bytes.decode`.

    Raises:
        ValueError: the data is not JSON. The message completes "the file is ...": what it is instead, and what to do.
    """
    bare = data.strip(b"\0")
    try:
        text = bare.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise ValueError(recognised(data) or _not_utf8(error)) from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(recognised(data) or _not_json(text, error)) from None
    if isinstance(found, dict) and (found.keys() & {"doc_id", "resource_id"} or found.keys() == {"url"}):
        raise ValueError("a link to a file in the cloud; download the file itself")
    return found


def recognised(data: bytes) -> str:
    """What a file is that is not the text it should be, and what to do, to complete "the file is ..."; or nothing."""
    bare = data.strip(b"\0").removeprefix(codecs.BOM_UTF8).lstrip()
    if not bare:
        zeros = data.count(b"\0")
        return f"empty: nothing but {zeros:,} zero bytes; upload it again" if zeros else "empty"
    if encoding := _wide(data):
        return encoding
    if kind := next((kind for start, kind in _KINDS if start.match(bare[:4096])), ""):
        return kind
    if conflict := _CONFLICT.search(data):
        line = data.count(b"\n", 0, conflict.start()) + 1
        return (
            f"in the middle of a Git merge: it has conflict markers, first in line {line:,}; resolve them and save it"
        )
    if bare.startswith(b"#!") or (bare[:1] not in b"{[" and _CODE.search(bare[:4096])):
        return "a script; use the file it was exported from"
    return "binary data, not text" if bare[:1] not in b"{[" and _BINARY.search(bare[:512]) else ""


def _wide(data: bytes) -> str:
    """Says so if the text has more than one byte per ASCII character; not everyone writes a byte-order mark."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "encoded in UTF-32; save it as UTF-8"
    start = data.strip(b"\0")[:64]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or re.fullmatch(rb"([\t-~]\0){2,}[\t-~]?", start):
        return "encoded in UTF-16; save it as UTF-8"
    return "encoded in UTF-32; save it as UTF-8" if re.match(rb"([\t-~]\0{3}){2}", start) else ""


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; save it as UTF-8"


def _not_json(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "not JSON that can be read: its lists are nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    if not text.lstrip().startswith(("{", "[", '"')):
        return "plain text, not JSON"
    if _cut_short(text, error):
        return "cut short: its JSON stops in the middle, so the upload or download was probably interrupted"
    return f"not JSON: {error}"


def _cut_short(text: str, error: json.JSONDecodeError) -> bool:
    """The error is that the text ends, in the middle of a string, a number or a word or between them."""
    in_text = error.msg.startswith("Unterminated string")
    return in_text or re.fullmatch(r"\\?[-+.\w]*\s*", text[error.pos :]) is not None


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
