"""Few shots: episodes against a naive loop, what is drawn, and what is refused."""

import numpy as np
import pytest
import torch

from skhug.metrics import _few_shot, few_shot_report


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(12), rng.integers(9, 20, size=12)))
    return rng.normal(size=(12, 6))[y] + rng.normal(size=(len(y), 6)), y


def naive(X, episodes, n_shot):
    """Mean and half interval over drawn episodes, query by query."""
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    scores = []
    for episode in episodes:
        means = [X[rows[:n_shot]].mean(0) for rows in episode]
        means = [m / np.linalg.norm(m) for m in means]
        right = [
            np.argmax([m @ X[row] for m in means]) == own
            for own, rows in enumerate(episode)
            for row in rows[n_shot:]
        ]
        scores.append(np.mean(right))
    return np.mean(scores), 1.96 * np.std(scores, ddof=1) / np.sqrt(len(scores))


@pytest.fixture
def drawn(monkeypatch):
    """The episodes of the calls of a test."""
    blocks = []
    plain = _few_shot._episodes

    def recorded(*arguments):
        for block in plain(*arguments):
            blocks.append(block)
            yield block

    monkeypatch.setattr(_few_shot, "_episodes", recorded)
    return blocks


@pytest.mark.parametrize(("n_shot", "n_way"), [(1, 5), (4, 2), (3, 12)])
def test_accuracy_and_interval_equal_a_naive_loop(points, drawn, n_shot, n_way):
    X, y = points
    sizes = {"n_shot": n_shot, "n_way": n_way, "n_queries": 5, "n_episodes": 40}
    report = few_shot_report(X, y, **sizes, random_state=0)
    expected = naive(X, np.concatenate(drawn), n_shot)
    np.testing.assert_allclose([report["accuracy"], report["half_interval"]], expected)
    assert report["n_episodes"] == 40
    assert 1 / n_way + 0.1 < report["accuracy"] < 1


def test_an_episode_holds_different_classes_and_different_rows(points, drawn):
    X, y = points
    few_shot_report(X, y, n_queries=4, n_shot=2, n_episodes=300, random_state=0)
    episodes = np.concatenate(drawn)
    assert episodes.shape == (300, 5, 6)
    labels = y[episodes]
    assert (labels == labels[..., :1]).all()
    assert all(len(set(row)) == 5 for row in labels[..., 0])
    assert all(len(set(episode.ravel())) == 30 for episode in episodes)
    # Of 1,500 draws of a class among 12 each comes about 125 times, and every row is drawn.
    assert (np.bincount(labels[..., 0].ravel(), minlength=12) > 80).all()
    assert set(episodes.ravel()) == set(range(len(y)))


def test_a_seed_draws_the_same_episodes(points):
    X, y = points
    sizes = {"n_queries": 5, "n_episodes": 50}
    report = few_shot_report(X, y, **sizes, random_state=3)
    assert few_shot_report(X, y, **sizes, random_state=np.random.RandomState(3)) == report
    names = np.char.zfill(y.astype(str), 2)  # in the order of the numbers
    assert few_shot_report(torch.from_numpy(X), names, **sizes, random_state=3) == report
    assert few_shot_report(X, y, **sizes, random_state=4) != report


def test_blocks_of_embeddings_change_nothing(points, monkeypatch):
    X, y = points
    sizes = {"n_queries": 5, "n_episodes": 50, "random_state": 0}
    whole = few_shot_report(X, y, **sizes)
    plain = _few_shot._episodes

    def one_at_a_time(*arguments):
        for block in plain(*arguments):
            yield from np.split(block, len(block))

    monkeypatch.setattr(_few_shot, "_episodes", one_at_a_time)
    assert few_shot_report(X, y, **sizes) == pytest.approx(whole)
    monkeypatch.setattr(_few_shot, "_episodes", plain)
    monkeypatch.setattr(_few_shot, "_ELEMENTS", 400)
    assert few_shot_report(X, y, **sizes)["accuracy"] == pytest.approx(whole["accuracy"], abs=0.1)


def test_rows_that_are_all_alike_are_told_by_chance(points):
    report = few_shot_report(np.full((len(points[1]), 7), 0.1), points[1], n_queries=5)
    assert report["accuracy"] == pytest.approx(1 / 5)


def test_more_shots_tell_more(points):
    scores = [
        few_shot_report(*points, n_shot=k, n_queries=5, random_state=0)["accuracy"]
        for k in (1, 2, 4)
    ]
    assert scores[0] + 0.02 < scores[1] < scores[2] - 0.02


def test_one_episode_has_no_interval(points):
    report = few_shot_report(*points, n_queries=5, n_episodes=1, random_state=0)
    assert 0 <= report["accuracy"] <= 1
    assert np.isnan(report["half_interval"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_way": 13}, r"12 classes, and an episode has n_way=13.*or n_way=12"),
        ({"n_queries": 30}, r"12 of 12 classes have fewer than .* = 1 \+ 30 = 31 rows"),
        ({"n_way": 1}, "n_way=1: pass a whole number, 2 or more"),
        ({"n_shot": 0}, "n_shot=0: pass a whole number, 1 or more"),
        ({"n_episodes": 2.5}, "n_episodes=2.5: pass a whole number"),
        ({"labels": [0, 1]}, "one label for each"),
    ],
)
def test_wrong_input_is_explained(points, change, message):
    X, y = points
    arguments = {"embeddings": X, "labels": y, "n_queries": 5, **change}
    with pytest.raises(ValueError, match=message):
        few_shot_report(**arguments)
