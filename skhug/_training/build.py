"""From settings and rows to an objective and its batches, ready to train."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from skhug._data.batches import Batches
from skhug._data.folds import NO_FOLD, left_out_weights
from skhug._data.image_layout import Layout
from skhug._data.parted_batches import coefficients_of_shards, parted
from skhug._data.placement import place_rows
from skhug._data.prepare import prepare_images, prepare_rows
from skhug._data.rows import Rows, Task
from skhug._data.sparse_prepare import prepare_sparse
from skhug._data.sparse_rows import dense_blocks
from skhug._defaults import Settings
from skhug._device import to_numpy, to_tensor
from skhug._distributed.group import ALONE, Alone
from skhug._model.calibration import calibration_rows
from skhug._model.embedding import device_of, raw_blocks
from skhug._model.sphere_encoder import SphereEncoder
from skhug._parameters import SHORTHANDS
from skhug._process import FLOPS_A_FUNCTION, threads_for
from skhug._sparse import CompressedRows, SparseRows
from skhug._sphere import unit
from skhug._training.continuing import Earlier, continued_encoder
from skhug._training.following import ClassFollower
from skhug._training.frozen import Stage
from skhug._training.objective import Objective
from skhug._training.vector_start import VectorStart
from skhug.encoders import Encoder, Vectors
from skhug.encoders._encoder import build_body, checked_softness
from skhug.encoders._probing import output_width
from skhug.losses import MHE, MHS, HUGLoss, Uniformity
from skhug.losses._measures import BUILT_IN_MEASURES
from skhug.losses._nested import Prefix
from skhug.proxies import Learned, optimal_proxies, random_proxies
from skhug.proxies._assignment import MOST_CLASSES, similar_to_near
from skhug.proxies._choice import Optimal, code_of_many
from skhug.proxies._nested import all_prefixes, nested_arrangement, side_by_side
from skhug.proxies._phase_code import PhaseCode

__all__ = ["build_batches", "build_model", "build_objective"]

# Features that tell which classes are alike.
_CENTRE_FEATURES = 4096
# Encoders whose modules are built from their parameters again: those that have a name.
_REBUILT = tuple(SHORTHANDS["encoder"].values())


def build_model(
    settings: Settings, task: Task, earlier: Earlier | None = None, group: Alone = ALONE
) -> tuple[SphereEncoder, Tensor | PhaseCode, VectorStart | None]:
    """Return encoder and proxies, with new weights or going on from a copy of the fitted.

    Last is the closed form that a head on vectors starts from. Of several processes the first
    searches for an arrangement of proxies.
    """
    if isinstance(settings.encoder, Vectors):
        return start_vectors(settings, task, earlier, group)
    if earlier is not None:
        encoder = continued_encoder(earlier, settings.encoder, task.rows)
        return encoder, earlier.points, None
    encoder = build_encoder(settings, task.rows)
    proxies = initial_proxies(settings, encoder, task.rows, len(task.classes), group)
    return encoder, proxies, None


def build_objective(
    settings: Settings, encoder: SphereEncoder, proxies: Tensor | PhaseCode
) -> Objective:
    """Return encoder, proxies and loss, and what training calls for the encoder's body."""
    learned = isinstance(settings.proxies, Learned)
    if isinstance(proxies, PhaseCode) and (learned or not _names_single_proxies(settings)):
        proxies = proxies.whole()  # of a fitted model that goes on with other parameters
    device, dtype = device_of(encoder), encoder.prepare.dtype
    loss = HUGLoss(
        _on_device(settings.uniformity, device, dtype),
        settings.alpha,
        settings.beta,
        attached=learned and settings.proxies.attached,
    )
    objective = Objective(
        encoder,
        proxies.to(device, dtype),
        loss,
        learned,
        all_prefixes(settings.prefixes, encoder.n_components),
    )
    if learned and settings.proxies.momentum is not None:
        objective.follow = ClassFollower(objective.proxies, float(settings.proxies.momentum))
    objective.train_through(_training_body(settings, objective))
    return objective


def _on_device(measure: Uniformity, device: torch.device, dtype: torch.dtype) -> Uniformity:
    """Return a measure whose shares lie where it is computed: no step has to bring them there."""
    if measure.prior is None:
        return measure
    return clone(measure).set_params(prior=to_tensor(measure.prior, device, dtype))


def build_batches(
    settings: Settings,
    stage: Stage,
    objective: Objective,
    folds: np.ndarray | None = None,
    group: Alone = ALONE,
) -> Batches:
    """Return the training rows in batches, on the device or streamed to it.

    Of several processes each gets its part of every batch.
    """
    rows, encoder = stage.task.rows, objective.encoder
    device, dtype = device_of(encoder), encoder.prepare.dtype
    y = to_tensor(rows.y, device)
    weight = rows.weight / rows.heaviest
    if folds is not None:
        weight = left_out_weights(weight, folds, encoder.n_members)
    weight, class_weight = (
        to_tensor(array, device, dtype) for array in (weight, settings.class_weight)
    )
    with threads_for(FLOPS_A_FUNCTION * math.prod(stage.shown.shape), device):
        X, prepare = place_rows(encoder.prepare, stage.shown, stage.augment, device)
    return parted(group, settings.seed)(
        X,
        y,
        weight,
        class_weight,
        settings.batch_size,
        prepare,
        settings.sampler,
        coefficients_of_shards(settings.coefficients, rows.shards),
        None if folds is None else torch.from_numpy(folds - NO_FOLD),
    )


