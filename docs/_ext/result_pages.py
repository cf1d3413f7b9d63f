"""Pages' fragments from the benchmarks: method, table, standing and command, none typed by hand.

A benchmark's is ``NAME.md``, that of a question of the evidence ``question_NAME.md``.

Figures come from ``benchmarks/results/*.json``, method and command from the docstring of the
benchmark that wrote them. What has not been measured says so, and no page fails to build.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from best_cells import emphasised
from result_tables import TABLES, Table, cell, generic, is_cell

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
# Results whose file is written by a benchmark of another name.
_WRITTEN_BY = {"images_quick": "images"}


def write_tables(folder: Path) -> None:
    """Write a fragment for each known benchmark and each question, and one for all others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        _write(folder / f"{name}.md", _fragment(name))
    for question, text in _questions().items():
        _write(folder / f"question_{question}.md", text)
    _write(folder / "others.md", _others())


def figures() -> dict[str, Any]:
    """Return the measured figures for use in a sentence: ``{{ mnist["row"].accuracy }}``."""
    return {name: _strings(_load(name) or {}) for name in TABLES}


class Figures(dict):
    """Figures by name; what is missing at any depth reads "not measured"."""

    def __missing__(self, key: str) -> Figures:
        return Figures()

    def __str__(self) -> str:
        return super().__str__() if self else "not measured"


def _strings(results: dict) -> Figures:
    shown = Figures()
    for key, value in results.items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            value = value[0]  # a ratio beside its bar
        if is_cell(value):
            shown[key] = cell(value)
        elif isinstance(value, dict):
            shown[key] = _strings(value)
    return shown


def _load(name: str) -> dict | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()).get("results") if path.exists() else None


def _fragment(name: str) -> str:
    method, command = _described(_WRITTEN_BY.get(name, name))
    results = _load(name)
    if results is None:
        return f"Not measured yet; the command would be\n\n```bash\n{command}\n```\n"
    parts = [method]
    for table in TABLES[name](results):
        parts += [_markdown(table), table.note]
    parts += [f"```bash\n{command}\n```", _setup(name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _described(script: str) -> tuple[str, str]:
    """Return a benchmark's method and its command, from its docstring."""
    path = next(BENCHMARKS.glob(f"*/{script}.py"))
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    prose = [line for line in text.splitlines() if not line.startswith("    ")]
    method = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).replace("``", "`").strip()
    return re.sub(r":(\n\n|\Z)", r".\1", method), "\n".join(commands)


def _setup(name: str) -> str:
    setup = json.loads((RESULTS / f"{name}.json").read_text()).get("setup", {})
    return "Measured with " + ", ".join(f"{key} {value}" for key, value in setup.items()) + "."


def _markdown(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{table.title}**\n\n{body}" if table.title else body


# --- questions: evidence_<question>.md and .json; a quick run counts until there is a full one


def _questions() -> dict[str, str]:
    found = {p.stem for p in RESULTS.glob("*") if p.suffix in READERS and _is_question(p.stem)}
    names = [n for n in sorted(found) if n.removesuffix("_quick") not in found - {n}]
    return {n.removeprefix("evidence_").removesuffix("_quick"): _question(n) for n in names}


def _is_question(name: str) -> bool:
    """Whether results answer a question of the evidence, by ``--only`` or a script of its own."""
    own = name not in TABLES and (BENCHMARKS / "evidence" / f"{name}.py").exists()
    return own or name.startswith("evidence_")


def _question(name: str) -> str:
    question = name.removeprefix("evidence_").removesuffix("_quick")
    path = next(p for p in (RESULTS / f"{name}{suffix}" for suffix in READERS) if p.exists())
    parts = [READERS[path.suffix](path)]
    if name.endswith("_quick"):
        parts.insert(0, "A quick run, with fewer rows and seeds.")
    script = BENCHMARKS / "evidence" / f"{question}.py"
    if script.exists():
        method, command = _described(question)
        if name.startswith("evidence_"):
            command = f"python benchmarks/evidence --data DIR --only {question}"
        parts.insert(0, method)
        parts.append(f"```bash\n{command}{' --quick' * name.endswith('_quick')}\n```")
    return "\n\n".join(parts) + "\n"


def _read_markdown(path: Path) -> str:
    """Return a page with its headings below that of a question."""
    return re.sub(r"^#+ ", "### ", path.read_text(), flags=re.M).strip()


def _read_json(path: Path) -> str:
    content = json.loads(path.read_text())
    return "\n\n".join(_markdown(table) for table in generic(content.get("results", content)))


READERS = {".md": _read_markdown, ".json": _read_json}


# --- results of other benchmarks, of a form that is not known here --------------------------


def _others() -> str:
    names = [p.stem for p in sorted(RESULTS.glob("*.json")) if not _is_question(p.stem)]
    return "\n\n".join(_other(name) for name in names if name not in TABLES) + "\n"


def _other(name: str) -> str:
    parts = [f"### {name.replace('_', ' ').capitalize()}", _read_json(RESULTS / f"{name}.json")]
    if any(BENCHMARKS.glob(f"*/{name}.py")):
        method, command = _described(name)
        parts = [parts[0], method, parts[1], f"```bash\n{command}\n```"]
    return "\n\n".join(part for part in parts if part)


def _write(path: Path, text: str) -> None:
    text = emphasised(text)
    if not path.exists() or path.read_text() != text:  # an unchanged page is not read anew
        path.write_text(text)
