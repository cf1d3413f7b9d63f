"""The documentation's tables: true to the JSON, whole where a file is missing or unknown."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import result_pages as results  # noqa: E402
import result_tables as tables  # noqa: E402
from best_cells import emphasised  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


def put(folder, name, content):
    (folder / f"{name}.json").write_text(json.dumps({"setup": {"cores": 2}, "results": content}))


def cell(mean, error):
    return {"mean": mean, "standard_error": error, "n": 3}


def written(folder):
    results.write_tables(folder / "tables")
    return {path.stem: path.read_text() for path in (folder / "tables").glob("*.md")}


def test_figures_of_the_results_appear_in_their_tables():
    for name, make in tables.TABLES.items():
        content = json.loads((results.RESULTS / f"{name}.json").read_text())["results"]
        made = make(content)
        assert made, name
        for table in made:
            assert table.rows, name
            assert {len(row) for row in table.rows} == {len(table.header)}, name


def test_every_command_shown_names_a_script_that_is_there():
    for name in tables.TABLES:
        _, command = results._described(results._WRITTEN_BY.get(name, name))
        scripts = [word for word in command.split() if word.startswith("benchmarks/")]
        assert scripts, name
        assert all((ROOT / script).exists() for script in scripts), command


def test_what_is_not_measured_says_so(folder):
    pages = written(folder)
    assert set(pages) == {*tables.TABLES, "others"}
    assert all("Not measured yet" in pages[name] for name in tables.TABLES)
    figures = results.figures()
    assert str(figures["mnist"]["clean"]["accuracy"]) == "not measured"


def test_standing_goes_by_two_standard_errors():
    cells = {
        "HUG": cell(0.50, 0.01),
        "worse": cell(0.40, 0.01),
        "near": cell(0.52, 0.01),
        "better": cell(0.60, 0.01),
    }
    said = tables.standing(cells, lambda name: name == "HUG", "accuracy")
    assert "*behind* “better”" in said
    assert "*level with* “near”" in said
    assert "*ahead of* “worse”" in said


def test_single_runs_give_no_verdict():
    cells = {"HUG": cell(0.9, None), "peer": cell(0.1, None)}
    assert "no verdict" in tables.standing(cells, lambda name: name == "HUG", "accuracy")


def test_ratios_above_one_are_named():
    said = tables.slower({"a": [1.2, 1.1, 1.3], "b": [1.1, 0.9, 1.3]})
    assert "- a" in said
    assert "- b" not in said


def test_slower_losses_are_named_though_no_ratio_was_taken(folder):
    put(
        folder,
        "loss",
        {
            "C=10": {"microseconds": {"HUG": 30.0, "peer": 10.0, "slow": 90.0}, "ratios": {}},
            "itself": {"microseconds": {"10": 30.0, "1000": 40.0}, "ratios": {}},
        },
    )
    page = written(folder)["loss"]
    assert "C=10: 3.0 times peer" in page
    assert "times slow" not in page
    assert "itself: " not in page


def test_questions_take_markdown_before_json_and_full_runs_before_quick_ones(folder):
    put(folder, "evidence_noise", {"a": {"accuracy": cell(0.5, 0.1)}})
    put(folder, "evidence_noise_quick", {"b": {"accuracy": cell(0.5, 0.1)}})
    put(folder, "evidence_tail", {"c": {"accuracy": cell(0.25, 0.1)}})
    (folder / "evidence_noise.md").write_text("# Wrong labels\n\n| x |\n| --- |\n| 1 |\n")
    pages = written(folder)
    headings = [line for line in pages["question_noise"].splitlines() if line.startswith("#")]
    assert headings == ["### Wrong labels"]
    assert "| c | 0.2500 ± 0.1000 |" in pages["question_tail"]
    assert "quick run" not in "".join(pages.values())


def test_every_question_that_is_answered_has_a_place_on_a_page():
    pages = "".join(p.read_text() for p in (ROOT / "docs" / "evidence").glob("*.md"))
    missing = [q for q in results._questions() if f"question_{q}.md" not in pages]
    assert not missing


def test_the_best_of_a_column_is_bold_where_its_name_says_which_way_is_better():
    table = "| contender | accuracy | log-loss | s |\n| --- | --- | --- | --- |\n"
    rows = "| a | 0.9 ± 0.1 | 0.5 | 1 |\n| b | 0.8 | 0.4 | 2 |\n"
    bold = "| a | **0.9 ± 0.1** | 0.5 | 1 |\n| b | 0.8 | **0.4** | 2 |\n"
    assert emphasised(table + rows) == table + bold
    by_data = (table + rows).replace("contender", "data")
    assert emphasised(by_data) == by_data


def test_results_of_unknown_form_are_shown_too(folder):
    put(
        folder,
        "strange",
        {
            "total": 3,
            "cases": {"one": {"seconds": 1.5, "ratio": [0.5, 0.4, 0.6]}, "two": {"seconds": 2.5}},
        },
    )
    page = written(folder)["others"]
    assert "### Strange" in page
    assert "| total | 3 |" in page
    assert "| one | 1.5 | 0.50 (0.40\N{EN DASH}0.60) |" in page
    assert "| two | 2.5 |  |" in page
