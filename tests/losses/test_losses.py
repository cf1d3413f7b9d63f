"""The loss against the authors' formula written as loops, its gradients and its edge cases."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch.nn.functional import normalize

from skhug import HUGClassifier
from skhug.losses import (
    MGD,
    MHE,
    MHS,
    HUGLoss,
    Uniformity,
    class_mean_coefficients,
    within_class_energy,
)

MEASURES = [MHE(), MHE(s=0, s_within=-1), MHE(s=1, s_within=-4), MHS(), MGD()]
WITH_REPULSION = [type(m)(repulsion=0.7) for m in (MHE(), MHS(), MGD())]


def make_batch(n=23, n_classes=5, d=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)
    w = torch.randn(n_classes, d, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(n_classes - 1, (n,), generator=generator)  # the last class is absent
    return z.requires_grad_(), y, w.requires_grad_()


def authors_loss(z, y, w, alpha, beta):
    """The reference of the paper's code, sample by sample and pair by pair."""
    z, w = normalize(z), normalize(w)
    class_means = []
    for c in sorted(set(y.tolist())):
        members = [(z[i] - w[c].detach()).norm() for i in range(len(y)) if y[i] == c]
        class_means.append(sum(members) / len(members))
    pairs = [1 / (w[i] - w[j]).square().sum() for i in range(len(w)) for j in range(i + 1, len(w))]
    return beta * sum(class_means) / len(class_means) + alpha * sum(pairs) / len(pairs)


def test_loss_and_gradients_equal_the_authors_formula():
    z, y, w = make_batch()
    alpha, beta = 1.7, 0.6
    # The authors average over pairs; ours sums over a class's partners.
    ours = HUGLoss(MHE(s=2, s_within=-1), alpha / (len(w) - 1), beta, attached=False)
    gradients = torch.autograd.grad(ours(z, y, w).loss, (z, w))
    reference = authors_loss(z, y, w, alpha, beta)
    torch.testing.assert_close(ours(z, y, w).loss, reference)
    for got, expected in zip(gradients, torch.autograd.grad(reference, (z, w)), strict=True):
        torch.testing.assert_close(got, expected)


def naive_within(measure, z, y, w, weight, scale):
    z, w = normalize(z), normalize(w)
    present = [c for c in range(len(w)) if weight[y == c].sum() > 0]
    total = 0.0
    for c in present:
        rows = [i for i in range(len(y)) if y[i] == c]
        mean = 0.0
        for i in rows:
            cost = (z[i] - w[c]).norm() ** -measure.s_within
            if isinstance(measure, MHS):
                cost = measure.temperature * (torch.exp(cost / measure.temperature) - 1)
            others = [torch.exp(scale * z[i] @ w[k]) for k in range(len(w)) if k != c]
            nearest = torch.log(sum(others) / len(others)) / scale
            mean = mean + weight[i] * (cost + measure.repulsion * nearest)
        total = total + mean / weight[rows].sum()
    return total / len(present)


@pytest.mark.parametrize("measure", MEASURES + WITH_REPULSION, ids=repr)
def test_within_term_equals_naive_loops_with_weights(measure):
    z, y, w = make_batch()
    weight = torch.linspace(0, 3, len(y), dtype=torch.float64)
    expected = naive_within(measure, z, y, w, weight, measure.repulsion_scale)
    torch.testing.assert_close(HUGLoss(measure)(z, y, w, weight).within, expected)


@pytest.mark.parametrize("measure", MEASURES + WITH_REPULSION, ids=repr)
def test_gradients_pass_gradcheck(measure):
    z, y, w = make_batch(n=9, n_classes=4, d=3)
    loss = HUGLoss(measure, alpha=0.3, beta=1.4)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, y, b).loss, (z, w))


@pytest.mark.parametrize("measure", MEASURES + WITH_REPULSION, ids=repr)
def test_loss_is_rotation_invariant(measure):
    z, y, w = make_batch()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    loss = HUGLoss(measure)
    torch.testing.assert_close(loss(z @ rotation, y, w @ rotation).loss, loss(z, y, w).loss)


def test_loss_is_alpha_between_plus_beta_within():
    z, y, w = make_batch()
    terms = HUGLoss(MHE(), alpha=2.0, beta=3.0)(z, y, w)
    torch.testing.assert_close(terms.loss, 2 * terms.between + 3 * terms.within)


def test_detached_proxies_follow_the_energy_alone():
    z, y, w = make_batch()
    detached = HUGLoss(MHE(), attached=False)(z, y, w)
    (gradient,) = torch.autograd.grad(detached.loss, w, retain_graph=True)
    (energy,) = torch.autograd.grad(detached.between, w)
    torch.testing.assert_close(gradient, energy)
    (attached,) = torch.autograd.grad(HUGLoss(MHE())(z, y, w).loss, w)
    assert not torch.allclose(attached, energy)


