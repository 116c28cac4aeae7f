"""The options of `whisperr import`, and its examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .command import add_sending_options
from .provider_events import PROVIDERS

if TYPE_CHECKING:
    from .command import Parser

EXAMPLES = """\
  whisperr import events.jsonl --dry-run
      check every line, and show what would be sent
  whisperr import events.jsonl
      send the file; report refused lines by their numbers
  whisperr import events.jsonl --resume
      continue an interrupted import
  zcat events.jsonl.gz | whisperr import -
      read standard input; whisperr import events.jsonl.gz does the same
  whisperr import events.csv --map user_id=external_user_id --map event=event_type \\
      --map time=occurred_at --map amount=properties.amount:number
      events from CSV
  whisperr import users.csv --map id=external_user_id --map plan=traits.plan
      users from CSV: rows without an event type are identifies
  stripe events list --live --limit 100 | whisperr import - --from stripe --dry-run
      show what the newest 100 events of Stripe would become
  whisperr import stripe.json --from stripe --user-map users.csv
      the billing signals of these events, with your ids of the customers
"""


def add_options(parser: Parser) -> None:
    """Add the file and the options."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="the file to import; - for standard input"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue an interrupted import from its checkpoint"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="PATH",
        type=Path,
        help="file for the progress (default: FILE.checkpoint)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, but send nothing; needs no key"
    )
    parser.add_argument(
        "--format",
        choices=("json", "csv"),
        help="csv, or json for lines or an array (default: csv for .csv and .csv.gz, else json)",
    )
    _add_mapping_options(parser)
    _add_provider_options(parser)
    add_sending_options(
        parser,
        "mark the events as tests, which affect no production data; identifies cannot be marked, "
        "and the service stores their data",
    )


def _add_mapping_options(parser: Parser) -> None:
    parser.add_argument(
        "--map",
        metavar="COLUMN=TARGET",
        action="append",
        default=[],
        help="use a column or a JSON key as TARGET: external_user_id, event_type[:snake_case], "
        "occurred_at[:utc|:unix|:unix_ms], message_id, email, properties.NAME[:number|:boolean|"
        ":json], context.NAME or traits.NAME; '*=properties.*' takes all other columns; COLUMN= "
        "leaves it out; may be repeated",
    )
    parser.add_argument(
        "--set",
        metavar="TARGET=VALUE",
        action="append",
        default=[],
        help="give all records the same value, such as event_type=signed_up; may be repeated",
    )


def _add_provider_options(parser: Parser) -> None:
    parser.add_argument(
        "--from",
        metavar="PROVIDER",
        dest="provider",
        help=f"the file has the events of a billing provider ({', '.join(PROVIDERS)}), as it "
        "exports them: send the billing signals that they mean, oldest first",
    )
    parser.add_argument(
        "--user-map",
        metavar="FILE",
        help="with --from: your id of the user for each customer of the provider, as CSV with the "
        "columns customer_id and external_user_id, or as a JSON object",
    )
    parser.add_argument(
        "--user-key",
        metavar="KEY",
        help="with --from: the key of the provider's metadata that has your id of the user "
        "(default: external_user_id)",
    )
