"""Checks that the project's text uses one word for each idea, and none of the words it gave up.

`python -m scripts.prose` prints each hit as `path:line: the line`, with what to write instead, and
exits with 1 when there is one. A row of WORDS has a pattern, what to write instead, and the
exceptions with their reasons. An exception is a pattern too: a hit is allowed when the exception
matches `path:line: the line`. docs/reference/glossary.md defines the terms themselves.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
SEARCHED = ("src", "tests", "docs", "examples", "scripts", "benchmarks", ".github")
SUFFIXES = {".py", ".md", ".js", ".html", ".css", ".toml", ".txt", ".yml", ".yaml"}
# They quote what must not be written.
SKIPPED = {"scripts/prose.py", "tests/test_prose.py"}


class Word(NamedTuple):
    """A pattern that must not occur, the word to use instead, and exceptions with their reasons."""

    pattern: str
    instead: str
    allowed: dict[str, str] = {}  # noqa: RUF012  # a default that nothing changes


HISTORY = {r"^docs/about/decisions/|^CHANGELOG.md": "it names what was replaced"}

WORDS = (
    Word(r"\bdoors?\b", "integration"),
    Word(r"\.driver\b|\bDriver\b", "delivery thread"),
    Word(r"\b_?[Gg]ates?\b", "wake-up"),
    Word(
        r"\._?worker\b|\bWorker\b",
        "scheduler",
        {
            r"celery|\brq\b|\(Worker\)|sanic|Worker ready": "a word of Celery, RQ and Sanic",
            r"import Worker$|async with Worker\(": "a word of Temporal",
        },
    ),
    Word(r"\bdice\b|\b_roll\b", "random, jitter"),
    Word(r"\bforsak", "close_in_child"),
    Word(r"\b[Ll]edgers?\b", "counters, accounting"),
    Word(
        r"\bdef (take|hold|done|passed)\b|\bput_back\b",
        "claim, extend, ack, release, settled",
        HISTORY,
    ),
    Word(
        r"\b_?told\b|\b_?news\b|\bdef _?tells?\b|self\._?tell\(",
        "reported, changes",
        {
            r"dev/_web/|dev/test_stream": "the name of a message that readers of the stream know",
        },
    ),
    Word(r"\bLOOK_EVERY\b|\bdef look\b", "poll, POLL_INTERVAL"),
    Word(r"\bPlace\b|\bplace(=|: str|: Place)", "buffer config, call site"),
    Word(
        r"\baudience\b|\b_?[Ss]cripted\b|\b_?[Hh]eard\b|\bstaged\b",
        "captures, fake, recorded",
        {r"google.play": "for whom Google signs a token"},
    ),
    Word(r"\bjudg(e[ds]?|ing|e?ments?)\b", "validate, validation"),
    Word(r"\badvice\b", "hint"),
    Word(r"\brehears", "inject faults, fault injection"),
    Word(
        r"(?i)(?<!dead)(?<![\s#*])[\s#*]+letters?\b|[.(\"]letters?\b",
        "dead letters",
        {
            r"letters (a-z|and digits)|letters, digits": "of an alphabet",
            "letter-spacing": "CSS",
            '"letters"': "a key of the JSON of whisperr_outbox, which programs read",
        },
    ),
    Word(r"\bbur(y|ied|ies|ying)\b", "dead-letter"),
    Word(r"\bprepared\b|\bprepare_(event|identify)\b", "deferred event"),
    Word(
        r"\bdef \w*[a-z]_of\b|\bfunction \w+[a-z]Of\b",
        "get_x, parse_x, to_x, or a noun",
        {
            r"^src/whisperr/fastapi.py.*tracker_of": "public",
        },
    ),
    Word(
        r"\bdef _?(shown|opened|served|joined|parsed|secured|judged)\b",
        "redact, open, serve, join, parse, wrap_tls",
    ),
    Word(
        r"\boldest (goes|went)\b|\b(go|goes|went) (on )?(its|their) way\b",
        "is dropped, is delivered",
    ),
    Word(r'^"""(Step \d|Beside step|Around the core)', "what the module is for"),
    Word(r"\b[Tt]he law\b|\blaw_holds\b", "Invariant:"),
    Word(r'"""(Say|Tell)\b|\bSay whether\b|\b[Ss]ees? to it\b', "Return, Report, or a plain verb"),
    Word(
        r"\b([Ss]ome|[Nn]o)body\b|\bWhoever\b",
        "the actor: the calling thread, the server",
        {
            "opts nobody in|that nobody stated": "of consent: no user at all",
        },
    ),
    Word(r"\b[Aa]new\b", "again"),
    Word(r"\bfor ever[.,;:)]", "forever"),
    Word(r"\b[Ww]hite space\b", "whitespace"),
    Word(r"\b[Tt]ime-outs?\b", "timeout"),
    Word(r"\bin vain\b", "without success"),
    Word(r"\bwhat came of\b|\bknows? nothing of\b", "the result of, does not know"),
    Word(r"fmt: skip", "a layout that the formatter keeps", HISTORY),
    # Riddles and translations.
    Word(r"\bturn(s|ed|ing)? (it|them|events?|batches) away\b|\bturned away\b", "reject, refuse"),
    Word(r"\bmistakes? in the client\b", "internal error in the delivery thread"),
    Word(r"\bwritten down\b", "recorded, stored"),
    Word(r"\bwhere (its|their) process(es)? ends?\b", "when the worker process exits"),
    Word(r"\bof one's own\b", "your own"),
    Word(r"\bthat is said\b|\bwhat it is about\b", "the sentence itself"),
    Word(r"\bstands? (what|how|which|where)\b", "the page says, the line shows"),
    Word(r"\bleads? nowhere\b", "is not absolute, does not exist"),
    Word(r"\bhas no use for\b", "does not need, ignores"),
    Word(r"\bof its own accord\b|\bsuch a one\b|\bto be had\b", "itself, one of them, available"),
    Word(r"\bnot any more\b", "no longer"),
    Word(r"\bhinder", "prevent"),
    # What a technical writer leaves out.
    Word(r"\b(e\.g|i\.e)\.", "for example, that is"),
    Word(r"(?i)\b(in order to|prior to)\b", "to, before"),
    Word(r"(?i)\b(utili[sz]|leverag)", "use"),
    Word(r"(?i)\b(please note|simply|obviously|of course|basically)\b", "leave it out"),
    Word(r"(?i)\b(there|where|here)(of|in|by|upon)\b|\bhitherto\b", "the noun"),
)


