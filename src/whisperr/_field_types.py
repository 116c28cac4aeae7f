"""Checks the values of a typed event against the annotations of its class, for strict clients.

It knows what the fields of an event are made of: plain classes, `Literal`, unions, `Annotated`,
`NewType`, typed dictionaries, and containers with the types of their items. It accepts any value
for an annotation that it does not know, because a type checker knows more of them.

It refuses a few values that a type checker accepts, because they become JSON of another type than
the annotation says: `true` for an int, a string for a `Sequence[str]`, null for a float.

Pure. Threads: any.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ._foreign import printable
from ._typed_event import get_values
from .errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._typed_event import TypedEvent

# Deeper and more values are the business of the encoder, which has the same limits.
_MAX_DEPTH = 64
_MAX_VALUES = 100_000
_MAX_CHARS = 200
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")
# As type checkers have it, a whole number is a `float`, too.
_ALSO: dict[object, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}
# Subclasses that become JSON of another type or format than their base.
_EXCEPT: dict[object, type] = {int: bool, float: bool, complex: bool, date: datetime}
# The encoder makes a string of them, although they are sequences.
_TEXTS = (str, bytes, bytearray, memoryview)
# Of the generic classes of these modules, the arguments are the types of the contents.
_CONTAINERS = ("builtins", "collections", "collections.abc")


def check_types(event: TypedEvent) -> None:
    """Raise InvalidEvent for the first field whose value is not what its annotation says.

    The text has no value of a field, only the types.
    """
    kind = type(event)
    annotations = get_annotations(kind)
    left = iter(range(_MAX_VALUES))
    for name, value in get_values(event).items():
        try:
            problem = _find_problem(value, annotations[name], name, 0, left)
        except Exception:  # noqa: BLE001  # an annotation of the application that fails is not known
            problem = None
        if problem is not None:
            raise InvalidEvent(f"{kind.__name__}.{problem}")


def get_annotations(kind: type[TypedEvent]) -> dict[str, Any]:
    """Return the annotations of a class of events, with the names in them resolved.

    Raises InvalidEvent if a name cannot be resolved.
    """
    try:
        found = get_type_hints(kind, include_extras=True)
    except Exception as error:
        text = printable(str(error), _MAX_CHARS)
        raise InvalidEvent(
            f"{kind.__name__}: its annotations cannot be read ({type(error).__name__}: {text}); "
            "import the names that they use in the module of the class"
        ) from error
    known = _get_arguments(kind)
    return {name: _substitute(one, known) for name, one in found.items()} if known else found


def get_members(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """Return the annotations of a typed dictionary, and the names that it must have.

    Python cannot see `NotRequired` in an annotation that is a string, so its own list of these
    names is wrong in a module with `from __future__ import annotations`.
    """
    found = get_hints(kind)
    required = set((get_origin(kind) or kind).__required_keys__)
    for name, annotation in found.items():
        must = _is_required(annotation)
        if must is not None:
            (required.add if must else required.discard)(name)
    return found, required


@lru_cache(maxsize=128)  # classes; a list may have thousands of values of one
def get_hints(kind: Any) -> dict[str, Any]:
    """Return the annotations of a class; of `Pair[int]`, with the type in place of the variable.

    Raises NameError if a name in them cannot be resolved.
    """
    plain = get_origin(kind) or kind
    variables = getattr(plain, "__parameters__", ())
    known = {**_get_arguments(plain), **_assign(variables, get_args(kind))}
    found = get_type_hints(plain, include_extras=True)
    return {name: _substitute(one, known) for name, one in found.items()}


def get_field_names(kind: Any) -> tuple[str, ...] | None:
    """Return the names of the fields of a data class or a named tuple; None for any other class."""
    if is_dataclass(kind):
        return tuple(one.name for one in fields(kind))
    return kind._fields if issubclass(kind, tuple) and hasattr(kind, "_field_defaults") else None


def is_typed_dict(kind: object) -> bool:
    """Return whether a class is a TypedDict, also one of `typing_extensions`."""
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def get_contents(annotation: Any) -> tuple[Any, ...]:
    """Return the annotation of the items of a container, or those of the keys and the values.

    Returns () if they are not known, as for a generic class of the application.
    """
    kind, of = get_origin(annotation), get_args(annotation)
    if kind is ItemsView:
        return (GenericAlias(tuple, of),)
    if kind is tuple:
        return of[:1] if of[1:] == (...,) else ()
    return of if getattr(kind, "__module__", "") in _CONTAINERS else ()


def get_tuple_items(annotation: Any) -> tuple[Any, ...] | None:
    """Return the annotations of the items of a tuple of a fixed length; None for any other."""
    of = get_args(annotation)
    if get_origin(annotation) is not tuple or annotation is typing.Tuple:  # noqa: UP006  # its origin is tuple as well
        return None
    if of in {(), ((),)}:  # `tuple[()]`; the latter in Python 3.10
        return ()
    return None if of[-1] is ... or any(map(_is_unpacked, of)) else of


def strip(annotation: Any) -> Any:
    """Return what an annotation says about values: without `NewType`, `Annotated`, `Required`.

    A type variable becomes its bound. An alias of a `type` statement stays, because it may refer to
    itself.
    """
    for _ in range(_MAX_DEPTH):
        if hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        elif get_origin(annotation) is Annotated or _get_qualifier(annotation):
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, TypeVar):
            allowed = annotation.__constraints__ or (annotation.__bound__ or Any,)
            annotation = Union[allowed]  # noqa: UP007  # of a tuple
        else:
            break
    return NoneType if annotation is None else annotation


def is_alias(annotation: Any) -> bool:
    """Return whether this is `Plan` or `Pair[int]` of a statement `type` (Python 3.12)."""
    return type(get_origin(annotation) or annotation).__name__ == "TypeAliasType"


def expand_alias(annotation: Any) -> Any:
    """Return what an alias stands for: of `Pair[int]` with the type in place of the variable."""
    alias = get_origin(annotation) or annotation
    return _substitute(alias.__value__, _assign(alias.__type_params__, get_args(annotation)))


def _get_qualifier(annotation: Any) -> str:
    """Return which qualifier of a key an annotation is: "Required", "" for none.

    By name, because Python 3.10 has them in `typing_extensions` only.
    """
    name = str(get_origin(annotation)).rpartition(".")[2]
    return name if name in _QUALIFIERS else ""


def _is_required(annotation: Any) -> bool | None:
    """Return whether an annotation says of a key that it must be there; None if it does not say."""
    while get_origin(annotation) is Annotated or _get_qualifier(annotation) == "ReadOnly":
        annotation = get_args(annotation)[0]
    return {"Required": True, "NotRequired": False}.get(_get_qualifier(annotation))


def _get_arguments(kind: type) -> dict[Any, Any]:
    """Return what type variables stand for: T is int in `class SeatsChanged(Changed[int])`.

    One that two bases use for different types may be anything.
    """
    known: dict[Any, Any] = {}
    for one in kind.__mro__:  # a derived class says what the variables of its bases are
        for base in vars(one).get("__orig_bases__", ()):
            variables = getattr(get_origin(base), "__parameters__", ())
            for variable, of in _assign(variables, get_args(base)).items():
                given = _substitute(of, known)
                known[variable] = given if known.get(variable, given) == given else Any
    return known


def _assign(variables: tuple[Any, ...], of: tuple[Any, ...]) -> dict[Any, Any]:
    """Return the type of each variable; {} if one stands for any number of types, as `*Ts`."""
    plain = all(_is_plain_variable(one) for one in variables)
    return dict(zip(variables, of, strict=False)) if plain else {}


def _is_plain_variable(one: object) -> bool:
    """Return whether a type variable stands for one type.

    In Python 3.10, the `TypeVarTuple` of `typing_extensions` is a subclass of `TypeVar`.
    """
    return type(one) is TypeVar


def _substitute(annotation: Any, known: dict[Any, Any]) -> Any:
    """Return an annotation with the type variables replaced that are known."""
    if isinstance(annotation, TypeVar):
        return known.get(annotation, annotation)
    variables = getattr(annotation, "__parameters__", ())
    if get_origin(annotation) is None or not known.keys() & set(variables):
        return annotation  # also a generic class without its types
    if not all(_is_plain_variable(one) for one in variables):  # `tuple[T, *Ts]`
        return Any
    return annotation[tuple(known.get(one, one) for one in variables)]


def _find_problem(
    value: object, annotation: Any, path: str, depth: int, left: Iterator[int]
) -> str | None:
    """Return what is wrong with a value, beginning with its path; None if nothing is.

    `left` has a number for each value that may still be checked: of a list that contains itself
    twice, the values would never end.
    """
    annotation = strip(annotation)
    if annotation is Any or depth > _MAX_DEPTH or next(left, None) is None:
        return None
    if is_alias(annotation):
        return _find_problem(value, expand_alias(annotation), path, depth + 1, left)
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return _check_union(value, annotation, path, depth, left)
    if origin is Literal:
        known = any(type(value) is type(one) and value == one for one in get_args(annotation))
        return None if known else f"{path}: must be {_describe(annotation)}, got another value"
    if is_typed_dict(origin or annotation):
        return _check_members(value, annotation, path, depth, left)
    return _check_instance(value, annotation, path, depth, left)


def _check_instance(
    value: object, annotation: Any, path: str, depth: int, left: Iterator[int]
) -> str | None:
    """Return what is wrong with a value of a plain class, or with an item of a container."""
    plain = get_origin(annotation) or annotation
    if not isinstance(plain, type) or getattr(plain, "_is_protocol", False):
        return None  # a type variable, for example; an instance cannot be checked
    if not _is_instance(value, plain):
        return _refuse(value, annotation, path)
    if issubclass(plain, float | Decimal) and not _is_finite(value):
        return f"{path}: must be finite, because JSON has no NaN and no infinity"
    names = get_field_names(plain)
    of = get_tuple_items(annotation)
    if names is not None:
        hints = get_hints(annotation)
        items = [(getattr(value, one), hints.get(one, Any), f"{path}.{one}") for one in names]
    elif of is None or not isinstance(value, tuple):
        items = _get_items(value, get_contents(annotation), path)
    elif len(value) != len(of):
        return f"{path}: must have {len(of)} items, got {len(value)}"
    else:
        pairs = enumerate(zip(value, of, strict=True))
        items = [(item, one, f"{path}[{i}]") for i, (item, one) in pairs]
    found = (_find_problem(item, one, where, depth + 1, left) for item, one, where in items)
    return next((problem for problem in found if problem is not None), None)


def _is_unpacked(annotation: Any) -> bool:
    """Return whether an annotation stands for any number of items: `*Ts` or `*tuple[int, ...]`."""
    name = str(get_origin(annotation))
    return name.endswith(".Unpack") or getattr(annotation, "__unpacked__", False) is True


def _check_union(
    value: object, annotation: Any, path: str, depth: int, left: Iterator[int]
) -> str | None:
    members = [member for member in get_args(annotation) if member is not NoneType]
    if value is None and len(members) < len(get_args(annotation)):
        return None
    problems = [_find_problem(value, member, path, depth, left) for member in members]
    if None in problems:
        return None
    # With one member, the problem may be an item of `list[int] | None`.
    return problems[0] if len(problems) == 1 else _refuse(value, annotation, path)


def _check_members(
    value: object, annotation: Any, path: str, depth: int, left: Iterator[int]
) -> str | None:
    """Return what is wrong with a dictionary that a TypedDict describes."""
    if not isinstance(value, dict):
        return _refuse(value, annotation, path)
    members, required = get_members(annotation)
    if not value.keys() <= members.keys():
        return f"{path}: has keys that {_describe(annotation)} has not"
    for name, of in members.items():
        if name in value:
            problem = _find_problem(value[name], of, f"{path}.{name}", depth + 1, left)
            if problem is not None:
                return problem
        elif name in required:
            return f"{path}.{name}: is missing"
    return None


def _is_instance(value: object, kind: type) -> bool:
    """Return whether a value is of a class, and becomes JSON of the type of that class."""
    if isinstance(value, _EXCEPT.get(kind, ())):
        return False
    if isinstance(value, _TEXTS) and issubclass(kind, Iterable) and not issubclass(kind, _TEXTS):
        return False
    return isinstance(value, _ALSO.get(kind, kind))


def _is_finite(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite()
    return not isinstance(value, float) or isfinite(value)


def _get_items(value: object, of: tuple[Any, ...], path: str) -> list[tuple[object, Any, str]]:
    """Return the items of a container, with the annotation and the path of each."""
    if isinstance(value, Mapping) and len(of) == len(("key", "value")):
        keys = [(key, of[0], f"{path}: a key") for key in value]
        return keys + [(item, of[1], f"{path}: a value") for item in value.values()]
    if isinstance(value, Collection) and len(of) == 1:  # an iterator is not read
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
