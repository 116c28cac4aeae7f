"""The public face: `Whisperr`.

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Literal, NoReturn

    from typing_extensions import Self

    from .channel import ChannelFields
    from .errors import WhisperrError
    from .protocols import Buffer, Transport


class Whisperr:
    """Sends events and identifies to Whisperr from a backend.

    `track` and `identify` check, encode and queue; one background thread delivers in batches,
    with retries. The thread starts with the first event. What is queued is delivered when the
    process ends, for 10 seconds at most.

    - `api_key`: your server key (`wrk_...`); left out, `WHISPERR_API_KEY` of the environment.
    - `base_url`: where to send; `WHISPERR_BASE_URL` of the environment replaces the default.
    - `flush_at`, `flush_interval`: deliver when so many events wait, or after so many seconds.
    - `max_queue_size`, `max_queue_bytes`: how much is held; the oldest events are dropped beyond.
    - `max_batch_size`, `max_retries`, `request_timeout`: of one request, the last in seconds.
    - `on_error`: a function that is called with a WhisperrError for losses and pauses.
    - `before_send`: a function that gets each event, and returns it, changed or not, or None.
    - `strict`: raise InvalidEvent for bad input. `debug`: log each step to stderr.
    - `test_mode`: mark events as tests. `disabled`: do nothing at all; needs no key.
    - `app_version`: the version of your application, sent with each event.
    - `buffer`: where events are held instead of memory, such as `"sqlite:////path"`.
    - `ssl_context`, `transport`: for a private certificate authority; instead of HTTP.

    Raises ValueError for a wrong option: it names the option, the value and what is allowed. After
    construction nothing raises on data.
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
        get_pipeline(self)

    def track(
        self,
        external_user_id: object,
        event_type: str,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> str | None:
        """Queue one event and return its message id; None when it was not accepted.

        - `external_user_id`: your id of the user: a string, or anything with a sensible string
          form, such as an integer or UUID primary key.
        - `event_type`: lowercase snake case, such as `"payment_failed"`.
        - `properties`, `context`: dictionaries of any values; they are encoded now, so changing
          them later changes nothing.
        - `occurred_at`: an aware `datetime`, at most 30 days ago; the present when left out.
        - `message_id`: your own unique id, such as a provider's webhook id: a second event with
          the same one is dropped by the server.

        Bad input is reported through `on_error` and the log, and raised as InvalidEvent with
        `strict=True` only.
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
        """Queue what is known about a user: traits merge, channels upsert.

        - `email`, `phone`, `push_token`: become opted-in channels. A blank one counts as none.
        - `channels`: explicit channels, which replace those three; see `Channel`.
        - `preferred_channel`: `"email"`, `"sms"` or `"push"`.
        - `anonymous_id`: 1 to 128 characters, the handle of the visitor before it was known.

        Bad input is treated as in `track`.
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
        """Deliver everything accepted before this call; True when nothing of it is left.

        A barrier: each event has been delivered or dropped when it returns True. False when
        delivery cannot go on (it gave up and pauses) or `timeout` seconds are over; what is left
        is kept. Events tracked meanwhile do not prolong it. It ends a pause, but waits for a
        Retry-After. Without a timeout it is bounded by the retries. From `on_error` it does not
        wait, and nowhere for an event whose user or commit is still to come.

        Raises TypeError or ValueError for a timeout that is no number, negative, or NaN.
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        return True if pipeline is None else pipeline.flush(seconds)

    def shutdown(self, timeout: float | None = EXIT_TIMEOUT) -> bool:
        """Deliver what is held within `timeout` seconds and end; True when all of it was.

        What could not be delivered is dropped with reason `"shutdown"` and reported. May be
        called more than once. It also runs when the process ends.

        None: without a bound but that of the retries. A wrong timeout is an error, as in `flush`.
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        if pipeline is None:
            return True
        deadline = monotonic() + seconds
        pipeline.begin_shutdown(deadline)
        return pipeline.finish_shutdown(deadline)

    async def aflush(self, timeout: float | None = None) -> bool:
        """Do what `flush` does, without blocking the event loop: asyncio's or trio's.

        It borrows no thread of the application. When it is cancelled, nothing of it goes on.
        """
        seconds = parse_timeout(timeout)
        pipeline = get_pipeline(self)
        if pipeline is None:
            return True
        return await run_in_thread(lambda waiting: pipeline.flush(seconds, waiting))

    async def ashutdown(self, timeout: float | None = EXIT_TIMEOUT) -> bool:
        """Do what `shutdown` does, without blocking the event loop: asyncio's or trio's.

        When it is cancelled, the client still ends, within `timeout`.
        """
        seconds = parse_timeout(timeout)
        if get_pipeline(self) is None:
            return True
        return await run_in_thread(lambda _: self.shutdown(seconds))

    def reject(self, call: str, error: Exception) -> None:
        """Report a call that became no event, as bad input of `track` is reported.

        For integrations: when the user of a request cannot be read, for example. `call` names the
        method, such as `"track"`. Only the text of an InvalidEvent is reported, since the text of
        any other error may hold data; of those, the name of the type is.

        Counted as `"invalid"` in `stats().not_accepted`. Raises an InvalidEvent with
        `strict=True`. Does nothing when the client is disabled.
        """
        pipeline = get_pipeline(self)
        if pipeline is not None:
            pipeline.reject(error, call)

    @property
    def enabled(self) -> bool:
        """Whether the client does anything at all: False with `disabled=True`. No I/O.

        For integrations: with a client that is not enabled they read no user and keep nothing.
        """
        return not self._off or OVERRIDES.pipeline is not None

    @property
    def ready(self) -> bool:
        """Whether events are accepted: not disabled and not shut down."""
        pipeline = get_pipeline(self)
        return pipeline is not None and not pipeline.closing

    def stats(self) -> Stats:
        """Return what happened to this process's events so far; see `Stats`."""
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


def get_pipeline(client: Whisperr) -> Pipeline | None:
    """Return what a client's calls go to in this process, also for integrations; None: disabled."""
    override = OVERRIDES.pipeline  # one read: another thread may end the override
    if override is not None:
        pipeline: Pipeline | None = override(client._config)  # noqa: SLF001  # of the same file
        return pipeline
    return None if client._off else client._get_pipeline()  # noqa: SLF001  # of the same file
