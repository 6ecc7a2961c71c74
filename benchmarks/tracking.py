"""What MLflow takes: requests and seconds a generation for one writer, requests a second with twenty studies at once.

Against a local SQLite file, and against the server a team runs (PostgreSQL, artifacts on S3) with passwords and without.
The generations are of a tiny language model with its weights in the registry (`tracking.models=full`), as the tests make them.
"""

import multiprocessing
import os
import re
import time
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WRITERS, GENERATIONS = 20, 3
SERVERS = {
    "no passwords": (False, 0),
    "passwords remembered for 30 s, as infra/ has it": (True, 30),
    "passwords hashed at every request (the default)": (True, 0),
}


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    if not all(find_spec(name) for name in ("mlflow", "moto", "pytest")):
        print("left out: tracking needs mlflow, and moto and pytest for its servers")
        return []
    from mlflow.tracking import MlflowClient

    import components.tracking  # noqa: F401  sets MLflow's environment
    from tests.recorded import make_model
    from tests.services import team

    rows = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model(folder / "model")
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(tracking_uri=uri).search_experiments()
        seconds = write_studies(1, GENERATIONS, folder / "sqlite", model, {"MLFLOW_TRACKING_URI": uri})
        rows.append({"what": "SQLite, one writer", "seconds a generation": seconds / GENERATIONS})
        for kind, (passwords, remembered) in SERVERS.items():
            with team(passwords, remembered) as running:
                for writers in (1, WRITERS):
                    name = f"{kind}-{writers}".replace(" ", "-")
                    before = _requests(running.mlflow.log)
                    seconds = write_studies(writers, GENERATIONS, folder / name, model, running.mlflow.environment)
                    requests = _requests(running.mlflow.log) - before
                    generations = writers * GENERATIONS
                    rows.append(
                        {
                            "what": f"server on PostgreSQL and S3, {kind}, {writers} at once",
                            "seconds a generation": seconds / generations,
                            "requests a generation": requests / generations,
                            "requests a second": requests / seconds,
                        }
                    )
    return rows


def write_studies(writers: int, generations: int, folder: Path, model: Path, environment: dict[str, str]) -> float:
    """Seconds from the moment when all are ready until the last has written all of its study."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(writers + 1)
    processes = [
        context.Process(target=write_a_study, args=(number, generations, folder, model, environment, ready))
        for number in range(writers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    if any(process.exitcode for process in processes):
        raise AssertionError("a writer failed")
    return seconds


def write_a_study(
    number: int, generations: int, folder: Path, model: Path, environment: dict[str, str], ready: Barrier
) -> None:
    """One chain's study, in a process of its own that begins when all are there."""
    os.environ |= environment
    from components.config.settings import TrackingSettings
    from components.tracking import close_study, connect, end_chain, open_study, record
    from pipelines.outbox import Outbox
    from tests.recorded import make_chain, make_generation

    chain = make_chain(f"condition-{number}", number)
    finished = [make_generation(folder, chain, index, model) for index in range(generations)]
    ready.wait()
    tracking = connect(TrackingSettings(models="full", experiment=folder.name), "recursion", folder)
    study = open_study(
        tracking, name=f"study {number}", family="language", identity=f"{number:064x}", config="", settings={}
    )
    outbox = Outbox(print)  # as a study does: what the server does not take for now is tried again
    for generation in finished:
        outbox.put(lambda one=generation: record(study, one, {"samples.md": "# the same prompts\n"}))  # type: ignore[misc]
    outbox.put(lambda: end_chain(study, chain, "FINISHED"))
    outbox.put(lambda: close_study(study, "FINISHED"))
    outbox.flush()


def _requests(log: Path) -> int:
    return len(re.findall(r'"[A-Z]+ /(?:api|ajax-api)[^"]* HTTP/1\.1"', log.read_text()))
