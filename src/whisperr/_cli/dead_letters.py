"""`whisperr dead-letters`: shows, replays and deletes what the server refused."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from whisperr._events.layout import get_kind, get_oldest_time, is_expired
from whisperr._foreign import printable
from whisperr._options import OPTIONS, OUTBOX
from whisperr._queue.redis.url import parse_server
from whisperr._secret import Secret
from whisperr.buffers import RedisBuffer, SQLiteBuffer, parse_buffer_url
from whisperr.errors import StoreError

from .command import CommandError, UsageError, add_command, format_count
from .selection import add_selection, select

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from whisperr._queue.dead_letters import DeadLetter, DeadLetters

    from .command import Parser

    Act = Callable[[argparse.Namespace, DeadLetters], int]

_NAME = "dead-letters"
_LISTED = 20
_TIMEOUT = 5.0  # seconds; a person waits longer than a request
_LONGEST_LINE = 300
_LONGEST_COUNT = 12  # digits
_OUTBOX = (
    "for the dead letters of the Django outbox, run manage.py whisperr_outbox --dead; for those "
    "of SQLAlchemy, run whisperr outbox --database URL"
)
_WHICH = "which dead letters? Name ids or filters, or use --all"
_DEFAULTS = {option.name: option.default for option in OPTIONS}
_EXAMPLES = """\
  whisperr dead-letters list --buffer sqlite:////var/lib/app/events.db
      the newest 20, without their content
  whisperr dead-letters show 17
      its content, with WHISPERR_BUFFER set
  whisperr dead-letters replay --type payment_failed --since 2d
      these again, at the end of the queue
  whisperr dead-letters drop --reason expired
      delete these
