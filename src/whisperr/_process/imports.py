"""Imports modules on first use, without a fork in the middle of an import.

A child that is forked while another thread imports would keep a half-initialized module forever,
because the importing thread does not exist in the child. So a fork waits for the import, up to a
limit: the import may itself be waiting for the code that forks.

The files of a running program may be replaced or deleted together with its release. So the code of
our own modules that run on first use is read when a client is made (`keep_code`).

Threads: any. The lock is reentrant, because a signal handler that imports may interrupt an import.
"""

from __future__ import annotations

import sys
from _thread import RLock  # `threading` is a third of the import time of the package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

_LONGEST_WAIT = 5.0  # seconds; an import takes a few hundredths of one

_lock = RLock()


def first_use() -> AbstractContextManager[object]:
    """Return a context in which no other thread forks; for imports."""
    return _lock


def json_loads() -> Callable[[bytes | str], Any]:
    """Return `json.loads`, imported on first use, because few processes read JSON early."""
    with _lock:
        from json import loads
    return loads


class _KeptCode:
    """A finder and loader, for `sys.meta_path`, of modules whose code was read before."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ModuleSpec, CodeType]] = {}

    def add(self, name: str, path: list[str] | None) -> list[str] | None:
        """Read the code of a module; return the search path of its submodules, None without any."""
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path)
            if spec is not None:
                break
        else:
            return None
        code = getattr(spec.loader, "get_code", _get_none)(name)
        if code is not None:
            self._kept[name] = spec, code
        return spec.submodule_search_locations

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modules whose code is kept."""
        return tuple(self._kept)

    def forget(self) -> None:
        """Release all code, which was executed."""
        self._kept.clear()

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return the spec of a module; None if its code is not kept."""
        if name not in self._kept:
            return None
        found, _code = self._kept[name]
        package = found.submodule_search_locations is not None
        make: Any = type(found)  # typed for loaders that derive from a class of `importlib.abc`
        spec: ModuleSpec = make(name, self, origin=found.origin, is_package=package)
        spec.has_location = found.has_location  # so that the module has a `__file__`
        if package:
            spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, _: ModuleSpec) -> None:
        """Return None, so that Python creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the code of a module, which then looks as if it was loaded from its file."""
        found, code = self._kept[module.__name__]
        module.__spec__, module.__loader__ = found, found.loader
        exec(code, vars(module))  # noqa: S102  # as the loader does that has read the code


_kept_code = _KeptCode()


def keep_code(package: str, names: tuple[str, ...]) -> None:
    """Read the code of one of our packages and of modules in it, before their first use.

    Python looks for what cannot be read at its first use.
    """
    with _lock:
        if package in sys.modules or _kept_code.find_spec(package) is not None:
            return
        parent = sys.modules[package.rpartition(".")[0]]
        try:
            path = _kept_code.add(package, list(parent.__path__))
            for name in names:
                _kept_code.add(f"{package}.{name}", path)
        except Exception:  # noqa: BLE001  # loaders are foreign code, and the files are there
            return


def import_kept(name: str) -> Any:  # noqa: ANN401  # a module, whose names are not known here
    """Import all modules whose code is kept, and return the module `name`."""
    with _lock:
        try:
            sys.meta_path.insert(0, _kept_code)  # only now, because it is asked for every module
            for one in (name, *_kept_code.names):
                __import__(one)
        finally:
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _kept_code]
        _kept_code.forget()
    return sys.modules[name]


def _get_none(_: str) -> None:
    return None


def before_fork() -> None:
    """Wait until no thread imports; called by `forks` after it has taken all other locks."""
    _lock.acquire(timeout=_LONGEST_WAIT)


def after_fork_in_parent() -> None:
    """Let threads import again."""
    try:
        _lock.release()
    except RuntimeError:
        return  # the wait timed out, and another thread holds the lock


def after_fork_in_child() -> None:
    """Replace the lock, which a thread that the child does not have may hold."""
    global _lock  # noqa: PLW0603  # one lock a process
    _lock = RLock()
