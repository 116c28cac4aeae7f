"""Beside step 3: no connection to a store is open while the process forks.

One registry and one hook. Where Python does not know of a fork (uWSGI), the hook does not run; what
is inherited then is kept for ever, since letting go of a connection would close it.
"""

from __future__ import annotations

import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Connected(Protocol):
        """What has a connection, and a lock."""

        def before_fork(self) -> bool: ...
        def after_fork(self) -> None: ...


_open: WeakSet[Connected] = WeakSet()
_locked: list[Connected] = []
_inherited: list[Connected] = []


def watch(one: Connected) -> None:
    """Call it before and after every fork of this process."""
    _open.add(one)


def keep(one: Connected) -> None:
    """In a child: never let go of this one."""
    _inherited.append(one)


def _before() -> None:
    _locked[:] = [one for one in tuple(_open) if one.before_fork()]


def _after() -> None:
    while _locked:
        _locked.pop().after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
