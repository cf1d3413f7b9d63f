"""Training: one loop for the peers, HUGClassifier for ours, and what both leave behind.

Network, its initial weights, input standardisation, batches, optimizer and schedule are the same:
the loop takes them from skhug, and only the loss is the peer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from _internals import (
    Batches,
    Rows,
    build_encoder,
    default_batch_size,
    default_max_epochs,
    draw_seed,
    place_rows,
    split_rows,
)
from sklearn.base import clone
from torch import Tensor, nn

from skhug import HUGClassifier
from skhug.encoders import Encoder
from skhug.optimizers import SCHEDULES, AdamW, flatten, make_stepper

PATIENCE = 10  # epochs without a better validation score, as HUGClassifier's default
HELD_OUT = 0.1  # of the training rows, for early stopping


class Budget(NamedTuple):
    """What every contender trains: network, embedding's width, batches, epochs, augmentation."""

    encoder: Encoder
    n_components: int = 64
    batch_size: int | str = "auto"
    epochs: int | str = "auto"
    augment: Any = None


class Model:
    """A trained network and what turns its outputs into scores.

    Parameters
    ----------
    prepare, body : Module
        From raw rows to the network's input, and from that to outputs.
    scores : callable
        From outputs, (n, width), to scores, (n, n_classes); the largest is the class.
    temperature : float
        By which scores are divided where they become probabilities.
    """

    def __init__(
        self,
        prepare: nn.Module,
        body: nn.Module,
        scores: Callable[[Tensor], Tensor],
        temperature: float = 1.0,
    ) -> None:
        self.prepare, self.body, self.scores = prepare, body, scores
        self.temperature = temperature

    def outputs(self, X: Tensor) -> Tensor:
        """Return the network's outputs for raw rows, differentiable in these."""
        return self.body(self.prepare(X))

    @torch.no_grad()
    def decision(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of raw rows, (n, n_classes), block by block."""
        blocks = torch.from_numpy(X).split(512)
        return torch.cat([self.scores(self.outputs(block)) for block in blocks]).numpy()

    @torch.no_grad()
    def embed(self, X: np.ndarray) -> np.ndarray:
        """Return the outputs of raw rows as unit vectors."""
        blocks = torch.from_numpy(X).split(512)
        return torch.cat([nn.functional.normalize(self.outputs(b)) for b in blocks]).numpy()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the class index of every row."""
        return self.decision(X).argmax(1)


def fit_hug(
    budget: Budget,
    X: np.ndarray,
    y: np.ndarray,
    seed: int,
    n_classes: int,
    *,
    softness: float | None = None,
    **params: Any,
) -> HUGClassifier:
    """Fit ours and keep the estimator, which has probabilities; the width is its default.

    ``softness`` takes the place of the encoder's.
    """
    encoder = budget.encoder
    if softness is not None:
        encoder = clone(encoder).set_params(softness=softness)
    return HUGClassifier(
        encoder,
        batch_size=budget.batch_size,
        max_epochs=budget.epochs,
        augment=budget.augment,
        random_state=seed,
        **params,
    ).fit(X, y)


def probabilities(model: Any, X: np.ndarray) -> np.ndarray:
    """Return ours as fitted, or the softmax of a peer's scores over its temperature."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return (torch.from_numpy(model.decision(X)) / model.temperature).softmax(1).numpy()


def train_hug(
    budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, **params: Any
) -> Model:
    """Train ours with these parameters of HUGClassifier; all classes occur in ``y``."""
    params = {"n_components": budget.n_components, **params}
    model = fit_hug(budget, X, y, seed, n_classes, **params)
    proxies = torch.from_numpy(model.proxies_)
    return Model(model.module_.prepare, model.module_.body, _Cosines(proxies))


class _Cosines:
    """Cosines to fixed points, as an object that pickles."""

    def __init__(self, points: Tensor) -> None:
        self.points = points

    def __call__(self, outputs: Tensor) -> Tensor:
        return nn.functional.normalize(outputs) @ self.points.T


def train_peer(
    loss: Callable[..., nn.Module],
    budget: Budget,
    X: np.ndarray,
    y: np.ndarray,
    seed: int,
    n_classes: int,
    *,
    learning_rate: float,
    weight_decay: float,
    early_stopping: bool = False,
    after_epoch: Callable[[int, Model], None] | None = None,
    **own: Any,
) -> Model:
    """Train the same network with a peer's loss.

    Parameters
    ----------
    loss : callable
        A class of :mod:`evidence.losses`.
    budget : Budget
        What is trained, and how long.
    X : ndarray of shape (n, ...)
        Raw rows.
    y : ndarray of shape (n,)
        Class indices below ``n_classes``.
    seed : int
        Of the weights and the batches.
    learning_rate, weight_decay : float
        Of AdamW; biases and class vectors do not decay.
    early_stopping : bool
        Whether a tenth of the rows is held out, whose accuracy chooses the epoch.
    after_epoch : callable, optional
        Called with the number of epochs done and the model as it is.
    **own : Any
        The loss's own parameters.
    """
    seed = draw_seed(seed)  # as HUGClassifier makes its own of random_state
    torch.manual_seed(seed)
    rows = Rows(X, y.astype(np.int64), np.ones(len(y), np.float32))
    rows, held_out = split_rows(rows, HELD_OUT, seed) if early_stopping else (rows, None)
    counts = torch.bincount(torch.from_numpy(rows.y), minlength=n_classes).float()
    criterion = loss(n_classes, budget.n_components, counts, **own)
    torch.manual_seed(seed)  # the weights do not depend on what the loss has drawn
    network = build_encoder(budget.encoder, criterion.width, rows.X, rows.weight)
    temperature = getattr(criterion, "temperature", 1.0)
    model = Model(network.prepare, network.body, criterion.scores, temperature)
    batches = _batches(network, budget, rows, n_classes)
    epochs = default_max_epochs(len(batches)) if budget.epochs == "auto" else budget.epochs
    best = _BestEpoch(model, criterion, held_out)
    rates = (learning_rate, weight_decay)
    for epoch in _epochs(network.body, criterion, batches, epochs, *rates, seed):
        if after_epoch is not None:
            after_epoch(epoch, model)
        if best.update():
            break
    best.restore()
    network.body.eval()
    with torch.no_grad():
        outputs = torch.cat([model.outputs(b) for b in torch.from_numpy(rows.X).split(512)])
        criterion.finish(outputs, torch.from_numpy(rows.y))
    return model


def _batches(network: nn.Module, budget: Budget, rows: Rows, n_classes: int) -> Batches:
    size = default_batch_size(len(rows.y)) if budget.batch_size == "auto" else budget.batch_size
    placed, prepare = place_rows(network.prepare, rows.X, budget.augment, torch.device("cpu"))
    y, weight = torch.from_numpy(rows.y), torch.from_numpy(rows.weight)
    return Batches(placed, y, weight, torch.ones(n_classes), size, prepare)


def _epochs(body, criterion, batches, epochs, learning_rate, weight_decay, seed):
    """Train epoch by epoch with a cosine schedule; yield the number done, the body in eval."""
    segments = flatten(
        [(p, learning_rate, weight_decay if p.ndim > 1 else 0.0) for p in body.parameters()]
        + [(p, learning_rate, 0.0) for p in criterion.parameters()]
    )
    stepper = make_stepper(AdamW(), segments)
    generator = torch.Generator().manual_seed(seed)
    step, horizon = 0, epochs * len(batches)
    for epoch in range(1, epochs + 1):
        body.train()
        for X, y, _ in batches.epoch(generator):
            for segment in segments:
                segment.gradients.zero_()
            criterion(body(X), y).backward()
            stepper.step(SCHEDULES["cosine"](step / horizon))
            step += 1
        body.eval()
        yield epoch


class _BestEpoch:
    """The weights with the best accuracy on held-out rows; without such rows the last ones."""

    def __init__(self, model: Model, criterion: nn.Module, held_out: Rows | None) -> None:
        self.model, self.criterion, self.held_out = model, criterion, held_out
        self.score, self.waited, self.saved = -1.0, 0, None

    def _tensors(self) -> list[Tensor]:
        modules = (self.model.body, self.criterion)
        return [t for m in modules for t in (*m.parameters(), *m.buffers())]

    def update(self) -> bool:
        """Score the epoch; true if it is time to stop."""
        if self.held_out is None:
            return False
        score = float(np.mean(self.model.predict(self.held_out.X) == self.held_out.y))
        self.waited = 0 if score > self.score else self.waited + 1
        if score > self.score:
            self.score, self.saved = score, [t.detach().clone() for t in self._tensors()]
        return self.waited >= PATIENCE

    def restore(self) -> None:
        """Put the best weights back."""
        for tensor, saved in zip(self._tensors(), self.saved or [], strict=False):
            tensor.data.copy_(saved)
