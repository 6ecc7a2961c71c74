"""infra/: compose takes the file, publishes nothing beyond this machine, and no secret is written down."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.infra import (
    DOCKER,
    FILES,
    HOST_PORT,
    INFRA,
    KUBERAY,
    SECRET,
    compose,
    defaults,
    parsed,
    services,
    tool,
)
from tests.test_project import PROJECT

# Compose


def asked_for() -> set[str]:
    return set(re.findall(r"\$\{(\w+):\?", (DOCKER / "compose.yaml").read_text()))


def test_compose_takes_the_file_and_refuses_to_start_without_a_secret(tmp_path: Path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    plugin = (
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if shutil.which("docker")
        else None
    )
    program = ["docker", "compose"] if plugin and plugin.returncode == 0 else [tool("docker-compose")]
    command = [*program, "--file", "compose.yaml", "--file", "compose.cuda.yaml", "config", "--format", "json"]

    def config(given: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=DOCKER, env=environment | given, capture_output=True, text=True, check=False)

    secrets = dict.fromkeys(asked_for(), "x" * 20)
    whole = config(secrets)
    assert whole.returncode == 0, whole.stderr
    ports = [port for service in json.loads(whole.stdout)["services"].values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    for name in secrets:
        lacking = config({key: value for key, value in secrets.items() if key != name})
        assert lacking.returncode != 0
        assert name in lacking.stderr


def test_nothing_is_published_beyond_localhost():
    published = {}
    for name, service in services().items():
        for port in service.get("ports", []):
            read = HOST_PORT.fullmatch(defaults(port))
            assert read, port
            assert read["host"] == "127.0.0.1", f"{name}: {port}"
            published[int(read["published"])] = name
    assert published == {5000: "mlflow", 8265: "ray-head", 8333: "object-store"}
    assert "${" not in services()["ray-head"]["ports"][0]  # whatever BIND says


def test_a_service_says_whether_it_is_well_or_comes_to_its_end():
    awaited = defaultdict(set)
    for service in services().values():
        for name, condition in service.get("depends_on", {}).items():
            awaited[name].add(condition["condition"])
    for name, service in services().items():
        ends = awaited[name] == {"service_completed_successfully"}
        assert ends != ("healthcheck" in service), name
        assert service["restart"] == ("on-failure:5" if ends else "unless-stopped"), name
        assert awaited[name] <= {"service_completed_successfully", "service_healthy"}, name


def test_what_must_stay_lies_on_volumes_that_have_names():
    named = set(compose()["volumes"])
    mounted = {name: service["volumes"] for name, service in services().items() if "volumes" in service}
    assert set(mounted) == {"postgres", "object-store"}
    assert {entry.split(":")[0] for entry in chain(*mounted.values())} == named


def test_only_mlflow_reaches_postgresql():
    tracking = {name for name, service in services().items() if "tracking" in service["networks"]}
    assert tracking == {"postgres", "mlflow"}
    assert services()["postgres"]["networks"] == ["tracking"]
    assert compose()["networks"]["tracking"]["internal"]


# Secrets


def test_no_secret_is_written_and_none_may_be_forgotten():
    for name, service in services().items():
        for key, value in service["environment"].items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), f"{name}: {key}"
    example = (DOCKER / ".env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == asked_for()
    assert not re.findall(r"^\w+=.+$", example, re.MULTILINE)
    offered = set(re.findall(r"^# (\w+)=", example, re.MULTILINE))
    assert offered == set(re.findall(r"\$\{(\w+):-", (DOCKER / "compose.yaml").read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_no_file_holds_what_looks_like_a_secret(path: Path):
    text = path.read_text()
    for suspect in (r"://[^/\s:@]+:[^/\s@]+@", r"\bAKIA\w{16}\b", r"BEGIN [A-Z ]*PRIVATE KEY", r"\b[0-9a-f]{32,}\b"):
        assert not re.search(suspect, text), suspect


def test_git_does_not_take_the_secrets():
    run = subprocess.run(["git", "check-ignore", "infra/docker/.env"], cwd=PROJECT, capture_output=True, check=False)
    assert run.returncode == 0


def test_mlflow_finds_its_users_in_postgresql_and_its_passwords_in_the_environment():
    program = "from mlflow.server.auth.config import *; import json; print(json.dumps(read_auth_config()._asdict()))"
    given = {
        "MLFLOW_AUTH_CONFIG_PATH": str(DOCKER / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": "of the environment",
    }
    run = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | given, capture_output=True, text=True, check=True
    )
    read = json.loads(run.stdout)
    assert (read["admin_username"], read["admin_password"]) == ("admin", "of the environment")
    url = make_url(read["database_uri"])
    assert (url.get_backend_name(), url.host, url.password) == ("postgresql", "postgres", None)
    server = parsed(services()["mlflow"]["command"]).params
    assert server["backend_store_uri"] == read["database_uri"]
    assert "PGPASSWORD" in services()["mlflow"]["environment"]  # where libpq looks for it

    def settings(path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if not line.startswith("#")]

    assert settings(KUBERAY / "base" / "basic_auth.ini") == settings(DOCKER / "basic_auth.ini")