def start_vectors(
    settings: Settings, task: Task, earlier: Earlier | None, group: Alone
) -> tuple[SphereEncoder, Tensor, VectorStart]:
    """Return the encoder and the proxies that a head on vectors starts from, and the start.

    The closed form is of these rows and of those that came before. What training learned of the
    fitted model goes on: its proxies and, of search, the map.
    """
    n_classes = len(task.classes)
    if earlier is None:
        start = VectorStart(settings, task.rows, n_classes)
        encoder = start.encoder()
        start.draw_nearer(encoder)
        points = initial_proxies(settings, encoder, task.rows, n_classes, group)
    else:
        module, points = earlier.module, earlier.points
        settings = settings._replace(n_components=module.n_components, device=device_of(module))
        if earlier.seen is not None:  # a stream keeps what its first rows chose
            settings = settings._replace(encoder=_filled(settings.encoder, module.spec))
        start = VectorStart(settings, task.rows, n_classes, earlier.seen)
        encoder = start.continued(module)
        if start.new_classes.any() and _searches(settings.encoder):
            centres = torch.from_numpy(class_centres(encoder, task.rows, n_classes))
            points[start.new_classes] = centres[start.new_classes].to(points.dtype)
    start.aim(encoder, points)
    return encoder, points, start


def _filled(spec: Vectors, fitted: Vectors | None) -> Vectors:
    """Return a specification with a fitted one's values for what it leaves open."""
    values = {} if fitted is None else fitted.get_params(deep=False)
    left = {name: value for name, value in values.items() if getattr(spec, name) is None}
    return clone(spec).set_params(**left)


def build_encoder(settings: Settings, rows: Rows) -> SphereEncoder:
    """Return the module of an ``encoder`` parameter on its device, weights newly drawn.

    Raises
    ------
    ValueError
        If the module's output does not fit ``n_components``.
    """
    encoder, width, device = settings.encoder, settings.n_components, settings.device
    spec = encoder if isinstance(encoder, Encoder) else None
    shape = rows.sample_shape
    layout = Layout.of_rows(rows.X.shape[1:], spec.image_shape if spec else None)
    standardize = spec.standardize if spec else False
    taken = layout.channels_first if layout else shape
    body = build_body(encoder, taken, width).to(device=device, dtype=settings.dtype)
    if layout is None and isinstance(rows.X, CompressedRows):
        prepare = prepare_sparse(
            rows.X, rows.weight, standardize, device, settings.dtype, rows.shards
        )
    elif layout is None:
        stretch = spec.stretch_for(taken, len(settings.class_weight)) if spec else 1.0
        told = rows.X, rows.weight, standardize, device, settings.dtype, rows.shards
        prepare = prepare_rows(*told, expand=rows.expand, stretch=stretch)
    else:
        prepare = prepare_images(
            dense_blocks(rows.X), rows.weight, layout, standardize, settings.dtype, rows.shards
        )
        prepare = prepare.to(device)
    if spec is None:
        with torch.no_grad():
            own = output_width(body, prepare(to_tensor(rows.X[:2], device)))
        if settings.width_given and own != width:
            raise ValueError(
                f"the encoder returns {own} columns and n_components={width}: wrap it "
                f"as Pretrained(module), which gives it a last layer of {width} outputs, "
                "or leave n_components=None."
            )
        width = own
    rebuilt = clone(spec) if type(spec) in _REBUILT else None
    softness = checked_softness(spec, taken) if spec else 0.0
    return SphereEncoder(prepare, body, rows.X.shape[1:], width, rebuilt, softness)


def initial_proxies(
    settings: Settings,
    encoder: SphereEncoder,
    rows: Rows,
    n_classes: int,
    group: Alone = ALONE,
) -> Tensor | PhaseCode:
    """Return the proxies that are fixed, or that training starts from, for these rows.

    Raises
    ------
    ValueError
        If an array of proxies has another shape, or a row that points nowhere.
    """
    proxies, uniformity, seed = settings.proxies, settings.uniformity, settings.seed
    n_components = encoder.n_components
    prefixes = all_prefixes(settings.prefixes, n_components)
    if isinstance(proxies, Optimal):
        code = code_of_many(n_classes, n_components) if _names_single_proxies(settings) else None
        if code is not None:
            return code
        points = group.first(lambda: best_points(n_classes, n_components, prefixes, uniformity))
        return place_classes(points, encoder, rows, seed, prefixes)
    if isinstance(proxies, Learned) and _searches(settings.encoder):
        return torch.from_numpy(class_centres(encoder, rows, n_classes))
    if isinstance(proxies, Learned):
        return random_proxies(n_classes, n_components, random_state=seed)
    if proxies.shape != (n_classes, n_components):
        raise ValueError(
            f"proxies has shape {proxies.shape}: pass one row for each of the {n_classes} classes "
            f"and one column for each of the {n_components} components."
        )
    shortest = proxies[:, : prefixes[0].width if prefixes else None]
    if not (np.isfinite(proxies).all() and shortest.any(axis=1).all()):
        where = f" in its first {prefixes[0].width} columns" if prefixes else ""
        raise ValueError(
            f"proxies must be finite and no row may be zero{where}: it points nowhere."
        )
    # Each by its largest number first: squares of 1e-200 or 1e200 are none.
    return unit(torch.as_tensor(proxies / np.abs(proxies).max(axis=1, keepdims=True)))


