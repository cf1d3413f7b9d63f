"""Augmentation: an own draw for every image, the same numbers from the same generator."""

import pytest
import torch
from sklearn.base import clone

from skhug.augment import Affine, Compose, Cutout, HorizontalFlip, RandomCrop

AUGMENTATIONS = [
    RandomCrop(2),
    HorizontalFlip(),
    Affine(20, 0.1, (0.8, 1.2)),
    Cutout(5),
    Compose([RandomCrop(1), HorizontalFlip(), Cutout(3)]),
]
IDENTITIES = [RandomCrop(0), HorizontalFlip(0), Affine(0), Cutout(0), Compose([])]
each = pytest.mark.parametrize("augment", AUGMENTATIONS, ids=lambda a: type(a).__name__)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=16, channels=3, height=12, width=9, dtype=torch.float32):
    drawn = torch.randint(1, 256, (n, channels, height, width), generator=seeded(7))
    return drawn.to(dtype)


@each
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float64])
def test_shape_and_dtype_are_kept_and_the_input_is_not_changed(augment, dtype):
    X = images(dtype=dtype)
    before = X.clone()
    result = augment(X, seeded())
    assert result.shape == X.shape
    assert result.dtype == dtype
    assert torch.equal(X, before)
    assert not torch.equal(result, X)


@each
def test_the_generator_alone_decides(augment):
    X = images()
    assert torch.equal(augment(X, seeded(1)), augment(X, seeded(1)))
    assert not torch.equal(augment(X, seeded(1)), augment(X, seeded(2)))
    generator = seeded(1)
    assert not torch.equal(augment(X, generator), augment(X, generator))


@each
def test_images_of_a_batch_get_different_draws(augment):
    one = images(n=1).expand(32, -1, -1, -1)
    assert len(torch.unique(augment(one, seeded()), dim=0)) > 1


@pytest.mark.parametrize("augment", IDENTITIES, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_at_zero_strength_images_stay_exactly_as_they_are(augment, dtype):
    X = images(dtype=dtype)
    assert torch.equal(augment(X, seeded()), X)


def test_crop_equals_a_loop_over_images():
    X, padding = images(), 3
    n, channels, height, width = X.shape
    result = RandomCrop(padding)(X, seeded())
    top, left = torch.randint(2 * padding + 1, (2, n), generator=seeded()).tolist()
    for i in range(n):
        padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding)
        padded[:, padding : padding + height, padding : padding + width] = X[i]
        window = padded[:, top[i] : top[i] + height, left[i] : left[i] + width]
        assert torch.equal(result[i], window)


def test_crop_reaches_every_offset():
    X = torch.zeros(2000, 1, 3, 3)
    X[:, :, 1, 1] = 1
    reached = RandomCrop(1)(X, seeded()).sum(dim=(0, 1))
    assert reached.sum() == 2000
    assert bool((reached > 150).all())


def test_flips_are_exact_and_as_frequent_as_said():
    X = images(n=4000, height=2, width=4)
    result = HorizontalFlip(0.3)(X, seeded())
    flipped = (result == X.flip(3)).flatten(1).all(1)
    kept = (result == X).flatten(1).all(1)
    assert bool((flipped | kept).all())
    assert abs(flipped.double().mean() - 0.3) < 0.03
    assert torch.equal(HorizontalFlip(1.0)(X, seeded()), X.flip(3))


def test_a_quarter_turn_is_counter_clockwise_and_exact_on_pixels():
    X = images(height=9, width=9, dtype=torch.uint8)
    assert torch.equal(Affine((90, 90))(X, seeded()), torch.rot90(X, 1, (2, 3)))


def test_a_quarter_turn_keeps_proportions_of_wide_images():
    X = torch.zeros(1, 1, 10, 20, dtype=torch.uint8)
    X[:, :, 4:6, 7:13] = 200  # 6 wide, 2 high
    turned = Affine((90, 90))(X, seeded())
    expected = torch.zeros_like(X)
    expected[:, :, 2:8, 9:11] = 200
    assert torch.equal(turned, expected)


def test_affine_shifts_and_scales_as_said():
    X = torch.zeros(64, 1, 21, 21)
    X[:, :, 10, 10] = 1
    shifted = Affine(0, translate=2 / 21)(X, seeded())
    place = torch.arange(21.0)
    for axis in (2, 3):
        centre = (shifted.sum(5 - axis)[:, 0] * place).sum(1) - 10
        assert centre.abs().max() <= 2 + 1e-4
        assert centre.min() < -1
        assert centre.max() > 1
    X = images(height=9, width=9, n=2)
    doubled = Affine(0, scale=(2.0, 2.0))(X, seeded())
    assert torch.equal(doubled[:, :, 4, 4], X[:, :, 4, 4])  # the centre stays
    torch.testing.assert_close(doubled[:, :, 4, 6], X[:, :, 4, 5])  # distances double


def test_cutout_zeroes_one_square_an_image():
    X, size = images(n=200, channels=2, height=10, width=8), 4
    result = Cutout(size)(X, seeded())
    for before, after in zip(X, result, strict=True):
        zero = (after == 0).all(0)
        assert torch.equal(after[:, ~zero], before[:, ~zero])
        rows, columns = zero.any(1).nonzero()[:, 0], zero.any(0).nonzero()[:, 0]
        height, width = len(rows), len(columns)
        assert 2 <= height <= size  # half of it at least lies inside
        assert 2 <= width <= size
        assert int(zero.sum()) == height * width
        assert int(rows[-1] - rows[0]) == height - 1


def test_compose_takes_any_callable_in_turn():
    def brighter(X, generator):
        return X + torch.rand(len(X), generator=generator)[:, None, None, None]

    X = images()
    generator = seeded(3)
    expected = HorizontalFlip()(brighter(X, generator), generator)
    assert torch.equal(Compose([brighter, HorizontalFlip()])(X, seeded(3)), expected)


def test_specs_follow_scikit_learn():
    crop = clone(RandomCrop(padding=2)).set_params(padding=3)
    assert crop.get_params() == {"padding": 3}
    assert repr(clone(AUGMENTATIONS[-1])) == repr(AUGMENTATIONS[-1])


@pytest.mark.parametrize(
    ("augment", "named"),
    [
        (RandomCrop(-1), "padding=-1"),
        (HorizontalFlip(1.5), r"p=1\.5"),
        (Affine(degrees="ten"), "degrees='ten'"),
        (Affine(translate=-0.1), "translate=-0.1"),
        (Affine(scale=(0, 1)), r"scale=\(0, 1\)"),
        (Cutout(2.5), r"size=2\.5"),
    ],
)
def test_parameters_out_of_range_are_named(augment, named):
    with pytest.raises(ValueError, match=named):
        augment(images(), seeded())


def test_rows_that_are_no_images_are_refused_with_their_shape():
    with pytest.raises(ValueError, match=r"RandomCrop takes images.*shape \(5, 3\)"):
        RandomCrop()(torch.zeros(5, 3), seeded())
