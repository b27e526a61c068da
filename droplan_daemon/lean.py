"""A submodule of a library without all the rest of the library.

pyroute2's package imports each of its subsystems, 10 MB of them, of which droplan uses the
message classes: 2 MB. Memory is what our users' machines are short of.

Law: afterwards the interpreter is as if nothing had been done, but that the submodules are
loaded: whoever imports the package later gets it whole.
"""

import sys
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def bare(package: str) -> "Iterator[None]":
    """Import statements inside find the package's submodules, and do not run its `__init__`."""
    spec = find_spec(package) if package not in sys.modules else None
    if spec is None:
        yield
        return
    sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]
