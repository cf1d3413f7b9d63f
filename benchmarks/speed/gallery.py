"""A gallery of a million vectors beside faiss used bare: time of a search, memory, growth.

1,000,000 unit vectors of 128 components around 10,000 centres, ten neighbours of 1,000 queries and
of single ones; graphs of 20,000 of the vectors, with 200 queries. Ours takes a NumPy array, checks
it, scales it to length 1, searches and ranks what it found in float64; faiss is given normalised
queries and searches. One thread each, in turn; seconds are of the process, a ratio is that of
pairs. Memory is the most that a fresh process takes beyond what it had with the vectors, over their
bytes; mapped files do not count, since the system takes them back. About five minutes on one core:

    pip install "skhug[faiss,usearch]"
    OMP_NUM_THREADS=1 python benchmarks/speed/gallery.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch
from usearch.index import Index as UsearchGraph

from skhug.retrieval import FaissIndex, Gallery, UsearchIndex

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import as_table, interval, measure, write

N, N_GRAPH, D, CLASSES, K = 1_000_000, 20_000, 128, 10_000, 10
QUERIES, GRAPH_QUERIES = 1_000, 200
ROUNDS, SINGLE = 4, 5
BAR = 1.05


def vectors(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around centres, float32, and the centres' numbers."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, D), np.float32)
    rng = np.random.default_rng(1 + seed)
    y = rng.integers(CLASSES, size=n)
    X = centres[y]
    for start in range(0, n, 1 << 14):  # small blocks leave no memory behind
        block = X[start : start + (1 << 14)]
        block += 0.7 * rng.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return X, y


def repeated(search: Callable[[np.ndarray], object], queries: np.ndarray, single: bool):
    """Search all queries at once, or some of them one by one."""
    if not single:
        return lambda: search(queries)
    return lambda: [search(queries[i : i + 1]) for i in range(SINGLE)]


def searches(
    galleries: dict[str, Gallery], bare: dict[str, Callable], queries: np.ndarray
) -> dict[str, dict]:
    """CPU seconds of ours and of the peers, and the ratios of those that belong together."""
    cells = {}
    for what, single in ((f"{len(queries)} queries", False), ("one query", True)):
        jobs = {
            name: repeated(lambda Q, g=g: g.kneighbors(Q, K), queries, single)
            for name, g in galleries.items()
        }
        jobs |= {name: repeated(search, queries, single) for name, search in bare.items()}
        seconds = measure(jobs, ROUNDS, time.process_time)
        scale = SINGLE if single else 1
        for name in galleries:
            peer = name if name in bare else f"bare {name.partition(',')[0].split()[-1]}"
            peer = peer if peer in bare else next(iter(bare))
            cells[f"{name}, {what}"] = {
                "ours": float(np.median(seconds[name])) / scale,
                "peer": float(np.median(seconds[peer])) / scale,
                "ratio": interval(seconds[name], seconds[peer]),
                "against": peer,
            }
    return cells


def flat(X: np.ndarray, y: np.ndarray, queries: np.ndarray) -> dict[str, dict]:
    """Exact searches of a million, and codes."""
    index = faiss.IndexFlatIP(D)
    index.add(X)
    galleries = {
        "exact": Gallery().fit(X, y),
        "faiss": Gallery(index="faiss").fit(X, y),
        "int8": Gallery(index="int8").fit(X, y),
        "binary": Gallery(index="binary").fit(X, y),
    }
    return searches(galleries, {"bare IndexFlatIP": lambda Q: index.search(Q, K)}, queries)


def graphs(X: np.ndarray, y: np.ndarray, queries: np.ndarray) -> dict[str, dict]:
    """Graphs of faiss and of usearch."""
    X, y, queries = X[:N_GRAPH], y[:N_GRAPH], queries[:GRAPH_QUERIES]
    hnsw = Gallery(index=FaissIndex("HNSW32", search="efSearch=64")).fit(X, y)
    usearch = Gallery(index=UsearchIndex()).fit(X, y)
    theirs = faiss.index_factory(D, "HNSW32", faiss.METRIC_INNER_PRODUCT)
    theirs.add(X)
    faiss.ParameterSpace().set_index_parameters(theirs, "efSearch=64")
    graph = UsearchGraph(ndim=D, metric="cos", dtype="f32")
    graph.add(np.arange(len(X)), X, threads=1)
    cells = searches({"HNSW32": hnsw}, {"bare HNSW32": lambda Q: theirs.search(Q, K)}, queries)
    cells |= searches(
        {"usearch": usearch}, {"bare usearch": lambda Q: graph.search(Q, K, threads=1)}, queries
    )
    for name, gallery in (("HNSW32", hnsw), ("usearch", usearch)):
        for what in (f"{GRAPH_QUERIES} queries", "one query"):
            cells[f"{name}, {what}"]["recall"] = gallery.index_recall(queries, K)
    return cells


# --- memory ---------------------------------------------------------------------------------


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) * 1024


def most_while(function: Callable[[], object]) -> int:
    """Return the largest number of bytes seen while a function runs."""
    seen, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    function()
    seen.append(anonymous())
    done.set()
    thread.join()
    return max(seen)


def memory(index: str, storage: str) -> None:
    """Print, for one kind of gallery, the memory that it takes beyond the caller's vectors."""
    torch.set_num_threads(1)
    X, y = vectors(N)
    Gallery(index=index).fit(X[:2000], y[:2000]).kneighbors(X[:2], K)  # loads what is loaded once
    before = anonymous()
    gallery = Gallery(index=index, storage=storage)
    building = most_while(lambda: gallery.fit(X, y)) - before
    searching = most_while(lambda: gallery.kneighbors(X[:QUERIES], K)) - before
    print(json.dumps({"building": building / X.nbytes, "searching": searching / X.nbytes}))


