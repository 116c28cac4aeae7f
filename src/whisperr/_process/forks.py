"""What runs before and after a fork: one registry and one hook.

Order of locks: those of the registered queues first, then the import lock, because a store may
import a module on first use while it holds its lock. They are released in the opposite order.

Python does not run the hook when C code forks, as in uWSGI. A child of such a fork keeps what it
inherited forever (`keep`), because releasing a connection would close it.
"""

from __future__ import annotations

import os
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

from . import identity, imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Forkable(Protocol):
        """Has a lock and a connection that must not be in use while the process forks."""

        def before_fork(self) -> bool:
            """Take the lock and close the connection; return whether `after_fork` must unlock."""

        def after_fork(self) -> None:
            """Release the lock; called in the parent and in the child."""


_registered: set[ref[Forkable]] = set()
_locked: list[Forkable] = []
_inherited: list[object] = []
_in_child: list[Callable[[], None]] = []


def register(one: Forkable) -> None:
    """Call `one` before and after every fork of this process, as long as it exists."""
    _registered.add(ref(one, _registered.discard))


def call_in_child(function: Callable[[], None]) -> None:
    """Register a function to call in every forked child after the locks are released."""
    _in_child.append(function)


def keep(one: object) -> None:
    """Keep an inherited object alive in this child forever."""
    _inherited.append(one)


def _before() -> None:
    alive = [one for known in _registered.copy() if (one := known()) is not None]
    _locked[:] = [one for one in alive if one.before_fork()]
    imports.before_fork()


def _after_in_parent() -> None:
    imports.after_fork_in_parent()
    _unlock()


def _after_in_child() -> None:
    imports.after_fork_in_child()
    identity.after_fork_in_child()
    _unlock()
    for function in _in_child:
        function()


def _unlock() -> None:
    while _locked:
        _locked.pop().after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
