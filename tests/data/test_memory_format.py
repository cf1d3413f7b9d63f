"""How images lie in memory: with the channels last, but where training would overrun memory.

On processors with AVX2 and without AVX-512 a strided 1x1 convolution of few channels, channels
last, writes past its workspace in the backward pass; the setting below brings larger ones there.
"""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import skhug
from skhug import HUGClassifier
from skhug._data.prepare import NormalizeImages, may_overrun_memory
from skhug._model.sphere_encoder import SphereEncoder
from skhug.encoders import ResNet


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 1, 1))

    def forward(self, X):
        return nn.functional.conv2d(X, self.kernel, stride=2)


def weight_normed():
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 1, stride=2))


@pytest.mark.parametrize(
    ("layer", "overruns"),
    [
        (nn.Conv2d(3, 8, 1, stride=2), True),
        (nn.Conv2d(7, 8, 1, stride=2), True),  # of large images
        (nn.Conv2d(3, 8, 1, stride=(1, 2)), True),
        (nn.ConvTranspose2d(16, 7, 1, stride=2, output_padding=1), True),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(4, 8, 1, stride=3))), True),
        (weight_normed(), True),
        (Functional(), True),
        (nn.Conv2d(8, 8, 1, stride=2), False),
        (nn.Conv2d(3, 8, 1), False),
        (nn.Conv2d(3, 8, 3, stride=2), False),
        (nn.Conv2d(3, 8, (1, 3), stride=2), False),
        (nn.Conv1d(3, 8, 1, stride=2), False),
        (nn.Conv3d(3, 8, 1, stride=2), False),
        (nn.ConvTranspose2d(3, 8, 1, stride=2), False),
        (nn.Sequential(nn.Linear(3, 8), nn.MaxPool2d(2)), False),
    ],
    ids=str,
)
def test_weights_tell_what_may_overrun(layer, overruns):
    assert may_overrun_memory(layer) == overruns


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_the_body_decides_how_images_lie(channels, last):
    body = nn.Conv2d(channels, 8, 1, stride=1 if last else 2)
    shape = (6, 6, channels)
    prepare = NormalizeImages(shape, torch.zeros(channels), torch.ones(channels), torch.float32)
    images = SphereEncoder(prepare, body, shape, 8).prepare(torch.ones(4, *shape))
    # Not is_contiguous(), which one channel is in both.
    strides = (36 * channels, 1, 6 * channels, channels) if last else (36 * channels, 36, 6, 1)
    assert images.stride() == strides


def test_a_model_that_comes_back_computes_alike(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    model = HUGClassifier(ResNet(18, width=4), max_epochs=1, random_state=0).fit(
        X, X[:, 0, 0, 0] % 3
    )
    model.save(tmp_path / "model.skhug")
    for again in (skhug.load(tmp_path / "model.skhug"), pickle.loads(pickle.dumps(model))):
        assert not again.module_.prepare.channels_last_on_cpu
        assert np.array_equal(again.transform(X), model.transform(X))


# Trains on images with the channels last in X, and says first what it is at.
CHILD = """
import sys
import numpy as np, torch
from torch import nn
from skhug import HUGClassifier
from skhug.encoders import ResNet
torch.set_num_threads(int(sys.argv[1]))

class Functional(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, channels, 1, 1))
    def forward(self, X):
        return nn.functional.conv2d(X, self.kernel, stride=2)

def encoder(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))

def strided(channels):
    return nn.Conv2d(channels, 8, 1, stride=2, bias=False)

ENCODERS = {
    "few channels": (3, encoder(strided(3))),
    "one channel": (1, encoder(strided(1))),
    "more channels": (4, encoder(strided(4))),
    "its weights channels last": (3, encoder(strided(3).to(memory_format=torch.channels_last))),
    "transposed": (3, encoder(
        nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 3, 1, stride=2, output_padding=1)
    )),
    "a function": (3, encoder(Functional(3))),
    "residual": (3, ResNet(18, width=4)),
}
for name, (channels, body) in ENCODERS.items():
    print(name, flush=True)
    X = np.random.default_rng(0).normal(size=(96, 16, 16, channels)).astype(np.float32)
    params = {"n_components": 2, "max_epochs": 5, "batch_size": 32, "random_state": 0}
    model = HUGClassifier(body, **params).fit(X, np.arange(96) % 3)
print("alive", flush=True)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_training_survives_on_processors_without_avx512(threads):
    setting = {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": str(threads)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(threads)],
        env={**os.environ, **setting}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert child.returncode == 0, child.stdout + child.stderr[-2000:]
    assert child.stdout.endswith("alive\n")