def test_integer_weights_equal_repeated_rows():
    z, y, w = make_batch()
    times = torch.arange(len(y)) % 4
    repeated = torch.repeat_interleave(torch.arange(len(y)), times)
    loss = HUGLoss(MHE())
    torch.testing.assert_close(
        loss(z, y, w, times.double()).loss, loss(z[repeated], y[repeated], w).loss
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("measure", MEASURES + WITH_REPULSION, ids=repr)
def test_value_and_gradient_are_finite_where_points_coincide(measure, dtype):
    w = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    z = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    terms = HUGLoss(measure)(z, torch.tensor([0, 1, 2]), w)
    terms.loss.backward()
    assert torch.stack(terms).isfinite().all()
    assert z.grad.isfinite().all()
    assert w.grad.isfinite().all()


@pytest.mark.parametrize("measure", MEASURES + WITH_REPULSION, ids=repr)
def test_a_soft_projection_has_the_right_gradient_too(measure):
    x = torch.tensor([[0.3], [-2.0], [1e-3]], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    y, coef = torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    loss = HUGLoss(measure)
    assert torch.autograd.gradcheck(lambda a: loss.within(a, w, y, coef, 1.0), x)


def test_bfloat16_input_is_computed_in_float32():
    z, y, w = make_batch(dtype=torch.bfloat16)
    terms = HUGLoss(MHE())(z, y, w)
    assert terms.loss.dtype == torch.float32
    torch.testing.assert_close(terms.loss, HUGLoss(MHE())(z.float(), y, w.float()).loss)


def test_coefficients_are_means_over_classes_of_means_over_rows():
    y = torch.tensor([3, 100_000, 3, 3])
    coef = class_mean_coefficients(y)
    torch.testing.assert_close(coef, torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6]))
    weighted = class_mean_coefficients(y, torch.tensor([1.0, 0.0, 1.0, 2.0]))
    torch.testing.assert_close(weighted, torch.tensor([0.25, 0.0, 0.25, 0.5]))


