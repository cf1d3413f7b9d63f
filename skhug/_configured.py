"""The base of all that has parameters: calls, set_params and pickles that explain themselves."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np

from skhug._guesses import advice_on_name
from skhug._sklearn import QuickEstimator
from skhug._version import __version__

__all__ = ["PICKLE_FORMAT", "Configured", "explained", "plain", "read_state"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Raised with every change of what a pickle holds that older or newer versions would misread, with
# what reads the older ones.
PICKLE_FORMAT = 2
_VERSION_KEY, _FORMAT_KEY = "_skhug_version", "_skhug_format"


def explained(function: Function) -> Function:
    """Let a method answer a call that it cannot take with what to pass instead."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            text = _what_to_pass(self, function.__name__, signature, args, kwargs)
            raise TypeError(text or f"{type(self).__name__}: {error}.") from None
        return function(self, *args, **kwargs)

    return call


def _what_to_pass(
    owner: Any, method: str, signature: inspect.Signature, args: tuple, kwargs: dict[str, Any]
) -> str | None:
    """Return the text for names that do not exist, or too many values without a name."""
    called = name = type(owner).__name__
    owners, what = [kind.__name__ for kind in type(owner).__mro__], "parameter"
    if method != "__init__":
        called, owners, what = f"{name}.{method}", ["fit"], "argument"
    _, *parameters = signature.parameters.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for guess in kwargs:
        if guess not in known:
            advice = advice_on_name(owners, guess, known)
            advice = advice or f"There are: {', '.join(known)}."
            return f"{called} has no {what} {guess!r}. {advice}"
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(positional):
        return (
            f"{called} takes without a name only {', '.join(positional)}, and got {len(args)} "
            f"values: name the others, {called}(..., {known[-1]}=...)."
        )
    return None


class Configured(QuickEstimator):
    """Base of estimators and specifications."""

    # What stands for parameters in pickles and files from before there were such.
    _before: ClassVar[dict[str, Any]] = {}

    def set_params(self, **params: Any) -> Configured:
        """Set parameters, nested ones too.

        Parameters
        ----------
        **params : dict
            Names and values, as in any scikit-learn estimator.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no such parameter, with what may have been meant.
        """
        own = self.get_params(deep=False)
        for key in params:
            name, _, inner = key.partition("__")
            if name not in own:
                advice = advice_on_name([k.__name__ for k in type(self).__mro__], name, own)
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. "
                    f"{advice}{' ' * bool(advice)}Valid parameters are: {sorted(own)}."
                )
            value = params.get(name, own[name])
            if inner and (isinstance(value, type) or not hasattr(value, "set_params")):
                raise ValueError(
                    f"{key} cannot be set: {name}={value!r} has no parameters. Set {name} to an "
                    f"object that has {inner!r} first."
                )
        return super().set_params(**params)

    def __getstate__(self) -> dict[str, Any]:
        stamp = {_VERSION_KEY: __version__, _FORMAT_KEY: PICKLE_FORMAT}
        return {**super().__getstate__(), **stamp}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(read_state(self, state))


def plain(value: Any) -> Any:
    """Return a value with Python's numbers for NumPy's scalars, nested ones too.

    Arithmetic with those stays in their precision, and overflows: ``100 * np.int8(100)``. What
    holds none is returned as it is; else a copy, since parameters are the user's.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        items = [plain(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if type(value) is dict:  # its keys may be labels
        return {key: plain(item) for key, item in value.items()}
    if not isinstance(value, Configured):
        return value
    own = value.get_params(deep=False)
    changed = {name: new for name, old in own.items() if (new := plain(old)) is not old}
    if changed:
        value = copy.copy(value)
        value.__dict__.update(changed)
    return value


def read_state(
    owner: Any,
    state: Any,
    needed: tuple[str, ...] = (),
    unpack: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Return a pickle's state without its stamp, if it is one that this version can read.

    Pickles without a stamp are older than the first release: they are read if their names are
    those of today.

    Parameters
    ----------
    owner : object
        What the state is for, not yet filled.
    state : dict
        As it was pickled.
    needed : tuple of str
        Names that it must hold beside the parameters.
    unpack : callable
        From what was pickled to attributes.

    Raises
    ------
    ValueError
        Else, with the version that wrote it and what to do.
    """
    name = type(owner).__name__
    state = dict(state) if isinstance(state, dict) else {_FORMAT_KEY: None}
    version, written = state.pop(_VERSION_KEY, None), state.pop(_FORMAT_KEY, 0)
    if written:  # of format 0 only what has all of today's names is read
        state = {**owner._before, **state}
    if type(written) is not int or written < 0:
        raise ValueError(
            f"This is no state of a {name}: the pickle is damaged, or something else wrote it. "
            "Take another copy of it, or fit again."
        )
    wrote = f"skhug {version}" if version else "a version of skhug before the first release"
    if written > PICKLE_FORMAT:
        raise ValueError(
            f"This {name} was pickled by {wrote} (state format {written}), and skhug {__version__} "
            f"reads formats up to {PICKLE_FORMAT}: update skhug to {version or 'a newer version'}."
        )
    reason = ""
    if (version, written) != (__version__, PICKLE_FORMAT):
        reason = _misfit(owner, state, needed, written)
    if not reason:
        try:
            return unpack(state)
        except Exception as error:  # arrays and modules of another version may be anything
            reason, cause = f"{type(error).__name__}: {error}", error
    else:
        cause = None
    raise ValueError(
        f"This {name} was pickled by {wrote} and does not fit skhug {__version__} ({reason}). Load "
        "it with the version that wrote it: there write a fitted estimator to a file with "
        "save(path), which skhug.load reads in later versions, and of anything else note "
        "get_params(). Or fit again."
    ) from cause


def _misfit(owner: Any, state: dict[str, Any], needed: tuple[str, ...], written: int) -> str:
    """Say what another version's state lacks or has too much; empty if it fits."""
    parameters = set(inspect.signature(type(owner)).parameters)
    missing = sorted((parameters | set(needed)) - state.keys())
    if missing:
        return f"it has no {', '.join(missing)}"
    if written == 0:  # a parameter of old that is gone; later formats have a reader
        foreign = [n for n in state.keys() - parameters if not (n.startswith("_") or n[-1:] == "_")]
        if foreign:
            return f"it has {', '.join(sorted(foreign))}, which is no parameter now"
    return ""
