"""The code blocks of README.md and of the documentation's pages run, and print what they show."""

import re
from itertools import zip_longest
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "generated"} & {*p.parts}),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
NUMBER = re.compile(r"-?\d+\.\d+")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"")
# Of the extra "test", or tried by hand; scikit-learn has callbacks from 1.9 on.
OPTIONAL = {
    "mlflow",
    "onnxruntime",
    "pandas",
    "pytorch_metric_learning",
    "shap",
    "sklearn.callback",
    "skorch",
}
# What a page may show with other decimals than another machine prints.
TOLERANCE = 0.03


def blocks(page):
    """Yield (line, code, the output shown below it or None)."""
    text = page.read_text()
    found = list(FENCE.finditer(text))
    for block, after in zip_longest(found, found[1:]):
        if block[1] != "python":
            continue
        line = text.count("\n", 0, block.start()) + 2
        shown = after is not None and after[1] == "text"
        follows = shown and not text[block.end() : after.start()].strip()
        yield line, block[2], after[2] if follows else None


def agree(printed, shown):
    """Whether two texts are the same but for the last decimals of numbers."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", shown).split():
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


WITH_CODE = [page for page in PAGES if any(blocks(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for line, code, shown in blocks(page):
        capsys.readouterr()
        try:
            exec(compile("\n" * (line - 1) + code, page.name, "exec"), namespace)
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
            pytest.skip(f"{page.name} needs {error.name}")
        printed = capsys.readouterr().out
        if shown is not None:
            assert agree(printed, shown), f"{page.name}:{line} prints {printed!r}, shows {shown!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_of_a_page_lead_somewhere(page):
    # What only a build makes; Sphinx treats a link there that leads nowhere as an error.
    built = () if page.parent == ROOT else ("auto_examples", "generated")
    links = [a or b for a, b in LINK.findall(FENCE.sub("", page.read_text()))]
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    missing = [
        link
        for link in relative
        if not any(part in Path(link).parts for part in built) and not (page.parent / link).exists()
    ]
    assert missing == []


def test_numbers_are_compared_with_a_tolerance_and_words_are_not():
    assert agree("accuracy 0.97\n", "accuracy 0.98")
    assert not agree("accuracy 0.97\n", "accuracy 0.91")
    assert not agree("accuracy 0.97\n", "precision 0.97")
