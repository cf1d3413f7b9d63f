"""HUGClassifier: the nearest proxy is the class."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # noqa: F401 - before scikit-learn: its import walks all modules that are loaded
from sklearn.base import ClassifierMixin
from torch import Tensor

from skhug._base import _BaseHUG
from skhug._data.columns import as_array
from skhug._data.rows import Rows
from skhug._data.sources import labels_of
from skhug._device import to_numpy, to_tensor
from skhug._docs import public
from skhug._model.calibration import (
    Readout,
    candidates,
    fit_readout,
    log_probabilities,
    pull_of,
)
from skhug._model.discriminant import fit_sharpness, logistic_log_probabilities
from skhug._model.embedding import device_of, join
from skhug._model.falloff import falloff_log_probabilities
from skhug._model.nearest import decision, nearest, products, refuse_beyond_memory, row_blocks
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.fit import Sample
from skhug._training.preflight import sound_blocks
from skhug.encoders import Vectors
from skhug.proxies._phase_code import CodedProxies, PhaseCode

if TYPE_CHECKING:
    from skhug._saving.onnx import ServedClassifier

__all__ = ["HUGClassifier"]
__dir__ = public(globals())


# Fitted attributes that make probabilities: one, or three.
_READOUTS = ("sharpness_", "power_", "floor_", "falloff_")


class _Classification:
    """What a classifier is trained for: the nearest proxy, and probabilities."""

    def check_scorable(self, y: np.ndarray) -> None:
        """Any rows have an accuracy."""

    def validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        """Return the accuracy."""
        predicted = to_numpy(nearest(embeddings, proxies)[1])
        return float(np.average(predicted == rows.y, weights=rows.weight))

    def fitted_attributes(
        self, encoder: SphereEncoder, proxies: Tensor, sample: Callable[[], Sample]
    ) -> dict[str, Any]:
        """Return the numbers of the probabilities: three, or one where products are log-odds."""
        points, y, weight, trained_on = sample()
        if _is_discriminant(encoder):
            sharpness = math.sqrt(encoder.softness)  # as rows left out have it
            if not trained_on:
                log_odds = logistic_log_probabilities(points, proxies, sharpness)
                sharpness *= fit_sharpness(*(to_numpy(a) for a in (log_odds, y, weight)))[0]
            return {"sharpness_": sharpness}
        seen = candidates(points, proxies, y)
        readout = fit_readout(seen, weight, pull_of(len(y), trained_on))
        return {f"{name}_": value for name, value in readout._asdict().items()}


def _is_discriminant(encoder: SphereEncoder) -> bool:
    """Whether products of features with the proxies are log-odds as they are."""
    return isinstance(encoder.spec, Vectors) and encoder.spec.head == "discriminant"


class HUGClassifier(ClassifierMixin, _BaseHUG):
    """Classifier that trains embeddings towards class proxies on the unit sphere.

    The Hyperspherical Uniformity Gap (HUG) keeps the classes' proxies apart and pulls each
    sample's embedding to its class's proxy; the predicted class is the nearest proxy.

    Parameters
    ----------
    encoder : {"auto", "mlp", "convnet", "resnet", "vectors"}, Encoder, torch.nn.Module or \
