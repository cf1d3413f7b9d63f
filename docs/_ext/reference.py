"""What belongs on a class's page of the reference."""

from __future__ import annotations

import importlib
import inspect

import skhug


def own_members() -> dict[str, list[tuple[str, str]]]:
    """Return, by a public class's full name, directives and names of what skhug documents of it."""
    modules = [skhug, *map(importlib.import_module, (f"skhug.{m}" for m in skhug._MODULES))]
    return {
        f"{module.__name__}.{name}": _members(getattr(module, name))
        for module in modules
        for name in getattr(module, "__all__", ())
        if inspect.isclass(getattr(module, name))
    }


def _members(cls: type) -> list[tuple[str, str]]:
    return [
        ("autoproperty" if isinstance(value, property) else "automethod", name)
        for name, value in inspect.getmembers(cls, _is_documented)
        if not name.startswith("_")
        and not name.endswith("_request")  # scikit-learn's, for metadata routing
        and _home(cls, name).startswith("skhug")
    ]


def _is_documented(value: object) -> bool:
    described = inspect.isroutine(value) or isinstance(value, property)
    return described and bool(inspect.getdoc(value))


def _home(cls: type, attribute: str) -> str:
    """Module of the class that defines an attribute."""
    return next(base.__module__ for base in cls.__mro__ if attribute in vars(base))
