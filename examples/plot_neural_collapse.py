"""
Neural collapse, and what comes after it
========================================

Trained long enough, a classifier's embeddings collapse to their class means, and the class means
to the simplex: the arrangement in which all are equally far apart. It only exists for up to
``n_components + 1`` classes. The hyperspherical uniformity gap has an optimum beyond.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skhug import HUGClassifier
from skhug.metrics import hyperspherical_energy, neural_collapse_report, optimal_energy
from skhug.proxies import optimal_proxies

X, y = load_digits(return_X_y=True)

# %%
# Ten classes in nine dimensions
# ------------------------------
# Here the simplex fits. ``track`` measures the geometry after every epoch; the proxies are
# learned, so that they have to find the simplex themselves.
TRACK = ("nc", "simplex_distance", "energy")
settings = {"proxies": "learned", "max_epochs": 40, "track": TRACK, "random_state": 0}
simplex = HUGClassifier(n_components=9, **settings).fit(X, y)
report = neural_collapse_report(simplex, X, y)
print("Ten classes in nine dimensions")
print(report)

# %%
# Ten classes in three dimensions
# -------------------------------
# Now C > d + 1. The distance to the simplex cannot reach 0: the best there is for class means of
# rank 3 is 0.919, and the report says so. The energy still has a minimum. For ten points on the
# sphere it is known from searches only, so the report leaves the optimum open, and
# ``optimal_proxies`` gives the best arrangement found.
sphere = HUGClassifier(n_components=3, **settings).fit(X, y)
beyond = neural_collapse_report(sphere, X, y)
print("\nTen classes in three dimensions")
print(beyond)

# %%
# Look
# ----
# Within-class spread falls in both. The distance to the simplex stops at its bound where the
# simplex does not fit, and the energy goes to the least there is.
least = {
    "d = 9": optimal_energy(10, 9),
    "d = 3": hyperspherical_energy(optimal_proxies(10, 3, random_state=0)),
}
models = {"d = 9": simplex, "d = 3": sphere}
colours = {"d = 9": "#0072B2", "d = 3": "#D55E00"}
panels = [
    ("cdnv", "Within-class spread (CDNV)", dict.fromkeys(models, 0.0)),
    (
        "simplex_distance",
        "Distance to the simplex",
        {"d = 9": report.optimum["simplex_distance"], "d = 3": beyond.optimum["simplex_distance"]},
    ),
    ("energy", "Energy of the class means", least),
]
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, (name, title, best) in zip(axes, panels, strict=True):
    for label, model in models.items():
        values = [row[name] for row in model.history_]
        ax.plot(np.arange(1, len(values) + 1), values, color=colours[label], label=label)
        if name != "cdnv":  # whose optimum, 0, is not on a logarithmic axis
            ax.axhline(best[label], color=colours[label], linestyle=":", linewidth=1.5)
    ax.set(title=title, xlabel="epoch")
axes[0].set_yscale("log")
axes[0].legend(title="10 classes")
axes[1].annotate("dotted: the optimum", (0.97, 0.5), xycoords="axes fraction", ha="right")
axes[2].set_ylim(3.8, 8)

target = Path("plot_neural_collapse.png")
figure.savefig(target, dpi=120)
print(f"\nPicture written to {target}")
