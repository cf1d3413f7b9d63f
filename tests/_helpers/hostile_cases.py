"""Hostile cases: estimators and functions and what they are given, and how they are drawn."""

import numpy as np
import torch
from hostile_data import (
    DTYPES,
    LABELS,
    ROUGH,
    SCALES,
    SPOILT,
    UNUSABLE,
    WEIGHTS,
    labels,
    rows,
    unusable,
    usable,
    usually,
)
from hypothesis import strategies as st
from torch import nn

from skhug import MGD, MHE, MHS, MLP, BalancedBatches, HUGClassifier, HUGEmbedder, Learned, proxies
from skhug.encoders import ConvNet
from skhug.optimizers import SGD, AdamW


class Counted(AdamW):
    """AdamW that counts its steps, to tell whether a refused fit had trained."""

    steps = 0

    def step(self, segment, state, learning_rate, count):
        Counted.steps += 1
        super().step(segment, state, learning_rate, count)


class CountedSGD(SGD):
    def step(self, segment, state, learning_rate, count):
        Counted.steps += 1
        super().step(segment, state, learning_rate, count)


# --- estimators -------------------------------------------------------------------------------


class Plain(nn.Module):
    """A user's module: no normalisation, no care."""

    def __init__(self, width, n_components, bias=True):
        super().__init__()
        self.inner = nn.Linear(width, 6, bias=bias)
        self.outer = nn.Linear(6, n_components, bias=bias)

    def forward(self, X):
        return self.outer(torch.relu(self.inner(X)))


def _normalised(shape, k):
    return nn.Sequential(nn.Linear(shape[0], 6), nn.BatchNorm1d(6), nn.GELU(), nn.Linear(6, k))


ENCODERS = {
    "auto": lambda: "auto",
    "small": lambda: MLP((6,)),
    "linear": lambda: MLP(()),
    "relu": lambda: MLP((4, 4), "relu"),
    "tanh": lambda: MLP(5, "tanh", standardize=False),
    "batch norm": lambda: MLP((6,), batch_norm=True, dropout=0.3),
    "raw": lambda: MLP((6,), standardize=False),
    "module": lambda: lambda shape, k: Plain(shape[0], k),
    "no bias": lambda: lambda shape, k: Plain(shape[0], k, bias=False),
    "normalised": lambda: _normalised,
    UNUSABLE: None,
    "no module": lambda: lambda shape, k: "module",
    "class": lambda: MLP,
}
UNIFORMITIES = {
    "mhe": lambda: "mhe",
    "mhs": lambda: "mhs",
    "mgd": lambda: "mgd",
    "logarithmic": lambda: MHE(s=0, s_within=-1),
    "steep": lambda: MHE(s=20, s_within=-8),
    "gentle": lambda: MHE(s_within=-0.1),
    "repelled": lambda: MHE(repulsion=1.0),
    "sharply repelled": lambda: MHS(repulsion=3.0, repulsion_scale=1e4),
    "sampled": lambda: MHE(n_sampled=2),
    "hard": lambda: MHS(temperature=0.01),
    "hardest": lambda: MHS(temperature=1e-3, s_within=-4),
    "soft": lambda: MHS(temperature=1e6),
    "wide": lambda: MGD(eps=1e-4, s_within=-1),
    "narrow": lambda: MGD(eps=1e3, repulsion=0.1),
    UNUSABLE: None,
    "wrong sign": lambda: MHE(s_within=1.0),
    "no temperature": lambda: MHS(temperature=0),
}
OPTIMIZERS = {
    "adamw": Counted,
    "plain adam": lambda: Counted(beta_1=0.0, beta_2=0.5),
    "sgd": CountedSGD,
    "plain sgd": lambda: CountedSGD(momentum=0.0),
}
PROXIES = {
    "optimal": lambda: "optimal",
    "learned": lambda: "learned",
    "detached": lambda: Learned(attached=False, learning_rate=0.1),
}
KINDS = {"classifier": HUGClassifier, "embedder": HUGEmbedder}


def make_estimator(case):
    """Return the unfitted estimator of a case."""
    parameters = dict(
        case["parameters"], encoder=case.get("encoder", case["parameters"]["encoder"])
    )
    tables = {
        "encoder": ENCODERS,
        "uniformity": UNIFORMITIES,
        "optimizer": OPTIMIZERS,
        "proxies": PROXIES,
        "batch_sampler": {"none": lambda: None, "balanced": lambda: BalancedBatches(2, 2)},
    }
    for name, table in tables.items():
        parameters[name] = table[parameters[name]]()
    return KINDS[case["kind"]](device="cpu", random_state=0, **parameters)


def estimators():
    return {
        "kind": st.sampled_from(list(KINDS)),
        "parameters": st.fixed_dictionaries(
            {
                "encoder": usually("small", *usable(ENCODERS)),
                "uniformity": usually("mhe", *usable(UNIFORMITIES)),
                "optimizer": usually("adamw", *OPTIMIZERS),
                "proxies": usually("optimal", *PROXIES),
                "n_components": usually(None, 1, 2, 7),
                "alpha": usually(1.0, 0, 1e-30, 1e6, 1e30),
                "beta": usually(1.0, 1e-30, 1e6, 1e30),
                "learning_rate": usually(1e-3, 1e-30, 1.0, 1e3, 1e6, 1e30),
                "weight_decay": usually(None, 0, 1e6),
                "batch_size": usually("auto", 1, 2, 7, 10**6),
                "max_epochs": st.integers(1, 4),
                "early_stopping": usually(False, True),
                "class_weight": usually(None, "balanced"),
                "batch_sampler": usually("none", "balanced"),
                "precision": usually("auto", "float32", "float64", "bfloat16"),
            }
        ),
    }


