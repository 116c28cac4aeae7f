"""Lists the public API: every public name, its signature, and since which version it exists.

    python -m scripts.public_api           # print the list
    python -m scripts.public_api --write   # write it to tests/public_api.txt
    python -m scripts.public_api --check   # print what differs there; exit with 1 if something does

A module is public when no part of its path begins with an underscore; what it exports is its
`__all__`. The list is read from the source and not from imported modules, so that it is the same
on every Python and needs no framework. Three things use it: the snapshot, which makes a change of
the API a visible line; the check that the reference has an entry for each name and no other; and
the check that each name says since when it exists.
"""

from __future__ import annotations

import ast
import re
import sys
from difflib import ndiff
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.sources import (
    AnyFunction,
    Found,
    Function,
    Module,
    find_method,
    get_decorators,
    get_modules,
    get_text,
    to_annotation,
    to_default,
    to_fields,
    to_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / "tests" / "public_api.txt"

# Patterns of modules with public paths that export nothing, each with its reason.
NOT_PUBLIC = {
    r"whisperr\.client": "gone since 1.0; importing it says what to write",
    r"whisperr\.transport": "likewise",
    r"whisperr\.django\..+": "Django dictates these names; `whisperr.django` exports",
}
# Types that exist for type checkers only, so that `import whisperr` need not import `typing`.
# `__all__` cannot have them.
TYPES = {"whisperr.errors": ["ErrorType", "Reason"]}
# Members of public classes that other modules of the package call, each with its reason.
INTERNAL = {
    "whisperr.aiohttp.RequestTracker.pending": "the middleware queues what is in it",
    "whisperr.asgi.RequestTracker.pending": "the middleware queues what is in it",
    "whisperr.asgi.RequestTracker.settle_at": "the middleware wraps `receive` and `send` with it",
    "whisperr.buffers.RedisBuffer.log_owner": "names the files of the log",
    "whisperr.buffers.SQLiteBuffer.log_owner": "likewise",
    "whisperr.django.OutboxBuffer.follow": "whisperr.testing records through it",
    "whisperr.django.RequestTracker.pending": "the middleware queues what is in it",
    "whisperr.testing.Events.end": "the capture ends the recording",
    "whisperr.testing.Events.record": "the capture adds events",
    "whisperr.testing.Events.refuse": "the capture adds refusals",
}
# What 0.2.1 had. Everything else says `.. versionadded::`, itself or in what it belongs to.
FIRST = "0.2"
SINCE_FIRST = {
    "whisperr": "SDK_NAME Whisperr __version__",
    "whisperr.Whisperr": "flush identify ready shutdown track",
    "whisperr.billing": "BillingEvent",
    "whisperr.billing.BillingEvent": "AUTO_RENEW_DISABLED AUTO_RENEW_ENABLED BILLING_ISSUE_STARTED "
    "BILLING_RECOVERED MEMBERSHIP_ENDED MEMBERSHIP_STARTED REFUND_GRANTED RENEWAL_SUCCEEDED "
    "TRIAL_AUTO_RENEW_DISABLED TRIAL_CONVERTED TRIAL_STARTED",
    "whisperr.django": "WhisperrMiddleware get_client",
    "whisperr.errors": "WhisperrError",
    "whisperr.errors.WhisperrError": "message status type",
}
ADDED = re.compile(r"^ *\.\. versionadded:: (\S+)$", re.MULTILINE)
CHANGED = re.compile(r"^( *)\.\. versionchanged:: (\S+)\n((?:\1 +.*\n?)+)", re.MULTILINE)


class Name(NamedTuple):
    """One public name, with what the list says about it."""

    path: str
    kind: str
    signatures: tuple[str, ...]
    docstring: str
    since: str | None
    node: ast.AST

    @property
    def parent(self) -> str:
        """The path of the class or module that has it."""
        return self.path.rpartition(".")[0]


def is_public(name: str) -> bool:
    """Return whether a module is part of the public API."""
    is_private = any(part.startswith("_") for part in name.split("."))
    return not is_private and not any(re.fullmatch(pattern, name) for pattern in NOT_PUBLIC)


def get_api() -> dict[str, Name]:
    """Return the public names by their paths."""
    names: dict[str, Name] = {}
    for module in get_modules().values():
        if is_public(module.name):
            for name in _list_module(module):
                names[name.path] = _with_since(name, names)
    return names


def get_aliases() -> dict[str, str]:
    """Return the names that a module exports although another module documents them."""
    homes = _get_homes()
    aliases = {}
    for module in get_modules().values():
        for name in _get_exports(module) if is_public(module.name) else ():
            found = module.find(name)
            if found is not None and homes[found.module.name, found.name] != module.name:
                home = homes[found.module.name, found.name]
                aliases[f"{module.name}.{name}"] = f"{home}.{_get_name_in(home, found)}"
    return aliases


def _get_name_in(home: str, found: Found) -> str:
    """Return under which name a public module exports a definition."""
    module = get_modules()[home]
    (name,) = [one for one in _get_exports(module) if module.find(one) == found]
    return name


def _get_exports(module: Module) -> list[str]:
    if module.exports is None:
        raise ValueError(f"{module.name} is a public module without __all__")
    return module.exports + TYPES.get(module.name, [])


@cache
def _get_homes() -> dict[tuple[str, str], str]:
    """Return the module that documents each definition: its own, or the one with the short path."""
    homes: dict[tuple[str, str], str] = {}
    public = [module for module in get_modules().values() if is_public(module.name)]
    for module in sorted(public, key=lambda module: (len(module.name), module.name)):
        for name in _get_exports(module):
            found = module.find(name)
            if found is not None:
                key = (found.module.name, found.name)
                homes.setdefault(key, found.module.name if is_public(key[0]) else module.name)
    return homes


def _list_module(module: Module) -> Iterator[Name]:
    yield Name(module.name, "module", (), ast.get_docstring(module.tree) or "", None, module.tree)
    homes = _get_homes()
    for name in _get_exports(module):
        found = module.find(name)
        if found is None:
            if f"{module.name}.{name}" not in get_modules():  # a module that it exports
                raise ValueError(f"{module.name}.__all__ has {name}, which is defined nowhere")
        elif homes[found.module.name, found.name] == module.name:
            yield from _list_definition(found, f"{module.name}.{name}")


def _list_definition(found: Found, path: str) -> Iterator[Name]:
    node = found.node
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(to_annotation(base) for base in node.bases)
        kind = f"class of {bases}" if bases else "class"
        signature = _to_constructor(found)
        yield Name(path, kind, (signature,), ast.get_docstring(node) or "", None, node)
        yield from _list_members(found, path)
    elif isinstance(node, Function):
        every = [one for one in found.module.definitions[found.name] if isinstance(one, Function)]
        yield _to_function(found.module, every, path)
    else:
        yield _to_data(found, path)


def _to_data(found: Found, path: str) -> Name:
    node = found.node
    assert isinstance(node, (ast.Assign, ast.AnnAssign))
    annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    value = "" if node.value is None else ast.unparse(node.value)
    docstring = found.module.docstrings.get(found.name, "")
    is_type = annotation == "TypeAlias" or re.match(r"(Literal|Annotated)\[", value)
    if is_type or not annotation:
        shown = "" if found.name == "__version__" else f" = {value}"
    else:
        shown = f": {annotation}"
    return Name(path, "type" if is_type else "data", (shown,), docstring, None, node)


def _to_function(module: Module, every: list[AnyFunction], path: str) -> Name:
    overloads = [one for one in every if "overload" in get_decorators(one)]
    last = every[-1]
    signatures = tuple(to_signature(module, one) for one in overloads or [last])
    decorators = get_decorators(last)
    kind = "async def" if isinstance(last, ast.AsyncFunctionDef) else "def"
    if decorators & {"property", "cached_property"}:
        kind, signatures = "property", (to_annotation(last.returns),)
    if "pytest.fixture" in decorators:
        kind = "fixture"
    return Name(path, kind, signatures, ast.get_docstring(last) or "", None, last)


def _list_members(found: Found, path: str) -> Iterator[Name]:
    seen: set[str] = set()
    for owner in _get_bases(found):
        for name in _list_own_members(owner, path):
            if name.path not in seen and name.path not in INTERNAL:
                yield name
            seen.add(name.path)


def _list_own_members(owner: Found, path: str) -> Iterator[Name]:
    assert isinstance(owner.node, ast.ClassDef)
    body = owner.node.body
    methods: dict[str, list[AnyFunction]] = {}
    for node in body:
        if isinstance(node, Function):
            methods.setdefault(node.name, []).append(node)
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            value = "" if node.value is None else f" = {to_default(owner.module, node.value)}"
            yield from _to_attribute(path, node.target.id, node, value, get_text(after))
        elif isinstance(node, Function) and _is_member(owner.node, node.name):
            if node is methods[node.name][-1]:
                yield _to_function(owner.module, methods[node.name], f"{path}.{node.name}")
        elif isinstance(node, Function) and node.name == "__init__":
            for one in ast.walk(node):
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Attribute):
                    yield from _to_attribute(path, one.target.attr, one, "", "")


