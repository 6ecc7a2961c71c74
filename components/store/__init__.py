"""The store: every finished phase in a folder of its own, named by what determined it.

    <root>/<kind>/<identity>/   the phase's files and `manifest.json`
    <root>/chains/<identity>/   one small file a generation that points to its phases
    <root>/progress/            what each study says of itself while it runs (`heartbeat`)
    <root>/precision/           which precision each study was begun in (`families.precision`)
    <root>/journal.jsonl        one line for every phase that was computed, and when
    <root>/unfinished/          work in progress; a crash leaves it here, never among the finished

A phase appears under its identity by one rename, after its files and their digests have reached the disk, so
whatever stands there is whole. What is damaged later (a flipped bit, a truncated file) shows in its digests and is
computed again.

`s3://bucket/prefix` is a store, too: then the bucket is the truth, and the root a folder on each machine where phases
are computed before they go there, and where those that are read are brought (`bucket`).
"""

from components.store.bucket import DamagedPhase, StoreUnavailable
from components.store.heartbeat import Heartbeat, Told, is_running, read_heartbeats
from components.store.manifest import MANIFEST, identity, read_manifest, write_array
from components.store.store import Lock, Phase, Store

__all__ = [
    "MANIFEST",
    "DamagedPhase",
    "Heartbeat",
    "Lock",
    "Phase",
    "Store",
    "StoreUnavailable",
    "Told",
    "identity",
    "is_running",
    "read_heartbeats",
    "read_manifest",
    "write_array",
]
