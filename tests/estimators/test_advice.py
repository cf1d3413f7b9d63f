"""Errors whose advice would not have helped: what they say now."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import TensorDataset

from skhug import HUGClassifier
from skhug.augment import Augmentation
from skhug.encoders import Encoder, Pretrained
from skhug.losses import gram_logdet, hyperspherical_energy, separation
from skhug.metrics import recall_at_k

X, y = load_iris(return_X_y=True)
TEXT = np.array(["a", "b", "c"], dtype=object)[y]


class NoBuild(Encoder):
    pass


class NoAugment(Augmentation):
    pass


class Tuples(nn.Module):
    def forward(self, X):
        return (X, X)


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (nn.Linear(5, 2), ValueError, r"failed on rows of shape \(2, 4\).*size its first layer"),
        (nn.Unflatten(1, (2, 2)), ValueError, r"returned \(2, 2, 2\).*end it with nn\.Flatten"),
        (Tuples(), ValueError, "returned a tuple.*let it return that tensor"),
        (NoBuild(), NotImplementedError, r"NoBuild has no build\(input_shape, n_components\)"),
        (Pretrained("resnet18"), TypeError, r"not 'resnet18': pass a module with its weights"),
    ],
)
def test_encoders_that_do_not_fit_are_told_how_to(encoder, error, message):
    with pytest.raises(error, match=message):
        HUGClassifier(encoder, max_epochs=1).fit(X, y)


def test_an_augmentation_without_a_method_names_it():
    with pytest.raises(NotImplementedError, match=r"NoAugment has no _augment\(X, generator\)"):
        NoAugment()(torch.zeros(2, 1, 4, 4), torch.Generator())


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA])
def test_gaps_among_labels_are_not_to_be_made_strings(gap):
    labels = TEXT.copy()
    labels[7] = gap
    with pytest.raises(ValueError, match=r"y have gaps.*leave these rows out"):
        HUGClassifier(max_epochs=1).fit(X, labels)
    with pytest.raises(ValueError, match="labels have gaps"):
        recall_at_k(X, labels.tolist())


def test_one_hot_labels_are_told_of_argmax():
    with pytest.raises(ValueError, match=r"shape \(150, 3\) instead: .*argmax\(axis=1\)"):
        HUGClassifier(max_epochs=1).fit(X, np.eye(3)[y])


def test_a_row_that_is_not_finite_is_named_where_rows_are_many():
    rows = torch.from_numpy(X.copy())
    rows[77, 2] = torch.nan
    with pytest.raises(ValueError, match="first seen in row 77"):
        HUGClassifier(max_epochs=1).fit(TensorDataset(rows, torch.from_numpy(y)))


def test_errors_of_validation_rows_name_them():
    model = HUGClassifier(max_epochs=1)
    with pytest.raises(ValueError, match="Of X_val and y_val: X has 3 features"):
        model.fit(X, y, X_val=X[:, :3], y_val=y)
    with pytest.raises(
        ValueError, match=r"y_val has labels that are none of y, \[5\].*Leave those"
    ):
        model.fit(X, y, X_val=X, y_val=np.where(y == 2, 5, y))


def test_points_of_whole_numbers_are_points():
    for measure in (hyperspherical_energy, gram_logdet, separation):
        assert torch.equal(measure(torch.eye(3).long()), measure(torch.eye(3)))
