"""Tables with gaps: the same frame for all, with its dtypes and a tenth of its cells gone."""

import json

import common
import numpy as np
import pandas as pd
import pytest
from evidence import frames, harness
from sklearn.dummy import DummyClassifier


class SeesTheFrame(DummyClassifier):
    """Insists on dtypes and gaps."""

    def fit(self, X, y):
        assert list(X.dtypes.astype(str)) == ["float64", "category", "category"]
        assert 0.02 < X.isna().to_numpy().mean() < 0.2
        return super().fit(X, y)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    pytest.importorskip("skrub")
    monkeypatch.setattr(frames, "NOMINAL", {"heart": ("code",)})
    contenders = {
        frames.OURS: lambda seed: SeesTheFrame(strategy="prior"),
        "peer": lambda seed: SeesTheFrame(strategy="uniform", random_state=seed),
    }
    monkeypatch.setattr(frames, "CONTENDERS", contenders)
    (tmp_path / "tables").mkdir()
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "width": rng.normal(size=90),
            "colour": rng.choice(["red", "blue"], 90),
            "code": rng.integers(0, 3, 90),
            "class": rng.random(90) < 0.2,
        }
    ).astype({"class": int})
    table.to_csv(tmp_path / "tables" / "heart.csv.gz", index=False)
    return harness.Lab(tmp_path, None, jobs=1, quick=True)


def test_everybody_gets_the_frame_as_it_is(lab, tmp_path):
    frames.ask(lab)
    found = json.loads((tmp_path / "evidence_frames_quick.json").read_text())["results"]
    measured = found["to choose on"]
    assert list(measured) == [frames.OURS, "peer"]
    ours, peer = (measured[name]["heart"] for name in measured)
    assert len(ours["accuracy"]) == 3
    assert np.mean(ours["log-loss"]) < np.mean(peer["log-loss"])
    assert ours["AUC"] == [0.5, 0.5, 0.5]
    assert "heart" in (tmp_path / "evidence_frames_quick.md").read_text()
