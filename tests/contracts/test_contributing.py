"""CONTRIBUTING.md names files and objects that are there."""

import ast
import re
from pathlib import Path

import pytest

import skhug

ROOT = Path(__file__).parents[2]
PACKAGE = Path(skhug.__file__).parent  # elsewhere where the installed package is tested
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
OBJECTS = re.findall(r"^\| `(\w+)` \| `([\w/]+\.py)` \|", TEXT, re.M)


def test_files_that_are_named_are_there():
    folders = [PACKAGE, ROOT / "benchmarks", ROOT / "tests"]
    there = [path.as_posix() for folder in folders for path in folder.rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", TEXT)
    assert named
    assert not [name for name in named if not any(p.endswith(f"/{name}") for p in there)]


@pytest.mark.parametrize(("name", "path"), OBJECTS)
def test_objects_of_a_fit_are_defined_where_their_table_says(name, path):
    tree = ast.parse((PACKAGE / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_the_table_of_objects_is_found():
    assert len(OBJECTS) == 12
