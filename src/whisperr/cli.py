"""The `whisperr` command: the local server, the demo, and the commands of `commands`."""

from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

from ._version import __version__
from .commands import add_commands
from .dev import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .dev import Fault

DEFAULT_PORT = 8722


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 when all went well, 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "✓" gets "?"
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except BrokenPipeError:  # `whisperr dev | head`
        sys.stderr.close()
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
        "prints each event, and plays faults on demand. It listens on loopback only.",
    )
    _add_dev_options(dev)
    dev.set_defaults(run=_dev)
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
    dev.add_argument("--seed", type=int, default=0, help="the dice for rates (%(default)s)")
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


def _dev(arguments: argparse.Namespace) -> int:
    from .dev._terminal import serve

    try:
        return serve(
            port=arguments.port,
            api_key=arguments.key,
            max_body_bytes=arguments.max_body,
            seed=arguments.seed,
            faults=_faults_of(arguments),
        )
    except (OSError, OverflowError) as error:
        print(
            f"whisperr dev: cannot listen on 127.0.0.1:{arguments.port}: {error}; "
            "choose another port with --port, or --port 0 for a free one",
            file=sys.stderr,
        )
        return 2


def _demo(arguments: argparse.Namespace) -> int:
    from .dev._demo import run

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
