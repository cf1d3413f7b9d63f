"""Proxies that follow the means of their classes' embeddings."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

import skhug
from skhug import HUGClassifier, HUGEmbedder, Learned, Nested
from skhug._training.following import ClassFollower

X, Y = load_iris(return_X_y=True)


def test_a_proxy_moves_towards_the_weighted_mean_of_its_rows():
    torch.manual_seed(0)
    proxies = torch.randn(4, 3, dtype=torch.float64)
    features = torch.randn(7, 3, dtype=torch.float64)
    labels = torch.tensor([0, 0, 2, 2, 2, 3, 0])
    coef = torch.tensor([1, 2, 1, 3, 1, 0, 1], dtype=torch.float64) / 9
    expected = proxies.clone()
    for c in (0, 2):  # the rows of class 3 count nothing, and class 1 has none
        total, weight = torch.zeros(3, dtype=torch.float64), 0.0
        for x, label, share in zip(features, labels, coef, strict=True):
            if label == c:
                total += share * x / x.norm()
                weight += share
        moved = 0.9 * proxies[c] / proxies[c].norm() + 0.1 * total / weight
        expected[c] = moved / moved.norm()
    follower = ClassFollower(proxies, 0.9)
    follower.see(features, labels, coef)  # of a batch that was given up
    follower.forget()
    for part in (slice(0, 4), slice(4, 7)):
        follower.see(features[part], labels[part], coef[part])
    follower.step()
    torch.testing.assert_close(proxies, expected)


def test_proxies_that_keep_little_lie_on_their_classes_means():
    proxies = Learned(attached=False, momentum=0.01)
    settings = {"batch_size": 150, "max_epochs": 30, "random_state": 0, "n_components": 3}
    model = HUGEmbedder(proxies=proxies, alpha=0.0, **settings).fit(X, Y)
    z = model.transform(X)
    means = np.stack([z[c == Y].mean(0) for c in range(3)])
    cosines = (means / np.linalg.norm(means, axis=1, keepdims=True) * model.proxies_).sum(1)
    assert cosines.min() > 0.99


def test_nothing_follows_by_default_and_a_high_momentum_changes_little():
    def fitted(**learned):
        return HUGClassifier(proxies=Learned(**learned), max_epochs=3, random_state=0).fit(X, Y)

    plain, following = fitted().proxies_, fitted(momentum=0.9).proxies_
    assert np.abs(following - plain).max() > 1e-4
    np.testing.assert_array_equal(fitted(momentum=None).proxies_, plain)


def test_saved_models_keep_the_momentum(tmp_path):
    model = HUGClassifier(proxies=Learned(momentum=0.9), max_epochs=2, random_state=0).fit(X, Y)
    model.save(tmp_path / "model")
    again = skhug.load(tmp_path / "model")
    assert again.proxies.momentum == 0.9
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize("share", [0, 1, -0.5, "0.9"])
def test_a_momentum_out_of_its_range_is_refused(share):
    with pytest.raises(ValueError, match="pass None or a share in"):
        HUGClassifier(proxies=Learned(momentum=share), max_epochs=1).fit(X, Y)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "0.1"])
def test_a_learning_rate_of_proxies_out_of_its_range_is_refused(rate):
    for proxies in (Learned(learning_rate=rate), Nested((2,), Learned(learning_rate=rate))):
        with pytest.raises(ValueError, match=r"Learned: learning_rate=.*pass None or a finite"):
            HUGClassifier(proxies=proxies, max_epochs=1).fit(X, Y)
