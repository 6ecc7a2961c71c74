"""Which kinds of processor a study's generations were computed on, as the manifests of their phases say."""

from collections.abc import Iterable, Mapping
from typing import Any

from components.environment import processors
from components.recursion.records import Generation
from components.recursion.trajectory import manifest_of
from components.store import MANIFEST, Store, read_manifest

TIMED = ("fit", "sample", "measure")
"""The phases whose numbers depend on the processor."""


def processors_of(generations: Iterable[Generation], store: Store) -> list[str]:
    """The kinds of processor, each once and in order; with the arithmetic of bf16 where a phase used it.

    Such as ["AMD EPYC (avx2)", "Intel Xeon (avx2, avx512_f, amx_bf16), bf16 by amx_bf16"]. More than one means that a
    comparison may be between processors. Phases of an older version count as "not recorded".
    """
    found: dict[str, set[str]] = {}
    for manifest in _manifests(generations, store):
        for processor in processors(manifest):
            arithmetic = manifest["inputs"].get("settings", {}).get("arithmetic")
            found.setdefault(processor, set()).update([arithmetic] if arithmetic else [])
    return [
        f"{processor}, bf16 by {' and '.join(sorted(ways))}" if ways else processor
        for processor, ways in sorted(found.items())
    ]


def _manifests(generations: Iterable[Generation], store: Store) -> Iterable[Mapping[str, Any]]:
    in_memory = {}
    for generation in generations:
        places = [place for kind, place in generation.directories.items() if kind in TIMED]
        yield from (read_manifest(place) for place in places if (place / MANIFEST).exists())
        if not places:
            in_memory[generation.chain.identity] = generation.chain
    for chain in in_memory.values():
        if manifest := manifest_of(chain, store):
            yield manifest
