"""Time and memory of the loss, beside cross-entropy and the authors' formulation.

Forward and backward of a batch of 256 in 128 components, then whole training steps of a
perceptron (784-256-128-128, AdamW), one thread, float32. Candidates run in turn; a ratio is the
mean over rounds of the paired ratios with its 95 % interval. Runs in about five minutes:

    python benchmarks/speed/loss.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skhug import MHE, MLP, HUGLoss
from skhug.optimizers import AdamW, flatten, make_stepper

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import pair_sum, riesz_kernel
from common import arguments, interval, measure, report, verdict

BATCH, COMPONENTS = 256, 128


def cosine_cross_entropy(z, y, w):
    """Softmax cross-entropy of scaled cosines to learned class vectors."""
    return F.cross_entropy(16 * F.normalize(z) @ F.normalize(w).T, y)


def reference(z, y, w):
    """The authors' formulation: all distances, pairs picked by a mask, classes in a loop."""
    z, w = F.normalize(z), F.normalize(w)
    distance = torch.cdist(w, w).triu(diagonal=1)
    distance = distance[distance > 0]
    within = [(z[y == c] - w[c].detach()).norm(dim=1).mean() for c in y.unique()]
    return (1 / distance**2).mean() + torch.stack(within).mean()


def forward_backward(loss, n_classes, learned=True):
    """Job: value and gradients of a batch."""
    z = torch.randn(BATCH, COMPONENTS, requires_grad=True)
    w = torch.randn(n_classes, COMPONENTS, requires_grad=learned)
    y = torch.randint(n_classes, (BATCH,))

    def run():
        z.grad = w.grad = None
        loss(z, y, w).backward()

    return run


def training_step(loss, n_classes):
    """Job: perceptron, loss and optimizer."""
    net = MLP((256, 128), activation="relu", members=1).build((784,), COMPONENTS)
    w = nn.Parameter(torch.randn(n_classes, COMPONENTS))
    segments = flatten((p, 1e-3, 0.0) for p in [*net.parameters(), w])
    stepper = make_stepper(AdamW(), segments)
    X, y = torch.randn(BATCH, 784), torch.randint(n_classes, (BATCH,))

    def run():
        for segment in segments:
            segment.gradients.zero_()
        loss(net(X), y, w).backward()
        stepper.step(1.0)

    return run


def hug(**options):
    """Our loss with learned proxies, as a function like the others."""
    module = HUGLoss(MHE(**options))
    return lambda z, y, w: module(z, y, w).loss


LOSSES = {"HUG": hug(), "cosine cross-entropy": cosine_cross_entropy, "reference": reference}


def repeat(job, at_least=0.02):
    """Repeat a job until it takes long enough to be timed."""
    job()
    start = time.perf_counter()
    job()
    times = max(1, round(at_least / (time.perf_counter() - start)))

    def run():
        for _ in range(times):
            job()

    return run, times


def compare(jobs, rounds):
    """Median microseconds a call, and the paired seconds of one call."""
    repeated = {name: repeat(job) for name, job in jobs.items()}
    seconds = measure({name: run for name, (run, _) in repeated.items()}, rounds)
    seconds = {name: s / repeated[name][1] for name, s in seconds.items()}
    return {n: 1e6 * float(np.median(s)) for n, s in seconds.items()}, seconds


def peak_share(n_points=10_000, rounds=7):
    """Share of the machine's rate of matrix products that the exact energy reaches.

    Counted is what value and gradient take at least: the products of the pairs on one side of
    the diagonal, once for the cosines and twice for the gradients.
    """
    w, a, b = torch.randn(n_points, COMPONENTS), torch.randn(2048, 2048), torch.randn(2048, 2048)
    jobs = {
        "energy": lambda: pair_sum(w, riesz_kernel(2.0, 1e-6)),
        "product": lambda: a @ b,
    }
    seconds = measure(jobs, rounds)
    flops = {"energy": 3 * n_points**2 * COMPONENTS, "product": 2 * 2048**3}
    rates = {name: flops[name] / seconds[name] for name in jobs}
    return interval(rates["energy"], rates["product"]), float(np.median(rates["product"]))


