"""What only a GPU can show; every test needs a CUDA device, and nothing else."""

import itertools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skhug import (
    MLP,
    Checkpoint,
    ConvNet,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    Nested,
    Pretrained,
    ResNet,
)
from skhug._model.embedding import embed
from skhug._training import cuda_graph as _capture
from skhug._training import fit as _fitting
from skhug._training.loop import as_it_is
from skhug._training.resuming import Keeper

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def on(device, Estimator=HUGClassifier, **parameters):
    defaults = {"max_epochs": 3, "random_state": 0, "encoder": MLP((32,))}
    return Estimator(device=device, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def images(digits):
    X, y = digits
    return X.reshape(-1, 8, 8).astype(np.float32)[:600], y[:600]


def test_auto_is_the_gpu_and_a_missing_one_is_refused(iris):
    assert next(on("auto").fit(*iris).module_.parameters()).is_cuda
    there = torch.cuda.device_count()
    assert on(f"cuda:{there - 1}").fit(*iris).score(*iris) > 0.3
    with pytest.raises(ValueError, match=f"'cuda:{there}' is not available.*'cuda:0'"):
        on(f"cuda:{there}").fit(*iris)


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
@pytest.mark.parametrize("proxies", ["optimal", Learned(), Nested((2, 4), Learned())], ids=str)
@pytest.mark.parametrize("uniformity", ["mhe", "mhs", "mgd"])
def test_a_fit_in_float64_agrees_with_the_cpu(digits, Estimator, proxies, uniformity):
    X, y = digits
    parameters = {"proxies": proxies, "uniformity": uniformity, "precision": "float64"}
    on_cpu = on("cpu", Estimator, **parameters).fit(X, y)
    on_cuda = on("cuda", Estimator, **parameters).fit(X, y)
    np.testing.assert_allclose(on_cuda.transform(X), on_cpu.transform(X), atol=1e-5)


ENCODERS = {
    "mlp": MLP((32,)),
    "mlp with dropout": MLP((32,), dropout=0.2, batch_norm=True),
    "convnet": ConvNet((16, 16)),
    "resnet": ResNet(18, width=8),
    "module": nn.Sequential(nn.Flatten(), nn.Linear(64, 9)),
    "pretrained": Pretrained(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 5))),
    "frozen": Pretrained(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()), frozen=True),
}


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_trains_and_embeds_in_every_precision(images, name, precision):
    X, y = images
    X = X.reshape(len(X), -1) if name.startswith("mlp") else X
    torch.manual_seed(0)
    model = on("cuda", encoder=ENCODERS[name], precision=precision, max_epochs=10).fit(X, y)
    embeddings = model.transform(X)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert model.history_[-1]["within"] < model.history_[0]["within"]
    assert model.score(X, y) > 0.5


@pytest.mark.parametrize("encoder", [MLP((32,)), ConvNet((16, 16))], ids=["mlp", "convnet"])
def test_float32_agrees_with_the_cpu_after_an_epoch(images, encoder):
    X, y = images
    X = X.reshape(len(X), -1) if isinstance(encoder, MLP) else X
    parameters = {"encoder": encoder, "precision": "float32", "max_epochs": 1}
    on_cpu, on_cuda = (on(device, **parameters).fit(X, y) for device in ("cpu", "cuda"))
    # A step of Adam is of one size whatever the gradient's: signs of tiny ones may differ.
    np.testing.assert_allclose(on_cuda.transform(X), on_cpu.transform(X), atol=0.05)
    assert on_cuda.loss_ == pytest.approx(on_cpu.loss_, rel=1e-2)


def test_bfloat16_costs_little_accuracy(digits):
    X, y = digits
    parameters = {"max_epochs": 30, "encoder": MLP((64,))}
    low = on("cuda", precision="bfloat16", **parameters).fit(X[::2], y[::2])
    full = on("cuda", precision="float32", **parameters).fit(X[::2], y[::2])
    assert low.score(X[1::2], y[1::2]) > full.score(X[1::2], y[1::2]) - 0.03


@pytest.mark.slow
def test_compiled_training_agrees(digits):
    X, y = digits
    compiled = on("cuda", compile=True, precision="float32").fit(X, y)
    plain = on("cuda", precision="float32").fit(X, y)
    np.testing.assert_allclose(compiled.transform(X), plain.transform(X), atol=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("proxies", ["optimal", "learned"])
@pytest.mark.parametrize("uniformity", ["mhe", "mhs", "mgd"])
def test_captured_steps_equal_eager_ones(digits, monkeypatch, optimizer, proxies, uniformity):
    X, y = digits
    replays = []
    replay = _capture.CudaGraph.replay
    monkeypatch.setattr(
        _capture.CudaGraph, "replay", lambda graph: (replays.append(1), replay(graph))
    )
    parameters = {
        "optimizer": optimizer,
        "proxies": proxies,
        "uniformity": uniformity,
        "precision": "float64",
        "batch_size": 64,
    }
    captured = on("cuda", **parameters).fit(X, y)
    # 28 full batches an epoch, three of them to warm up, and a smaller one.
    assert len(replays) == 3 * 28 - 3
    monkeypatch.setattr(_fitting, "acceleration", lambda state, flops: as_it_is)
    eager = on("cuda", **parameters).fit(X, y)
    assert len(replays) == 3 * 28 - 3
    # The captured optimizer reads the learning rate in float32.
    np.testing.assert_allclose(captured.transform(X), eager.transform(X), atol=1e-4)
    assert captured.loss_ == pytest.approx(eager.loss_, rel=1e-4)


def test_dropout_goes_on_drawing_in_a_captured_step():
    layer, X = nn.Dropout(0.5), torch.ones(1000, device="cuda")
    kept = torch.zeros(1000, device="cuda")

    def step(X, y, coef, factor):
        kept.copy_(layer(X))

    captured, seen = _capture.CapturedStep(step, _capture.CudaGraph(X.device)), []
    for _ in range(8):
        captured(X, X, X, 1.0)
        seen.append(kept.clone())
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(seen))


