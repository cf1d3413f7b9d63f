"""Results as Markdown beside JSON: the same figures in both."""

import json

import common
import pytest


def results_of(name):
    content = json.loads((common.RESULTS / f"{name}.json").read_text())
    return content.get("results", content)


def test_a_report_is_printed_and_written_in_both_forms(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    common.report("trial", ["", "seconds"], [["ours", "0.5"]], {"ours": 0.5})
    table = "|  | seconds |\n| --- | --- |\n| ours | 0.5 |\n"
    assert (tmp_path / "trial.md").read_text() == capsys.readouterr().out == table
    assert json.loads((tmp_path / "trial.json").read_text())["results"] == {"ours": 0.5}


def test_cases_become_rows_and_lists_stay_in_the_json():
    results = {
        "seed": 1,
        "a": {"calls": 2000, "growth_percent": -1e-13, "flat": True, "rss": [1.0, 2.0]},
        "b": {"failed": "no\nroom"},
    }
    assert common.case_table("job", results).splitlines() == [
        "| job | calls | growth percent | flat | failed |",
        "| --- | --- | --- | --- | --- |",
        "| a | 2,000 | 0.00 | yes |  |",
        "| b |  |  |  | no room |",
    ]


@pytest.mark.parametrize(
    ("name", "what"), [("soak", "job"), ("kills", "case"), ("disk", "file system")]
)
def test_kept_tables_say_what_their_json_says(name, what):
    text = (common.RESULTS / f"{name}.md").read_text()
    assert text == common.case_table(what, results_of(name))
