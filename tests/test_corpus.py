import pytest
import torch

from course_lib import corpus


def test_python_docs_are_real_english_on_every_machine() -> None:
    text = corpus.text("python-docs")
    assert len(text) > 300_000
    assert "assert" in text and "the" in text.split()


def test_bytes_and_back() -> None:
    assert corpus.encode("né").tolist() == [110, 195, 169]
    assert corpus.decode(corpus.encode("Grüße, 世界")) == "Grüße, 世界"
    assert corpus.decode(torch.tensor([195])) == "\N{REPLACEMENT CHARACTER}"  # half a character
    assert int(corpus.encode(corpus.text("python-docs")).max()) < corpus.VOCABULARY


def test_an_unknown_text_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no text 'bible'; known: python-docs"):
        corpus.text("bible")