def get_texts(root: Path) -> dict[str, str]:
    """Return the texts of all searched files by their paths: the folders, and files beside them."""
    files = [*root.iterdir(), *(file for name in SEARCHED for file in (root / name).rglob("*"))]
    return {
        path: file.read_text(encoding="utf-8")
        for file in sorted(files)
        if (path := file.relative_to(root).as_posix()) not in SKIPPED
        and (file.suffix in SUFFIXES or file.name == "Makefile")
        and file.is_file()
    }


def find(texts: dict[str, str], words: Sequence[Word] = WORDS) -> Iterator[str]:
    """Yield a message for each hit, in the order of the words; a blank also matches a line end."""
    for word in words:
        for path, text in texts.items():
            for hit in re.finditer(word.pattern.replace(" ", r"\s+"), text, re.MULTILINE):
                start = text.rfind("\n", 0, hit.start()) + 1
                end = text.find("\n", hit.end())
                line = text[start : end if end >= 0 else None]
                at = text.count("\n", 0, hit.start()) + 1
                where = f"{path}:{at}: {' '.join(line.split())}"
                if not any(re.search(exception, where) for exception in word.allowed):
                    yield f"{where}\n    write instead of {hit.group().strip()!r}: {word.instead}"


def main(root: Path = ROOT) -> int:
    """Print every hit; return 1 if there is one."""
    messages = list(find(get_texts(root)))
    print("\n".join([*messages, f"words to replace: {len(messages)}"]))
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
