"""A head on vectors that exist already: embeddings of text, images, sound."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skhug._configured import explained
from skhug.encoders._encoder import Encoder, _one_of

__all__ = ["Residual", "Vectors"]

HEADS = ("discriminant", "search")


class Vectors(Encoder):
    """Head on rows that are embeddings already: it starts from a closed form of all rows.

    Single columns are not standardised: what counts in embeddings are directions. There are two
    heads.

    ``"search"`` weighs directions: centred rows times ``S_l^-p G``, of unit length. S is the
    covariance within classes, and ``S_l = (1 - l) S + l (tr S / d) I``. G scales directions in
    which the classes' means differ by the root of ``g(b + v) / g(v)``, ``g(b) = b / (1 + 2 b)``,
    with b the variance between classes in units of that within. l, p and v are 0.5, 0.25 and 0.3,
    unless others search better among classes that they were not made from. Of six classes or more,
    a third are held out at a time; the best of 29 triples, rows as they are among them, is taken if
    the mean average precision at R over the classes rises by more than two standard errors.
    ``module_.spec`` holds what was taken.

    A linear map A then draws rows of one class nearer to one another than to those of others: ``z =
    unit(q + t q A)``. It is ten steps of the supervised contrastive loss from zero, each on up to
    1,024 rows, which count alike. t is 0, no map, unless one of six values up to 2 searches better
    by that same rule; of fewer than six classes it is 0. ``strength`` of ``module_.spec`` is the t
    that was taken, None where no map is drawn.

    Search is not trained further unless ``max_epochs`` says so, or there is something to train
    towards or to stop by: ``proxies`` that are an array, ``early_stopping``. Then A is trained
    instead, from zero, six passes with t = 1. What is left at ``"auto"`` is ``alpha=0.2``,
    ``proxies=Learned(learning_rate=1e-3)`` that start from the classes' means,
    ``uniformity=MHE(repulsion=1, repulsion_scale=20)``, ``learning_rate=1e-4`` and
    ``weight_decay=0``; the width is that of the vectors.

    ``"discriminant"`` is linear discriminant analysis written in the coordinates of the proxies:
    the nearest proxy is its prediction, and the probabilities are the softmax of its scores, as
    sharp as rows left out say. These also say whether scores are those of normal densities, or of
    class directions of one length ``w_c / |w_c|`` with half the squares as bias, which suits rows
    of unit length: they vary less in a class whose mean is longer. From 200 rows and four of a
    class on a few steps of softmax regression follow, pulled to the discriminant as strongly as
    rows left out say, or none. They see up to 16,384 rows, and fewer where rows times columns times
    classes would be more than 2^28. It is not trained further unless ``max_epochs`` says so:
    ``history_`` is empty.

    ``partial_fit`` adds the rows to sums from which the closed form is solved anew: the
    discriminant is that of one fit on all rows, but for rounding, and is not trained; so is that of
    search, with l, p, v and the map of the first call, and where ``max_epochs`` is passed it trains
    an epoch on the rows of each call. What the discriminant chooses is chosen from up to 16,384
    rows of the stream, kept in memory and in no file or pickle; behind a ``fit`` or a file what was
    chosen stays until as many rows came again. A fit keeps sums of up to 4,194,304 numbers for it.
    With ``warm_start`` the closed form is of the new rows, and the trained map and proxies of
    search go on. Validation rows calibrate the discriminant's probabilities, and with
    ``early_stopping`` the search head keeps its start where training makes them no better.

    Parameters
    ----------
    head : {"discriminant", "search"}, optional
        By default the discriminant in a :class:`~skhug.HUGClassifier`, and search in a
        :class:`~skhug.HUGEmbedder`.
    shrinkage : float, optional
        l in (0, 1]. By default chosen: for search as said above, for the discriminant that of 0.95,
        0.9, 0.7, 0.5, 0.3, 0.1 and 0.02 which has the least log-loss on rows left out, and 1 where
        there is none to leave out: one row of each class. Of few rows a value has to be clearly
        better than 0.95. A value of your own leaves softmax regression out.
    power : float, optional
        p of search, in [0, 1]; 0.5 makes the covariance within classes a sphere, 0 leaves rows as
        they are, centre and all. By default chosen.
    strength : float, optional
        t of search, what its map is multiplied by, 0 or more. By default chosen where nothing is
        trained, and 1 where ``max_epochs`` trains; what is given is taken as it is.
    novelty : float, optional
        v of search, above 0: the variance between new classes, in units of that within, that there
        is in every direction beside what the training classes have; infinity weighs all directions
        alike. By default chosen.

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 2004: the shrinkage.

    Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006: the weights of directions.

    Khosla et al., "Supervised contrastive learning", NeurIPS 2020: the map.

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

    _before: ClassVar[dict[str, Any]] = {"novelty": float("inf")}

    @explained
    def __init__(
        self,
        head: str | None = None,
        shrinkage: float | None = None,
        power: float | None = None,
        strength: float | None = None,
        novelty: float | None = None,
    ) -> None:
        self.head = head
        self.shrinkage = shrinkage
        self.power = power
        self.strength = strength
        self.novelty = novelty

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
            strength = 1.0 if self.strength is None else float(self.strength)
            return Residual(n_components, strength)
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
        if self.power is not None and not 0 <= _number(self.power) <= 1:
            raise ValueError(f"power={self.power!r}: pass a number in [0, 1], or None.")
        if self.novelty is not None and not _number(self.novelty) > 0:
            raise ValueError(f"novelty={self.novelty!r}: pass a number above 0, inf or None.")
        if self.strength is not None and not 0 <= _number(self.strength) < float("inf"):
            raise ValueError(f"strength={self.strength!r}: pass a number of 0 or more, or None.")


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
