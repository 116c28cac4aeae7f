"""A TCP proxy that injects the faults of networks and dying servers.

It runs on loopback between a client and a server. It reads whole HTTP messages, so that a fault
hits one exchange: the request to the server, or the answer to the client.

Threads: the proxy runs in one thread of its own; any thread may call what is public.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

    from .schedule import Fault, Schedule

_BOUND = 10.0  # for the start and the end of the proxy
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SOME = 65_536
# A request may have half a megabyte: after so many single bytes the rest is sent at once.
_DRIPPED_BYTES = 64


class FaultProxy:
    """Forwards to a port of this machine; faults come from a schedule. A context manager.

    with LocalServer() as server, FaultProxy(server.port, Schedule(7)) as proxy:
        client = Whisperr("wrk_test", base_url=proxy.url)
    """

    def __init__(self, target_port: int, schedule: Schedule | None = None) -> None:
        self._target = ("127.0.0.1", target_port)
        self._schedule = schedule
        self._lock = Lock()
        self._injected: Counter[str] = Counter()
        self._exchanges = 0
        self._connections = 0
        # Never listens: it reserves the port while no listener is open.
        self._reserved = _bind(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None
        self._relisten: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = Event()
        self._thread = Thread(target=self._run, name="fault-proxy", daemon=True)
        self.failures: list[BaseException] = []

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def injected(self) -> dict[str, int]:
        """How many faults of each kind were injected."""
        with self._lock:
            return dict(self._injected)

    @property
    def exchanges(self) -> int:
        """How many requests began to arrive."""
        with self._lock:
            return self._exchanges

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._lock:
            return self._connections

    def use(self, schedule: Schedule | None) -> None:
        """Inject the faults of `schedule` from now on; None injects none."""
        with self._lock:
            self._schedule = schedule

    def start(self) -> Self:
        """Listen in a thread of its own. Once per proxy."""
        self._thread.start()
        assert self._started.wait(_BOUND)
        return self

    def close(self) -> None:
        """Stop listening, cut what is open and wait for the thread, within a bound."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(_BOUND)
            assert not self._thread.is_alive()
        self._reserved.close()
        assert self.failures == []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- in the thread

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        try:
            self._listen()
            self._started.set()
            await self._ended.wait()
        finally:
            self._stop_listening()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self) -> None:
        self._relisten = None
        listener = _bind(self.port)
        listener.setblocking(False)
        listener.listen(128)
        self._loop.add_reader(listener, self._accept, listener)
        self._listener = listener

    def _stop_listening(self) -> None:
        if self._relisten is not None:
            self._relisten.cancel()
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        self._listener = self._relisten = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            plain, _ = listener.accept()
        except OSError:
            return  # the client closed it before it was accepted
        with self._lock:
            self._connections += 1
        link = _Link(_Wire(plain), _Wire(socket.socket()))
        task = self._loop.create_task(self._serve(link))
        self._tasks.add(task)

        def over(done: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled early never runs its `finally`.
            link.close()
            self._tasks.discard(done)
            if not done.cancelled() and done.exception() is not None:
                self.failures.append(done.exception() or AssertionError())

        task.add_done_callback(over)

    async def _serve(self, link: _Link) -> None:
        try:
            while await link.client.wait_for_data():
                if not await self._exchange(link, self._next()):
                    return
        except OSError:
            link.client.reset()  # one side closed: the other has to see it

    def _next(self) -> Fault | None:
        with self._lock:
            self._exchanges += 1
            fault = self._schedule.next() if self._schedule is not None else None
            if fault is not None:
                self._injected[fault.kind] += 1
            return fault

    async def _exchange(self, link: _Link, fault: Fault | None) -> bool:
        """Forward a request and its answer; return whether the connection can be used again."""
        request_fault = fault if fault is not None and fault.way == "request" else None
        answer_fault = fault if request_fault is None else None
        return await self._request(link, request_fault) and await self._answer(link, answer_fault)

    async def _request(self, link: _Link, fault: Fault | None) -> bool:
        if fault is not None and fault.kind in _BEFORE_THE_REQUEST:
            await self._swallow(link, fault)
            return False
        request = await link.client.message()
        if request is None:
            return False
        if link.is_fresh:
            await link.connect(self._target)
        arrived = await _forward(link.server, request, fault)
        if not arrived:
            link.server.end_sending()
        return arrived

    async def _answer(self, link: _Link, fault: Fault | None) -> bool:
        answer = await link.answer()
        if answer is None:
            link.client.reset()
            return False
        if fault is not None and fault.kind in _INSTEAD_OF_THE_ANSWER:
            await self._swallow(link, fault)
            return False
        return await _forward(link.client, answer, fault)

    async def _swallow(self, link: _Link, fault: Fault) -> None:
        """Send the client nothing, an end, or a reset."""
        if fault.kind == "refuse":
            self._stop_listening()
            self._relisten = self._loop.call_later(fault.seconds, self._listen)
        if fault.kind == "half_close":
            link.client.end_sending()
        if fault.kind in {"half_close", "black_hole"}:
            await link.client.drain()
        else:
            link.client.reset()


_BEFORE_THE_REQUEST = {"refuse", "half_close", "black_hole", "reset"}
_INSTEAD_OF_THE_ANSWER = {"half_close", "black_hole", "lose_answer"}


async def _forward(wire: _Wire, message: bytes, fault: Fault | None) -> bool:
    """Send a message late, slowly or in part; return whether the connection can be used again."""
    if fault is not None and fault.kind in {"truncate", "reset"}:
        await wire.send(message[: min(fault.after_bytes, len(message) - 1)])
        if fault.kind == "reset":
            wire.reset()
        return False
    if fault is not None and fault.kind == "drip":
        await wire.drip(message, fault.seconds)
        return True
    if fault is not None:
        await asyncio.sleep(fault.seconds)
    await wire.send(message)
    return True


class _Wire:
    """One end of a connection, read in whole HTTP messages."""

    def __init__(self, plain: socket.socket) -> None:
        plain.setblocking(False)
        self.socket = plain
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    async def more(self) -> bool:
        """Read some bytes; False at the end."""
        data = await self._loop.sock_recv(self.socket, _SOME)
        self._rest += data
        return data != b""

    async def wait_for_data(self) -> bool:
        """Wait for the first bytes of a message; False at the end."""
        return self._rest != b"" or await self.more()

    async def message(self) -> bytes | None:
        """Read one message with its body; None when the end comes first."""
        while (size := _get_message_size(self._rest)) is None or len(self._rest) < size:
            if not await self.more():
                return None
        whole, self._rest = self._rest[:size], self._rest[size:]
        return whole

    async def drain(self) -> None:
        """Read and discard until the end."""
        while await self.more():
            self._rest = b""

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def drip(self, data: bytes, pause: float) -> None:
        """Send the first bytes one by one."""
        for at in range(min(_DRIPPED_BYTES, len(data))):
            await self.send(data[at : at + 1])
            await asyncio.sleep(pause)
        await self.send(data[_DRIPPED_BYTES:])

    def end_sending(self) -> None:
        """Close one direction; the other end may still write."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset, as a crashed machine does."""
        if self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.socket.close()


class _Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: _Wire, server: _Wire) -> None:
        self.client = client
        self.server = server
        self.is_fresh = True

    async def connect(self, target: tuple[str, int]) -> None:
        """Connect to the server, with the first request."""
        self.is_fresh = False
        await asyncio.get_running_loop().sock_connect(self.server.socket, target)

    async def answer(self) -> bytes | None:
        """Return the server's answer; None when it gives none or the client leaves."""
        answer = asyncio.ensure_future(self.server.message())
        gone = asyncio.ensure_future(self.client.more())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            # Wait for both tasks: a socket must not be closed while a task reads it.
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    def close(self) -> None:
        self.client.socket.close()
        self.server.socket.close()


def _bind(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _get_message_size(data: bytes) -> int | None:
    """Return the length of the first message; None until its head is complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end)
    return end + 4 + (int(length[1]) if length is not None else 0)
