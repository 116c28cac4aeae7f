"""How Sphinx makes the site from these folders: `make docs`.

The API reference comes from the docstrings. Everything else is Markdown that GitHub shows as well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import whisperr

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "whisperr"
author = "Whisperr"
release = version = whisperr.__version__

extensions = [
    "api_reference",
    "site_pages",
    "site_search",
    "site_twins",
    "myst_parser",
    "notfound.extension",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_*"]
smartquotes = False  # they make a dash of the two hyphens of an option

myst_heading_anchors = 4  # the anchors of GitHub
myst_enable_extensions = ["html_image"]  # an image with its width

# The API reference.
default_role = "py:obj"  # single back quotes in docstrings
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"whisperr {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False
html_theme_options = {
    "source_repository": "https://github.com/WhisperrAI/whisperr-python",
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": ["edit"],
}

# Commands and code are copied without their prompts; what a command prints has no button.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div[class*=highlight-]:not(.highlight-text) > div.highlight > pre"

# The page of a wrong address links from the root of the site, whatever the address was.
notfound_urls_prefix = urlsplit(os.environ.get("READTHEDOCS_CANONICAL_URL", "/")).path
