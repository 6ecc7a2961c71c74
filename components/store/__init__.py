"""The store: every finished phase in a folder of its own, named by what determined it.

    <root>/<kind>/<identity>/   the phase's files and `manifest.json`
    <root>/chains/<identity>/   one small file a generation that points to its phases
    <root>/journal.jsonl        one line for every phase that was computed, and when
    <root>/unfinished/          work in progress; a crash leaves it here, never among the finished

A phase appears under its identity by one rename, after its files and their digests have reached the disk, so
whatever stands there is whole. What is damaged later (a flipped bit, a truncated file) shows in its digests and is
computed again.
"""

import hashlib
import io
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock, Timeout

from components.config.errors import BadInput

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def identity(kind: str, inputs: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of a phase's kind and of all that determines its result, as canonical JSON."""
    return hashlib.sha256(json.dumps([kind, inputs], sort_keys=True, allow_nan=False).encode()).hexdigest()


@dataclass(frozen=True)
class Phase:
    """A finished phase: where its files lie and what its manifest says of it."""

    identity: str
    place: Path
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Store:
    """A folder on a file system that all workers of a study share."""

    root: Path

    @classmethod
    def open(cls, path: str) -> "Store":
        """Make the folder if need be, prove that it takes a file, and clear what dead processes left unfinished.

        Raises:
            BadInput: it is no folder, or nothing can be written there.
        """
        if "://" in path:
            raise BadInput("store.path", path, "only folders are supported; give a path that all nodes share")
        store = cls(Path(path).expanduser().absolute())
        try:
            for name in ("unfinished", "locks", "chains"):
                (store.root / name).mkdir(parents=True, exist_ok=True)
            probe = store.root / "unfinished" / _own_name("probe")
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BadInput("store.path", path, f"{reason}; give a folder that can be written to") from None
        store._clear_unfinished()
        return store

    def check_room(self, needed: int) -> None:
        """Refuse what the disk has no room for.

        Args:
            needed: bytes that will be added.

        Raises:
            BadInput: less is free.
        """
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise BadInput(
                "store.path",
                self.root,
                f"what is missing may need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room",
            )

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Phase | None:
        """The finished phase that these inputs determine, its files checked against their digests; or nothing."""
        directory = self.root / kind / identity(kind, inputs)
        if not (directory / MANIFEST).exists():
            return None
        try:
            manifest = read_manifest(directory)
            files = manifest["files"].items()
            damaged = [name for name, entry in files if _digest(directory / name) != entry["sha256"]]
        except (ValueError, KeyError):
            damaged = [MANIFEST]
        if damaged:
            logger.warning("%s %s is damaged (%s): computing it again", kind, directory.name[:12], ", ".join(damaged))
            directory.rename(self.root / "unfinished" / _own_name(f"damaged-{kind}"))
            return None
        return Phase(directory.name, directory, manifest["metrics"], manifest["seconds"])

    def lock(self, kind: str, inputs: Mapping[str, Any]) -> FileLock:
        """What holds a phase for oneself: whoever else wants the same one waits for it, then finds it finished."""
        return FileLock(self.root / "locks" / f"{kind}-{identity(kind, inputs)}.lock")

    @contextmanager
    def only_one(self, study: str) -> Iterator[None]:
        """Hold a study for oneself: two processes that write the same study to MLflow would write it twice.

        Raises:
            BadInput: it is running already.
        """
        try:
            with FileLock(self.root / "locks" / f"study-{study}.lock", timeout=0):
                yield
        except Timeout:
            raise BadInput(
                "store.path", self.root, "this very study is running on it already; stop that one, or wait for its end"
            ) from None

    def begin(self, kind: str) -> Path:
        """A new folder for the files of a phase in progress."""
        directory = self.root / "unfinished" / _own_name(kind)
        directory.mkdir()
        return directory

    def finish(
        self, kind: str, inputs: Mapping[str, Any], unfinished: Path, metrics: Mapping[str, float], seconds: float
    ) -> Phase:
        """Put a phase under its identity, atomically, with a manifest of its files, inputs and numbers."""
        name = identity(kind, inputs)
        files = sorted(path for path in unfinished.rglob("*") if path.is_file())
        manifest = {
            "kind": kind,
            "identity": name,
            "inputs": inputs,
            "files": {
                str(path.relative_to(unfinished)): {"sha256": _digest(path), "bytes": path.stat().st_size}
                for path in files
            },
            "metrics": dict(metrics),
            "seconds": seconds,
            "created": datetime.now(UTC).isoformat(),
        }
        manifest["sha256"] = _manifest_digest(manifest)
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for path in [*files, unfinished / MANIFEST]:
            _flush(path)
        directory = self.root / kind / name
        directory.parent.mkdir(exist_ok=True)
        try:
            unfinished.rename(directory)
        except OSError:
            if not (directory / MANIFEST).exists():
                raise
            shutil.rmtree(unfinished)  # a chain beside this one finished the same phase first
        _flush(directory.parent)
        line = {"kind": kind, "identity": name, "seconds": seconds, "created": manifest["created"]}
        with (self.root / "journal.jsonl").open("a") as journal:
            journal.write(json.dumps(line) + "\n")
        return Phase(name, directory, dict(metrics), seconds)

    def drop(self, kind: str, inputs: Mapping[str, Any]) -> None:
        """Take out a phase that another one has replaced."""
        directory = self.root / kind / identity(kind, inputs)
        gone = self.root / "unfinished" / _own_name(f"dropped-{kind}")
        directory.rename(gone)
        shutil.rmtree(gone)

    def write_json(self, name: str, content: Any) -> None:
        """Replace a small file below the root atomically."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = self.root / "unfinished" / _own_name("json")
        draft.write_text(json.dumps(content, indent=1, sort_keys=True))
        _flush(draft)
        draft.replace(target)

    def _clear_unfinished(self) -> None:
        for path in (self.root / "unfinished").iterdir():
            host, process, started, *_ = [*path.name.split("~"), "", ""]
            if host != socket.gethostname() or not process.isdigit():
                continue  # another machine's, or not ours at all
            if not (psutil.pid_exists(int(process)) and _start_of(int(process)) == started):
                # Another start may be clearing at this moment.
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a finished phase: kind, identity, inputs, files, metrics, seconds, created.

    Raises:
        ValueError: it is not as it was written.
    """
    content: dict[str, Any] = json.loads((directory / MANIFEST).read_bytes())
    if content.pop("sha256", None) != _manifest_digest(content):
        raise ValueError(f"{directory / MANIFEST} is damaged")
    return content


def write_array(path: Path, array: np.ndarray) -> None:
    """`numpy.save`, whose own error on a full disk does not say what it is."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    path.write_bytes(buffer.getbuffer())


def _manifest_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _own_name(what: str) -> str:
    """A name that says whose it is, so that another process can tell whether its owner still lives."""
    process = os.getpid()
    return f"{socket.gethostname()}~{process}~{_start_of(process)}~{what}~{uuid.uuid4().hex[:12]}"


def _start_of(process: int) -> str:
    try:
        return f"{psutil.Process(process).create_time():.1f}"
    except psutil.NoSuchProcess:
        return f"gone at {time.time()}"


def _digest(path: Path) -> str:
    if not path.exists():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """fsync a file or a folder: a rename must not reach the disk before what it renames."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
