"""Sphinx configuration: ``python -m sphinx -W --keep-going docs docs/_build``."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

# Fits here are small: more threads than one only wait for each other on a busy machine. Before
# NumPy and torch are imported, who read it then.
os.environ.setdefault("OMP_NUM_THREADS", "1")

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

from reference import own_members  # noqa: E402
from result_pages import figures, write_tables  # noqa: E402
from spheres import write_spheres  # noqa: E402

import skhug  # noqa: E402

project = "skhug"
author = "The skhug developers"
copyright = f"2026, {author}"
release = version = skhug.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "references",
    "both_modes",
]
# Links into other projects' documentation need the network, and so are off unless asked for.
if os.environ.get("SKHUG_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(sklearn|torch|numpy|matplotlib)\..*")]
exclude_patterns = ["_build", "generated/examples", "generated/tables", "generated/*.md"]
templates_path = ["_templates"]
smartquotes = False  # quotes are code more often than speech
toc_object_entries_show_parents = "hide"

# --- pages written in Markdown -----------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = figures()

# --- the reference -----------------------------------------------------------------------

autosummary_generate = True
autosummary_context = {"own_members": own_members()}
autodoc_typehints = "none"  # numpydoc's sections say them in words
numpydoc_show_class_members = False
numpydoc_use_plots = False

# --- the gallery -------------------------------------------------------------------------

# Examples write pictures to where they are run: they are run on copies.
GALLERY = DOCS / "generated" / "examples"
sphinx_gallery_conf = {
    "examples_dirs": [str(GALLERY)],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_\w+\.py$",
    "ignore_pattern": r"(pictures|distributed)\.py$",
    "within_subsection_order": "gallery.QuickstartFirst",
    "doc_module": ("skhug",),
    "backreferences_dir": "generated/backreferences",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "matplotlib_animations": False,
    "show_signature": False,
    "write_computation_times": False,
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

# --- the look ----------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_title = "skhug"
html_context = {"default_mode": "auto"}
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["skhug.css"]
html_js_files = [("sphere.js", {"defer": "defer"})]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {page: [] for page in ("index", "install", "ten_minutes", "theory", "speed")} | {
    page: [] for page in ("reliability", "coming_from", "glossary", "contributing", "changelog")
}
html_theme_options = {
    "logo": {"text": "skhug"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Any) -> None:
    """Make what is built from measurements and fits before any page is read."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*.rst")]:
        shutil.copy2(path, GALLERY)
    write_tables(DOCS / "generated" / "tables")
    write_spheres(DOCS / "generated")
