"""Every default that depends on data: an estimator's parameters and rows become settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight

from skhug._configured import plain
from skhug._data.batches import batch_bounds
from skhug._data.image_layout import Layout
from skhug._data.rows import Rows
from skhug._data.vector_rows import are_vectors
from skhug._device import (
    LAUNCH_BOUND_FLOPS,
    allows_tf32,
    has_bfloat16,
    resolve_device,
    resolve_dtype,
    to_numpy,
)
from skhug._distributed.group import ALONE, Alone
from skhug._model.sphere_encoder import SphereEncoder
from skhug._parameters import (
    USUAL,
    check_instances,
    check_numbers,
    expand,
    expand_encoder,
    expand_track,
)
from skhug._sparse import CompressedRows
from skhug.encoders import MLP, Encoder, Vectors
from skhug.encoders._encoder import checked_members
from skhug.encoders._few_dimensions import are_crowded, softened_little
from skhug.encoders._mlp import MEMBERS, SOFTNESS
from skhug.losses import MHE, Uniformity
from skhug.losses._coefficients import epoch_coefficients, row_coefficients
from skhug.losses._nested import Prefix
from skhug.losses._within_class import log_shares
from skhug.optimizers import SCHEDULES, default_weight_decay
from skhug.optimizers._schedules import cycle_ends
from skhug.proxies._choice import Learned, Optimal
from skhug.proxies._nested import Nested, checked_prefixes, inner_proxies
from skhug.sampling import BalancedOrder

if TYPE_CHECKING:
    from skhug.metrics._class_statistics import Classwise

__all__ = ["Settings", "is_closed_form", "resolve"]

# Steps of training that small data gets, whatever its number of epochs.
STEPS = 2000
EPOCHS = (20, 200)
# Features below which a flat row has few, and the share of a weight decay that it gets then.
FEW_FEATURES = 256
DECAY_OF_FEW = 0.25
BATCH = (32, 256)
# The same of several members.
STEPS_OF_MEMBERS = 2000
EPOCHS_OF_MEMBERS = (10, 300)
BATCH_OF_MEMBERS = (64, 1024)
# Hidden units that "auto" has for sparse rows: most words of a text are rare, and a wide network
# learns them by heart. Features up to which it has several members: beyond, their weights would
# take gigabytes.
HIDDEN_OF_SPARSE = (64,)
MOST_FEATURES_OF_MEMBERS = 2**17
# What is left open, at "auto" or None, has these values where rows are vectors, by their head.
OF_VECTORS: dict[str, dict[str, Any]] = {
    "discriminant": {"max_epochs": 0, "learning_rate": 1e-4, "weight_decay": 0.0},
    "search": {
        "proxies": Learned(learning_rate=1e-3),
        "uniformity": MHE(repulsion=1.0, repulsion_scale=20.0),
        "alpha": 0.2,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "max_epochs": 0,
    },
}
# What is left at "auto" has these values where many classes crowd in few dimensions.
OF_CROWDED: dict[str, Any] = {"uniformity": MHE(s_within=-1.0)}
# Passes of search where there is something beyond the closed form to train towards or to stop by.
EPOCHS_OF_SEARCH = 6
# The proxies of C classes in C - 1 components are C (C - 1) numbers. By default they are no more
# than so many: more classes get fewer components than the simplex needs, but at least these.
PROXY_NUMBERS = 2**22
FEWEST_OF_MANY = 128


class Settings(NamedTuple):
    """A fit's parameters as objects and numbers: behind it nothing is looked up or chosen again.

    ``encoder`` is a specification, a module or a callable. With ``width_given`` false a user's
    module keeps its own width in place of ``n_components``. ``weight_decay`` is None where a
    torch.optim optimizer knows its own. Steps of ``bfloat16_flops`` operations or more run in
    bfloat16. ``patience`` is (epochs without a better score, how much is better) or None;
    after the epochs ``cycle_ends`` several members may stop. ``coefficients`` says what rows count
    in a batch. ``track`` are measures by the names of their columns in ``history_``. ``views`` are
    passes of a frozen backbone over rows that change, None one an epoch.
    """

    encoder: Any
    n_components: int
    width_given: bool
    proxies: Learned | Optimal | np.ndarray
    prefixes: tuple[Prefix, ...]
    uniformity: Uniformity
    alpha: float
    beta: float
    optimizer: Any
    learning_rate: float
    proxy_learning_rate: float
    weight_decay: float | None
    schedule: Callable[[float], float]
    batch_size: int
    sampler: BalancedOrder | None
    max_epochs: int
    patience: tuple[int, float] | None
    cycle_ends: tuple[int, ...]
    class_weight: np.ndarray
    coefficients: Callable[..., torch.Tensor]
    augment: Callable[..., Any] | None
    views: int | None
    track: dict[str, Callable[[Classwise], float]]
    device: torch.device
    dtype: torch.dtype
    bfloat16_flops: float
    tf32: bool
    compile: bool
    verbose: bool
    seed: int

    def counts(self, rows: Rows) -> np.ndarray:
        """Return what each of some rows counts in the loss, up to a factor.

        How often a sampler draws its class does not count: where new rows come by the classes'
        natural frequencies, these choose the better epoch and calibrate better.
        """
        n_classes, prior = len(self.class_weight), self.uniformity.prior
        if self.coefficients is row_coefficients:
            counted = rows.weight * self.class_weight[rows.y]
        else:
            total = rows.shards.total(np.bincount(rows.y, rows.weight, n_classes))  # classes alike
            counted = rows.weight / np.maximum(total, np.finfo(float).tiny)[rows.y]
        if prior is None:
            return counted
        # What is fitted with a prior is right where all classes are equally frequent. Of a class
        # without a row to train on nothing is known.
        share = prior[rows.y]
        return np.divide(counted, share, out=np.zeros_like(counted), where=share > 0)


def resolve(
    estimator: Any,
    rows: Rows,
    classes: np.ndarray,
    seed: int,
    fitted: SphereEncoder | None = None,
    *,
    whole: bool = True,
) -> Settings:
    """Return what an estimator's parameters mean for these rows.

    Parameters
    ----------
    estimator : estimator
        Its parameters are read, nothing else.
    rows : Rows
        To train on.
    classes : ndarray of shape (n_classes,)
        Their labels, sorted.
    seed : int
        Of the training.
    fitted : SphereEncoder, optional
        Module to go on from, whose dtype and input count then.
    whole : bool
        Whether these are all rows that the model will see.

    Raises
    ------
    TypeError, ValueError
        If a parameter does not suit the rows.
    """
    e = plain(estimator)
    check_instances(e.get_params(deep=False))
    device = resolve_device(e.device)
    dtype = (
        fitted.prepare.dtype if fitted else resolve_dtype(e.precision, rows.X, device, rows.n_all)
    )
    encoder = _encoder(e, rows, whole, fitted)
    shape = _prepared_shape(fitted, encoder, rows)
    width = e.n_components or _default_width(encoder, shape, len(classes))
    crowded = _crowded(encoder, rows, len(classes), fitted.n_components if fitted else width)
    if crowded:
        encoder = softened_little(encoder, shape)  # a fitted module keeps its own
    e = _with_values(e, _own_values(encoder, e, crowded))
    check_numbers(
        dtype,
        alpha=e.alpha,
        beta=e.beta,
        learning_rate=e.learning_rate,
        weight_decay=e.weight_decay,
    )
    proxies, prefixes = _proxies(e.proxies)
    proxy_rate = proxies.learning_rate if isinstance(proxies, Learned) else None
    optimizer = expand("optimizer", e.optimizer)
    sampler = None if e.batch_sampler is None else e.batch_sampler.bind(rows.y)
    members = _members(encoder, fitted, shape)
    course = _course(e, sampler, rows.n_all, members)
    balanced = isinstance(e.class_weight, str)
    # Rows of a batch that each member sees.
    seen = course["batch_size"] * (1 if members == 1 else 1 - 1 / members)
    settings = Settings(
        encoder=encoder,
        n_components=width,
        width_given=e.n_components is not None,
        proxies=proxies,
        prefixes=prefixes,
        uniformity=expand("uniformity", e.uniformity),
        alpha=e.alpha,
        beta=e.beta,
        optimizer=optimizer,
        learning_rate=e.learning_rate,
        proxy_learning_rate=e.learning_rate if proxy_rate is None else proxy_rate,
        weight_decay=default_decay(optimizer, shape) if e.weight_decay is None else e.weight_decay,
        sampler=sampler,
        patience=(e.n_iter_no_change, e.tol) if e.early_stopping else None,
        class_weight=class_weights(
            e.class_weight, rows.y, rows.weight, classes, 0 if sampler else seen, rows.shards
        ),
        coefficients=epoch_coefficients if balanced else row_coefficients,
        augment=e.augment,
        views=getattr(encoder, "views", None),
        track=expand_track(e.track),
        device=device,
        dtype=dtype,
        bfloat16_flops=_bfloat16_flops(e.precision, dtype, device),
        tf32=allows_tf32(e.precision),
        compile=e.compile,
        verbose=bool(e.verbose),
        seed=seed,
        **course,
    )
    return settings._replace(uniformity=_with_shares(settings, rows))


def _with_shares(settings: Settings, rows: Rows) -> Uniformity:
    """Return the measure with the classes' shares in these rows, if it asks for them.

    Raises
    ------
    ValueError
        If the shares are not known, or do not fit the classes.
    """
    measure, n_classes = settings.uniformity, len(settings.class_weight)
    if measure.prior is None:
        return measure
    measure.check()
    if isinstance(measure.prior, str):
        shares = _shares_of(settings, rows)
    else:
        shares = log_shares(measure.prior, torch.empty(n_classes, 0, dtype=torch.float64)).exp()
        shares = to_numpy(shares)
        if not shares.all():
            raise ValueError(
                f"prior={measure.prior!r}: a class of share 0 would have no rows. Pass numbers "
                "above 0, or 'train'."
            )
    return clone(measure).set_params(prior=shares)


def _shares_of(settings: Settings, rows: Rows) -> np.ndarray:
    """Return the classes' shares in what is trained on, as the rows count there."""
    if settings.sampler is not None:
        raise ValueError(
            "prior='train' takes the classes' shares in the rows, and batch_sampler draws classes "
            "alike: leave one of them out."
        )
    counted = settings._replace(uniformity=MHE()).counts(rows)
    totals = rows.shards.total(np.bincount(rows.y, counted, len(settings.class_weight)))
    return totals / totals.sum()


