"""Real tables: the same rows for all, categories to who takes them, figures that can be kept."""

import json

import common
import numpy as np
import pandas as pd
import pytest
from evidence import harness, real_tables
from evidence.real_tables import OURS, Contender
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression


class TakesCategories(DummyClassifier):
    """Insists on the table as it is, and on the names of its columns of text."""

    def fit(self, X, y, names):
        assert list(X.columns) == ["width", "colour"]
        assert names == ["colour"]
        return super().fit(X, y)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(real_tables, "TO_CHOOSE_ON", ("one", "other"))
    contenders = {
        OURS: Contender(lambda seed: LogisticRegression()),
        "as it is": Contender(lambda seed: TakesCategories(), "names"),
        "absent": Contender(lambda seed: DummyClassifier(), package="absent"),
    }
    monkeypatch.setattr(real_tables, "CONTENDERS", contenders)
    monkeypatch.setattr(real_tables, "OPTIONAL", ("absent",))
    (tmp_path / "tables").mkdir()
    write_table(tmp_path, "one", 0)
    write_table(tmp_path, "other", 1)
    return harness.Lab(tmp_path, None, jobs=1, quick=True)


def write_table(folder, name, seed):
    width = np.random.RandomState(seed).randn(60)
    colour = np.where(width > 0, "red", "blue")
    table = pd.DataFrame({"width": width, "colour": colour, "class": (width > 0.5).astype(int)})
    table.to_csv(folder / "tables" / f"{name}.csv.gz", index=False)


def results(folder):
    text = (folder / "evidence_real_tables_quick.md").read_text()
    return text, json.loads((folder / "evidence_real_tables_quick.json").read_text())["results"]


def test_everybody_installed_is_measured_split_by_split(lab, tmp_path):
    real_tables.ask(lab)
    text, figures = results(tmp_path)
    assert list(figures["to choose on"]) == [OURS, "as it is"]
    assert "Not measured: absent." in text
    for sets in figures["to choose on"].values():
        assert list(sets) == ["one", "other"]
        assert all(len(v) == 3 for measures in sets.values() for v in measures.values())
    assert min(figures["to choose on"][OURS]["one"]["AUC"]) > 0.9
    assert figures["to choose on"]["as it is"]["one"]["AUC"] == [0.5] * 3


def test_others_keep_the_figures_of_the_run_before(lab, tmp_path):
    real_tables.ask(lab)
    file = tmp_path / "evidence_real_tables_quick.json"
    content = json.loads(file.read_text())
    content["results"]["measured"]["as it is"]["day"] = "2001-01-01"
    content["results"]["to choose on"]["as it is"]["one"]["accuracy"] = [0.1, 0.2, 0.3]
    content["results"]["to choose on"][OURS]["one"]["accuracy"] = [0.1, 0.2, 0.3]
    file.write_text(json.dumps(content))
    lab.contenders = [OURS]
    real_tables.ask(lab)
    text, figures = results(tmp_path)
    assert figures["to choose on"]["as it is"]["one"]["accuracy"] == [0.1, 0.2, 0.3]
    assert figures["to choose on"][OURS]["one"]["accuracy"] != [0.1, 0.2, 0.3]
    lines = [line for line in text.splitlines() if line.startswith(("| as it is", f"| {OURS}"))]
    assert len(lines) == 6
    assert all(("2001-01-01" in line) == ("as it is" in line) for line in lines)


def test_figures_of_other_rows_are_not_kept(lab, tmp_path, monkeypatch):
    real_tables.ask(lab)
    lab.contenders = [OURS]
    monkeypatch.setattr(real_tables, "MOST_ROWS", 50)
    with pytest.raises(SystemExit, match="other rows or splits"):
        real_tables.ask(lab)


def test_figures_of_another_table_are_not_kept(lab, tmp_path):
    real_tables.ask(lab)
    lab.contenders = [OURS]
    write_table(tmp_path, "other", 2)
    with pytest.raises(SystemExit, match="other rows or splits"):
        real_tables.ask(lab)


def test_names_that_are_not_there_and_peers_without_ours_are_refused(lab):
    lab.contenders = ["theirs"]
    with pytest.raises(SystemExit, match="theirs"):
        real_tables.ask(lab)
    lab.contenders = ["as it is"]
    with pytest.raises(SystemExit, match=f"measure {OURS} first"):
        real_tables.ask(lab)
