"""Checks the values of a typed event against the annotations of its class, for strict clients.

It knows what the fields of an event are made of: plain classes, `Literal`, unions, `Annotated`,
`NewType`, typed dictionaries, and containers with the types of their items. It accepts any value
for an annotation that it does not know, because a type checker knows more of them.

Pure. Threads: any.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ._foreign import printable
from ._typed_event import get_values
from .errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._typed_event import TypedEvent

# Deeper values are the business of the encoder, which has the same limit.
_MAX_DEPTH = 64
_MAX_CHARS = 200
# As type checkers have it, a whole number is a `float`, too.
_ALSO: dict[object, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}


def check_types(event: TypedEvent) -> None:
    """Raise InvalidEvent for the first field whose value is not what its annotation says.

    The text has no value of a field, only the types.
    """
    kind = type(event)
    annotations = get_annotations(kind)
    for name, value in get_values(event).items():
        problem = _find_problem(value, annotations[name], name)
        if problem is not None:
            raise InvalidEvent(f"{kind.__name__}.{problem}")


def get_annotations(kind: type[TypedEvent]) -> dict[str, Any]:
    """Return the annotations of a class of events, with the names in them resolved.

    Raises InvalidEvent if a name cannot be resolved.
    """
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception as error:
        text = printable(str(error), _MAX_CHARS)
        raise InvalidEvent(
            f"{kind.__name__}: its annotations cannot be read ({type(error).__name__}: {text}); "
            "import the names that they use in the module of the class"
        ) from error


def _find_problem(value: object, annotation: Any, path: str, depth: int = 0) -> str | None:
    """Return what is wrong with a value, beginning with its path; None if nothing is."""
    annotation = _unwrap(annotation)
    if annotation is Any or depth > _MAX_DEPTH:
        return None
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return _check_union(value, annotation, path, depth)
    if origin is Literal:
        known = any(type(value) is type(one) and value == one for one in get_args(annotation))
        return None if known else f"{path}: must be {_describe(annotation)}, got another value"
    if typing.is_typeddict(annotation):
        return _check_members(value, annotation, path, depth)
    return _check_instance(value, annotation, path, depth)


def _check_instance(value: object, annotation: Any, path: str, depth: int) -> str | None:
    """Return what is wrong with a value of a plain class, or with an item of a container."""
    plain, of = get_origin(annotation) or annotation, get_args(annotation)
    if not isinstance(plain, type) or getattr(plain, "_is_protocol", False):
        return None  # a type variable, for example; an instance cannot be checked
    if not _is_instance(value, plain):
        return _refuse(value, annotation, path)
    if isinstance(value, tuple) and plain is tuple and of and of[-1] is not ...:
        if len(value) != len(of):
            return f"{path}: must have {len(of)} items, got {len(value)}"
        items = [
            (item, one, f"{path}[{i}]") for i, (item, one) in enumerate(zip(value, of, strict=True))
        ]
    else:
        items = _get_items(value, of, path)
    found = (_find_problem(item, one, where, depth + 1) for item, one, where in items)
    return next((problem for problem in found if problem is not None), None)


def _unwrap(annotation: Any) -> Any:
    """Return what a `NewType`, an `Annotated`, a `Required` or a `type` alias stands for."""
    for _ in range(_MAX_DEPTH):
        if annotation is None:
            return NoneType
        origin = get_origin(annotation)
        if origin is Annotated or str(origin).endswith((".Required", ".NotRequired", ".ReadOnly")):
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12: `type Plan = ...`
            annotation = annotation.__value__
        else:
            break
    return annotation


def _check_union(value: object, annotation: Any, path: str, depth: int) -> str | None:
    members = [member for member in get_args(annotation) if member is not NoneType]
    if value is None and len(members) < len(get_args(annotation)):
        return None
    problems = [_find_problem(value, member, path, depth) for member in members]
    if None in problems:
        return None
    # With one member, the problem may be an item of `list[int] | None`.
    return problems[0] if len(problems) == 1 else _refuse(value, annotation, path)


def _check_members(value: object, annotation: Any, path: str, depth: int) -> str | None:
    """Return what is wrong with a dictionary that a TypedDict describes."""
    if not isinstance(value, dict):
        return _refuse(value, annotation, path)
    for name, of in get_type_hints(annotation, include_extras=True).items():
        if name in value:
            problem = _find_problem(value[name], of, f"{path}.{name}", depth + 1)
            if problem is not None:
                return problem
        elif name in annotation.__required_keys__:
            return f"{path}.{name}: is missing"
    return None


def _is_instance(value: object, kind: type) -> bool:
    """Return whether a value is of a class, as type checkers have it: a bool is no number."""
    if isinstance(value, bool):
        return kind in {bool, object}
    return isinstance(value, _ALSO.get(kind, kind))


def _get_items(value: object, of: tuple[Any, ...], path: str) -> list[tuple[object, Any, str]]:
    """Return the items of a container, with the annotation and the path of each."""
    if isinstance(value, Mapping) and len(of) == len(("key", "value")):
        keys = [(key, of[0], f"{path}: a key") for key in value]
        return keys + [(item, of[1], f"{path}: a value") for item in value.values()]
    # An iterator is not read, and the characters of a text have no annotation.
    if isinstance(value, Collection) and not isinstance(value, str | bytes) and of:
        return [(item, of[0], f"{path}[{i}]") for i, item in enumerate(value)]
    return []


def _refuse(value: object, annotation: Any, path: str) -> str:
    kind = printable(type(value).__name__, _MAX_CHARS)
    return f"{path}: must be {_describe(annotation)}, got {kind}"


def _describe(annotation: Any) -> str:
    """Return an annotation as its author wrote it, as far as that is known."""
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = str(annotation) if get_args(annotation) else text
    return printable(text.replace("typing.", ""), _MAX_CHARS)
