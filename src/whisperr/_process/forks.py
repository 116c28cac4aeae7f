"""What happens around a fork: one registry and one hook.

Order of locks: the locks of the registered queues first, then the import lock, because a call of a
store may import on first use while it holds its own. They are released in the opposite order.

Python does not run the hook where C code forks (uWSGI). A child of such a fork keeps what it
inherited for ever (`keep`), since letting go of a connection would close it.
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
        """Holds a lock and a connection that must not be in use while the process forks."""

        def before_fork(self) -> bool:
            """Lock and close the connection; return whether `after_fork` is to unlock."""

        def after_fork(self) -> None:
            """Unlock, in the parent and in the child."""


_registered: set[ref[Forkable]] = set()
_locked: list[Forkable] = []
_inherited: list[object] = []
_in_child: list[Callable[[], None]] = []


def register(one: Forkable) -> None:
    """Call `one` before and after every fork of this process, for as long as it lives."""
    _registered.add(ref(one, _registered.discard))


def call_in_child(function: Callable[[], None]) -> None:
    """Call a function in every forked child, after the locks are free."""
    _in_child.append(function)


def keep(one: object) -> None:
    """In a child: never let go of this inherited object."""
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


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
