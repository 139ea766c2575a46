"""Sphinx: furo, MyST, and the settings page, which is made from the settings table at each build."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from dynomite_mp import __version__  # noqa: E402
from dynomite_mp.settings import describe_markdown  # noqa: E402

project = "dynomite-mp"
author = "the dynomite-mp authors"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "changes"]
html_theme = "furo"
html_title = f"dynomite-mp {version}"
myst_heading_anchors = 3

(DOCS / "settings.md").write_text(describe_markdown())
