"""Imports that would take seconds for something that nobody here asks for."""

import contextlib
import sys
from collections.abc import Iterator

_GRAMMAR = "rfc3987_syntax"  # compiles a grammar of international addresses, seconds on a slow core


@contextlib.contextmanager
def quick_jsonschema() -> Iterator[None]:
    """Inside it what imports jsonschema (nbformat, plotly, Voilà) finds no checker of such addresses, which
    jsonschema does without."""
    absent = _GRAMMAR not in sys.modules
    if absent:
        sys.modules[_GRAMMAR] = None  # an import of it fails at once
    try:
        yield
    finally:
        if absent:
            del sys.modules[_GRAMMAR]
