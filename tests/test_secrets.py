"""Secrets that a study needs are in its environment alone: not in MLflow, the store, the settings, or what is printed."""

import base64
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from components.tracking import Tracking, TrackingUnavailable
from components.tracking.connection import reaching, without_password
from pipelines.gaussian import gaussian
from pipelines.study import run_command
from tests.ports import closed_port
from tests.studies import PROJECT, Place
from tests.test_tracking import Server

import mlflow.entities  # isort: skip  # after our room, which sets MLflow's environment


def marker(name: str) -> str:
    """What stands nowhere else."""
    return hashlib.sha256(f"secret of {name}".encode()).hexdigest()


VARIABLES = (
    "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_FLASK_SERVER_SECRET_KEY",
)  # fmt: skip
PASSWORD = marker("the tracking server's address")
SECRETS = [*map(marker, VARIABLES), PASSWORD]
FORBIDDEN = [secret.encode() for secret in SECRETS]
FORBIDDEN += [base64.b64encode(f"user:{secret}".encode())[8:40] for secret in SECRETS]  # as basic-auth sends it
CONDITION = "keep 10 % real"


@dataclass(frozen=True)
class Ended:
    """A study, all files below where it ran, and what it printed."""

    place: Place
    process: subprocess.CompletedProcess[str]


def with_secrets(place: Place, uri: str) -> dict[str, str]:
    home = place.folder / "home"
    home.mkdir(exist_ok=True)
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_", "AWS_", "HF_"))
    }
    secrets = {name: marker(name) for name in VARIABLES} | {"MLFLOW_TRACKING_USERNAME": "user"}
    return plain | secrets | {"MLFLOW_TRACKING_URI": uri, "TMPDIR": str(place.folder), "HOME": str(home)}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Ended]:
    """A whole study that writes to a real server, at an address with a password in it."""
    place = Place(tmp_path_factory.mktemp("secrets"))
    (place.folder / "mlflow.db").write_bytes(migrated.read_bytes())
    server = Server(place.folder)
    server.start()
    try:
        environment = with_secrets(place, f"http://user:{PASSWORD}@127.0.0.1:{server.port}")
        command = [sys.executable, "-m", "pipelines.gaussian", *place.arguments()]
        command += [f"--conditions.{CONDITION}.real_fraction", "0.1", "--shown", "[0]", "--generations", "3"]
        command += ["--conditions.accumulate-100", "null", "--conditions.subsample-100", "null"]
        with place.start(command=command, environment=environment) as study:
            output, errors = study.communicate(timeout=200)
        yield Ended(place, subprocess.CompletedProcess(command, study.returncode, output, errors))
    finally:
        server.stop()


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's name and bytes; what parquet has compressed, as text."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            yield name, name.encode() + path.read_bytes()
        if path.suffix == ".parquet":
            yield f"{name} (rows)", pd.read_parquet(path).to_csv().encode()


def test_a_study_with_secrets_around_it_comes_to_its_end_and_says_where(ended: Ended):
    assert ended.process.returncode == 0, ended.process.stderr[-2000:]
    assert re.search(r"http://user:\*\*\*@127\.0\.0\.1:\d+/#/experiments/", ended.process.stdout)


def test_the_search_finds_what_a_study_writes(ended: Ended):
    """In the database, in the settings, in tables, on the page: where a secret would be."""
    written = [name for name, content in contents(ended.place.folder) if CONDITION.encode() in content]
    for expected in ("mlflow.db", "config.yaml", "metrics.parquet (rows)", "report.html", ".json"):
        assert any(name.endswith(expected) for name in written), expected


def test_no_secret_is_written_or_printed(ended: Ended):
    written = [*contents(ended.place.folder), ("stdout", ended.process.stdout.encode())]
    written.append(("stderr", ended.process.stderr.encode()))
    assert [name for name, content in written if any(secret in content for secret in FORBIDDEN)] == []


def test_the_cluster_s_token_is_kept_in_no_file(ended: Ended):
    """Ray 2.60.0 leaves one that it makes itself readable by all (mended in 2.60.1)."""
    assert not [path for path in ended.place.folder.rglob("*") if "auth" in path.name and "token" in path.name]
    assert not (ended.place.folder / "home" / ".ray").exists()


# --- what goes wrong ---

