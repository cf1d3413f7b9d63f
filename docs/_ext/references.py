"""Lead references by any name of an object to the one page that documents it.

``skhug.losses.MHE``, ``skhug.uniformity.MHE`` and ``skhug.MHE`` are one class, documented once.
"""

from __future__ import annotations

import importlib
from typing import Any

from sphinx.util.nodes import make_refnode


def setup(app: Any) -> dict[str, Any]:
    """Try the object itself where Sphinx knows no such name."""
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    if node.get("refdomain") != "py":
        return None
    wanted = _locate(node["reftarget"], node.get("py:module"))
    if wanted is None:
        return None
    for name, entry in env.get_domain("py").objects.items():
        if _locate(name) is wanted:
            source = node["refdoc"]
            return make_refnode(app.builder, source, entry.docname, entry.node_id, content, name)
    return None


def _locate(name: str, module: str | None = None) -> Any:
    """Return the object of a dotted name, in a module or from the top; None if there is none."""
    for full in (f"{module}.{name}", f"skhug.{name}", name):
        parts = full.split(".")
        if parts[0] != "skhug":
            continue
        for split in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:split]))
            except ImportError:
                continue
            for part in parts[split:]:
                found = getattr(found, part, None)
            if found is not None:
                return found
            break
    return None
