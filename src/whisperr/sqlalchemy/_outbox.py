"""The outbox as an application uses it: `track` and `identify` within a transaction.

Threads: any, each with its own session, as SQLAlchemy requires.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.orm import Session, scoped_session

from whisperr._client import Whisperr, check_signal, get_pipeline
from whisperr._delivery.reporter import get_call_site
from whisperr._events.identify import encode_identify
from whisperr._integrations.client import get_client_factory
from whisperr._integrations.deferred import defer, encode_now
from whisperr._integrations.tracker import (
    Fields,
    IdentifyArguments,
    TrackArguments,
    check_names,
    same_parameters,
)
from whisperr._options import OVERRIDES

from ._rows import Rows, Trouble
from ._statements import insert_event
from ._tables import is_outbox, whisperr_table
from ._waiting import get_waiting_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from typing_extensions import Unpack

    from whisperr._delivery.pipeline import Pipeline
    from whisperr._integrations.deferred import Encoded
    from whisperr.billing import Signal
    from whisperr.events import Event

    AnySession: TypeAlias = (
        "Session | scoped_session[Any] | Connection | AsyncSession | async_scoped_session[Any]"
    )
    AsyncTarget: TypeAlias = "AsyncSession | async_scoped_session[Any] | AsyncConnection"
    Encode: TypeAlias = "Callable[[Pipeline], Encoded]"

_ASYNC = "sqlalchemy.ext.asyncio"


class Outbox:
    """Adds events as rows to the caller's transactions; `whisperr relay` delivers them.

    A commit keeps the row. A rollback, also of a savepoint, discards it. The outbox neither flushes
    nor commits anything of the caller.

    Args:
        client: The client whose options and counters apply to the events, or a function that
            returns it. The client does not deliver them itself.
        events: The table that `whisperr_table` returned. None: the table of that name in the
            default schema of the database.

    Raises:
        TypeError: `client` or `events` is something else.
    """

    def __init__(
        self, client: Whisperr | Callable[[], Whisperr], events: Table | None = None
    ) -> None:
        if not (isinstance(client, Whisperr) or callable(client)):
            raise TypeError(
                f"client: must be a Whisperr, or a function that returns it, not {client!r:.80}"
            )
        if events is not None and not (isinstance(events, Table) and is_outbox(events)):
            raise TypeError(f"events: must be what whisperr_table returns, not {events!r:.80}")
        self._get_client = get_client_factory(client)
        self._events = whisperr_table(MetaData()) if events is None else events
        self._insert = insert_event(self._events)
        self._trouble = Trouble()

    @property
    def client(self) -> Whisperr:
        """The client whose options and counters apply to the events."""
        return self._get_client()

    @same_parameters(Whisperr.track)
    def track(
        self,
        session: AnySession,
        external_user_id: object,
        event_type: str | Event,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Add one event to the transaction of a session.

        Bad input is reported as by `Whisperr.track`. If the row cannot be written, the event is
        reported as `not_stored`, and the transaction continues.

        Args:
            session: A `Session`, `scoped_session` or `Connection`: the row is written before this
                returns. Or an `AsyncSession`: the row is written when it commits.
            external_user_id: Your id of the user: a string, or anything with a useful string
                form.
            event_type: The name of the event in lowercase snake case, or an `Event`.
            properties: A dictionary that describes the event; values of any type become JSON.
            context: A dictionary about the circumstances.
            occurred_at: An aware `datetime`, at most 30 days ago. None means now.
            message_id: Your own unique id. None generates one.

        Returns:
            The message id of the event, or None when it was not accepted.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: The database has ended the transaction. Nothing of it
                can be committed.
        """
        check_names(arguments, TrackArguments)
        given = (external_user_id, event_type, properties, context)
        return self._add(session, "track", _encode_event(given, arguments))

    def track_signal(self, session: AnySession, signal: Signal) -> str | None:
        """Add a billing event, made of a webhook, to the transaction of a session.

        Args:
            session: As in `track`.
            signal: One item of what `signals` of a module of `whisperr.billing` returned.

        Returns:
            The message id of the event, or None when it was not accepted.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: As in `track`.
        """
        return self._add(session, "track_signal", _encode_signal(signal))

    @same_parameters(Whisperr.identify)
    def identify(
        self,
        session: AnySession,
        external_user_id: object,
        **arguments: Unpack[IdentifyArguments],
    ) -> None:
        """Add what is known about a user to the transaction of a session.

        Args:
            session: As in `track`.
            external_user_id: Your id of the user, as in `track`.
            traits: A dictionary of what is known, such as `{"plan": "pro"}`.
            email: An e-mail address, which becomes an opted-in channel. A blank one counts as
                none, also for the next two.
            phone: A phone number, which becomes an opted-in text message channel.
            push_token: A device token, which becomes an opted-in push channel.
            preferred_channel: `"email"`, `"sms"` or `"push"`.
            channels: All channels with their details, from `Channel` or as dictionaries. They
                replace `email`, `phone` and `push_token`.
            anonymous_id: The id that the visitor had before the user was known; 1 to 128
                characters.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: As in `track`.
        """
        check_names(arguments, IdentifyArguments)
        self._add(session, "identify", _encode_details(external_user_id, arguments))

    @same_parameters(Whisperr.track)
    async def atrack(
        self,
        session: AsyncTarget,
        external_user_id: object,
        event_type: str | Event,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Add one event to the transaction of an async session, and write its row at once.

        Args:
            session: An `AsyncSession`, `async_scoped_session` or `AsyncConnection`.
            external_user_id: Your id of the user, as in `track`.
            event_type: The name of the event in lowercase snake case, or an `Event`.
            properties: A dictionary that describes the event.
            context: A dictionary about the circumstances.
            occurred_at: An aware `datetime`, at most 30 days ago. None means now.
            message_id: Your own unique id. None generates one.

        Returns:
            The message id of the event, or None when it was not accepted.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: As in `track`.
        """
        check_names(arguments, TrackArguments)
        given = (external_user_id, event_type, properties, context)
        return await self._add_async(session, "atrack", _encode_event(given, arguments))

    async def atrack_signal(self, session: AsyncTarget, signal: Signal) -> str | None:
        """Add a billing event, made of a webhook, to an async session, and write its row at once.

        Args:
            session: An `AsyncSession`, `async_scoped_session` or `AsyncConnection`.
            signal: One item of what `signals` of a module of `whisperr.billing` returned.

        Returns:
            The message id of the event, or None when it was not accepted.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: As in `track`.
        """
        return await self._add_async(session, "atrack_signal", _encode_signal(signal))

    @same_parameters(Whisperr.identify)
    async def aidentify(
        self,
        session: AsyncTarget,
        external_user_id: object,
        **arguments: Unpack[IdentifyArguments],
    ) -> None:
        """Add what is known about a user to an async session, and write its row at once.

        Args:
            session: An `AsyncSession`, `async_scoped_session` or `AsyncConnection`.
            external_user_id: Your id of the user, as in `track`.
            traits: A dictionary of what is known, as in `identify`.
            email: An e-mail address, which becomes an opted-in channel.
            phone: A phone number, which becomes an opted-in text message channel.
            push_token: A device token, which becomes an opted-in push channel.
            preferred_channel: `"email"`, `"sms"` or `"push"`.
            channels: All channels with their details. They replace the three above.
            anonymous_id: The id that the visitor had before the user was known.

        Raises:
            TypeError: `session` is of another type.
            InvalidEvent: The input is bad, and the client is `strict`.
            sqlalchemy.exc.SQLAlchemyError: As in `track`.
        """
        check_names(arguments, IdentifyArguments)
        encode = _encode_details(external_user_id, arguments)
        await self._add_async(session, "aidentify", encode)

    def _add(self, given: object, call: str, encode: Encode) -> str | None:
        target = _resolve(given)
        if isinstance(target, (Session, Connection)):
            return self._write(target, call, encode)
        if isinstance(target, _get_async("AsyncSession")):
            inner: Session = vars(target)["sync_session"]
            return self._wait(inner, call, encode)
        raise _to_type_error(call, given)

    async def _add_async(self, given: object, call: str, encode: Encode) -> str | None:
        target: Any = _resolve(given)
        kinds = (*_get_async("AsyncSession"), *_get_async("AsyncConnection"))
        is_async = isinstance(target, kinds)
        if not is_async:
            raise _to_type_error(call, given)
        if not self.client.enabled:
            return None
        call_site = get_call_site()  # inside `run_sync` it is not on the stack
        chosen: str | None = await target.run_sync(
            lambda sync: self._write(sync, call.removeprefix("a"), encode, call_site)
        )
        return chosen

    def _write(
        self,
        target: Session | Connection,
        call: str,
        encode: Encode,
        call_site: str | None = None,
    ) -> str | None:
        """Write the row now, or while a test captures, keep the event until the commit."""
        if OVERRIDES.pipeline is not None and isinstance(target, Session):
            return self._wait(target, call, encode)
        client = self.client
        encoded = encode_now(client, call, encode, call_site)
        pipeline = get_pipeline(client)
        if encoded is None or pipeline is None:
            return None
        chosen, data, _ = encoded
        if OVERRIDES.pipeline is not None:  # a connection does not report its commits
            accepted = pipeline.put(data)
        else:
            accepted = pipeline.put_into(self._open(target, pipeline), data, call_site)
        return chosen if accepted else None

    def _wait(self, session: Session, call: str, encode: Encode) -> str | None:
        """Keep the event until the session commits."""
        deferred = defer(self.client, call, encode)
        pipeline = get_pipeline(self.client)
        if deferred is None or pipeline is None:
            return None
        sink = None if OVERRIDES.pipeline is not None else self._open(session, pipeline)
        get_waiting_events(session).add(session, deferred, sink)
        return deferred.message_id

    def _open(self, target: Session | Connection, pipeline: Pipeline) -> Rows:
        events = self._events

        def connect() -> Connection:
            if isinstance(target, Connection):
                return target
            return target.connection(bind_arguments={"clause": events})  # does not flush

        return Rows(self._insert, connect, pipeline.max_bytes, pipeline.accounting, self._trouble)


def _encode_event(
    given: tuple[object, object, object, object], arguments: TrackArguments
) -> Encode:
    occurred_at, message_id = arguments.get("occurred_at"), arguments.get("message_id")

    def encode(pipeline: Pipeline) -> Encoded:
        return (*pipeline.encoder.encode(*given, occurred_at, message_id), None)

    return encode


def _encode_signal(signal: Signal) -> Encode:
    def encode(pipeline: Pipeline) -> Encoded:
        check_signal(signal)
        given = (signal.user, signal.event_type, signal.properties, signal.context)
        return _encode_event(
            given, {"occurred_at": signal.occurred_at, "message_id": signal.message_id}
        )(pipeline)

    return encode


def _encode_details(user: object, arguments: IdentifyArguments) -> Encode:
    return lambda _: (None, encode_identify(user, **arguments), None)


def _resolve(given: Any) -> object:  # noqa: ANN401  # anything may be given
    """Return the current session of a registry, and any other object unchanged."""
    is_registry = isinstance(given, (scoped_session, *_get_async("async_scoped_session")))
    return given() if is_registry else given


def _get_async(name: str) -> tuple[type[Any], ...]:
    """Return a class of SQLAlchemy's asyncio in a tuple, which is empty if that is not loaded.

    It needs greenlet, which an application without asyncio may not have, so it is not imported.
    """
    module = sys.modules.get(_ASYNC)
    return () if module is None else (getattr(module, name),)


def _to_type_error(call: str, given: object) -> TypeError:
    kind = type(given).__name__
    if call.startswith("a"):
        return TypeError(
            f"outbox.{call}: must get an AsyncSession or AsyncConnection, not {kind}; "
            f"outbox.{call.removeprefix('a')}(session, ...) is for sessions that are not async"
        )
    if isinstance(given, _get_async("AsyncConnection")):
        return TypeError(
            f"outbox.{call}: an AsyncConnection cannot write in a call that is not awaited: "
            f"await outbox.a{call}(connection, ...)"
        )
    return TypeError(
        f"outbox.{call}: must get a Session, scoped_session, Connection or AsyncSession, not {kind}"
    )
