"""Writes docs/reference/commands.md and docs/reference/settings.md from the code.

    python -m scripts.reference_pages           # write them
    python -m scripts.reference_pages --check   # exit with 1 when they differ from the code

The arguments are those of the parsers, the settings those of the options: a test compares them.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from scripts.options_table import get_meaning, get_variable, to_code

from whisperr._cli.main import make_parser
from whisperr._integrations.client import get_setting_name
from whisperr._options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

# The help of a command has the hour before it was printed, which is within the last 30 days.
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
WRITTEN = "<!-- written by `python -m scripts.reference_pages`; do not edit -->"

_COMMANDS = f"""\
# Commands

{WRITTEN}

`whisperr COMMAND --help` prints the description of a command, and `manage.py COMMAND --help` that
of a Django command. This page has all of them. `python -m whisperr` is the same command as
`whisperr`.
"""
_AFTER_COMMANDS = """\
Next: [how to use them](../develop/command-line.md), [the doctor](../trouble/doctor.md),
[settings](settings.md)
"""
_SETTINGS = f"""\
# Settings

{WRITTEN}

Set `WHISPERR_API_KEY` in the environment; most applications need no other setting. Django reads
settings from `settings.py`, Flask from `app.config`. In code, each is an [option](options.md) of
`Whisperr()`.

| setting | read from | allowed | default | meaning |
|---|---|---|---|---|
"""
_AFTER_SETTINGS = """\

The proxy and the certificates come from the usual variables: `HTTPS_PROXY`, `HTTP_PROXY`,
`NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.

## pytest

| setting | where | meaning |
|---|---|---|
| `whisperr_strict = true` | the ini file | every client raises `InvalidEvent` for bad input |
| `@pytest.mark.whisperr(strict=True)` | a test | the same in this test; with False, none raises |
| `-p no:whisperr` | the command line | turns the plugin off |

Next: [options](options.md), [Django](../frameworks/django.md#settings),
[Flask](../frameworks/flask.md#settings), [proxies and certificates](../trouble/proxies.md)
"""
# Settings that are no options: where each is read, what is allowed, its default, its meaning.
OTHER_SETTINGS = {
    "WHISPERR_BILLING_USER_OF": (
        "Django",
        "a function that takes the provider's id of a customer, or its dotted path",
        "",
        "Returns the user's id for `stripe_webhook` and `track_webhook`, None if there is none",
    ),
    "WHISPERR_DATABASE_URL": (
        "environment",
        "a database URL of SQLAlchemy",
        "",
        "The database of `whisperr relay` and `whisperr outbox`; `--database` comes first",
    ),
    "WHISPERR_OUTBOX_DATABASE": (
        "Django",
        "an alias of `DATABASES`",
        "what the routers choose",
        "The database of the outbox",
    ),
    "WHISPERR_RESOLVE_USER": (
        "Django",
        "a function that takes a request, or its dotted path",
        "`str(request.user.pk)`",
        "Returns the user's id, None for an anonymous visitor",
    ),
    "WHISPERR_STRIPE_WEBHOOK_SECRET": (
        "environment, Django",
        "a signing secret of Stripe (`whsec_...`); in Django also a list of them",
        "",
        "Verifies the webhooks that `stripe_webhook` receives",
    ),
}


def to_cell(text: str) -> str:
    """Return text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def make_settings() -> str:
    """Return the page of the settings."""
    rows = {name: list(row) for name, row in OTHER_SETTINGS.items()}
    for option in OPTIONS:
        places = "Django, Flask" if get_variable(option) is None else "environment, Django, Flask"
        meaning = get_meaning(option)
        rows[get_setting_name(option)] = [
            places,
            option.allowed,
            f"`{to_code(option.default)}`",
            meaning,
        ]
    lines = [f"| `{name}` | {' | '.join(map(to_cell, rows[name]))} |" for name in sorted(rows)]
    return _SETTINGS + "\n".join(lines) + "\n" + _AFTER_SETTINGS


def make_commands() -> str:
    """Return the page of the commands."""
    parts = [_COMMANDS]
    shown: set[str] = set()  # the actions of a command have its examples
    for name, parser in list_commands(make_parser()):
        _, _, examples = (parser.epilog or "").partition("examples:\n")
        parts.append(describe(f"whisperr {name}", parser, "" if examples in shown else examples))
        shown.add(examples)
    parts.append("## manage.py\n\nDjango has these commands when `whisperr.django` is installed.\n")
    for name, parser in list_django_commands():
        parts.append(describe(f"manage.py {name}", parser, heading="###"))
    return "\n".join([*parts, _AFTER_COMMANDS])


def list_commands(
    parser: argparse.ArgumentParser, prefix: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands of a parser with their names, each with its own commands after it."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # likewise
            for name, command in action.choices.items():
                yield f"{prefix}{name}", command
                yield from list_commands(command, f"{prefix}{name} ")


def list_django_commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands of Django with their own arguments, without those that all have."""
    import django
    from django.conf import settings
    from django.core.management import find_commands, load_command_class

    if not settings.configured:
        settings.configure(INSTALLED_APPS=["whisperr.django"], WHISPERR_DISABLED=True)
        django.setup()
    package = Path(__file__).resolve().parents[1] / "src" / "whisperr" / "django" / "management"
    for name in sorted(find_commands(str(package))):
        command = load_command_class("whisperr.django", name)
        parser = argparse.ArgumentParser(
            prog=f"manage.py {name}", description=command.help, usage=None
        )
        command.add_arguments(parser)  # type: ignore[arg-type]  # it adds to any parser
        yield name, parser


def describe(
    title: str, parser: argparse.ArgumentParser, examples: str = "", heading: str = "##"
) -> str:
    """Return the section of one command."""
    lines = [f"{heading} {title}", ""]
    lines += [" ".join((parser.description or "").split()), ""]
    if parser.usage:
        lines += ["```text", parser.usage, "```", ""]
    arguments = list(list_arguments(parser))
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{to_cell(name)}` | {to_cell(meaning)} |" for name, meaning in arguments]
        lines += [""]
    if examples:
        text = _MOMENT.sub("2026-11-28T12:00:00Z", dedent(examples).rstrip())
        lines += ["Examples:", "", "```text", text, "```", ""]
    return "\n".join(lines)


def list_arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield each argument as it is written, and its meaning."""
    formatter = parser._get_formatter()  # noqa: SLF001  # argparse expands %(default)s only there
    for action in parser._actions:  # noqa: SLF001  # as above
        hidden = (argparse._HelpAction, argparse._SubParsersAction)  # noqa: SLF001  # as above
        if isinstance(action, hidden) or action.help == argparse.SUPPRESS:
            continue
        if action.option_strings:
            value = formatter._format_args(action, action.dest.upper())  # noqa: SLF001  # as above
            if action.choices and action.metavar is None:
                value = "|".join(map(str, action.choices))
            written = " ".join([", ".join(action.option_strings), value]).rstrip()
        else:
            name = action.metavar or "|".join(map(str, action.choices or [action.dest]))
            written = " ".join(name) if isinstance(name, tuple) else str(name)
        yield written, formatter._expand_help(action) if action.help else ""  # noqa: SLF001  # as above


def main() -> int:
    """Write the pages, or compare them."""
    code = 0
    for name, text in (("commands.md", make_commands()), ("settings.md", make_settings())):
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"docs/reference/{name} differs from the code")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
