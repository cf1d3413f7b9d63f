"""Fitted estimators and fits in several threads and processes at once."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
import torch

from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder
from skhug._process import threads_for

# Seconds that a child may take; one that waits for ever fails the test and is killed.
LIMIT = 120

METHODS = [
    (HUGClassifier, "predict"),
    (HUGClassifier, "predict_proba"),
    (HUGClassifier, "transform"),
    (HUGEmbedder, "transform"),
]
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform"
)


@pytest.fixture
def two_started_threads(two_threads):
    """Have torch start its two threads, and check that one which starts now may use two."""
    square = torch.ones(1000, 1000)
    (square @ square).exp().sum()
    yield
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.fixture(scope="module")
def fitted(digits):
    """Both estimators; dropout and batch normalisation would tell a module in training mode."""
    encoder = MLP((64,), batch_norm=True, dropout=0.2)
    return {
        kind: kind(encoder, max_epochs=3, random_state=0).fit(*digits)
        for kind in (HUGClassifier, HUGEmbedder)
    }


def assert_same(results, expected):
    assert len(results) > 0
    for result in results:
        # A child computes with one thread: sums are taken in another order.
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def large_rows(digits):
    """Rows enough for operations on several threads."""
    return np.tile(digits[0], (4, 1)).astype(np.float32)


# --- threads ---


@pytest.mark.usefixtures("two_started_threads", "random_states_untouched")
@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_sixteen_threads_get_what_one_gets(fitted, digits, kind, method):
    call, X = getattr(fitted[kind], method), large_rows(digits)
    expected = call(X)
    together = threading.Barrier(16)

    def run(_):
        together.wait(LIMIT)
        return [call(X) for _ in range(3)]

    with ThreadPoolExecutor(16) as pool:
        results = [result for of_thread in pool.map(run, range(16)) for result in of_thread]
    assert len(results) == 48
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.usefixtures("two_started_threads")
def test_images_from_sixteen_threads(digits):
    images, y = digits[0][:200].reshape(-1, 8, 8).astype(np.uint8), digits[1][:200]
    model = HUGClassifier(ConvNet((8, 8)), max_epochs=2, random_state=0).fit(images, y)
    expected = model.transform(images)
    with ThreadPoolExecutor(16) as pool:
        assert_same(list(pool.map(model.transform, [images] * 32)), expected)


@pytest.mark.usefixtures("two_started_threads", "random_states_untouched")
def test_fits_in_threads_equal_fits_alone(Estimator, iris):
    encoder = MLP((16,), dropout=0.1)  # draws from torch's generator of the process

    def fit(seed):
        return Estimator(encoder, max_epochs=5, random_state=seed).fit(*iris)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fit, range(16)))
    for seed, estimator in enumerate(together):
        alone = fit(seed)
        assert estimator.history_ == alone.history_
        assert np.array_equal(estimator.transform(iris[0]), alone.transform(iris[0]))


@pytest.mark.usefixtures("two_started_threads")
def test_predictions_stay_right_while_others_fit(fitted, digits):
    model, X = fitted[HUGClassifier], large_rows(digits)
    expected = model.predict_proba(X)
    stop = threading.Event()

    def fit_on(seed):
        while not stop.is_set():
            HUGClassifier(max_epochs=1, random_state=seed).fit(*digits)
        return True

    with ThreadPoolExecutor(16) as pool:
        fits = [pool.submit(fit_on, seed) for seed in range(3)]
        try:
            results = list(pool.map(model.predict_proba, [X] * 48))
        finally:
            stop.set()
        assert all(fit.result(LIMIT) for fit in fits)
    assert_same(results, expected)


# --- processes ---


def _send(pipe, function):
    pipe.send(function())


def run_in_process(start_method, function):
    """Return a function's result from a new process; fail and kill it where it hangs."""
    context = multiprocessing.get_context(start_method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(sender, function))
    child.start()
    sender.close()
    try:
        assert receiver.poll(LIMIT), f"a {start_method}ed child hangs"
        return receiver.recv()
    finally:
        child.kill()
        child.join()


@needs_fork
@pytest.mark.usefixtures("two_started_threads")
@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_a_forked_child_predicts(fitted, digits, kind, method):
    call, X = getattr(fitted[kind], method), large_rows(digits)
    assert_same([run_in_process("fork", partial(call, X))], call(X))


@pytest.mark.usefixtures("two_started_threads")
def test_a_spawned_child_predicts(fitted, digits):
    model, X = fitted[HUGClassifier], large_rows(digits)
    assert_same([run_in_process("spawn", partial(model.transform, X))], model.transform(X))


@needs_fork
@pytest.mark.usefixtures("two_started_threads")
def test_a_forked_child_fits(digits):
    X, y = large_rows(digits), np.tile(digits[1], 4)
    estimator = HUGClassifier(MLP((256, 256)), batch_size=2048, max_epochs=2, random_state=0)
    child = run_in_process("fork", partial(estimator.fit, X, y))
    assert np.mean(child.predict(X) == estimator.fit(X, y).predict(X)) > 0.99


@needs_fork
@pytest.mark.usefixtures("two_started_threads")
def test_a_child_forked_during_another_threads_fit_can_fit(iris):
    estimator = HUGClassifier(max_epochs=2, random_state=0)
    inside, finish = threading.Event(), threading.Event()

    def hold():
        with threads_for(1.0, torch.device("cpu")):  # as every fit does
            inside.set()
            finish.wait(LIMIT)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(LIMIT)
        child = run_in_process("fork", partial(estimator.fit, *iris))
    finally:
        finish.set()
        holder.join()
    assert np.array_equal(child.predict(iris[0]), estimator.fit(*iris).predict(iris[0]))


@needs_fork
@pytest.mark.usefixtures("two_started_threads")
def test_a_forked_child_may_ask_for_threads_again():
    def ask():
        torch.set_num_threads(2)
        return torch.get_num_threads()

    assert run_in_process("fork", torch.get_num_threads) == 1
    assert run_in_process("fork", ask) == 2


@pytest.mark.usefixtures("two_started_threads")
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib_backends_predict_and_fit(fitted, digits, iris, backend):
    X = large_rows(digits)
    calls = [getattr(fitted[kind], method) for kind, method in METHODS]
    new = HUGClassifier(max_epochs=2, random_state=0)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        parallel = joblib.Parallel(timeout=LIMIT)
        results = parallel(joblib.delayed(call)(X) for call in calls * 2)
        children = parallel(joblib.delayed(new.fit)(*iris) for _ in range(2))
    for call, first, second in zip(
        calls, results[: len(calls)], results[len(calls) :], strict=True
    ):
        assert_same([first, second], call(X))
    expected = HUGClassifier(max_epochs=2, random_state=0).fit(*iris).transform(iris[0])
    assert_same([child.transform(iris[0]) for child in children], expected)
