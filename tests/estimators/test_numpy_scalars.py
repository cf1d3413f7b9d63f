"""Parameters that come as NumPy's scalars, as those of a search or a table do."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris

from skhug import BalancedBatches, Checkpoint, HUGClassifier
from skhug._configured import plain
from skhug.encoders import MLP
from skhug.losses import MGD, MHE, MHS, HUGLoss
from skhug.optimizers import SGD, AdamW
from skhug.proxies import Learned

X, y = load_iris(return_X_y=True)
f16, f32, i8 = np.float16, np.float32, np.int8

PARAMETERS = [
    {"batch_size": i8(100)},
    {"max_epochs": i8(100)},
    {"n_components": i8(2), "random_state": i8(7)},
    {"learning_rate": f16(0.003), "beta": f16(0.7), "weight_decay": f16(0.3)},
    {"learning_rate": f32(0.003)},
    {"alpha": f16(1.5), "proxies": Learned(learning_rate=f16(0.003), attached=np.bool_(True))},
    {
        "early_stopping": np.bool_(True),
        "validation_fraction": f16(0.3),
        "tol": f16(1e-3),
        "n_iter_no_change": i8(3),
    },
    {"uniformity": MHE(s=f16(1.7), s_within=f16(-1.3), n_sampled=i8(2)), "proxies": "learned"},
    {"uniformity": MHE(repulsion=f16(0.1), repulsion_scale=f16(10.1)), "proxies": "learned"},
    {"uniformity": MHS(temperature=f16(0.7)), "proxies": "learned"},
    {"uniformity": MGD(eps=f16(1.1)), "proxies": "learned"},
    {"optimizer": AdamW(beta_1=f16(0.85), beta_2=f16(0.995), eps=f16(1e-4))},
    {"optimizer": SGD(momentum=f32(0.85))},
    {"encoder": MLP((i8(120), i8(100)), dropout=f16(0.1), batch_norm=np.bool_(True))},
    {"batch_sampler": BalancedBatches(i8(3), i8(50))},
    {"class_weight": {0: f16(0.1), 1: i8(100), 2: f16(1)}},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: "-".join(p))
@pytest.mark.filterwarnings("error")
def test_a_numpy_scalar_trains_as_the_number_that_it_is(parameters):
    both = {"max_epochs": 3, "random_state": 0, **parameters}
    model = HUGClassifier(**both).fit(X, y)
    same = HUGClassifier(**plain(both)).fit(X, y)
    assert np.array_equal(model.predict_proba(X), same.predict_proba(X))
    for name, value in parameters.items():  # the user's own stay as they are
        assert getattr(model, name) is value
    clone(model)


def test_partial_fit_and_checkpoints_take_them_too(tmp_path):
    keep = Checkpoint(tmp_path, every_epochs=i8(1), every_seconds=f16(0))
    HUGClassifier(checkpoint=keep, max_epochs=i8(3)).fit(X, y)
    parted, same = (HUGClassifier(batch_size=n, random_state=0) for n in (i8(100), 100))
    parted.partial_fit(X, y).partial_fit(X, y)
    same.partial_fit(X, y).partial_fit(X, y)
    assert np.array_equal(parted.transform(X), same.transform(X))


def test_a_loss_takes_them():
    z, w, labels = torch.randn(8, 3), torch.randn(4, 3), torch.arange(8) % 4
    loss = HUGLoss(MHE(s=f16(1.7)), f16(0.3), f16(0.7))
    same = HUGLoss(MHE(s=float(f16(1.7))), float(f16(0.3)), float(f16(0.7)))
    assert torch.equal(loss(z, labels, w).loss, same(z, labels, w).loss)


def test_what_holds_none_is_returned_as_it_is():
    for value in (3, "mhe", (1, 2), MLP((16, 16)), AdamW(), np.ones(3), None):
        assert plain(value) is value
