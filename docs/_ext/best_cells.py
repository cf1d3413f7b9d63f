"""The best figure of a column in bold, where the column's name says which way is better."""

from __future__ import annotations

import re

# Tables of which a row is a model; of others a column's figures are not to be compared.
_ROWS = {"contender", "model", "loss", "settings", "score", ""}
_LESS = re.compile(r"log-loss|ECE|mean rank|^FAR")
_MORE = re.compile(
    r"accuracy|AUC|Recall|MAP@R|TAR|symmetric|^d = |^(head|tail|worst|clean|all|first two|last two"
    r"|FGSM|PGD, \w+|squares|noise|blur|contrast|NDCG.*)$"
)
_APART = re.compile(r"beside|gain|over")  # differences from a row of the table
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.M)


def emphasised(markdown: str) -> str:
    """Return Markdown in which the best figures of every table of models are bold."""
    return _TABLE.sub(lambda found: _emphasised(found[0]), markdown)


def _emphasised(table: str) -> str:
    header, rule, *rows = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()
    ]
    if header[0] not in _ROWS or len(rows) < 2:
        return table
    for column, name in enumerate(header):
        way = _way(name)
        figures = [_figure(row[column]) for row in rows]
        known = [figure for figure in figures if figure is not None]
        if way and known:
            best = max(known, key=lambda figure: way * figure)
            for row, figure in zip(rows, figures, strict=True):
                if figure == best:
                    row[column] = f"**{row[column]}**"
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))


def _way(name: str) -> int:
    """1 where more is better, -1 where less is, 0 where the name does not say."""
    if _APART.search(name):
        return 0
    return -1 if _LESS.search(name) else 1 if _MORE.search(name) else 0


def _figure(cell: str) -> float | None:
    found = _NUMBER.match(cell)
    return float(found[0]) if found else None
