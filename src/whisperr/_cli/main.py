"""The `whisperr` command: the local server, who follows it, the demo, and those of `commands`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

from whisperr._version import __version__
from whisperr.dev import faults

from . import add_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr.dev import Fault

DEFAULT_PORT = 8722


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 when all went well, 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "✓" gets "?"
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    if given[:1] == ["dev"] and "--" in given:  # argparse would take a second "--" for its own
        arguments.command = given[given.index("--") + 1 :]
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except BrokenPipeError:  # `whisperr tail | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisperr", description="Tools beside the whisperr client, for development."
    )
    parser.add_argument("--version", action="version", version=f"whisperr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    dev = commands.add_parser(
        "dev",
        help="run a local ingestion server that shows what arrives",
        description="Run a local ingestion server: it judges every request as the service does, "
        "shows each event, in the terminal and on a page for the browser, and plays faults on "
        "demand. It listens on loopback only.",
        epilog="examples: whisperr dev -- python manage.py runserver; "
        "whisperr dev --store events.jsonl",
    )
    _add_dev_options(dev)
    dev.set_defaults(run=_dev)
    tail = commands.add_parser(
        "tail",
        help="follow a running local server in a terminal",
        description="Print what arrives at a running `whisperr dev`, also over its restarts.",
        epilog="examples: whisperr tail --refused; whisperr tail --type 'payment_*' 'amount>100'",
    )
    _add_tail_options(tail)
    tail.set_defaults(run=_tail)
    demo = commands.add_parser(
        "demo",
        help="deliver a day of events through an outage, a rate limit and lost answers",
        description="Start a local server, run a day of a SaaS product through the client, and "
        "count. Ends with 1 if a single event is missing or doubled.",
    )
    demo.add_argument(
        "--users", type=_whole, default=240, help="how many users sign up (%(default)s)"
    )
    demo.add_argument("--seed", type=int, default=8842, help="repeats a day (%(default)s)")
    demo.set_defaults(run=_demo)
    add_commands(commands)
    return parser


def _add_dev_options(dev: argparse.ArgumentParser) -> None:
    dev.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (%(default)s)"
    )
    dev.add_argument("--key", metavar="KEY", help="accept this key only; any when left out")
    dev.add_argument(
        "--max-body", type=_whole, default=1024 * 1024, metavar="BYTES", help="above it: 413"
    )
    dev.add_argument("--seed", type=int, default=0, help="the seed of the rates (%(default)s)")
    dev.add_argument("--store", metavar="FILE", help="keep what arrives over restarts")
    dev.add_argument(
        "command", nargs="*", metavar="-- COMMAND",
        help="run it with WHISPERR_BASE_URL set, and end with its exit code",
    )  # fmt: skip
    play = dev.add_argument_group(
        "faults", "SHARE is the share of requests, from 0 to 1; all when left out"
    )
    play.add_argument(
        "--fail", type=_fail, action="append", default=[], metavar="STATUS[:SHARE]",
        help="answer with this status; may be given more than once",
    )  # fmt: skip
    play.add_argument("--retry-after", metavar="VALUE", help="sent with --fail: seconds or a date")
    play.add_argument("--latency", type=_timed, metavar="SECONDS[:SHARE]", help="answer late")
    play.add_argument(
        "--drip", type=_timed, metavar="SECONDS[:SHARE]", help="answer byte by byte, so far apart"
    )
    for name, text in {
        "hang": "never answer",
        "cut": "cut the connection before taking anything",
        "lose-answer": "take the request, then cut the connection",
        "wrong-key": "refuse the key with 401",
        "legacy": "refuse a whole batch for one bad event",
    }.items():
        play.add_argument(
            f"--{name}", type=_share, nargs="?", const=1.0, metavar="SHARE", help=text
        )


def _add_tail_options(tail: argparse.ArgumentParser) -> None:
    tail.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="where the server listens (%(default)s)"
    )
    tail.add_argument("--user", metavar="ID", help="only this user")
    tail.add_argument("--type", metavar="NAME", help="only this type; * stands for anything")
    tail.add_argument("--refused", action="store_true", help="only what the contract refuses")
    tail.add_argument(
        "--lines", type=_count, default=10, metavar="N", help="begin with the last N (%(default)s)"
    )
    tail.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one object a line"
    )
    tail.add_argument("filter", nargs="*", metavar="FILTER", help="as in the page's filter box")


def _dev(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.terminal import serve
    from whisperr.dev._memory.journal import StoreError

    try:
        return serve(
            port=arguments.port,
            api_key=arguments.key,
            max_body_bytes=arguments.max_body,
            seed=arguments.seed,
            faults=_faults_of(arguments),
            store=arguments.store,
            command=arguments.command,
        )
    except StoreError as error:
        print(f"whisperr dev: --store {arguments.store}: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(
            f"whisperr dev: cannot listen on 127.0.0.1:{arguments.port}: {error}; "
            "choose another port with --port, or --port 0 for a free one",
            file=sys.stderr,
        )
        return 2


def _tail(arguments: argparse.Namespace) -> int:
    from whisperr.dev._console.tail import tail

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


def _faults_of(arguments: argparse.Namespace) -> list[Fault]:
    """Return the faults that the options ask for, delays first: they join with a failure."""
    asked = []
    if arguments.latency:
        asked.append(faults.latency(arguments.latency[0], rate=arguments.latency[1]))
    if arguments.legacy:
        asked.append(faults.legacy(rate=arguments.legacy))
    if arguments.wrong_key:
        asked.append(faults.wrong_key(rate=arguments.wrong_key))
    for code, share in arguments.fail:
        asked.append(faults.status(code, rate=share, retry_after=arguments.retry_after))
    for name in ("hang", "cut", "lose_answer"):
        share = getattr(arguments, name)
        if share:
            asked.append(getattr(faults, name)(rate=share))
    if arguments.drip:
        asked.append(faults.drip(arguments.drip[0], rate=arguments.drip[1]))
    return asked


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 0")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a share must be above 0 and at most 1")
    return share


def _fail(text: str) -> tuple[int, float]:
    status, _, share = text.partition(":")
    if not status.isdecimal() or not 300 <= int(status) <= 599:  # noqa: PLR2004  # HTTP
        raise argparse.ArgumentTypeError(f"{text!r}: the status must be from 300 to 599")
    return int(status), _share(share or "1")


def _timed(text: str) -> tuple[float, float]:
    seconds, _, share = text.partition(":")
    try:
        length = float(seconds)
    except ValueError:
        length = -1.0
    if not 0 <= length <= 3600:  # noqa: PLR2004  # an hour
        raise argparse.ArgumentTypeError(f"{text!r}: the seconds must be from 0 to 3600")
    return length, _share(share or "1")
