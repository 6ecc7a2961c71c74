"""infra/: every command is one that its program takes, and Ray takes the cluster files."""

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import botocore.session
import click
import jsonschema
import pytest
from botocore.validate import ParamValidator

from components.config import load
from components.config.settings import RecursionSettings
from tests.infra import (
    CLUSTERS,
    INFRA,
    RAY,
    YAML,
    defaults,
    documents,
    parsed,
    scalars,
    services,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, on its way to its command line


# Commands


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of Ray's, MLflow's and this project's that a file runs or a page tells to run."""
    for name, service in services().items():
        command = service.get("command", [])
        yield name, shlex.split(defaults(command)) if isinstance(command, str) else [*map(defaults, command)]
    for path in CLUSTERS:
        cluster = documents(path)[0]
        for line in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]:
            for command in line.split(";"):
                yield path.name, shlex.split(command)
    for document in chain(*map(documents, YAML)):
        if isinstance(document, list):  # patches
            continue
        for group in [
            document.get("spec", {}).get("headGroupSpec"),
            *document.get("spec", {}).get("workerGroupSpecs", []),
        ]:
            if group:
                head = ["--head"] if "groupName" not in group else ["--address=head:6379"]
                parameters = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
                yield "rayStartParams", ["ray", "start", *head, *parameters]
        for keys, value in scalars(document):
            if keys[-1] == "entrypoint":
                yield "entrypoint", shlex.split(value)
        for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            yield container["name"], container.get("args", [])
    told = re.compile(r"(?:^\s*|`|ray-head )(ray [\w-]+ [^`\n#]+|python -m pipelines\.[^`\n#]+)", re.MULTILINE)
    for path in [INFRA / "README.md", *YAML]:
        for line in told.findall(path.read_text()):
            if "-- python" in line:  # two commands: handing in, and what is handed in
                yield path.name, shlex.split(line[line.index("python -m") :])
            yield path.name, shlex.split(line)


def test_every_command_is_one_that_its_program_takes():
    seen = defaultdict(int)
    for where, command in commands():
        if command[:1] == ["ray"] or command[:2] == ["mlflow", "server"]:
            try:
                parsed(command)
            except (click.UsageError, KeyError) as error:
                pytest.fail(f"{where}: {shlex.join(command)}: {error}")
            seen[command[0]] += 1
        elif command[:3] == ["python", "-m", "pipelines.recursion"] and command[3:] != ["..."]:
            settings = load(RecursionSettings, command[3:])
            assert settings.cluster.address == "auto", where
            seen["pipelines"] += 1
    assert seen["ray"] >= 15
    assert seen["mlflow"] >= 2
    assert seen["pipelines"] >= 5


def test_no_head_gives_work_and_only_containers_show_its_dashboard():
    heads = [(where, parsed(command)) for where, command in commands() if command[:2] == ["ray", "start"]]
    heads = [(where, context.params) for where, context in heads if context.params["head"]]
    assert {where for where, _ in heads} == {"ray-head", "rayStartParams", *(path.name for path in CLUSTERS)}
    for where, parameters in heads:
        assert parameters["num_cpus"] == 0, where
        assert parameters["dashboard_host"] == ("127.0.0.1" if where.startswith("cluster-") else "0.0.0.0")


# ray up


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_ray_takes_the_cluster_file(path: Path):
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = documents(path)[0]
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["setup_commands"] == []  # Ray's own default installs a Ray
    assert "/home/app/.ray" in cluster["file_mounts"]  # the token, where Ray looks for it


def test_ec2_takes_the_nodes():
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    cluster = documents(RAY / "cluster-aws.yaml")[0]
    for name, node_type in cluster["available_node_types"].items():
        asked = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(asked, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"
        assert asked["SecurityGroupIds"]  # without one Ray opens SSH to the world
        assert asked["MetadataOptions"] == {"HttpTokens": "required"}


def test_the_head_may_hand_the_workers_their_role():
    policies = {path.stem: json.loads(path.read_text()) for path in (RAY / "aws-iam").iterdir()}
    assert set(policies) == {"trust", "bucket", "autoscaler"}
    (passed,) = [part["Resource"] for part in policies["autoscaler"]["Statement"] if part["Action"] == "iam:PassRole"]
    workers = documents(RAY / "cluster-aws.yaml")[0]["available_node_types"]["gpu"]["node_config"]
    assert passed.endswith(f":role/{workers['IamInstanceProfile']['Name']}")
