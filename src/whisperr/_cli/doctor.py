"""`whisperr doctor`: look for the reason why no events arrive, step by step."""

from __future__ import annotations

import json
import sys
import warnings
from typing import TYPE_CHECKING

from whisperr._contract import BASE_URL
from whisperr._delivery.pipeline import resolve_buffer
from whisperr._integrations.checkup import Finding, checkup
from whisperr._options import OPTIONS, Config
from whisperr._secret import Secret
from whisperr._terminal import printable, wants_colour

from .arguments import add_command
from .environment import inspect_environment

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Iterator


_SIGNS = {"ok": ("✓", "32"), "doubtful": ("!", "33"), "wrong": ("✗", "31"), "skipped": ("-", "2")}
_EXAMPLES = """\
  whisperr doctor
      with the environment of the application
  whisperr doctor --json | jq '.findings[] | select(.state == "wrong")'
      for programs
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "doctor",
        _run,
        "look for the reason why no events arrive",
        "Check the versions, the key, the proxy, the host name, the encryption, "
        "whether the key is accepted, the round trip and the clock. Sends one request without "
        "events: nothing is stored. The key is read from WHISPERR_API_KEY. Ends with 1 when "
        "something is wrong.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="else WHISPERR_BASE_URL, else the service"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="of a request (%(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(arguments: argparse.Namespace) -> int:
    found = []
    for finding in diagnose(arguments.base_url, arguments.timeout):
        found.append(finding)
        if not arguments.json:
            _print(finding)
    wrong = [one.name for one in found if one.state == "wrong"]
    if arguments.json:
        listed = [{"name": one.name, "state": one.state, "text": one.text} for one in found]
        print(json.dumps({"ok": not wrong, "findings": listed}, indent=2))
    elif wrong:
        print(f"wrong: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def diagnose(
    base_url: str | None, timeout: float, ssl_context: ssl.SSLContext | None = None
) -> Iterator[Finding]:
    """Yield every finding; a wrong configuration is one of them."""
    options = {option.name: option.default for option in OPTIONS}
    given = {
        "api_key": Secret(None),
        "base_url": base_url or BASE_URL,
        "request_timeout": timeout,
        "ssl_context": ssl_context,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say the same
        try:
            config = resolve_buffer(Config({**options, **given}))
        except ValueError as error:
            problem = str(error).replace(", or pass disabled=True", " and set WHISPERR_API_KEY")
            yield from inspect_environment(None)
            yield Finding("configuration", "wrong", problem)
            return
    yield from inspect_environment(config)
    yield from checkup(config, measures=True)


def _print(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.state]
    if wants_colour(sys.stdout):
        sign = f"\x1b[{colour}m{sign}\x1b[0m"
    print(f"{sign} {finding.name:<17} {printable(finding.text)}", flush=True)
