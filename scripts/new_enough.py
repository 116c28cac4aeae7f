"""Exits with a clear message when the Python of `make` is too old. Runs on any Python 3."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # that is the question
    sys.exit(
        "whisperr needs Python 3.10 or newer; python3 is %d.%d. "  # noqa: UP031  # any Python 3
        "Name another one: make PYTHON=python3.12 test" % sys.version_info[:2]
    )
