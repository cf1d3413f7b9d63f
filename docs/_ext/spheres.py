"""What the Theory page shows on the sphere: arrangements, and real fits at several settings.

Everything is computed while the site is built, and again only when the package or this code has
changed. The page gets the numbers as JSON inside it; ``_static/sphere.js`` draws them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from arrangements import arrangements, optima_table
from page_code import page_path
from pictures import PAGES, RESULTS, draw_pictures
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skhug
from skhug import MHE, HUGClassifier
from skhug.metrics import hyperspherical_energy, separation

# One setting moves and the others stay: alpha and beta weigh something where proxies are
# learned, the exponent is seen best where some labels are wrong.
_SHARED = {"n_components": 3, "max_epochs": 40, "random_state": 0}
_WRONG = 0.4
STUDIES: dict[str, dict[str, Any]] = {
    "alpha": {
        "title": "alpha, learned proxies",
        "values": [0.0, 0.01, 0.1, 1.0, 10.0],
        "model": lambda value: HUGClassifier(proxies="learned", alpha=value, **_SHARED),
    },
    "beta": {
        "title": "beta, learned proxies",
        "values": [0.01, 0.1, 1.0, 10.0],
        "model": lambda value: HUGClassifier(proxies="learned", beta=value, **_SHARED),
    },
    "s_within": {
        "title": "s_within, right labels",
        "values": [-0.5, -1.0, -2.0, -4.0],
        "model": lambda value: HUGClassifier(uniformity=MHE(s_within=value), **_SHARED),
    },
    "s_within_noisy": {
        "title": "s_within, 40 % wrong labels",
        "values": [-0.5, -1.0, -2.0, -4.0],
        "model": lambda value: HUGClassifier(uniformity=MHE(s_within=value), **_SHARED),
    },
}
_SHOWN = 300


def write_spheres(folder: Path) -> None:
    """Write the fragments and pictures of the Theory page, if any of their sources changed."""
    stamp, key = folder / "spheres.key", _key()
    if stamp.exists() and stamp.read_text() == key:
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw_pictures(folder)
    (folder / "optima.md").write_text(optima_table())
    _write_widget(folder / "arrangements.html", "arrangements", arrangements())
    studies = [_study(name) for name in STUDIES]
    _write_widget(folder / "fits.html", "fits", studies)
    (folder / "fits.md").write_text(_fits_table(studies))
    stamp.write_text(key)


def _key() -> str:
    own = [
        Path(__file__).with_name(f"{name}.py")
        for name in ("arrangements", "page_code", "pictures", "spheres")
    ]
    pages = [*map(page_path, PAGES), *sorted(RESULTS.glob("*.json"))]
    sources = [*sorted(Path(skhug.__file__).parent.rglob("*.py")), *own, *pages]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _write_widget(path: Path, kind: str, data: list) -> None:
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    path.write_text(
        f'<div class="sphere" data-kind="{kind}">\n'
        "<noscript>The picture below the text needs JavaScript to be turned.</noscript>\n"
        f'<script type="application/json">{text}</script>\n</div>\n'
    )


def _study(name: str) -> dict[str, Any]:
    study = STUDIES[name]
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    if name.endswith("noisy"):
        y_train = _with_wrong_labels(y_train)
    fits = []
    for value in study["values"]:
        model = study["model"](value).fit(X_train, y_train)
        fits.append({"value": value, **_seen(model, X_test, y_test)})
    return {"title": study["title"], "parameter": name.removesuffix("_noisy"), "fits": fits}


def _fits_table(studies: list[dict[str, Any]]) -> str:
    numbers = list(studies[0]["fits"][0]["numbers"])
    rows = [["moved", "value", *numbers], ["---"] * (2 + len(numbers))]
    for study in studies:
        for fit in study["fits"]:
            rows.append([study["title"], f"{fit['value']:g}", *fit["numbers"].values()])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _with_wrong_labels(y: np.ndarray) -> np.ndarray:
    """Return labels of which a share is replaced by one of the nine others."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < _WRONG
    return np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y)


def _seen(model: HUGClassifier, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    embeddings = model.transform(X)
    cosines = np.clip(np.sum(embeddings * model.proxies_[y], axis=1), -1, 1)
    nearest = 2 * np.degrees(np.arcsin(separation(model.proxies_) / 2))
    return {
        "points": embeddings[:_SHOWN].round(3).tolist(),
        "classes": y[:_SHOWN].tolist(),
        "proxies": model.proxies_.round(4).tolist(),
        "numbers": {
            "test accuracy": f"{model.score(X, y):.3f}",
            "median angle to the own proxy": f"{np.median(np.degrees(np.arccos(cosines))):.1f}°",
            "smallest angle between proxies": f"{nearest:.1f}°",
            "energy of the proxies": f"{hyperspherical_energy(model.proxies_):.3f}",
        },
    }
