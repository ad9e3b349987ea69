"""How Sphinx makes the site; `docs/site.py` lays out the pages and calls it."""

project = "Branchwise"
html_title = "Branchwise"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_extra_path = ["extra"]
templates_path: list[str] = []
default_role = "code"  # of single backquotes in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["ray"]  # slow to import, and no page is about it
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # they come with what they printed
nb_merge_streams = True
pygments_style, pygments_dark_style = "tango", "native"
exclude_patterns = ["evidence/*/*.md"]  # tables of reports, linked as files
suppress_warnings = ["myst.header"]  # README is built for GitHub, too
