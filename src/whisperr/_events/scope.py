"""Properties and context that a block of code gives to each event that is tracked in it: `scope`.

Threads: any. The scopes of the running code are one context variable, so that threads, tasks and
callbacks see them as Python's `contextvars` defines.
"""

from __future__ import annotations

from _collections_abc import Mapping  # `collections.abc` would import the whole of `collections`
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from .defaults import Defaults


class Layer:
    """One scope that is active, merged with those around it.

    `encoded` is the cache of the encoder: the encoder that wrote it, and what it wrote. One entry
    is enough, because most processes have one client.
    """

    __slots__ = ("context", "encoded", "parent", "properties", "scope")

    def __init__(self, scope: Scope, parent: Layer | None) -> None:
        self.scope = scope
        self.parent = parent
        self.properties = scope.properties
        self.context = scope.context
        if parent is not None:
            self.properties = {**parent.properties, **self.properties}
            self.context = {**parent.context, **self.context}
        self.encoded: tuple[object, Defaults] | None = None


class Scopes:
    """The scopes of the running code.

    - `in_use`: whether this process ever entered a scope or made a client with default properties.
      Most do not, and a context variable costs more to read than an attribute.
    - `get_current`: returns the innermost scope; None outside of all.
    """

    __slots__ = ("get_current", "in_use", "set_current")

    def __init__(self) -> None:
        current: ContextVar[Layer | None] = ContextVar("whisperr.scope", default=None)
        self.get_current: Callable[[], Layer | None] = current.get
        self.set_current: Callable[[Layer | None], object] = current.set
        self.in_use = False


SCOPES = Scopes()


class Scope:
    """A context manager, from `scope`, that gives properties and context to events.

    It may be entered more than once, also by several threads or tasks at a time.
    """

    __slots__ = ("context", "properties")

    def __init__(self, properties: Mapping[Any, object], context: Mapping[Any, object]) -> None:
        self.properties = {**properties}
        self.context = {**context}

    def __enter__(self) -> None:
        SCOPES.set_current(Layer(self, SCOPES.get_current()))
        SCOPES.in_use = True

    def __exit__(self, *_: object) -> None:
        """End the scope. Not by a token: generators may end their scopes in any order."""
        inner: list[Scope] = []
        layer = SCOPES.get_current()
        while layer is not None and layer.scope is not self:
            inner.append(layer.scope)
            layer = layer.parent
        if layer is None:
            return  # it was entered in another context, where Python has ended it
        rest = layer.parent
        for scope_inside in reversed(inner):
            rest = Layer(scope_inside, rest)
        SCOPES.set_current(rest)


def scope(
    properties: Mapping[str, Any] | None = None,
    /,
    *,
    context: Mapping[str, Any] | None = None,
    **more: object,
) -> AbstractContextManager[None]:
    """Give properties and context to each event that is tracked in a `with` block.

    All clients and all trackers add them. Of a name that occurs more than once, the value of the
    call wins, then that of the innermost scope, then the client's `default_properties`. An
    `identify` has no properties, so a scope does not change it.

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
        A context manager. It never raises: a value that cannot become JSON is left out of the
        events, and reported to `on_error` and the log for each event.

    Raises:
        TypeError: `properties` or `context` is not a mapping.

    .. versionadded:: 1.0
    """
    for name, given in (("properties", properties), ("context", context)):
        if given is not None and not isinstance(given, Mapping):
            kind = type(given).__name__
            raise TypeError(f"scope: {name} must be a dict, got {kind}; write scope(tenant='acme')")
    return Scope({**(properties or {}), **more}, context or {})
