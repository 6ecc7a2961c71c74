"""The documentation is true: what it says to type works, what it says to write is what runs, and the site builds."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from docs.site.notebook_page import notebook_page
from docs.site.settings_reference import ENTRY_POINTS, presets_page, settings_page
from tests.documentation import PAGES, PROJECT, Block, blocks, commands
from tests.studies import SECONDS, Place

COMMANDS = {"recursion": "recursion", "vae": "autoencoders"}
"""What an entry point's function is called, where not as the entry point."""

HOW_TO = PROJECT / "docs" / "how-to"


def test_every_block_says_whether_it_is_run_and_if_not_why():
    for block in blocks(*PAGES):
        if block.language in ("sh", "python") and not block.title:
            assert block.mark, f"{block.page}: {block.text}"
        if block.mark == "not run":
            assert len(block.how) > 10, block.text


def test_outputs_that_are_shown_hold_no_path_of_a_machine():
    shown = [block for block in blocks(*PAGES) if block.language == "text"]
    assert shown
    for block in shown:
        assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|opt)/", block.text), block.text


PLANNED = [
    (f"{block.page}: {entry_point}", entry_point, arguments)
    for block in blocks(*PAGES)
    if block.language == "sh" and block.mark == "run" and not block.how
    for entry_point, arguments in commands(block.text)
]


@pytest.mark.parametrize(("entry_point", "arguments"), [one[1:] for one in PLANNED], ids=[one[0] for one in PLANNED])
def test_every_command_makes_a_plan(
    entry_point: str,
    arguments: list[str],
    prepared: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """At the size of the smoke preset, in this process; `test_the_documentation_from_its_first_page_to_its_last` runs them."""
    place = prepared.copy_to(tmp_path / "place")
    (place.store / "locks").mkdir()
    for folder in ("unfinished", "chains"):
        (place.store / folder).mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "components").symlink_to(PROJECT / "components")
    (tmp_path / "my-text.txt").write_text((PROJECT / "docs" / "paper.md").read_text("utf-8") * 3, encoding="utf-8")
    given = dict(zip(arguments[::2], arguments[1::2], strict=True)) | {"--store.path": str(place.store)}
    if entry_point != "status":
        given |= {"--preset": "smoke", "--dry_run": "true"}
    elif "--name" in given:
        given.pop("--name")  # of a study that has not run here
    module = importlib.import_module(f"pipelines.{entry_point}")
    getattr(module, COMMANDS.get(entry_point, entry_point))([word for pair in given.items() for word in pair])
    said = capsys.readouterr().out
    assert "No study has run" in said if entry_point == "status" else "chains (" in said or "Sweep" in said


