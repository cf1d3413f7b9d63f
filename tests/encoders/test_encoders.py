"""Encoder specifications and the module around them."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skhug import HUGClassifier, load
from skhug._data.prepare import Cast, Standardize
from skhug._model.sphere_encoder import SphereEncoder
from skhug.encoders import MLP, ConvNet, Pretrained, ResNet
from skhug.encoders._mlp import ACTIVATIONS


def test_a_specification_builds_what_it_says():
    body = MLP((8, 6), activation="tanh", dropout=0.1, batch_norm=True, members=1).build((4,), 3)
    kinds = [type(layer) for layer in body]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    assert kinds == [*hidden, *hidden, nn.Linear]
    assert body(torch.zeros(5, 4)).shape == (5, 3)


def test_members_are_networks_of_one_form_with_weights_of_their_own():
    body = MLP((8,)).build((4,), 3)
    assert len(body) == 4
    assert body(torch.zeros(5, 4)).shape == (4, 5, 3)
    first, second = (network[0].weight for network in list(body.networks)[:2])
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_no_hidden_layer_is_linear():
    (layer,) = MLP((), members=1).build((4,), 3)
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


@pytest.mark.parametrize("encoder", [MLP((), softness=3.0, members=1), ConvNet((2,), softness=3.0)])
def test_embeddings_are_unit_vectors_whatever_the_softness(encoder):
    images = torch.rand(6, 1, 4, 4)
    rows = images.flatten(1) if isinstance(encoder, MLP) else images
    y = np.array([0, 1, 2] * 2)
    model = HUGClassifier(encoder, max_epochs=1, learning_rate=1e-12, random_state=0)
    model.fit(rows.numpy(), y)
    model.module_.train()  # batch normalisation by the batch, as in training
    raw = model.module_.body(model.module_.prepare(rows)).detach()
    proxies = torch.from_numpy(model.proxies_)[y]
    soft = raw / (raw.square().sum(1, keepdim=True) + 3).sqrt()
    expected = (soft - proxies).square().sum(1).mean().item()
    assert model.history_[0]["within"] == pytest.approx(expected, rel=1e-4)
    model.module_.eval()
    np.testing.assert_allclose(np.linalg.norm(model.transform(rows.numpy()), axis=1), 1, rtol=1e-6)


def test_rows_of_few_features_are_softened_by_default():
    assert MLP().softness_for((63,)) > 0
    assert MLP().softness_for((64,)) == 0
    assert MLP(softness=0.0).softness_for((4,)) == 0
    assert ConvNet().softness_for((1, 8, 8)) == 0


def test_an_encoder_of_ones_own_says_how_soft():
    class Soft(MLP):
        def softness_for(self, input_shape):
            return 7.0

    model = HUGClassifier(Soft(4), max_epochs=1).fit(np.eye(6), np.arange(6) % 2)
    assert model.module_.softness == 7
    Soft.softness_for = lambda self, input_shape: float("nan")
    with pytest.raises(ValueError, match="softness of Soft is nan"):
        HUGClassifier(Soft(4)).fit(np.eye(6), np.arange(6) % 2)


def test_softness_outlives_pickling_and_saving(tmp_path):
    model = HUGClassifier(MLP(4, softness=3.0), max_epochs=1).fit(np.eye(6), np.arange(6) % 3)
    model.save(tmp_path / "model.skhug")
    for copy in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.skhug")):
        assert copy.module_.softness == 3


def test_hidden_weights_start_with_hes_variance():
    torch.manual_seed(0)
    first, second = [
        layer for layer in MLP(members=1).build((100,), 3) if isinstance(layer, nn.Linear)
    ][:2]
    for layer in (first, second):
        assert layer.weight.var().item() * layer.in_features == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("softness", [-1.0, float("nan"), float("inf"), "much"])
def test_a_softness_out_of_range_is_named(softness):
    with pytest.raises(ValueError, match="softness"):
        MLP(softness=softness).build((4,), 2)
    with pytest.raises(ValueError, match="softness"):
        ConvNet(softness=softness).build((1, 8, 8), 2)


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


# --- images ---


def parameters_of(module):
    return sum(p.numel() for p in module.parameters())


def test_a_convnet_has_the_published_size_and_pools_while_it_can():
    body = ConvNet().build((1, 28, 28), 10)
    # The 111,936 of prototypical networks less 256 biases in front of normalisations.
    assert parameters_of(body[:-1]) == 111_936 - 256
    assert body(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    kinds = [type(layer) for layer in ConvNet().build((1, 8, 8), 10)]
    assert kinds.count(nn.MaxPool2d) == 3
    assert ConvNet().build((3, 1, 5), 4)(torch.zeros(2, 3, 1, 5)).shape == (2, 4)


def test_a_convnet_pools_as_often_as_asked_and_averages_what_remains():
    spec = ConvNet((4, 5, 6), n_pools=1, readout="average")
    body = spec.build((2, 8, 8), 3).eval()
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in body) == 1
    X = torch.randn(7, 2, 8, 8)
    features = body[:-3](X)
    assert features.shape == (7, 6, 4, 4)
    torch.testing.assert_close(body(X), body[-1](features.mean((2, 3))))
    assert ConvNet((4,), n_pools=0).build((2, 8, 8), 3)[-1].in_features == 4 * 64


@pytest.mark.parametrize("parameters", [{"n_pools": -1}, {"readout": "max"}], ids=str)
def test_a_convnet_names_the_parameter_out_of_range(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        ConvNet(**parameters).build((1, 8, 8), 2)


def test_pooling_in_front_of_the_relu_changes_nothing():
    body = ConvNet((6,)).build((2, 8, 8), 3).eval()
    X = torch.randn(4, 2, 8, 8)
    convolution, norm, pool, relu, *rest = body
    torch.testing.assert_close(nn.Sequential(convolution, norm, relu, pool, *rest)(X), body(X))


@pytest.mark.parametrize(("depth", "size"), [(18, 11_173_962), (34, 21_282_122), (50, 23_520_842)])
def test_a_resnet_has_the_published_size(depth, size):
    with torch.device("meta"):
        body = ResNet(depth).build((3, 32, 32), 10)
        shape = body[:-3](torch.zeros(2, 3, 32, 32)).shape
    assert parameters_of(body) == size
    assert shape[2:] == (4, 4)


@pytest.mark.parametrize("depth", [18, 50])
def test_residual_blocks_start_as_the_identity(depth):
    body = ResNet(depth, width=4).build((3, 8, 8), 2)
    block = next(m for m in body if hasattr(m, "residual") and type(m.shortcut) is nn.Identity)
    X = torch.rand(3, block.residual[-1].num_features, 4, 4)
    torch.testing.assert_close(block(X), X)


# --- modules of the user's own ---


class Branched(nn.Module):
    """As torchvision's: a head named fc that is not registered last."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 5)
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, X):
        return self.fc(self.stem(X).mean((2, 3)))