def peak_memory(loss, n_classes):
    """Bytes that a forward and backward adds to a fresh process at its peak."""
    code = (
        "import torch\ntorch.set_num_threads(1)\n"
        f"import sys; sys.path.insert(0, {sys.path[0]!r})\nfrom speed import loss\n"
        f"loss.forward_backward(loss.LOSSES['HUG'], 10)(); job = loss.forward_backward("
        f"loss.LOSSES[{loss!r}], {n_classes})\n"
        # Linux's high-water mark of this process alone; getrusage's is inherited.
        "def peak(): return 1024 * int(open('/proc/self/status').read().split('VmHWM:')[1]"
        ".split()[0])\n"
        "before = peak(); job(); print(peak() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(run.stdout.split()[-1])


def losses(n_classes):
    """Compare forward and backward of the losses, with learned proxies."""
    to_entropy, to_reference = BARS[n_classes]
    names = [n for n in LOSSES if n != "reference" or to_reference]
    jobs = {n: forward_backward(LOSSES[n], n_classes) for n in names}
    medians, seconds = compare(jobs, 5 if n_classes == 10_000 else ROUNDS)
    bars = {"cosine cross-entropy": to_entropy, "reference": to_reference}
    ratios = {n: (interval(seconds["HUG"], seconds[n]), bar) for n, bar in bars.items() if bar}
    return {"microseconds": medians, "ratios": ratios}


def fixed_proxies():
    """Compare 100,000 classes with 10 where the proxies take no gradient."""
    jobs = {str(c): forward_backward(hug(), c, learned=False) for c in (10, 100_000)}
    medians, seconds = compare(jobs, ROUNDS)
    ratio = interval(seconds["100000"], seconds["10"])
    return {"microseconds": medians, "ratios": {"10 classes": (ratio, 1.5)}}


def steps(n_classes):
    """Compare whole training steps."""
    ours, bar = (hug(n_sampled=1024), 1.5) if n_classes == 10_000 else (hug(), 1.15)
    peer = {"cosine cross-entropy": cosine_cross_entropy}
    jobs = {n: training_step(f, n_classes) for n, f in {"HUG": ours, **peer}.items()}
    medians, seconds = compare(jobs, 15)
    ratio = interval(seconds["HUG"], seconds["cosine cross-entropy"])
    return {"microseconds": medians, "ratios": {"cosine cross-entropy": (ratio, bar)}}


def energy():
    """Compare the exact energy's rate with that of products."""
    share, rate = peak_share()
    return {"share of peak": share, "peak, GFLOP/s": rate / 1e9}


def memory(n_classes):
    """Compare what forward and backward need."""
    return {n: peak_memory(n, n_classes) for n in ("HUG", "cosine cross-entropy")}


# Of learned proxies, by the classes: bars beside cosine cross-entropy and the reference.
BARS = {10: (0.9, None), 100: (0.9, 1 / 15), 1000: (None, 1 / 8), 10_000: (None, 1 / 15)}
# Rounds of what takes milliseconds: its intervals are for bars.
ROUNDS = 31
CASES = {
    **{f"loss, C={c}": partial(losses, c) for c in BARS},
    "loss, fixed proxies, C=100,000 and 10": fixed_proxies,
    **{f"step, C={c}": partial(steps, c) for c in (10, 100, 10_000)},
    "energy at C=10,000": energy,
    **{f"memory, C={c}": partial(memory, c) for c in (1000, 10_000, 30_000)},
}


def line(name, case):
    """Return a case's line of the table."""
    if "ratios" in case:
        times = ", ".join(f"{n} {value:.0f}" for n, value in case["microseconds"].items())
        verdicts = (f"{peer}: {verdict(*ratio)}" for peer, ratio in case["ratios"].items())
        return [name, times, "; ".join(verdicts)]
    if "share of peak" in case:
        mean, low, high = case["share of peak"]
        text = verdict([1 / mean, 1 / high, 1 / low], 1 / 0.65)
        of = name.removeprefix("energy at ")
        return [f"peak rate / energy's rate, {of}", f"{case['peak, GFLOP/s']:.0f}", text]
    ours, theirs = case.values()
    text = verdict([ours / max(theirs, 1)] * 3, 1.7)
    return [name, f"{ours / 1e6:.1f}, {theirs / 1e6:.1f} MB", text]


def main() -> None:
    """Compare losses, steps, rate and memory."""
    arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {name: case() for name, case in CASES.items()}
    rows = [line(name, case) for name, case in results.items()]
    report("loss", ["", "µs (or as said)", "ratio (95 %), bar"], rows, results)


if __name__ == "__main__":
    main()