def copy_of_the_project(folder: Path) -> Path:
    """What git has of it, without the results: to be changed, and to run in."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and not name.startswith(("docs/results", "benchmarks/results")) and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


def environment(copy: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return inherited | {
        "PYTHONPATH": str(copy),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]]),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "agg",
        "HF_DATASETS_CACHE": str(copy / "cache"),
    }


def shell(script: str, copy: Path) -> str:
    """Run a block in the copy; what it printed."""
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=copy, env=environment(copy), capture_output=True, text=True, timeout=4 * SECONDS,
    )  # fmt: skip
    assert ended.returncode == 0, f"{script}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def follow(page: str, copy: Path, quick: bool) -> list[str]:
    """Do what a how-to says, in a copy: write its files, apply its changes, run its blocks (only the quick ones, or all)."""
    ran = []
    for block in blocks(HOW_TO / f"{page}.md"):
        if block.title:
            (copy / block.title).parent.mkdir(parents=True, exist_ok=True)
            (copy / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            patch = subprocess.run(
                ["patch", "-p1", "--no-backup-if-mismatch"], cwd=copy, input=block.text, capture_output=True, text=True
            )
            assert patch.returncode == 0, f"{page} no longer fits the code: {patch.stdout}{patch.stderr}"
        elif block.mark == "run" and (not quick or "quick" in block.how):
            shell(small(block.text) if not quick else block.text, copy)
            ran.append(block.text)
    return ran


@pytest.mark.skipif(shutil.which("patch") is None, reason="the changes of a how-to are applied with patch")
@pytest.mark.parametrize("page", ["add-a-regime", pytest.param("add-a-family", marks=pytest.mark.slow)])
def test_a_how_to_that_changes_the_code_fits_the_code_and_its_tests_pass(page: str, tmp_path: Path):
    assert follow(page, copy_of_the_project(tmp_path), quick=True)


@pytest.mark.slow
@pytest.mark.timeout(8 * SECONDS)
@pytest.mark.skipif(shutil.which("patch") is None, reason="the changes of a how-to are applied with patch")
@pytest.mark.parametrize("page", ["add-a-regime", "add-a-family"])
def test_a_how_to_that_changes_the_code_ends_with_a_study(page: str, tmp_path: Path):
    copy = copy_of_the_project(tmp_path)
    follow(page, copy, quick=False)
    ended = json.loads(next((copy / "store" / "progress").glob("*.json")).read_text("utf-8"))
    assert ended["state"] == "finished"


def small(script: str) -> str:
    """The commands of a block at the size of the smoke preset; `make` as the command that it would run."""

    def command(line: str) -> str:
        if not line.startswith(("mlflow run", "LOG_FORMAT=json mlflow run")) or "-e status" in line:
            return line
        return line if "preset=smoke" in line else f"{line} -P preset=smoke"

    return "\n".join(command(line) for line in script.replace("\\\n", " ").splitlines())


def as_made(block: Block, copy: Path) -> str:
    """The block, `make <target>` replaced by what make would run."""
    lines = []
    for line in block.text.splitlines():
        if not line.startswith("make "):
            lines.append(line)
            continue
        script = f"make --dry-run --no-print-directory {line.removeprefix('make ').partition('#')[0]}"
        lines += [made for made in shell(script, copy).splitlines() if made.startswith("mlflow run")]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(12 * SECONDS)
def test_the_documentation_from_its_first_page_to_its_last(tmp_path: Path):
    """Every block that is to be run, at the size of the smoke preset, in the order in which one reads it."""
    copy = copy_of_the_project(tmp_path)
    order = ["tutorial", "own-corpus", "own-model", "watch", "results"]
    pages = sorted(PAGES, key=lambda page: order.index(page.stem) if page.stem in order else len(order))
    for page in [page for page in pages if page.stem in order]:
        python = []
        for block in blocks(page):
            if block.mark != "run":
                continue
            if block.language == "python":
                python.append(block.text)
            else:
                shell(small(as_made(block, copy)), copy)
        if python:
            (copy / "cells.py").write_text("\n".join(python), encoding="utf-8")
            assert shell(f"{sys.executable} cells.py", copy)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not find_spec("mkdocs") or not find_spec("mkdocstrings") or not find_spec("material"):
        pytest.skip("MkDocs is not installed: `make docs` installs it (docs/requirements.txt)")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=PROJECT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    assert "WARNING" not in built.stderr
    return folder


def test_the_site_builds_without_a_warning_and_asks_nobody_else_for_anything(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    loading = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"")
    for page in pages:
        for found in loading.finditer(page.read_text("utf-8")):
            target = found[1] or found[2]
            assert not re.match(r"(?:https?:)?//", target), f"{page.name} loads {target}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", style.read_text("utf-8")), style


def test_the_site_shows_every_setting_and_every_room(site: Path):
    settings = (site / "reference" / "settings.html").read_text("utf-8")
    assert "conditions.&lt;name&gt;.real_fraction" in settings
    loop = (site / "reference" / "code" / "recursion.html").read_text("utf-8")
    assert "components.recursion.loop.run_chain" in loop
    assert "GuardFailure" in loop


def every_field(model: type[BaseModel], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, field) of every setting of a model, by pydantic's own account of it."""
    found = []
    for name, field in model.model_fields.items():
        below = [one for one in (field.annotation, *get_args(field.annotation)) if _is_model(one)]
        if below:
            inner = "<name>." if getattr(field.annotation, "__origin__", None) is dict else ""
            found += every_field(below[0], f"{prefix}{name}.{inner}")
        else:
            found.append((f"{prefix}{name}", field))
    return found


def _is_model(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_the_reference_has_every_setting_with_its_default_and_what_it_says(entry_point: str):
    page = settings_page()
    for name, field in every_field(ENTRY_POINTS[entry_point]):
        rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert rows, name
        assert any((field.description or "") in row for row in rows)
    assert "| `train.zero_stage` | integer | `1` | ≥ 0, ≤ 3 |" in page
    assert "| `conditions.<name>.real_fraction` | number | `0.0` | ≥ 0, ≤ 1 |" in page
    assert "| `model.dropout` | number or empty | empty | ≥ 0, < 1 |" in page
    assert "| `train.engine` | `deepspeed`, `torch` | `deepspeed` |" in page


def test_the_reference_has_every_entry_point_that_takes_settings():
    project = yaml.safe_load((PROJECT / "MLproject").read_text("utf-8"))
    assert {*project["entry_points"]} - {"main", "benchmark"} == {*ENTRY_POINTS}


def test_the_reference_has_every_preset():
    page = presets_page()
    for file in (PROJECT / "components" / "config" / "presets").rglob("*.yaml"):
        assert file.read_text("utf-8").strip() in page


def test_the_pins_of_the_site_are_within_the_bounds_of_the_project():
    import tomllib

    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    lines = (PROJECT / "docs" / "requirements.txt").read_text("utf-8").splitlines()
    pins = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines if "==" in line)}
    for line in groups["docs"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_the_notebook_holds_no_outputs_and_becomes_a_page():
    file = PROJECT / "docs" / "notebooks" / "own-figure.ipynb"
    notebook = json.loads(file.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        assert cell["id"]
        assert not cell.get("outputs")
        assert cell["cell_type"] == "markdown" or cell["execution_count"] is None
    page = notebook_page(file)
    assert page.startswith("# A figure of your own")
    assert page.count("```python") == sum(cell["cell_type"] == "code" for cell in notebook["cells"])