def pooled():
    return nn.Sequential(nn.Linear(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("module", "shape", "features"),
    [
        (Branched(), (1, 8, 8), 6),
        (
            nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(64, 7), nn.Linear(7, 4))),
            (1, 8, 8),
            7,
        ),
        (nn.Linear(4, 9), (4,), 4),
        (pooled(), (3, 8, 8), 3),  # its last linear layer is no head
    ],
    ids=["fc", "nested", "alone", "none"],
)
def test_a_modules_last_layer_is_adapted(module, shape, features):
    before = [p.clone() for p in module.parameters()]
    body = Pretrained(module).build(shape, 2)
    assert (body.head.in_features, body.head.out_features) == (features, 2)
    X = torch.randn(5, *shape)
    assert body(X).shape == (5, 2)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def test_a_last_layer_of_the_right_width_is_kept():
    module = Branched()
    body = Pretrained(module).build((1, 8, 8), 5).eval()
    X = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(body(X), module.eval()(X))


def test_looking_for_the_last_layer_leaves_modes_and_statistics():
    module = Branched()
    module.stem[1].eval()
    module.stem[1].running_mean.fill_(0.5)
    body = Pretrained(module).build((1, 8, 8), 2)
    assert module.training
    assert not module.stem[1].training
    assert (body.backbone.stem[1].running_mean == 0.5).all()


def fitted(encoder, **parameters):
    X = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    y = np.arange(40) % 4
    model = HUGClassifier(encoder, max_epochs=3, random_state=0, **parameters)
    return model.fit(X, y), X


def test_frozen_modules_stay_bit_identical_and_their_heads_learn():
    module = Branched()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    model, _ = fitted(Pretrained(module, frozen=True))
    body = model.module_.body
    kept = {n: v for n, v in body.backbone.state_dict().items() if not n.startswith("fc")}
    assert "stem.1.num_batches_tracked" in kept
    assert all(torch.equal(value, state[name]) for name, value in kept.items())
    body.train()
    assert not body.backbone.stem[1].training
    few, _ = fitted(Pretrained(module, frozen=True), learning_rate=1e-8)
    assert not torch.equal(few.module_.body.head.weight, body.head.weight)


def test_fine_tuning_has_a_learning_rate_of_its_own():
    module = Branched()
    # One step an epoch of a size that Adam makes the learning rate's, whatever the gradient.
    options = {"schedule": "constant", "weight_decay": 0.0, "batch_size": 40}
    model, _ = fitted(Pretrained(module, learning_rate=1e-5), learning_rate=1e-2, **options)
    body = model.module_.body
    moved = (body.backbone.stem[0].weight - module.stem[0].weight).abs().max()
    assert 1e-5 < moved < 4e-5
    rates = {rate for _, rate in model.module_.learning_rates(1e-2)}
    assert rates == {1e-5, 1e-2}


def test_a_fitted_users_module_survives_a_pickle():
    model, X = fitted(Pretrained(Branched(), learning_rate=1e-4, standardize=True))
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.transform(X), model.transform(X))
    assert copy.module_.body.learning_rate == 1e-4
    assert clone(model).encoder.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (Pretrained("resnet18"), TypeError, "torch.nn.Module"),
        (Pretrained(nn.Linear(8, 2), learning_rate=0.0), ValueError, "frozen=True"),
        (Pretrained(nn.Conv2d(3, 2, 3)), ValueError, "the encoder failed"),
        (Pretrained(nn.Conv2d(1, 2, 3)), ValueError, "one row of"),
    ],
)
def test_modules_that_cannot_be_adapted_are_explained(spec, error, message):
    with pytest.raises(error, match=message):
        spec.build((1, 8, 8), 2)


def test_a_bare_modules_width_is_checked_and_the_error_says_what_adapts_it():
    with pytest.raises(ValueError, match=r"Pretrained\(module\)"):
        fitted(Branched(), n_components=3)
    assert fitted(Branched())[0].proxies_.shape == (4, 5)


def test_an_integer_is_one_hidden_layer():
    assert str(MLP(16).build((4,), 2)) == str(MLP((16,)).build((4,), 2))
