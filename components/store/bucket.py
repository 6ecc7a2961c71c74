"""A store's bucket, through any S3 API that keeps conditions on writes and on deletions (AWS, SeaweedFS from 4.18).

    <prefix>/<kind>/<identity>/<digest>/...        the files of a phase, under the digest of its manifest
    <prefix>/<kind>/<identity>/manifest.json       written last, and once: with it the phase is finished
    <prefix>/locks/...                             who computes what (`lease`)

Where two computed the same phase after all, the manifest that came first stands, and its own files with it. Endpoint and
credentials are those of the environment (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, a profile, a machine's role): never
settings, which are shown and kept.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.config.errors import BadInput
from components.store.manifest import MANIFEST, digest, parse_manifest

SCHEME = "s3"
CONNECT_SECONDS = 5
PATIENT = {"tries": 17, "read_seconds": 60}  # boto3 waits between tries, 20 seconds at most: some two minutes in all
IMPATIENT = {"tries": 3, "read_seconds": 10}  # two seconds
ABSENT = ("404", "NoSuchKey")
UNMET = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


class StoreUnavailable(RuntimeError):
    """The bucket does not answer, or refuses. What was finished is safe: the same command continues."""


class DamagedPhase(RuntimeError):
    """A phase whose files are not as they were written. It has been taken out, to be computed again."""


@dataclass(frozen=True)
class Bucket:
    """Where a store is, in S3. `prefix` has no slash at either end.

    `patient`: whether a server that is away is waited for, two minutes long, or given up within seconds.
    """

    name: str
    prefix: str
    patient: bool = True

    @classmethod
    def parse(cls, path: str) -> "Bucket":
        """`s3://bucket/prefix`.

        Raises:
            BadInput: it names no bucket, or holds credentials, which would be kept and shown with the settings.
        """
        parts = urlsplit(path)
        if parts.username or parts.password or "@" in parts.netloc or parts.query:
            shown = f"{parts.scheme}://***@{parts.hostname or ''}{parts.path}"
            raise BadInput(
                "store.path", shown, "credentials do not belong into settings; set AWS_ACCESS_KEY_ID and so on"
            )
        prefix = parts.path.strip("/")
        if parts.scheme != SCHEME or not parts.netloc or ".." in prefix.split("/"):
            raise BadInput("store.path", path, "a store is a folder or s3://bucket/prefix")
        return cls(parts.netloc, prefix)

    @property
    def impatient(self) -> "Bucket":
        """The same bucket, for those who can come back later."""
        return replace(self, patient=False)

    @property
    def uri(self) -> str:
        return f"{SCHEME}://{self.name}/{self.prefix}".rstrip("/")

    @property
    def folder_name(self) -> str:
        """A name for a folder on a machine that goes with this bucket."""
        return re.sub(r"[^\w.\-]", "_", f"{self.name}/{self.prefix}")

    def check(self, probe: str) -> None:
        """Prove that an object can be written, read and deleted here, and that the server keeps the conditions of leases.

        Raises:
            BadInput: it cannot be, or the server ignores a condition.
        """
        try:
            try:
                ignored = self._ignored(probe)
            finally:
                self.take_out(probe)
        except StoreUnavailable as error:
            raise BadInput(
                "store.path", self.uri, f"{error}; check bucket, AWS_ENDPOINT_URL_S3 and credentials"
            ) from None
        if ignored:
            remedy = f"this server ignores {ignored}, without which two machines could hold the same lock"
            raise BadInput(
                "store.path", self.uri, f"{remedy}; take one that keeps it, such as AWS S3 or SeaweedFS 4.18"
            )

    def _ignored(self, probe: str) -> str | None:
        """The first condition that the server does not keep, or None. Leaves the object `probe` behind."""
        first = self.put_new(probe, b"1")
        if first is None or self.put_new(probe, b"2") or self.get(probe) != b"1":
            return "If-None-Match on a write"
        second = self.put_over(probe, b"3", first)
        if second is None or self.put_over(probe, b"4", first) or self.get(probe) != b"3":
            return "If-Match on a write"
        self.take_out(probe, first)
        if self.get(probe) != b"3":
            return "If-Match on a deletion"
        self.take_out(probe, second)
        return None if self.get(probe) is None else "If-Match on a deletion"

    def manifest(self, kind: str, name: str) -> dict[str, Any] | None:
        """What stands under an identity; nothing where nothing whole does."""
        key = f"{kind}/{name}/{MANIFEST}"
        written = self.get(key)
        if written is None:
            return None
        try:
            return parse_manifest(written, f"{self.uri}/{key}")
        except ValueError:
            self.take_out(key)
            return None

    def publish(self, directory: Path, manifest: dict[str, Any]) -> bool:
        """Put a phase's files and then its manifest; whether this one now stands there, and not one that came first."""
        kind, name = manifest["kind"], manifest["identity"]
        folder = self._files(manifest)
        for file in manifest["files"]:
            self._upload(directory / file, f"{folder}/{file}")
        key = f"{kind}/{name}/{MANIFEST}"
        if not self.put_new(key, (directory / MANIFEST).read_bytes()):
            standing = self.manifest(kind, name)
            if standing is None or standing["sha256"] != manifest["sha256"]:
                return False
        for other in self.names(f"{kind}/{name}/"):  # what uploads that were cut off have left
            if other != key and not other.startswith(f"{folder}/"):
                self.take_out(other)
        return True

    def bring(self, directory: Path, manifest: dict[str, Any], files: list[str]) -> None:
        """Download files of a phase into its folder, each at once whole.

        Raises:
            DamagedPhase: one is missing or not as it was written; the phase is no longer in the bucket.
        """
        folder = self._files(manifest)
        for file in files:
            target, draft = directory / file, directory / f"{file}.part"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._download(f"{folder}/{file}", draft) or digest(draft) != manifest["files"][file]["sha256"]:
                self.take_out(f"{manifest['kind']}/{manifest['identity']}/{MANIFEST}")
                raise DamagedPhase(f"{self.uri}/{folder}/{file} is damaged: computing it again")
            draft.replace(target)

    def location(self, manifest: dict[str, Any]) -> str:
        """Where a phase's files are, as a URI."""
        return f"{self.uri}/{self._files(manifest)}"

    def drop(self, kind: str, name: str) -> None:
        """Take out a phase: its manifest first."""
        self.take_out(f"{kind}/{name}/{MANIFEST}")
        for key in self.names(f"{kind}/{name}/"):
            self.take_out(key)

    def get(self, key: str) -> bytes | None:
        with self._answering(f"read {key}"):
            try:
                return bytes(self._client.get_object(Bucket=self.name, Key=self._key(key))["Body"].read())
            except _client_error() as error:
                if _code(error) in ABSENT:
                    return None
                raise

    def put(self, key: str, content: bytes) -> None:
        with self._answering(f"write {key}"):
            self._client.put_object(Bucket=self.name, Key=self._key(key), Body=content)

    def put_new(self, key: str, content: bytes) -> str | None:
        """Write an object that is not there; its tag, or nothing where it is there."""
        return self._put_if(key, content, IfNoneMatch="*")

    def put_over(self, key: str, content: bytes, tag: str) -> str | None:
        """Write an object over the one with this tag; its own tag, or nothing where another stands there now."""
        return self._put_if(key, content, IfMatch=tag)

    def head(self, key: str) -> tuple[str, float] | None:
        """An object's tag, and the seconds since it was written, both by the server's clock."""
        with self._answering(f"look at {key}"):
            try:
                found = self._client.head_object(Bucket=self.name, Key=self._key(key))
            except _client_error() as error:
                if _code(error) in ABSENT:
                    return None
                raise
        now = _time_of(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return str(found["ETag"]), now - found["LastModified"].timestamp()

    def take_out(self, key: str, tag: str | None = None) -> None:
        """Delete an object; with a `tag`, only that one."""
        with self._answering(f"delete {key}"):
            try:
                self._client.delete_object(Bucket=self.name, Key=self._key(key), **({"IfMatch": tag} if tag else {}))
            except _client_error() as error:
                if _code(error) not in (*ABSENT, *UNMET):
                    raise

    def names(self, start: str) -> list[str]:
        """The keys that begin with `start`, without the prefix."""
        with self._answering(f"list {start}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self._key(start))
            found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return [key[len(self._key("")) :] for key in found]

    def _put_if(self, key: str, content: bytes, **condition: str) -> str | None:
        with self._answering(f"write {key}"):
            try:
                written = self._client.put_object(Bucket=self.name, Key=self._key(key), Body=content, **condition)
                return str(written["ETag"])
            except _client_error() as error:
                if _code(error) not in (*UNMET, *ABSENT):
                    raise
            # Sent twice, since the first answer was lost: then what stands there is ours.
            found = self.head(key)
            return found[0] if found and self.get(key) == content else None

    def _upload(self, file: Path, key: str) -> None:
        with self._answering(f"write {key}"):
            self._client.upload_file(str(file), self.name, self._key(key))

    def _download(self, key: str, file: Path) -> bool:
        with self._answering(f"read {key}"):
            try:
                self._client.download_file(self.name, self._key(key), str(file))
            except _client_error() as error:
                if _code(error) in ABSENT:
                    return False
                raise
        return True

    def _files(self, manifest: dict[str, Any]) -> str:
        return f"{manifest['kind']}/{manifest['identity']}/{manifest['sha256'][:16]}"

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @property
    def _client(self) -> Any:
        return _client(**(PATIENT if self.patient else IMPATIENT))

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise StoreUnavailable(f"{self.uri}: could not {what}: {reason}") from error


@cache
def _client(tries: int, read_seconds: int) -> Any:
    """One a process: making one takes a third of a second, and it serves all threads."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": tries}
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=read_seconds, retries=retries)
    return boto3.session.Session().client(SCHEME, config=config)


def _client_error() -> type[Exception]:
    from botocore.exceptions import ClientError

    return ClientError


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _time_of(header: str) -> float:
    return parsedate_to_datetime(header).timestamp()
