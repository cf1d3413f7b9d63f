"""What the estimators share: parameters, fit, transform."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skhug._configured import Configured, explained, plain, read_state
from skhug._data.expansion import expansion_of
from skhug._data.folds import assign_folds, deal_shard, stream_folds
from skhug._data.rows import Rows, Task
from skhug._data.sources import Source, open_rows
from skhug._data.validation import (
    check_classes,
    check_parameters,
    check_rows,
    check_training_data,
    coding_of,
    encode_labels,
    input_attributes_kept_on_error,
)
from skhug._defaults import is_closed_form, resolve
from skhug._device import resolve_device
from skhug._distributed.group import Alone
from skhug._distributed.joined import joined
from skhug._model.embedding import fill, join
from skhug._parameters import (
    CONSTRAINTS,
    SHORTHANDS,
    expand_to_set,
    takes_gaps,
    warn_of_idle_alpha,
)
from skhug._process import draw_seed
from skhug._sklearn import CallbackSupportMixin, EpochCallbacks, fit_context
from skhug._training.agreement import agree_on_fit, agree_on_shards
from skhug._training.continuing import Earlier, pack_summary, running_summary, summary_of
from skhug._training.fit import Goal, Plan, fit, hold_out
from skhug._training.keeping import NoKeeper, make_keeper
from skhug._training.preflight import sound_blocks
from skhug.optimizers import SCHEDULES

# What writes files and pickles is imported where it writes: fits do without.
if TYPE_CHECKING:
    from skhug._saving.onnx import ServedEmbedder


class _BaseHUG(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    Configured,
):
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    # What every fitted one has beside the parameters.
    _fitted_names: ClassVar[tuple[str, ...]] = (
        *("module_", "proxies_", "classes_", "history_", "n_iter_", "loss_"),
        *("input_shape_", "n_features_in_"),
    )
    # Fitted attributes of files and pickles of earlier versions that have others in their place.
    _outdated: ClassVar[tuple[str, ...]] = ()

    @explained
    def __init__(
        self,
        encoder: Any = "auto",
        *,
        n_components: int | None = None,
        uniformity: Any = "auto",
        alpha: float | str = "auto",
        beta: float = 1.0,
        proxies: Any = "auto",
        optimizer: Any = "adamw",
        learning_rate: float | str = "auto",
        schedule: Any = "auto",
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_epochs: int | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        track: Any = (),
        class_weight: Any = None,
        batch_sampler: Any = None,
        augment: Any = None,
        warm_start: bool = False,
        checkpoint: Any = None,
        precision: str = "auto",
        compile: bool = False,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.n_components = n_components
        self.uniformity = uniformity
        self.alpha = alpha
        self.beta = beta
        self.proxies = proxies
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.track = track
        self.class_weight = class_weight
        self.batch_sampler = batch_sampler
        self.augment = augment
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.precision = precision
        self.compile = compile
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> _BaseHUG:
        """Set parameters, nested ones too.

        A nested name such as ``uniformity__s_within`` works on a plain string as well: the
        string becomes the object that it stands for.

        Parameters
        ----------
        **params : dict
            Names and values, as in any scikit-learn estimator.

        Returns
        -------
        self : estimator
        """
        nested: dict[str, set[str]] = {}
        for key in params:
            name, _, inner = key.partition("__")
            if inner and name in SHORTHANDS:
                nested.setdefault(name, set()).add(inner)
        for name, inner in nested.items():
            params[name] = expand_to_set(name, params.get(name, getattr(self, name)), inner)
        return super().set_params(**params)

    # --- fit ------------------------------------------------------------------------------

    @explained
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
    ) -> _BaseHUG:
        """Train the encoder, and the proxies if they are learned.

        Where ``torch.distributed`` is initialised with several processes, all of them call this and
        make the fit together, see :func:`skhug.distributed`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images
            Numbers. Tensors are taken from any device, in half precision as float32. In a data
            frame (pandas, polars, arrow) columns of text and of categories are taken by their
            dtype. A level is known by its name: up to ten (or as many as there are classes) get a
            column each, of more the shares of the classes among its rows stand for a level, as in
            scikit-learn's ``TargetEncoder``, where weights do not count; a new one counts as
            missing. A column of vectors of one length counts as so many columns; times are refused
            by the column's name. NaN and the libraries' other gaps count as missing in flat rows:
            at the centre of the column, and said by a column more where training rows had gaps.

            Sparse matrices and arrays of any format, sparse tensors and data frames of sparse
            columns are never made dense as a whole: a perceptron is trained on them by sparse
            products, and any other encoder, or ``augment``, is given each batch dense. Those of
            fewer than 512 features and at most 64 MiB when dense are made dense.

            Memory maps and other arrays that load when indexed (HDF5, Zarr) of more than 256 MiB,
            and any ``torch.utils.data.Dataset`` of (x, y), are read batch by batch in every epoch
            and never loaded as a whole. There, in images and among the values of sparse rows a gap
            is an error, and so is what is infinite everywhere.
        y : array-like of shape (n_samples,), optional
            Class labels: strings, integers, booleans. A torch data set of (x, y) brings its own,
            which are read once.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights inside a class's mean; rows of weight zero are left out, and
            their labels stay in ``classes_``.
        X_val : array-like of shape (n_val, n_features), optional
            Rows to validate on instead of a part of ``X``. They are scored every epoch
            (``history_``) and, with ``early_stopping``, decide when to stop.
        y_val : array-like of shape (n_val,), optional
            Their labels.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If the data cannot be trained on; nothing of an earlier fit is lost then.
        RuntimeError
            If another process that makes the fit fails or is lost.
        """
        with joined() as group, input_attributes_kept_on_error(self):
            levels = "fitted" if self.warm_start and hasattr(self, "module_") else "found"
            X, y, weight = check_training_data(
                self, X, y, sample_weight, reset=True, levels=levels, shards=group.shards
            )
            classes, codes = np.unique(y, return_inverse=True)
            if group.sharded:
                classes = agree_on_shards(self, group, X, classes)
                codes = encode_labels(y, classes)
            if len(classes) < 2:
                (only,) = classes.tolist()
                raise ValueError(
                    f"y has 1 class ({only!r}): HUG separates classes, pass at least 2."
                )
            rows = self._rows(X, codes, weight, group)
            task = Task(rows, self._check_validation(X_val, y_val, classes, group), classes)
            earlier = self._earlier() if self.warm_start else None
            fitted = self._fit_task(task, earlier, group)
        for name in ("_progress", "_kept_rows"):  # of an earlier partial_fit
            self.__dict__.pop(name, None)
        self._take(fitted)
        return self

    @explained
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> _BaseHUG:
        """Train for one epoch on these rows, from where the last call stopped.

        The learning rate stays constant: ``schedule`` needs to know the end. The fitted encoder
        stays as well, with its precision and device, as with ``warm_start``: fit anew to change it.
        The closed form of :class:`~skhug.encoders.Vectors` is solved anew for all rows so far.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows. The statistics that inputs are standardised by are those of all calls so far,
            where every row counts alike; after ``fit`` they move from its own with the new rows.
            What levels there are, of categories all that the dtype declares, and which columns
            have gaps, is settled by the first call, and so is whether inputs are centred: sparse
            rows are not.
        y : array-like of shape (n_samples,)
            Labels; the rows of a class may arrive in any call.
        classes : array-like of shape (n_classes,), optional
            All classes that will ever come, at the first call; those of ``y`` by default.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights inside a class's mean.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a label was not declared at the first call.
        """
        earlier = self._earlier()
        with joined() as group, input_attributes_kept_on_error(self):
            new = earlier is None
            if group.sharded:
                raise ValueError(
                    "partial_fit takes the same rows from every process, and not shards: leave "
                    "sharded=True out, or call fit on all rows."
                )
            X, y, weight = check_training_data(
                self, X, y, sample_weight, reset=new, levels="declared" if new else "fitted"
            )
            classes = self._check_classes(y, classes)
            rows = self._rows(X, encode_labels(y, classes), weight, group)
            fitted = self._fit_one_epoch(Task(rows, None, classes), earlier, group)
        self._take(fitted)
        return self

    def _rows(self, X: Any, codes: np.ndarray, weight: np.ndarray, group: Alone) -> Rows:
        """Return the rows that count, and what makes numbers of their levels and gaps."""
        coding = coding_of(self)
        n_levels = None if coding is None else coding.n_levels()
        expand = expansion_of(X, weight > 0, n_levels, group.shards)
        return Rows(X, codes, weight, expand, group.shards).weighted()

    def _take(self, fitted: dict[str, Any]) -> None:
        """Assign fitted attributes; those that an earlier version had in their place leave."""
        for name in self._outdated:
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted)

    def _earlier(self) -> Earlier | None:
        """Return what a fit goes on from, None before the first."""
        if not hasattr(self, "module_"):
            return None
        progress = getattr(self, "_progress", None)
        kept = getattr(self, "_kept_rows", None)
        return Earlier(self.module_, self.proxies_, self.classes_, progress, kept=kept)

    def _fit_task(self, task: Task, earlier: Earlier | None, group: Alone) -> dict[str, Any]:
        """Train as the parameters say; return the fitted attributes."""
        if earlier is not None:  # fit starts a run of its own from the weights
            earlier = earlier._replace(progress=None)
        identity = agree_on_fit(group, self._identity(), task, earlier)
        checkpoint = self.checkpoint if group.leads else None
        with make_keeper(checkpoint, identity, task, earlier) as keeper:
            splits = self.early_stopping and task.validation is None
            drawn = [draw_seed(self.random_state) for _ in range(1 + splits)]
            keeper.saved, keeper.seeds = group.first(lambda: (keeper.saved, keeper.seeds or drawn))
            fraction = plain(self.validation_fraction) if splits else None
            task = hold_out(task, fraction, keeper.seeds[0], self._goal)
            plan = self._plan(task, earlier, keeper.seeds[-1], group)
            warn_of_idle_alpha(self.alpha, plan.settings.proxies)
            fitted, state = fit(plan, keeper)
        if state.closed_form is not None:
            fitted["_progress"] = {"vectors": state.closed_form.seen.packed()}
        return fitted

    def _identity(self) -> dict[str, Any]:
        """Return what makes a fit this one beside its data."""
        return {
            **self.get_params(deep=False),
            "estimator": type(self).__name__,
            "device": str(resolve_device(self.device)),
        }

    def _fit_one_epoch(self, task: Task, earlier: Earlier | None, group: Alone) -> dict[str, Any]:
        """Train one epoch more, with the optimizer's state of the last call.

        The learning rate stays constant: a schedule needs to know the end.
        """
        progress = (None if earlier is None else earlier.progress) or {}
        agree_on_fit(group, self._identity(), task, earlier)
        drawn = progress["seed"] + 1 if "seed" in progress else draw_seed(self.random_state)
        seed = group.first(lambda: drawn)
        before = progress.get("epoch", 0)
        plan = self._plan(task, earlier, seed, group, whole=False)
        solved = is_closed_form(plan.settings)
        settings = plan.settings._replace(
            max_epochs=before + (not solved),
            schedule=SCHEDULES["constant"],
            patience=None,
            views=None,
        )
        summary = None
        if earlier is None:
            warn_of_idle_alpha(self.alpha, settings.proxies)
        else:
            earlier.check_stream()
            summary = running_summary(earlier, settings.encoder, task.rows, seed)
            earlier = earlier._replace(summary=summary)
        plan = plan._replace(settings=settings, earlier=earlier, known_end=False, deal=stream_folds)
        fitted, state = fit(plan, NoKeeper())
        if earlier is None:
            summary = summary_of(settings.encoder, fitted["module_"], task.rows, seed)
        if state.epoch > before:  # else it diverged, and so did the optimizer's state
            progress = {**state.progress(), "seed": seed, "summary": pack_summary(summary)}
        if state.closed_form is not None:
            seen = state.closed_form.seen
            progress = {**progress, "seed": seed, "vectors": seen.packed()}
            fitted["_kept_rows"] = seen.kept
        return {**fitted, "_progress": progress or None}

    def _plan(
        self, task: Task, earlier: Earlier | None, seed: int, group: Alone, *, whole: bool = True
    ) -> Plan:
        """Return the plan of a fit; ``whole`` is false of rows that more may follow."""
        if earlier is not None:
            earlier.check(task, self.n_components)
        module = None if earlier is None else earlier.module
        settings = resolve(self, task.rows, task.classes, seed, module, whole=whole)
        settings = settings._replace(verbose=settings.verbose and group.leads)
        listen = partial(EpochCallbacks, self)
        deal = deal_shard if group.sharded else assign_folds
        return Plan(settings, task, self._goal, listen, earlier, deal=deal, group=group)

    def _check_classes(self, y: np.ndarray, classes: Any) -> np.ndarray:
        """Return the classes of a call of partial_fit, those of the first call."""
        known = getattr(self, "classes_", None)
        if known is None:
            known = np.unique(y if classes is None else check_classes(classes))
            if len(known) < 2:
                raise ValueError(
                    "The first call of partial_fit knows 1 class: pass all that will come as "
                    "classes=."
                )
        elif classes is not None and not np.array_equal(np.unique(check_classes(classes)), known):
            raise ValueError(
                f"classes differ from those of the first call, {known!r}: fit a new model."
            )
        return known

    def _check_validation(
        self, X_val: Any, y_val: Any, classes: np.ndarray, group: Alone
    ) -> Rows | None:
        if X_val is None and y_val is None:
            return None
        X_val = open_rows(X_val)
        if X_val is None or (y_val is None and not isinstance(X_val, Source)):
            raise ValueError("Pass both X_val and y_val, or neither.")
        try:
            X, y, weight = check_training_data(self, X_val, y_val, None, reset=False)
        except ValueError as error:
            raise ValueError(f"Of X_val and y_val: {error}") from error
        codes = self._encode_validation_labels(y, classes, group.shards)
        return Rows(X, codes, weight, shards=group.shards)

    # --- what the estimators differ in -----------------------------------------------------

    _goal: ClassVar[Goal]
    # Networks of an encoder that does not say how many; None leaves it to the encoder.
    _members: ClassVar[int | None] = None
    # Head on vectors of an encoder that does not say which.
    _head: ClassVar[str] = "discriminant"

    def _encode_validation_labels(
        self, y: np.ndarray, classes: np.ndarray, shards: Alone
    ) -> np.ndarray:
        unseen = np.setdiff1d(y, classes)
        if len(unseen):
            raise ValueError(
                f"y_val has labels that are none of y, {unseen[:5].tolist()!r}: a classifier is "
                "validated on the classes that it learns. Leave those rows out of X_val and y_val."
            )
        return encode_labels(y, classes)

    # --- use ------------------------------------------------------------------------------

    # An array to write to is no metadata to be routed.
    __metadata_request__transform: ClassVar[dict[str, str]] = {"out": UNUSED}

    def transform(self, X: Any, out: Any = None) -> np.ndarray:
        """Embed samples on the unit sphere.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples of the shape seen in fit, sparse or not whichever those were; also those that
            ``fit`` reads in blocks.
        out : array of shape (n_samples, n_components), optional
            What to write to, block by block, and return: for instance a ``numpy.memmap`` where
            the embeddings are larger than memory. It has the dtype of ``proxies_``.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_components)
            Unit rows, in the dtype of the computation.

        Raises
        ------
        ValueError
            If ``out`` has another shape or dtype; nothing is written then. If a user's module
            gives no finite numbers for a row; what it maps to zero stays zero, and so does a row
            whose members cancel out.
        """
        X = self._checked_rows(X)
        blocks = sound_blocks(self.module_, X)
        if out is None:
            return join(blocks, len(X))
        shape, dtype = (len(X), self._n_features_out), self.proxies_.dtype
        if out.shape != shape or out.dtype != dtype:
            raise ValueError(
                f"out has shape {out.shape} and dtype {out.dtype}, and the embeddings have shape "
                f"{shape} and dtype {dtype}: pass an array of these."
            )
        return fill(out, blocks)

    def _checked_rows(self, X: Any) -> Any:
        """Return rows for the fitted model, checked."""
        if not hasattr(self, "module_"):  # scikit-learn's own look takes longer than a layer
            check_is_fitted(self)
        return check_rows(self, X)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit, then embed the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), optional
            Class labels; a torch data set of (x, y) brings its own.
        **fit_params : dict
            Passed to ``fit``.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_components)
            Unit rows.
        """
        return self.fit(X, y, **fit_params).transform(X)

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted estimator to a file that :func:`skhug.load` reads.

        The file is a safetensors file: arrays, and JSON for all else. It holds parameters, fitted
        attributes and the state of ``partial_fit``, and no code: of an encoder of the user's own
        the weights alone. ``checkpoint`` belongs to the machine and is left out.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced once the new one is written as a whole.

        Raises
        ------
        ValueError
            If a parameter is a function or another object that no file without code can hold.
        OSError
            If the file cannot be written; one that was there stays.
        """
        from skhug._saving.models import save_model

        save_model(self, path)

    def to_onnx(self, path: Any, X: Any = None, *, dtype: Any = None) -> None:
        """Write the fitted model as an ONNX graph, input normalisation included.

        The graph takes ``X`` of shape (batch, n_features), or images of the shape seen in fit,
        for any batch. It gives ``embedding`` (batch, n_components); a classifier's also gives
        ``label``, ``probabilities`` (batch, n_classes) and ``decision``, as ``predict``,
        ``predict_proba`` and ``decision_function`` do. Outputs are float32. The graph is run by
        onnxruntime and compared with the estimator before it is written.

        Parameters
        ----------
        path : str or Path
            File to write.
        X : array-like of shape (n_samples, n_features), optional
            Some rows to compare on; without, rows are drawn about the mean of those in fit.
        dtype : {"float32", "float64", "uint8"}, optional
            What rows come in; by default what they came in in fit.

        Raises
        ------
        ImportError
            If the extra is not installed: ``pip install 'skhug[onnx]'``.
        TypeError
            If the labels are of a kind that ONNX does not have.
        ValueError
            If a module of your own does what ONNX cannot express, columns hold categories, or the
            graph computes something else than the estimator. What was at the path stays.

        See Also
        --------
        skhug.export : Pipelines, by way of skl2onnx.

        Notes
        -----
        The encoder computes in float32, since onnxruntime has neither a convolution nor an error
        function in float64; results differ from the estimator's by rounding, about 1e-6.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skhug import HUGClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = HUGClassifier(max_epochs=5, random_state=0).fit(X, y)
        >>> model.to_onnx("iris.onnx")  # doctest: +SKIP
        >>> import onnxruntime  # doctest: +SKIP
        >>> session = onnxruntime.InferenceSession("iris.onnx")  # doctest: +SKIP
        >>> label, probabilities, decision, embedding = session.run(
        ...     None, {"X": X}
        ... )  # doctest: +SKIP
        """
        from skhug._saving.onnx import save_onnx

        save_onnx(self, path, X, dtype)

    def _served(self) -> ServedEmbedder:
        """Return the module that an exported graph computes."""
        from skhug._saving.onnx import ServedEmbedder

        return ServedEmbedder(self.module_)

    @property
    def _n_features_out(self) -> int:
        return self.proxies_.shape[1]

    def __getstate__(self) -> dict[str, Any]:
        from skhug._saving.modules import pack_module, pack_tensors

        state = dict(super().__getstate__())
        state.pop("_kept_rows", None)  # pickles hold no rows
        if "module_" in state:
            state["module_"] = pack_module(state["module_"])
            state["_progress"] = pack_tensors(state.get("_progress"))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        fitted = isinstance(state, dict) and "module_" in state
        needed, unpack = (self._needed(state), _unpacked) if fitted else ((), dict)
        self.__dict__.update(read_state(self, state, needed, unpack))

    def _needed(self, state: dict[str, Any]) -> tuple[str, ...]:
        """Return what a fitted one's pickle must hold beside the parameters."""
        return self._fitted_names

    def _validate_params(self) -> None:
        """Check the parameters as scikit-learn does; its message is followed by what is meant."""
        check_parameters(self, self._parameter_constraints)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = takes_gaps(self.encoder)
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _unpacked(state: dict[str, Any]) -> dict[str, Any]:
    """Return a fitted estimator's attributes of what was pickled."""
    from skhug._saving.modules import unpack_module, unpack_tensors

    progress = unpack_tensors(state["_progress"])
    return {**state, "module_": unpack_module(state["module_"]), "_progress": progress}
