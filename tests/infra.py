"""What the tests of infra/ read: its files, what is in them, and the programs that may check them."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.test_project import PROJECT

INFRA = PROJECT / "infra"
DOCKER, RAY, KUBERAY = INFRA / "docker", INFRA / "ray", INFRA / "kuberay"
FILES = sorted(path for path in INFRA.rglob("*") if path.is_file() and path.name != ".env")
YAML = [path for path in FILES if path.suffix == ".yaml"]
CLUSTERS = [RAY / "cluster-aws.yaml", RAY / "cluster-onprem.yaml"]
OVERLAYS = sorted(path.name for path in (KUBERAY / "overlays").iterdir())
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL")
HOST_PORT = re.compile(r"(?:(?P<host>[^:]+):)?(?P<published>\d+):(?P<target>\d+)")
PROJECT_SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def scalars(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf of what YAML holds, with the keys that lead to it (no numbers of list entries)."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from scalars(entry, (*path, str(key)))
    elif isinstance(value, list):
        for entry in value:
            yield from scalars(entry, path)
    else:
        yield path, value


def defaults(text: str) -> str:
    """As compose reads it where the environment says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]


def dockerfile() -> list[tuple[str, str]]:
    text = "\n".join(line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in (line.split(maxsplit=1) for line in lines)]


def image_environment() -> dict[str, str]:
    return dict(part.split("=", 1) for name, rest in dockerfile() if name == "ENV" for part in rest.split())


def tool(*names: str) -> str:
    """The first of these programs that is here; skips the test where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"{' or '.join(names)} is not installed")


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pods(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every pod that the manifests lead to, KubeRay's included."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            yield spec["template"]
        elif manifest["kind"] == "RayCluster":
            name = manifest["metadata"]["name"]
            for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
                labels = {"ray.io/cluster": name, "ray.io/node-type": "worker" if "groupName" in group else "head"}
                yield {"metadata": {"labels": labels}, "spec": group["template"]["spec"]}
        elif manifest["kind"] == "RayJob":
            yield spec["submitterPodTemplate"]


def parsed(command: list[str]) -> click.Context:
    """Ray's or MLflow's own reading of a command line. Nothing is run."""
    program, *rest = command
    if program == "ray":
        from ray.scripts.scripts import cli
    else:
        from mlflow.cli import cli
    while isinstance(cli, click.Group):
        cli = cli.commands[rest.pop(0)]
    return cli.make_context(command[-1], rest)
