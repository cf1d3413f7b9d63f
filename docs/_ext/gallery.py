"""The order of the examples."""

from __future__ import annotations


class QuickstartFirst:
    """Sort key: the quickstart, then the others by name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[bool, str]:
        """Return the key of a file."""
        return filename != "plot_quickstart.py", filename
