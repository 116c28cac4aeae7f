"""The promises about the code itself: small files, arrows that go down, a light import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import whisperr

PACKAGE = Path(whisperr.__file__).parent
DOORS = {
    "asgi",
    "aws_lambda",
    "celery",
    "django",
    "fastapi",
    "flask",
    "google_functions",
    "opentelemetry",
}
OUTSIDE_THE_CORE = {"_cli", "_integrations", "dev", "pytest_plugin", "testing", "__main__"} | DOORS

# What an extra brings, and where alone it is imported, when first used.
EXTRAS = {
    "_queue/redis_connection.py": {"redis"},
    "buffers.py": {"redis"},
    "pytest_plugin.py": {"pytest"},  # which loads it
}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40

FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [
    path
    for path in FILES
    if path.relative_to(PACKAGE).with_suffix("").parts[0] not in OUTSIDE_THE_CORE
]
WITHOUT_DEPENDENCIES = [
    path for path in FILES if path.relative_to(PACKAGE).with_suffix("").parts[0] not in DOORS
]


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


class Import(NamedTuple):
    """One name that a file imports: from which module, and whether for type checkers only."""

    module: str
    name: str
    for_types: bool


def package_of(path: Path, level: int) -> str:
    """Return the package that so many leading dots mean in this file."""
    parts = ["whisperr", *path.relative_to(PACKAGE).parent.parts]
    return ".".join(parts[: len(parts) - level + 1])


def is_for_types(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(path: Path) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, for_types: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, "", for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = f"{package_of(path, node.level)}.{module}".rstrip(".")
            found.extend(Import(module, alias.name, for_types) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, for_types or is_for_types(node))

    visit(ast.parse(path.read_text(encoding="utf-8")), for_types=False)
    return found


def is_module(dotted: str) -> bool:
    place = PACKAGE.joinpath(*dotted.split(".")[1:])
    return place.with_suffix(".py").is_file() or place.is_dir()


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


class TestSize:
    def test_there_is_something_to_look_at(self) -> None:
        assert len(CORE) > 15
        assert sum(len(imports_of(path)) for path in CORE) > 100

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_a_file_fits_in_ones_head(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_a_function_fits_on_a_screen(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        sizes = {node.name: function_lines(node) for node in functions}
        assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


class TestArrows:
    @pytest.mark.parametrize("path", CORE, ids=name_of)
    def test_the_core_imports_nothing_that_stands_around_it(self, path: Path) -> None:
        outside = {f"whisperr.{name}" for name in OUTSIDE_THE_CORE}
        reached = {
            part
            for one in imports_of(path)
            for part in (one.module, f"{one.module}.{one.name}")
            if ".".join(part.split(".")[:2]) in outside
        }
        assert reached == set()

    @pytest.mark.parametrize("path", WITHOUT_DEPENDENCIES, ids=name_of)
    def test_only_the_standard_library_is_needed(self, path: Path) -> None:
        needed = {one.module.split(".")[0] for one in imports_of(path) if not one.for_types}
        extras = EXTRAS.get(name_of(path), set())
        known = sys.stdlib_module_names | {"_json"}  # which PyPy does without
        assert needed - {"whisperr"} - known == extras

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_a_private_name_stays_in_its_file(self, path: Path) -> None:
        own = [one for one in imports_of(path) if one.module.split(".")[0] == "whisperr"]
        private = [
            f"{one.module}.{one.name}"
            for one in own
            if one.name.startswith("_")
            and not one.name.startswith("__")
            and not is_module(f"{one.module}.{one.name}")
        ]
        assert private == []

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_no_private_name_is_reached_through_its_module(self, path: Path) -> None:
        modules = {
            one.name for one in imports_of(path) if is_module(f"{one.module}.{one.name}")
        } - {""}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        reached = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
        ]
        assert reached == []


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
    place, *modules = done.stdout.splitlines()
    assert Path(place).parent == PACKAGE
    return set(modules)


class TestImport:
    @pytest.mark.parametrize("name", HEAVY)
    def test_importing_the_package_does_not_load(self, name: str, loaded: set[str]) -> None:
        if sys.implementation.name == "pypy" and name in BY_JSON:
            pytest.skip("PyPy has no encoder in C: that of `json` is used")
        assert name not in loaded

    def test_importing_the_package_loads_no_door(self, loaded: set[str]) -> None:
        ours = {name.split(".")[1] for name in loaded if name.startswith("whisperr.")}
        assert "_client" in ours
        assert ours & OUTSIDE_THE_CORE == set()

    @pytest.mark.parametrize("name", whisperr.__all__)
    def test_every_public_name_is_there(self, name: str) -> None:
        assert getattr(whisperr, name) is not None
