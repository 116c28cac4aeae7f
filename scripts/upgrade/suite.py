"""The command: `python -m scripts.upgrade.suite`: the tests of 0.2.1 against this package.

They come from its source distribution, unchanged, and reach nothing beyond this machine. Exits with
1 when a test fails that is not in DIFFERENT, or passes although it is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from scripts.upgrade.environments import PUBLISHED, ROOT, download_source, get_current

DIFFERENT = {
    "test_transport_batch_wire_shape": "it expects a context without `sdk_name` and `sdk_version` "
    "from the transport, to which the client of 0.2.1 added them; now one part makes all of it",
    "test_transport_accepts_wire_shaped_explicit_channels": "it expects that a channel without "
    "`opted_in` claims the user's consent; now only the caller states consent",
}


def run_suite() -> dict[str, str]:
    """Return how each test failed, by its name; an empty text when it passed."""
    with tempfile.TemporaryDirectory() as folder:
        source = download_source(Path(folder))
        report = Path(folder) / "report.xml"
        wire = source / "whisperr-spec" / "conformance" / "wire.json"
        command = [str(get_current()), "-m", "pytest", "-q", "-p", "scripts.upgrade.adapter"]
        subprocess.run(
            [*command, f"--junitxml={report}", "tests"],
            cwd=source,
            env={"PATH": "", "PYTHONPATH": str(ROOT), "WHISPERR_SPEC_PATH": str(wire)},
            check=False,
            timeout=300,
        )
        return dict(map(_to_outcome, ET.parse(report).iter("testcase")))  # noqa: S314  # pytest's own


def _to_outcome(case: ET.Element) -> tuple[str, str]:
    problem = case.find("failure")
    if problem is None:
        problem = case.find("error")
    return str(case.get("name")), "" if problem is None else str(
        problem.get("message")
    ).splitlines()[0]


def main() -> int:
    """Run the tests and compare with what is known to differ."""
    outcomes = run_suite()
    failed = {name: text for name, text in outcomes.items() if text}
    print(f"whisperr {PUBLISHED}: {len(outcomes)} tests, {len(outcomes) - len(failed)} pass")
    for name, text in failed.items():
        print(f"  differs: {name}: {DIFFERENT.get(name, f'NOT EXPLAINED: {text}')}")
    for name in DIFFERENT.keys() - failed.keys():
        print(f"  passes now, remove it from DIFFERENT: {name}")
    return 1 if failed.keys() != DIFFERENT.keys() else 0


if __name__ == "__main__":
    sys.exit(main())
