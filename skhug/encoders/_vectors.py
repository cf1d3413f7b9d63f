"""A head on vectors that exist already: embeddings of text, images, sound."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from skhug._configured import explained
from skhug.encoders._encoder import Encoder, _one_of

__all__ = ["Residual", "Vectors"]

HEADS = ("discriminant", "search")


class Vectors(Encoder):
    """Head on rows that are embeddings already: it starts from a closed form of all rows.

    Single columns are not standardised: what counts in embeddings are directions. There are two
    heads. ``"search"`` keeps the vectors as they are but for what varies within classes: centred
    rows times ``S_l^-p``, of unit length, with S the covariance within classes and ``S_l = (1 - l)
    S + l (tr S / d) I``, to which training adds a linear map that starts at zero. With it, what is
    left at ``"auto"`` is ``proxies=Learned(learning_rate=1e-3)`` that start from the classes'
    means, ``uniformity=MHE(repulsion=1, repulsion_scale=20)``, ``alpha=0.2``,
    ``learning_rate=1e-4``, ``weight_decay=0``, ``batch_size=32`` and ``max_epochs=6``; the width is
    that of the vectors. ``"discriminant"`` is linear discriminant analysis written in the
    coordinates of the proxies: the nearest proxy is its prediction, and the probabilities are the
    softmax of its scores, as sharp as rows left out say. These also say whether scores are those of
    normal densities, or of class directions of one length ``w_c / |w_c|`` with half the squares as
    bias, which suits rows of unit length: they vary less in a class whose mean is longer. It is not
    trained further unless ``max_epochs`` says so: ``history_`` is empty.

    ``partial_fit`` adds the rows to sums from which the closed form is solved anew: the
    discriminant is that of one fit on all rows, but for rounding, and is not trained; search trains
    an epoch on the rows of the call. What rows left out choose is chosen from up to 4,096 rows of
    the stream, kept in memory and in no file or pickle; behind a ``fit`` or a file what was chosen
    stays until as many rows came again. A fit keeps sums of up to 4,194,304 numbers for it. With
    ``warm_start`` the closed form is of the new rows, and the trained map and proxies of search
    go on. Validation rows calibrate the discriminant's probabilities, and with ``early_stopping``
    the search head keeps its start where training makes them no better.

    Parameters
    ----------
    head : {"discriminant", "search"}, optional
        By default the discriminant in a :class:`~skhug.HUGClassifier`, and search in a
        :class:`~skhug.HUGEmbedder`.
    shrinkage : float, optional
        l in (0, 1]. By default 0.1 for search; for the discriminant that of 0.95, 0.9, 0.7, 0.5,
        0.3, 0.1 and 0.02 which has the least log-loss on rows left out, and 1 where rows are
        too few to leave any out: fewer than 25, or one of each class.
    power : float, default=0.25
        p of search, in [0, 1]; 0.5 makes the covariance within classes a sphere.
    strength : float, default=1.0
        What the trained map of search is multiplied by, 0 or more.

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 2004: the shrinkage.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.preprocessing import normalize
    >>> from skhug import HUGClassifier, Vectors
    >>> X, y = load_digits(return_X_y=True)
    >>> model = HUGClassifier(Vectors()).fit(normalize(X[:1200]), y[:1200])
    >>> bool(model.score(normalize(X[1200:]), y[1200:]) > 0.85)
    True
    """

    @explained
    def __init__(
        self,
        head: str | None = None,
        shrinkage: float | None = None,
        power: float = 0.25,
        strength: float = 1.0,
    ) -> None:
        self.head = head
        self.shrinkage = shrinkage
        self.power = power
        self.strength = strength

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the head for prepared rows, at zero.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the input is not made of flat rows.
        """
        self.check(input_shape)
        (width,) = input_shape
        if self.head == "search":
            return Residual(n_components, float(self.strength))
        linear = nn.Linear(width, n_components)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return linear

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Refuse parameters out of their range, and rows that are not flat.

        Parameters
        ----------
        input_shape : tuple of int
            Of a row.

        Raises
        ------
        ValueError
            With what to pass.
        """
        if len(input_shape) != 1:
            raise ValueError(
                f"Vectors takes rows of features, and each sample has shape {input_shape}: pass "
                "the vectors that a network makes of them, or an encoder for images such as "
                "ConvNet()."
            )
        if self.head not in (None, *HEADS):
            raise ValueError(_one_of("head", self.head, HEADS))
        least = None if self.shrinkage is None else 0 < _number(self.shrinkage) <= 1
        if least is False:
            raise ValueError(f"shrinkage={self.shrinkage!r}: pass a number in (0, 1], or None.")
        if not 0 <= _number(self.power) <= 1:
            raise ValueError(f"power={self.power!r}: pass a number in [0, 1], such as 0.25.")
        if not 0 <= _number(self.strength) < float("inf"):
            raise ValueError(f"strength={self.strength!r}: pass a number of 0 or more.")


def _number(value: Any) -> float:
    """Return a number, NaN for what is none: it is in no range."""
    return float(value) if isinstance(value, Real) else float("nan")


class Residual(nn.Module):
    """``x + strength * A x`` with A at zero: training starts from what is there.

    Parameters
    ----------
    width : int
        Of the rows.
    strength : float
        Of the change.
    """

    def __init__(self, width: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.weight = nn.Parameter(torch.zeros(width, width))

    def forward(self, X: Tensor) -> Tensor:
        """Return rows and their change, shape (batch, width)."""
        return torch.add(X, nn.functional.linear(X, self.weight), alpha=self.strength)

    def extra_repr(self) -> str:
        """Return the width and the strength."""
        return f"{len(self.weight)}, strength={self.strength}"
