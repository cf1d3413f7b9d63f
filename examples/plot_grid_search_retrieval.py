"""
Grid search for retrieval
=========================

Which settings give embeddings that find classes never seen? ``GroupKFold`` with the labels as
groups keeps each class in one fold, so that a fold's queries are of classes that its training
rows do not have, and ``retrieval_scorer`` says how well they are found.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skhug import MHE, HUGEmbedder, Learned
from skhug.model_selection import retrieval_scorer

X, y = load_digits(return_X_y=True)

# %%
# The search
# ----------
# Names reach inside the pipeline, the proxies and the measure of uniformity. Both metrics come
# from one search of each fold; ``refit`` names the one that picks the winner. Which digits are in
# a fold matters more than the settings, hence all of five folds and differences fold by fold.
pipeline = make_pipeline(
    MinMaxScaler(),
    HUGEmbedder(
        n_components=16,
        proxies=Learned(learning_rate=0.02),
        uniformity=MHE(repulsion=0.0),
        max_epochs=5,
        random_state=0,
    ),
)
repulsions, epochs = [0.0, 1.0, 4.0], [1, 2, 4]
search = GridSearchCV(
    pipeline,
    {
        "hugembedder__uniformity__repulsion": repulsions,
        "hugembedder__max_epochs": epochs,
    },
    scoring=retrieval_scorer(["mean_average_precision_at_r", "recall_at_k"], k=1),
    refit="mean_average_precision_at_r",
    cv=GroupKFold(5),
).fit(X, y, groups=y)
best = {name.split("__")[-1]: value for name, value in search.best_params_.items()}
print(f"Best of {len(repulsions) * len(epochs)} candidates: {best}, MAP@R {search.best_score_:.3f}")

# %%
# Look
# ----
# Mean over the folds, and at the right each fold's gain over no repulsion. On eight digits, more
# epochs make the other two harder to find: accuracy on known classes would have chosen otherwise.
# What repulsion does differs from fold to fold by more than it gains on average.
results = search.cv_results_
shape = len(epochs), len(repulsions)  # the grid's names are in alphabetical order
score = np.asarray(results["mean_test_mean_average_precision_at_r"]).reshape(shape)
recall = np.asarray(results["mean_test_recall_at_k"]).reshape(shape)
folds = np.array([results[f"split{i}_test_mean_average_precision_at_r"] for i in range(5)])
folds = folds.reshape(5, *shape)

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
image = left.imshow(score, cmap="cividis", origin="lower")
middle = (score.min() + score.max()) / 2
for i, j in np.ndindex(shape):
    left.text(
        j,
        i,
        f"{score[i, j]:.3f}\nR@1 {recall[i, j]:.3f}",
        ha="center",
        va="center",
        color="white" if score[i, j] < middle else "black",
    )
left.set_xticks(range(shape[1]), [f"{r:g}" for r in repulsions])
left.set_yticks(range(shape[0]), epochs)
left.set(xlabel="repulsion", ylabel="epochs", title="MAP@R on digits never seen")
figure.colorbar(image, ax=left, shrink=0.85)
colours = ["#0072B2", "#D55E00", "#009E73"]
for i, (epoch, colour, marker) in enumerate(zip(epochs, colours, "os^", strict=True)):
    gain = folds[:, i, :] - folds[:, i, :1]
    at = np.arange(shape[1]) + 0.12 * (i - 1)
    right.plot(at, gain.mean(0), color=colour, marker=marker, label=f"{epoch}")
    right.plot(np.repeat(at[None], 5, 0), gain, ".", color=colour, alpha=0.5)
right.axhline(0, color="black", linewidth=0.8)
right.set_xticks(range(shape[1]), [f"{r:g}" for r in repulsions])
right.set(xlabel="repulsion", title="Gain over no repulsion: mean and folds")
right.legend(title="epochs")

target = Path("plot_grid_search_retrieval.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
