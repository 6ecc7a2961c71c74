"""Fixtures of the whole suite, and an environment that reaches nowhere and draws the same examples every time."""

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in a shell's background, which hands that on to every process below: the studies that a test interrupts, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight processes per server that run GenAI jobs
os.environ.pop("MLFLOW_LOGGING_LEVEL", None)  # as a user calls it, not as make does
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

LONGEST_FIRST = (
    "test_sweep.py",
    "test_recursion.py",
    "test_resume.py",
    "test_small_families.py",
    "test_trials.py",
    "test_tracking.py",
    "test_sweep_families.py",
    "test_deterministic.py",
    "test_every_setting.py",
    "test_secrets.py",
    "test_docs.py",
    "test_two_workers.py",
    "test_report_in_browser.py",
    "test_figures.py",
    "test_mixture.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files start first, so that at the end no worker waits for another (`--no-loadscope-reorder`)."""
    last = len(LONGEST_FIRST)
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, last))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with MLflow's tables: migrating one takes seconds, copying one does not."""
    from mlflow.tracking import MlflowClient

    import components.tracking  # noqa: F401  sets MLflow's environment

    file = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, migrated: Path):
    """A place with what every study of the smoke preset makes first, to be copied from: database and corpus."""
    import shutil

    from components import config
    from components.config.settings import RecursionSettings
    from components.store import Store
    from pipelines.recursion_chains import prepare_corpus
    from tests.studies import Place

    place = Place(tmp_path_factory.mktemp("prepared"))
    shutil.copy(migrated, place.folder / "mlflow.db")
    prepare_corpus(config.load(RecursionSettings, place.arguments()), Store.open(str(place.store)))
    return place


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random OPT of a few thousand parameters with a tokenizer of its own, as a fit leaves it."""
    from tests.recorded import make_model

    return make_model(tmp_path_factory.mktemp("opt") / "model")


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory: pytest.TempPathFactory):
    """All that a page says of a study of language models, its four figures drawn."""
    from tests.pages import contents

    return contents(tmp_path_factory.mktemp("whole study"))


@pytest.fixture(scope="module")
def rates_measured_once() -> Iterator[None]:
    """Plans of one module measure this machine once: each measurement takes a second."""
    from components.families.language.cost import measure_rates

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.recursion_plan.measure_rates", cache(measure_rates))
        yield
