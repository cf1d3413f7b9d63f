"""
Search among classes never seen
===============================

An embedding is useful where its classes are not known yet: train on some, then look for members
of others. ``--data DIR`` takes a folder with ``omniglot.npz`` (handwritten characters); without
it, three of scikit-learn's digits are held out. With seven classes to learn from the embedding
has little reason to tell new ones apart, and raw pixels do better: zero-shot search needs many
training classes.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from skhug import MHE, HUGEmbedder, Learned
from skhug.metrics import retrieval_report

parser = argparse.ArgumentParser(description="Search among classes never seen in training.")
parser.add_argument("--data", type=Path, help="folder with omniglot.npz; else digits")
data = parser.parse_args().data

# %%
# Classes to learn, and classes to search
# ---------------------------------------
# Omniglot: the characters of five alphabets to learn from, those of three others to search.
LEARNED = ["Korean", "Latin", "Sanskrit", "Balinese", "Early_Aramaic"]


def load(folder):
    if folder is None:
        X, y = load_digits(return_X_y=True)
        return X.astype(np.float32), y, y < 7
    with np.load(folder / "omniglot.npz") as file:
        X = file["X"].reshape(len(file["X"]), -1).astype(np.float32)
        return X, file["y"], np.isin(file["alphabet_names"][file["alphabet"]], LEARNED)


X, y, learned = load(data)
queries, labels = X[~learned], y[~learned]
print(f"{len(set(y[learned]))} classes to learn, {len(set(labels))} others to search")

# %%
# Learn
# -----
# Proxies that follow the data keep alike classes nearer than a fixed arrangement does, and the
# repulsion keeps embeddings from the other classes' proxies. Both help classes to come.
embedder = HUGEmbedder(
    n_components=64,
    proxies=Learned(learning_rate=0.02),
    uniformity=MHE(repulsion=2.0),
    alpha=0.2,
    max_epochs=20,
    random_state=0,
).fit(X[learned], y[learned])
embeddings = embedder.transform(queries)

# %%
# Search
# ------
# Every row is a query against all the others. One search gives all metrics.
reports = {
    "pixels": retrieval_report(queries, labels, k=(1, 5)),
    "embeddings": retrieval_report(embeddings, labels, k=(1, 5)),
}
for name, report in reports.items():
    print(f"\n{name}\n{report}")

# %%
# Look
# ----
# Any index of nearest neighbours takes the embeddings.
index = NearestNeighbors(n_neighbors=6).fit(embeddings)
rng = np.random.default_rng(0)
shown = rng.choice(len(queries), 6, replace=False)
neighbours = index.kneighbors(embeddings[shown], return_distance=False)[:, 1:]  # not itself

figure = plt.figure(figsize=(11, 5), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
ax = left.subplots()
names = ["recall_at_1", "recall_at_5", "mean_average_precision_at_r", "mean_reciprocal_rank"]
ticks = ["Recall@1", "Recall@5", "MAP@R", "MRR"]
for shift, (name, report), colour in zip(
    (-0.2, 0.2), reports.items(), ("#999999", "#0072B2"), strict=True
):
    bars = ax.bar(np.arange(4) + shift, [report[n] for n in names], 0.38, color=colour, label=name)
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
ax.set_xticks(range(4), ticks)
ax.set(ylim=(0, 1.19), title=f"Search among {len(set(labels))} classes never seen")
ax.legend(loc="upper right", ncols=2)

side = int(X.shape[1] ** 0.5)
for row, axes in enumerate(right.subplots(6, 6)):
    for column, (ax, i) in enumerate(zip(axes, [shown[row], *neighbours[row]], strict=True)):
        ax.imshow(queries[i].reshape(side, side), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        wrong = column > 0 and labels[i] != labels[shown[row]]
        for spine in ax.spines.values():
            spine.set(visible=column > 0, color="#D55E00" if wrong else "#BBBBBB")
            spine.set_linewidth(3 if wrong else 1)
        if wrong:
            ax.text(0.06, 0.94, "x", transform=ax.transAxes, va="top", color="#D55E00")
right.suptitle("Query, and its nearest (x: of another class)")

target = Path("plot_unseen_classes.png")
figure.savefig(target, dpi=120)
print(f"\nPicture written to {target}")
