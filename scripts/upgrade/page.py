"""Writes docs/start/upgrade.md from the comparison and from the run of the published tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.upgrade.environments import PUBLISHED, ROOT
from scripts.upgrade.suite import DIFFERENT
from scripts.upgrade.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.upgrade.compare import Compared

PAGE = ROOT / "docs" / "start" / "upgrade.md"

_HEAD = f"""\
# Upgrading from {PUBLISHED}

<!-- written by `python -m scripts.upgrade --write`; do not edit -->

```console
pip install --upgrade 'whisperr>=1,<2'
```

Most programs need no change: the code in the README of {PUBLISHED} still works. Check these points
first:

1. You need Python {{python}}. With the Django integration you need Django {{django}}.
2. A channel without `opted_in` no longer claims consent. Add `"opted_in": True` if the user has
   agreed.
3. `shutdown()` is final: later calls are dropped and reported. If the process continues, as in a
   serverless handler that runs again, call `flush()` instead.
4. Tests that pass a fake `transport=` fail with an error. Use
   [`whisperr.testing`](../develop/testing.md) instead.
5. Imports from `whisperr.client` and `whisperr.transport` fail with an error. Import from
   `whisperr`.
6. The client reads the environment; {PUBLISHED} did not. `WHISPERR_DISABLED=1` disables a client,
   and `WHISPERR_BASE_URL`, `WHISPERR_DEBUG` and `WHISPERR_BUFFER` set those options. If you have
   your own variable with such a name, rename it.
7. `os.environ["WHISPERR_API_KEY"]` in your settings still fails if the variable is not set. Remove
   the line: the client reads the variable, and commands then run without a key.
8. The logger `whisperr` logs losses and pauses as warnings. If you count log lines, read
   [logging](../trouble/logging.md).
9. Data that {PUBLISHED} lost silently now arrives or is reported. Expect new reports on the first
   day.

To find wrong calls before production, run your [tests](../develop/testing.md) with `strict=True`.
To look at what you send, run `whisperr dev -- python app.py` with the
[local server](../develop/local-server.md).

The tables below come from programs that ran with {PUBLISHED} and with this version, each against a
local server.
"""

_SUITE = """\
## The tests of {published}

`python -m scripts.upgrade.suite` runs the tests of {published} against this version, with an
adapter for the parts that are gone. {passed} of {total} pass. The others:

| test | why it differs |
|---|---|
{rows}
"""


def to_page(
    results: Mapping[str, Sequence[Compared]],
    versions: Mapping[str, tuple[str, str]],
    outcomes: Mapping[str, str],
) -> str:
    """Return the page.

    `versions`: of Python and Django, before and now. `outcomes`: the failure of each published
    test, empty when it passed.
    """
    parts = [_HEAD.format(python=versions["Python"][1], django=versions["Django"][1])]
    parts += ["## Versions\n", _to_versions(versions)]
    for topic in TOPICS:
        parts += _to_section(topic.title, topic.text, results[topic.title])
    rows = "\n".join(f"| `{name}` | {DIFFERENT[name]} |" for name in DIFFERENT)
    passed = sum(not text for text in outcomes.values())
    parts.append(_SUITE.format(published=PUBLISHED, passed=passed, total=len(outcomes), rows=rows))
    return "\n".join(parts)


def _to_versions(versions: Mapping[str, tuple[str, str]]) -> str:
    rows = [f"| {name} | {before} | {now} |" for name, (before, now) in versions.items()]
    return "\n".join([f"| of | {PUBLISHED} | now |", "|---|---|---|", *rows, ""])


def _to_section(title: str, text: str, results: Sequence[Compared]) -> list[str]:
    """Return the heading, a table of what differs, and a list of what does not."""
    lines = [f"## {title}", ""]
    if text:
        lines += [text, ""]
    different = [row for row in results if not row.same]
    if different:
        lines += [f"| what | {PUBLISHED} | now | what to do, or why |", "|---|---|---|---|"]
        lines += [
            f"| {row.program.question} | {row.published} | {row.current} | {row.program.note} |"
            for row in different
        ]
        lines.append("")
    same = [f"- {row.program.question}: {row.current}" for row in results if row.same]
    if same:
        lines += ["The same in both:", "", *same, ""]
    return lines