def test_a_step_that_waits_for_the_device_goes_on_without_a_graph():
    X = torch.ones(4, device="cuda")
    total = torch.zeros((), device="cuda")

    def step(X, y, coef, factor):
        total.add_(X.sum().item())  # no graph can hold this

    captured = _capture.CapturedStep(step, _capture.CudaGraph(X.device))
    stream = torch.cuda.current_stream()
    for _ in range(3):
        captured(X, X, X, 1.0)
    with pytest.warns(RuntimeWarning, match="could not be captured"):
        captured(X, X, X, 1.0)
    captured(X, X, X, 1.0)
    assert float(total) == 20
    assert torch.cuda.current_stream() == stream


class Wide(nn.Module):
    """Encoder that needs some 64 MiB a row."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 9)

    def forward(self, X):
        wide = X[:, :1, None].expand(-1, 1 << 12, 1 << 12).float() * 1.0
        return self.linear(X) + 0 * wide.mean((1, 2))[:, None]


@pytest.fixture
def little_memory():
    """Let torch have 4 GiB beside what it holds, or what there is."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (held + (4 << 30)) / total))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_a_batch_that_the_gpu_does_not_hold_is_taken_in_parts(digits):
    X, y = digits
    torch.manual_seed(0)
    model = on("cuda", encoder=Wide(), batch_size=256, max_epochs=1, precision="float32")
    with pytest.warns(RuntimeWarning, match="parts"):
        model.fit(X[:256], y[:256])
    # Neither does it hold a block of inference.
    assert model.transform(X).shape == (len(X), 9)
    assert embed(model.module_, X[:8]).is_cuda


LOAD = """
import pickle, sys, numpy as np, torch
assert not torch.cuda.is_available()
model, X, y, expected = pickle.load(open(sys.argv[1], "rb"))
np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)
model.set_params(max_epochs=1, warm_start=True, device="auto").fit(X, y)
"""


@pytest.mark.parametrize("name", ["mlp", "convnet", "module"])
def test_a_model_of_the_gpu_opens_on_a_machine_without_one(images, name, tmp_path):
    X, y = images
    X = X.reshape(len(X), -1) if name == "mlp" else X
    model = on("cuda", encoder=ENCODERS[name], precision="float32").fit(X, y)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, X, y, model.predict_proba(X))))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", LOAD, path], check=True, env=environment)


DETERMINISTIC = """
import sys, numpy as np, torch
from sklearn.datasets import load_digits
from skhug import ConvNet, HUGClassifier
torch.use_deterministic_algorithms(True)
X, y = load_digits(return_X_y=True)
encoder = {"mlp": "mlp", "convnet": ConvNet((16, 16), image_shape=(1, 8, 8))}[sys.argv[1]]
params = {"proxies": sys.argv[2], "device": "cuda", "max_epochs": 3, "random_state": 0}
fits = [HUGClassifier(encoder, **params).fit(X, y) for _ in range(2)]
assert np.array_equal(*(fit.transform(X) for fit in fits))
assert fits[0].loss_ == fits[1].loss_
"""


@pytest.mark.parametrize("proxies", ["optimal", "learned"])
@pytest.mark.parametrize("encoder", ["mlp", "convnet"])
def test_fits_repeat_in_torchs_deterministic_mode(encoder, proxies):
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    subprocess.run(
        [sys.executable, "-c", DETERMINISTIC, encoder, proxies], check=True, env=environment
    )


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_tf32_settings_are_as_before_after_a_fit(iris, precision):
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    on("cuda", precision=precision).fit(*iris)
    assert [flag.allow_tf32 for flag in flags] == before


@pytest.mark.parametrize("encoder", [MLP((32,)), nn.Linear(64, 9)], ids=["mlp", "module"])
def test_a_model_trained_on_the_gpu_opens_without_one(digits, encoder, tmp_path):
    X, y = digits
    model = on("cuda", encoder=encoder).fit(X, y)
    model.save(tmp_path / "model.skhug")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", model.transform(X))
    code = (
        "import pickle, numpy as np, skhug, torch\n"
        "assert not torch.cuda.is_available()\n"
        "X, expected = np.load('X.npy'), np.load('expected.npy')\n"
        "models = [pickle.load(open('model.pickle', 'rb')),\n"
        "          skhug.load('model.skhug', encoder=torch.nn.Linear(64, 9))]\n"
        "for model in models:\n"
        "    np.testing.assert_allclose(model.transform(X), expected, atol=1e-3)\n"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_an_interrupted_fit_on_the_gpu_goes_on(digits, tmp_path):
    X, y = digits
    parameters = {"precision": "float64", "max_epochs": 6, "encoder": MLP((8,), dropout=0.2)}
    whole = on("cuda", **parameters).fit(X, y)
    model = on("cuda", checkpoint=Checkpoint(tmp_path, every_seconds=0), **parameters)
    end_epoch = Keeper.end_epoch

    def stop_after_two(self, state, patience):
        end_epoch(self, state, patience)
        if state.epoch == 2:
            raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "end_epoch", stop_after_two)
        with pytest.raises(MemoryError):
            model.fit(X, y)
    np.testing.assert_allclose(model.fit(X, y).transform(X), whole.transform(X), atol=1e-6)
