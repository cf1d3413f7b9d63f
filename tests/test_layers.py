"""The house's layers: imports point downward, importing is light, every name is there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skhug

PACKAGE = Path(skhug.__file__).parent
LAYERS = [
    {"_version", "_docs", "_guess_tables"},
    {"_guesses"},
    {"_configured"},
    {
        "_archive",
        "_arrays",
        "_callbacks",
        "_codes",
        "_device",
        "_heads",
        "_images",
        "_matching",
        "_nearest",
        "_optima",
        "_report",
        "_residual",
        "_scaling",
        "_sources",
        "_sphere",
        "_unwrap",
        "augment",
        "checkpoint",
        "sampling",
    },
    {"_pairs", "_within", "_classwise", "_search", "_streaming", "_validation"},
    {"_spread"},
    {"uniformity", "_calibration", "_retrieval"},
    {"losses"},
    {"proxies", "encoders", "optimizers", "_data", "_kernels", "_modules", "_geometry"},
    {"_objective", "_parameters", "_inference", "_trees"},
    {"_continuing", "_persistence", "_soundness"},
    {"_fingerprint", "_onnx", "_saving"},
    {"_training"},
    {"_resuming"},
    {
        "_assembly",
        "_capture",
        "_collapse",
        "_collapse_report",
        "_hyperspherical",
        "_placement",
        "_stacked",
        "_tracking",
    },
    {"metrics", "_monitor", "_displays_common"},
    {
        "_displays_angle",
        "_displays_gram",
        "_displays_history",
        "_displays_projection",
        "_displays_retrieval",
    },
    {"_displays_sphere"},
    {"plotting", "_fitting", "_scorers"},
    {"_base", "_ahead"},
    {"classifier", "embedder", "model_selection"},
    {"persistence", "export"},
    {"__init__"},
]
LAYER_OF = {name: i for i, names in enumerate(LAYERS) for name in names}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skhug"):
            if node.module == "skhug":
                yield from (alias.name for alias in node.names)
            else:
                yield node.module.removeprefix("skhug.")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_downward(path):
    assert path.stem in LAYER_OF, "give the new module a layer"
    above = {m for m in imported_modules(path) if LAYER_OF[m] >= LAYER_OF[path.stem]}
    assert not above


def test_pictures_take_any_estimator_and_so_import_metrics_at_most():
    pictures = {"plotting", *(name for name in LAYER_OF if name.startswith("_displays_"))}
    for name in pictures:
        imported = set(imported_modules(PACKAGE / f"{name}.py"))
        assert imported <= {"_docs", "metrics", "_unwrap", *pictures}, name


def test_only_validation_imports_scikit_learns_private_api():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                private = [name for name in names if name.startswith("_")]
                assert not private or path.stem == "_validation", (path.stem, private)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()


def test_importing_skhug_loads_neither_torch_nor_scikit_learn():
    heavy = run_python(
        "import skhug, sys; print(*[m for m in ('torch', 'sklearn', 'numpy') if m in sys.modules])"
    )
    assert heavy == []


def test_fitting_imports_nothing_optional_and_no_compiler_stack():
    # scikit-learn itself imports pandas and rich where they are installed.
    optional = ["matplotlib", "polars", "pyarrow.dataset", "torch._dynamo", "torch._inductor"]
    loaded = run_python(
        "import sys\n"
        "from skhug import HUGClassifier\n"
        "X = [[0.0], [1.0]] * 5\n"
        "HUGClassifier(max_epochs=2, random_state=0).fit(X, [0, 1] * 5).predict_proba(X)\n"
        f"print(*[m for m in {optional} if m in sys.modules])"
    )
    assert loaded == []


@pytest.mark.parametrize("name", skhug.__all__)
def test_every_public_name_resolves_and_is_listed(name):
    assert getattr(skhug, name) is not None
    assert name in dir(skhug)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'HUGRegressor'"):
        skhug.HUGRegressor  # noqa: B018


def test_python_names_what_a_misspelt_name_meant():
    code = "import skhug; skhug.HUGClasifier"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Did you mean: 'HUGClassifier'" in run.stderr


@pytest.mark.slow  # Python compiles all of torch anew
def test_the_package_works_without_docstrings():
    code = "from skhug import HUGClassifier, metrics; print(HUGClassifier.__name__)"
    run = subprocess.run(
        [sys.executable, "-OO", "-c", code], check=True, capture_output=True, text=True
    )
    assert run.stdout.split() == ["HUGClassifier"]
