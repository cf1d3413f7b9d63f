"""Sparse rows: as the dense ones, and never dense as a whole."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from interruptions import Cut, cut_after
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn
from torch.nn import functional as F

import skhug
from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder
from skhug._data.sparse_prepare import ScaleSummary, SparseScale, prepare_sparse
from skhug._device import to_tensor
from skhug._sparse import CompressedRows
from skhug._training import build
from skhug.encoders import Pretrained
from skhug.metrics import geometry_report, recall_at_k, retrieval_report

WIDTH = 784
CPU = torch.device("cpu")


def make_rows(n=300, width=WIDTH, seed=0):
    """Return rows with a fiftieth of their values, and classes that these tell."""
    X = sparse.random_array((n, width), density=0.02, format="csr", random_state=seed)
    part = width // 8
    told = [np.asarray(X[:, i * part : (i + 1) * part].sum(1)).ravel() > 0.5 for i in (0, 1)]
    return X, told[0] + 2 * told[1]


@pytest.fixture(scope="module")
def rows():
    return make_rows()


def quick(Estimator=HUGClassifier, **parameters):
    return Estimator(**{"max_epochs": 3, "random_state": 0, **parameters})


def on_device(X):
    return to_tensor(CompressedRows(X), CPU)


# --- equal to dense rows -------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"encoder": MLP((64,), softness=100.0, members=4)},
        {"encoder": MLP(())},
        {"encoder": MLP(members=3)},
        {"encoder": MLP(members=2, dropout=0.1)},
        {"encoder": MLP(dropout=0.2)},
        {"encoder": MLP(batch_norm=True)},
        {"encoder": MLP(standardize=False)},
        {"encoder": nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, 3))},
        {"proxies": "learned"},
        {"n_components": 2},
        {"optimizer": "sgd"},
        {"early_stopping": True, "track": "nc"},
        {"class_weight": "balanced", "batch_size": 301},
    ],
    ids=str,
)
def test_a_fit_is_that_of_dense_rows_prepared_alike(rows, parameters, monkeypatch):
    X, y = rows
    of_sparse = quick(precision="float64", **parameters).fit(X, y)

    def prepare_rows(X, weight, standardize, device, dtype, shards, **options):
        rows = CompressedRows(sparse.csr_array(X))
        return prepare_sparse(rows, weight, standardize, device, dtype, shards)

    monkeypatch.setattr(build, "prepare_rows", prepare_rows)
    encoder = {"encoder": of_sparse.module_.spec} if of_sparse.module_.spec else {}
    of_dense = quick(precision="float64", **{**parameters, **encoder}).fit(X.toarray(), y)
    for method in ("transform", "predict_proba"):
        ours, expected = getattr(of_sparse, method)(X), getattr(of_dense, method)(X.toarray())
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


def test_sample_weights_count_as_repeated_rows(rows):
    X, y = rows
    X, y = X[:100], y[:100]
    weight = 1 + np.arange(100) % 2
    repeated = np.repeat(np.arange(100), weight)
    parameters = {"encoder": MLP(members=1), "batch_size": 1000, "precision": "float64"}
    weighted = quick(**parameters).fit(X, y, sample_weight=weight)
    expected = quick(**parameters).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(weighted.transform(X), expected.transform(X), atol=1e-9)


def test_a_model_takes_sparse_and_dense_rows_alike_however_it_was_fitted(rows):
    X, y = rows
    for fitted_on in (X, X.toarray()):
        model = quick().fit(fitted_on, y)
        for method in ("transform", "predict_proba", "decision_function", "score_samples"):
            of_sparse, of_dense = (getattr(model, method)(r) for r in (X, X.toarray()))
            np.testing.assert_allclose(of_sparse, of_dense, atol=1e-5)
        assert model.score(X, y) == model.score(X.toarray(), y)


def test_few_columns_are_made_dense_where_that_is_small():
    X, y = make_rows(width=100)
    of_sparse, of_dense = quick().fit(X, y), quick().fit(X.toarray(), y)
    assert np.array_equal(of_sparse.predict_proba(X), of_dense.predict_proba(X.toarray()))


def test_few_columns_of_very_many_rows_stay_sparse():
    X = sparse.random_array((200_000, 100), density=0.01, format="csr", random_state=0)
    y = np.asarray(X[:, :50].sum(1)).ravel() > 0.2
    model = quick(encoder=MLP((8,)), max_epochs=1).fit(X, y)
    assert isinstance(model.module_.prepare, SparseScale)
    assert model.module_.n_members == 4
    assert model.score(X, y) > 0.9


def test_the_scale_is_a_third_of_the_mean_magnitude_of_what_is_stored(rows):
    X, y = rows
    weight = 1 + np.arange(300) % 3
    dense, summary = np.abs(X.toarray()), ScaleSummary.of(CompressedRows(X), weight)
    weights = weight[:, None] * (dense > 0)
    total = weights.sum(axis=0)
    expected = (weights * dense).sum(axis=0) / np.maximum(total, 1) / 3
    for found in (summary, ScaleSummary.of(X.toarray(), weight)):
        np.testing.assert_allclose(found.centre_and_scale()[1], expected)
    values = quick().fit(X, y, sample_weight=weight).module_.prepare(on_device(X)).values
    z = X.toarray() / np.where(total > 0, expected, 1)
    np.testing.assert_allclose(values, (z / np.sqrt(1 + z**2 / 9))[X.toarray() > 0], rtol=1e-5)


def test_defaults_are_those_for_sparse_rows(rows):
    X, y = rows
    spec = quick().fit(X, y).module_.spec
    assert (spec.hidden_layer_sizes, spec.softness, spec.members) == ((64,), 100.0, 4)
    spec = quick(HUGEmbedder).fit(X, y).module_.spec
    assert (spec.hidden_layer_sizes, spec.softness, spec.members) == ((64,), 100.0, 1)
    module = quick(encoder="mlp").fit(X, y).module_
    assert (module.spec.hidden_layer_sizes, module.softness, module.n_members) == (
        (256, 128),
        100,
        1,
    )
    assert quick(encoder=MLP(softness=1.0)).fit(X, y).module_.softness == 1.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1e-320, 1e-30, 1e300])
def test_rows_of_any_scale_are_taken(rows, factor):
    X, y = rows
    assert np.isfinite(quick(max_epochs=1).fit(X * factor, y).predict_proba(X * factor)).all()


# --- formats -------------------------------------------------------------------------------

FORMATS = ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"]


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix], ids=["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_give_the_same(rows, form, kind):
    X, y = rows
    expected = quick().fit(X, y).predict_proba(X)
    X = kind(X).asformat(form)
    assert np.array_equal(quick().fit(X, y).predict_proba(X), expected)


def with_wide_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def with_places_stored_twice(X):
    halves = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2
    return sparse.csr_array(halves, shape=X.shape)


def with_stored_zeros(X):
    X = X.copy().tolil()
    X[0, :50] = 1.0
    X = X.tocsr()
    X.data[X.indptr[0] : X.indptr[1]][:50] = 0
    return X


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(
    "change",
    [
        with_wide_indices,
        with_places_stored_twice,
        lambda X: torch.from_numpy(X.toarray()).to_sparse(),
        lambda X: torch.from_numpy(X.toarray()).to_sparse_csr(),
        lambda X: pd.DataFrame.sparse.from_spmatrix(X, columns=map(str, range(WIDTH))),
    ],
    ids=["int64 indices", "twice", "sparse tensor", "csr tensor", "frame"],
)
def test_other_forms_give_the_same_and_stay_as_they_are(rows, change):
    X, y = rows
    expected = quick().fit(X, y).predict_proba(X)
    changed = change(X)
    before = pickle.dumps(changed)
    assert np.array_equal(quick().fit(changed, y).predict_proba(changed), expected)
    assert pickle.dumps(changed) == before


def test_names_of_a_sparse_frame_are_kept(rows):
    X, y = rows
    frame = pd.DataFrame.sparse.from_spmatrix(X, columns=[f"c{i}" for i in range(WIDTH)])
    model = quick().fit(frame, y)
    assert model.feature_names_in_[-1] == f"c{WIDTH - 1}"
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_all_dtypes_are_taken(rows, dtype):
    X, y = rows
    X = (X > 0).astype(dtype)
    model = quick().fit(X, y)
    assert model.input_dtype_ in ("float64", "float32", "uint8")
    np.testing.assert_allclose(model.transform(X), model.transform(X.toarray()), atol=1e-5)


def test_read_only_arrays_are_taken(rows):
    X, y = rows
    X = X.copy()
    for part in (X.data, X.indices, X.indptr):
        part.setflags(write=False)
    assert quick().fit(X, y).score(X, y) > 0.5


# --- never dense as a whole ----------------------------------------------------------------


def test_what_could_not_be_dense_is_fitted_and_embedded():
    n, width = 2000, 5_000_000  # 80 GB
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    columns = rng.integers(0, 1000, (n, 20)) + 1000 * y[:, None]
    starts = np.arange(0, n * 20 + 1, 20)
    X = sparse.csr_array((np.ones(n * 20), columns.ravel(), starts), (n, width))
    model = quick(encoder=MLP((4,)), batch_size=100, track="nc").fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.transform(X).shape == (n, 2)


def test_rows_without_values_are_taken():
    empty = sparse.csr_array((10, 600))
    probability = quick().fit(empty, [0, 1] * 5).predict_proba(empty[:2])
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)


def test_columns_without_values_in_fit_say_nothing_later(rows):
    X, y = rows
    X = sparse.hstack([X, sparse.csr_array((300, 5))], format="csr")
    model = quick().fit(X, y)
    other = X.copy().tolil()
    other[:, -1] = 7.0
    assert np.array_equal(model.transform(other), model.transform(X))


# --- products ------------------------------------------------------------------------------


def test_products_and_gradients_are_those_of_dense_rows(rows):
    X, _ = rows
    sparse_rows, dense = on_device(X), torch.from_numpy(X.toarray())
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(F.linear(sparse_rows, weight, bias), F.linear(dense, weight, bias))
    gradients = [
        torch.autograd.grad(F.linear(r, weight).square().sum(), weight)[0]
        for r in (sparse_rows, dense)
    ]
    torch.testing.assert_close(*gradients)
    written = torch.full_like(weight, 7.0).detach()
    g = F.linear(dense, weight.detach()).mul(2)
    torch.mm(g.mT, sparse_rows, out=written)
    torch.testing.assert_close(written, gradients[1])


def test_parts_of_rows_are_those_of_dense_rows(rows):
    X, _ = rows
    sparse_rows, dense = on_device(X), torch.from_numpy(X.toarray())
    assert torch.equal(sparse_rows.to_dense(), dense)
    assert torch.equal(sparse_rows.to_dense(3), dense[:, ::3])
    for part in (slice(0, 7), slice(290, 400), slice(5, 5)):
        assert torch.equal(sparse_rows[part].to_dense(), dense[part])
    parts = zip(sparse_rows.tensor_split(7), dense.tensor_split(7), strict=True)
    assert all(torch.equal(a.to_dense(), b) for a, b in parts)


def test_other_functions_of_torch_do_not_take_sparse_rows(rows):
    with pytest.raises(TypeError, match="SparseRows"):
        torch.exp(on_device(rows[0]))


def test_first_weights_lie_as_products_read_them(rows):
    X, y = rows
    model = quick(encoder=MLP(members=2)).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    for network in (*model.module_.body.networks, *again.module_.body.networks):
        assert network[0].weight.t().is_contiguous()
        assert network[2].weight.is_contiguous()


# --- going on, keeping, searching ----------------------------------------------------------


def test_partial_fit_takes_sparse_and_dense_parts_in_any_order(rows):
    X, y = rows
    models = []
    for parts in ([X, X], [X, X.toarray()]):
        model = HUGClassifier(random_state=0, precision="float64")
        for part in parts:
            model.partial_fit(part, y)
        models.append(model)
    np.testing.assert_allclose(*(m.transform(X) for m in models), atol=1e-9)
    centred = HUGClassifier(random_state=0, precision="float64")
    expected = HUGClassifier(random_state=0, precision="float64")
    for part in (X.toarray(), X):
        centred.partial_fit(part, y)
        expected.partial_fit(X.toarray(), y)
    np.testing.assert_allclose(centred.transform(X), expected.transform(X), atol=1e-9)


def test_the_scale_in_parts_is_that_of_all_rows(rows):
    X, y = rows
    whole = quick().fit(X, y).module_.prepare.inverse_scale
    model = HUGClassifier(random_state=0)
    for part in range(0, 300, 100):
        model.partial_fit(X[part : part + 100], y[part : part + 100], classes=np.unique(y))
    torch.testing.assert_close(model.module_.prepare.inverse_scale, whole)


@pytest.mark.parametrize("first", ["sparse", "dense"])
def test_warm_start_goes_on_with_the_other_kind(rows, first):
    X, y = rows
    kinds = {"sparse": X, "dense": X.toarray()}
    model = quick(warm_start=True).fit(kinds.pop(first), y)
    loss = model.loss_
    assert model.fit(*kinds.values(), y).loss_ < loss


def test_files_and_pickles_give_the_same(rows, tmp_path):
    X, y = rows
    for model in (quick(), quick(encoder=MLP(standardize=False)), quick(HUGEmbedder)):
        model.fit(X, y).save(tmp_path / "model.skhug")
        for again in (pickle.loads(pickle.dumps(model)), skhug.load(tmp_path / "model.skhug")):
            assert np.array_equal(again.transform(X), model.transform(X))


def test_an_interrupted_fit_goes_on(rows, tmp_path):
    X, y = rows
    with pytest.raises(Cut), cut_after(12):
        quick(checkpoint=tmp_path).fit(X, y)
    other = X.copy()
    other.data[0] += 1
    quick(checkpoint=tmp_path).fit(other, y)
    assert list(tmp_path.iterdir())  # another fit leaves it alone
    resumed = quick(checkpoint=tmp_path).fit(X, y)
    assert not list(tmp_path.iterdir())
    assert np.array_equal(resumed.transform(X), quick().fit(X, y).transform(X))


TEXTS = ["red apple", "green apple", "red car", "green car", "fast red car", "sweet apple"] * 20
FRUIT = np.array(["fruit", "fruit", "car", "car", "car", "fruit"] * 20)


def test_text_goes_through_a_pipeline():
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 3), analyzer="char"), quick(max_epochs=40)
    )
    assert cross_val_score(model, TEXTS, FRUIT, cv=3).min() > 0.9


def test_a_search_and_an_embedder_take_sparse_rows(rows):
    X, y = rows
    grid = {"encoder__hidden_layer_sizes": [(8,), (16,)]}
    search = GridSearchCV(quick(encoder=MLP()), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.3
    embedder = quick(HUGEmbedder, early_stopping=True).fit(X, y, X_val=X[:50], y_val=y[:50])
    assert "validation_score" in embedder.history_[-1]
    assert 0 < embedder.score(X, y) < 1
    assert quick(HUGEmbedder).fit_transform(X, y).shape == (300, 3)


def test_one_hot_rows_go_through_a_pipeline():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 400, (500, 3)).astype(str)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), quick(max_epochs=20))
    assert model.fit(X, X[:, 0] > "2").score(X, X[:, 0] > "2") > 0.9


def test_a_graph_is_compared_on_sparse_rows(rows, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X, y = rows
    for model in (quick(), quick(encoder=MLP(standardize=False))):
        model.fit(X, y).to_onnx(tmp_path / "model.onnx", X)
        model.to_onnx(tmp_path / "model.onnx")


def test_callbacks_see_the_sparse_matrix(rows):
    pytest.importorskip("sklearn.callback")
    X, y = rows
    seen = []

    class Recorder:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context, *, X=None, y=None): ...
        def on_fit_task_end(self, estimator, context, *, X=None, y=None, **rest):
            seen.append(X)

    quick().set_callbacks(Recorder()).fit(X, y)
    assert sparse.issparse(seen[0])


# --- what takes dense rows -----------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 4)

    def forward(self, X):
        assert isinstance(X, torch.Tensor)
        assert X.shape[1:] == (WIDTH,)
        return self.layer(X)


@pytest.mark.parametrize(
    "parameters",
    [
        {"encoder": Plain()},
        {"encoder": Pretrained(Plain())},
        {"encoder": ConvNet(widths=(4, 4), image_shape=(28, 28))},
        {"augment": lambda X, generator: X * 1.1},
    ],
    ids=["module", "pretrained", "images", "augment"],
)
def test_what_takes_dense_rows_is_given_them_batch_by_batch(rows, parameters):
    X, y = rows
    model = quick(**parameters).fit(X, y)
    np.testing.assert_allclose(model.transform(X), model.transform(X.toarray()), atol=1e-5)


def test_a_model_of_images_takes_flat_sparse_rows(rows):
    X, y = rows
    encoder = ConvNet(widths=(4, 4), image_shape=(28, 28))
    of_sparse, of_dense = (quick(encoder=encoder).fit(r, y) for r in (X, X.toarray()))
    np.testing.assert_allclose(of_sparse.transform(X), of_dense.transform(X), atol=1e-5)


# --- messages ------------------------------------------------------------------------------


def with_nan(X):
    X = X.copy()
    X.data[0] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_nan, "Input X contains NaN"),
        (lambda X: X * np.inf, "infinity"),
        (lambda X: X.astype(complex), "Complex"),
        (lambda X: sparse.coo_array(np.ones(300)), r"shape \(300,\): pass one row per sample"),
        (lambda X: torch.ones(300, 2, 2).to_sparse(), r"shape \(300, 2, 2\): pass one row per"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: X[:, :0], "0 feature"),
        (lambda X: X[:100], "inconsistent numbers of samples"),
    ],
)
def test_wrong_rows_are_explained(Estimator, rows, change, message):
    X, y = rows
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = change(X)
    with pytest.raises(ValueError, match=message):
        quick(Estimator).fit(changed, y)


def test_other_columns_than_in_fit_are_refused(rows):
    X, y = rows
    with pytest.raises(ValueError, match="784 features"):
        quick().fit(X, y).predict(X[:, :600])


@pytest.mark.parametrize("fill", [np.nan, 1.0])
def test_a_frame_that_leaves_out_other_values_than_zeros_is_told_so(rows, fill):
    X, y = rows
    frame = pd.DataFrame(X.toarray()).astype(pd.SparseDtype("float64", fill))
    with pytest.raises(ValueError, match=r"fill_value.*SparseDtype\(float, 0\)"):
        quick().fit(frame, y)


def test_compiling_is_refused_before_training(rows):
    with pytest.raises(ValueError, match="set compile=False"):
        quick(compile=True).fit(*rows)


def test_a_standardize_for_images_is_refused(rows):
    encoder = Pretrained(Plain(), standardize=((0.5,), (0.5,)))
    with pytest.raises(ValueError, match="pass True or False"):
        quick(encoder=encoder).fit(*rows)


# --- metrics -------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_retrieval_of_sparse_rows_is_that_of_dense_ones(rows, metric):
    X, y = rows
    of_sparse, of_dense = (retrieval_report(r, y, metric=metric) for r in (X, X.toarray()))
    assert of_sparse == pytest.approx(of_dense, rel=1e-9)
    halves = slice(0, 150), slice(150, 300)
    of_sparse, of_dense = (
        recall_at_k(r[halves[0]], y[halves[0]], gallery=r[halves[1]], gallery_labels=y[halves[1]])
        for r in (X, X.toarray())
    )
    assert of_sparse == pytest.approx(of_dense)


def test_retrieval_of_rows_that_could_not_be_dense():
    n, width = 2000, 50_000_000
    y = np.arange(n) % 2
    columns = np.column_stack([y, np.arange(n) + 2])
    X = sparse.csr_array((np.ones(2 * n), columns.ravel(), np.arange(0, 2 * n + 1, 2)), (n, width))
    assert retrieval_report(X, y)["recall_at_1"] == 1


def test_what_metrics_do_not_take_is_explained(rows):
    X, y = rows
    with pytest.raises(ValueError, match=r"take sparse rows: pass what transform returns"):
        geometry_report(X, y)
    with pytest.raises(ValueError, match=r"both sparse, .* or both dense"):
        retrieval_report(X, y, gallery=X.toarray(), gallery_labels=y)
    with pytest.raises(ValueError, match="NaN or infinite"):
        retrieval_report(with_nan(X), y)
    with pytest.raises(ValueError, match=r"embeddings is sparse and of shape \(300,\)"):
        retrieval_report(sparse.coo_array(np.ones(300)), y)


def test_a_frame_of_sparse_flags_is_as_good_as_its_numbers():
    flags = pd.get_dummies(pd.DataFrame({"c": list("abc") * 50}), sparse=True)
    target = np.arange(150) % 3
    model = HUGClassifier(max_epochs=2, random_state=0).fit(flags, target)
    same = HUGClassifier(max_epochs=2, random_state=0).fit(flags.to_numpy(float), target)
    assert np.array_equal(model.predict_proba(flags), same.predict_proba(flags.to_numpy(float)))
    assert model.input_dtype_ == "float64"


def test_a_gap_or_a_sum_without_end_is_an_error_in_few_columns_too():
    rows = sparse.csr_array(np.eye(20))
    rows.data[0] = np.nan
    with pytest.raises(ValueError, match="sparse rows have no gaps"):
        HUGClassifier(max_epochs=1).fit(rows, np.arange(20) % 2)
    twice = sparse.coo_array(([1e308, 1e308, 1.0], ([0, 0, 1], [0, 0, 1])), shape=(20, 3))
    with pytest.raises(ValueError, match="infinity"):
        HUGClassifier(max_epochs=1).fit(twice.tocsr(), np.arange(20) % 2)
