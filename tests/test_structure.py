"""The promises about the code itself: layers, small functions, a light import, no dependencies."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import whisperr

PACKAGE = Path(whisperr.__file__).parent

# From the top down. A row names files and folders of the package; those of one row are siblings.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("_cli", "pytest_plugin"),
    ("django", "fastapi"),
    (
        "aiohttp",
        "asgi",
        "aws_lambda",
        "azure_functions",
        "celery",
        "flask",
        "google_functions",
        "opentelemetry",
        "prometheus",
        "sqlalchemy",
        "wsgi",
    ),
    ("dev", "testing", "_integrations", "_checkup"),
    ("__init__",),
    ("_client",),
    ("_delivery",),
    ("buffers",),
    ("_queue", "_http"),
    ("_events",),
    ("_process",),
    ("_options", "privacy", "protocols"),
    (
        "_address",
        "_conversion",
        "_keyless",
        "_owned",
        "_secret",
        "_terminal",
        "_version",
        "billing",
        "channel",
        "client",
        "transport",
    ),
    ("_field_types", "events"),
    ("errors",),
    ("_contract", "_foreign", "_frozen", "_platform", "_typed_event"),
)
# The same inside of a package that has layers of its own.
INSIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    "billing": (
        ("app_store", "google_play", "paddle", "revenuecat", "stripe"),
        ("_app_store",),
        ("__init__",),
        ("_collector",),
        ("_google_play", "_history"),
        ("_fields", "_money", "_periods", "_signals"),
    ),
    "dev": (
        ("_console",),
        ("__init__",),
        ("_web",),
        ("_mcp",),
        ("_memory",),
        ("_ingest", "faults"),
    ),
    "_queue": (
        ("table",),
        ("durable",),
        ("intake",),
        ("transit", "access", "storer"),
        ("sqlite", "redis", "log"),
        ("dead_letters", "clock", "store"),
        ("memory",),
        ("__init__",),
    ),
}

DEPENDENCIES_ALLOWED = {
    "django": {"django", "asgiref", "stripe"},  # stripe when a webhook of it arrives
    "fastapi": {"fastapi"},
    "flask": {"click", "flask", "werkzeug"},
    "celery": {"celery"},
    "aiohttp": {"aiohttp"},
    "aws_lambda": {"snapshot_restore_py"},  # part of Lambda's own Python runtimes
    "opentelemetry": {"opentelemetry"},
    "prometheus": {"prometheus_client"},
    "sqlalchemy": {"sqlalchemy"},
    "pytest_plugin": {"pytest"},  # which loads it
    # The extra `redis`, imported when a queue in Redis is first used.
    "_queue": {"redis"},
    "buffers": {"redis"},
}
INTEGRATIONS = {name for row in LAYERS[2:4] for name in row}

MAX_FUNCTION_LINES = 40
# A file above this has more than one subject, until its reason stands here.
MAX_FILE_LINES = 400
LARGE_FILES: dict[str, str] = {
    "_client.py": "the options and methods of the public class, with what help() says about them",
    "_checkup/hints.py": "one table: the fix of every trouble",
    "_delivery/scheduler.py": "one table of states and holds, and the code that follows it",
}

FILES = sorted(PACKAGE.rglob("*.py"))


class Import(NamedTuple):
    """One name that a file imports: from which module, and whether for type checkers only."""

    module: str
    name: str
    for_types: bool


def get_name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def get_module(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("whisperr", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }


def get_imports(path: Path) -> list[Import]:
    """Return everything that a file imports, wherever the import stands."""
    package = ["whisperr", *path.relative_to(PACKAGE).parent.parts]
    found: list[Import] = []

    def visit(node: ast.AST, for_types: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, "", for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = ".".join([*package[: len(package) - node.level + 1], module]).rstrip(".")
            found.extend(Import(module, alias.name, for_types) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, for_types or is_for_types(node))

    visit(ast.parse(path.read_text(encoding="utf-8")), for_types=False)
    return found


MODULES = {get_module(path): path for path in FILES}


def get_own_imports(path: Path) -> list[Path]:
    """Return the files of the package that a file imports."""
    found = []
    for one in get_imports(path):
        if one.module.split(".")[0] == "whisperr":
            named = f"{one.module}.{one.name}"
            target = MODULES.get(named) or MODULES.get(one.module)
            if target is not None and target != path:
                found.append(target)
    return found


def get_row(name: str, layers: tuple[tuple[str, ...], ...]) -> int:
    (row,) = [number for number, names in enumerate(layers) if name in names]
    return row


def check_import(source: str, target: str) -> str | None:
    """Return which rule an import of `target` by `source` breaks; files as `_queue/memory.py`."""
    layers, old, new = LAYERS, *(name.removesuffix(".py").split("/") for name in (source, target))
    if old[0] == new[0] and old[0] in INSIDE:
        layers, old, new = INSIDE[old[0]], old[1:], new[1:]
    if old[0] == new[0]:
        return None
    from_row, to_row = get_row(old[0], layers), get_row(new[0], layers)
    if to_row > from_row:
        return None
    rule = "goes sideways to a sibling" if to_row == from_row else "goes up"
    return (
        f"{source} imports {target}: that {rule}. In the table LAYERS {old[0]} is in row "
        f"{from_row + 1} and {new[0]} in row {to_row + 1}; imports go down only"
    )


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the files of one circle of imports, each importing the next; empty without one."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(imports.get(name, ())):
            circle = visit(target, [*way, name])
            if circle:
                return circle
        done.add(name)
        return []

    for name in sorted(imports):
        circle = visit(name, [])
        if circle:
            return circle
    return []


class TestLayers:
    def test_every_file_has_a_place_in_the_table(self) -> None:
        names = {get_name(path).removesuffix(".py").split("/")[0] for path in FILES}
        assert names == {name for row in LAYERS for name in row}

    @pytest.mark.parametrize("path", FILES, ids=get_name)
    def test_imports_go_down_only(self, path: Path) -> None:
        broken = [check_import(get_name(path), get_name(t)) for t in get_own_imports(path)]
        assert [rule for rule in broken if rule is not None] == []

    def test_no_files_import_each_other_in_a_circle(self) -> None:
        imports = {
            get_name(path): {get_name(target) for target in get_own_imports(path)} for path in FILES
        }
        circle = find_circle(imports)
        assert circle == [], f"a circle of imports: {' -> '.join(circle)}"

    @pytest.mark.parametrize(
        ("source", "target", "rule"),
        [
            ("_queue/memory.py", "_events/batch.py", None),
            ("_queue/store.py", "_queue/memory.py", None),
            ("_queue/memory.py", "_queue/store.py", "goes up"),
            ("_queue/memory.py", "_delivery/pipeline.py", "goes up"),
            ("_queue/memory.py", "_http/proxy.py", "sideways"),
            ("errors.py", "_process/imports.py", "goes up"),
            ("dev/_memory/journal.py", "dev/_web/server.py", "goes up"),
            ("testing/_events.py", "dev/faults.py", "sideways"),
        ],
    )
    def test_a_forbidden_import_is_named_with_its_rule(
        self, source: str, target: str, rule: str | None
    ) -> None:
        message = check_import(source, target)
        if rule is None:
            assert message is None
        else:
            assert message is not None
            assert source in message
            assert target in message
            assert rule in message

    def test_a_circle_is_found(self) -> None:
        imports = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}
        assert find_circle(imports) == ["b", "d", "b"]


class TestImports:
    @pytest.mark.parametrize("path", FILES, ids=get_name)
    def test_only_the_standard_library_is_needed(self, path: Path) -> None:
        needed = {one.module.split(".")[0] for one in get_imports(path) if not one.for_types}
        known = sys.stdlib_module_names | {"_json", "whisperr"}  # PyPy does without `_json`
        part = get_name(path).removesuffix(".py").split("/")[0]
        assert needed - known <= DEPENDENCIES_ALLOWED.get(part, set())

    @pytest.mark.parametrize("path", FILES, ids=get_name)
    def test_a_private_name_stays_in_its_file(self, path: Path) -> None:
        private = [
            f"{one.module}.{one.name}"
            for one in get_imports(path)
            if one.module.split(".")[0] == "whisperr"
            and one.name.startswith("_")
            and not one.name.startswith("__")
            and f"{one.module}.{one.name}" not in MODULES
        ]
        assert private == []

    @pytest.mark.parametrize("path", FILES, ids=get_name)
    def test_no_private_name_is_reached_through_its_module(self, path: Path) -> None:
        modules = {one.name for one in get_imports(path) if f"{one.module}.{one.name}" in MODULES}
        reached = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
        ]
        assert reached == []


def count_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body, without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


class TestSize:
    @pytest.mark.parametrize("path", FILES, ids=get_name)
    def test_a_function_fits_on_a_screen(self, path: Path) -> None:
        sizes = {
            node.name: count_lines(node)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}

    def test_a_large_file_has_a_reason(self) -> None:
        sizes = {get_name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
        large = {name for name, lines in sizes.items() if lines > MAX_FILE_LINES}
        assert large == set(LARGE_FILES)


HEAVY = [
    "asyncio",
    "collections",
    "concurrent.futures",
    "dataclasses",
    "email",
    "enum",
    "functools",
    "http.client",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "random",
    "re",
    "socket",
    "sqlite3",
    "ssl",
    "threading",
    "typing",
    "urllib.parse",
    "urllib.request",
    "weakref",
]
BY_JSON = {"collections", "enum", "functools", "json", "re"}
IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import whisperr
print(whisperr.__file__, *sys.modules, sep="\\n")
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the modules of a bare interpreter after it has imported the package."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT, str(PACKAGE.parent)],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    file, *modules = done.stdout.splitlines()
    assert Path(file).parent == PACKAGE
    return set(modules)


class TestImport:
    @pytest.mark.parametrize("name", HEAVY)
    def test_importing_the_package_does_not_load(self, name: str, loaded: set[str]) -> None:
        if sys.implementation.name == "pypy" and name in BY_JSON:
            pytest.skip("PyPy has no encoder in C: that of `json` is used")
        assert name not in loaded

    def test_importing_the_package_loads_the_client_and_nothing_above_it(
        self, loaded: set[str]
    ) -> None:
        ours = {name.split(".")[1] for name in loaded if name.startswith("whisperr.")}
        assert "_client" in ours
        above = {name for row in LAYERS[: get_row("__init__", LAYERS)] for name in row}
        assert ours & above == set()

    @pytest.mark.parametrize("name", whisperr.__all__)
    def test_every_public_name_is_there(self, name: str) -> None:
        assert getattr(whisperr, name) is not None