callable, default="auto"
        What embeds the samples; ``"auto"`` is :class:`~skhug.encoders.MLP` for rows,
        :class:`~skhug.encoders.ConvNet` for images and :class:`~skhug.encoders.Vectors` for rows
        that are normalised embeddings already: 32 to 4,096 columns of many values, and lengths that
        differ by less than a hundredth. The latter brings its own values for what is left at
        ``"auto"`` or None, and has to be named where ``partial_fit`` comes first. For sparse rows
        it is ``MLP((64,), softness=100, members=4)``, with one member for more than 131,072
        features. A module is copied, not changed; a callable takes ``(input_shape, n_components)``
        and returns a module. Modules of the user's own get values as they are, images in the order
        (batch, channels, height, width), grey ones of shape (n, height, width) with one channel;
        built-in encoders standardise them. :class:`~skhug.encoders.Pretrained` gives a module a
        last layer of the right width, and fine-tunes or freezes the rest.
    n_components : int, optional
        Dimension of the embedding, at least 1. By default the module's own width or, for a built-in
        encoder, as many as the simplex of the classes needs, ``n_classes - 1`` and at least 2, for
        up to 2,048 classes; for more, four million divided by their number, and at least
        128.
    uniformity : {"auto", "mhe", "mhs", "mgd"} or Uniformity, default="auto"
        Measure of hyperspherical uniformity, with its exponents: :class:`~skhug.losses.MHE`,
        :class:`~skhug.losses.MHS`, :class:`~skhug.losses.MGD`. Here and below ``"auto"`` is
        what the encoder has for it, ``"mhe"`` for all but :class:`~skhug.encoders.Vectors`. Where
        classes of dense rows crowd, more than 4 d and than 2^(d / 2) of them in d components, it
        is ``MHE(s_within=-1)`` for all other encoders of skhug.
    alpha : float or "auto", default="auto"
        Weight of the between-class term, 0 or more; ``"auto"`` is 1.0. It acts on learned proxies
        only; set beside fixed ones it is warned of.
    beta : float, default=1.0
        Weight of the within-class term, above 0.
    proxies : {"auto", "optimal", "learned"}, Learned, Nested or array of shape (n_classes, \
n_components), default="auto"
        ``"auto"`` is ``"optimal"``. These are computed before training and stay: the simplex where
        it fits, else the best arrangement found, in which up to 256 classes get points near one
        another where their rows are alike. ``"learned"`` are trained along,
        :class:`~skhug.proxies.Learned` says how. An array is fixed, in the order of ``classes_``.
        :class:`~skhug.proxies.Nested` trains embeddings that can be cut to their first components.
    optimizer : {"adamw", "sgd"}, AdamW, SGD or callable, default="adamw"
        A callable makes a ``torch.optim`` optimizer of parameter groups, for instance
        ``functools.partial(torch.optim.RMSprop, alpha=0.9)``; what the partial fixes stands above
        ``learning_rate`` and ``weight_decay``.
    learning_rate : float or "auto", default="auto"
        At the start of the schedule, above 0; ``"auto"`` is 3e-3.
    schedule : {"auto", "cycles", "cosine", "linear", "constant"} or callable, default="auto"
        Factor on the learning rate; a callable takes the share of the training done, in [0, 1).
        ``"cycles"`` rises and falls five times, each time twice as long; where several members
        leave rows out, training stops after one that made those no better. ``"auto"`` is this for
        several members without ``early_stopping``, else ``"cosine"``.
    weight_decay : float, optional
        Decay of the weight matrices, 0 or more: with AdamW a share of ``learning_rate *
        weight_decay`` per step, with SGD added to the gradient. By default the optimizer's own, 2.0
        and 0.0005, or for flat rows of fewer than 256 features 0.25 of these, since few features
        ask for curved boundaries; with a callable, that of what it makes.
    batch_size : int or "auto", default="auto"
        Rows per step, at least 1. ``"auto"`` takes about a 128th of the data, between 32 and
        256; of several members a 64th, between 64 and 1,024.
    max_epochs : int or "auto", default="auto"
        Passes over the data, at least 1. ``"auto"`` is about 2,000 steps, between 20 and 200
        passes; of several members at most so many steps, and between 10 and 300 passes. Of these
        the weights of the pass are kept that was best for the rows that members leave out.
    early_stopping : bool, default=False
        Whether to stop when the validation score no longer rises, and to keep the weights of the
        best epoch. The rows to validate on are ``X_val``, else a stratified part of ``X``.
    validation_fraction : float, default=0.1
        Share of ``X`` set aside for that, in (0, 1).
    n_iter_no_change : int, default=10
        Epochs without a better validation score after which to stop, at least 1.
    tol : float, default=1e-4
        How much better a score must be to count, 0 or more.
    track : str, callable or sequence of these, default=()
        Measures of geometry for ``history_``, taken at the end of every epoch on a fixed quarter of
        the training rows, 512 to 2,048 of them, of at most 256 classes. Names of those in
        :func:`~skhug.metrics.geometry_report`, or ``"nc"`` for neural collapse: NC1 as
        ``within_class_variability`` and ``cdnv``, NC2 as ``equinorm`` and ``equiangularity``, NC3
        as ``self_duality``, NC4 as ``ncc_agreement``. A callable takes ``(embeddings, labels,
        proxies)``, tensors, and returns a number; its ``__name__`` is the key.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes' rows; without it rows count alike. ``"balanced"`` makes classes
        count alike however many rows each has, as the paper does: the within-class term is a mean
        over the classes of a batch of means over their rows, and made up for the batches in which
        a class does not occur.
    batch_sampler : BalancedBatches or None, default=None
        :class:`~skhug.sampling.BalancedBatches` fills every batch with the same number of rows of
        each of several classes, in place of ``batch_size``. By default an epoch is a permutation of
        the rows.
    augment : callable or None, default=None
        Changes the raw rows of a training batch, ``(X, generator) -> X`` with tensors on the
        device: images of shape (batch, channels, height, width) in their own dtype, before they are
        normalised. See :mod:`skhug.augment`. Off at transform and in validation.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit, with its encoder, precision and
        device. Inputs are standardised by the new rows; what does not vary there, as before.
    checkpoint : str, path or Checkpoint, optional
        Folder in which an interrupted ``fit`` leaves its state: the same fit started again goes on
        where it stopped. :class:`~skhug.checkpoint.Checkpoint` says how often it is written and
        what it costs. ``partial_fit`` needs none: ``save`` between its calls.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        What to compute in. ``"auto"`` is the input's own, but float32 for ``uint8`` and for float64
        input of more than 4,000 numbers; on a CUDA GPU it may round products in training to TF32
        and, from 10,000,000,000 floating-point operations per step on, runs the encoder's training
        steps in bfloat16 where the GPU has it. ``"bfloat16"`` does so anywhere; parameters, losses,
        inference and outputs are float32 then. ``"float32"`` never rounds to less in training.
        torch's settings are as before after fit.
    compile : bool, default=False
        Whether training runs the encoder through ``torch.compile``: worth its tens of seconds where
        a fit takes minutes. It needs a C++ compiler on the CPU. The fitted ``module_`` is an
        ordinary one.
    device : str or torch.device, default="auto"
        ``"auto"`` is cuda, then mps, then cpu, whichever there is; ``"cuda:1"`` is the second GPU.
        On CUDA a batch or a block that memory does not hold is taken in parts, and small steps of
        built-in encoders are captured once and replayed as a graph.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches and the starting proxies. On the CPU an integer makes two
        fits identical. On a GPU this holds after ``torch.use_deterministic_algorithms(True)``, with
        ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` in the environment, as far as torch has such algorithms
        for the encoder's layers. Without it, sums over the rows of a class (``index_add``) are
        added in any order, and fits differ by rounding. Global random states are left as they were.
    verbose : int, default=0
        1 prints one line per epoch: which of how many, its losses, scores and the seconds so far.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of ``y``. One whose rows all have weight zero has a proxy and a probability,
        and is not trained.
    proxies_ : ndarray or CodedProxies of shape (n_classes, n_components)
        Unit vectors, one per class; of more than 16.8 million numbers, where they are fixed and an
        algebraic code serves, :class:`~skhug.proxies.CodedProxies`, which computes them by number.
    module_ : torch.nn.Module
        From raw rows to unit embeddings.
    history_ : list of dict
        One row per epoch: ``epoch``, the means over its batches of ``loss``, ``between`` and
        ``within``, the measures of ``track``, ``validation_score`` where there are validation
        rows, and ``left_out_score`` where members leave rows out: minus the mean squared distance
        of these rows to their own proxies, in the ball. Cycles have it where the learning rate does
        not rise.
    n_iter_ : int
        Epochs trained; 0 of a discriminant on vectors.
    loss_ : float
        Mean loss of the last epoch, NaN without one.
    categories_ : list or None
        Of a data frame with text or categories: for each column its levels, sorted, as an array of
        objects, or None where it holds numbers. None where all columns do.
    class_shares_ : list or None
        For each column of many levels an array of shape (n_levels + 1, n_classes), of two classes
        (n_levels + 1, 1): what stands for each level, and last for a missing one; None for other
        columns. None where all columns hold numbers.
    input_shape_ : tuple of int
        Shape of a sample in fit, ``X.shape[1:]``.
    input_dtype_ : str
        What they were computed from, "float64", "float32" or "uint8"; ``to_onnx`` takes it.
    n_features_in_ : int
        Features seen in fit; for images the length of ``X``'s second axis, as scikit-learn counts.
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Their names, where all are strings.
    sharpness_ : float
        Of the probabilities of :class:`~skhug.encoders.Vectors`, in place of the next three: the
        softmax of ``sharpness_ z.w_c / sqrt(1 - |z|^2)`` for a point z of the ball.
    power_, floor_, falloff_ : float
        Of the probabilities, ``p_c`` proportional to ``(q_c + floor_)^power_ / (d_c^2 +
        0.0003)^falloff_`` with ``d_c`` the distance of a point z of the ball from proxy c and
        ``q_c`` the share of class c, which of C proxies of a simplex is ``((C - 1) z.w_c + 1) /
        C``, at least 0. Fitted on the validation rows where there are some, else on rows that
        members left out; of a single network on the training rows, which tell less: there they
        stay nearer to values that suit most data. On a draw of rows, and of the classes far from
        a row, where there are many.

    See Also
    --------
    HUGEmbedder : The same training for retrieval, scored by retrieval.

    References
    ----------
    Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
    Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import train_test_split
    >>> from skhug import HUGClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = HUGClassifier(random_state=0).fit(X_train, y_train)
    >>> bool(model.score(X_test, y_test) > 0.9)
    True
    >>> model.transform(X_test).shape
    (38, 2)
    """

    _goal = _Classification()
    _outdated = ("concentration_", "softening_", "cutoff_")

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy on rows with labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.
        y : array-like of shape (n_samples,), optional
            Their labels; a torch data set of (x, y) brings its own.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        accuracy : float
            Share of the rows whose class is predicted.
        """
        y, sample_weight = as_array(labels_of(X, y)), as_array(sample_weight)
        return super().score(X, y, sample_weight)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the products with the proxies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        products : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Of points inside the ball, whose length says how sure they are, in [-1, 1]; cosines
            where a single network has softness 0. For two classes, half of the second's minus the
            first's.
        """
        return self._of_points(X, lambda points, proxies: decision(products(points, proxies)))

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the nearest proxy.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Taken from ``classes_``. Memory does not grow with the number of classes.
        """
        index = self._nearest(X, itemgetter(1))
        return self.classes_[index]

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how near each row is to any class: low where it belongs to none of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        product : ndarray of shape (n_samples,)
            The largest with a proxy, at most 1; see ``decision_function``.

        See Also
        --------
        skhug.novelty.KnownClasses : Goes by the layer in front of the last; often tells more.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.metrics import roc_auc_score
        >>> from skhug import HUGClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> known = y < 6
        >>> model = HUGClassifier(max_epochs=10, random_state=0).fit(X[known], y[known])
        >>> bool(roc_auc_score(known, model.score_samples(X)) > 0.9)
        True
        """
        return self._nearest(X, itemgetter(0))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; rows sum to 1.
        """
        return self._of_points(X, lambda *points: self._log_probabilities(*points).exp())

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the classes' probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._of_points(X, lambda *points: self._log_probabilities(*points))

    def _take(self, fitted: dict[str, Any]) -> None:
        for name in _READOUTS:  # a former fit may have had another kind
            self.__dict__.pop(name, None)
        super()._take(fitted)

    def _needed(self, state: dict[str, Any]) -> tuple[str, ...]:
        kinds = (self._outdated, _READOUTS[:1], _READOUTS[1:])
        names = next((names for names in kinds if names[0] in state), kinds[-1])
        return (*super()._needed(state), *names)

    @property
    def _log_probabilities(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what makes logarithms of probabilities of points and proxies."""
        if hasattr(self, "sharpness_"):
            return partial(logistic_log_probabilities, sharpness=self.sharpness_)
        if not hasattr(self, "power_"):  # of a file that an earlier version wrote
            names = ("concentration", "softening", "cutoff")
            falloff = {name: getattr(self, f"{name}_") for name in names}
            return partial(falloff_log_probabilities, **falloff)
        readout = Readout(self.power_, self.floor_, self.falloff_)
        return partial(log_probabilities, readout=readout)

    def _of_points(self, X: Any, function: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """Join what a function makes of points in the ball (block, n_components) and proxies."""
        X, proxies = self._checked(X)
        refuse_beyond_memory(len(X), len(proxies), proxies.dtype)
        points = sound_blocks(self.module_, X, SphereEncoder.ball)
        parts = (part for z in points for part in row_blocks(z, len(proxies)))
        return join((function(part, proxies) for part in parts), len(X))

    def _nearest(self, X: Any, pick: Callable[[tuple[Tensor, Tensor]], Tensor]) -> np.ndarray:
        """Join what is picked of the nearest proxy's (cosine, index)."""
        X, proxies = self._checked(X)
        points = sound_blocks(self.module_, X, SphereEncoder.ball)
        return join((pick(nearest(z, proxies)) for z in points), len(X))

    def _checked(self, X: Any) -> tuple[np.ndarray, Tensor | PhaseCode]:
        X, device = self._checked_rows(X), device_of(self.module_)
        if isinstance(self.proxies_, CodedProxies):
            return X, self.proxies_.on(device)
        return X, to_tensor(self.proxies_, device)

    def _served(self) -> ServedClassifier:
        from skhug._saving.onnx import ServedClassifier

        proxies = np.asarray(self.proxies_)
        return ServedClassifier(self.module_, proxies, self.classes_, self._log_probabilities)