"""
_DESCRIPTION = (
    "Show the events that the server refused or that were too old for it, and send them again or "
    "delete them. A SQLite or Redis buffer keeps them with dead_letters=True (?dead_letters=true "
    "in its URL): the newest 10,000, for 90 days. Processes may use the buffer meanwhile. For the "
    "outboxes use manage.py whisperr_outbox (Django) and whisperr outbox (SQLAlchemy)."
)


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its four actions."""
    parser = add_command(
        commands,
        _NAME,
        _refuse,
        "show, replay or delete what the server refused",
        _DESCRIPTION,
        _EXAMPLES,
        usage="list | show | replay | drop",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", prog=f"whisperr {_NAME}")
    most: dict[str, Any] = {"type": _parse_count, "metavar": "N"}
    for name, (act, summary) in _ACTIONS.items():
        action = _add_action(actions, name, act, summary)
        if act is _list:
            action.add_argument(
                "--lines", **most, default=_LISTED, help="print at most N (default: %(default)s)"
            )
        else:
            action.add_argument(
                "--all", action="store_true", help="select all, or all that match the filters"
            )
        if act is _replay:
            text = "the same limit as in the application (default: %(default)s)"
            for option in ("max_queue_size", "max_queue_bytes"):
                word = f"--{option.replace('_', '-')}"
                action.add_argument(word, **most, default=_DEFAULTS[option], help=text)


def _add_action(
    actions: argparse._SubParsersAction[Parser], name: str, act: Act, summary: str
) -> Parser:
    action = add_command(
        actions,
        name,
        lambda arguments: _run(arguments, act),
        summary,
        f"{summary[0].upper()}{summary[1:]}. whisperr {_NAME} --help says what they are.",
        _EXAMPLES,
        usage="",
    )
    words = "[FILTER ...]" if act is _list else "ID ... | FILTER ... | --all"
    action.usage = f"whisperr {_NAME} {name} [options] {words}"
    action.set_defaults(name=f"{_NAME} {name}")
    action.add_argument(
        "--buffer",
        metavar="URL",
        help="URL of the buffer (default: WHISPERR_BUFFER, which hides a password from others)",
    )
    action.add_argument("--json", action="store_true", help="print one JSON object")
    add_selection(action)
    return action


def _parse_count(text: str) -> int:
    import argparse

    if not text.isdecimal() or not text.isascii() or len(text) > _LONGEST_COUNT:
        raise argparse.ArgumentTypeError(
            f"'{printable(text, _LONGEST_COUNT)}': must be a whole number from 0"
        )
    return int(text)


def _refuse(arguments: argparse.Namespace) -> int:
    raise UsageError(
        f"which action: list, show, replay or drop? see {arguments.parser.prog} --help"
    )


def _run(arguments: argparse.Namespace, act: Act) -> int:
    buffer = _get_buffer(arguments)
    arguments.keeps = buffer.dead_letters
    found = open_dead_letters(buffer)
    try:
        return act(arguments, found)
    except StoreError as error:
        raise CommandError(str(error)) from None
    finally:
        found.close()


def _get_buffer(arguments: argparse.Namespace) -> SQLiteBuffer | RedisBuffer:
    """Return the buffer of the option or the environment."""
    given = arguments.buffer if arguments.buffer is not None else os.environ.get("WHISPERR_BUFFER")
    if not given:
        raise UsageError(
            "no buffer: use --buffer URL, or set WHISPERR_BUFFER, for example "
            "sqlite:////var/lib/app/events.db or redis://localhost:6379/0?stream=whisperr"
        )
    if given == OUTBOX:
        raise UsageError(_OUTBOX)
    try:
        buffer = parse_buffer_url(given)
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    assert isinstance(buffer, (SQLiteBuffer, RedisBuffer))
    return buffer


def open_dead_letters(buffer: SQLiteBuffer | RedisBuffer) -> DeadLetters:
    """Return the dead letters of a buffer; nothing is opened yet."""
    if isinstance(buffer, SQLiteBuffer):
        from whisperr._queue.sqlite.dead_letters import SQLiteDeadLetters

        return SQLiteDeadLetters(buffer.path)
    from whisperr._queue.redis.dead_letters import RedisDeadLetters
    from whisperr._queue.redis.servers import connect

    server = parse_server(Secret(buffer.url))
    assert server is not None  # `RedisBuffer` has checked it
    return RedisDeadLetters(connect(server, max(buffer.timeout, _TIMEOUT)), buffer.streams)


# -- list and show


def _list(arguments: argparse.Namespace, found: DeadLetters) -> int:
    selection = select(arguments)
    total = matching = 0
    shown: list[DeadLetter] = []
    for one in found.read():
        total += 1
        if selection.has(one):
            matching += 1
            if len(shown) < arguments.lines:
                shown.append(one)
    if arguments.json:
        _print_json(total=total, matching=matching, dead_letters=[_to_dict(one) for one in shown])
        return 0
    for one in shown:
        print(_to_line(one))
    if len(shown) < matching:
        print(f"{matching - len(shown):,} more; --lines {matching} shows all")
    elif not total:
        hint = "" if arguments.keeps else "; a buffer keeps them with ?dead_letters=true in its URL"
        print(f"no dead letters{hint}")
    elif not matching:
        print(f"no dead letter matches, of {total:,}")
    return 0


def _show(arguments: argparse.Namespace, found: DeadLetters) -> int:
    chosen, missing = _choose(arguments, found)
    if arguments.json:
        _print_json(dead_letters=[{**_to_dict(one), "event": _decode(one)} for one in chosen])
    else:
        print("\n\n".join(map(_to_page, chosen)) or "no dead letter matches")
    return _report_missing(missing)


def _to_line(one: DeadLetter) -> str:
    status = "" if one.status is None else f" {one.status}"
    moment = _format_time(one.refused_at)
    line = f"{one.id:>5}  {moment}  {get_kind(one.data):<24}  {one.reason}{status}: {one.message}"
    return printable(line, _LONGEST_LINE)


def _to_page(one: DeadLetter) -> str:
    """Return a whole dead letter as several lines."""
    status = "" if one.status is None else f", HTTP {one.status}"
    head = f"{one.id}  {get_kind(one.data)}  {one.reason}{status}  {_format_time(one.refused_at)}"
    body = _decode(one)
    text = "(not JSON)" if body is None else json.dumps(body, indent=2, ensure_ascii=False)
    return "\n".join(printable(line) for line in [head, one.message, *text.split("\n")])


def _decode(one: DeadLetter) -> Any:  # noqa: ANN401  # any JSON
    try:
        return json.loads(one.data)
    except (ValueError, RecursionError):
        return None


def _to_dict(one: DeadLetter) -> dict[str, object]:
    """Return the fields that lists show: neither content nor user."""
    kind = get_kind(one.data)
    return {
        "id": one.id,
        "kind": kind if kind in {"identify", "unreadable"} else "event",
        "type": None if kind in {"identify", "unreadable"} else kind,
        "reason": one.reason,
        "status": one.status,
        "refused_at": one.refused_at,
        "message": one.message,
    }


def _format_time(moment: float | None) -> str:
    """Return a time as local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment or 0.0))
    except (OverflowError, ValueError, OSError):
        return "(no time)"


# -- replay and drop


def _replay(arguments: argparse.Namespace, found: DeadLetters) -> int:
    chosen, missing = _choose(arguments, found)
    ids = [one.id for one in chosen]
    moved = found.replay(ids, arguments.max_queue_size, arguments.max_queue_bytes)
    oldest = get_oldest_time(time.time())
    old = sum(is_expired(one.data, oldest) for one in chosen[: moved.replayed])
    if arguments.json:
        _print_json(replayed=moved.replayed, left=moved.left, too_old=old, missing=missing)
    elif not chosen:
        print("no dead letter matches")
    else:
        print(
            f"replayed {format_count(moved.replayed, 'event')}, with the same ids: a process that "
            "uses the buffer delivers them, an idle one within 5 seconds"
        )
        if old:
            print(f"{old:,} of them happened more than 30 days ago: the server will refuse those")
    if moved.left:
        raise CommandError(
            f"{moved.left:,} not replayed: the queue is full, and more would drop its oldest "
            "events; replay them when the queue is delivered"
        )
    return _report_missing(missing)


def _drop(arguments: argparse.Namespace, found: DeadLetters) -> int:
    chosen, missing = _choose(arguments, found)
    dropped = found.drop([one.id for one in chosen])
    if arguments.json:
        _print_json(dropped=dropped, missing=missing)
    elif not chosen:
        print("no dead letter matches")
    else:
        print(f"deleted {format_count(dropped, 'dead letter')}")
    return _report_missing(missing)


def _choose(
    arguments: argparse.Namespace, found: DeadLetters
) -> tuple[list[DeadLetter], list[str]]:
    """Return the selected dead letters, oldest first, and the ids that were not found."""
    selection = select(arguments)
    if not (selection.ids or selection.filters or arguments.all):
        raise UsageError(_WHICH)
    if selection.ids and arguments.all:
        raise UsageError("use either ids or --all")
    if not selection.ids:
        return [one for one in found.read() if selection.has(one)][::-1], []
    there = found.find(selection.ids)
    known = {one.id for one in there}
    missing = [one for one in selection.ids if one not in known]
    return [one for one in there if selection.passes(one)], missing


def _report_missing(missing: Sequence[str]) -> int:
    """Return 0; raises CommandError if ids were not found."""
    if missing:
        raise CommandError(f"no dead letter has the id {', '.join(missing)}")
    return 0


def _print_json(**fields: object) -> None:
    print(json.dumps(fields, indent=2))


_ACTIONS: dict[str, tuple[Act, str]] = {
    "list": (_list, "print a line for each dead letter, newest first, without its content"),
    "show": (_show, "print dead letters with their content"),
    "replay": (_replay, "send dead letters again: put them at the end of the queue"),
    "drop": (_drop, "delete dead letters"),
}
