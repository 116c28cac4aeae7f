"""Reads the modules of the package without importing them: what they define, export and import.

Signatures are text, as in the source, and the same on every Python.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[1] / "src"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


class Found(NamedTuple):
    """A definition, the module that has it, and its name there."""

    module: Module
    name: str
    node: Definition


class Module:
    """One module as it is written: its exports, definitions and imports."""

    def __init__(self, path: Path) -> None:
        parts = path.relative_to(SOURCE).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.exports: list[str] | None = None
        self.definitions: dict[str, list[Definition]] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self.docstrings: dict[str, str] = {}
        self._read(self.tree.body)

    def _read(self, body: list[ast.stmt]) -> None:
        """Read statements, also those for type checkers and those of a guarded import."""
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, (ast.If, ast.Try)):
                self._read(node.body)
            elif isinstance(node, ast.ImportFrom):
                self._add_imports(node)
            elif isinstance(node, (ast.ClassDef, *Function)):
                self.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name):
                    self.definitions.setdefault(target.id, []).append(node)
                    self.docstrings[target.id] = get_text(after)
                    if target.id == "__all__" and node.value is not None:
                        self.exports = ast.literal_eval(node.value)

    def _add_imports(self, node: ast.ImportFrom) -> None:
        package = self.name.split(".")[: None if self.is_package else -1]
        module = node.module or ""
        if node.level:
            module = ".".join([*package[: len(package) - node.level + 1], module]).rstrip(".")
        for alias in node.names:
            self.imports[alias.asname or alias.name] = (module, alias.name)

    def find(self, name: str) -> Found | None:
        """Return the definition of a name, here or where it is imported from."""
        if name in self.definitions:
            return Found(self, name, self.definitions[name][-1])
        module, original = self.imports.get(name, ("", ""))
        found = get_modules().get(module)
        return None if found is None or found is self else found.find(original)


@cache
def get_modules() -> dict[str, Module]:
    """Return every module of the package by its name."""
    modules = map(Module, sorted((SOURCE / "whisperr").rglob("*.py")))
    return {module.name: module for module in modules}


def get_text(node: ast.stmt | None) -> str:
    """Return the string that a statement consists of, the docstring of what is before it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else ""
    return ""


def find_method(found: Found, name: str) -> tuple[Module, ast.FunctionDef] | None:
    """Return a method of a class or of its bases in the package, with the module that has it."""
    assert isinstance(found.node, ast.ClassDef)
    for node in found.node.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return found.module, node
    for base in found.node.bases:
        parent = found.module.find(ast.unparse(base))
        if parent is not None and isinstance(parent.node, ast.ClassDef):
            method = find_method(parent, name)
            if method is not None:
                return method
    return None


def to_fields(found: Found) -> str:
    """Return the parameters of a dataclass."""
    assert isinstance(found.node, ast.ClassDef)
    fields = []
    for node in found.node.body:
        if isinstance(node, ast.AnnAssign):
            default = "" if node.value is None else f" = {to_default(found.module, node.value)}"
            fields.append(f"{ast.unparse(node.target)}: {to_annotation(node.annotation)}{default}")
    return f"({', '.join(fields)})"


def get_decorators(node: ast.ClassDef | AnyFunction) -> set[str]:
    """Return the decorators of a definition, without their arguments."""
    return {ast.unparse(one).partition("(")[0] for one in node.decorator_list}


def to_annotation(node: ast.expr | None) -> str:
    """Return an annotation as text, "" without one."""
    return "" if node is None else ast.unparse(node)


def to_default(module: Module, node: ast.expr) -> str:
    """Return a default as text: of a constant of the package its value, which is the promise."""
    if isinstance(node, ast.Name):
        found = module.find(node.id)
        if found is not None and isinstance(found.node, (ast.Assign, ast.AnnAssign)):
            assert found.node.value is not None
            return to_default(found.module, found.node.value)
    return ast.unparse(node)


def to_signature(module: Module, node: AnyFunction) -> str:
    """Return the parameters and the result of a function, without `self`."""
    copy = ast.parse(ast.unparse(node.args).join(("def f(", "): ..."))).body[0]
    assert isinstance(copy, ast.FunctionDef)
    arguments = copy.args
    positional = arguments.posonlyargs or arguments.args
    if positional and positional[0].arg in {"self", "cls"}:
        del positional[0]
    _unpack(module, arguments)
    for defaults in (arguments.defaults, arguments.kw_defaults):
        for index, default in enumerate(defaults):
            if default is not None:
                text = to_default(module, default)
                defaults[index] = ast.parse(text, mode="eval").body
    result = to_annotation(node.returns)
    return f"({ast.unparse(arguments)})" + (f" -> {result}" if result else "")


def _unpack(module: Module, arguments: ast.arguments) -> None:
    """Put the keys of a typed dictionary in place of `**arguments: Unpack[...]`."""
    given = arguments.kwarg
    text = "" if given is None else to_annotation(given.annotation)
    found = module.find(text.removeprefix("Unpack[").rstrip("]"))
    if not text.startswith("Unpack[") or found is None or not isinstance(found.node, ast.ClassDef):
        return
    arguments.kwarg = None
    for node in found.node.body:
        if isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
            arguments.kwonlyargs.append(ast.arg(arg=name, annotation=node.annotation))
            arguments.kw_defaults.append(ast.Constant(None))