def _course(
    estimator: Any, sampler: BalancedOrder | None, n_rows: int, members: int
) -> dict[str, Any]:
    """Return how training goes, batch by batch and epoch by epoch."""
    batch_size, max_epochs, schedule = (
        getattr(estimator, name) for name in ("batch_size", "max_epochs", "schedule")
    )
    if sampler is not None:
        batch_size, n_rows = sampler.batch_size, len(sampler)
    elif batch_size == "auto":
        batch_size = default_batch_size(n_rows, members)
    n_batches = len(batch_bounds(n_rows, batch_size))
    if max_epochs == "auto":
        max_epochs = default_max_epochs(n_batches, members)
    if isinstance(schedule, str) and schedule == "auto":
        schedule = "cycles" if members > 1 and not estimator.early_stopping else "cosine"
    in_cycles = isinstance(schedule, str) and schedule == "cycles"
    return {
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "schedule": SCHEDULES.get(schedule, schedule),
        "cycle_ends": tuple(cycle_ends(max_epochs, n_batches)) if in_cycles else (),
    }


def default_components(n_classes: int) -> int:
    """Components in which the simplex just fits, or as many as the proxies' memory allows."""
    most = max(PROXY_NUMBERS // n_classes, FEWEST_OF_MANY)
    return min(max(n_classes - 1, 2), most)


def default_batch_size(n: int, members: int = 1) -> int:
    """Rows per batch: a 128th of the data, or a 64th, as a power of two between bounds."""
    part, bounds = (128, BATCH) if members == 1 else (64, BATCH_OF_MEMBERS)
    return int(np.clip(2 ** round(math.log2(max(n / part, 1))), *bounds))


def default_max_epochs(steps_per_epoch: int, members: int = 1) -> int:
    """Epochs for about so many steps, between bounds.

    It depends on the number of steps and not of rows: integer weights and repeated rows then
    train alike.
    """
    if members > 1:
        return int(np.clip(round(STEPS_OF_MEMBERS / steps_per_epoch), *EPOCHS_OF_MEMBERS))
    return int(np.clip(math.ceil(STEPS / steps_per_epoch), *EPOCHS))


def default_decay(optimizer: Any, input_shape: tuple[int, ...]) -> float | None:
    """Return an optimizer's own weight decay, or a share of it where there are few features.

    A strong decay keeps a network close to a linear map. That is a good prior for the hundreds
    of correlated values of an image, and a bad one for a few features, where the boundaries
    between classes are curved.
    """
    decay = default_weight_decay(optimizer)
    few = len(input_shape) == 1 and input_shape[0] < FEW_FEATURES
    return decay * DECAY_OF_FEW if decay is not None and few else decay


def class_weights(
    class_weight: Any,
    y: np.ndarray,
    weight: np.ndarray,
    classes: np.ndarray,
    drawn: float,
    shards: Alone = ALONE,
) -> np.ndarray:
    """Return the weights of the classes, of mean 1.

    Those of ``"balanced"`` are of the classes' means, and make up for the batches of ``drawn`` rows
    in which a class does not occur; 0 is for batches that know of the classes. Rows of other
    ``shards`` count as well.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):  # "balanced", by the weights and not the rows
        total = shards.total(np.bincount(y, weight, len(classes)))
        known = total > 1e-300 * total.max()  # declared classes may have no row yet
        values = np.where(known, 1.0, 0.0)
        if drawn:
            # 1 - (1 - share)^drawn, exact for the smallest shares too.
            share = np.minimum(total / total.sum(), 1 - 1e-12)
            occurs = -np.expm1(drawn * np.log1p(-share))
            np.divide(values, occurs, out=values, where=known)
        return values / values[known].mean()
    values = compute_class_weight(class_weight, classes=classes, y=classes[y])
    values = np.ldexp(values, -np.frexp(values.max())[1])  # sums of 1e308 overflow
    if not (np.all(values >= 0) and np.isfinite(values).all() and values.any()):
        raise ValueError(
            f"class_weight={class_weight!r}: weights must be finite, 0 or more, and one above 0."
        )
    return values / values.mean()


def _for_sparse(encoder: Any, estimator: Any, n_features: int) -> Any:
    """Return an encoder with what was left open as sparse rows ask for it.

    Raises
    ------
    ValueError
        If it takes no sparse rows.
    """
    if isinstance(encoder, Vectors):
        raise ValueError(
            "encoder=Vectors() takes dense rows: pass X.toarray(), or encoder='mlp' to keep them."
        )
    if type(encoder) is not MLP:
        return encoder
    encoder = clone(encoder)
    if isinstance(estimator.encoder, str) and estimator.encoder == "auto":
        members = MEMBERS if n_features <= MOST_FEATURES_OF_MEMBERS else 1
        encoder.set_params(
            hidden_layer_sizes=HIDDEN_OF_SPARSE, members=estimator._members or members
        )
    if encoder.softness is None:
        encoder.set_params(softness=SOFTNESS)
    return encoder


def _encoder(estimator: Any, rows: Rows, whole: bool, fitted: SphereEncoder | None) -> Any:
    """Return the encoder of an estimator; what it leaves to the estimator is settled.

    Rows of which more may follow are too few to be taken for vectors by their looks.

    Raises
    ------
    ValueError
        If it does not suit the rows, or the fitted model that training goes on from.
    """
    sparse = isinstance(rows.X, CompressedRows)
    flat = len(rows.sample_shape) == 1 and rows.expand is None and not sparse
    looks = whole and flat and fitted is None and rows.shards.size == 1
    encoder = expand_encoder(
        estimator.encoder, rows.sample_shape, lambda: looks and are_vectors(rows.X)
    )
    if sparse:
        encoder = _for_sparse(encoder, estimator, rows.X.shape[1])
    if fitted is not None:
        encoder = _as_fitted(encoder, fitted.spec)
    if isinstance(encoder, Vectors):
        encoder.check(rows.sample_shape)
    settled = {"members": estimator._members, "head": estimator._head}
    silent = {
        name: value
        for name, value in settled.items()
        if value is not None
        and isinstance(encoder, Encoder)
        and getattr(encoder, name, value) is None
    }
    return clone(encoder).set_params(**silent) if silent else encoder


def _as_fitted(encoder: Any, fitted: Any) -> Any:
    """Return the encoder that a fitted one goes on as: a head on vectors stays one, of its kind."""
    if isinstance(fitted, Vectors):
        same = isinstance(encoder, Vectors) and encoder.head in (None, fitted.head)
        return encoder if same else fitted
    if isinstance(encoder, Vectors):
        raise ValueError(
            "encoder=Vectors(), and the fitted model is a network: it goes on as one. Fit a new "
            "model, with warm_start=False, or set encoder back."
        )
    return encoder


def _own_values(encoder: Any, estimator: Any, crowded: bool) -> dict[str, Any]:
    """Return an encoder's own values for what may be left open."""
    if not isinstance(encoder, Vectors):
        return OF_CROWDED if crowded else {}
    own = dict(OF_VECTORS[encoder.head])
    given_proxies = not isinstance(estimator.proxies, str | Learned | Nested | Optimal)
    if encoder.head == "search" and (given_proxies or estimator.early_stopping):
        own["max_epochs"] = EPOCHS_OF_SEARCH
    return own


def _with_values(estimator: Any, own: dict[str, Any]) -> Any:
    """Return an estimator with these values, or the usual ones, for what was left open."""
    left = {name: v for name, v in {**USUAL, **own}.items() if _is_open(getattr(estimator, name))}
    # Not copy.copy: that packs the fitted module as for a pickle.
    settled = object.__new__(type(estimator))
    vars(settled).update({**vars(estimator), **left})
    return settled


def is_closed_form(settings: Settings) -> bool:
    """Whether all that an encoder learns of a stream is solved for: there is no epoch to train."""
    encoder = settings.encoder
    return isinstance(encoder, Vectors) and (
        encoder.head == "discriminant" or settings.max_epochs == 0
    )


def _is_open(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value == "auto")


def _default_width(encoder: Any, shape: tuple[int, ...], n_classes: int) -> int:
    if isinstance(encoder, Vectors) and encoder.head == "search":
        return shape[0]
    return default_components(n_classes)


def _crowded(encoder: Any, rows: Rows, n_classes: int, n_components: int) -> bool:
    """Whether classes crowd, as far as that changes defaults.

    The width of a module of the user's own is not known yet; sparse rows, in which classes
    overlap, were not measured.
    """
    able = isinstance(encoder, Encoder) and not isinstance(rows.X, CompressedRows)
    return able and are_crowded(n_classes, n_components)


def _members(encoder: Any, fitted: SphereEncoder | None, shape: tuple[int, ...]) -> int:
    if fitted is not None:
        return fitted.n_members
    return checked_members(encoder, shape) if isinstance(encoder, Encoder) else 1


def _proxies(value: Any) -> tuple[Learned | Optimal | np.ndarray, tuple[Prefix, ...]]:
    """Return what proxies are, and the prefixes of the components that are trained too."""
    if isinstance(value, Nested):
        check_instances(value.get_params(deep=False))
        return _proxies(inner_proxies(value))[0], checked_prefixes(value)
    if isinstance(value, str) and value == "optimal":
        return Optimal(), ()
    proxies = expand("proxies", value)
    if not isinstance(proxies, Learned):
        return np.asarray(proxies, dtype=np.float64), ()
    share = proxies.momentum
    if not (share is None or (isinstance(share, Real) and 0 < share < 1)):
        raise ValueError(f"Learned: momentum={share!r}: pass None or a share in (0, 1), as 0.97.")
    rate = proxies.learning_rate
    if not (rate is None or (isinstance(rate, Real) and 0 < rate < math.inf)):
        raise ValueError(
            f"Learned: learning_rate={rate!r}: pass None or a finite number above 0, as 0.02."
        )
    return proxies, ()


def _prepared_shape(fitted: SphereEncoder | None, encoder: Any, rows: Rows) -> tuple[int, ...]:
    """Return the shape of a row as the encoder's body takes it."""
    if fitted is not None:
        return fitted.prepared_shape
    image_shape = encoder.image_shape if isinstance(encoder, Encoder) else None
    layout = Layout.of_rows(rows.X.shape[1:], image_shape)
    return layout.channels_first if layout else rows.sample_shape


def _bfloat16_flops(precision: str, dtype: torch.dtype, device: torch.device) -> float:
    """Operations of a step from which on the encoder's training steps run in bfloat16."""
    if precision != "auto":
        return 0.0 if precision == "bfloat16" else math.inf
    able = dtype == torch.float32 and has_bfloat16(device)
    return LAUNCH_BOUND_FLOPS if able else math.inf
