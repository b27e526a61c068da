"""Less memory: what our users' machines are short of.

Laws:
1. `bare` gives a submodule of a library without all the rest of it (pyroute2 imports each of its
   subsystems, 10 MB of them, of which droplan uses 2). Afterwards the interpreter is as if
   nothing had been done, but that the submodules are loaded: whoever imports the package later
   gets it whole.
2. `stand_in` gives a library a module that it imports and that droplan has no use for.
3. `one_heap` and `give_back` change nothing but what the process is charged for.
"""

import ctypes
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_M_ARENA_MAX = -8  # malloc.h


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


@contextmanager
def stand_in(name: str, **attributes: object) -> "Iterator[None]":
    """Import statements inside find a module of this name with these attributes alone."""
    if name in sys.modules:
        yield
        return
    module, (package, _, last) = ModuleType(name), name.rpartition(".")
    vars(module).update(attributes)
    sys.modules[name] = module
    parent = import_module(package) if package else None
    if parent:
        setattr(parent, last, module)
    try:
        yield
    finally:
        del sys.modules[name]
        if parent:
            delattr(parent, last)


def one_heap() -> None:
    """Let all threads allocate in one place: 0.8 MB, and they take turns anyway.

    glibc gives each thread that allocates while others do a heap of its own, and keeps it. Before the
    first thread; a C library that cannot do this (musl) is left alone; mallopt(3), M_ARENA_MAX.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the kernel what the C library holds free between two pieces in use: 4 MB after a poll.

    Without it glibc returns the end of its heap only. A C library that cannot do this (musl) is
    left alone; malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
