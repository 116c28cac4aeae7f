"""The options of `whisperr dev` that inject faults."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from whisperr._delivery.backoff import parse_retry_after

from .command import MAX_SECONDS, to_float

if TYPE_CHECKING:
    from whisperr.dev import Fault

DELAY_OPTIONS = {
    "latency": "wait before each answer",
    "drip": "send the answer byte by byte, with this pause between bytes",
}
FAULT_OPTIONS = {
    "hang": "never answer",
    "cut": "cut the connection and accept nothing",
    "lose-answer": "accept the request, then cut the connection before the answer",
    "wrong-key": "refuse the key with 401",
    "legacy": "refuse a whole batch with 400 for one bad event, as older servers do",
}
_MAX_DIGITS = 18  # of a status on the command line


def add_fault_options(dev: argparse.ArgumentParser) -> None:
    """Add the options that inject faults, in a group of their own."""
    faults = dev.add_argument_group(
        "faults", "SHARE is the share of requests that fail, above 0, at most 1 (default: all)"
    )
    faults.add_argument(
        "--fail",
        type=_parse_status,
        action="append",
        default=[],
        metavar="STATUS[:SHARE]",
        help="answer with this status, from 300 to 599; may be repeated",
    )
    faults.add_argument(
        "--retry-after",
        type=_parse_retry_after,
        metavar="VALUE",
        help="Retry-After header of --fail: seconds or an HTTP date",
    )
    for name, text in DELAY_OPTIONS.items():
        faults.add_argument(f"--{name}", type=_parse_delay, metavar="SECONDS[:SHARE]", help=text)
    for name, text in FAULT_OPTIONS.items():
        faults.add_argument(
            f"--{name}",
            type=_parse_share,
            nargs="?",
            const={"rate": 1.0},
            metavar="SHARE",
            help=text,
        )


def _parse_share(text: str, given: str | None = None) -> dict[str, float]:
    """Return the rate of a fault from a share of requests, above 0 and at most 1.

    `given` is the whole word, for errors.
    """
    share = to_float(text)
    if not 0 < share <= 1:
        shown = f"{text!r}" if given is None else f"{given!r}"
        hint = "" if given else "; write -- before a command"
        raise argparse.ArgumentTypeError(f"{shown}: a share must be above 0 and at most 1{hint}")
    return {"rate": share}


def _parse_retry_after(text: str) -> str:
    if parse_retry_after(text, 0.0) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: must be whole seconds or an HTTP date")
    return text


def _parse_status(text: str) -> dict[str, float]:
    """Return the code and the rate of STATUS[:SHARE]."""
    status, _, share = text.partition(":")
    if not status.isdecimal() or len(status) > _MAX_DIGITS or not 300 <= int(status) <= 599:  # noqa: PLR2004  # HTTP
        raise argparse.ArgumentTypeError(f"{text!r}: the status must be from 300 to 599")
    return {"code": int(status), **_parse_share(share or "1", text)}


def _parse_delay(text: str) -> dict[str, float]:
    """Return the seconds and the rate of SECONDS[:SHARE]."""
    seconds, _, share = text.partition(":")
    delay = to_float(seconds)
    if not 0 <= delay <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}: the seconds must be from 0 to 3600")
    return {"seconds": delay, **_parse_share(share or "1", text)}


def get_faults(arguments: argparse.Namespace) -> list[Fault]:
    """Return the faults of the options; delays and modes first, because they join a failure."""
    from whisperr.dev import faults

    given = vars(arguments)

    def make(*names: str) -> list[Fault]:
        return [getattr(faults, name)(**given[name]) for name in names if given[name]]

    failures = [faults.status(**one, retry_after=given["retry_after"]) for one in given["fail"]]
    modes = make("latency", "legacy", "wrong_key")
    return [*modes, *failures, *make("hang", "cut", "lose_answer", "drip")]
