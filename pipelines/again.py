"""The same command again, when nothing is left to do: what the study found, and where it is."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from components import tracking
from components.figures.table import shortened
from components.terminal import print_table, say
from pipelines.study import PROJECT

ROOMS = ("components", "pipelines")
NOT_SHOWN = {"store", "cluster", "dry_run"}
"""Settings that change nothing on a study's pages."""


def command_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of all code and of the settings that decide what a study's pages show."""
    digest = hashlib.sha256()
    shown = {name: value for name, value in settings.items() if name not in NOT_SHOWN}
    digest.update(json.dumps(shown, sort_keys=True, default=str).encode())
    files = [file for room in ROOMS for file in (PROJECT / room).rglob("*") if file.is_file()]
    for file in sorted(files):
        if "__pycache__" not in file.parts and file.suffix != ".so":
            digest.update(file.relative_to(PROJECT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def told_again(tracker: tracking.Tracking, identity: str, command: str) -> bool:
    """Say what the study found when it ended; False where it did not yet, or where this command would show it otherwise."""
    earlier = tracking.earlier(tracker, identity, command)
    if earlier is None:
        return False
    table = earlier.said["table"]
    print_table(earlier.said["title"], shortened(pd.DataFrame(table["rows"], columns=table["columns"])))
    for sentence in earlier.said["finding"]:
        say(sentence)
    say("Nothing was left to compute: this study has ended before.")
    say(f"Browse it with `make ui`: {earlier.address}")
    return True
