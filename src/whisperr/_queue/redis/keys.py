"""Names the keys of a stream, so that a cluster keeps all of them on one server. Pure.

A cluster places a key by its hash tag: the text between the first `{` and the first `}` after it;
by the whole name where there is none. The keys beside the stream `whisperr` are `{whisperr}:state`
and so on: their tag is the name of the stream. A stream with a tag in its name, such as
`{shop}:events`, keeps it, and so do the keys beside it.
"""

from __future__ import annotations


def get_key(stream: str, what: str) -> str:
    """Return the name of a key beside a stream."""
    return f"{stream}:{what}" if _has_tag(stream) else f"{{{stream}}}:{what}"


def get_keys(stream: str, source: int) -> tuple[str, ...]:
    """Return the keys that the scripts of a source get, in their order."""
    what = ("state", "lease", f"last:{source}", "rejected", "endings:0", "endings:1", "dead")
    return (stream, *(get_key(stream, one) for one in what))


def get_problem(stream: str) -> str | None:
    """Return why this name cannot be that of a stream: no key beside it gets its tag."""
    if "}" in stream and not _has_tag(stream):
        return "braces must enclose a part of the name, such as {shop}:events"
    return None


def _has_tag(stream: str) -> bool:
    begin = stream.find("{")
    return begin >= 0 and stream.find("}", begin) > begin + 1
