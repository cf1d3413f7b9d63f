"""From the JSON of each benchmark to tables, and to a sentence on who is ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Strings to show, and a sentence below them."""

    header: list[str]
    rows: list[list[str]]
    title: str = ""
    note: str = ""


def is_cell(value: Any) -> bool:
    """Whether a value is a number or a summary of some, to be shown in one cell."""
    if isinstance(value, dict):
        return "mean" in value or "median" in value
    if isinstance(value, list):
        return len(value) in (3, 4) and all(isinstance(v, int | float) for v in value)
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def cell(value: Any, digits: int = 4) -> str:
    """Show a mean with its error, a ratio or median with its interval, or a number."""
    if isinstance(value, dict) and "mean" in value:
        error = value.get("standard_error")
        shown = f"{value['mean']:.{digits}f}"
        return shown if error is None else f"{shown} ± {error:.{digits}f}"
    if isinstance(value, dict):
        low, high = value.get("quartiles") or (value["low"], value["high"])
        return f"{value['median']:.2f} ({low:.2f}\N{EN DASH}{high:.2f})"
    if isinstance(value, list):
        return f"{value[0]:.2f} ({value[1]:.2f}\N{EN DASH}{value[2]:.2f})"
    return value if isinstance(value, str) else f"{value:.4g}"


def standing(cells: dict[str, dict], ours: Callable[[str], bool], measure: str) -> str:
    """Say whom the best of ours is behind, level with and ahead of.

    Level is a difference of at most two standard errors; of single runs nothing is said.
    """
    if any(value["standard_error"] is None for value in cells.values()):
        return "- Single runs: no verdict."
    best = max(filter(ours, cells), key=lambda name: cells[name]["mean"])
    groups: dict[str, list[str]] = {"behind": [], "level with": [], "ahead of": []}
    for name, peer in cells.items():
        if ours(name):
            continue
        difference = cells[best]["mean"] - peer["mean"]
        error = math.hypot(cells[best]["standard_error"], peer["standard_error"])
        level = abs(difference) <= 2 * error
        groups["level with" if level else "ahead of" if difference > 0 else "behind"].append(name)
    said = ", ".join(f"*{word}* {_listed(names)}" for word, names in groups.items() if names)
    return f"- {measure[0].upper()}{measure[1:]}: our best (*{best}*) is {said}."


def _listed(names: list[str]) -> str:
    return " and ".join(f"“{name}”" for name in names)


def slower(ratios: dict[str, list[float]]) -> str:
    """Name the ratios whose whole interval is above 1."""
    losses = [name for name, ratio in ratios.items() if ratio[1] > 1]
    if not losses:
        return "No ratio's whole interval is above 1."
    return "Slower, the whole interval above 1:\n\n" + "\n".join(f"- {name}" for name in losses)


def _is_hug(name: str) -> bool:
    return "hug" in name.lower()


def _defaults(results: dict) -> list[Table]:
    header = ["data", "HUGClassifier()", "StandardScaler + MLPClassifier", "difference"]
    rows = [
        [data, *(cell(values[name]) if name in values else "" for name in header[1:])]
        for data, values in results.items()
    ]
    worse = [
        data
        for data, values in results.items()
        if "difference" in values
        and values["difference"]["mean"] < -2 * values["difference"]["standard_error"]
    ]
    note = "Behind by more than two standard errors on: " + (", ".join(worse) or "none") + "."
    return [Table(header, rows, note=note)]


def _mnist(results: dict) -> list[Table]:
    measures = ["accuracy", "ECE", "log-loss"]
    models = {name: row for name, row in results.items() if "accuracy" in row}
    tables = []
    for labels in sorted({name.partition(": ")[0] for name in models}, reverse=True):
        own = {n.partition(": ")[2]: r for n, r in models.items() if n.startswith(labels + ": ")}
        rows = [[name, *(cell(row[m]) for m in measures)] for name, row in own.items()]
        said = [
            standing({n: _signed(r[m], m) for n, r in own.items()}, _is_hug, m) for m in measures
        ]
        tables.append(Table(["model", *measures], rows, f"Labels: {labels}", "\n".join(said)))
    return tables


