"""`whisperr dev`, `whisperr tail` and `whisperr demo`: options, and calls of `whisperr.dev`."""

from __future__ import annotations

import argparse
import errno
from functools import partial
from typing import TYPE_CHECKING

from whisperr._foreign import printable

from .command import UsageError, add_command
from .fault_options import DELAY_OPTIONS, FAULT_OPTIONS, add_fault_options, get_faults

if TYPE_CHECKING:
    from whisperr.dev import LocalServer
    from whisperr.dev._console.terminal import Terminal

    from .command import Parser


DEFAULT_PORT = 8722
_MAX_PORT = 65_535
_MAX_DIGITS = 18  # of a number on the command line
_DEV_EXAMPLES = """\
  whisperr dev -- python manage.py runserver
      run a program, and show what it sends
  whisperr dev --store events.jsonl
      keep what arrives over restarts
  whisperr dev --fail 503:0.3 --latency 2
      answer 30 % of the requests with 503, and all of them 2 seconds late
"""
_TAIL_EXAMPLES = """\
  whisperr tail --refused
      what was refused, with the reasons
  whisperr tail --type 'payment_*' 'amount>100'
      events that match both
"""
_DEMO_EXAMPLES = """\
  whisperr demo
  whisperr demo --users 30
      a shorter day
"""
# Options that only make sense for a new server.
_OF_SERVER = (
    *("max_body", "seed", "store", "fail", "retry_after"),
    *(name.replace("-", "_") for name in (*DELAY_OPTIONS, *FAULT_OPTIONS)),
)
_OURS = "ours"
_FOREIGN = "foreign"
_ANOTHER_PORT = "choose another port with --port, or --port 0 for a free one"


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the three commands."""
    dev = add_command(
        commands,
        "dev",
        _dev,
        "run a local ingestion server that shows what arrives",
        "Run a local ingestion server. It validates every request as the service does, shows each "
        "event in the terminal and on a web page, and injects faults on demand. Coding assistants "
        "connect to it at /mcp. It listens on loopback only.",
        _DEV_EXAMPLES,
        usage="[-- COMMAND]",
    )
    _add_dev_options(dev)
    add_fault_options(dev)
    tail = add_command(
        commands,
        "tail",
        _tail,
        "follow a running local server in a terminal",
        "Print what arrives at a running `whisperr dev`, until Ctrl-C. Reconnects if it restarts.",
        _TAIL_EXAMPLES,
        usage="[FILTER ...]",
    )
    _add_tail_options(tail)
    _add_demo(commands)


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = add_command(
        commands,
        "demo",
        _demo,
        "deliver a day of events through an outage, a rate limit and lost answers",
        "Start a local server, send it the events of a day of a SaaS product through the client, "
        "inject faults, and count. Exits with status 1 if any event is missing or duplicated.",
        _DEMO_EXAMPLES,
        usage="",
    )
    demo.add_argument(
        "--users",
        type=partial(_parse_count, minimum=1),
        default=240,
        help="number of users that sign up (default: %(default)s)",
    )
    demo.add_argument(
        "--seed",
        type=int,
        default=8842,
        help="seed of the random numbers: the same seed repeats the day (default: %(default)s)",
    )


def _add_dev_options(dev: argparse.ArgumentParser) -> None:
    dev.add_argument(
        "--port",
        type=_parse_port,
        help=f"port to listen on (default: {DEFAULT_PORT}); 0 takes a free one; if a whisperr dev "
        "already runs there, COMMAND and --mcp-stdio use that one",
    )
    dev.add_argument("--key", metavar="KEY", help="accept only this key (default: any key)")
    dev.add_argument(
        "--max-body",
        type=partial(_parse_count, minimum=1),
        default=1024 * 1024,
        metavar="BYTES",
        help="answer larger requests with 413 (default: %(default)s)",
    )
    dev.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the random numbers for SHARE (default: %(default)s)",
    )
    dev.add_argument(
        "--store",
        metavar="FILE",
        help="keep what arrives in this file, and show it after a restart",
    )
    dev.add_argument(
        "--mcp-stdio",
        action="store_true",
        help="speak the Model Context Protocol over standard input and output, for a coding "
        "assistant that starts this command; ends with its input",
    )
    dev.add_argument(
        "command",
        nargs=argparse.REMAINDER,  # its options are its own
        metavar="-- COMMAND",
        help="run it with WHISPERR_BASE_URL and a key set, and exit with its status",
    )


def _add_tail_options(tail: argparse.ArgumentParser) -> None:
    tail.add_argument(
        "--port",
        type=_parse_port,
        default=DEFAULT_PORT,
        help="port of the server (default: %(default)s)",
    )
    tail.add_argument("--user", metavar="ID", help="show only this user")
    tail.add_argument(
        "--type", metavar="NAME", help="show only this event type; * matches any text"
    )
    tail.add_argument("--refused", action="store_true", help="show only what was refused")
    tail.add_argument(
        "--lines",
        type=_parse_count,
        default=10,
        metavar="N",
        help="start with the last N arrivals (default: %(default)s)",
    )
    tail.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="text, or one JSON object per line (default: %(default)s)",
    )
    tail.set_defaults(rest_to="filter")
    tail.add_argument(
        "filter",
        nargs="*",
        metavar="FILTER",
        help="terms that an event must all match: card (a word in it), type:payment_*, user:ID, "
        "is:refused, kind:identify, amount>100, plan=pro, -plan=pro (not)",
    )


def _parse_count(text: str, minimum: int = 0) -> int:
    """Return a whole number from `minimum`."""
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < minimum:
        shown = text[:_MAX_DIGITS]
        raise argparse.ArgumentTypeError(f"{shown!r}: must be a whole number from {minimum}")
    return int(text)


def _parse_port(text: str) -> int:
    port = _parse_count(text)
    if port > _MAX_PORT:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be at most {_MAX_PORT}; choose another port"
        )
    return port


def _dev(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.terminal import open_terminal, run_beside, serve

    if arguments.command[:1] == ["--"]:
        del arguments.command[0]
    if arguments.mcp_stdio:
        return _serve_stdio(arguments)
    terminal = open_terminal(to_stderr=bool(arguments.command))
    server = _open_server(arguments, terminal)
    if server is None:
        port = arguments.port or DEFAULT_PORT
        return run_beside(port, terminal, arguments.command, arguments.key)
    return serve(server, terminal, arguments.command)


def _serve_stdio(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.stdio import serve_stdio
    from whisperr.dev._console.terminal import open_terminal
    from whisperr.dev._mcp.stdio import take_streams

    if arguments.command:
        raise UsageError("--mcp-stdio runs no command: start the application beside it")
    streams = take_streams()
    terminal = open_terminal(to_stderr=True)
    server = _open_server(arguments, terminal)
    return serve_stdio(server, arguments.port or DEFAULT_PORT, streams, terminal)


def _open_server(arguments: argparse.Namespace, terminal: Terminal) -> LocalServer | None:
    """Return a started server; None to use the `whisperr dev` that runs on the port already."""
    from whisperr.dev._memory.journal import JournalError

    port = DEFAULT_PORT if arguments.port is None else arguments.port
    try:
        return _start_server(arguments, terminal, port)
    except JournalError as error:
        raise UsageError(f"--store {arguments.store}: {error}") from None
    except (OSError, OverflowError) as error:
        other = getattr(error, "errno", None) == errno.EADDRINUSE and _find_other(arguments, port)
        if other == _OURS:
            return None
        if other != _FOREIGN:
            raise UsageError(
                f"cannot listen on 127.0.0.1:{port}: {error}; {_ANOTHER_PORT}"
            ) from None
        terminal.line(f"another program uses port {port}; taking a free one")
        return _start_server(arguments, terminal, 0)


def _start_server(arguments: argparse.Namespace, terminal: Terminal, port: int) -> LocalServer:
    from whisperr.dev import LocalServer

    is_shown = not arguments.mcp_stdio  # its errors go to a log of the assistant
    server = LocalServer(
        port,
        api_key=arguments.key,
        faults=get_faults(arguments),
        seed=arguments.seed,
        max_body_bytes=arguments.max_body,
        store=arguments.store,
        on_arrival=terminal.arrival if is_shown else None,
        on_request=terminal.request if is_shown else None,
    )
    try:
        return server.start()
    except BaseException:
        server.close()  # its journal
        raise


def _find_other(arguments: argparse.Namespace, port: int) -> str | None:
    """Return whose server uses the port, if the command can run anyway; None if it cannot.

    A command uses a `whisperr dev` that already runs, unless an option asks for a new server, and
    `--mcp-stdio` does the same. If another program uses the port, a free port is taken, unless
    `--port` asks for this one.
    """
    from whisperr.dev._console.running import get_counts, get_url

    joins = bool(arguments.command) or arguments.mcp_stdio
    if get_counts(port) is None:
        return _FOREIGN if joins and arguments.port is None else None
    url = get_url(port)
    if not joins:
        raise UsageError(
            f"a whisperr dev runs already at {url}: open it in a browser, or follow it with: "
            f"whisperr tail --port {port}; for a second one, {_ANOTHER_PORT}"
        )
    parser = arguments.parser
    for name in _OF_SERVER:
        if getattr(arguments, name) != parser.get_default(name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"a whisperr dev runs already at {url}, without your {option}: end that one, or "
                f"{_ANOTHER_PORT}"
            )
    return _OURS


def _tail(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.tail import tail

    for word in arguments.filter:
        if word.startswith(("http://", "https://")):
            port = word.rstrip("/").rpartition(":")[2]
            right = f"whisperr tail --port {port if port.isdecimal() else DEFAULT_PORT}"
            raise UsageError(f"{printable(word, 200)} is no filter; write: {right}")
    filters = {
        "user": arguments.user,
        "type": arguments.type,
        "status": "refused" if arguments.refused else None,
        "q": " ".join(arguments.filter) or None,
    }
    return tail(
        port=arguments.port,
        filters={name: value for name, value in filters.items() if value is not None},
        lines=arguments.lines,
        as_json=arguments.format == "json",
    )


def _demo(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.demo import run

    return run(users=arguments.users, seed=arguments.seed)
