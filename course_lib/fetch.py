"""Files of others: downloaded once from where they were published, checked, never part of this project."""

import hashlib
import os
from pathlib import Path

import pooch


def fetch(name: str, file: str, sha256: str, url: str | None, instead: str = "") -> bytes:
    """What `file` holds, from the folder that COURSE_DATA names, or downloaded once; checked either way.

    `name` is what the user asked for, and `instead` a sentence on what to do without it. Without `url` there is nothing
    to download.

    Raises:
        ValueError: a file with another sha256.
        OSError: a file that is not there, a download that failed.
    """
    if folder := os.environ.get("COURSE_DATA"):
        path = Path(folder) / file
        if not path.is_file():
            remedy = f"unset it to download {name} from {url}" if url else instead
            raise FileNotFoundError(f"COURSE_DATA names {folder}, which has no {file}; {remedy}")
        content = path.read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != sha256:
            raise ValueError(f"{path} is another file: its sha256 is {found}, wanted {sha256}")
        return content
    if url is None:
        raise FileNotFoundError(f"{file} is not in COURSE_DATA, which is not set; {instead}")
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", file, pooch.os_cache("deepseek-course"))).read_bytes()
    except OSError as error:
        save = f"{instead} Or save" if instead else "Save"
        raise ConnectionError(
            f"could not download {name} ({error}). {save} {url} as {file} in a folder and let COURSE_DATA, in the "
            "environment, name that folder."
        ) from error