def _signed(value: dict, measure: str) -> dict:
    """Turn a measure of which less is better."""
    return value if measure == "accuracy" else {**value, "mean": -value["mean"]}


def _retrieval(results: dict) -> list[Table]:
    measures = ["Recall@1", "MAP@R"]
    rows = [[name, *(cell(row[m], 3) for m in measures)] for name, row in results.items()]
    said = [standing({n: r[m] for n, r in results.items()}, _is_hug, m) for m in measures]
    return [Table(["loss", *measures], rows, note="\n".join(said))]


def _images_quick(results: dict) -> list[Table]:
    tables = []
    for data, values in results.items():
        losses = {name: row for name, row in values.items() if "accuracy" in row}
        rows = [[name, cell(row["accuracy"], 3)] for name, row in losses.items()]
        note = standing({n: r["accuracy"] for n, r in losses.items()}, _is_hug, "accuracy")
        if "epoch" in values:
            ratio = cell(values["epoch"]["ratio"])
            note += f"\n- An epoch takes {ratio} times that of the bare loop."
        tables.append(Table(["loss", "accuracy"], rows, data, note))
    return tables


def _times(key: str, unit: str) -> Callable[[dict], list[Table]]:
    """Tables of times and of ratios, a column a case."""

    def tables(results: dict) -> list[Table]:
        cases = {case: v for case, v in results.items() if isinstance(v, dict) and key in v}
        names = list(dict.fromkeys(name for v in cases.values() for name in v[key]))
        ratios = {case: {n: _ratio(r) for n, r in v["ratios"].items()} for case, v in cases.items()}
        pairs = list(dict.fromkeys(name for v in ratios.values() for name in v))
        flat = {f"{pair}, {case}": r for case, v in ratios.items() for pair, r in v.items()}
        return [
            Table(
                [unit, *cases],
                [[n, *(_entry(v[key].get(n)) for v in cases.values())] for n in names],
            ),
            Table(
                ["ratio", *cases],
                [[_pair(p), *(_entry(v.get(p)) for v in ratios.values())] for p in pairs],
                note=slower(flat),
            ),
        ]

    return tables


def _loss(results: dict) -> list[Table]:
    """Times of the loss; of pairs without a ratio the medians say who is slower."""
    tables = _times("microseconds", "microseconds")(results)
    slow = [
        f"- {case}: {times['HUG'] / times[peer]:.1f} times {peer}"
        for case, values in results.items()
        for times in [values.get("microseconds", {})]
        if "HUG" in times  # not where it is compared with itself
        for peer in times
        if peer not in values["ratios"] and peer != "HUG" and times["HUG"] > times[peer]
    ]
    said = "Slower by the medians, where no interval was taken:\n\n" + "\n".join(slow)
    note = f"{tables[-1].note}\n\n{said}" if slow else tables[-1].note
    return [*tables[:-1], tables[-1]._replace(note=note)]


def _ratio(value: list) -> list[float]:
    return value[0] if isinstance(value[0], list) else value


def _pair(name: str) -> str:
    return name if "/" in name else f"ours / {name}"


def _entry(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, float) and value >= 100 else cell(value)


def _classes(results: dict) -> list[Table]:
    steps = results["microseconds_a_step"]
    sizes = list(next(iter(steps.values())))
    ratios = results["ratio_to_10_classes"]
    building = [
        [name, *(f"{v[k]:,.2f}" for k in ("seconds", "peak_mib", "largest_cosine"))]
        for name, v in results["building"].items()
    ]
    return [
        Table(
            ["microseconds a step, by classes", *(f"{int(size):,}" for size in sizes)],
            [[name, *(f"{row[size]:,.0f}" for size in sizes)] for name, row in steps.items()]
            + [
                [f"{name}, to 10 classes", *(cell(row[s]) if s in row else "1" for s in sizes)]
                for name, row in ratios.items()
            ],
        ),
        Table(["building proxies", "seconds", "peak MiB", "largest cosine"], building),
    ]


