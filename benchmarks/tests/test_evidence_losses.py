"""The evidence's losses of peers: against naive loops and pytorch-metric-learning."""

import math

import pytest
import torch
from evidence import losses
from torch.nn import functional as F

N, CLASSES, WIDTH = 12, 4, 5
COUNTS = torch.tensor([40.0, 20.0, 10.0, 2.0])


@pytest.fixture
def make():
    torch.manual_seed(0)
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 0, 2])

    def build(kind, **own):
        loss = kind(CLASSES, WIDTH, COUNTS, **own)
        return loss, torch.randn(N, loss.width), y

    return build


def softmax(row):
    e = [math.exp(v) for v in row.tolist()]
    return [v / sum(e) for v in e]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def robust_value(kind, own, p, target):
    """The formula of a loss on probabilities, class by class."""
    if kind is losses.Softmax:
        return -math.log(p[target])
    if kind is losses.MeanAbsoluteError:
        return sum(abs(p[c] - (c == target)) for c in range(CLASSES))
    if kind is losses.GeneralisedCrossEntropy:
        return (1 - p[target] ** own["q"]) / own["q"]
    log_target = [0.0 if c == target else -4.0 for c in range(CLASSES)]
    reverse = -sum(p[c] * log_target[c] for c in range(CLASSES))
    return own["a"] * -math.log(p[target]) + own["b"] * reverse


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (losses.Softmax, {}),
        (losses.MeanAbsoluteError, {}),
        (losses.GeneralisedCrossEntropy, {"q": 0.7}),
        (losses.SymmetricCrossEntropy, {"a": 0.3, "b": 2.0}),
    ],
)
def test_losses_on_probabilities_are_their_formulas(make, kind, own):
    loss, outputs, y = make(kind, **own)
    expected = mean(
        robust_value(kind, own, softmax(row), t) for row, t in zip(outputs, y.tolist(), strict=True)
    )
    assert loss(outputs, y).item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_spreads_a_share_over_all_classes(make):
    loss, outputs, y = make(losses.LabelSmoothing, smoothing=0.2)
    expected = mean(
        -sum((0.8 * (c == t) + 0.2 / CLASSES) * math.log(softmax(row)[c]) for c in range(CLASSES))
        for row, t in zip(outputs, y.tolist(), strict=True)
    )
    assert loss(outputs, y).item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_inverse_to_the_counts(make):
    loss, outputs, y = make(losses.ClassWeighted)
    weight = [72 / (CLASSES * float(COUNTS[t])) for t in y]
    rows = [-math.log(softmax(row)[t]) for row, t in zip(outputs, y.tolist(), strict=True)]
    expected = sum(w * r for w, r in zip(weight, rows, strict=True)) / sum(weight)
    assert loss(outputs, y).item() == pytest.approx(expected, rel=1e-5)


def test_logit_adjustment_trains_on_shifted_logits_and_predicts_by_plain_ones(make):
    loss, outputs, y = make(losses.LogitAdjusted, tau=1.5)
    shifted = outputs + 1.5 * (COUNTS / 72).log()
    assert torch.allclose(loss(outputs, y), F.cross_entropy(shifted, y))
    assert torch.equal(loss.scores(outputs), outputs)


def test_mse_to_the_simplex_is_a_squared_distance_to_unit_vertices(make):
    loss, outputs, y = make(losses.SimplexMSE)
    gram = loss.targets @ loss.targets.T
    assert torch.allclose(gram, (torch.eye(CLASSES) * CLASSES - 1) / (CLASSES - 1), atol=1e-6)
    expected = mean(
        float(((row - loss.targets[t]) ** 2).sum()) for row, t in zip(outputs, y, strict=True)
    )
    assert loss(outputs, y).item() == pytest.approx(expected, rel=1e-5)


def cosines_over(loss, outputs):
    cosines = F.normalize(outputs) @ F.normalize(loss.vectors).T
    return (cosines / loss.temperature).tolist()


@pytest.mark.parametrize("kind", [losses.NTCE, losses.NONL])
def test_prototype_contrast_is_normalised_over_the_rows_of_the_batch(make, kind):
    loss, outputs, y = make(kind, temperature=0.3)
    s, labels = cosines_over(loss, outputs), y.tolist()
    expected = []
    for i, t in enumerate(labels):
        negatives = [j for j in range(N) if kind is losses.NTCE or labels[j] != t]
        expected.append(math.log(sum(math.exp(s[j][t]) for j in negatives)) - s[i][t])
    assert loss(outputs, y).item() == pytest.approx(mean(expected), rel=1e-5)


def test_nonl_stays_finite_on_a_batch_of_one_class(make):
    loss, outputs, _ = make(losses.NONL)
    outputs.requires_grad_()
    loss(outputs, torch.zeros(N, dtype=torch.long)).backward()
    assert torch.isfinite(outputs.grad).all()


def test_normalised_softmax_is_that_of_pytorch_metric_learning(make):
    theirs = pytest.importorskip("pytorch_metric_learning.losses")
    loss, outputs, y = make(losses.NormalisedSoftmax, temperature=0.2)
    peer = theirs.NormalizedSoftmaxLoss(CLASSES, WIDTH, temperature=0.2)
    peer.W.data = loss.vectors.data.T.clone()
    assert torch.allclose(loss(outputs, y), peer(outputs, y), rtol=1e-5)


def test_arcface_is_that_of_pytorch_metric_learning(make):
    theirs = pytest.importorskip("pytorch_metric_learning.losses")
    loss, outputs, y = make(losses.ArcFace, temperature=0.1, margin=0.2)
    assert torch.tensor(cosines_over(loss, outputs)).mul(0.1).min() > math.cos(math.pi - 0.2)
    peer = theirs.ArcFaceLoss(CLASSES, WIDTH, margin=math.degrees(0.2), scale=10.0)
    peer.W.data = loss.vectors.data.T.clone()
    assert torch.allclose(loss(outputs, y), peer(outputs, y), rtol=1e-4)


def test_arcface_goes_on_pulling_from_the_far_side_of_the_sphere(make):
    loss, _, _ = make(losses.ArcFace, temperature=1.0, margin=0.5)
    own = F.normalize(loss.vectors.data[0], dim=0)
    aside = F.normalize(torch.randn(WIDTH) - own, dim=0)
    angles = torch.linspace(2.0, 3.1, 12)  # past pi - margin
    rows = angles.cos()[:, None] * own + angles.sin()[:, None] * F.normalize(
        aside - (aside @ own) * own, dim=0
    )
    loss.vectors.data[1:] = 0  # the other logits are then 0 everywhere
    values = [float(loss(row[None], torch.tensor([0]))) for row in rows]
    assert values == sorted(values)


def test_supcon_is_that_of_pytorch_metric_learning_and_classifies_by_the_nearest_mean(make):
    theirs = pytest.importorskip("pytorch_metric_learning.losses")
    loss, outputs, y = make(losses.SupCon, temperature=0.2)
    y = torch.where(y == 3, 2, y)  # theirs divides by the rows with positives in another way
    assert torch.allclose(loss(outputs, y), theirs.SupConLoss(temperature=0.2)(outputs, y))
    loss.finish(outputs, y)
    z = F.normalize(outputs)
    for c in range(3):
        assert torch.allclose(loss.means[c], F.normalize(z[y == c].mean(0), dim=0), atol=1e-6)


def test_supcon_of_a_batch_without_positives_is_zero(make):
    loss, outputs, _ = make(losses.SupCon)
    assert float(loss(outputs[:4], torch.arange(4))) == 0
