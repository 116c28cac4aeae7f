"""What the events of one client get: its default properties, and those of the active scopes.

Threads: any. A function of the caller is called in the thread that tracks.
"""

from __future__ import annotations

from _collections_abc import Mapping  # `collections.abc` would import the whole of `collections`
from _thread import get_ident

from whisperr._contract import RESERVED_CONTEXT_KEY
from whisperr._process.interruption import is_interruption
from whisperr.errors import InvalidEvent

from .defaults import Defaults
from .redaction import get_type_name
from .scope import SCOPES
from .to_json import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .scope import Layer

    DefaultProperties = Mapping[str, Any] | Callable[[], Mapping[str, Any] | None]


class ClientDefaults:
    """Finds what an event of this moment gets, and encodes it.

    - `plain`: what events get outside of scopes, without what a function returns.
    """

    __slots__ = ("_calling", "_context", "_fixed", "_function", "_properties", "plain")

    def __init__(
        self, given: DefaultProperties | None, context: Mapping[str, Any], fixed: Mapping[str, Any]
    ) -> None:
        """`context` is the client's own; `fixed`: what no call can replace in it."""
        self._function = given if callable(given) else None
        self._properties: Mapping[str, Any] = {} if given is None or callable(given) else given
        self._context = context
        self._fixed = fixed
        self._calling: set[int] = set()  # the threads that are in the function
        self.plain = self._encode(None)
        if given is not None:
            SCOPES.in_use = True

    def get(self) -> Defaults:
        """Return what an event of this moment gets."""
        layer = SCOPES.current.get()
        if layer is not None:
            encoded = layer.encoded
            if encoded is not None and encoded[0] is self:
                return encoded[1]
            layer = SCOPES.get_current()
        if self._function is not None:
            return self._call(self._function, layer)
        if layer is None:
            return self.plain
        defaults = self._encode(layer)
        layer.encoded = self, defaults
        return defaults

    def _call(self, function: Callable[[], object], layer: Layer | None) -> Defaults:
        """Call the function, but not for an event that the function itself tracks."""
        thread = get_ident()
        if thread in self._calling:
            return self._encode(layer)
        try:
            self._calling.add(thread)
            found = _read(function)
        except InvalidEvent as error:
            defaults = self._encode(layer)
            defaults.problem = str(error)
            return defaults
        finally:
            self._calling.discard(thread)
        return self._encode(layer, found)

    def _encode(self, layer: Layer | None, found: Mapping[Any, object] | None = None) -> Defaults:
        """Encode the default properties, or what the function has returned, and the scopes."""
        defaults = Defaults(self._make_tail({}))
        own = self._properties if found is None else found
        scoped = {} if layer is None else layer.properties
        defaults.set_properties(("default_properties", own), ("scope", scoped))
        if layer is not None and layer.context:
            defaults.set_context("scope: context", layer.context)
            defaults.tail = self._make_tail(defaults.context)
        return defaults

    def _make_tail(self, scoped: Mapping[str, Any]) -> str:
        """Return what follows the message id when the call gives neither a context nor an id."""
        merged = {**self._context, **scoped, **self._fixed}
        merged.pop(RESERVED_CONTEXT_KEY, None)
        return to_json(merged, "context")[1:] + "}"


def _read(function: Callable[[], object]) -> Mapping[Any, object]:
    """Return what the function returns, copied; raise InvalidEvent if that is wrong."""
    try:
        found = function()
        if isinstance(found, Mapping):
            return {**found}
    except Exception as error:
        if is_interruption(error):
            raise
        raise InvalidEvent(f"default_properties: raised {get_type_name(error)}") from error
    if found is None:
        return {}
    kind = get_type_name(found)
    raise InvalidEvent(f"default_properties: must return a dict or None, got {kind}")
