"""The client: `Whisperr`.

Threads: any thread and any event loop may call any method. `track` and `identify` return in
microseconds and never wait.
"""

from __future__ import annotations

from ._contract import BASE_URL
from ._delivery.accounting import Stats
from ._delivery.pipeline import Pipeline, resolve_buffer
from ._events.identify import encode_identify
from ._options import OVERRIDES, Config
from ._process.event_loop import run_in_thread
from ._process.exit import EXIT_TIMEOUT
from ._process.identity import get_process, get_reader
from ._process.interruption import is_interruption
from ._process.logger import log_to_stderr
from ._process.real_clock import monotonic
from ._process.timeout import parse_timeout
from ._secret import Secret, hide_password
from .errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Literal, NoReturn

    from typing_extensions import Self

    from .billing import Signal
    from .channel import ChannelFields
    from .errors import WhisperrError
    from .events import Event
    from .protocols import Buffer, Transport


class Whisperr:
    """Sends events and identifies from a backend to the Whisperr ingestion API.

    `track` and `identify` check, encode and queue the data. They return in microseconds and never
    wait for the network. One background thread, which starts with the first event, sends the
    queue in batches and retries. When the process ends, the client delivers what is still queued,
    for at most 10 seconds.

    Make one client and use it everywhere: any thread and any event loop may call any method. A
    forked child gets a queue and a thread of its own.

    Example::

        whisperr = Whisperr()  # reads WHISPERR_API_KEY
        whisperr.track("user_8842", "payment_failed", {"amount_cents": 4900})

    Args:
        api_key: Your server key (`wrk_...`). Left out, it is read from `WHISPERR_API_KEY`.
        base_url: The address to send to. `WHISPERR_BASE_URL` replaces the default.
        flush_at: Deliver as soon as this many events wait.
        flush_interval: Deliver after this many seconds at the latest.
        max_queue_size: Hold at most this many events; beyond that, drop the oldest.
        max_batch_size: Send at most this many events in one request. More than 500 means 500.
        max_retries: Repeat a failed request this many times, then pause. The events are kept.
        request_timeout: Seconds that one request may take, from connecting to the last byte.
        disabled: Do nothing at all; needs no key. Also switched on by `WHISPERR_DISABLED=1`.
        debug: Log every step to stderr. Also switched on by `WHISPERR_DEBUG=1`.
        on_error: A function that is called with a `WhisperrError` when events are lost, a call is
            refused, or delivery fails or pauses.
        app_version: The version of your application, sent with each event.
        test_mode: Mark every event as a test, which changes no production data. An identify cannot
            be marked: the service stores its data. Also switched on by `WHISPERR_TEST_MODE=1`.
        strict: Raise `InvalidEvent` for bad input; for development and tests.
        before_send: A function that is called with each event as a dictionary, in the thread that
            tracks it. It returns the event, changed or not, or None to veto it.
        default_properties: Properties that every event gets, unless the call or a `scope` gives
            one of the same name: a dictionary, or a function that is called for each event, in the
            thread that tracks it. If the function raises, the event goes without them, and the
            client reports that.
        max_queue_bytes: Hold at most this many bytes of events; beyond that, drop the oldest.
        buffer: Where events wait instead of in memory: a URL such as
            `"sqlite:////var/lib/app/events.db"` or `"redis://localhost:6379/0"`, or an object from
            `whisperr.buffers` or of your own. Left out, it is read from `WHISPERR_BUFFER`.
        ssl_context: An `ssl.SSLContext` for a private certificate authority.
        transport: An object that sends the requests instead of HTTP; see `Transport`.

    Raises:
        ValueError: An option is wrong. The text names the option, the value and what is allowed.
            A missing key is a `MissingKey`, which is a ValueError.

    .. versionchanged:: 1.0
        Added `test_mode`, `strict`, `before_send`, `default_properties`, `max_queue_bytes`,
        `buffer` and `ssl_context`. `transport` takes another kind of object.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str = BASE_URL,
        flush_at: int = 20,
        flush_interval: float = 10.0,
        max_queue_size: int = 10_000,
        max_batch_size: int = 500,
        max_retries: int = 6,
        request_timeout: float = 10.0,
        disabled: bool = False,
        debug: bool = False,
        on_error: Callable[[WhisperrError], object] | None = None,
        app_version: str | None = None,
        test_mode: bool = False,
        strict: bool = False,
        before_send: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
        default_properties: Mapping[str, Any]
        | Callable[[], Mapping[str, Any] | None]
        | None = None,
        max_queue_bytes: int = 64 * 1024 * 1024,
        buffer: str | Buffer | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: Transport | None = None,
    ) -> None:
        given = {**locals(), "api_key": Secret(api_key), "buffer": hide_password(buffer)}
        # No variable of a frame that may raise holds the key, or the password of a buffer's URL.
        del api_key, buffer, given["self"]
        self._config = resolve_buffer(Config(given))
        self._off = self._config.disabled
        # By process: a forked child finds no pipeline of its own and makes one. A dictionary,
        # because `setdefault` settles a race between threads without a lock.
        self._pipelines: dict[object, Pipeline] = {}
        self._read_process = get_reader()
        if self._config.debug and not self._off:
            log_to_stderr()
        pipeline = get_pipeline(self)
        if pipeline is not None and pipeline.encoder.problem is not None:
            raise ValueError(pipeline.encoder.problem)

    def track(
        self,
        external_user_id: object,
        event_type: str | Event,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> str | None:
        """Queue one event of a user.

        The data is checked and encoded in the call, so that changing it afterwards changes
        nothing. The calling thread does not wait for delivery.

        Example::

            whisperr.track("user_8842", "payment_failed", {"amount_cents": 4900})

        Args:
            external_user_id: Your id of the user: a string, or anything with a useful string
                form, such as an integer or UUID primary key; not a float, a bool or None. None
                is taken for an anonymous visitor: nothing is sent, and the call counts as
                `invalid`.
            event_type: The name of the event in lowercase snake case, such as
                `"payment_failed"`; or an `Event`, which has a name and properties.
            properties: A dictionary that describes the event; values of any type become JSON.
            context: A dictionary about the circumstances, such as a device or a locale.
            occurred_at: An aware `datetime`. The server accepts times from 30 days ago to 5
                minutes ahead. None means now.
            message_id: Your own unique id, such as a webhook id of a payment provider. The server
                drops a second event with the same id. None generates one.

        Returns:
            The message id of the event, or None when the event was not accepted.

        Raises:
            InvalidEvent: The input is bad, and the client is `strict`. Otherwise bad input is
                reported to `on_error` and the log, and nothing is raised.

        .. versionchanged:: 1.0
            Added `occurred_at`, `message_id` and the result. `event_type` may be an `Event`.
        """
        if self._off or OVERRIDES.pipeline is not None:
            found = get_pipeline(self)
            if found is None:
                return None
            pipeline = found
        else:
            pipeline = self._pipelines.get(self._read_process()) or self._get_pipeline()
        if pipeline.scheduler.closing:  # `pipeline.closing`, without a call
            pipeline.reject_closed("track")
            return None
        try:
            chosen, data = pipeline.encoder.encode(
                external_user_id, event_type, properties, context, occurred_at, message_id
            )
        except Exception as error:  # bad data, whatever it raises, is reported
            if is_interruption(error):
                raise
            pipeline.reject(error, "track")
            return None
        return chosen if pipeline.put(data) else None

    def track_signal(self, signal: Signal) -> str | None:
        """Queue one billing event that a module of `whisperr.billing` made of a webhook.

        It is checked and encoded as `track` does it.

        Example::

            from whisperr.billing import stripe

            for signal in stripe.signals(event):
                whisperr.track_signal(signal)

        Args:
            signal: One item of what `signals` returned.

        Returns:
            The message id of the event, or None when the event was not accepted.

        Raises:
            InvalidEvent: The input is bad, and the client is `strict`. Otherwise bad input is
                reported to `on_error` and the log, and nothing is raised.

        .. versionadded:: 1.0
        """
        try:
            check_signal(signal)
        except InvalidEvent as error:
            self.reject("track_signal", error)
            return None
        return self.track(
            signal.user,
            signal.event_type,
            signal.properties,
            signal.context,
            occurred_at=signal.occurred_at,
            message_id=signal.message_id,
        )

    def track_signals(self, signals: Iterable[Signal]) -> list[str | None]:
        """Queue all billing events of a webhook: call `track_signal` for each.

        Args:
            signals: What `signals` of a module of `whisperr.billing` returned.

        Returns:
            The message ids of the events, with None for each that was not accepted.

        Raises:
            InvalidEvent: As in `track_signal`.

        .. versionadded:: 1.0
        """
        return [self.track_signal(signal) for signal in signals]

    def identify(
        self,
        external_user_id: object,
        *,
        traits: Mapping[str, Any] | None = None,
        email: str | None = None,
        phone: str | None = None,
        push_token: str | None = None,
        preferred_channel: Literal["email", "sms", "push"] | None = None,
        channels: Sequence[ChannelFields | Mapping[str, Any]] | None = None,
        anonymous_id: str | None = None,
    ) -> None:
        """Queue what is known about a user.

        The server merges traits into those that it has, and updates or adds channels.

        Args:
            external_user_id: Your id of the user, as in `track`.
            traits: A dictionary of what is known, such as `{"plan": "pro"}`.
            email: An e-mail address, which becomes an opted-in channel. A blank one counts as
                none, also for the next two.
            phone: A phone number, which becomes an opted-in text message channel.
            push_token: A device token, which becomes an opted-in push channel.
            preferred_channel: `"email"`, `"sms"` or `"push"`.
            channels: All channels with their details, from `Channel` or as dictionaries. They
                replace `email`, `phone` and `push_token`.
            anonymous_id: The id that a browser or an app gave the visitor before the user was
                known; 1 to 128 characters. The server joins the history of both.

        Raises:
            InvalidEvent: The input is bad, and the client is `strict`. Otherwise bad input is
                reported to `on_error` and the log, and nothing is raised.

        .. versionchanged:: 1.0
            Added `anonymous_id`.
        """
        pipeline = get_pipeline(self)
        if pipeline is None:
            return
        if pipeline.closing:
            pipeline.reject_closed("identify")
            return
        try:
            data = encode_identify(
                external_user_id,
                traits=traits,
                email=email,
                phone=phone,
                push_token=push_token,
                preferred_channel=preferred_channel,
                channels=channels,
                anonymous_id=anonymous_id,
            )
        except Exception as error:  # bad data, whatever it raises, is reported
            if is_interruption(error):
                raise
            pipeline.reject(error, "identify")
            return
        pipeline.put(data)

    def flush(self, timeout: float | None = None) -> bool:
        """Deliver everything that was accepted before this call.

        Events that other threads track meanwhile do not prolong the call. It ends a pause after
        giving up, but waits as long as a Retry-After of the server asks. It does not wait for
        events whose user or commit is still to come. Called from `on_error`, it does not wait
        at all.

        Args:
            timeout: Seconds to wait at most. None: until delivery succeeds or the retries are
                used up.

        Returns:
            True when each of these events has been delivered or dropped. False when the time is
            over or delivery has given up; what is left stays queued.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is negative or NaN.

        .. versionchanged:: 1.0
            Added `timeout` and the result.
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        return True if pipeline is None else pipeline.flush(seconds)

    def shutdown(self, timeout: float | None = EXIT_TIMEOUT) -> bool:
        """Deliver what is queued, then close the client for good.

        Events that could not be delivered in time are dropped with the reason `"shutdown"`, and
        reported; those in a durable buffer stay there for the next process. Later calls of `track`
        and `identify` are not accepted. It also runs when the process ends, and may be called
        more than once.

        Args:
            timeout: Seconds to wait at most. None: until delivery succeeds or the retries are
                used up.

        Returns:
            True when everything was delivered.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is negative or NaN.

        .. versionchanged:: 1.0
            Added `timeout` and the result.
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        if pipeline is None:
            return True
        deadline = monotonic() + seconds
        pipeline.begin_shutdown(deadline)
        return pipeline.finish_shutdown(deadline)

    async def aflush(self, timeout: float | None = None) -> bool:
        """Do what `flush` does, without blocking the event loop of asyncio or trio.

        It uses no thread of the application. When the call is cancelled, nothing of it continues.

        Args:
            timeout: Seconds to wait at most, as in `flush`.

        Returns:
            True when nothing is left, as in `flush`.

        .. versionadded:: 1.0
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        if pipeline is None:
            return True
        return await run_in_thread(lambda waiting: pipeline.flush(seconds, waiting))

    async def ashutdown(self, timeout: float | None = EXIT_TIMEOUT) -> bool:
        """Do what `shutdown` does, without blocking the event loop of asyncio or trio.

        When the call is cancelled, the client still shuts down, within `timeout`.

        Args:
            timeout: Seconds to wait at most, as in `shutdown`.

        Returns:
            True when everything was delivered.

        .. versionadded:: 1.0
        """
        seconds = parse_timeout(timeout)
        if get_pipeline(self) is None:
            return True
        return await run_in_thread(lambda _: self.shutdown(seconds))

    def reject(self, call: str, error: Exception) -> None:
        """Report a call that became no event, as bad input of `track` is reported.

        For integrations, for example when the user of a request cannot be read. It is counted as
        `"invalid"` in `stats().not_accepted`. A disabled client does nothing.

        Args:
            call: The name of the method, such as `"track"`.
            error: Why there is no event. The text of an `InvalidEvent` is reported; of any other
                error only its type, since its text may contain data.

        Raises:
            InvalidEvent: The client is `strict`.

        .. versionadded:: 1.0
        """
        pipeline = get_pipeline(self)
        if pipeline is not None:
            pipeline.reject(error, call)

    @property
    def enabled(self) -> bool:
        """Whether the client does anything at all: False with `disabled=True`. No I/O.

        For integrations: for a client that is not enabled they need not read the user.

        .. versionadded:: 1.0
        """
        return not self._off or OVERRIDES.pipeline is not None

    @property
    def ready(self) -> bool:
        """Whether events are accepted: not disabled and not shut down."""
        pipeline = get_pipeline(self)
        return pipeline is not None and not pipeline.closing

    def stats(self) -> Stats:
        """Return what happened to the events of this client in this process. No I/O.

        .. versionadded:: 1.0
        """
        pipeline = get_pipeline(self)
        return Stats(state="disabled") if pipeline is None else pipeline.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ashutdown()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Whisperr client cannot be copied or pickled: it holds the key, a thread and a "
            "connection. Make one in each process, from the environment or from its settings"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_pipelines"):  # a crash reporter looks at a construction that failed
            return "<Whisperr unfinished>"
        closed = any(pipeline.closing for pipeline in [*self._pipelines.values()])
        state = "disabled" if self._off else "closed" if closed else "open"
        return f"<Whisperr {self._config.base_url} {state}>"

    def __del__(self) -> None:
        """End the thread once everything is delivered: no call can add an event any more."""
        for pipeline in [*getattr(self, "_pipelines", {}).values()]:
            if pipeline.process == get_process():
                pipeline.leave()

    def _get_pipeline(self) -> Pipeline:
        """Return the pipeline of this process; make it, and close a parent's, after a fork."""
        process = get_process()
        pipeline = self._pipelines.get(process)
        if pipeline is None:
            pipeline = self._pipelines.setdefault(process, Pipeline(self._config))
            for other in [*self._pipelines]:
                if other != process:
                    inherited = self._pipelines.pop(other, None)
                    if inherited is not None:  # another thread may have been faster
                        inherited.close_in_child()
                        if inherited.closing:  # a client that was shut down stays so
                            pipeline.begin_shutdown(monotonic())
        return pipeline


def check_signal(value: object) -> None:
    """Raise InvalidEvent for what is no `Signal`. The outbox of SQLAlchemy calls it, too."""
    from .billing import Signal

    if isinstance(value, Signal):
        return
    kind = type(value).__name__
    fix = "call track_signals" if isinstance(value, list) else "pass an item of signals(payload)"
    raise InvalidEvent(f"signal: must be a Signal of whisperr.billing, got {kind}; {fix}")


def get_pipeline(client: Whisperr) -> Pipeline | None:
    """Return what a client's calls go to in this process, also for integrations; None: disabled."""
    override = OVERRIDES.pipeline  # one read: another thread may end the override
    if override is not None:
        pipeline: Pipeline | None = override(client._config)  # noqa: SLF001  # of the same file
        return pipeline
    return None if client._off else client._get_pipeline()  # noqa: SLF001  # of the same file
