"""
Open set: is it a class the model knows?
========================================

A classifier names one of its classes whatever it is shown. The largest product with a proxy, which
``HUGClassifier.score_samples`` gives, tells how well a row fits any of them; but what the last
layer gives has been drawn onto the proxies, rows of unknown classes too.
:class:`~skhug.novelty.KnownClasses` looks at the layer in front of it, at the distance to the
nearest class's mean. Here on digits held out of training; with ``--data DIR``, a folder with
``omniglot.npz``, on three alphabets of which no character was seen in training.

A plain search is the yardstick: on digits, which are alike within a class, the distance to the
nearest training row in pixels does better still; it keeps all training rows.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

from skhug import HUGClassifier
from skhug.novelty import KnownClasses

UNSEEN_ALPHABETS = ["Greek", "Japanese_(katakana)", "Tagalog"]


def load(folder):
    """Return rows, classes, the groups they belong to, and groupings to hold out in turn."""
    if folder is None:
        X, y = load_digits(return_X_y=True)
        return X, y, y, [[digit] for digit in range(10)] + [[7, 8, 9]]
    with np.load(folder / "omniglot.npz") as file:
        X, y = file["X"], file["y"]  # images: the encoder is a ConvNet
        return X, y, file["alphabet_names"][file["alphabet"]], [UNSEEN_ALPHABETS]


# %%
# Scores
# ------
# Scores that are larger for what looks known: the largest product with a proxy, the largest
# probability, the closeness to a class's mean in the last hidden layer and, without a model, to the
# nearest training row in pixels.


def known_scores(model, X_train, y_train, X):
    return {
        "largest product": model.score_samples(X),
        "largest probability": model.predict_proba(X).max(axis=1),
        "hidden layer": KnownClasses(model).fit(X_train, y_train).score_samples(X),
        "nearest pixels": -distance_to_nearest(pixels(X_train), pixels(X)),
    }


def pixels(X):
    return X.reshape(len(X), -1).astype(np.float32)


def distance_to_nearest(gallery, rows):
    return NearestNeighbors(n_neighbors=1).fit(gallery).kneighbors(rows)[0][:, 0]


def trial(X, y, group, unseen):
    """Train without the unseen groups; return the truth about test rows, and their scores."""
    known = ~np.isin(group, unseen)
    X_train, X_test, y_train, y_test = train_test_split(
        X[known], y[known], stratify=y[known], random_state=0
    )
    model = HUGClassifier(random_state=0).fit(X_train, y_train)
    is_known = np.repeat([True, False], [len(X_test), np.sum(~known)])
    scores = known_scores(model, X_train, y_train, np.concatenate([X_test, X[~known]]))
    return model.score(X_test, y_test), is_known, scores


parser = argparse.ArgumentParser(description="Known against unseen classes.")
parser.add_argument("--data", type=Path, help="folder with omniglot.npz; else bundled digits")
X, y, group, held_out = load(parser.parse_args().data)
print(f"{'unseen':>8}  accuracy on known  ROC AUC by score")
areas = []
for unseen in held_out:
    accuracy, is_known, scores = trial(X, y, group, unseen)
    areas.append({name: roc_auc_score(is_known, score) for name, score in scores.items()})
    shown = "  ".join(f"{name} {area:.3f}" for name, area in areas[-1].items())
    print(f"{','.join(str(u)[:8] for u in unseen):>8}  {accuracy:.3f}  {shown}")
if len(areas) > 1:
    mean = {name: np.mean([area[name] for area in areas]) for name in areas[0]}
    print("Mean ROC AUC: " + ", ".join(f"{name} {area:.3f}" for name, area in mean.items()))

# %%
# Look
# ----
# For the last choice of unseen classes: a threshold on the distance to the nearest class's mean
# trades known rows turned away against unknown ones let in. ``KnownClasses.predict`` applies one.
distance = -scores["hidden layer"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
edges = np.linspace(0, distance.max(), 41)
for mask, name, style in (
    (is_known, "known classes", {"facecolor": "none", "edgecolor": "#0072B2", "hatch": "////"}),
    (~is_known, "unseen classes", {"facecolor": "#D55E00", "alpha": 0.55}),
):
    share = np.full(mask.sum(), 100 / mask.sum())
    left.hist(distance[mask], edges, weights=share, histtype="stepfilled", label=name, **style)
left.set(
    xlabel="Distance to the nearest class in the hidden layer",
    ylabel="Share of the rows (%)",
    title="Test rows of known and of unseen classes",
)
left.legend()
styles = zip(("#D55E00", "#CC79A7", "#0072B2", "#000000"), ("-", "--", "-.", ":"), strict=True)
for (name, score), (colour, dashes) in zip(scores.items(), styles, strict=True):
    let_in, known_let_in, _ = roc_curve(is_known, score)
    label = f"{name}, area {areas[-1][name]:.3f}"
    right.plot(let_in, known_let_in, dashes, color=colour, linewidth=2, label=label)
right.set(
    xlabel="Share of unseen classes' rows let in",
    ylabel="Share of known classes' rows let in",
    title="Every threshold on every score (ROC)",
)
right.legend(loc="lower right")

target = Path("open_set.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
