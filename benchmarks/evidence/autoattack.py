"""Question: what stands against AutoAttack, with the models of the question of robustness.

AutoAttack (Croce and Hein 2020) is four attacks that choose their own steps: APGD on cross-entropy,
APGD and FAB on each of the other classes in turn, and Square, which needs no gradient. They run in
its order, each on the rows that still stand, with its numbers of steps, as torchattacks has them
(``pip install torchattacks``, in an environment of its own). Nobody trained on attacked rows.
Settings are chosen on clean validation rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from evidence.data import Split, drawn
from evidence.harness import Lab, as_json, best_peer, comparison, publish
from evidence.robustness import FULL, QUICK, RADIUS, RATES, ROWS, Form

# Those that withstood most there, and cross-entropy.
NAMES = ("cross-entropy", "label smoothing", "HUG mhe -1", "HUG mhe -2")


class _Images(nn.Module):
    """A model's scores of square images with values in [0, 1]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.unused = nn.Parameter(torch.zeros(1))  # torchattacks reads the device from one

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (n, n_classes)."""
        return self.model.scores(self.model.outputs(255 * images.flatten(1)))


def withstands(model: Any, split: Split) -> dict[str, float]:
    """Share of rows that stand all four attacks, and what stood after each of them."""
    X, y = map(torch.from_numpy, drawn(split, ROWS))
    side = round(X.shape[1] ** 0.5)
    images, scores = (X.float() / 255).reshape(-1, 1, side, side), _Images(model).eval()
    with torch.no_grad():
        standing = scores(images).argmax(1) == y
    found = {"clean": float(standing.float().mean())}
    for name, attack in _attacks(scores, split.n_classes).items():
        rows = standing.nonzero()[:, 0]
        if len(rows):
            changed = attack(images[rows], y[rows])
            changed = torch.clamp(changed, images[rows] - RADIUS / 255, images[rows] + RADIUS / 255)
            with torch.no_grad():
                standing[rows] = scores(changed.clamp(0, 1)).argmax(1) == y[rows]
        found[name] = float(standing.float().mean())
    return {"all four": float(standing.float().mean()), **found}


def _attacks(scores: nn.Module, n_classes: int) -> dict[str, Any]:
    """Return AutoAttack's four in its order, with its numbers of steps and queries.

    Raises
    ------
    ModuleNotFoundError
        If torchattacks is not installed.
    """
    try:
        from torchattacks import APGD, APGDT, FAB, Square
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "AutoAttack's four come from torchattacks: pip install torchattacks, in an environment "
            "of its own."
        ) from error
    box = {"norm": "Linf", "eps": RADIUS / 255, "n_restarts": 1, "seed": 0}
    return {
        "APGD": APGD(scores, steps=100, loss="ce", **box),
        "APGD, targeted": APGDT(scores, steps=100, n_classes=n_classes, **box),
        "FAB, targeted": FAB(scores, steps=100, multi_targeted=True, n_classes=n_classes, **box),
        "Square": Square(scores, n_queries=5000, **box),
    }


def ask(lab: Lab) -> None:
    """Train what the question of robustness settled on, and attack."""
    form: Form = QUICK if lab.quick else FULL
    few = {name: form.contenders[name] for name in NAMES if name in form.contenders}
    tuned = lab.tune(few, form.task, form.budget, RATES["mlp"], form.trials)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    final = lab.final(few, chosen, form.task, form.budget, form.seeds, withstands)
    text = (
        f"MNIST, {form.task.rows:,} training rows, {len(form.seeds)} seeds, mean ± standard error, "
        f"{ROWS} test rows, radius {RADIUS} of 255. What stands after each attack stood all "
        f"before it too. The best peer is {best_peer(final, few)}."
    )
    table = comparison("AutoAttack's four", text, final, chosen, "cross-entropy")
    publish(lab, "autoattack", [table], as_json(final, chosen))
