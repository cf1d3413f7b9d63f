"""What people mean who guess a name or a value: the advice in error messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any

from skhug._guess_tables import NAMES, VALUES

__all__ = ["advice_on_name", "advice_on_value", "did_you_mean"]


def advice_on_name(owners: Iterable[str], guess: str, known: Iterable[str]) -> str:
    """Return what to pass in place of a name that does not exist; empty if nothing is near.

    Parameters
    ----------
    owners : iterable of str
        Names of the class and its bases, or of the method: whose tables are asked, in turn.
    guess : str
        What was passed.
    known : iterable of str
        What there is.
    """
    known = list(known)
    for owner in owners:
        for meant, guesses in NAMES.get(owner, {}).items():
            if guess in guesses.split() and (meant in known or " " in meant):
                return f"Did you mean {meant}?" if meant in known else meant.format(guess=guess)
    return did_you_mean(guess, known)


def did_you_mean(guess: Any, known: Iterable[str]) -> str:
    """Return a question that names the known text nearest to a guess; empty if none is near."""
    near = _nearest(guess, known)
    return f"Did you mean {near}?" if near else ""


def _nearest(guess: Any, known: Iterable[str]) -> str | None:
    plain = {_plain(name): name for name in known}
    if not isinstance(guess, str):
        return None
    near = difflib.get_close_matches(_plain(guess), plain, n=1, cutoff=0.7)
    return plain[near[0]] if near else None


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def advice_on_value(
    name: str, value: Any, allowed: Callable[[Any], bool], options: Iterable[str] = ()
) -> str:
    """Return what a parameter's wrong value may have meant, empty if there is no telling.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : object
        What was passed.
    allowed : callable
        Whether a value is one that the parameter takes.
    options : iterable of str
        Texts that it takes.
    """
    if isinstance(value, type) and hasattr(value, "get_params"):
        return f"Pass an instance, {name}={value.__name__}()."
    for near in _near_values(value):
        if allowed(near):
            return f"Did you mean {name}={near!r}?"
    table = VALUES.get(name, {})
    meant = _meant(table, _keys(value))
    if meant is None and (near := _nearest(value, options)):
        return f"Did you mean {name}={near!r}?"
    meant = meant or table.get("...")
    return "" if meant is None else f"Pass {name}={meant.replace('VALUE', repr(value))}."


def _meant(table: dict[str, str], keys: list[str]) -> str | None:
    for key in keys:
        for guesses, meant in table.items():
            if key in guesses.split():
                return meant
    return None


def _keys(value: Any) -> list[str]:
    """What a value is called in the table."""
    return [_plain(value)] if isinstance(value, str) else [repr(value), type(value).__name__]


def _near_values(value: Any) -> Iterator[Any]:
    """Yield what is all but the same: without spaces or quotes, in lower case, a whole number."""
    if isinstance(value, str):
        yield value.strip().lower()
        try:
            value = float(value)
        except ValueError:
            return
        yield value
    if isinstance(value, Real) and not isinstance(value, bool) and value == value // 1:
        yield int(value)
