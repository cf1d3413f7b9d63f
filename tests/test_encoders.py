"""Encoder specifications and the module around them."""

import pytest
import torch
from sklearn.base import clone
from torch import nn

from skhug._modules import Cast, SphereEncoder, Standardize
from skhug.encoders import ACTIVATIONS, MLP


def test_a_specification_builds_what_it_says():
    body = MLP((8, 6), activation="tanh", dropout=0.1, batch_norm=True).build((4,), 3)
    kinds = [type(layer) for layer in body]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    assert kinds == [*hidden, *hidden, nn.Linear]
    assert body(torch.zeros(5, 4)).shape == (5, 3)


def test_no_hidden_layer_is_linear():
    (layer,) = MLP(()).build((4,), 3)
    assert (layer.in_features, layer.out_features) == (4, 3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_bent(activation):
    module = ACTIVATIONS[activation]()
    ends = module(torch.tensor([-1.0, 0.0, 1.0]))
    assert ends[0] + ends[2] != 2 * ends[1] or activation == "tanh"


def test_a_specification_is_cloned():
    assert clone(MLP((3,), dropout=0.2)).get_params() == MLP((3,), dropout=0.2).get_params()


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (MLP(activation="step"), (4,), "gelu"),
        (MLP((4, -1)), (4,), "above 0"),
        (MLP(dropout=1.0), (4,), r"\[0, 1\)"),
        (MLP(), (1, 8, 8), "rows of features"),
    ],
)
def test_what_cannot_be_built_is_explained(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        spec.build(shape, 2)


def test_embeddings_are_on_the_sphere():
    encoder = SphereEncoder(Cast(torch.float32), nn.Linear(4, 3), (4,), 3)
    z = encoder(torch.randn(10, 4, dtype=torch.float64))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(10))


def test_the_zero_sphere_is_softened_in_training_alone():
    encoder = SphereEncoder(Cast(torch.float64), nn.Linear(2, 1).double(), (2,), 1)
    X = torch.randn(5, 2, dtype=torch.float64)
    assert encoder.softness > 0
    assert torch.equal(encoder(X), encoder.body(X).sign())
    assert SphereEncoder(Cast(torch.float64), nn.Linear(2, 2), (2,), 2).softness == 0


def test_standardising_keeps_digits_of_large_offsets():
    X = 1e9 + torch.arange(10, dtype=torch.float64)[:, None]
    prepare = Standardize(X.mean(0), 1 / torch.tensor([3.0]).double(), torch.float32)
    z = prepare(X)
    assert z.dtype == torch.float32
    assert (z.diff(dim=0) > 0.1).all()


def test_standardised_outliers_stay_within_the_limit():
    prepare = Standardize(torch.zeros(1).double(), torch.ones(1).double(), torch.float64)
    z = prepare(torch.tensor([[0.01], [1e12], [-1e12]], dtype=torch.float64))
    torch.testing.assert_close(z[0], torch.tensor([0.01]).double(), rtol=1e-4, atol=0)
    assert z.abs().max() <= prepare.limit
