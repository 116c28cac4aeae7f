"""Names and types as errors may show them: no payload, no control characters, never long. Pure.

The text of an InvalidEvent reaches logs and `on_error`. Names of members and refused values come
from the caller's data, so they may be addresses, sentences, or megabytes.
"""

from __future__ import annotations

from whisperr._foreign import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A member's name or an item's index below the path of its container; the outermost is a name.
    Path = str | tuple["Path", object]

_MAX_NAME_CHARS = 60
_MAX_PATH_CHARS = 200
_IN_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_. -")
# What joins the words of a member's name; each counts as an underscore.
_JOINTS = str.maketrans(".-$", "___")


def redact(value: object) -> str:
    """Return a refused value as errors may show it: a constant or a name, or else its type.

    A text is repeated only when it looks like a mistyped name: no address, no number, no sentence.
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
    """Return the name of a member, or how long it is when it does not look like an identifier."""
    if 0 < len(name) <= _MAX_NAME_CHARS:
        joined = name.translate(_JOINTS)
        if joined.isidentifier() and joined.isprintable():
            return name
    return f"<a key of {len(name):,} characters>"


def get_type_name(value: object) -> str:
    """Return the name of a value's type, for one line of text."""
    return printable(type(value).__name__, _MAX_NAME_CHARS)


def format_path(path: Path) -> str:
    """Return where in its event a value stands, such as `properties.items[3].price`."""
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{redact_name(str(step))}")
    text = path + "".join(reversed(steps))
    if len(text) <= _MAX_PATH_CHARS:
        return text
    half = _MAX_PATH_CHARS // 2
    return f"{text[:half]}…{text[-half:]}"
