"""MLproject, conda.yaml and the lock agree: one list of pins, whoever makes the environment."""

import re
import tomllib
from pathlib import Path

from mlflow.projects._project_spec import load_project
from mlflow.utils.environment import _PythonEnv
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, str]:
    lines = (PROJECT / "requirements.lock").read_text().splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_mlflow_reads_the_project_with_the_entry_point_of_the_contract():
    project = load_project(str(PROJECT))
    command = project.get_entry_point("recursion").compute_command({"corpus.path": "my texts"}, None)
    assert command == "python -m pipelines.recursion --preset laptop --corpus.path 'my texts'"


def test_conda_and_uv_read_the_pins_of_the_lock():
    found = _PythonEnv.get_dependencies_from_conda_yaml(str(PROJECT / "conda.yaml"))
    assert found["python"] == "3.11"
    assert found["dependencies"] == ["-r requirements.lock"]


def test_the_lock_pins_every_dependency_within_its_bounds():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    pinned = pins()
    for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_the_lock_serves_machines_with_and_without_a_gpu():
    assert pins()["torch"] == "2.13.0"
    assert not [name for name in pins() if re.match("nvidia|triton|cuda", name)]
