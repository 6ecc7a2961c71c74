"""`infra/environment.sh`, which makes the environment: what it refuses, in one line and before anything is written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "infra" / "environment.sh"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the script and the lock alone, so that nothing of the real environment is touched."""
    (tmp_path / "infra").mkdir()
    shutil.copy(SCRIPT, tmp_path / "infra" / SCRIPT.name)
    shutil.copy(SCRIPT.parents[1] / "requirements.lock", tmp_path)
    return tmp_path


def run(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = [str(project / "infra" / SCRIPT.name)]
    given = {"PATH": os.environ["PATH"]} | environment
    return subprocess.run(script, env=given, capture_output=True, text=True, timeout=60)


def tools(folder: Path, *more: str) -> str:
    """A path with what the script calls besides Python."""
    folder.mkdir()
    for name in ("sh", "dirname", "grep", "uname", *more):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def test_without_a_python_that_serves_one_line_says_what_to_install(project: Path, tmp_path: Path) -> None:
    ended = run(project, PATH=tools(tmp_path / "bin"))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("environment: no Python from 3.11 to 3.13 with venv was found; install one")
    assert not (project / ".venv").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PYTHON": "/no/such/python"}, "PYTHON=/no/such/python is no Python from 3.11 to 3.13"),
        ({"PYTHON": sys.executable, "TORCH": "rocm"}, "TORCH=rocm: give cpu or cuda"),
    ],
)
def test_what_cannot_serve_is_refused_by_name(project: Path, given: dict[str, str], expected: str) -> None:
    ended = run(project, **given)
    assert ended.returncode == 2
    assert expected in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (project / ".venv").exists()


def test_the_newest_python_that_runs_is_taken(project: Path, tmp_path: Path) -> None:
    """python3.13 is there and cannot make environments, as where venv is packed apart; python3.12 is taken before 3.11."""
    path = tools(tmp_path / "bin", "rm")
    for name, answer in (("python3.13", 1), ("python3.12", 0), ("python3.11", 0)):
        file = tmp_path / "bin" / name
        file.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo "asked: {name}" && exit 1\nexit {answer}\n')
        file.chmod(0o755)
    ended = run(project, PATH=path)
    assert "asked: python3.12" in ended.stdout
