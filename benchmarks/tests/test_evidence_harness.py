"""The evidence's harness: equal work for all, no look at the test rows, figures that are right."""

from functools import partial

import numpy as np
import pytest
import torch
from evidence import data, harness, losses
from evidence.contenders import CROSS_ENTROPY, HUG, NORMALISED, ROBUST, SCIKIT_LEARN, values
from evidence.data import Task
from evidence.harness import Contender, Lab
from evidence.models import Budget, train_hug, train_peer

from skhug import MLP

SMALL = Budget(MLP(16, members=1), n_components=4, batch_size=32, epochs=15)
RATES = [{"learning_rate": r, "weight_decay": 0.1} for r in (1e-3, 3e-3, 1e-2, 3e-2)]


def record(log, budget, X, y, seed, n_classes, **setting):
    """Train nothing; write down what was asked."""
    with open(log, "a") as file:
        file.write(f"{len(y)} {seed} {sorted(setting.items())}\n")
    return Constant(setting)


class Constant:
    """Predicts class 0; scores better with a lower learning rate and a smaller knob."""

    def __init__(self, setting):
        self.setting = setting

    def predict(self, X):
        return np.zeros(len(X), dtype=np.int64)


def preference(model, split):
    return {"score": -model.setting["learning_rate"] - model.setting.get("knob", 0)}


@pytest.fixture
def lab(tmp_path):
    return Lab(None, tmp_path / "cache", jobs=1, quick=True)


