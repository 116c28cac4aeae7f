"""Names the keys of a stream so that a cluster keeps all of them on one server. Pure.

A cluster places a key by its hash tag, which is the text between the first `{` and the next `}`, or
else by its whole name. The keys beside the stream `whisperr` are `{whisperr}:state` and so on: the
stream's name is their tag. If a stream's name has a tag, as in `{shop}:events`, the keys beside it
have the same one.
"""

from __future__ import annotations


def get_key(stream: str, what: str) -> str:
    """Return the name of a key beside a stream."""
    return f"{stream}:{what}" if _has_tag(stream) else f"{{{stream}}}:{what}"


def get_keys(stream: str, source: int) -> tuple[str, ...]:
    """Return the KEYS of the scripts for a source, in order."""
    what = ("state", "lease", f"last:{source}", "rejected", "endings:0", "endings:1", "dead")
    return (stream, *(get_key(stream, one) for one in what))


def get_problem(stream: str) -> str | None:
    """Return why a stream cannot have this name, so that no key beside it shares its tag."""
    if "}" in stream and not _has_tag(stream):
        return "braces must enclose a part of the name, such as {shop}:events"
    return None


def _has_tag(stream: str) -> bool:
    begin = stream.find("{")
    return begin >= 0 and stream.find("}", begin) > begin + 1
