"""The loss of nested embeddings: a sum over prefixes, and its gradients."""

import pytest
import torch
from torch.nn.functional import normalize

from skhug.losses import MGD, MHE, MHS, HUGLoss
from skhug.losses._nested import (
    Prefix,
    nested_between_fixed,
    nested_between_gradient,
    nested_within_sum,
)
from skhug.losses._within_class import WithinGradients

PREFIXES = (Prefix(2, 0.5), Prefix(3, 0.2), Prefix(6, 1.0))


def batch():
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    features, proxies = torch.randn(9, 6, **draw), torch.randn(5, 6, **draw)
    return features, proxies, torch.arange(9) % 4, torch.rand(9, **draw)


def naive_within(features, proxies, labels, coef, softness, repulsion, scale):
    total = 0.0
    for d, weight in PREFIXES:
        for x, y, c in zip(features[:, :d], labels, coef, strict=True):
            z = x / (x @ x + softness).sqrt()
            w = normalize(proxies[:, :d], dim=1)
            cost = (z - w[y]) @ (z - w[y])
            others = torch.stack([z @ w[k] for k in range(len(w)) if k != y])
            cost = cost + repulsion * (scale * others).exp().mean().log() / scale
            total = total + weight * c * cost
    return total


@pytest.mark.parametrize("softness", [0.0, 3.0])
@pytest.mark.parametrize("repulsion", [0.0, 1.5])
def test_the_loss_is_the_naive_sum_over_prefixes_and_so_are_its_gradients(softness, repulsion):
    measure = MHE(repulsion=repulsion)
    features, proxies, labels, coef = batch()
    result = nested_within_sum(
        features, proxies, labels, coef, measure, softness, attached=True, prefixes=PREFIXES
    )
    leaves = [features.requires_grad_(), proxies.requires_grad_()]
    naive = naive_within(*leaves, labels, coef, softness, repulsion, measure.repulsion_scale)
    expected = WithinGradients(naive.detach(), *torch.autograd.grad(naive, leaves))
    torch.testing.assert_close(result, expected)


def test_detached_proxies_get_no_gradient():
    assert nested_within_sum(*batch(), MHE(), attached=False, prefixes=PREFIXES).proxies is None


@pytest.mark.parametrize("measure", [MHE(), MHS(temperature=0.3), MGD()], ids=repr)
def test_the_term_between_is_the_sum_over_prefixes(measure):
    proxies = batch()[1].requires_grad_()
    naive = sum(weight * measure.between(proxies[:, :d]) for d, weight in PREFIXES)
    (slope,) = torch.autograd.grad(naive, proxies)
    value, gradient = nested_between_gradient(proxies.detach(), measure, PREFIXES)
    torch.testing.assert_close((value, gradient), (naive.detach(), slope))
    torch.testing.assert_close(nested_between_fixed(proxies.detach(), measure, PREFIXES), value)


def test_a_sum_of_losses_by_hand_has_the_gradients_of_its_numbers():
    loss = HUGLoss(MHE(repulsion=1.0), alpha=0.3)
    labels = batch()[2]

    def nested(x, w):
        return sum(k * loss(x[:, :d], labels, w[:, :d]).loss for d, k in PREFIXES)

    leaves = [t.requires_grad_() for t in batch()[:2]]
    assert torch.autograd.gradcheck(nested, leaves)
