"""Time of a fit, beside skorch, scikit-learn's MLP and loops written by hand.

Microseconds of CPU time a step, one thread, float32: others may use the machine. Every round runs
each candidate once, in turn; a ratio is the mean over rounds of the paired ratios (in logarithms)
with its 95 % interval. Ours is the whole ``fit``, divided by its steps; the matrix products alone
bound what any of them can reach.
A second table has whole fits of small data, float64 as scikit-learn gives it: one epoch of digits,
and iris with defaults beside an MLPClassifier that trains until it has converged.
Runs in some ten minutes:

    pip install skorch
    python benchmarks/speed/fit.py --data DIR
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from skhug import MHE, MLP, HUGClassifier, HUGLoss
from skhug.proxies import simplex

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import arguments, interval, measure, mnist_10k, report, verdict

RATE = 1e-3


class Opaque(nn.Module):
    """The perceptron as a user's module, which no kernel of ours knows."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, X):
        """Return raw features."""
        for layer in self.layers[:-1]:
            X = torch.relu(F.linear(X, layer.weight, layer.bias))
        return F.linear(X, self.layers[-1].weight, self.layers[-1].bias)


def hug(X, y, hidden, batch, epochs):
    """Ours, with the built-in encoder."""
    encoder = MLP(hidden, activation="relu", members=1)
    model = HUGClassifier(
        encoder, batch_size=batch, max_epochs=epochs, learning_rate=RATE, random_state=0
    )
    return lambda: model.fit(X, y)


def hug_module(X, y, hidden, batch, epochs):
    """Ours, with a module of the user's."""
    encoder = Opaque([X.shape[1], *hidden, 9])
    model = HUGClassifier(
        encoder, batch_size=batch, max_epochs=epochs, learning_rate=RATE, random_state=0
    )
    return lambda: model.fit(X, y)


def flat_parameters(module):
    """Parameters and gradients as views of two flat buffers."""
    parameters = list(module.parameters())
    values = torch.cat([p.detach().reshape(-1) for p in parameters])
    gradients = torch.zeros_like(values)
    start = 0
    for p in parameters:
        p.data = values[start : start + p.numel()].view_as(p)
        p.grad = gradients[start : start + p.numel()].view_as(p)
        start += p.numel()
    return values, gradients


