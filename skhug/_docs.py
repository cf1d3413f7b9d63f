"""What modules show of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def public(namespace: dict[str, Any]) -> Callable[[], list[str]]:
    """Return a module's ``__dir__``: its ``__all__`` and the names that every module has.

    Classes that live in a package's files are told to be the package's, so that pickles find
    them wherever the files move.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the module, ``__all__`` included.
    """
    name = namespace["__name__"]
    for value in map(namespace.get, namespace["__all__"]):
        if isinstance(value, type) and value.__module__.startswith(f"{name}."):
            value.__module__ = name
    return lambda: sorted({*namespace["__all__"], *(n for n in namespace if n.startswith("__"))})
