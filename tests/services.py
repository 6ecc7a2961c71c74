"""What a team runs: MLflow with basic-auth on PostgreSQL, its artifacts on S3. Real servers, of the test's own."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import wait_for_port
from tests.ports import free_port
from tests.s3 import BUCKET, S3, s3

ADMIN = "admin"


@dataclass
class Postgres:
    """A database server of the test's own; `kill` is a power cut."""

    folder: Path
    port: int
    password: str
    user: str
    process: subprocess.Popen[str] | None = None

    @property
    def uri(self) -> str:
        return f"postgresql://mlflow:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [_program("postgres"), "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(
            [*map(str, command), "-c", "listen_addresses=127.0.0.1"],
            user=self.user, text=True, start_new_session=True, cwd=self.folder, **quiet,
        )  # fmt: skip
        wait_for_port("127.0.0.1", self.port, self.process)

    def kill(self) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for child in self.folder.glob("data/postmaster.pid"):
                child.unlink()
            self.process.wait()


@dataclass
class Mlflow:
    """A server whose users have passwords. `environment`: what a study needs to write to it."""

    folder: Path
    port: int
    password: str
    backend: str
    bucket: S3
    passwords: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        user = {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": self.password}
        return {"MLFLOW_TRACKING_URI": self.uri, **(user if self.passwords else {})}

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        secret = {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32)}
        auth = {"MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini")}
        storage = {"MLFLOW_S3_ENDPOINT_URL": self.bucket.url}
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "2", "--backend-store-uri", self.backend]
        command += ["--app-name", "basic-auth"] if self.passwords else []
        command += ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | self.bucket.environment | secret | auth | storage,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Team:
    """All three, running."""

    postgres: Postgres
    mlflow: Mlflow
    bucket: S3


@contextmanager
def team(passwords: bool = True, remembered: int = 30) -> Iterator[Team]:
    """`remembered`: seconds for which the server takes a password that was right without hashing it again."""
    folder = Path(tempfile.mkdtemp(prefix="team-"))
    database = _database(folder / "postgres")
    password = secrets.token_hex(8)
    (folder / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {database.uri}\n"
        f"admin_username = {ADMIN}\n"
        f"admin_password = {password}\n"
        f"auth_cache_ttl_seconds = {remembered}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    try:
        database.start()
        with s3() as bucket:
            server = Mlflow(folder, free_port(), password, database.uri, bucket, passwords)
            try:
                server.start()
                yield Team(database, server, bucket)
            finally:
                server.kill()
    finally:
        database.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _database(folder: Path) -> Postgres:
    """A fresh database; its server takes no orders from root."""
    if not _program("initdb"):
        pytest.skip("PostgreSQL's server is not installed")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        pytest.skip("there is no user `postgres` to run PostgreSQL")
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    made = Postgres(folder, free_port(), secrets.token_hex(8), user)
    (folder / "password").write_text(made.password)
    command = [
        _program("initdb"),
        "-D",
        folder / "data",
        "-U",
        "mlflow",
        "-A",
        "scram-sha-256",
        "--pwfile",
        folder / "password",
    ]
    subprocess.run([*map(str, command), "--no-sync"], user=user, check=True, capture_output=True, cwd=folder)
    return made


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the path."""
    found = shutil.which(name) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    return str(found) if found else None
