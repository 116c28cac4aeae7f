"""How Sphinx builds the site from these folders. `make docs` runs it."""

from __future__ import annotations

import sys
from importlib.metadata import version as get_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "whisperr"
author = "Whisperr"
copyright = "Whisperr"  # noqa: A001  # Sphinx reads this name
release = get_version("whisperr")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "notfound.extension",
    "sphinx_llm.txt",
    "github",
]
exclude_patterns = ["_*"]
source_suffix = {".md": "markdown"}

# Pages are read on GitHub too: the anchors of headings are those that GitHub makes.
myst_heading_anchors = 4
myst_links_external_new_tab = False

# The reference of the API comes from the docstrings.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"whisperr {release}"
html_copy_source = False
html_show_sphinx = False
