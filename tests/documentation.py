"""The documentation as tests read it: its blocks, how each is to be run, and the commands in them."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.projects._project_spec import load_project

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "docs" / "tutorial.md", *sorted((PROJECT / "docs" / "how-to").glob("*.md"))]
BLOCK = re.compile(
    r'^(?:<!-- (?P<mark>run|not run)(?:: (?P<how>[^>]*))? -->\n)?```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    `mark`: `run` or `not run`, by the comment before it; `how`: what that comment says beyond. `title`: of a file that is to
    be written.
    """

    page: str
    language: str
    text: str
    mark: str
    how: str
    title: str


def blocks(*pages: Path) -> list[Block]:
    """Every block of these pages, in order."""
    return [
        Block(
            page.stem, found["language"], found["text"], found["mark"] or "", found["how"] or "", found["title"] or ""
        )
        for page in pages
        for found in BLOCK.finditer(page.read_text("utf-8"))
    ]


def commands(shell: str) -> Iterator[tuple[str, list[str]]]:
    """Of every `mlflow run` in a block: the entry point, and the arguments that MLflow starts it with."""
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        while words and "=" in words[0]:  # variables of the environment
            words.pop(0)
        if words[:3] != ["mlflow", "run", "."]:
            continue
        entry_point, parameters = _options(words[3:])
        started = load_project(str(PROJECT)).get_entry_point(entry_point).compute_command(parameters, None)
        yield entry_point, shlex.split(started)[3:]


def _options(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    entry_point, parameters = "main", {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        match option:
            case "-e":
                entry_point = value
            case "-P":
                name, _, given = value.partition("=")
                assert name not in parameters, f"{name} is given twice"
                parameters[name] = given
            case "--env-manager" | "--experiment-name":
                pass
            case _:
                raise AssertionError(f"{option} is none of the options that the documentation uses")
    return entry_point, parameters
