"""Pictures that pages of the guide draw: their code, run until it has made a display."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]


def figure_of(page: str, name: str = "display") -> Any:
    """Run a page's code until it has made the display of this name, and return its figure."""
    namespace: dict[str, Any] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pages write files to where they are run
        try:
            for code in _blocks(page):
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(code, namespace)
                if name in namespace:
                    return namespace[name].figure_
        finally:
            os.chdir(here)
    raise ValueError(f"{page} makes no {name!r}.")


def page_path(page: str) -> Path:
    """Return the file of a page named as in links, such as ``"guide/geometry"``."""
    return DOCS / f"{page}.md"


def _blocks(page: str) -> list[str]:
    text = page_path(page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