FLAWS = [
    *({"spoilt": name} for name in SPOILT if name not in ("nothing", *ROUGH)),
    *({"labels": name} for name in unusable(LABELS)),
    *({"weight": name} for name in unusable(WEIGHTS)),
    {"k": 1, "codes": "balanced"},
    {"n": 1},
]
FLAWED_PARAMETERS = [
    *({"encoder": name} for name in unusable(ENCODERS)),
    *({"uniformity": name} for name in unusable(UNIFORMITIES)),
    *({name: np.nan} for name in ("alpha", "beta", "learning_rate", "weight_decay")),
    *({name: np.inf} for name in ("alpha", "beta", "learning_rate", "weight_decay")),
    {"n_components": 0},
    {"batch_size": 0},
    {"class_weight": {0: -1.0}},
    {"class_weight": {"no": 1.0}},
]


def fits():
    """Strategy of fits: an estimator, rows, labels, weights."""
    return st.fixed_dictionaries({**rows(), **labels(), **estimators()})


@st.composite
def flawed(draw):
    """Strategy of fits that one thing makes impossible."""
    case = draw(fits())
    flaw = draw(st.sampled_from(FLAWS + FLAWED_PARAMETERS))
    if flaw in FLAWED_PARAMETERS:
        return {**case, "parameters": {**case["parameters"], **flaw}}
    return {**case, **flaw}


def calls():
    """Strategy of several calls of partial_fit: the rows of each, and what they are scaled by."""
    part = st.tuples(st.sampled_from([1, 2, 5, 40]), st.sampled_from([1.0, *SCALES]))
    return st.fixed_dictionaries(
        {**rows(), **labels(), **estimators(), "calls": st.lists(part, min_size=1, max_size=4)}
    )


# --- images -----------------------------------------------------------------------------------

SHAPES = [(1, 1), (2, 3), (9, 9), (3, 5, 7), (5, 7, 3), (4, 4, 4), (1, 8, 8), (8, 8, 1), (2, 6, 9)]
WRONG_SHAPES = [(0, 4), (5, 5, 5), (9, 8, 7), (2, 2, 2, 2), (3, 0, 4)]


class Pixels(nn.Module):
    """A user's network for images."""

    def __init__(self, shape, n_components):
        super().__init__()
        self.body = nn.Conv2d(shape[0], 3, 3, padding=1)
        self.head = nn.Linear(3, n_components)

    def forward(self, X):
        return self.head(self.body(X).relu().mean((2, 3)))


ENCODERS.update(
    {
        "convnet": lambda: ConvNet((2, 3)),
        "raw convnet": lambda: ConvNet((2,), standardize=False),
        "pixels": lambda: Pixels,
    }
)


def images():
    """Strategy of fits on images."""
    of_images = st.sampled_from(["convnet", "raw convnet", "pixels", "small"])
    case = {**rows(), **labels(), **estimators(), "encoder": of_images}
    case["spoilt"] = st.just("nothing")
    case["n"] = st.integers(1, 12)
    case["shape"] = st.sampled_from(SHAPES) | st.sampled_from(SHAPES + WRONG_SHAPES)
    case["layout"] = st.sampled_from(["C", "F", "reversed", "strided", "tensor"])
    case["dtype"] = st.sampled_from(["uint8", *DTYPES])
    return st.fixed_dictionaries(case)


# --- functions --------------------------------------------------------------------------------

RETRIEVAL = (
    "recall_at_k",
    "precision_at_k",
    "r_precision",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "mean_average_precision_at_k",
    "ndcg_at_k",
)
GEOMETRY = (
    "within_class_variability",
    "class_distance_normalized_variance",
    "equinorm",
    "equiangularity",
    "maximal_angle",
    "simplex_distance",
    "uniformity_within",
    "uniformity_gap",
)
POINTS = ("hyperspherical_energy", "separation", "uniformity_between")


def measures():
    """Strategy of calls of a metric."""
    case = {**rows(), **labels()}
    case["n"] = st.integers(1, 25)
    case["layout"] = st.sampled_from(["C", "F", "list", "tensor"])
    case["metric"] = st.sampled_from(["cosine", "euclidean"])
    case["function"] = st.sampled_from([*RETRIEVAL, *GEOMETRY, *POINTS])
    case["spoilt"] = usually("nothing", "nan", "inf", "no rows", "one axis", "three axes")
    case["labels"] = usually("integers", *LABELS.keys() - {UNUSABLE, "none", "column"})
    return st.fixed_dictionaries(case)


ARRANGEMENTS = {
    "simplex": lambda n, d, s: proxies.simplex(n, d),
    "cross_polytope": lambda n, d, s: proxies.cross_polytope(n, d),
    "minimal_energy": lambda n, d, s: proxies.minimal_energy(n, d, s, n_starts=1, random_state=0),
    "maximal_separation": lambda n, d, s: proxies.maximal_separation(
        n, d, n_starts=1, random_state=0
    ),
    "optimal_proxies": lambda n, d, s: proxies.optimal_proxies(n, d, s, random_state=0),
    "random_proxies": lambda n, d, s: proxies.random_proxies(n, d, random_state=0),
    "spherical_code": lambda n, d, s: proxies.spherical_code(n, d, random_state=0),
}


def arrangements():
    """Strategy of calls for points on the sphere."""
    return st.fixed_dictionaries(
        {
            "function": st.sampled_from(list(ARRANGEMENTS)),
            "n": st.integers(-1, 9),
            "d": st.integers(-1, 9),
            "s": usually(2.0, 0.0, 0.5, 8.0, -1.0),
        }
    )
