"""
A gallery that grows day by day
===============================

A gallery starts with a few classes. Every day some visitors are of classes that it does not hold
yet: the nearest row is too far, and they are refused. In the evening somebody names those that
were refused, up to five rows of each class go into the gallery, and the next day it knows them.
Nothing is trained after the first day. ``--data DIR`` takes a folder with ``omniglot.npz``
(handwritten characters, alphabets that training has not seen); without it, digits.
"""

import argparse
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import normalize

from skhug import MHE, ConvNet, HUGEmbedder, Learned
from skhug.retrieval import Gallery

SHOTS, DAYS = 5, 12
ALPHABETS = {
    "learn": ["Korean", "Latin", "Sanskrit"],
    "calibrate": ["Balinese", "Early_Aramaic"],
    "visit": ["Greek", "Japanese_(katakana)", "Tagalog"],
}

parser = argparse.ArgumentParser(description="A gallery that grows with its visitors.")
parser.add_argument("--data", type=Path, help="folder with omniglot.npz; else digits")
data = parser.parse_args().data
rng = np.random.default_rng(0)

# %%
# Three sets of classes
# ---------------------
# The embedder learns some classes. Others, held out of its training, are the strangers by which
# the threshold is set. The rest turns up later.


def digits():
    """Rows to learn from, to set the threshold by, to be visitors; with labels."""
    X, y = load_digits(return_X_y=True)
    X = normalize(X).astype(np.float32)
    part = rng.integers(3, size=len(y))
    learn = (part == 0) & (y < 5)
    calibrate = (part == 1) & (y < 7)  # five and six are the strangers
    visit = (part == 2) & ((y < 5) | (y > 6))
    embedder = HUGEmbedder(random_state=0).fit(X[learn], y[learn])
    sets = [(X[rows], y[rows]) for rows in (calibrate, visit)]
    return embedder, sets, np.arange(5), np.arange(5)


def omniglot(folder):
    """The same of characters; half of those of each set are known at first."""
    with np.load(folder / "omniglot.npz") as file:
        X, y, names = file["X"], file["y"], file["alphabet_names"][file["alphabet"]]
    learn, *others = (np.isin(names, alphabets) for alphabets in ALPHABETS.values())
    embedder = HUGEmbedder(
        ConvNet((32, 64, 128, 128), n_pools=2, readout="average"),
        n_components=64,
        uniformity=MHE(repulsion=1.0),
        alpha=0.2,
        proxies=Learned(learning_rate=0.02),
        max_epochs=15,
        random_state=0,
    ).fit(X[learn], y[learn])
    known = [rng.permutation(np.unique(y[rows]))[::2] for rows in others]
    return embedder, [(X[rows], y[rows]) for rows in others], *known


def take_shots(y, classes):
    """Five rows of each of some classes, and all the other rows."""
    rows = [rng.permutation(np.flatnonzero(y == c))[:SHOTS] for c in classes]
    own = np.concatenate(rows)
    return own, rng.permutation(np.setdiff1d(np.arange(len(y)), own))


embedder, ((X_cal, y_cal), (X, y)), known_cal, known = omniglot(data) if data else digits()

# %%
# Where to draw the line
# ----------------------
# A gallery of five rows a class, asked with other rows of these classes and with strangers.
own, rest = take_shots(y_cal, known_cal)
gallery = Gallery(embedder).fit(X_cal[own], y_cal[own])
gallery.calibrate_threshold(X_cal[rest], y_cal[rest], "f1")
threshold = gallery.threshold_
print(f"threshold {threshold:.3f}: {gallery.calibration_}")

# %%
# Twelve days
# -----------
# From day to day more of the other classes are among the visitors.
own, rest = take_shots(y, known)
gallery = Gallery(embedder, threshold=threshold).fit(X[own], y[own])
others = rng.permutation(np.setdiff1d(y, known))
first_day = dict.fromkeys(known, 0) | {c: 1 + i * DAYS // len(others) for i, c in enumerate(others)}
arrives = np.array([rng.integers(first_day[c], DAYS) for c in y[rest]])
days, sizes, cosines = [], [], {True: [], False: []}
for day in range(DAYS):
    visitors = rest[arrives == day]
    answer, score = gallery.predict(X[visitors]), gallery.score_samples(X[visitors])
    there = np.isin(y[visitors], gallery.classes_)
    refused, right = answer == -1, answer == y[visitors]
    days.append(
        {
            "named right": right.mean(),
            "strangers refused": (refused & ~there).mean(),
            "known, but refused": (refused & there).mean(),
            "named wrong": (~refused & ~right).mean(),
        }
    )
    sizes.append(len(gallery.classes_))
    for flag in (True, False):
        cosines[flag].extend(score[there == flag])
    held = Counter(gallery.labels_.tolist())
    for row in visitors[refused]:  # in the evening they are named
        if held[y[row]] < SHOTS:
            gallery.partial_fit(X[row : row + 1], y[row : row + 1])
            held[y[row]] += 1
    shown = ", ".join(f"{name} {share:.2f}" for name, share in days[-1].items())
    print(f"day {day + 1:2}: {sizes[-1]:3} classes, {len(visitors):3} visitors: {shown}")

# %%
# Look
# ----
# Left, what visitors were told; right, how near the nearest row was.
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.8), layout="constrained")
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
bottom = np.zeros(DAYS)
for (name, colour), hatch in zip(
    zip(days[0], COLOURS, strict=True), ("", "..", "//", "xx"), strict=True
):
    share = 100 * np.array([day[name] for day in days])
    style = {"color": colour, "edgecolor": "white", "hatch": hatch, "width": 0.9}
    left.bar(np.arange(1, DAYS + 1), share, bottom=bottom, label=name, **style)
    bottom += share
left.set(xlabel="Day", ylabel="Share of the visitors (%)", ylim=(0, 100), xlim=(0.4, DAYS + 0.6))
left.set_title("What visitors are told")
count = left.twinx()
count.plot(np.arange(1, DAYS + 1), sizes, "o-", color="black", label="classes in the gallery")
count.set(ylabel="Classes in the gallery", ylim=(0, 1.15 * max(sizes)))
handles = [h for axes in (left, count) for h in axes.get_legend_handles_labels()[0]]
left.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
edges = np.linspace(min(map(min, cosines.values())), 1, 41)
for flag, name, style in (
    (True, "class in the gallery", {"facecolor": "none", "edgecolor": "#0072B2", "hatch": "////"}),
    (False, "strangers", {"facecolor": "#D55E00", "alpha": 0.55}),
):
    share = np.full(len(cosines[flag]), 100 / len(cosines[flag]))
    right.hist(cosines[flag], edges, weights=share, histtype="stepfilled", label=name, **style)
right.axvline(threshold, color="black", linestyle="--", label="threshold")
right.set(xlabel="Cosine to the nearest row", ylabel="Share of the visitors (%)")
right.set_title("How near the nearest row is")
right.legend(loc="upper right")

target = Path("gallery.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
