"""Proxies of very many classes: a code that is never stored, against the stored array."""

import pickle

import numpy as np
import pytest
import torch

import skhug
from skhug import MHE, MLP, HUGClassifier, HUGEmbedder, Learned
from skhug._model.calibration import candidates
from skhug._model.nearest import nearest, products, refuse_beyond_memory
from skhug.proxies import CodedProxies, optimal_proxies
from skhug.proxies import _choice as choice
from skhug.proxies._choice import code_of_many
from skhug.proxies._phase_code import PhaseCode, coherence_bound, phase_code

N_CLASSES, WIDTH = 300, 22


@pytest.fixture
def few_are_many(monkeypatch):
    """Let proxies that a test can store count as too many."""
    monkeypatch.setattr(choice, "_STORED", 1000)
    monkeypatch.setattr(choice, "_LARGE", 1)  # no search


def points_of_ball(n, d, dtype=torch.float64):
    z = torch.randn(n, d, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return z / (z.norm(dim=1, keepdim=True) + 1)


@pytest.mark.parametrize(("n", "d"), [(1, 6), (20, 10), (29, 14), (1157, 35), (5000, 23)])
def test_rows_means_and_products_are_those_of_the_stored_points(n, d):
    code, stored, z = PhaseCode(n, d), phase_code(n, d), points_of_ball(7, d)
    torch.testing.assert_close(code.mean(0), stored.mean(0), rtol=0, atol=1e-14)
    torch.testing.assert_close(products(z, code), z @ stored.T, rtol=0, atol=1e-14)
    index = torch.tensor([n - 1, 0, n // 2])
    torch.testing.assert_close(code[index], stored[index], rtol=0, atol=1e-14)


def test_nearest_and_candidates_are_those_of_the_stored_points():
    code, stored = PhaseCode(9000, 64), phase_code(9000, 64)
    z, y = points_of_ball(40, 64), torch.arange(40) * 225
    z[:20] += stored[y[:20]]
    for own, others in zip(nearest(z, code), nearest(z, stored), strict=True):
        torch.testing.assert_close(own, others)
    of_code, of_stored = (candidates(z, proxies, y) for proxies in (code, stored))
    assert of_code.own.equal(of_stored.own)
    for name in ("shares", "log_distances", "log_count"):
        torch.testing.assert_close(getattr(of_code, name), getattr(of_stored, name))


def test_a_million_points_keep_weils_bound():
    # As differences of two points are points again, cosines with one are those of all.
    code, first = PhaseCode(1_400_000, 256, torch.float32), torch.tensor([700_001])
    bound = coherence_bound(1_400_000, 256)
    assert bound == pytest.approx(2 / 127**0.5)
    largest = 0.0
    for start, cosines in code.product_blocks(code[first]):
        if start <= int(first) < start + cosines.shape[1]:
            assert float(cosines[0, int(first) - start]) == pytest.approx(1, abs=1e-5)
            cosines[0, int(first) - start] = 0
        largest = max(largest, float(cosines.max()))
    assert 0.9 * bound < largest <= bound + 1e-5


def test_what_can_be_stored_or_is_no_code_stays_an_array():
    assert code_of_many(100_000, 128) is None  # 51 MB
    assert code_of_many(20_000, 10_000) is None  # orthogonal simplices
    assert code_of_many(10_000_000, 16) is None
    assert code_of_many(1_400_000, 256) is not None
    # The points are those that an array would have.
    few = code_of_many(140_000, 128)[:50]
    torch.testing.assert_close(few, optimal_proxies(140_000, 128)[:50], rtol=0, atol=1e-14)


def test_coded_proxies_read_like_an_array():
    coded = CodedProxies(500, 22, "float64")
    whole = np.asarray(coded)
    assert coded.shape == whole.shape == (500, 22)
    assert len(coded) == 500
    assert whole.dtype == coded.dtype
    np.testing.assert_array_equal(coded.T, whole.T)
    for index in (7, -1, slice(3, 9), [4, 2], [[4, 2], [0, 9]], whole[:, 0] > 0.2):
        np.testing.assert_allclose(coded[index], whole[index], rtol=0, atol=1e-14)
    assert np.asarray(coded, dtype=np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        coded[500]


def fitted(kind, encoder, X, y, **options):
    model = kind(encoder, n_components=WIDTH, max_epochs=2, random_state=0, **options)
    return model.fit(X, y)


@pytest.fixture(scope="module")
def rows():
    X = np.random.default_rng(0).standard_normal((2 * N_CLASSES, 8)).astype(np.float32)
    return X, np.arange(len(X)) % N_CLASSES


@pytest.mark.parametrize("kind", [HUGClassifier, HUGEmbedder])
@pytest.mark.parametrize("encoder", [MLP((16,), members=1), MLP((8,), members=2)])
def test_a_fit_is_that_with_stored_proxies(kind, encoder, rows, few_are_many):
    X, y = rows
    model = fitted(kind, encoder, X, y)
    stored = fitted(kind, encoder, X, y, proxies=phase_code(N_CLASSES, WIDTH).numpy())
    assert isinstance(model.proxies_, CodedProxies)
    np.testing.assert_allclose(np.asarray(model.proxies_), stored.proxies_, atol=1e-6)
    np.testing.assert_allclose(model.transform(X), stored.transform(X), atol=1e-3)
    assert model.loss_ == pytest.approx(stored.loss_, rel=1e-5)
    if kind is HUGClassifier:
        assert np.mean(model.predict(X) == stored.predict(X)) > 0.99
        for method in ("decision_function", "predict_proba", "score_samples"):
            few = (getattr(each, method)(X[:20]) for each in (model, stored))
            np.testing.assert_allclose(*few, atol=1e-3)


def test_files_and_pickles_hold_the_codes_name(rows, few_are_many, tmp_path):
    X, y = rows
    model = fitted(HUGClassifier, MLP((16,), members=1), X, y)
    model.save(tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    assert size < 4 * N_CLASSES * WIDTH  # and the rest is in it as well
    for again in (skhug.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert isinstance(again.proxies_, CodedProxies)
        np.testing.assert_array_equal(again.predict(X[:20]), model.predict(X[:20]))


def test_fits_go_on_from_a_code(rows, few_are_many, tmp_path):
    X, y = rows
    model = fitted(HUGEmbedder, MLP((16,), members=1), X, y, warm_start=True, track="nc")
    assert isinstance(model.set_params(checkpoint=tmp_path).fit(X, y).proxies_, CodedProxies)
    assert isinstance(model.partial_fit(X, y).partial_fit(X, y).proxies_, CodedProxies)
    assert isinstance(model.set_params(proxies=Learned()).fit(X, y).proxies_, np.ndarray)


def test_what_asks_for_all_proxies_has_them_stored(rows, few_are_many):
    X, y = rows
    model = fitted(HUGEmbedder, MLP((16,), members=1), X, y, uniformity=MHE(repulsion=0.1))
    assert isinstance(model.proxies_, np.ndarray)


def test_numbers_beyond_memory_are_refused():
    with pytest.raises(ValueError, match=r"call predict .* rows at a time"):
        refuse_beyond_memory(2_800_000_000, 1_400_000, torch.float32)
    refuse_beyond_memory(10, 1_000, torch.float32)
