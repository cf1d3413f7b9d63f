"""Optimizers on flat buffers: parameters and gradients of a model as views of a few long tensors.

One call of a fused kernel updates a whole segment, where torch.optim loops over parameters and
imports torch's compiler stack when it is first constructed.
"""

from skhug._docs import public
from skhug.optimizers._schedules import SCHEDULES
from skhug.optimizers._segments import Segment, flatten
from skhug.optimizers._specifications import SGD, AdamW, default_weight_decay
from skhug.optimizers._steppers import make_stepper

__all__ = [
    "SCHEDULES",
    "SGD",
    "AdamW",
    "Segment",
    "default_weight_decay",
    "flatten",
    "make_stepper",
]
__dir__ = public(globals())
