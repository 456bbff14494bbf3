"""`transformers`, by name where a test asks: its models take seconds to import, and each process collects all tests."""

from importlib import import_module
from typing import Any


def hf(name: str, module: str = "") -> Any:
    """What `transformers` calls so, or a module in it."""
    return getattr(import_module(f"transformers{module}"), name)
