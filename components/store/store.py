"""Finding, beginning, finishing and holding phases: on a folder that all machines share, or over a bucket (package docstring)."""

import json
import logging
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from components.config.errors import BadInput
from components.environment import Machine
from components.store.bucket import Bucket, DamagedPhase, StoreUnavailable
from components.store.lease import SECONDS_TO_LIVE, Lease
from components.store.manifest import MANIFEST, damaged, digest, flush, identity, read_manifest, to_json, write_manifest
from components.store.owner import lives, own_name

logger = logging.getLogger(__name__)

WEIGHTS = ".safetensors"
OF_A_STORE = ("unfinished", "locks", "chains")
"""Folders that every store on a disk has."""
Lock = FileLock | Lease


@dataclass(frozen=True)
class Phase:
    """A finished phase: where its files lie and what its manifest says of it."""

    identity: str
    place: Path
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Store:
    """A folder on a file system that all workers of a study share; or, with a `bucket`, this machine's copy of parts of it."""

    root: Path
    bucket: Bucket | None = None

    @classmethod
    def open(cls, path: str, cache: str | None = None) -> "Store":
        """Make the folder if need be, prove that it takes a file, and clear what dead processes left unfinished.

        Raises:
            BadInput: it is no folder or bucket, or nothing can be written there.
        """
        store = cls.at(path, cache)
        store.make_folder()
        store._clear_unfinished()
        if store.bucket:
            store.bucket.impatient.check(f"unfinished/{own_name('probe')}")
        return store

    @classmethod
    def at(cls, path: str, cache: str | None = None) -> "Store":
        """The store that `store.path` and `store.cache` name, without a look at it.

        Raises:
            BadInput: they name none.
        """
        if "://" not in path:
            return cls(Path(path).expanduser().absolute())
        bucket = Bucket.parse(path)
        caches = Path(cache).expanduser().absolute() if cache else user_cache_path("model-collapse")
        return cls(caches / bucket.folder_name, bucket)

    @classmethod
    def look_at(cls, path: str) -> "Store":
        """A store that is there already, to be read: nothing is made, written or held.

        Raises:
            BadInput: there is none.
        """
        store = cls.at(path)
        if store.bucket:
            store = replace(store, bucket=store.bucket.impatient)
        remedy = "no store is there; give the store.path of the study, from the project's folder if it is relative"
        try:
            if store.bucket:
                there = any(store.bucket.names(f"{folder}/") for folder in ("progress", "studies"))
            else:
                there = all((store.root / folder).is_dir() for folder in OF_A_STORE)
        except StoreUnavailable as error:
            raise BadInput("store.path", path, f"{error}; check bucket, AWS_ENDPOINT_URL_S3 and credentials") from None
        if not there:
            raise BadInput("store.path", path, remedy)
        return store

    def make_folder(self) -> None:
        """This machine's part.

        Raises:
            BadInput: nothing can be written there.
        """
        try:
            for name in OF_A_STORE:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / "unfinished" / own_name("probe")
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            field = "store.cache" if self.bucket else "store.path"
            raise BadInput(field, self.root, f"{reason}; give a folder that can be written to") from None

    def check_room(self, needed: int) -> None:
        """Refuse what the disk has no room for. (A bucket has no end; what of it a machine needs at once is not known.)

        Args:
            needed: bytes that will be added.

        Raises:
            BadInput: less is free.
        """
        if self.bucket:
            return
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise BadInput(
                "store.path",
                self.root,
                f"what is missing may need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room",
            )

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Phase | None:
        """The finished phase that these inputs determine, its files checked against their digests; or nothing.

        Of a phase in a bucket the manifest is here then, its files where they were made or brought (`bring`).
        """
        directory = self.root / kind / identity(kind, inputs)
        here = self._whole(directory)
        manifest = read_manifest(directory) if here else None
        if self.bucket:
            standing = self.bucket.manifest(kind, directory.name)
            if standing is None and manifest and not self.bucket.publish(directory, manifest):
                standing = self.bucket.manifest(kind, directory.name)  # another machine's came first this moment
            if standing and standing != manifest:
                if manifest:
                    self._set_aside(directory, "replaced")
                directory.mkdir(parents=True, exist_ok=True)
                self._write(directory / MANIFEST, to_json(standing))
                manifest = standing
        if manifest is None:
            return None
        return Phase(directory.name, directory, manifest["metrics"], manifest["seconds"])

    def bring(self, place: Path, weights: bool = True) -> None:
        """Make sure that a finished phase's files are on this machine, with `weights` or without.

        Raises:
            DamagedPhase: they are not as they were written; the phase will be computed again.
        """
        if self.bucket is None:
            return
        kind, name = place.parts[-2:]
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / "locks" / f"bring-{kind}-{name}.lock"):
            manifest = self.bucket.manifest(kind, name)  # what is here may be of a phase that was computed again since
            if manifest is None:
                raise DamagedPhase(f"{kind} {name[:12]} is no longer in {self.bucket.uri}: computing it again")
            self._write(place / MANIFEST, to_json(manifest))
            wanted = {file: entry for file, entry in manifest["files"].items() if weights or not file.endswith(WEIGHTS)}
            lacking = [file for file, entry in wanted.items() if digest(place / file) != entry["sha256"]]
            self.bucket.bring(place, manifest, lacking)

    def location(self, place: Path) -> str:
        """A finished phase's own URI, for those who look at it from elsewhere."""
        return self.bucket.location(read_manifest(place)) if self.bucket else place.resolve().as_uri()

    def lock(self, kind: str, inputs: Mapping[str, Any]) -> Lock:
        """What holds a phase for oneself: whoever else wants the same one waits for it, then finds it finished."""
        return self._lock(f"{kind}-{identity(kind, inputs)}")

    @contextmanager
    def only_one(self, study: str) -> Iterator[None]:
        """Hold a study for oneself: two processes that write the same study to MLflow would write it twice.

        Raises:
            BadInput: it is running already.
        """
        lock = self._lock(f"study-{study}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            where = self.bucket.uri if self.bucket else self.root
            remedy = "this very study is running on it already; stop that one, or wait for its end"
            if self.bucket:
                remedy += f" (one that was killed on another machine counts as running for {SECONDS_TO_LIVE} seconds)"
            raise BadInput("store.path", where, remedy) from None
        try:
            yield
        finally:
            lock.release()

    def begin(self, kind: str) -> Path:
        """A new folder for the files of a phase in progress."""
        directory = self.root / "unfinished" / own_name(kind)
        directory.mkdir()
        return directory

    def finish(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        unfinished: Path,
        metrics: Mapping[str, float],
        seconds: float,
        machines: Sequence[Machine] = (),
    ) -> Phase:
        """Put a phase under its identity, atomically, with a manifest of its files, inputs, numbers and machines.

        Where the same phase stands there already, whole, that one is returned, with its own numbers.
        """
        manifest = write_manifest(unfinished, kind, inputs, metrics, seconds, machines)
        directory = self.root / kind / manifest["identity"]
        directory.parent.mkdir(exist_ok=True)
        if directory.exists() and (self.bucket or not (directory / MANIFEST).exists()):
            # Files whose manifest is gone; or, over a bucket, what was brought of a phase that the bucket has lost.
            self._set_aside(directory, "replaced")
        standing = None
        try:
            unfinished.rename(directory)
        except OSError:
            standing = self.find(kind, inputs)  # a chain beside this one may have finished the same phase first
            if standing is None:
                unfinished.rename(directory)
            else:
                shutil.rmtree(unfinished)
        flush(directory.parent)
        self._note({"kind": kind, "identity": directory.name, "seconds": seconds, "created": manifest["created"]})
        if standing:
            return standing
        if self.bucket and not self.bucket.publish(directory, manifest):
            self._set_aside(directory, "replaced")  # another machine's came first: that one stands
            found = self.find(kind, inputs)
            if found is None:
                raise DamagedPhase(f"{kind} {directory.name[:12]} is no longer in {self.bucket.uri}")
            return found
        return Phase(directory.name, directory, dict(metrics), seconds)

    def drop(self, kind: str, inputs: Mapping[str, Any]) -> None:
        """Take out a phase that another one has replaced."""
        directory = self.root / kind / identity(kind, inputs)
        if self.bucket:
            self.bucket.drop(kind, directory.name)
        if directory.exists():
            shutil.rmtree(self._set_aside(directory, "dropped"))

    def write_json(self, name: str, content: Any) -> None:
        """Replace a small file below the root atomically."""
        if self.bucket:
            self.bucket.put(name, to_json(content))
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._write(target, to_json(content))

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote, wherever that was; nothing if it never did."""
        if self.bucket:
            written = self.bucket.get(name)
            return json.loads(written) if written else None
        return json.loads((self.root / name).read_text()) if (self.root / name).exists() else None

    def json_names(self, folder: str) -> list[str]:
        """Names of the small files below a folder, as `read_json` takes them; in order."""
        if self.bucket:
            found = self.bucket.names(f"{folder}/")
        else:
            found = [path.relative_to(self.root).as_posix() for path in (self.root / folder).rglob("*.json")]
        return sorted(name for name in found if name.endswith(".json"))

    def remove(self, folder: str) -> None:
        """Take out a folder of small files below the root."""
        if self.bucket:
            for name in self.bucket.names(f"{folder}/"):
                self.bucket.take_out(name)
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def pull(self, folder: str) -> Path:
        """A folder below the root of files that change, such as a sweep's books: as they were last pushed."""
        if self.bucket:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for name in self.bucket.names(f"{folder}/"):
                if content := self.bucket.get(name):
                    self._write(self.root / name, content)
        return self.root / folder

    def push(self, folder: str) -> None:
        """Keep the files of such a folder as they are now. Its one writer calls this after each change."""
        if self.bucket:
            for file in (self.root / folder).iterdir():
                self.bucket.put(f"{folder}/{file.name}", file.read_bytes())

    def _whole(self, directory: Path) -> bool:
        """Whether a phase is here with all its files as they were written; what is damaged is set aside."""
        if not (directory / MANIFEST).exists():
            return False
        wrong = damaged(directory)
        if wrong and self.bucket and all(name != MANIFEST and not (directory / name).exists() for name in wrong):
            return False  # not brought
        if wrong:
            text = "%s %s is damaged (%s): computing it again"
            logger.warning(text, directory.parent.name, directory.name[:12], ", ".join(wrong))
            self._set_aside(directory, "damaged")
        return not wrong

    def _set_aside(self, directory: Path, why: str) -> Path:
        aside = self.root / "unfinished" / own_name(f"{why}-{directory.parent.name}")
        directory.rename(aside)
        return aside

    def _write(self, target: Path, content: bytes) -> None:
        draft = self.root / "unfinished" / own_name("json")
        draft.write_bytes(content)
        flush(draft)
        draft.replace(target)

    def _note(self, line: Mapping[str, Any]) -> None:
        with (self.root / "journal.jsonl").open("a") as journal:
            journal.write(json.dumps(line) + "\n")
        if self.bucket:
            self.bucket.put(f"journal/{line['created']}~{line['kind']}~{line['identity']}.json", to_json(line))

    def _lock(self, name: str) -> Lock:
        if self.bucket:
            return Lease(self.bucket, f"locks/{name}.json", own_name("lease"), lives)
        return FileLock(self.root / "locks" / f"{name}.lock")

    def _clear_unfinished(self) -> None:
        for path in (self.root / "unfinished").iterdir():
            host, process, *_ = [*path.name.split("~"), ""]
            if host != socket.gethostname() or not process.isdigit():
                continue  # another machine's, or not ours at all
            if not lives(path.name):
                # Another start may be clearing at this moment.
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
