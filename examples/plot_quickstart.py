"""
Quickstart
==========

Classify, tune, embed and search handwritten digits, on data that scikit-learn bundles.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skhug import HUGClassifier, HUGEmbedder
from skhug.metrics import mean_average_precision_at_r, recall_at_k
from skhug.plotting import RetrievalDisplay, SphereDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Classify
# --------
# No argument is needed, and no scaling.
model = HUGClassifier(random_state=0).fit(X_train, y_train)
print(f"HUGClassifier()            test accuracy {model.score(X_test, y_test):.3f}")

# %%
# Tune
# ----
# The estimators fit into pipelines and grid searches, whose names reach inside: ``s_within`` is
# the dial from robust to wrong labels (-1) to sharp on clean ones (-4).
pipeline = make_pipeline(MinMaxScaler(), HUGClassifier(max_epochs=15, random_state=0))
search = GridSearchCV(
    pipeline,
    {
        "hugclassifier__uniformity__s_within": [-1.0, -4.0],
        "hugclassifier__encoder__hidden_layer_sizes": [(64,), (256, 128)],
    },
    cv=3,
).fit(X_train, y_train)
best = {name.split("__")[-1]: value for name, value in search.best_params_.items()}
print(f"GridSearchCV, 4 candidates test accuracy {search.score(X_test, y_test):.3f}  best: {best}")

# %%
# Search
# ------
# Embeddings are unit vectors, so any nearest-neighbour index takes them: here test digits are
# looked up among the training digits.
embedder = HUGEmbedder(random_state=0).fit(X_train, y_train)
gallery, queries = embedder.transform(X_train), embedder.transform(X_test)
index = NearestNeighbors(n_neighbors=5).fit(gallery)
neighbours = index.kneighbors(queries, return_distance=False)
print(f"The five nearest to a {y_test[0]}: {y_train[neighbours[0]]}")


def retrieval(queries, gallery):
    found = {"gallery": gallery, "gallery_labels": y_train}
    recall = recall_at_k(queries, y_test, **found)
    return (
        f"Recall@1 {recall:.3f}  MAP@R {mean_average_precision_at_r(queries, y_test, **found):.3f}"
    )


print(f"Retrieval, embeddings      {retrieval(queries, gallery)}")
print(f"Retrieval, raw pixels      {retrieval(X_test, X_train)}")

# %%
# Look
# ----
# With two components the sphere is a circle, and ten classes cannot be as far apart as they
# would be in nine dimensions: they settle at the corners of a regular polygon. Beside it, test
# digits and the training digits nearest to them on that circle: wrong ones are crossed.
circle = HUGClassifier(n_components=2, random_state=0).fit(X_train, y_train)
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.8), layout="constrained")
SphereDisplay.from_estimator(circle, X_test, y_test, ax=left)
RetrievalDisplay.from_estimator(
    circle, X_test, y_test, gallery=X_train, gallery_labels=y_train, cmap="gray_r", ax=right
)

target = Path("quickstart.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
