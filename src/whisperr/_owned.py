"""Opens files that only their owner can access, and refuses others with the reason.

If other users can write to a file, it may contain anything. If they can read it, they see what is
written to it. So neither kind is used, nor a file of another user, nor a symbolic link. Windows has
no modes or numbered owners, and the owner is not checked there.
"""

from __future__ import annotations

import os
import stat
from secrets import token_hex
from typing import TYPE_CHECKING

from ._platform import get_user_id

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = 0o077  # the permissions of group and others
# Flags that not every system has: follow no link, and do not wait for the other end of a pipe.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class NotOwned(Exception):  # noqa: N818  # a finding, not a failure
    """Why a file is not used and what to do about it, in one line without the file's name."""


def open_regular(path: Path, *, create: bool = False) -> int:
    """Open a regular file for reading and appending; return its descriptor.

    With `create` a missing file is created for its owner only. Raises NotOwned and OSError. The
    caller reads the content, and calls `check_owner` before it trusts the content or writes.
    """
    flags = os.O_RDWR | os.O_APPEND | _FLAGS
    try:
        _check_kind(path.lstat())  # first, because opening alone can change a device
    except FileNotFoundError:
        if not create:
            raise
        flags |= os.O_CREAT | os.O_EXCL
    file = os.open(path, flags, 0o600)
    try:
        _check_kind(os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def check_owner(file: int) -> None:
    """Raise NotOwned if the file belongs to another user or if other users can access it."""
    user = get_user_id()
    if user is None:
        return
    status = os.fstat(file)
    if status.st_uid != user:
        raise NotOwned("it belongs to another user; choose another file")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise NotOwned(
            f"other users can access it (mode {mode:o}); chmod 600 it, or choose another file"
        )


def create_beside(path: Path) -> tuple[int, Path]:
    """Create a file next to `path` for its owner only; return its descriptor and path."""
    fresh = path.parent / f"{path.name}.{token_hex(4)}.new"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS
    return os.open(fresh, flags, 0o600), fresh


def is_same_file(file: int, path: Path) -> bool:
    """Return whether `path` leads to the file of a descriptor, or to nothing."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return True


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise NotOwned("it is a symbolic link; give the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise NotOwned("it is not a regular file; choose a file")