def memories() -> dict[str, dict[str, float]]:
    """Measure each in a process of its own."""
    cells = {}
    for index, storage in (
        ("exact", "memory"),
        ("faiss", "memory"),
        ("int8", "disk"),
    ):
        command = [sys.executable, __file__, index, storage]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        cells[f"{index}, storage={storage!r}"] = json.loads(run.stdout)
    return cells


def growth(X: np.ndarray, y: np.ndarray) -> dict[str, dict[str, float]]:
    """Microseconds of CPU a row when 2,000 rows come one by one to few and to many."""
    cells = {}
    for n in (1_000, N):
        gallery = Gallery().fit(X[:n], y[:n])
        start = time.process_time()
        for i in range(2_000):
            gallery.partial_fit(X[i : i + 1], y[i : i + 1])
        cells[f"to {n:,} rows"] = {"microseconds": (time.process_time() - start) / 2_000 * 1e6}
    return cells


def main() -> None:
    """Print the tables and write benchmarks/results/gallery.json."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    X, y = vectors(N)
    queries, _ = vectors(QUERIES, seed=1)
    results = {"memory": memories(), "growth": growth(X, y)}
    results["search"] = {**graphs(X, y, queries), **flat(X, y, queries)}
    tell(results)


def tell(results: dict) -> None:
    """Print the tables of the results and write them."""
    rows = [
        [
            *(name, f"{cell['ours'] * 1e3:,.2f}", f"{cell['peer'] * 1e3:,.2f}"),
            *(shown(cell["ratio"]), cell["against"]),
            f"{cell['recall']:.3f}" if "recall" in cell else "",
        ]
        for name, cell in results["search"].items()
    ]
    text = as_table(["search", "ours, ms", "peer, ms", "ratio", "peer", "recall"], rows) + "\n"
    rows = [[k, *(f"{v:.2f}" for v in cell.values())] for k, cell in results["memory"].items()]
    text += as_table(["memory over the vectors' bytes", "fit", "search"], rows) + "\n"
    rows = [[k, f"{cell['microseconds']:.0f}"] for k, cell in results["growth"].items()]
    text += as_table(["a row more", "microseconds"], rows)
    print(text, end="")
    write("gallery", results, text)


def shown(ratio: list[float]) -> str:
    """Show a ratio and its interval."""
    return f"{ratio[0]:.3f} ({ratio[1]:.3f}-{ratio[2]:.3f})"


if __name__ == "__main__":
    memory(*sys.argv[1:]) if len(sys.argv) > 1 else main()
