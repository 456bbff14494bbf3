"""Files are replaced whole or not at all, and read as people save them."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from course_grader.notebook import UnreadableError, code_cells
from course_lib import corpus
from course_lib.files import read_text, replacing, write_text


@pytest.mark.parametrize("stop", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_stops_half_way_leaves_the_old_file_and_no_litter(tmp_path: Path, stop: BaseException) -> None:
    path = tmp_path / "new folder" / "grades.csv"
    write_text(path, "old\n")

    def write_half() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise stop

    with pytest.raises(type(stop)):
        write_half()
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_text(path, "old")
    with replacing(path, lasting=True) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_lasting_data_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "key", list[tuple[int, bool]]()
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append((os.fstat(file).st_size, path.exists())))
    write_text(path, "secret", lasting=True)
    assert flushed == [(6, False)]


def test_a_part_that_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".log.csv.{os.getpid()}.part").write_text("a longer text from before")
    write_text(tmp_path / "log.csv", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]
    assert (tmp_path / "log.csv").read_text() == "new"


def test_line_ends_are_written_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one\ntwo\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\r\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file modes")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_set_before_anything_is_written(tmp_path: Path, mode: int) -> None:
    with replacing(tmp_path / "key", mode=mode) as part:
        assert stat.S_IMODE(part.stat().st_mode) == mode
        part.unlink()
        os.close(os.open(part, os.O_CREAT, 0o700))  # another file in its place, as some libraries put there
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == mode


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "config.json").write_bytes(mark + "α = 1\n".encode())
    assert read_text(tmp_path / "config.json") == "α = 1\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("text".encode("utf-16"), "is encoded in UTF-16; save it as UTF-8"),
        (b"\xfe\xff" + "text".encode("utf-16-be"), "is encoded in UTF-16"),
        ("é".encode("latin-1"), "is not UTF-8: byte 0 is 0xe9"),
    ],
)
def test_another_encoding_is_refused_by_the_name_of_the_file(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "runs.csv").write_bytes(data)
    with pytest.raises(ValueError, match=r"runs\.csv") as error:
        read_text(tmp_path / "runs.csv")
    assert reason in str(error.value)


def test_the_byte_order_mark_of_a_text_to_train_on_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("schön", encoding="utf-8-sig")
    assert corpus.read(str(path)) == "schön".encode()
    path.write_bytes(b"\xff\x00 any bytes \xfe")
    assert corpus.read(str(path)) == path.read_bytes()
    path.write_text("schön", encoding="utf-16")
    with pytest.raises(ValueError, match=r"text\.txt is encoded in UTF-16; save it as UTF-8"):
        corpus.read(str(path))


def test_a_notebook_with_a_byte_order_mark_is_read_and_one_in_utf_16_told_apart() -> None:
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": "x = 'ü'"}], "nbformat": 4})
    assert code_cells(notebook.encode("utf-8-sig")) == ["x = 'ü'"]
    for encoding in ("utf-16", "utf-16-be"):
        text = notebook if encoding == "utf-16" else f"\ufeff{notebook}"
        with pytest.raises(UnreadableError, match="encoded in UTF-16; save it as UTF-8"):
            code_cells(text.encode(encoding))
