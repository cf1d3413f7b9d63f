"""Encoders: specifications that build torch modules."""

from skhug._docs import public
from skhug.encoders._convnet import ConvNet
from skhug.encoders._encoder import Encoder
from skhug.encoders._mlp import MLP
from skhug.encoders._pretrained import Pretrained
from skhug.encoders._resnet import ResNet
from skhug.encoders._vectors import Vectors

__all__ = [
    "MLP",
    "ConvNet",
    "Encoder",
    "Pretrained",
    "ResNet",
    "Vectors",
]
__dir__ = public(globals())
