"""Text: docstrings by package and file, everybody scored on the same split."""

import common
import pytest
from evidence import harness, text
from sklearn.dummy import DummyClassifier


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Three packages of three files each, with a docstring twice and one that is short."""
    for package, word in (("one", "red"), ("other", "green"), ("third", "blue")):
        for i in range(3):
            path = tmp_path / "site" / package / f"m{i}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f'def f{j}():\n    """{word} {i} {j} a b c d e f g"""\n' for j in range(8)]
            path.write_text("".join(lines) + f'def s():\n    """{word} short"""\n')
    (tmp_path / "site" / "one" / "again.py").write_text(
        'def f():\n    """red 0 0 a b c d e f g"""\n'
    )
    (tmp_path / "site" / "one" / "broken.py").write_text("def f(:\n")
    monkeypatch.setattr(text, "SITE", tmp_path / "site")
    monkeypatch.setattr(text, "LEAST", 20)
    return tmp_path


def test_docstrings_are_those_of_packages_none_twice(site):
    texts, packages, files = text.corpus(10)
    assert len(set(texts)) == len(texts) == 30
    assert set(packages) == {"one", "other", "third"}
    assert not any("short" in t for t in texts)
    assert all(package in file for package, file in zip(packages, files, strict=True))


def test_everybody_is_scored_by_what_it_gives(site, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", site)
    names = {text.OURS: lambda seed: DummyClassifier(), "LinearSVC": text.CONTENDERS["LinearSVC"]}
    monkeypatch.setattr(text, "CONTENDERS", names)
    text.ask(harness.Lab(site, None, jobs=1, quick=True))
    report = (site / "evidence_text_quick.md").read_text()
    assert "| LinearSVC | 1.0000 | - | 1.0000 | 0/1 0/1 |" in report
    assert "counts of docstrings" in report
