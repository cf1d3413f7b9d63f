"""
Images
======

Small images of handwritten digits, bundled with scikit-learn: a convolutional network beside a
perceptron, pixels kept as ``uint8``, and rows of pixels inside a pipeline.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skhug import ConvNet, HUGClassifier

digits = load_digits()
images = digits.images.astype(np.uint8)  # (1797, 8, 8), values 0 to 16
X_train, X_test, y_train, y_test = train_test_split(
    images, digits.target, stratify=digits.target, random_state=0
)

# %%
# Classify
# --------
# An array of images needs no more than an array of rows: ``encoder="auto"`` is a ConvNet here.
# The images stay ``uint8`` until they are a batch, and the pixels' mean and deviation come from
# the training data.
model = HUGClassifier(max_epochs=6, random_state=0).fit(X_train, y_train)
print(f"ConvNet on images          test accuracy {model.score(X_test, y_test):.3f}")

rows_train, rows_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
perceptron = HUGClassifier(max_epochs=6, random_state=0).fit(rows_train, y_train)
print(f"MLP on rows of pixels      test accuracy {perceptron.score(rows_test, y_test):.3f}")

# %%
# Rows in a pipeline
# ------------------
# Most steps of a pipeline take rows: the encoder then says how to read a row as an image.
encoder = ConvNet(widths=(32, 32, 32), image_shape=(1, 8, 8))
pipeline = make_pipeline(MinMaxScaler(), HUGClassifier(encoder, max_epochs=6, random_state=0))
pipeline.fit(rows_train, y_train)
print(f"ConvNet in a pipeline      test accuracy {pipeline.score(rows_test, y_test):.3f}")

# %%
# Move the images
# ---------------
# Convolutions care less where a stroke is; a perceptron's weights belong to a pixel.
shifts = np.arange(-2, 3)


def moved(X, shift):
    return np.roll(X, shift, axis=2)


def accuracies(score):
    return [score(moved(X_test, shift)) for shift in shifts]


by_convnet = accuracies(lambda X: model.score(X, y_test))
by_perceptron = accuracies(lambda X: perceptron.score(X.reshape(len(X), -1), y_test))

# %%
# Look
# ----
# The test images whose class is least clear: the cosine to the nearest proxy is hardly above
# that to the second.
cosines = np.sort(model.decision_function(X_test), axis=1)
margin = cosines[:, -1] - cosines[:, -2]
doubtful = np.argsort(margin)[:12]
predicted = model.predict(X_test[doubtful])

figure = plt.figure(figsize=(10.5, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.15])
axes = left.subplots()
axes.plot(shifts, by_convnet, "o-", label="ConvNet")
axes.plot(shifts, by_perceptron, "s--", label="MLP")
axes.set(
    xlabel="Test images moved by pixels (of 8)",
    ylabel="Accuracy",
    xticks=shifts,
    ylim=(0, 1.02),
    title="Trained on images in place",
)
axes.legend()
for axes, i, name in zip(right.subplots(3, 4).flat, doubtful, predicted, strict=True):
    axes.imshow(X_test[i], cmap="gray_r")
    colour = "black" if name == y_test[i] else "#b2182b"
    axes.set_title(f"{name}, true {y_test[i]}", fontsize=9, color=colour)
    axes.set(xticks=[], yticks=[])
right.suptitle("The 12 smallest margins: predicted, true (wrong ones red)")

target = Path("images.png")
figure.savefig(target, dpi=120)
print(f"Picture written to {target}")
