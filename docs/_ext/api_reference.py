"""Checks that the API reference has an entry for each public name, and for no other.

The names are those of `scripts/public_api.py`, the entries those that the build has made. What is
missing, or too much, is a warning, and so an error of `make docs`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.addnodes import pending_xref
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.public_api import check_entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment
    from sphinx.util.typing import ExtensionMetadata

_LOGGER = logging.getLogger(__name__)
# Annotations that more than one class could mean, by the module that has them; "" is any other.
_CLIENT = "whisperr.Whisperr"
_MEANT = {"Whisperr": {"": _CLIENT, "whisperr.flask": "whisperr.flask.Whisperr"}}
_MEANT["Client"] = {"whisperr.flask": _CLIENT}
_MEANT["type"] = {"": "builtins.type"}  # and no attribute with this name


def qualify(_app: Sphinx, doctree: nodes.document) -> None:
    """Complete the references of signatures to classes whose names are not unique."""
    for node in doctree.findall(pending_xref):
        meant = _MEANT.get(node.get("reftarget", ""), {})
        full = meant.get(node.get("py:module", ""), meant.get(""))
        if full is not None:
            node["reftarget"] = full


def check(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn about each public name without an entry, and each entry without a name."""
    objects = env.get_domain("py").get_objects()
    entries: Iterable[str] = (name for name, *_, priority in objects if priority >= 0)
    for problem in check_entries(entries):
        _LOGGER.warning("%s", problem)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.connect("doctree-read", qualify)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
