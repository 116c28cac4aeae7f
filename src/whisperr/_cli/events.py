"""`whisperr events`: lists the typed events of an application, as its tracking plan."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr._foreign import printable

from .command import CommandError, add_command, format_count

if TYPE_CHECKING:
    import argparse

    from .command import Parser

_MARKDOWN, _JSON_SCHEMA = "markdown", "json-schema"
_DESCRIPTION = (
    "List the classes of events (whisperr.Event) that packages, modules, files or folders define, "
    "with their descriptions and properties: the tracking plan of an application. Of a package, it "
    "imports every module other than __main__, conftest and tests. Clients that the modules create "
    "need no key and send nothing; threads and exit functions of the modules do not delay the end. "
    "Properties that whisperr.scope() and default_properties add are in the list if the class has "
    "them as fields, such as tenant: str | None = None; JSON Schema refuses others."
)
_EXAMPLES = """\
  whisperr events shop
      print the events of the package shop as Markdown
  whisperr events shop.events --output events.schema.json
      write those of one module as JSON Schema
  whisperr events shop --check docs/events.md
      in CI: exit with 1, and print a diff, if the file differs from the code
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "events",
        _run,
        "list the typed events of an application, as its tracking plan",
        _DESCRIPTION,
        _EXAMPLES,
        usage="MODULE...",
    )
    parser.add_argument(
        "targets", nargs="+", metavar="MODULE", help="a package, a module, a file or a folder"
    )
    parser.add_argument(
        "--format",
        choices=(_MARKDOWN, _JSON_SCHEMA),
        help=f"default: {_JSON_SCHEMA} for a FILE that ends in .json, else {_MARKDOWN}",
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--output", type=Path, metavar="FILE", help="write to this file")
    files.add_argument(
        "--check", type=Path, metavar="FILE", help="compare with this file, and write nothing"
    )


def _run(arguments: argparse.Namespace) -> int:
    from .event_classes import check_names, find_classes
    from .tracking_plan import check_class, to_json_schema, to_markdown

    file: Path | None = arguments.output or arguments.check
    path = Path.cwd() / (file or "")  # now: a module may change the folder
    classes, problems = find_classes(arguments.targets)
    unclear = {kind: problem for kind in classes if (problem := check_class(kind))}
    problems += unclear.values()
    clear = [kind for kind in classes if kind not in unclear]
    for problem in problems:
        print(f"whisperr events: {problem}", file=sys.stderr)
    if not classes and not problems:
        names = printable(" ".join(arguments.targets))
        raise CommandError(f"no events: {names} has no class that is derived from whisperr.Event")
    check_names(classes)
    is_json = (arguments.format or _guess_format(file)) == _JSON_SCHEMA
    text = to_json_schema(clear) if is_json else to_markdown(clear)
    if problems:
        if file is None and clear:
            print(text, end="")
        what = "the list is incomplete" if file is None else f"{file} was not touched"
        raise CommandError(f"{format_count(len(problems), 'problem')}, so {what}")
    if arguments.check:
        _check(text, arguments.check, path)
    elif arguments.output:
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{file}: {format_count(len(clear), 'event')}", file=sys.stderr)
    else:
        print(text, end="")
    return 0


def _guess_format(file: Path | None) -> str:
    return _MARKDOWN if file is None or file.suffix != ".json" else _JSON_SCHEMA


def _check(text: str, file: Path, path: Path) -> None:
    """Raise CommandError, after a diff, unless the file at `path` has this text."""
    try:
        before = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CommandError(f"{file} does not exist; write it with --output {file}") from None
    if before != text:
        lines = before.splitlines(), text.splitlines()
        print(*unified_diff(*lines, str(file), "the code", lineterm=""), sep="\n")
        raise CommandError(f"{file} differs from the code; write it with --output {file}")