def _to_attribute(
    path: str, name: str, node: ast.AnnAssign, value: str, docstring: str
) -> Iterator[Name]:
    annotation = to_annotation(node.annotation)
    if not name.startswith("_") and "ClassVar" not in annotation:
        yield Name(f"{path}.{name}", "attribute", (f"{annotation}{value}",), docstring, None, node)


def _is_member(owner: ast.ClassDef, name: str) -> bool:
    """Return whether a method is public: of a protocol also those that Python calls."""
    is_protocol = any(ast.unparse(base) == "Protocol" for base in owner.bases)
    return not name.startswith("_") or (is_protocol and name.startswith("__"))


def _get_bases(found: Found) -> list[Found]:
    """Return a class and the classes of this package that it inherits members from."""
    assert isinstance(found.node, ast.ClassDef)
    every = [found]
    for base in found.node.bases:
        parent = found.module.find(ast.unparse(base))
        if parent is None or not isinstance(parent.node, ast.ClassDef):
            continue
        is_listed = _get_homes().get((parent.module.name, parent.name)) == found.module.name
        if not is_listed:  # whose members have their own entries
            every += _get_bases(parent)
    return every


def _to_constructor(found: Found) -> str:
    """Return the parameters that make an instance; "" where there are none of its own."""
    initializer = find_method(found, "__init__")
    if initializer is not None:
        return to_signature(*initializer).partition(" -> ")[0]
    for owner in _get_bases(found):
        assert isinstance(owner.node, ast.ClassDef)
        if "dataclass" in get_decorators(owner.node):
            return to_fields(owner)
    return ""


