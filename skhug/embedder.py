"""HUGEmbedder: embeddings for retrieval, of classes seen in training or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from skhug._base import _BaseHUG
from skhug._data.rows import Rows
from skhug._data.sources import labels_of
from skhug._distributed.group import Alone
from skhug._docs import public
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.fit import Sample
from skhug.metrics import mean_average_precision_at_r

__all__ = ["HUGEmbedder"]
__dir__ = public(globals())


class _Retrieval:
    """What an embedder is trained for: rows of a class find one another."""

    def check_scorable(self, y: np.ndarray) -> None:
        """Refuse rows none of which has another of its class to find."""
        if np.bincount(y).max() < 2:
            raise ValueError(
                f"None of the {len(y)} validation rows has another of its class to find, so that "
                "retrieval has no score: raise validation_fraction, or pass X_val and y_val with "
                "two rows or more of a class."
            )
        if np.count_nonzero(np.bincount(y)) < 2:
            raise ValueError(
                f"The {len(y)} validation rows are of one class, so that any embedding would "
                "score 1: raise validation_fraction, or pass X_val and y_val with rows of two "
                "classes or more."
            )

    def validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        """Return the mean average precision at R."""
        return mean_average_precision_at_r(embeddings, rows.y, sample_weight=rows.weight)

    def fitted_attributes(
        self, encoder: SphereEncoder, proxies: Tensor, sample: Callable[[], Sample]
    ) -> dict[str, Any]:
        """Nothing beside what all estimators have."""
        return {}


class HUGEmbedder(_BaseHUG):
    """Embedder that trains unit vectors for retrieval.

    Training is that of :class:`HUGClassifier`; what differs is what counts as good: the mean
    average precision at R of rows searched among themselves, which needs no proxies and so
    works for classes never seen in training.

    Parameters
    ----------
    encoder : {"auto", "mlp", "convnet", "resnet", "vectors"}, Encoder, torch.nn.Module or \
callable, default="auto"
        What embeds the samples; ``"auto"`` is :class:`~skhug.encoders.MLP` for rows,
        :class:`~skhug.encoders.ConvNet` for images and :class:`~skhug.encoders.Vectors` for rows
        that are normalised embeddings already: 32 to 4,096 columns of many values, and lengths that
        differ by less than a hundredth. The latter brings its own values for what is left at
        ``"auto"`` or None, and has to be named where ``partial_fit`` comes first. For sparse rows
        it is ``MLP((64,), softness=100)``. A module is copied, not changed; a callable takes
        ``(input_shape, n_components)`` and returns a module. Modules of the user's own get values
        as they are, images in the order (batch, channels, height, width), grey ones of shape (n,
        height, width) with one channel; built-in encoders standardise them.
        :class:`~skhug.encoders.Pretrained` gives a module a last layer of the right width, and
        fine-tunes or freezes the rest.
    n_components : int, optional
        Dimension of the embedding, at least 1. By default the module's own width or, for a built-in
        encoder, as many as the simplex of the classes needs, ``n_classes - 1`` and at least 2, for
        up to 2,048 classes; for more, four million divided by their number, and at least
        128. Of :class:`~skhug.encoders.Vectors` that of the vectors.
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
        the weights of the pass are kept that was best for the rows that members leave out. Of
        :class:`~skhug.encoders.Vectors` none, unless there is something to stop or to train by.
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
        Epochs trained; 0 of the closed form on vectors.
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

    See Also
    --------
    HUGClassifier : The same training for classification.
    skhug.metrics : Measures of retrieval and of geometry.
    skhug.model_selection.retrieval_scorer : Scores for grid searches, on unseen classes too.

    Notes
    -----
    Embeddings are unit vectors: nearest by distance is nearest by cosine, and any index takes
    them. ``NearestNeighbors`` and, where ``transform`` ends a pipeline, ``KNeighborsClassifier``
    or ``KNeighborsTransformer`` search exactly; with faiss, ``IndexFlatIP`` on
    ``embeddings.astype("float32")`` does, and its other indexes approximately. New classes join
    the index without training.

    References
    ----------
    Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
    Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from skhug import HUGEmbedder
    >>> X, y = load_digits(return_X_y=True)
    >>> embedder = HUGEmbedder(max_epochs=5, random_state=0).fit(X[:1200], y[:1200])
    >>> index = NearestNeighbors().fit(embedder.transform(X[:1200]))
    >>> found = index.kneighbors(embedder.transform(X[1200:]), 1, return_distance=False)[:, 0]
    >>> bool((y[found] == y[1200:]).mean() > 0.9)
    True
    >>> bool(embedder.score(X[1200:], y[1200:]) > 0.8)  # mean average precision at R
    True
    """

    _goal = _Retrieval()
    # Several found classes never seen no better, on some data worse.
    _members = 1
    _head = "search"

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean average precision at R of X searched in itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; each is a query against all the others.
        y : array-like of shape (n_samples,), optional
            Their labels, of any classes. Rows without another of their class are left out. A
            torch data set of (x, y) brings its own.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the queries.

        Returns
        -------
        score : float
            Between 0 and 1 (Musgrave et al. 2020).

        Raises
        ------
        ValueError
            If no row has another of its class to find, or all are of one class.
        """
        y = labels_of(X, y)
        return mean_average_precision_at_r(self.transform(X), y, sample_weight=sample_weight)

    def _encode_validation_labels(
        self, y: np.ndarray, classes: np.ndarray, shards: Alone
    ) -> np.ndarray:
        # They may be classes never trained on.
        return np.searchsorted(np.unique(shards.join(np.unique(y))), y)
