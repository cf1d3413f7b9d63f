"""Fits that several processes make together: the same as one process makes, or an error."""

import os
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest
import rank_cases
import torch
import torch.distributed as dist
from ranks import Ranks
from torch import nn

import skhug
from skhug._distributed.joined import _in_few_messages
from skhug._training.synchronised import synchronise

# Rounding leaves so much between sums of a batch and sums of its parts.
CLOSE = {"float64": 1e-12, "float32": 1e-5}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Three processes, started once."""
    started = Ranks(3, tmp_path_factory.mktemp("ranks"))
    yield started
    started.close()


def successes(results):
    for rank, result in enumerate(results):
        if isinstance(result, BaseException):
            raise AssertionError(f"rank {rank}: {result!r}\n{result.trace}")
    return results


def assert_alike(found, expected, within):
    """Compare what fits made, all numbers of it."""
    for name, value in expected.items():
        parts = (
            zip(found[name], value, strict=True)
            if isinstance(value, list)
            else [(found[name], value)]
        )
        for one, other in parts:
            if isinstance(other, (str, int)):
                assert one == other
            else:
                np.testing.assert_allclose(one, other, rtol=within, atol=within, err_msg=name)


def cases(table, *quick):
    """Return the cases of a table, those that are not named here marked slow."""
    marked = (pytest.param(case, marks=pytest.mark.slow) for case in table if case not in quick)
    return [*quick, *marked]


QUICK = (
    "mlp",
    "members",
    "coded",
    "momentum",
    "vectors",
    "repulsion",
    "balanced",
    "weights",
    "streamed",
    "early stopping",
)


@pytest.mark.parametrize("case", cases(rank_cases.CASES, *QUICK, "convnet learned"))
def test_several_processes_fit_as_one(ranks, case):
    alone = rank_cases.fit(case)
    for size in (2, 3):
        together = successes(ranks.call("fit", size, case=case))
        assert_alike(together[0], alone, CLOSE["float64"])
        for other in together[1:]:
            assert_alike(other, together[0], 0)


@pytest.mark.parametrize("case", cases(rank_cases.CASES, "members"))
def test_in_float32_they_do_but_for_rounding(ranks, case):
    together = successes(ranks.call("fit", 3, case=case, precision="float32"))
    assert_alike(together[0], rank_cases.fit(case, "float32"), CLOSE["float32"])


QUICK_SHARDS = (
    "sorted by class",
    "balanced weights",
    "prior",
    "many rows",
    "gaps",
    "images",
    "sparse",
)


@pytest.mark.parametrize("case", cases(rank_cases.SHARDED, *QUICK_SHARDS))
def test_shards_of_rows_are_fitted_as_all_rows_in_one_process(ranks, case):
    alone = rank_cases.fit_shards(case)
    for size in (2, 3):
        together = successes(ranks.call("fit_shards", size, case=case))
        assert_alike(together[0], alone, CLOSE["float64"])
        for other in together[1:]:
            assert_alike(other, together[0], 0)


@pytest.mark.parametrize("case", cases(rank_cases.BATCHES_OF_SHARDS, "balanced"))
def test_batches_of_shards_teach_as_much_as_batches_of_all_rows(ranks, case):
    alone = rank_cases.fit_batches_of_shards(case)
    together = successes(ranks.call("fit_batches_of_shards", 3, case=case))
    assert together[0]["score"] > alone["score"] - 0.1
    for other in together[1:]:
        assert_alike(other, together[0], 0)


def test_shards_of_vectors_are_refused(ranks):
    for error in ranks.call("fit_vectors_of_shards", 2):
        assert "solved for all rows at once" in str(error)


def test_classes_are_weighed_by_all_shards(ranks):
    for found in successes(ranks.call("weigh_classes", 3)):
        assert_alike(found, rank_cases.weigh_classes(), CLOSE["float64"])


def test_batch_normalisation_keeps_the_first_process_statistics_everywhere(ranks):
    together = successes(ranks.call("fit_normalised", 3))
    for other in together[1:]:
        assert_alike(other, together[0], 0)


def test_batch_normalisation_is_synchronised_for_the_training_alone():
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2)))
    layers, tensors = list(body.modules()), [*body.parameters(), *body.buffers()]
    undo = synchronise(body, SimpleNamespace(size=2), torch.device("cuda"))
    kinds = [type(layer) for layer in body.modules()]
    assert kinds.count(nn.SyncBatchNorm) == 2
    assert nn.BatchNorm2d not in kinds
    # The same objects: flat buffers and snapshots hold them.
    for now, before in zip([*body.parameters(), *body.buffers()], tensors, strict=True):
        assert now is before
    body.eval()
    undo()
    assert list(body.modules()) == layers
    assert not any(layer.training for layer in layers)


def test_callbacks_are_called_in_the_first_process_and_may_stop_all(ranks):
    pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    together = successes(ranks.call("fit_with_callbacks", 3))
    assert [one.pop("told") for one in together] == [3, 0, 0]
    for one in together:
        assert one["n_iter"] == 3
        assert_alike(one, together[0], 0)
    errors = ranks.call("fit_with_callbacks", 2, sharded=True)
    assert "A callback asks for the fitted estimator" in str(errors[0])
    assert "rank 0 ended with ValueError: A callback" in str(errors[1])


def test_dropout_and_augmentation_differ_between_processes(ranks):
    drawn = successes(ranks.call("what_is_drawn", 3))
    for kind in drawn[0]:
        assert len({one[kind] for one in drawn}) == 3, kind


def test_a_search_comes_to_the_same_in_all_processes(ranks):
    alone = rank_cases.search()
    for found in successes(ranks.call("search", 2)):
        assert_alike(found, alone, CLOSE["float64"])


def test_partial_fit_goes_on_together(ranks):
    together = successes(ranks.call("fit_in_parts", 2))
    assert_alike(together[1], rank_cases.fit_in_parts(), CLOSE["float64"])


@pytest.mark.parametrize("what", ["X", "y", "learning_rate"])
def test_what_differs_is_refused_in_every_process_by_name(ranks, what):
    for error in ranks.call("fit_differently", 3, what=what):
        assert isinstance(error, ValueError)
        assert f"{what} of rank 2 differs from rank 0's" in str(error)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("track", "track=.* needs all rows"),
        ("batch_sampler", "batch_sampler=.* needs all rows"),
        ("warm_start", "warm_start=True needs all rows"),
        ("text", "columns of text or categories"),
        ("width", "the shape of a sample of rank 1 differs"),
        ("partial_fit", "partial_fit takes the same rows"),
    ],
)
def test_shards_refuse_what_needs_all_rows(ranks, what, message):
    for error in ranks.call("fit_shards_wrongly", 2, what=what):
        assert isinstance(error, ValueError), (repr(error), getattr(error, "trace", ""))
        with pytest.raises(ValueError, match=message):
            raise error


def test_an_error_in_one_process_ends_all_and_is_named(ranks):
    for failing in range(3):
        for rank, error in enumerate(ranks.call("fit_and_fail", 3, in_rank=failing)):
            if rank == failing:
                assert isinstance(error, ValueError)
                assert str(error) == "seven is enough"
            else:
                assert isinstance(error, RuntimeError)
                assert f"rank {failing} ended with ValueError: seven is enough" in str(error)


def test_ctrl_c_in_one_process_ends_all_after_the_same_epoch(ranks):
    together = successes(ranks.call("fit_long", 3, interrupt=1))
    assert 1 <= together[0]["n_iter"] < 1000
    for other in together[1:]:
        assert_alike(other, together[0], 0)


def test_a_fit_inside_a_joined_fit_is_refused(ranks):
    errors = ranks.call("fit_inside_a_fit", 2)
    assert all(isinstance(error, RuntimeError) for error in errors)
    assert any("cannot join" in str(error) for error in errors)


def test_a_forked_child_fits_alone(ranks):
    assert successes(ranks.call("fit_in_a_forked_child", 2)) == [True, True]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.slow  # processes wait 15 seconds for those that are gone
@pytest.mark.parametrize("killed", [0, 1, 2])
def test_who_is_killed_is_named_and_a_checkpoint_goes_on(tmp_path, killed):
    folder = tmp_path / "kept"
    whole = rank_cases.fit_long(epochs=12)
    # The notes of the others lie in the process of rank 0 as a rule, and go with it.
    started = Ranks(3, tmp_path, f"tcp://127.0.0.1:{free_port()}")
    try:
        started.start("fit_long", 3, folder=str(folder), epochs=12)
        while not (folder.exists() and os.listdir(folder)):
            time.sleep(0.05)
        started.kill(killed)
        since = time.monotonic()
        for rank in {0, 1, 2} - {killed}:
            error = started.result(rank, seconds=60)
            assert isinstance(error, RuntimeError)
            assert f"connection to rank {killed} is lost" in str(error)
        assert time.monotonic() - since < 60
    finally:
        started.close()
    assert os.listdir(folder)
    again = Ranks(3, tmp_path)
    try:
        resumed = successes(again.call("fit_long", 3, folder=str(folder), epochs=12))
    finally:
        again.close()
    assert not os.listdir(folder)
    assert_alike(resumed[0], whole, CLOSE["float64"])


def test_small_buffers_go_by_one_message_and_large_ones_by_their_own():
    weights, biases = torch.zeros(1000), torch.zeros(10)
    large, wide = torch.zeros(2**20), torch.zeros(5, dtype=torch.float64)
    messages = _in_few_messages([weights, large, biases, wide])
    expected = [[weights, biases], [large], [wide]]
    assert [[t.data_ptr() for t in m] for m in messages] == [
        [t.data_ptr() for t in m] for m in expected
    ]


def test_without_torchrun_the_context_does_nothing(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with skhug.distributed():
        assert not dist.is_initialized()


def test_variables_of_torchrun_start_nothing_without_the_context(monkeypatch):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert len(rank_cases.fit("one batch")["weights"]) > 0
    assert not dist.is_initialized()
