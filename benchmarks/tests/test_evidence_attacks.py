"""Attacks stay within their box, do what they are named for, and the worst counts."""

import pytest
import torch
from evidence import attacks, autoattack, robustness
from evidence.data import Split
from evidence.models import Model

SIDE, RADIUS = 4, 12.75


@pytest.fixture
def problem():
    """A linear model of 3 classes on 4 x 4 images, and rows that it gets right."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SIDE**2, 3, generator=generator) / 255
    X = 255 * torch.rand(200, SIDE**2, generator=generator)
    return (lambda X: X @ weight), X, (X @ weight).argmax(1), generator


def attack_all(problem):
    scores, X, y, generator = problem
    return {
        "fgsm": attacks.fgsm(scores, X, y, RADIUS, attacks.cross_entropy),
        "pgd, loss": attacks.pgd(scores, X, y, RADIUS, attacks.cross_entropy, 10, generator),
        "pgd, margin": attacks.pgd(scores, X, y, RADIUS, attacks.margin, 10, generator),
        "squares": attacks.random_squares(scores, X, y, RADIUS, 100, SIDE, generator),
    }


def test_attacked_rows_stay_in_the_box_and_the_range(problem):
    X = problem[1]
    for name, changed in attack_all(problem).items():
        assert (changed - X).abs().max() <= RADIUS + 1e-4, name
        assert changed.min() >= 0, name
        assert changed.max() <= 255, name


def test_attacks_raise_the_margin_and_turn_rows(problem):
    scores, X, y, _ = problem
    before = attacks.margin(scores(X), y)
    for name, changed in attack_all(problem).items():
        after = attacks.margin(scores(changed), y)
        assert after.mean() > before.mean(), name
        assert (after > 0).float().mean() > 0.1, name


def test_margin_attack_reaches_what_a_linear_model_allows():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(SIDE**2, 2, generator=generator) / 255
    X = 100 + 50 * torch.rand(50, SIDE**2, generator=generator)  # far from the range's ends
    y = (X @ weight).argmax(1)
    scores = lambda X: X @ weight  # noqa: E731
    direction = torch.where(y[:, None] == 0, 1, -1) * (weight[:, 1] - weight[:, 0])
    best = attacks.margin(scores(X + RADIUS * direction.sign()), y)
    found = attacks.pgd(scores, X, y, RADIUS, attacks.margin, 40, generator)
    torch.testing.assert_close(attacks.margin(scores(found), y), best, rtol=1e-3, atol=1e-3)


def test_black_box_needs_no_gradient(problem):
    scores, X, y, generator = problem

    def stepwise(X):
        return scores(X).detach().round(decimals=3)

    changed = attacks.random_squares(stepwise, X, y, RADIUS, 100, SIDE, generator)
    assert (attacks.margin(stepwise(changed), y) > 0).float().mean() > 0.1


def test_margin_is_the_best_other_score_less_the_true_one():
    scores = torch.tensor([[1.0, 3.0, 2.0], [5.0, 1.0, 0.0]])
    assert attacks.margin(scores, torch.tensor([1, 2])).tolist() == [-1, 5]


def test_a_restart_that_turns_a_row_counts():
    stands = {"a/0": torch.tensor([True, False]), "a/1": torch.tensor([False, True])}
    assert not robustness.by_attack(stands)["a"].any()


def test_blur_keeps_a_flat_image_and_spreads_a_dot():
    flat, dot = torch.full((1, 28 * 28), 100.0), torch.zeros(1, 28, 28)
    dot[0, 14, 14] = 255
    inside = attacks.blur(flat, 28, None).reshape(28, 28)[6:-6, 6:-6]
    torch.testing.assert_close(inside, torch.full_like(inside, 100))
    spread = attacks.blur(dot.reshape(1, -1), 28, None)
    assert spread.sum() == pytest.approx(255, rel=1e-4)
    assert spread.max() < 20


def test_low_contrast_keeps_the_mean():
    X = 255 * torch.rand(3, 16, generator=torch.Generator().manual_seed(0))
    changed = attacks.low_contrast(X, 4, None)
    torch.testing.assert_close(changed.mean(1), X.mean(1))
    torch.testing.assert_close(changed.std(1), X.std(1) / 3)


def test_autoattack_counts_what_stands_all_and_within_the_radius(problem, monkeypatch):
    _, X, y, _ = problem
    weight = torch.randn(SIDE**2, 3, generator=torch.Generator().manual_seed(0)) / 255
    seen = []

    def far(images, labels):
        seen.append(len(images))
        return 1 - images  # cut back to the radius

    def idle(images, labels):
        seen.append(len(images))
        return images

    model = Model(torch.nn.Identity(), torch.nn.Identity(), lambda X: X @ weight)
    monkeypatch.setattr(autoattack, "_attacks", lambda *_: {"far": far, "idle": idle})
    split = Split(X.numpy(), y.numpy(), X.numpy(), y.numpy(), 3)
    found = autoattack.withstands(model, split)
    moved = torch.clamp(255 - X, X - RADIUS, X + RADIUS)
    stands = ((moved @ weight).argmax(1) == y).float().mean().item()
    assert 0 < stands < 1
    assert found == {"all four": stands, "clean": 1.0, "far": stands, "idle": stands}
    assert seen == [200, round(200 * stands)]
