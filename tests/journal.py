"""What a store's journal says was computed."""

import json
from pathlib import Path


def computed(store: Path) -> list[tuple[str, str]]:
    """Kind and identity of every phase that was computed, in order; one that was computed twice is there twice."""
    journal = store / "journal.jsonl"
    entries = map(json.loads, journal.read_text().splitlines()) if journal.exists() else ()
    return [(entry["kind"], entry["identity"]) for entry in entries]
