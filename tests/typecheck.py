"""The type checker that the import hook of conftest.py applies: beartype, with 1 accepted where 1.0 is meant."""

from collections.abc import Iterator
from contextlib import contextmanager

from beartype import BeartypeConf, beartype
from jaxtyping import config

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


@contextmanager
def shape_checks(on: bool) -> Iterator[None]:
    """Off where hundreds of calls follow that are like checked ones: of a small pass, checks take most of the time."""
    config.update("jaxtyping_disable", not on)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
