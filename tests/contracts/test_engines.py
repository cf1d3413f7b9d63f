"""Engines for more than one machine, each as its users start it, with two workers on this one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import engine_cases
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

ROOT = Path(__file__).parents[2]
# What workers import: this package, and the cases that they are given.
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "_helpers")])
VARIABLES = {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}
COLUMNS = ["a", "b", "c", "d"]

# Each engine takes ten seconds or more to start.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fitted():
    return engine_cases.model().fit(*engine_cases.data())


def weights_of(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.module_.parameters()])


def assert_two_fitted_alike(folder, model):
    assert sorted(os.listdir(folder)) == ["0.npy", "1.npy"]
    for name in os.listdir(folder):
        np.testing.assert_allclose(np.load(Path(folder) / name), weights_of(model), atol=1e-12)


def assert_searches_elsewhere():
    """Search a grid as joblib is told to, and compare it with a search in this process."""
    X, y = engine_cases.data()
    scoring = {"accuracy": "accuracy", "process": engine_cases.process_that_scores}
    grid = {"learning_rate": [1e-3, 1e-2]}
    found = GridSearchCV(
        engine_cases.model(), grid, cv=2, scoring=scoring, refit="accuracy", n_jobs=2
    ).fit(X, y)
    results = found.cv_results_
    processes = {results[f"split{i}_test_process"][j] for i in range(2) for j in range(2)}
    assert os.getpid() not in processes
    return results["mean_test_accuracy"]


@pytest.fixture(scope="module")
def accuracies():
    X, y = engine_cases.data()
    grid = {"learning_rate": [1e-3, 1e-2]}
    return GridSearchCV(engine_cases.model(), grid, cv=2).fit(X, y).cv_results_["mean_test_score"]


# --- torchrun and what starts processes as it does ------------------------------------------


def run_torchrun(script, tmp_path, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run = subprocess.run(
        [*command, "--nproc-per-node", "2", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, **VARIABLES},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_torchrun_runs_the_example(tmp_path):
    example = ROOT / "examples" / "distributed.py"
    together = run_torchrun(example, tmp_path)
    alone = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **VARIABLES},
    ).stdout
    assert together.splitlines()[-1] == alone.splitlines()[-1]
    assert "fitted by 2 processes" in together
    assert "fitted by 1 process" in alone


def test_accelerate_starts_what_a_fit_joins(tmp_path, fitted):
    pytest.importorskip("accelerate")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from accelerate import Accelerator\n"
        "import engine_cases\n"
        "Accelerator(cpu=True)\n"
        "engine_cases.fit_joined(sys.argv[1])\n"
    )
    folder = tmp_path / "weights"
    folder.mkdir()
    run_torchrun(script, tmp_path, folder)
    assert_two_fitted_alike(folder, fitted)


# --- Dask -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask_client(tmp_path_factory):
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        )
        with cluster, distributed.Client(cluster) as client:
            yield client


def test_a_search_runs_on_dask(dask_client, accuracies):
    import joblib

    with joblib.parallel_config("dask"):
        found = assert_searches_elsewhere()
    np.testing.assert_allclose(found, accuracies)


def test_dask_arrays_are_embedded_block_by_block(dask_client, fitted):
    array = pytest.importorskip("dask.array")
    X, _ = engine_cases.data()
    blocks = array.from_array(X, chunks=(40, -1))
    z = blocks.map_blocks(
        fitted.transform,
        dtype=fitted.proxies_.dtype,
        chunks=(blocks.chunks[0], fitted.proxies_.shape[1]),
    )
    labels = blocks.map_blocks(fitted.predict, dtype=fitted.classes_.dtype, drop_axis=1)
    np.testing.assert_allclose(z.compute(), fitted.transform(X), atol=1e-12)
    np.testing.assert_array_equal(labels.compute(), fitted.predict(X))


# --- Ray ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    folder = tempfile.mkdtemp()  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=10**8,
            runtime_env={"env_vars": VARIABLES},
            _temp_dir=folder,
        )
        yield ray
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_rays_torch_trainer_starts_what_a_fit_joins(ray, tmp_path, fitted):
    pytest.importorskip("pydantic")
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train(config):
        import engine_cases

        engine_cases.fit_joined(config["folder"])

    folder = tmp_path / "weights"
    folder.mkdir()
    TorchTrainer(
        train,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(tmp_path / "runs")),
    ).fit()
    assert_two_fitted_alike(folder, fitted)


def test_a_search_runs_on_ray(ray, accuracies):
    import joblib
    from ray.util.joblib import register_ray

    register_ray()
    with joblib.parallel_config("ray"):
        found = assert_searches_elsewhere()
    np.testing.assert_allclose(found, accuracies)


def test_rays_data_are_embedded_batch_by_batch(ray, fitted):
    import ray.data

    X, _ = engine_cases.data()
    held = ray.put(fitted)

    def embed(batch):
        model = ray.get(held)
        return {**batch, "z": model.transform(batch["data"]), "label": model.predict(batch["data"])}

    found = ray.data.from_numpy(X).map_batches(embed, batch_size=40).to_pandas()
    rows = np.stack(found["data"])
    np.testing.assert_allclose(np.stack(found["z"]), fitted.transform(rows), atol=1e-12)
    np.testing.assert_array_equal(found["label"], fitted.predict(rows))
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(X, axis=0))


# --- Spark ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**VARIABLES, "PYSPARK_PYTHON": sys.executable}.items():
            patch.setenv(name, value)
        builder = sql.SparkSession.builder.master("local[2]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(tmp_path_factory.mktemp("spark")),
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        yield session
        session.stop()


def test_sparks_frames_are_predicted_in_pandas(spark, fitted):
    pandas = pytest.importorskip("pandas")
    X, _ = engine_cases.data()

    def predict(frames):
        for frame in frames:
            yield frame.assign(label=fitted.predict(frame[COLUMNS].to_numpy()))

    frame = spark.createDataFrame(pandas.DataFrame(X, columns=COLUMNS)).repartition(2)
    schema = ", ".join(f"{name} double" for name in COLUMNS) + ", label long"
    found = frame.mapInPandas(predict, schema).toPandas()
    np.testing.assert_array_equal(found["label"], fitted.predict(found[COLUMNS].to_numpy()))
    assert len(found) == len(X)


def test_sparks_torch_distributor_starts_what_a_fit_joins(spark, tmp_path, fitted):
    distributor = pytest.importorskip("pyspark.ml.torch.distributor")
    folder = tmp_path / "weights"
    folder.mkdir()
    two = distributor.TorchDistributor(num_processes=2, local_mode=True, use_gpu=False)
    two.run(engine_cases.fit_by_variables, str(folder))
    assert_two_fitted_alike(folder, fitted)
