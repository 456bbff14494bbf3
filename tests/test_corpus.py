import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_lib import corpus
from course_lib.stories import entropy_per_byte, stories
from tests.conftest import Site


@pytest.fixture(scope="module")
def tales() -> corpus.Corpus:
    return corpus.load("stories", 60_000)


def as_bytes(tokens: torch.Tensor) -> bytes:
    return bytes(tokens.tolist())


def test_python_docs_are_real_english_on_every_machine() -> None:
    text = corpus.text("python-docs")
    assert len(text) > 300_000
    assert "assert" in text and "the" in text.split()


def test_bytes_and_back() -> None:
    assert corpus.encode("né").tolist() == [110, 195, 169]
    assert corpus.decode(corpus.encode("Grüße, 世界")) == "Grüße, 世界"
    assert corpus.decode(torch.tensor([195])) == "\N{REPLACEMENT CHARACTER}"  # half a character
    assert int(corpus.encode(corpus.text("python-docs")).max()) < corpus.VOCABULARY


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xff" + b"0123456789" * 10)  # any bytes will do
    assert corpus.read(str(path)) == path.read_bytes()
    assert corpus.read(str(path), 5) == b"\xff0123"
    own = corpus.load(str(path), 100)
    assert as_bytes(torch.cat([own.training, own.validation])) == path.read_bytes()[:100]
    assert (len(own.training), len(own.validation), own.floor) == (90, 10, None)


def test_an_unknown_text_is_named_with_the_known_ones(tmp_path: Path) -> None:
    known = "known: stories, python-docs, tinyshakespeare"
    with pytest.raises(ValueError, match=f"no text 'bible' and no file of that name; {known}"):
        corpus.text("bible")
    with pytest.raises(ValueError, match=known):
        corpus.load(str(tmp_path))  # a folder


def test_texts_that_are_too_short_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"short\.txt has 0 bytes, wanted at least one"):
        corpus.load(str(path))
    path.write_bytes(b"Once upon")
    with pytest.raises(ValueError, match="has 9 bytes, too short to keep a tenth"):
        corpus.load(str(path))
    with pytest.raises(ValueError, match="has 9 bytes, wanted 10"):
        corpus.read(str(path), 10)
    with pytest.raises(ValueError, match="n_bytes must be 1 or more, got 0"):
        corpus.read("stories", 0)


def test_windows_must_fit(tales: corpus.Corpus) -> None:
    with pytest.raises(ValueError, match=r"windows of 6000 \+ 1 bytes do not fit the validation text of 6000 bytes"):
        tales.windows(2, 6000)
    with pytest.raises(ValueError, match=r"windows of 54000 \+ 1 bytes do not fit the training text of 54000 bytes"):
        tales.batch(0, 2, 54_000)
    with pytest.raises(ValueError, match=r"windows of 0 \+ 1 bytes"):
        tales.batch(0, 2, 0)
    assert tales.windows(1, 5999).shape == (1, 6000)


def test_training_and_validation_share_no_story(tales: corpus.Corpus) -> None:
    assert as_bytes(tales.training) == stories(54_000, seed=0)
    training, validation = (set(as_bytes(part).split(b"\n")[:-1]) for part in (tales.training, tales.validation))
    assert len(training) > 50 and len(validation) > 5
    assert not training & validation
    assert tales.floor == entropy_per_byte()
    docs, everything = corpus.load("python-docs"), corpus.read("python-docs")
    assert as_bytes(docs.training) + as_bytes(docs.validation) == everything
    assert len(docs.validation) == len(everything) // 10


def test_a_batch_is_a_function_of_seed_and_step(tales: corpus.Corpus, device: str) -> None:
    first = [tales.batch(step, 3, 17, seed=5, device=device) for step in range(6)]
    torch.manual_seed(99)  # the state of nothing else matters
    resumed = [tales.batch(step, 3, 17, seed=5) for step in (3, 4, 5)]
    for got, wanted in zip(resumed, first[3:], strict=True):
        assert wanted.device.type == device and got.dtype == torch.int64 and got.shape == (3, 18)
        assert torch.equal(got, wanted.cpu())
    pairs = [(5, 4), (4, 5), (4, 4), (6, 4), (5, 5), (5 + 2**32, 4), (5, 4 + 2**32), (7, 4), (54, 0), (0, 54), (5, 40)]
    assert len({tuple(tales.batch(step, 3, 17, seed=seed).flatten().tolist()) for seed, step in pairs}) == len(pairs)


