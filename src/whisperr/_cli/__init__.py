"""The commands that send and look: `track`, `identify`, `import`, `doctor`; each in a module.

Exit codes: 0 all went well, 1 something was not delivered or is wrong, 2 a wrong call. An error is
one line on stderr that says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import doctor as _doctor
from . import import_file as _import
from . import send as _calls

if TYPE_CHECKING:
    import argparse


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the commands known to the parser; each sets `run`, which returns the exit code."""
    _calls.add(commands)
    _import.add(commands)
    _doctor.add(commands)
