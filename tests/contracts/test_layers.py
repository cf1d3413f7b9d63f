"""The house's layers: imports point downward, importing is light, every name is there."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import skhug

PACKAGE = Path(skhug.__file__).parent
# Wings, lowest first; those of one line do not import one another. Files that lie flat in the
# package and have no name here belong to the ground.
LAYERS = [
    line.split(", ")
    for line in (
        "ground",
        "losses, encoders, optimizers, sampling, augment, checkpoint",
        "uniformity, proxies, _data, metrics",
        "plotting, _model, _parameters",
        "_defaults, _saving",
        "_training",
        "_base",
        "classifier, embedder",
        "retrieval",
        "model_selection, novelty, persistence, export",
        "__init__",
    )
]
LEVEL = {wing: i for i, wings in enumerate(LAYERS) for wing in wings}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    """Dotted name of a file inside the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def wing_of(name):
    first = name.split(".")[0]
    return first if first in LEVEL else "ground"


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skhug"):
            package = node.module.removeprefix("skhug").removeprefix(".")
            for alias in node.names:
                inner = ".".join(part for part in (package, alias.name) if part)
                is_module = (PACKAGE / inner.replace(".", "/")).with_suffix(".py").exists()
                yield inner if is_module else package


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_downward(path):
    own = wing_of(name_of(path))
    wings = {wing_of(name) for name in imported_modules(path)} - {own}
    assert not {wing for wing in wings if LEVEL[wing] >= LEVEL[own]}


def test_no_file_imports_itself_by_way_of_others():
    imports = {
        name_of(path): {name.removesuffix(".__init__") for name in imported_modules(path)}
        for path in FILES
        if path.name != "__init__.py"
    }
    order = graphlib.TopologicalSorter(imports)
    order.prepare()  # raises where there is a circle


def test_pictures_take_any_estimator_and_so_import_metrics_at_most():
    for path in FILES:
        if wing_of(name_of(path)) == "plotting":
            wings = {wing_of(name) for name in imported_modules(path)}
            assert wings <= {"metrics", "plotting", "ground"}, path


def test_one_file_imports_scikit_learns_private_api():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                private = [name for name in names if name.startswith("_")]
                assert not private or name_of(path) == "_sklearn", (path, private)


def test_one_file_reaches_torchs_private_names():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            names = dotted.split(".")
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
                names = ["torch", *node.module.split("."), *(alias.name for alias in node.names)]
            private = names[0] == "torch" and any(n[0] == "_" and n[:2] != "__" for n in names)
            kernel = dotted.startswith("torch.ops.")
            assert not (private or kernel) or name_of(path) == "_torch", (path, names)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()


def test_importing_skhug_loads_neither_torch_nor_scikit_learn():
    heavy = run_python(
        "import skhug, sys; print(*[m for m in ('torch', 'sklearn', 'numpy') if m in sys.modules])"
    )
    assert heavy == []


def test_building_an_estimator_loads_little_of_scikit_learn():
    not_needed = ["sklearn.callback", "sklearn.metrics", "sklearn.model_selection", "rich"]
    loaded = run_python(
        "import sys\n"
        "from skhug import HUGClassifier\n"
        "HUGClassifier(max_epochs=2)\n"
        f"print(*[m for m in {not_needed} if m in sys.modules])"
    )
    assert loaded == []


@pytest.mark.parametrize("name", ["HUGClassifier", "HUGEmbedder"])
def test_torch_is_loaded_before_scikit_learn(name):
    # torch's import looks up the path of every module that is loaded: of scikit-learn's, too.
    loaded = run_python(f"import sys\nfrom skhug import {name}\nprint(*sys.modules)")
    assert loaded.index("torch") < loaded.index("sklearn")


def test_fitting_imports_nothing_optional_no_compiler_stack_and_nothing_that_it_does_not_use():
    # scikit-learn itself imports pandas and rich where they are installed.
    not_needed = ["matplotlib", "polars", "pyarrow.dataset", "torch._dynamo", "torch._inductor"]
    not_needed += ["skhug.metrics", "skhug._saving", "safetensors"]
    loaded = run_python(
        "import sys\n"
        "from skhug import HUGClassifier\n"
        "X = [[0.0], [1.0]] * 5\n"
        "HUGClassifier(max_epochs=2, random_state=0).fit(X, [0, 1] * 5).predict_proba(X)\n"
        f"print(*[m for m in {not_needed} if m in sys.modules])"
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
