"""
Pictures
========

Write every picture of ``skhug.plotting`` to a folder: ``python examples/pictures.py DIR``.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhug import HUGClassifier, HUGEmbedder
from skhug.plotting import (
    AngleDisplay,
    GramDisplay,
    HistoryDisplay,
    RetrievalDisplay,
    SphereDisplay,
    VerificationDisplay,
)

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures").resolve()
folder.mkdir(parents=True, exist_ok=True)
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
test = X_test, y_test


def save(name, display):
    display.figure_.savefig(folder / f"{name}.png", dpi=120)
    print(folder / f"{name}.png")


# %%
# Ten classes fit the simplex in nine components.
model = HUGEmbedder(early_stopping=True, random_state=0).fit(X_train, y_train)
save("history", HistoryDisplay.from_estimator(model))
save("projection", SphereDisplay.from_estimator(model, *test))
save("gram", GramDisplay.from_estimator(model, *test))
save("angles", AngleDisplay.from_estimator(model, *test))
save("verification", VerificationDisplay.from_estimator(model, *test))

# %%
# On the sphere, to look at and to turn, and on the circle they crowd, and some are confused.
sphere = HUGClassifier(n_components=3, random_state=0).fit(X_train, y_train)
display = SphereDisplay.from_estimator(sphere, *test)
save("sphere", display)
print(display.to_html(folder / "sphere.html"))
gallery = {"gallery": X_train, "gallery_labels": y_train}
save("retrieval", RetrievalDisplay.from_estimator(sphere, *test, **gallery, n_queries=7, k=8))
circle = HUGClassifier(n_components=2, random_state=0).fit(X_train, y_train)
save("circle", SphereDisplay.from_estimator(circle, *test))
save("angles_circle", AngleDisplay.from_estimator(circle, *test))

# %%
# In five components the ten classes are the corners of a cross-polytope.
polytope = HUGClassifier(n_components=5, random_state=0).fit(X_train, y_train)
save("gram_cross_polytope", GramDisplay.from_estimator(polytope, *test))
save("angles_cross_polytope", AngleDisplay.from_estimator(polytope, *test))