def _many_classes(results: dict) -> list[Table]:
    names = {"accuracy": "accuracy", "log_loss": "log-loss", "map_at_r": "MAP@R"}
    found = [
        (f"{data}: {names[measure]}", cells)
        for measure in names
        for data, cells in results[measure].items()
    ]
    dimensions = list(found[0][1])
    fits = [
        [name, *(f"{v['seconds'][k]:.1f}" for k in ("ours", "given")), cell(v["ratio"])]
        for name, v in results["fit"].items()
    ]
    return [
        Table(
            ["data", *(f"{d} components" for d in dimensions)],
            [[name, *(cell(cells[d], 3) for d in dimensions)] for name, cells in found],
        ),
        Table(["fit", "seconds", "with proxies given", "ratio"], fits),
    ]


def _metrics(results: dict) -> list[Table]:
    rows = [
        [case, *(cell(row[name]) for name in ("ours", "theirs", "ratio"))]
        for case, row in results.items()
    ]
    above = [case for case, row in results.items() if row["ratio"]["low"] > 1]
    note = "Slower than the peer: " + ("; ".join(above) or "none") + "."
    return [Table(["case", "ours (s)", "peer (s)", "ratio"], rows, note=note)]


def _memmap(results: dict) -> list[Table]:
    rows = [[name.replace("_", " "), cell(value)] for name, value in results.items()]
    return [Table(["quantity", "measured"], rows)]


def _gallery(results: dict) -> list[Table]:
    searches = {name: {"recall": "", **row} for name, row in results["search"].items()}
    columns = ("ours", "peer", "ratio", "against", "recall")
    rows = [[name, *(cell(row[c]) for c in columns)] for name, row in searches.items()]
    ratios = {f"{n} / {row['against']}": row["ratio"] for n, row in searches.items()}
    memory = [
        [name, *(f"{row[c]:.2f}" for c in ("building", "searching"))]
        for name, row in results["memory"].items()
    ]
    growth = [[name, f"{row['microseconds']:.0f}"] for name, row in results["growth"].items()]
    return [
        Table(
            ["search", "ours (s)", "peer (s)", "ratio", "peer", "recall"],
            rows,
            note=slower(ratios),
        ),
        Table(["memory over the vectors' bytes", "fit", "search"], memory),
        Table(["a row more", "microseconds"], growth),
    ]


def _startup(results: dict) -> list[Table]:
    rows = [[name, f"{value:.3f}"] for name, value in results["seconds"].items()]
    return [Table(["statement", "seconds"], rows)]


def generic(results: dict, title: str = "") -> list[Table]:
    """Tables of results whose form is not known: a row a key, a column a figure."""
    nested = {key: value for key, value in results.items() if isinstance(value, dict)}
    rows = {key: value for key, value in nested.items() if not is_cell(value)}
    flat = {key: value for key, value in results.items() if key not in rows and is_cell(value)}
    tables = [Table(["quantity", "measured"], [[k, cell(v)] for k, v in flat.items()], title)]
    leaves = {key: row for key, row in rows.items() if any(map(is_cell, row.values()))}
    columns = list(
        dict.fromkeys(k for row in leaves.values() for k, v in row.items() if is_cell(v))
    )
    body = [
        [key, *(cell(row[c]) if is_cell(row.get(c)) else "" for c in columns)]
        for key, row in leaves.items()
    ]
    tables.append(Table(["", *columns], body, title))
    for key, row in rows.items():
        deeper = {k: v for k, v in row.items() if isinstance(v, dict) and not is_cell(v)}
        tables += generic(deeper, f"{title}: {key}" if title else key)
    return [table for table in tables if table.rows]


# What shows each file of benchmarks/results that has a place of its own on a page.
TABLES: dict[str, Callable[[dict], list[Table]]] = {
    "classes": _classes,
    "defaults": _defaults,
    "fit": _times("microseconds_a_step", "microseconds a step"),
    "frozen": _times("seconds", "CPU seconds a fit"),
    "gallery": _gallery,
    "images_quick": _images_quick,
    "inference": _times("microseconds", "microseconds a call"),
    "loss": _loss,
    "many_classes": _many_classes,
    "memmap": _memmap,
    "metrics": _metrics,
    "mnist": _mnist,
    "retrieval": _retrieval,
    "startup": _startup,
}
