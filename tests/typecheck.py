"""The type checker that the import hook of conftest.py applies: beartype, with 1 accepted where 1.0 is meant."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
