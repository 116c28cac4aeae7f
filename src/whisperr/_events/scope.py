"""Properties and context that a block of code gives to each event that is tracked in it: `scope`.

Threads: any. The scopes of the running code are one context variable, so that threads, tasks and
callbacks see them as Python's `contextvars` defines.
"""

from __future__ import annotations

from _collections_abc import Mapping  # `collections.abc` would import the whole of `collections`
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from contextvars import Token
    from typing import Any

    from .defaults import Defaults


class Layer:
    """One scope that is active, merged with those around it.

    - `encoded`: the cache of the encoder: the encoder that wrote it, and what it wrote. One entry
      is enough, because most processes have one client. None once the scope has ended.
    - `ended`: whether the scope has ended in another context than this one, which still has it.
    - `token`: belongs to the context in which the scope was entered.
    """

    __slots__ = ("context", "encoded", "ended", "parent", "properties", "scope", "token")

    token: Token[Layer | None]

    def __init__(self, scope: Scope, parent: Layer | None) -> None:
        self.scope = scope
        self.parent = parent
        self.properties = scope.properties
        self.context = scope.context
        if parent is not None:
            self.properties = {**parent.properties, **self.properties}
            self.context = {**parent.context, **self.context}
        self.encoded: tuple[object, Defaults] | None = None
        self.ended = False

    def end(self) -> None:
        """Let contexts that still have this scope go on without it."""
        self.ended = True
        self.encoded = None


class Scopes:
    """The scopes of the running code.

    - `in_use`: whether this process ever entered a scope or made a client with default properties.
      Most do not, and a context variable costs more to read than an attribute.
    - `current`: the innermost scope of the running code, which may have ended.
    """

    __slots__ = ("current", "in_use")

    def __init__(self) -> None:
        self.current: ContextVar[Layer | None] = ContextVar("whisperr.scope", default=None)
        self.in_use = False

    def get_current(self) -> Layer | None:
        """Return the innermost scope that has not ended; None outside of all."""
        layer = self.current.get()
        while layer is not None and layer.ended:
            layer = layer.parent
        return layer


SCOPES = Scopes()


class Scope:
    """A context manager, from `scope`, that gives properties and context to events.

    It may be entered more than once, also by several threads or tasks at a time.
    """

    __slots__ = ("_entered", "context", "properties")

    def __init__(self, properties: Mapping[Any, object], context: Mapping[Any, object]) -> None:
        self.properties = {**properties}
        self.context = {**context}
        self._entered: list[Layer] = []

    def __enter__(self) -> None:
        SCOPES.in_use = True
        before = SCOPES.current.get()
        try:
            self.enter(SCOPES.get_current())
        except BaseException:  # a signal handler raises here: then the block does not begin
            SCOPES.current.set(before)
            raise

    def enter(self, parent: Layer | None) -> None:
        """Make a layer inside of `parent` the innermost scope of the running code."""
        layer = Layer(self, parent)
        self._entered.append(layer)
        layer.token = SCOPES.current.set(layer)

    def __exit__(self, *_: object) -> None:
        """End the scope, also where the context is not the one in which it was entered.

        Generators may end their scopes in any order, and an event loop may close a generator in
        another task than that which ran it.
        """
        try:
            self._end()
        except BaseException:  # a signal handler raises here
            self._end()
            raise

    def _end(self) -> None:
        inner: list[Layer] = []
        layer = SCOPES.current.get()
        while layer is not None and layer.scope is not self:
            inner.append(layer)
            layer = layer.parent
        if layer is None:
            if self._entered:
                self._entered.pop().end()
            return
        self.forget(layer)
        try:
            SCOPES.current.reset(layer.token)
        except ValueError:  # the token is that of another context, of which this one is a copy
            layer.end()
        SCOPES.current.set(layer.parent)
        for one in reversed(inner):
            one.scope.forget(one)
            one.scope.enter(SCOPES.current.get())

    def forget(self, layer: Layer) -> None:
        """Stop to keep a layer that has ended."""
        if layer in self._entered:
            self._entered.remove(layer)


def scope(
    properties: Mapping[str, Any] | None = None,
    /,
    *,
    context: Mapping[str, Any] | None = None,
    **more: object,
) -> AbstractContextManager[None]:
    """Give properties and context to each event that is tracked in a `with` block.

    All clients and all trackers add them. Of a name that occurs more than once, the value of the
    call wins, then that of the innermost scope, then the client's `default_properties`. A
    field of a typed event that is None counts as not given, so they fill it. An `identify` has no
    properties, so a scope does not change it.

    The block covers what it runs, also in functions, tasks and threads that Python gives its
    context: tasks of asyncio and `asyncio.to_thread` inherit it; `threading.Thread` does so only
    on builds of Python that say so (`sys.flags.thread_inherit_context`). An event that waits for
    its user or for a commit has the values of the moment of its call.

    Example::

        with whisperr.scope(tenant="acme", job_id=job.id):
            client.track("user_8842", "export_failed", {"rows": 120})

    Args:
        properties: Properties as a dictionary, for names that cannot be arguments.
        context: Context, as in `Whisperr.track`.
        more: Properties by name. Values of any type become JSON.

    Returns:
        A context manager, not a decorator. Entering and leaving it never raises. A value that
        cannot become JSON is left out of the events, and reported to `on_error` and the log for
        each event; with `strict=True`, `track` raises InvalidEvent.

    Raises:
        TypeError: `properties` or `context` is not a mapping, or `properties` is given by name.

    .. versionadded:: 1.0
    """
    if isinstance(more.get("properties"), Mapping):
        raise TypeError(
            "scope: properties is no argument; write scope({...}) or scope(tenant='acme')"
        )
    for name, given in (("properties", properties), ("context", context)):
        if given is not None and not isinstance(given, Mapping):
            kind = type(given).__name__
            raise TypeError(f"scope: {name} must be a dict, got {kind}; write scope(tenant='acme')")
    return Scope({**(properties or {}), **more}, context or {})
