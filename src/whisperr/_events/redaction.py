"""Formats names and types for error messages: no payload, no control characters, bounded. Pure.

The text of an InvalidEvent reaches logs and `on_error`. Member names and refused values come from
the caller's data, so they may be e-mail addresses, sentences, or megabytes long.
"""

from __future__ import annotations

from whisperr._foreign import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The outermost name, or a pair: the container's path, and a member's name or an item's index.
    Path = str | tuple["Path", object]

_MAX_NAME_CHARS = 60
_MAX_PATH_CHARS = 200
_IN_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_. -")
# Separators within a member's name; each counts as an underscore.
_JOINTS = str.maketrans(".-$", "___")


def redact(value: object) -> str:
    """Return how an error may show a refused value: a constant or a name, else only its type.

    Text is repeated only if it looks like a mistyped name: not an address, a number or a sentence.
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if issubclass(type(value), str):
        text = str.__str__(value)
        if len(text) <= _MAX_NAME_CHARS and _IN_NAMES.issuperset(text) and text[:1].isalpha():
            return repr(text)
        return f"(a {get_type_name(value)} of {len(text):,} characters)"
    return f"a {get_type_name(value)}"


def redact_name(name: str) -> str:
    """Return the name of a member, or only its length if it does not look like an identifier."""
    if 0 < len(name) <= _MAX_NAME_CHARS:
        joined = name.translate(_JOINTS)
        if joined.isidentifier() and joined.isprintable():
            return name
    return f"<a key of {len(name):,} characters>"


def get_type_name(value: object) -> str:
    """Return the name of a value's type, escaped and bounded for one line of text."""
    return printable(type(value).__name__, _MAX_NAME_CHARS)


def format_path(path: Path) -> str:
    """Return the path of a value in its event, such as `properties.items[3].price`."""
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{redact_name(str(step))}")
    text = path + "".join(reversed(steps))
    if len(text) <= _MAX_PATH_CHARS:
        return text
    half = _MAX_PATH_CHARS // 2
    return f"{text[:half]}…{text[-half:]}"
