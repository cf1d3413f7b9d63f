"""Verification in model selection: scorers, and thresholds of classes held out."""

import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skhug import HUGEmbedder
from skhug.metrics import _pairs, verification_report
from skhug.model_selection import verification_scorer, verification_threshold


@pytest.fixture(scope="module")
def split(digits):
    """An embedder of the digits 0 to 5, and rows of 6 and 7 and of 8 and 9."""
    X, y = digits
    seen = y < 6
    embedder = HUGEmbedder(max_epochs=10, random_state=0).fit(X[seen], y[seen])
    held_out, others = (np.isin(y, pair) for pair in ((6, 7), (8, 9)))
    return embedder, (X[seen], y[seen]), (X[held_out], y[held_out]), (X[others], y[others])


def test_scores_are_those_of_the_report(iris):
    X, y = iris
    embedder = HUGEmbedder(max_epochs=3, random_state=0).fit(X, y)
    weight = np.arange(150.0)
    report = verification_report(embedder.transform(X), y, far=0.01, sample_weight=weight)
    scorer = verification_scorer(["roc_auc", "neg_eer", "tar_at_far"], far=0.01)
    scores = scorer(embedder, X, y, sample_weight=weight)
    assert scores == {
        "roc_auc": report["roc_auc"],
        "neg_eer": -report["eer"],
        "tar_at_far": report["tar_at_far_1e-2"],
    }
    assert verification_scorer(far=0.01)(embedder, X, y) == pytest.approx(
        verification_report(embedder.transform(X), y)["tar_at_far_1e-2"]
    )


def test_grid_search_on_unseen_classes_looks_at_the_pairs_once_a_fold(digits, monkeypatch):
    X, y = digits[0][:600], digits[1][:600]
    calls = []
    plain = _pairs._tiles
    monkeypatch.setattr(_pairs, "_tiles", lambda *a: calls.append(a) or plain(*a))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), HUGEmbedder(random_state=0)),
        {"hugembedder__max_epochs": [1, 10]},
        scoring=verification_scorer(["neg_eer", "roc_auc"]),
        refit="neg_eer",
        cv=GroupKFold(2),
    ).fit(X, y, groups=y)
    assert search.best_params_ == {"hugembedder__max_epochs": 10}
    assert -0.5 < search.best_score_ < 0
    assert len(calls) == 4  # 2 candidates, 2 folds


def test_scorers_can_be_pickled_and_name_themselves():
    scorer = pickle.loads(pickle.dumps(verification_scorer(["roc_auc", "neg_eer"], far=0.1)))
    assert repr(scorer) == "verification_scorer(('roc_auc', 'neg_eer'), far=0.1)"
    with pytest.raises(ValueError, match="metric='eer': pass one or more of roc_auc, neg_eer"):
        verification_scorer("eer")
    with pytest.raises(ValueError, match="far=0: pass a rate above 0"):
        verification_scorer(far=0)


def test_folds_that_cannot_tell_the_rate_have_no_score(iris):
    X, y = iris
    for cv, message in ((GroupKFold(3), "All pairs are of one class"), (KFold(5), "pairs of two")):
        arguments = {"groups": y, "cv": cv, "scoring": verification_scorer(far=1e-5)}
        with pytest.warns(UserWarning, match=message):
            scores = cross_val_score(HUGEmbedder(max_epochs=1), X[::-1], y, **arguments)
        assert np.isnan(scores).all()


def test_a_threshold_keeps_its_rate_on_the_classes_it_was_chosen_on(split):
    embedder, _, (X, y), _ = split
    threshold = verification_threshold(embedder, X, y, far=0.01)
    z = embedder.transform(X)
    accepted = (z[y == 6] @ z[y == 7].T) >= threshold
    assert 0 < accepted.mean() <= 0.01
    report = verification_report(z, y, far=0.01)
    assert report["threshold_at_far_1e-2"] == threshold
    assert verification_threshold(embedder, X, y, far=0.1) < threshold


def test_training_classes_are_warned_of_and_accept_too_much(split):
    embedder, seen, held_out, others = split
    with pytest.warns(UserWarning, match=r"trained on 6 of the 6 classes.*GroupShuffleSplit"):
        low = verification_threshold(embedder, *seen, far=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = verification_threshold(embedder, *held_out, far=0.01)
    assert low < right
    z, y = embedder.transform(others[0]), others[1]
    share = ((z[y == 8] @ z[y == 9].T) >= low).mean()
    assert share > 0.05  # five times what was asked for, and more


def test_the_advice_of_the_warning_runs_and_is_heeded(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=1, random_state=0).fit(X, y)
    with pytest.warns(UserWarning, match="trained on 10 of the 10 classes") as record:
        verification_threshold(embedder, X, y)
    assert record[0].filename == __file__
    statement = re.search(r"train, held_out = .*?\)\)", str(record[0].message))[0]
    names = {"X": X, "y": y}
    exec("from sklearn.model_selection import GroupShuffleSplit\n" + statement, names)
    train, held_out = names["train"], names["held_out"]
    embedder = HUGEmbedder(max_epochs=1, random_state=0).fit(X[train], y[train])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verification_threshold(embedder, X[held_out], y[held_out])


def test_classes_are_looked_for_inside_pipelines_and_missed_where_there_are_none(split):
    _, (X, y), _, _ = split
    pipeline = make_pipeline(StandardScaler(), HUGEmbedder(max_epochs=1, random_state=0))
    with pytest.warns(UserWarning, match="trained on 6 of the 6"):
        verification_threshold(pipeline.fit(X, y), X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verification_threshold(FunctionTransformer().fit(X), X, y)


def test_too_few_pairs_for_a_rate_say_how_many_rows_it_takes(split):
    embedder, _, (X, y), _ = split
    with pytest.raises(ValueError, match="far=1e-05 is told by 100,000 pairs") as error:
        verification_threshold(embedder, X, y, far=1e-5)
    rows = int(re.search(r"about ([\d,]+) rows", str(error.value))[1].replace(",", ""))
    index = np.arange(rows) % len(X)  # as many to a class as now
    verification_threshold(embedder, X[index], y[index], far=1e-5)
    least = float(re.search(r"a far of (\S+) or more", str(error.value))[1])
    verification_threshold(embedder, X, y, far=least)