def test_class_weight_acts_between_class_means():
    y = torch.tensor([0, 0, 1])
    coef = class_mean_coefficients(y, class_weight=torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(coef, torch.tensor([0.125, 0.125, 0.75]))


def test_wrong_shapes_are_named():
    z, y, w = make_batch()
    with pytest.raises(ValueError, match=r"same n_components"):
        HUGLoss()(z, y, w[:, :2])
    with pytest.raises(ValueError, match=r"one integer for each of the 23 embeddings"):
        HUGLoss()(z, y[:5], w)
    with pytest.raises(ValueError, match=r"pass a number below 0"):
        within_class_energy(z, y, w, s=1.0)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.zeros(6), TypeError, r"dtype torch.float32: pass an integer .* labels\.long\(\)"),
        (torch.zeros(6, dtype=torch.bool), TypeError, "dtype torch.bool"),
        (torch.eye(3).repeat(2, 1), TypeError, "dtype torch.float32"),
        (np.zeros(6, dtype=int), TypeError, "labels are a ndarray"),
        (torch.arange(6) % 3 + 1, ValueError, "from 1 to 3, and there are 3 classes: number them"),
        (torch.arange(6) % 3 - 1, ValueError, "from -1 to 1, and there are 3 classes"),
    ],
)
def test_labels_that_are_no_class_are_explained(labels, error, message):
    z, w = torch.randn(6, 4), torch.randn(3, 4)
    for call in (
        lambda: HUGLoss()(z, labels, w),
        lambda: within_class_energy(z, labels, w),
        lambda: class_mean_coefficients(labels, n_classes=3),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_labels_of_any_integer_are_taken(dtype):
    z, w, labels = torch.randn(6, 4), torch.randn(3, 4), torch.arange(6) % 3
    assert torch.equal(HUGLoss()(z, labels.to(dtype), w).loss, HUGLoss()(z, labels, w).loss)


def test_wrong_dtypes_and_weights_are_named():
    z, w, labels = torch.randn(6, 4), torch.randn(3, 4), torch.arange(6) % 3
    with pytest.raises(TypeError, match=r"embeddings are of torch\.int64"):
        HUGLoss()(z.long(), labels, w)
    with pytest.raises(TypeError, match="proxies are of ndarray"):
        HUGLoss()(z, labels, w.numpy())
    with pytest.raises(ValueError, match=r"sample_weight is torch.Size\(\[4\]\)"):
        HUGLoss()(z, labels, w, torch.ones(4))
    for wrong in ("mhe", MHE):
        with pytest.raises(TypeError, match=r"is no measure: pass MHE\(\)"):
            HUGLoss(wrong)


def test_the_range_of_labels_is_not_looked_at_beyond_the_cpu():
    # "meta" holds no numbers: to look at them would fail, as it would wait on a GPU.
    z, w = torch.empty(6, 4, device="meta"), torch.empty(3, 4, device="meta")
    labels = torch.empty(6, dtype=torch.int64, device="meta")
    assert HUGLoss()(z, labels, w).loss.is_meta


class Bare(Uniformity):
    def between(self, proxies):
        w = torch.nn.functional.normalize(proxies)
        return (w @ w.T).mean()


class Repelling(Bare):
    repulsion = 0.1


class Silent(Uniformity):
    pass


class Many(Uniformity):
    def between(self, proxies):
        return proxies.sum(0)


class Cut(Bare):
    def between(self, proxies):
        return super().between(proxies.detach())


@pytest.mark.parametrize("proxies", ["optimal", "learned"])
def test_a_measure_of_ones_own_needs_between_alone(proxies):
    X, y = load_iris(return_X_y=True)
    train = {"proxies": proxies, "max_epochs": 2, "random_state": 0}
    for own in (Bare(), Repelling()):
        model = HUGClassifier(uniformity=own, **train).fit(X, y)
        assert np.isfinite(model.loss_)
    with pytest.raises(NotImplementedError, match=r"Silent has no between\(proxies\).*define it"):
        HUGClassifier(uniformity=Silent(), **train).fit(X, y)
    with pytest.raises(ValueError, match=r"Many.between returned shape \(2,\): return a scalar"):
        HUGClassifier(uniformity=Many(), **train).fit(X, y)


def test_a_measure_without_a_gradient_is_told_so():
    with pytest.raises(ValueError, match=r"Cut\.between has no gradient"):
        Cut().between_gradient(torch.eye(3))


class Counted(MHE):
    """MHE that counts how often its between-class term is computed."""

    calls = 0

    def between_fixed(self, proxies):
        type(self).calls += 1
        return super().between_fixed(proxies)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(Counted, "calls", 0)
    return HUGLoss(Counted())


def a_batch(n_classes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(9, 5, generator=generator, dtype=dtype).requires_grad_()
    w = torch.randn(n_classes, 5, generator=generator, dtype=dtype)
    return z, torch.randint(n_classes, (9,), generator=generator), w


def test_proxies_without_a_gradient_have_the_loss_and_gradient_of_learned_ones():
    z, y, w = a_batch(12, torch.float64)
    fixed = HUGLoss(alpha=0.7)(z, y, w)
    (of_fixed,) = torch.autograd.grad(fixed.loss, z)
    learned = HUGLoss(alpha=0.7)(z, y, w.clone().requires_grad_())
    (of_learned,) = torch.autograd.grad(learned.loss, z)
    torch.testing.assert_close(torch.stack(fixed), torch.stack(learned))
    torch.testing.assert_close(of_fixed, of_learned)


def test_the_energy_of_proxies_without_a_gradient_is_computed_once(counted):
    z, y, w = a_batch(12)
    values = [counted(z, y, w).between for _ in range(3)]
    assert counted.uniformity.calls == 1
    assert values[0] == values[2]


def test_proxies_that_were_written_to_are_measured_again(counted):
    z, y, w = a_batch(12)
    counted(z, y, w)
    w[0] = -w[1]
    torch.testing.assert_close(counted(z, y, w).between, MHE().between(w))
    counted.uniformity.set_params(s=0.0)
    torch.testing.assert_close(counted(z, y, w).between, MHE(s=0.0).between(w))
    assert counted.uniformity.calls == 3


def test_without_alpha_the_energy_of_fixed_proxies_is_not_computed(counted):
    z, y, w = a_batch(12)
    counted.alpha = 0.0
    terms = counted(z, y, w)
    assert counted.uniformity.calls == 0
    assert terms.between.isnan()
    assert terms.loss == terms.within


def test_a_loss_that_has_seen_proxies_is_copied_and_pickled():
    loss, (z, y, w) = HUGLoss(), a_batch(12)
    expected = loss(z, y, w).loss
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(copied(z, y, w).loss, expected)


def test_proxies_made_for_inference_are_taken():
    z, y, w = a_batch(12)
    with torch.inference_mode():
        inside = w.clone()
        torch.testing.assert_close(HUGLoss()(z, y, inside).between, MHE().between(w))


def test_one_loss_takes_several_fixed_proxies_in_turn(counted):
    z, y, w = a_batch(12)
    for proxies in (w, -w, w[:, [1, 0, 2, 3, 4]], torch.cat([w, -w[:3]]), w, w.double()):
        expected = MHE().between(proxies).float()
        torch.testing.assert_close(counted(z, y, proxies).between, expected)


def test_proxies_whose_data_are_others_are_measured_again(counted):
    z, y, w = a_batch(12)
    fixed = torch.nn.Parameter(w.clone(), requires_grad=False)
    counted(z, y, fixed)
    other = fixed.data = w[torch.randperm(12)] + 1
    torch.testing.assert_close(counted(z, y, fixed).between, MHE().between(other))


def test_a_measure_may_hold_arrays(counted):
    z, y, w = a_batch(12)
    counted.uniformity.weights = torch.ones(12)
    for weights in (counted.uniformity.weights, torch.zeros(12)):
        counted.uniformity.weights = weights
        counted(z, y, w)
    assert counted.uniformity.calls == 2


def test_a_term_first_seen_in_inference_mode_takes_part_in_gradients():
    loss, (z, y, w) = HUGLoss(), a_batch(12)
    with torch.inference_mode():
        loss(z, y, w)
    terms = loss(z, y, w)
    (gradient,) = torch.autograd.grad(terms.loss * terms.between, z)
    assert gradient.isfinite().all()