def _with_since(name: Name, earlier: dict[str, Name]) -> Name:
    """Return a name with the version that has it first: its own, or that of its parent."""
    own = name.path.rpartition(".")[2]
    is_first = own in SINCE_FIRST.get(name.parent, "").split() or name.path in SINCE_FIRST
    found = ADDED.search(name.docstring)
    parent = earlier.get(name.parent)
    since = FIRST if is_first else None
    if since is None and found is not None:
        since = found[1]
    if since is None and parent is not None:
        since = _get_version_of_change(parent, own)
        if since is None and parent.since != FIRST:
            since = parent.since
    return name._replace(since=since)


def _get_version_of_change(parent: Name, name: str) -> str | None:
    """Return the version in which a class or module says that it got a member."""
    for _, version, text in CHANGED.findall(parent.docstring):
        if f"`{name}`" in text:
            return str(version)
    return None


def to_lines(api: Iterable[Name], aliases: dict[str, str]) -> list[str]:
    """Return the lines of the snapshot, sorted by name."""
    lines = []
    for name in api:
        for signature in name.signatures or ("",):
            between = ": " if name.kind in {"attribute", "property"} else ""
            lines.append(f"{name.path}{between}{signature}  [{name.kind}, {name.since}]")
    lines += [f"{alias} is {path}" for alias, path in aliases.items()]
    return sorted(lines)


def get_documented(docstring: str) -> list[str]:
    """Return the names in the `Args:` and `Attributes:` of a docstring."""
    names: list[str] = []
    for section in re.findall(
        r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE
    ):
        names += re.findall(r"^    \*{0,2}(\w+)(?: \(.+?\))?: ", section, re.MULTILINE)
    return names


def check_entries(entries: Iterable[str]) -> list[str]:
    """Return what is wrong with the entries of the API reference, given by their paths."""
    there, api = set(entries), get_api()
    problems = [f"{path} has no entry in docs/reference/api" for path in api if path not in there]
    problems += [
        f"{path} has an entry in docs/reference/api and is not a public name"
        for path in sorted(there - set(api))
    ]
    return problems


def main() -> int:
    """Print the list, write it, or print how the file differs from it."""
    lines = to_lines(get_api().values(), get_aliases())
    if "--check" in sys.argv:
        written = SNAPSHOT.read_text(encoding="utf-8").splitlines()
        changes = [line for line in ndiff(written, lines) if line.startswith(("- ", "+ "))]
        print("\n".join(changes) or f"{len(lines)} public names, as in {SNAPSHOT.name}")
        return 1 if changes else 0
    text = "\n".join(lines) + "\n"
    if "--write" in sys.argv:
        SNAPSHOT.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
