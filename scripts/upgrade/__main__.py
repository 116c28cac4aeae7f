"""The command: `python -m scripts.upgrade [--write]` compares, and writes docs/start/upgrade.md.

Installs the published package and this checkout side by side, runs the same programs under both,
and prints what differs. Exits with 1 when a difference has no note that says what to do.
"""

from __future__ import annotations

import argparse
import sys

from scripts.upgrade.compare import compare
from scripts.upgrade.environments import get_current, get_published, get_versions
from scripts.upgrade.page import PAGE, to_page
from scripts.upgrade.suite import run_suite


def main() -> int:
    """Compare, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description="Compare with the published package.")
    parser.add_argument("--write", action="store_true", help="write docs/start/upgrade.md")
    given = parser.parse_args()
    published, current = get_published(), get_current()
    results = compare(published, current)
    wrong = 0
    for title, rows in results.items():
        print(f"\n== {title}")
        for row in rows:
            print(f"{'=' if row.same else '!'} {row.program.question}")
            print(f"    0.2.1: {row.published}")
            if not row.same:
                print(f"    now:   {row.current}")
                print(f"    note:  {row.program.note or 'MISSING'}")
            wrong += not row.same and not row.program.note
    if given.write:
        page = to_page(results, get_versions(published, current), run_suite())
        PAGE.write_text(page, encoding="utf-8")
        print(f"wrote {PAGE.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