def _names_single_proxies(settings: Settings) -> bool:
    """Whether training asks for the proxies of some classes alone, never for all of them."""
    measure = settings.uniformity
    pulls = type(measure) in BUILT_IN_MEASURES and not measure.repulsion
    return pulls and not settings.prefixes and not isinstance(settings.encoder, Vectors)


def best_points(
    n_classes: int, n_components: int, prefixes: tuple[Prefix, ...], uniformity: Uniformity
) -> Tensor:
    """Return the best arrangement known, by the measure's own criterion where there is one."""
    s = uniformity.s if isinstance(uniformity, MHE) else 2.0
    if prefixes:
        return nested_arrangement(n_classes, prefixes, s)
    criterion = "separation" if isinstance(uniformity, MHS) else "energy"
    # One seed for all fits, so that a process searches once: no outcome is better than another.
    return optimal_proxies(n_classes, n_components, s, criterion=criterion, random_state=0)


def _searches(encoder: Any) -> bool:
    """Whether an encoder's rows lie by their classes already, so that proxies start there."""
    return isinstance(encoder, Vectors) and encoder.head == "search"


def place_classes(
    points: Tensor,
    encoder: SphereEncoder,
    rows: Rows,
    seed: int,
    prefixes: tuple[Prefix, ...] = (),
) -> Tensor:
    """Return the points in an order in which classes with similar rows get near ones.

    Points are near by the sum of their cosines in all ``prefixes``, if there are any.
    Nothing changes where all orders are alike, as those of the simplex, or too many.
    """
    n_classes, n_components = len(points), prefixes[0].width if prefixes else points.shape[1]
    if not n_components + 1 < n_classes <= MOST_CLASSES:
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        centres = class_centres(encoder, rows, n_classes)
    if not np.isfinite(centres).all():  # a module that takes rows as they are, of 1e308
        return points
    seen = side_by_side(points, prefixes) if prefixes else points
    return points[torch.from_numpy(similar_to_near(to_numpy(seen), centres, seed))]


def class_centres(encoder: SphereEncoder, rows: Rows, n_classes: int) -> np.ndarray:
    """Return the mean of each class's prepared rows, flat; without rows, the mean of the others.

    They are means over a fixed draw where there are many rows, and of every few features where
    there are many of these.
    """
    rows = rows.drawn(calibration_rows(rows.n_all, n_classes))
    weight = rows.weight / rows.heaviest
    count = rows.shards.total(np.bincount(rows.y, weight, minlength=n_classes))
    total, start = 0.0, 0
    for raw in raw_blocks(rows.X, encoder.prepare.block_rows, device_of(encoder)):
        with torch.no_grad():
            prepared = encoder.prepare(raw)
        step = math.ceil(math.prod(prepared.shape[1:]) / _CENTRE_FEATURES)
        if isinstance(prepared, SparseRows):
            prepared = prepared.to_dense(step)
        else:
            prepared = prepared.flatten(1)[:, ::step]
        block = slice(start, start + len(prepared))
        share = np.zeros((n_classes, len(prepared)))
        share[rows.y[block], np.arange(len(prepared))] = weight[block]
        total = total + share @ to_numpy(prepared).astype(np.float64)
        start += len(prepared)
    known, total = count > 0, sum(rows.shards.gather(total))
    means = total / np.where(known, count, 1)[:, None]
    means[~known] = means[known].mean(0)
    return means


def _training_body(settings: Settings, objective: Objective) -> Callable[[Tensor], Tensor]:
    """Return what training calls for the body: itself, compiled, under autocast, or both."""
    body, device = objective.encoder.body, objective.proxies.device
    forward = body.__call__
    if settings.compile and objective.encoder.prepare.keeps_sparse:
        raise ValueError(
            "compile=True is for dense rows, and X is sparse: set compile=False, which trains "
            "sparse rows through sparse products."
        )
    if settings.compile:
        # Batches come in two sizes: two fast programs beat one for any size.
        forward = torch.compile(body, dynamic=False).__call__
    if objective.step_flops(settings.batch_size) >= settings.bfloat16_flops:
        # Every weight is cast once per step: nothing to keep.
        forward = torch.autocast(device.type, torch.bfloat16, cache_enabled=False)(forward)
    return forward
