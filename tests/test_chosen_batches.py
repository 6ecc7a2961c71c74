"""Batches go by what a machine has, and a chain keeps those of its first generation wherever it goes on."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from components.families import memory
from components.families.language.architecture import parameter_count
from components.families.language.family import LanguageFamily
from components.families.language.memory import block_memory, needed_to_train
from components.recursion.loop import make_chain, run_chain
from components.recursion.peers import Peers
from components.recursion.records import Generation
from components.regimes import Regime
from components.store import Store, read_manifest
from tests.families import LENGTH, language
from tests.test_memory import machine

SMALL, LARGE = 2, 50
"""Blocks that a micro-batch may have on either machine."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> LanguageFamily:
    made = language(tmp_path_factory.mktemp("language"))
    return replace(made, decoding=replace(made.decoding, batch_size=None))


def with_room_for(family: LanguageFamily, blocks: int, root: Path, workers: int = 1) -> Path:
    """The files of a machine whose memory takes one worker, with a micro-batch of so many blocks."""
    size = family.size
    needed = needed_to_train(size, parameter_count(size), 0, workers, LENGTH, "fp32", "cpu").memory
    limit = needed + 2 * (blocks - 1) * block_memory(size, LENGTH)
    return machine(root, "0::/\n", {"memory.max": limit}, total=10**12)


def advance(family: LanguageFamily, store: Path, generations: int, peers: Peers = Peers()) -> list[Generation]:
    chain = make_chain(family, "a condition", Regime("replace"), "previous", 0)
    return list(islice(run_chain(chain, family, Store.open(str(store)), generations, peers), generations + 1))


def chosen(generation: Generation) -> tuple[int, int]:
    """Blocks of a micro-batch and prompts decoded together, as the manifests say."""
    fit, sample = (read_manifest(generation.directories[kind])["metrics"] for kind in ("fit", "sample"))
    return fit["chosen/micro_batch_size"], sample["chosen/prompts_at_once"]


def content(generation: Generation) -> dict[str, str]:
    """Digests of all that a generation left."""
    return {
        f"{kind}/{name}": entry["sha256"]
        for kind in ("fit", "sample", "measure")
        for name, entry in read_manifest(generation.directories[kind])["files"].items()
    }


@pytest.fixture
def on(family: LanguageFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves this process to a machine with room for micro-batches of so many blocks."""

    def move(blocks: int) -> None:
        monkeypatch.setattr(memory, "ROOT", with_room_for(family, blocks, tmp_path / f"machine-{blocks}"))

    return move


def test_a_chain_that_goes_on_on_another_machine_equals_one_that_stayed_bit_for_bit(
    family: LanguageFamily, tmp_path: Path, on: Callable[[int], None]
):
    on(SMALL)
    stayed = advance(family, tmp_path / "stayed", 2)
    advance(family, tmp_path / "moved", 0)
    on(LARGE)
    moved = advance(family, tmp_path / "moved", 2)
    other = advance(family, tmp_path / "other", 0)
    assert chosen(other[0]) != chosen(stayed[0])
    assert chosen(other[0])[0] > chosen(stayed[0])[0] == SMALL
    assert [content(one) for one in moved] == [content(one) for one in stayed]


def test_what_was_chosen_is_in_the_manifests_and_not_among_a_generations_numbers(
    family: LanguageFamily, tmp_path: Path, on: Callable[[int], None]
):
    on(SMALL)
    (first,) = advance(family, tmp_path, 0)
    assert chosen(first)[0] == SMALL
    assert not [name for name in first.metrics if "chosen" in name]


def test_what_the_settings_say_is_not_chosen(family: LanguageFamily, tmp_path: Path, on: Callable[[int], None]):
    on(SMALL)
    given = replace(
        family, recipe=replace(family.recipe, micro_batch_size=5), decoding=replace(family.decoding, batch_size=7)
    )
    (first,) = advance(given, tmp_path, 0)
    for kind in ("fit", "sample"):
        assert not [name for name in read_manifest(first.directories[kind])["metrics"] if "chosen" in name]


def serve(rank: int, family: LanguageFamily, folder: Path) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(os.getppid())}
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    memory.ROOT = folder / f"machine-{rank}"
    advance(family, folder / "store", 0, Peers(rank, 2))
    dist.destroy_process_group()
    os._exit(0)


@pytest.mark.timeout(180)
def test_two_workers_on_unlike_machines_take_what_fits_on_both(family: LanguageFamily, tmp_path: Path):
    for rank, blocks in enumerate((LARGE, SMALL)):
        with_room_for(family, blocks, tmp_path / f"machine-{rank}", workers=2)
    Store.open(str(tmp_path / "store"))
    group = multiprocessing.spawn(serve, (family, tmp_path), nprocs=2, join=False)
    try:
        while not group.join():
            pass
    finally:
        for process in group.processes:
            process.kill()
    (fit,), (sample,) = ((tmp_path / "store" / kind).iterdir() for kind in ("fit", "sample"))
    assert read_manifest(fit)["metrics"]["chosen/micro_batch_size"] == SMALL
    assert read_manifest(sample)["metrics"]["chosen/prompts_at_once"] >= 1
