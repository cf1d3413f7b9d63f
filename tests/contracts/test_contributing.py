"""CONTRIBUTING.md names files that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_files_that_are_named_are_there():
    folders = [ROOT / name for name in ("skhug", "benchmarks", "tests")]
    there = [path.as_posix() for folder in folders for path in folder.rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", TEXT)
    assert named
    assert not [name for name in named if not any(p.endswith(f"/{name}") for p in there)]
