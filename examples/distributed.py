"""Fit one model in several processes.

torchrun --nproc-per-node 2 examples/distributed.py
"""

import pickle

import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skhug

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

with skhug.distributed():
    together = dist.get_world_size() if dist.is_initialized() else 1
    leads = together == 1 or dist.get_rank() == 0
    model = skhug.HUGClassifier(max_epochs=20, random_state=0).fit(X_train, y_train)

# All processes have the same model now; one of them tells.
if leads:
    model = pickle.loads(pickle.dumps(model))
    print(f"fitted by {together} process{'es' * (together > 1)}")
    print(f"accuracy {model.score(X_test, y_test):.3f} after {model.n_iter_} epochs")
