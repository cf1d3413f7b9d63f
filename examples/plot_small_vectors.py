"""
Small vectors
=============

What a search of images costs in bytes and what it finds. Embeddings are cut to their first
components, along their principal axes or as :class:`~skhug.Nested` trained them to be, and kept
in codes of a byte or a bit a component. ``--data DIR`` takes a folder with ``omniglot.npz``
(handwritten characters, alphabets that training has not seen); without it, letters are drawn.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from skhug import MHE, ConvNet, HUGEmbedder, Learned, Nested
from skhug.augment import Affine
from skhug.retrieval import Gallery, QuantizedIndex

parser = argparse.ArgumentParser(description="Recall of small vectors.")
parser.add_argument("--data", type=Path, help="folder with omniglot.npz; else letters are drawn")
data = parser.parse_args().data
rng = np.random.default_rng(0)

# %%
# Classes to learn, and others to search
# --------------------------------------
# Letters of four alphabets in six typefaces, turned, shifted and noisy, twenty of each. Seventy are
# trained on; what is searched are the 58 others.
ALPHABETS = [range(0x3B1, 0x3CA), range(0x430, 0x450), range(0x561, 0x587), range(0x10D0, 0x10F1)]
FONTS = [
    ImageFont.truetype(findfont(FontProperties(family=f"DejaVu {family}", weight=weight)), size)
    for family in ("Sans", "Serif", "Sans Mono")
    for weight in ("normal", "bold")
    for size in (17, 19, 21)
]


def drawing(letter):
    image = Image.new("L", (28, 28))
    font = FONTS[rng.integers(len(FONTS))]
    ImageDraw.Draw(image).text((14, 14), letter, fill=255, font=font, anchor="mm")
    shift = tuple(rng.integers(-2, 3, 2).tolist())
    image = image.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, translate=shift)
    return (np.asarray(image) + rng.normal(0, 20, (28, 28))).clip(0, 255).astype("uint8")


def letters():
    """Images, labels, and which rows are trained on."""
    codes = np.concatenate(ALPHABETS)
    X = np.array([drawing(chr(code)) for code in codes for _ in range(20)])
    y = np.repeat(codes, 20)
    return X, y, np.isin(y, rng.permutation(codes)[:70])


def omniglot(folder):
    with np.load(folder / "omniglot.npz") as file:
        X, y, names = file["X"], file["y"], file["alphabet_names"][file["alphabet"]]
    learned = np.isin(names, ["Korean", "Latin", "Sanskrit"])
    rows = learned | np.isin(names, ["Greek", "Japanese_(katakana)", "Tagalog"])
    return X[rows], y[rows], learned[rows]


X, y, learned = omniglot(data) if data else letters()
new = ~learned
print(f"{len(set(y[learned]))} classes trained on, {len(set(y[new]))} searched, {new.sum()} rows")

# %%
# Two embedders
# -------------
# A plain one, and one that is trained to be cut. Nested components prefer a smaller alpha.
plain = HUGEmbedder(
    ConvNet((16, 32, 64), n_pools=2, readout="average"),
    n_components=64,
    proxies=Learned(learning_rate=0.02),
    uniformity=MHE(repulsion=1),
    alpha=0.2,
    augment=Affine(degrees=15),
    max_epochs=12,
    random_state=0,
).fit(X[learned], y[learned])
nested = HUGEmbedder(**plain.get_params(deep=False)).set_params(
    proxies=Nested(prefixes=(4, 8, 16, 32), proxies=Learned(learning_rate=0.02)), alpha=0.02
)
nested.fit(X[learned], y[learned])

# %%
# What is found
# -------------
# Each row is searched among the others. Its standard error is that over classes, whose rows are
# found or missed together.


def mean_over_classes(score):
    """Return the mean of the classes' means, and its standard error."""
    means = np.array([score[y[new] == c].mean() for c in np.unique(y[new])])
    return means.mean(), means.std(ddof=1) / np.sqrt(len(means))


def right_neighbours(vectors, index, k):
    """Return which of the k nearest of each row, without itself, are of its class."""
    _, near = Gallery(index=index).fit(vectors, y[new]).kneighbors(vectors, k + 1)
    others = np.array([row[row != i][:k] for i, row in enumerate(near)])
    return y[new][others] == y[new][:, None]


def found(vectors, index="exact"):
    """Return Recall@1 and MAP@R; every class has twenty rows, R is 19."""
    recall = right_neighbours(vectors, index, 1)[:, 0]
    right = right_neighbours(vectors, index, 19)
    precision = right.cumsum(1) / np.arange(1, 20)
    return mean_over_classes(recall), mean_over_classes((precision * right).mean(1))


Z, W = plain.transform(X[new]), nested.transform(X[new])
axes = PCA().fit(plain.transform(X[learned]))
turned = axes.transform(Z)
curves = {
    "plain, cut": {4 * d: found(normalize(Z[:, :d])) for d in (64, 32, 16, 8, 4)},
    "principal axes, cut": {4 * d: found(normalize(turned[:, :d])) for d in (64, 32, 16, 8, 4)},
    "nested, cut": {4 * d: found(normalize(W[:, :d])) for d in (64, 32, 16, 8, 4)},
    "int8 of principal axes, rescored": {
        d: found(normalize(turned[:, :d]), "int8") for d in (64, 32, 16, 8, 4)
    },
    "binary of plain, rescored": {8: found(Z, "binary")},
}
for name, curve in curves.items():
    for n_bytes, ((recall, _), (mean_precision, _)) in curve.items():
        print(f"{name:32} {n_bytes:4} bytes: Recall@1 {recall:.3f}, MAP@R {mean_precision:.3f}")

# %%
# Of codes alone, which no vectors put in order, Recall@1 is what an index of them can tell.
alone = mean_over_classes(right_neighbours(Z, QuantizedIndex(1, rescore=1), 1)[:, 0])
print(f"binary alone: Recall@1 {alone[0]:.3f}")

# %%
# Look
# ----
# Codes are what a search reads first. Four rows for each one asked for are then put in order by
# the vectors that they are codes of; these lie elsewhere, on a disk for instance, and are not in
# the bytes here. Bars are one standard error over the classes, of a single training. On the drawn
# letters principal axes are at every size better than components trained to be cut; on
# handwriting, in the guide, it is the other way round from a quarter of the components on.
STYLES = (
    ("s--", "#0072B2"),
    ("o-", "#0072B2"),
    ("^-", "#D55E00"),
    ("D-", "#009E73"),
    ("*", "#CC79A7"),
)
figure, panels = plt.subplots(1, 2, figsize=(11.5, 4.6), layout="constrained")
for panel, i, name in zip(panels, (0, 1), ("Recall@1", "MAP@R"), strict=True):
    for (label, curve), (style, colour) in zip(curves.items(), STYLES, strict=True):
        mean, error = np.array([scores[i] for scores in curve.values()]).T
        size = 13 if style == "*" else 6
        panel.errorbar(
            list(curve), mean, error, fmt=style, color=colour, label=label, capsize=2, ms=size
        )
    panel.set_xscale("log", base=2)
    ticks = [4, 8, 16, 32, 64, 128, 256]
    panel.set_xticks(ticks, ticks)
    panel.set(xlabel="Bytes of a vector that the search reads first", ylabel=name, ylim=(0, 1))
    panel.grid(alpha=0.3)
panels[0].errorbar(8, *alone, fmt="*", color="#CC79A7", mfc="white", ms=13, label="binary, alone")
panels[0].set_title("Is the nearest of its class?")
panels[1].set_title("Are all of its class the nearest?")
panels[0].legend(loc="lower right")

target = Path("small_vectors.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
