"""`whisperr dev --mcp-stdio`: a local server for the assistant that started this process.

The process ends when the assistant closes its input, and on SIGINT and SIGTERM.
"""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr.dev._mcp.stdio import StdioTransport

from .running import get_url
from .terminal import print_summary, wait_for_signal

if TYPE_CHECKING:
    from whisperr.dev._web.server import LocalServer

    from .terminal import Terminal


def serve_stdio(
    server: LocalServer | None, port: int, streams: tuple[int, int], terminal: Terminal
) -> int:
    """Answer an assistant until its input ends or a signal comes; return the exit code.

    An input that cannot be read is named, with 1 as the code.

    Args:
        server: A started server, which this closes at the end; None for the one that another
            `whisperr dev` has started.
        port: Where that one listens.
        streams: The descriptors of the input and the output.
        terminal: Where people read what arrives.
    """
    ended = Event()
    transport = StdioTransport(port if server is None else server.port, *streams)
    starter = get_thread_id()
    unreadable: list[OSError] = []

    def run() -> None:
        block_in_this_thread(starter)  # the threads of the requests inherit that
        try:
            transport.run()
        except OSError as error:
            unreadable.append(error)
        finally:
            ended.set()

    try:
        if server is None:
            terminal.line(f"using the whisperr dev that already runs at {get_url(port)}")
        else:
            terminal.line(f"whisperr dev listens on {server.url}; it ends with the assistant")
        Thread(target=run, name="whisperr-mcp", daemon=True).start()
        code = wait_for_signal(ended)
    finally:
        if server is not None:
            server.close()
    if server is not None:
        print_summary(terminal, server.summary(), None)
    for error in unreadable:
        terminal.line(f"cannot read the messages of the assistant: {error}")
    return 1 if unreadable else code
