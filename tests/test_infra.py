"""infra/: versions are the lock's, the image holds the program and no more, the page names what there is.

No container engine, no cluster and no cloud is needed: what is asked are the readers themselves (Ray's schema and command
line, MLflow's, botocore's model of EC2, and, where they are installed, compose, hadolint, kubectl and kubernetes-validate).
"""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from docker.utils.build import exclude_paths
from packaging.specifiers import SpecifierSet

from tests.infra import (
    CLUSTERS,
    DOCKER,
    FILES,
    INFRA,
    PROJECT_SETTINGS,
    SECRET,
    YAML,
    defaults,
    dockerfile,
    documents,
    image_environment,
    scalars,
    services,
    tool,
)
from tests.test_project import PROJECT, pins

# Versions


def images() -> list[tuple[str, str]]:
    """Name and tag of every image that a YAML file names."""
    found = []
    for path in YAML:
        for document in documents(path):
            for keys, value in scalars(document):
                if keys[-1] == "image" and ":" in str(value):
                    name, _, tag = defaults(value).rpartition(":")
                    found.append((name.rpartition("/")[2], tag))
        if path.name == "kustomization.yaml":
            for image in documents(path)[0].get("images", []):
                found.append((image["name"], image["newTag"]))
    return found


def versions() -> Iterator[tuple[str, str, str]]:
    """Where a version of something in the lock, or of Python, is named; which thing; which version."""
    for path in YAML:
        for document in documents(path):
            for keys, value in scalars(document):
                if keys[-1].lower().endswith("version") and keys[-1].lower().removesuffix("version") in pins():
                    yield path.name, keys[-1].lower().removesuffix("version"), str(value)
    names = "|".join(map(re.escape, ["python", *pins()]))
    named = re.compile(rf"(?<![\w./-])({names})(?:==| |:|-|@)v?(\d+(?:\.\d+)+)", re.IGNORECASE)
    for path in FILES:
        for name, version in named.findall(path.read_text()):
            yield path.name, name.lower(), version


def test_every_version_in_infra_is_the_locks():
    found = list(versions())
    for where, name, version in found:
        if name == "python":
            assert SpecifierSet(PROJECT_SETTINGS["requires-python"]).contains(version), where
        else:
            assert version == pins()[name], f"{where}: {name} {version}"
    assert {"python", "ray"} <= {name for _, name, _ in found}


def test_every_image_is_this_version_of_the_program():
    version = PROJECT_SETTINGS["version"]
    assert {tag for name, tag in images() if name == "model-collapse"} == {f"{version}-cpu", f"{version}-cuda"}
    said = {tag for path in FILES for tag in re.findall(r"model-collapse:(\d+\.\d+\.\d+)", path.read_text())}
    assert said == {version}


def test_an_image_is_pinned_and_the_same_everywhere():
    tags = defaultdict(set)
    for name, tag in images():
        assert re.match(r"\d+\.\d+", tag), f"{name}:{tag}"
        tags[name].add(tag.removesuffix("-cpu").removesuffix("-cuda"))
    assert {name for name, found in tags.items() if len(found) > 1} == set()
    assert set(tags) == {"model-collapse", "postgres", "seaweedfs"}


# The image


def test_the_image_stands_on_a_pinned_base_and_is_not_root():
    bases = [rest for name, rest in dockerfile() if name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base) for base in bases)
    user = [rest for name, rest in dockerfile() if name == "USER"][-1]
    assert user.isdigit()
    assert int(user) > 0


def test_the_image_takes_the_locks_versions_and_no_package_lists():
    runs = [rest for name, rest in dockerfile() if name == "RUN"]
    for run in runs:
        if "apt-get install" in run:
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run
        for install in re.findall(r"pip install[^&;]*", run):
            assert "--no-cache-dir" in install
            assert "--constraint requirements.lock" in install or "requirements.lock)" in install
    assert any("pip install" in run for run in runs)
    assert not [name for name, _ in dockerfile() if name == "ADD"]


def test_the_image_has_no_secret_and_asks_for_rays_token():
    arguments = [rest.split("=")[0] for name, rest in dockerfile() if name == "ARG"]
    assert not [name for name in chain(arguments, image_environment()) if SECRET.search(name)]
    assert image_environment()["RAY_AUTH_MODE"] == "token"


def test_ray_up_finds_the_images_home():
    made = next(re.search(r"useradd .*--uid (\d+) (\w+)", rest) for name, rest in dockerfile() if "useradd" in rest)
    assert image_environment()["HOME"] == f"/home/{made[2]}"
    assert ("USER", made[1]) in dockerfile()
    for path in CLUSTERS:
        assert all(remote.startswith(f"/home/{made[2]}/.") for remote in documents(path)[0]["file_mounts"])


def test_the_image_holds_the_program_and_nothing_else():
    patterns = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    held = exclude_paths(str(PROJECT), patterns)
    for name, rest in dockerfile():
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert [path for path in held if path == source or path.startswith(f"{source}/")], source
    rooms = {"MLproject", "conda.yaml", "pyproject.toml", "requirements.lock", "components", "pipelines", "benchmarks"}
    files = {path for path in held if (PROJECT / path).is_file()} - {".dockerignore"}  # which the client sends along
    assert {path.split("/")[0] for path in files} == rooms
    assert "components/config/presets/recursion/laptop.yaml" in files
    assert not [path for path in files if "__pycache__" in path or path.startswith("benchmarks/results")]


def test_hadolint_finds_nothing():
    run = subprocess.run([tool("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


# The page


def test_the_page_names_files_that_there_are():
    targets = re.findall(r"\]\(([^)#]+)\)", (INFRA / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (INFRA / target).exists()] == []


def test_the_page_starts_the_services_of_compose():
    text = (INFRA / "README.md").read_text()
    for line in re.findall(r"docker compose (?:up|exec)[^`\n#]*", text):
        words = [word for word in line.split()[3:] if not word.startswith("-")]
        named = words[:1] if " exec " in line else words
        assert set(named) <= set(services()), line
