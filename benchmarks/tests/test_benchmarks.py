"""The house of benchmarks: private names in one file, and commands that are there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(
    path
    for path in BENCHMARKS.rglob("*.py")
    if path.name != "_internals.py" and "tests" not in path.parts
)
BUILT = {"_build", "generated"}  # what a build of the site writes
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for path in (ROOT / "docs").rglob("*.md") if not BUILT & set(path.parts)),
    *(ROOT / "skhug").rglob("*.py"),
    *BENCHMARKS.rglob("*.py"),
]


def imported(path):
    """Dotted names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_private_names_are_reached_through_one_file(path):
    names = [name.split(".") for name in imported(path)]
    assert not [n for n in names if n[0] == "skhug" and any(part[0] == "_" for part in n)]


def test_internals_has_every_name_that_is_taken_from_it():
    wanted = {n.split(".")[1] for p in SCRIPTS for n in imported(p) if n.startswith("_internals.")}
    offered = subprocess.run(
        [sys.executable, "-c", "import _internals; print(*_internals.__all__)"],
        cwd=BENCHMARKS, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert wanted == set(offered)


def test_commands_name_files_that_are_there():
    missing = [
        (path.name, name)
        for path in PAGES
        for name in re.findall(r"benchmarks/[\w/]+\.py", path.read_text())
        if not (ROOT / name).exists()
    ]
    short = re.findall(r"`((?:speed|evidence|faults)/\w+\.py)", (ROOT / "README.md").read_text())
    assert short
    assert not missing
    assert not [name for name in short if not (BENCHMARKS / name).exists()]
