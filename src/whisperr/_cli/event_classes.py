"""Imports packages, modules, files and folders, and finds the typed events that they define."""

from __future__ import annotations

import os
import pkgutil
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whisperr._foreign import printable
from whisperr.events import Event

from .command import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

_MAX_CHARS = 200
_DISABLED = "WHISPERR_DISABLED"
# Modules of a package that are programs, or that only a test runner can import.
_NOT_IMPORTED = {"__main__", "conftest", "node_modules", "test", "tests"}


class Found(NamedTuple):
    """The classes of events, sorted by event type, and a sentence for each import that failed."""

    classes: list[type[Event]]
    problems: list[str]


def find_classes(targets: list[str]) -> Found:
    """Return the events that packages, modules, files and folders define, other than abstract ones.

    Raises UsageError for a target that does not exist.
    """
    modules: dict[str, ModuleType] = {}
    problems: list[str] = []
    here = Path.cwd()
    with _importing():
        for target in targets:
            os.chdir(here)  # a module may have changed it
            _import(_find_name(target), modules, problems, target)
    classes = [
        one
        for one in _get_subclasses(Event)
        if one.event_type and one.__module__ in modules and _is_current(one, modules)
    ]
    return Found(sorted(classes, key=lambda one: (one.event_type, get_path(one))), problems)


def check_names(classes: list[type[Event]]) -> None:
    """Raise CommandError for two of these sorted classes with one event type."""
    for one, other in pairwise(classes):
        if one.event_type == other.event_type:
            raise CommandError(
                f"two classes have the event type {one.event_type}: {get_path(one)} and "
                f"{get_path(other)}; give one of them another name, or event_type="
            )


def get_path(kind: type) -> str:
    """Return where a class is defined, such as `shop.events.PlanUpgraded`."""
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _importing() -> Iterator[None]:
    """Prepare the process for imports, and restore it.

    What the modules print goes to stderr, also what they write to the descriptor of stdout. The
    clients that they create are disabled: they need no key and send nothing.
    """
    disabled, path = os.environ.get(_DISABLED), sys.path[:]
    os.environ[_DISABLED] = "1"
    if not getattr(sys.flags, "safe_path", False):  # as `python -m`
        sys.path.insert(0, str(Path.cwd()))
    try:
        with redirect_stdout(sys.stderr), _redirect_descriptor():
            yield
    finally:
        sys.path[:] = path
        if disabled is None:
            del os.environ[_DISABLED]
        else:
            os.environ[_DISABLED] = disabled


@contextmanager
def _redirect_descriptor() -> Iterator[None]:
    """Send what is written to descriptor 1, as by `os.write` or a subprocess, to stderr."""
    streams = [one for one in (sys.__stdout__, sys.__stderr__) if one is not None]
    for stream in streams:
        stream.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _find_name(target: str) -> str:
    """Return the name of a module; of a file or folder after adding its root to `sys.path`."""
    is_path = target.endswith(".py") or os.sep in target or "/" in target
    if not is_path and target not in {os.curdir, os.pardir}:
        if not all(name.isidentifier() for name in target.split(".")):
            raise UsageError(f"'{printable(target)}' is no name of a module")
        return target
    path = Path(target).resolve()
    if not path.exists():
        raise UsageError(f"{printable(target)} does not exist")
    if path == Path.cwd() and not (path / "__init__.py").is_file():
        raise UsageError(
            f"'{printable(target)}' is no package; name a package or a module of this folder, "
            "such as shop"
        )
    names = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    known = sys.modules.get(names[0])
    if known is not None and folder not in Path(getattr(known, "__file__", None) or "/").parents:
        raise UsageError(
            f"{printable(target)} cannot be imported: another module is called {names[0]}"
        )
    return ".".join(names)


def _import(
    name: str, modules: dict[str, ModuleType], problems: list[str], target: str = ""
) -> None:
    """Import a module and, of a package, those inside of it; add what fails to `problems`."""
    if name in modules:
        return
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # code of the application
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {printable(target)}; run this in the folder of your project"
            ) from None
        problems.append(f"{name} cannot be imported: {_describe(error)}")
        return
    modules[name] = module
    for inner in _list_modules(getattr(module, "__path__", ())):
        if inner not in _NOT_IMPORTED and not inner.startswith("test_"):
            _import(f"{name}.{inner}", modules, problems, target)


def _list_modules(path: Iterable[str]) -> list[str]:
    """Return the names of the modules of a package, also of folders without `__init__.py`."""
    names = {info.name for info in pkgutil.iter_modules(path)}
    for folder in map(Path, path):
        around = {folder.resolve(), *folder.resolve().parents}
        for inner in folder.iterdir() if folder.is_dir() else ():
            if inner.resolve() in around:  # a link that would not end
                names.discard(inner.name)
            elif inner.name.isidentifier() and inner.is_dir() and any(inner.rglob("*.py")):
                names.add(inner.name)
    return sorted(names)


def _is_current(kind: type, modules: Mapping[str, ModuleType]) -> bool:
    """Return whether a class is still that of its module, and not of an import that failed."""
    found: object = modules[kind.__module__]
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, kind)  # kept if it cannot be found, as in a function
        if found is kind:
            return True
    return False


def _describe(error: BaseException) -> str:
    """Return what an import raised, and the line of the module that led to it."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.name == "<module>"]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return printable(f"{type(error).__name__}: {error}", _MAX_CHARS) + place


def _get_subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for one in kind.__subclasses__():
        yield one
        yield from _get_subclasses(one)
