"""HUGClassifier() with no argument on unscaled tabular data, beside a scaled MLPClassifier.

Accuracy over 5 x 5 cross-validation folds, the same folds for both. Runs in about five minutes:

    python benchmarks/evidence/defaults.py
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhug import HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import mean_and_error, report, show

LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
}


def main() -> None:
    """Score both on every data set."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # MLPClassifier's about convergence
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=0)
    models = {
        "HUGClassifier()": HUGClassifier(random_state=0),
        "StandardScaler + MLPClassifier": make_pipeline(
            StandardScaler(), MLPClassifier(max_iter=1000, random_state=0)
        ),
    }
    results, rows = {}, []
    for name, load in LOADERS.items():
        X, y = load(return_X_y=True)
        scores = {m: cross_val_score(model, X, y, cv=folds) for m, model in models.items()}
        results[name] = {m: mean_and_error(s) for m, s in scores.items()}
        ours, peers = scores.values()
        results[name]["difference"] = mean_and_error(ours - peers)
        rows.append([name, *(show(cell) for cell in results[name].values())])
    means = [sum(results[n][m]["mean"] for n in LOADERS) / len(LOADERS) for m in models]
    results["mean"] = dict(zip(models, means, strict=True))
    rows.append(["mean", *(f"{m:.4f}" for m in means), f"{means[0] - means[1]:.4f}"])
    report("defaults", ["data", *models, "difference"], rows, results)


if __name__ == "__main__":
    main()
