"""Documentation that several functions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def documented(**blocks: str) -> Callable[[Function], Function]:
    """Put blocks of text in place of the lines ``{name}`` of a docstring."""

    def decorate(function: Function) -> Function:
        if function.__doc__ is None:  # python -OO
            return function
        for name, text in blocks.items():
            function.__doc__ = function.__doc__.replace(f"    {{{name}}}", text)
        return function

    return decorate
