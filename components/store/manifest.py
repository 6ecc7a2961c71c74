"""What a finished phase says of itself: its inputs, its numbers, and the digest of every file."""

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from components.environment import Machine, environment

MANIFEST = "manifest.json"


def identity(kind: str, inputs: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of a phase's kind and of all that determines its result, as canonical JSON."""
    return hashlib.sha256(json.dumps([kind, inputs], sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_manifest(
    directory: Path,
    kind: str,
    inputs: Mapping[str, Any],
    metrics: Mapping[str, float],
    seconds: float,
    machines: Sequence[Machine] = (),
) -> dict[str, Any]:
    """Describe the files in `directory`; they and the manifest have reached the disk when this returns.

    Args:
        machines: what the workers computed with; this process's if not given.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    manifest = {
        "kind": kind,
        "identity": identity(kind, inputs),
        "inputs": inputs,
        "files": {
            path.relative_to(directory).as_posix(): {"sha256": digest(path), "bytes": path.stat().st_size}
            for path in files
        },
        "metrics": dict(metrics),
        "seconds": seconds,
        "environment": environment(machines),
        "created": datetime.now(UTC).isoformat(),
    }
    manifest["sha256"] = _digest_of(manifest)
    (directory / MANIFEST).write_bytes(to_json(manifest))
    for path in [*files, directory / MANIFEST]:
        flush(path)
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a finished phase: kind, identity, inputs, files, metrics, seconds, environment, created, sha256.

    An older one has no `environment`.

    Raises:
        ValueError: it is not as it was written.
    """
    return parse_manifest((directory / MANIFEST).read_bytes(), str(directory / MANIFEST))


def parse_manifest(written: bytes, name: str) -> dict[str, Any]:
    """As `read_manifest`, out of a manifest's bytes; `name` says whose they are."""
    content: dict[str, Any] = json.loads(written)
    if not isinstance(content, dict) or content.get("sha256") != _digest_of(content):
        raise ValueError(f"{name} is damaged")
    return content


def damaged(directory: Path) -> list[str]:
    """Names of files in a phase's folder that are not as they were written: missing, or with another digest."""
    try:
        files = read_manifest(directory)["files"].items()
        return [name for name, entry in files if digest(directory / name) != entry["sha256"]]
    except (ValueError, KeyError):
        return [MANIFEST]


def to_json(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


def write_array(path: Path, array: np.ndarray) -> None:
    """`numpy.save`, whose own error on a full disk does not say what it is."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    path.write_bytes(buffer.getbuffer())


def digest(path: Path) -> str:
    if not path.exists():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """fsync a file or a folder: a rename must not reach the disk before what it renames."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_of(content: Mapping[str, Any]) -> str:
    without = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(without, sort_keys=True).encode()).hexdigest()
