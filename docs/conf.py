"""How the documentation is built: Sphinx with MyST Markdown, from these files and the docstrings, offline."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "halfmax"
author = "The halfmax developers"
copyright = "The halfmax developers"
version = release = version_of("halfmax")

extensions = ["myst_parser", "notebooks", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"halfmax {release}"
html_copy_source = False

default_role = "code"  # docstrings write `name` for code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_attr_annotations = False
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = False
