"""The project has one word for each idea: private words of former versions do not come back.

Each row of WORDS is a pattern, the word to use instead, and the exceptions with their reasons. An
exception is a pattern too: a hit is allowed when the exception matches in the line of the hit, or
in `path: line`. The terms themselves are defined in docs/reference/glossary.md.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SEARCHED = (
    *("src", "tests", "docs", "examples", "scripts", "benchmarks"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "pyproject.toml"),
)
SUFFIXES = {".py", ".md", ".js", ".html", ".css", ".toml", ".txt", ""}


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
        {r"celery|\brq\b|\(Worker\)|sanic|Worker ready": "a word of Celery, RQ and Sanic"},
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
    Word(r"\baudience\b|\b_?[Ss]cripted\b|\b_?[Hh]eard\b|\bstaged\b", "captures, fake, recorded"),
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
    Word(r"\boldest (goes|went)\b|\bgoes its way\b", "is dropped, is delivered"),
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
    Word(r"fmt: skip", "a layout that the formatter keeps", HISTORY),
)


@cache
def get_texts() -> dict[str, str]:
    """Return the texts of all searched files by their paths."""
    files = [file for name in SEARCHED for file in [ROOT / name, *(ROOT / name).rglob("*")]]
    return {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in files
        if file.is_file()
        and file.suffix in SUFFIXES
        and file != Path(__file__)
        and "__pycache__" not in file.parts
    }


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.instead)
def test_a_private_word_does_not_come_back(word: Word) -> None:
    found = []
    for path, text in get_texts().items():
        for hit in re.finditer(word.pattern, text, re.MULTILINE):
            start = text.rfind("\n", 0, hit.start()) + 1
            line = text[start : text.find("\n", hit.end())]
            where = f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {line.strip()}"
            if not any(re.search(exception, where) for exception in word.allowed):
                found.append(where)
    assert not found, f"say {word.instead} instead:\n" + "\n".join(found)
