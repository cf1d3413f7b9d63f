"""A dict of measures that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Report(dict):
    """Values by name, each beside its optimum; prints as a table.

    Parameters
    ----------
    values : mapping of str to float
        The measures.
    optimum : mapping of str to float
        The value that each could reach at best; NaN or absent where it is not known.

    Attributes
    ----------
    optimum : dict of str to float
        As passed.

    Examples
    --------
    >>> from skhug.metrics import Report
    >>> Report({"recall_at_1": 0.5, "energy": 2.0}, {"recall_at_1": 1.0})
                    value   optimum
    recall_at_1    0.5000    1.0000
    energy         2.0000         -
    """

    def __init__(self, values: Mapping[str, float], optimum: Mapping[str, float]) -> None:
        super().__init__(values)
        self.optimum = dict(optimum)

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        lines = [f"{'':{width}}  {'value':>8}  {'optimum':>8}"]
        for name, value in self.items():
            best = self.optimum.get(name, math.nan)
            shown = "-" if math.isnan(best) else f"{best:.4f}"
            lines.append(f"{name:{width}}  {_number(value):>8}  {shown:>8}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        return type(self), (dict(self), self.optimum)


def _number(value: float) -> str:
    """Four decimals, or an exponent where they would show nothing."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"