def adam(values, gradients):
    """One fused kernel call a step."""
    mean, square = torch.zeros_like(values), torch.zeros_like(values)
    step = torch.zeros(())

    def update():
        step.add_(1)
        torch._fused_adamw_(
            [values], [gradients], [mean], [square], [], [step], lr=RATE, beta1=0.9, beta2=0.999,
            weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

    return update


def batches(X, y, batch, epochs):
    """Resident rows, one permutation an epoch."""
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(batch):
            yield X.index_select(0, rows), y.index_select(0, rows)


def loop_autograd(X, y, hidden, batch, epochs):
    """Loop by hand: flat buffers, F.linear, the HUG loss by autograd."""
    X, y = torch.from_numpy(X), torch.from_numpy(y)

    def run():
        module = Opaque([X.shape[1], *hidden, 9])
        values, gradients = flat_parameters(module)
        update, loss = adam(values, gradients), HUGLoss(MHE(), attached=False)
        proxies = simplex(10, 9).float()
        total = torch.zeros(())
        for rows, labels in batches(X, y, batch, epochs):
            gradients.zero_()
            coef = torch.full((len(rows),), 1 / len(rows))
            value = loss.within(module(rows), proxies, labels, coef)
            value.backward()
            total += value.detach()
            update()

    return run


def loop_by_hand(X, y, hidden, batch, epochs):
    """Loop by hand, gradients too: ReLU perceptron, squared distance to the class's proxy."""
    X, y = torch.from_numpy(X), torch.from_numpy(y)

    def run():
        module = Opaque([X.shape[1], *hidden, 9])
        values, gradients = flat_parameters(module)
        update, proxies = adam(values, gradients), simplex(10, 9).float()
        weights = [layer.weight.detach() for layer in module.layers]
        biases = [layer.bias.detach() for layer in module.layers]
        slots = [(layer.weight.grad, layer.bias.grad) for layer in module.layers]
        total = torch.zeros(())
        for rows, labels in batches(X, y, batch, epochs):
            entering = [rows]
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                entering.append(torch.addmm(bias, entering[-1], weight.t()).relu_())
            raw = torch.addmm(biases[-1], entering[-1], weights[-1].t())
            norm = raw.norm(dim=1, keepdim=True).clamp_min_(1e-30)
            z = raw / norm
            difference = z - proxies.index_select(0, labels)
            total += (difference * difference).sum() / len(rows)
            g = difference * (2 / len(rows))
            g = torch.addcmul(g, z, (g * z).sum(1, keepdim=True), value=-1).div_(norm)
            for i in range(len(weights) - 1, -1, -1):
                torch.mm(g.t(), entering[i], out=slots[i][0])
                torch.sum(g, 0, out=slots[i][1])
                if i:
                    g = torch.ops.aten.threshold_backward(g @ weights[i], entering[i], 0)
            update()

    return run


def loop_modules(X, y, hidden, batch, epochs):
    """Loop by hand as most write it: torch modules, resident data, fused AdamW, HUG loss."""
    X, y = torch.from_numpy(X), torch.from_numpy(y)

    def run():
        sizes = [X.shape[1], *hidden, 9]
        layers = [f for a, b in itertools.pairwise(sizes) for f in (nn.Linear(a, b), nn.ReLU())]
        module, loss = nn.Sequential(*layers[:-1]), HUGLoss(MHE(), attached=False)
        optimizer = torch.optim.AdamW(module.parameters(), RATE, fused=True)
        proxies = simplex(10, 9).float()
        for rows, labels in batches(X, y, batch, epochs):
            optimizer.zero_grad()
            coef = torch.full((len(rows),), 1 / len(rows))
            loss.within(module(rows), proxies, labels, coef).backward()
            optimizer.step()

    return run


def matrix_products(X, y, hidden, batch, epochs):
    """What every step has to multiply, and nothing else."""
    sizes = [X.shape[1], *hidden, 9]
    pairs = list(itertools.pairwise(sizes))
    entering = [torch.randn(batch, a) for a, _ in pairs]
    weights = [torch.randn(b, a) for a, b in pairs]
    gradients = [torch.randn(batch, b) for _, b in pairs]
    steps = epochs * int(np.ceil(len(X) / batch))

    @torch.inference_mode()
    def run():
        for _ in range(steps):
            for i, (x, w, g) in enumerate(zip(entering, weights, gradients, strict=True)):
                torch.mm(x, w.t())
                torch.mm(g.t(), x)
                if i:
                    torch.mm(g, w)

    return run


def scikit_learn_model(hidden, batch, epochs):
    """MLPClassifier that trains for all its epochs."""
    return MLPClassifier(
        hidden, batch_size=batch, max_iter=epochs, tol=0, n_iter_no_change=10_000,
        learning_rate_init=RATE, random_state=0,
    )  # fmt: skip


def skorch_model(X, hidden, batch, epochs):
    """Skorch's classifier on the same module with cross-entropy and Adam."""
    from skorch import NeuralNetClassifier

    return NeuralNetClassifier(
        Opaque, module__sizes=[X.shape[1], *hidden, 10], criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam, lr=RATE, batch_size=batch, max_epochs=epochs,
        train_split=None, verbose=0, iterator_train__shuffle=True,
    )  # fmt: skip


def scikit_learn(X, y, hidden, batch, epochs):
    """scikit-learn's MLP, in float32 as the rows are."""
    model = scikit_learn_model(hidden, batch, epochs)
    return lambda: model.fit(X, y)


def skorch(X, y, hidden, batch, epochs):
    """Skorch with its defaults otherwise."""
    model = skorch_model(X, hidden, batch, epochs)
    return lambda: model.fit(X, y)


CANDIDATES = {
    "HUG, built-in MLP": hug,
    "HUG, any module": hug_module,
    "loop, gradients by hand": loop_by_hand,
    "loop, flat + autograd": loop_autograd,
    "loop, torch modules": loop_modules,
    "matrix products alone": matrix_products,
    "scikit-learn MLP": scikit_learn,
    "skorch": skorch,
}
# Ours, the peer, and the most that ours may take of the peer's time: digits 32, 200, MNIST 32, 200.
BARS = [
    ("HUG, built-in MLP", "loop, gradients by hand", [1.05, 1.05, 1.05, 1.05]),
    ("HUG, any module", "loop, flat + autograd", [1.15, 1.15, 1.15, 1.15]),
    ("HUG, built-in MLP", "skorch", [1 / 8, 1 / 10, 1 / 3.4, 1 / 1.7]),
    ("HUG, built-in MLP", "scikit-learn MLP", [1 / 2.3, 1 / 1.8, 1 / 2.5, 1 / 1.4]),
]


TASKS = {
    "digits 32": ("digits", (100,), 32, 20, 15),
    "digits 200": ("digits", (100,), 200, 60, 15),
    "MNIST 32": ("MNIST", (256, 128), 32, 3, 10),
    "MNIST 200": ("MNIST", (256, 128), 200, 10, 10),
}
# Whole fits: ours, the peer, and the most that ours may take of the peer's time.
WHOLE = {
    "digits, one epoch": [("one network", "MLPClassifier", 1.0)],
    "iris": [
        ("defaults", "MLPClassifier(max_iter=1000)", 0.5),
        ("one network", "MLPClassifier(max_iter=1000)", 0.5),
    ],
}


def load(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return rows in float32 and their classes."""
    X, y = load_digits(return_X_y=True)
    rows, classes, _, _ = mnist_10k(folder)
    return {
        "digits": (X.astype(np.float32) / 16, y.astype(np.int64)),
        "MNIST": (rows / 255, classes.astype(np.int64)),
    }


def time_steps(task: str, data: tuple[np.ndarray, np.ndarray]) -> dict:
    """Time every candidate on one task."""
    _, hidden, batch, epochs, rounds = TASKS[task]
    jobs = {name: make(*data, hidden, batch, epochs) for name, make in CANDIDATES.items()}
    seconds = measure(jobs, rounds, time.process_time)
    steps = epochs * int(np.ceil(len(data[0]) / batch))
    medians = {n: float(np.median(s)) / steps * 1e6 for n, s in seconds.items()}
    column = list(TASKS).index(task)
    ratios = {
        f"{ours} / {peer}": [*interval(seconds[ours], seconds[peer]), bars[column]]
        for ours, peer, bars in BARS
    }
    return {"microseconds_a_step": medians, "rounds": rounds, "ratios": ratios}


def whole_fits() -> dict[str, dict[str, Callable[[], object]]]:
    """Return whole fits of small data, by the data and by what is fitted."""
    X, y = load_digits(return_X_y=True)
    iris = load_iris(return_X_y=True)
    encoder = MLP((100,), activation="relu", members=1)
    ours = HUGClassifier(encoder, batch_size=200, max_epochs=1, random_state=0)
    theirs = MLPClassifier((100,), batch_size=200, max_iter=1, random_state=0)
    defaults = HUGClassifier(random_state=0)
    one = HUGClassifier(MLP(members=1), random_state=0)
    converged = MLPClassifier(max_iter=1000, random_state=0)
    return {
        "digits, one epoch": {
            "one network": lambda: ours.fit(X, y),
            "MLPClassifier": lambda: theirs.fit(X, y),
        },
        "iris": {
            "defaults": lambda: defaults.fit(*iris),
            "one network": lambda: one.fit(*iris),
            "MLPClassifier(max_iter=1000)": lambda: converged.fit(*iris),
        },
    }


def time_whole(rounds: int = 7) -> dict:
    """Time whole fits."""
    results = {}
    for data, jobs in whole_fits().items():
        seconds = measure(jobs, rounds, time.process_time)
        results[data] = {
            "milliseconds": {n: float(np.median(s)) * 1e3 for n, s in seconds.items()},
            "ratios": {
                f"{ours} / {peer}": [*interval(seconds[ours], seconds[peer]), bar]
                for ours, peer, bar in WHOLE[data]
            },
        }
    return results


def report_steps(results: dict) -> None:
    """Print the table of steps and write it beside the figures."""
    columns = results.values()
    rows = [
        [f"{n}, µs a step", *(f"{c['microseconds_a_step'][n]:.0f}" for c in columns)]
        for n in CANDIDATES
    ]
    for ours, peer, _ in BARS:
        name = f"{ours} / {peer}"
        cells = [verdict(c["ratios"][name][:3], c["ratios"][name][3]) for c in columns]
        rows.append([f"{name}: ratio (95 %), bar", *cells])
    report("fit", ["", *results], rows, results)


def report_whole(results: dict) -> None:
    """Print the table of whole fits and write it beside the figures."""
    rows = []
    for data, result in results.items():
        times = ", ".join(f"{n} {v:.0f}" for n, v in result["milliseconds"].items())
        said = "; ".join(f"{n} {verdict(v[:3], v[3])}" for n, v in result["ratios"].items())
        rows.append([data, times, said])
    report("fit_whole", ["data", "milliseconds", "ratio (95 %), bar"], rows, results)


def on_one_thread() -> None:
    """Let torch, and NumPy's BLAS for scikit-learn's MLP, use one thread."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    warnings.simplefilter("ignore")


def main() -> None:
    """Time every candidate on four tasks, and whole fits of small data."""
    on_one_thread()
    data = load(arguments(__doc__).data)
    report_steps({task: time_steps(task, data[TASKS[task][0]]) for task in TASKS})
    report_whole(time_whole())


if __name__ == "__main__":
    main()