def test_windows_are_where_they_are_asked_for_or_where_the_text_is(tales: corpus.Corpus, device: str) -> None:
    moved = replace(tales, training=tales.training.to(device), validation=tales.validation.to(device))
    for text, place, expected in [
        (tales, None, "cpu"),
        (tales, device, device),
        (moved, None, device),
        (moved, "cpu", "cpu"),
    ]:
        batch, windows = text.batch(2, 3, 17, device=place), text.windows(4, 9, device=place)
        assert batch.device.type == windows.device.type == expected
        assert torch.equal(batch.cpu(), tales.batch(2, 3, 17)) and torch.equal(windows.cpu(), tales.windows(4, 9))
    assert corpus.encode("né", device=device).device.type == device
    assert corpus.decode(corpus.encode("né", device=device)) == "né"


def test_windows_come_from_everywhere_and_are_what_stands_there() -> None:
    part = torch.arange(40, dtype=torch.uint8)
    numbers = corpus.Corpus(name="numbers", training=part, validation=part + 100)
    rows = numbers.batch(0, 2000, 7)
    assert torch.equal(rows, rows[:, :1] + torch.arange(8))
    starts = rows[:, 0].bincount(minlength=33)
    assert len(starts) == 33 and starts.min() > 30 and starts.max() < 100  # 2000 / 33 = 61, five deviations either way
    assert numbers.windows(3, 7)[:, 0].tolist() == [100, 111, 122]
    assert torch.equal(numbers.windows(3, 7), numbers.windows(3, 7))


@pytest.fixture
def site(loopback: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that tinyshakespeare is downloaded from."""
    monkeypatch.setattr(corpus, "SHAKESPEARE_URL", f"{loopback.url}/input.txt")
    monkeypatch.setattr(corpus, "SHAKESPEARE_SHA256", hashlib.sha256(b"To be, or not to be").hexdigest())
    return loopback.folder


def test_shakespeare_is_downloaded_once_and_checked(site: Path) -> None:
    (site / "input.txt").write_bytes(b"To be, or not to bee")
    with pytest.raises(ValueError, match="does not match the known hash"):
        corpus.read("tinyshakespeare")
    (site / "input.txt").write_bytes(b"To be, or not to be")
    assert corpus.read("tinyshakespeare") == b"To be, or not to be"
    (site / "input.txt").unlink()
    assert corpus.read("tinyshakespeare", 5) == b"To be"


def test_no_network_says_what_to_do(site: Path) -> None:
    with pytest.raises(
        ConnectionError,
        match=r"download tinyshakespeare \(.*\)\. The text stories needs no network\. Or save http.* COURSE_DATA",
    ):
        corpus.read("tinyshakespeare")


def test_shakespeare_from_a_folder_is_checked_too(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (site / "input.txt").write_bytes(b"To be, or not to be")  # must not be asked
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"COURSE_DATA names .*, which has no tinyshakespeare\.txt; unset it"):
        corpus.read("tinyshakespeare")
    (tmp_path / "tinyshakespeare.txt").write_bytes(b"That is the question")
    with pytest.raises(ValueError, match="is another file: its sha256 is"):
        corpus.read("tinyshakespeare")
    (tmp_path / "tinyshakespeare.txt").write_bytes(b"To be, or not to be")
    assert corpus.read("tinyshakespeare") == b"To be, or not to be"


@pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="needs a folder with tinyshakespeare.txt in COURSE_DATA")
def test_the_real_shakespeare() -> None:
    everything = corpus.read("tinyshakespeare")
    assert len(everything) == 1_115_394 and everything.startswith(b"First Citizen:")
