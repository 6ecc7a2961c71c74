"""What a plan may load: every second of imports is one that each command takes before it says a word."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pipelines.study import PROJECT

EVERY = {
    "filelock", "jinja2", "joblib", "matplotlib", "mlflow", "numpy", "omegaconf", "pandas", "pillow", "plotly", "psutil",
    "pyarrow", "pydantic", "python-json-logger", "pyyaml", "ray", "requests", "rich", "scipy", "sqlalchemy", "threadpoolctl",
    "safetensors", "setuptools", "torch",
}  # fmt: skip
MAY_LOAD = {
    "recursion": EVERY | {"huggingface-hub", "sacrebleu", "tokenizers", "transformers"},
    "gaussian": EVERY | {"sacrebleu"},
}
"""By entry point, the declared dependencies that its plan may load."""
ONLY_WITH_WORK = ("ray.train", "ray.tune", "ray.data", "optuna", "deepspeed", "sklearn", "datasets")


@pytest.mark.parametrize("entry_point", MAY_LOAD)
def test_a_plan_loads_nothing_that_only_computing_needs(entry_point: str, tmp_path: Path) -> None:
    arguments = ["--preset", "smoke", "--store.path", str(tmp_path / "store"), "--dry_run", "true"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"pipelines.{entry_point}", *arguments],
        cwd=PROJECT, env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert not {name for name in loaded if name.startswith(ONLY_WITH_WORK)}
    declared = {
        re.split(r"[\[<>=]", entry)[0]
        for entry in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    owners = packages_distributions()
    of_ours = {owner.lower() for name in loaded for owner in owners.get(name, ())} & declared
    assert of_ours <= MAY_LOAD[entry_point]