UNREACHABLE = [
    "http://user:{secret}@127.0.0.1:{port}",
    "https://user:{secret}@127.0.0.1:{port}/mlflow",
    "http://user:{secret}@unknown.invalid",
    "http://user:{secret}@127.0.0.1:port",
    "postgresql://mlflow:{secret}@127.0.0.1:{port}/mlflow",
    "postgresql://mlflow:a/{secret}@127.0.0.1:{port}/mlflow",
    "postgresql://mlflow:a@{secret}@127.0.0.1:{port}/mlflow",
    "postgresql://mlflow:a@{secret}/a@127.0.0.1:{port}/mlflow",
    "postgresql://mlflow:%40{secret}@127.0.0.1:{port}/mlflow",
    "postgresql+psycopg://127.0.0.1:{port}/mlflow?user=mlflow&password={secret}",
    "postgresql://127.0.0.1:{port}/mlflow?sslpassword={secret}&user=mlflow",
    "mysql+pymysql://mlflow:{secret}@127.0.0.1:{port}/mlflow",
    "mssql+pyodbc://mlflow:{secret}@127.0.0.1:{port}/mlflow",
    "ftp://user:{secret}@127.0.0.1:{port}",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("uri", UNREACHABLE)
def test_a_tracking_store_out_of_reach_is_one_line_without_its_password(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(secret=PASSWORD, port=closed_port()))
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    on_terminate = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        run_command(gaussian, ["--preset", "smoke", "--store.path", str(tmp_path / "store")])
    signal.signal(signal.SIGTERM, on_terminate)
    assert stopped.value.code == 2
    printed = capfd.readouterr()
    assert printed.err.startswith("MLFLOW_TRACKING_URI = ")
    assert len(printed.err.strip().splitlines()) == 1
    assert "***" in printed.err
    assert PASSWORD not in printed.err + printed.out


def test_a_server_that_goes_away_is_told_of_without_its_password(monkeypatch: pytest.MonkeyPatch):
    """MLflow's own error has the whole address."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://user:{PASSWORD}@127.0.0.1:{closed_port()}"
    client = MlflowClient(tracking_uri=uri)
    experiment = mlflow.entities.Experiment("1", "gaussian", "", "active")
    with pytest.raises(mlflow.exceptions.MlflowException, match=PASSWORD):
        client.get_run("1" * 32)
    with (
        pytest.raises(TrackingUnavailable, match=r"user:\*\*\*@127") as away,
        reaching(Tracking(client, uri, experiment, "gaussian", "none", None)),
    ):
        client.get_run("1" * 32)
    assert PASSWORD not in str(away.value)


@pytest.mark.parametrize(
    "plain",
    ["sqlite:////home/a@b/mlflow.db", "http://127.0.0.1:5000", "https://mlflow.example/team", "postgresql://user@host/db",
     "connection to server at 127.0.0.1, port 5432 failed: user@host"],
)  # fmt: skip
def test_an_address_without_a_password_is_shown_as_it_is(plain: str):
    assert without_password(plain) == plain


# --- the embedded cluster's token ---

EMBEDDED = """
import os, ray
from components import cluster
from components.config.settings import ClusterSettings
with cluster.connect(ClusterSettings(address=None)):
    print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], flush=True)
    input()
"""
STRANGER = (
    "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(int(ray.cluster_resources()['CPU']))"
)


def test_the_embedded_cluster_serves_nobody_who_has_not_its_token(tmp_path: Path):
    """Its ports can be reached from other machines, and whoever it serves runs code (CVE-2023-48022)."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    plain |= {"HOME": str(tmp_path), "RAY_NUM_REDIS_GET_RETRIES": "2"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", EMBEDDED], env=plain, cwd=PROJECT, **pipes) as study:
        address, token = study.stdout.readline().split()
        answers = {}
        for given in ("", marker("another token"), token):
            allowed = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": given} if given else {}
            command = [sys.executable, "-c", STRANGER, address]
            answers[given] = subprocess.run(command, env=plain | allowed, capture_output=True, text=True, timeout=120)
        study.communicate("\n", timeout=60)
    assert len(token) == 64
    assert [process.returncode == 0 for process in answers.values()] == [False, False, True], answers
    assert int(answers[token].stdout) >= 1
    assert all("Failed to connect" in process.stderr for given, process in answers.items() if given != token)