@pytest.mark.parametrize("name", [*CROSS_ENTROPY, *NORMALISED, *ROBUST])
def test_every_peer_learns_an_easy_task(name):
    split = data.load(None, Task("wine"))
    train = {**CROSS_ENTROPY, **NORMALISED, **ROBUST}[name].train
    model = train(
        SMALL._replace(epochs=40), split.X, split.y, 0, 3, learning_rate=2e-2, weight_decay=0.1
    )
    assert harness.accuracy(model, split)["accuracy"] > 0.9
    assert np.allclose(np.linalg.norm(model.embed(split.X), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("contender", [*HUG.values(), *SCIKIT_LEARN.values()])
def test_ours_and_scikit_learns_take_every_setting(contender):
    split = data.load(None, Task("iris"))
    rates = RATES[0] if contender.tunes_rates else {}
    for own in contender.own:
        model = contender.train(SMALL._replace(epochs=2), split.X, split.y, 0, 3, **rates, **own)
        assert model.predict(split.X_test).shape == split.y_test.shape


def test_peers_start_from_our_weights_and_see_our_input():
    X, y = data.load(None, Task("wine"))[:2]
    start = SMALL._replace(epochs=1)
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    ours = train_hug(start, X, y, 3, 3, **still)
    theirs = train_peer(losses.SimplexMSE, start, X, y, 3, 3, **still)
    rows = torch.from_numpy(X)
    assert torch.allclose(ours.outputs(rows), theirs.outputs(rows), atol=1e-5)


def test_a_peer_with_our_loss_takes_our_steps():
    """The loop around the peers is ours: the same loss leads to the same model."""

    class ToProxies(losses.SimplexMSE):
        def forward(self, outputs, y):
            unit = torch.nn.functional.normalize(outputs)
            return (unit - self.targets[y]).square().sum(1).mean()

    X, y = data.load(None, Task("iris"))[:2]
    rates = {"learning_rate": 3e-3, "weight_decay": 0.5}
    ours, theirs = (
        train_hug(SMALL, X, y, 0, 3, softness=0.0, **rates),
        train_peer(ToProxies, SMALL, X, y, 0, 3, **rates),
    )
    assert np.allclose(ours.embed(X), theirs.embed(X), atol=2e-3)


def test_early_stopping_keeps_the_best_epoch():
    split = data.load(None, Task("breast cancer"))
    epochs, best = [], []

    def note(epoch, model):
        epochs.append(epoch)
        best.append([p.detach().clone() for p in model.body.parameters()])

    model = train_peer(
        losses.Softmax, SMALL._replace(epochs=60), split.X, split.y, 0, 2,
        learning_rate=3e-2, weight_decay=0.0, early_stopping=True, after_epoch=note,
    )  # fmt: skip
    assert len(epochs) < 60
    kept = list(model.body.parameters())
    at = [i for i, b in enumerate(best) if all(map(torch.equal, b, kept))]
    assert at
    assert at[0] < len(epochs) - 1


def test_every_contender_gets_as_many_trials(lab, tmp_path):
    logs = [tmp_path / "plain", tmp_path / "knob"]
    contenders = {
        "plain": Contender(partial(record, logs[0]), "peers"),
        "knob": Contender(partial(record, logs[1]), "HUG", values("knob", 0.2, 0.1, 0.3)),
    }
    tuned = lab.tune(contenders, Task("iris"), SMALL, RATES, 4, preference)
    assert [len(log.read_text().splitlines()) for log in logs] == [4, 4]
    assert tuned["plain"][1] == RATES[0]
    assert tuned["knob"][1] == {**RATES[0], "knob": 0.1}
    assert tuned["knob"][0] == pytest.approx(-0.101)


def test_finished_trials_are_not_run_again(lab, tmp_path):
    contenders = {"one": Contender(partial(record, tmp_path / "log"), "peers")}
    for _ in range(2):
        lab.final(contenders, {"one": RATES[0]}, Task("iris"), SMALL, (0, 1), preference)
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_validation_rows_come_from_the_training_rows_alone():
    whole = data.load(None, Task("wine", fold=1))
    part = data.load(None, Task("wine", fold=1), validation=0.25)
    test = {row.tobytes() for row in whole.X_test}
    assert not test & {row.tobytes() for row in np.concatenate([part.X, part.X_test])}
    assert len(part.y) + len(part.y_test) == len(whole.y)


def test_folds_draw_other_test_rows():
    a, b = (data.load(None, Task("digits", fold=f)).X_test for f in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("name", data.TABULAR)
def test_tabular_sets_have_every_class_in_both_parts(name):
    split = data.load(None, Task(name))
    assert len(np.unique(split.y)) == len(np.unique(split.y_test)) == split.n_classes
    assert split.X.dtype == np.float32
    assert np.isfinite(split.X).all()


def test_symmetric_noise_redraws_a_share_from_all_classes():
    y = np.repeat(np.arange(10), 2000)
    rows, noisy = data.CHANGES["symmetric"](y, 0.4, np.random.RandomState(0))
    assert np.array_equal(rows, np.arange(len(y)))
    assert np.mean(noisy != y) == pytest.approx(0.36, abs=0.01)  # a tenth is redrawn as it was


def test_asymmetric_noise_turns_a_class_into_the_next():
    y = np.repeat(np.arange(4), 2000)
    _, noisy = data.CHANGES["asymmetric"](y, 0.3, np.random.RandomState(0))
    assert np.mean(noisy != y) == pytest.approx(0.3, abs=0.01)
    assert set((noisy - y)[noisy != y] % 4) == {1}


def test_the_long_tail_falls_geometrically():
    y = np.random.RandomState(0).permutation(np.repeat(np.arange(5), 1000))
    rows, kept = data.CHANGES["long tail"](y, 100, np.random.RandomState(0))
    assert np.array_equal(kept, y[rows])
    assert np.bincount(kept).tolist() == [1000, 316, 100, 32, 10]


def test_finalists_are_the_best_of_each_family():
    contenders = {n: Contender(record, family) for n, family in zip("abcd", "xxxy", strict=True)}
    tuned = {name: (score, {}) for name, score in zip("abcd", (0.1, 0.3, 0.2, 0.0), strict=True)}
    assert list(harness.finalists(tuned, contenders, 2)) == ["b", "c", "d"]


def test_paired_differences_are_tested_by_the_t_test():
    ours, peer = np.array([0.9, 0.92, 0.91]), np.array([0.89, 0.90, 0.88])
    d = ours - peer
    t = d.mean() / (d.std(ddof=1) / np.sqrt(3))
    from scipy.stats import t as student

    assert harness.paired(ours, peer)["p"] == pytest.approx(2 * student.sf(t, 2))
    assert harness.paired(ours, ours) == {"difference": 0.0, "p": 1.0}
    assert "worse" in harness.beside(np.array([0.1, 0.11, 0.12]), np.array([0.5, 0.52, 0.5]))


def test_reports_are_markdown_and_json(lab, tmp_path, monkeypatch, capsys):
    import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    contenders = {n: Contender(partial(record, tmp_path / n), "peers") for n in ("a", "b")}
    chosen = {"a": RATES[1], "b": RATES[0]}
    final = lab.final(contenders, chosen, Task("iris"), SMALL, (0, 1), preference)
    table = harness.comparison("Title", "Text.", final, chosen, "a")
    harness.publish(lab, "trial", [table], harness.as_json(final, chosen))
    text = (tmp_path / "evidence_trial_quick.md").read_text()
    assert text.index("| b |") < text.index("| a |")
    assert '"seeds"' in (tmp_path / "evidence_trial_quick.json").read_text()
    assert "### Title" in capsys.readouterr().out
