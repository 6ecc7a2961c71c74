"""What a result was computed with: in every manifest, without a name or a path of the machine, and on the page."""

import getpass
import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from components import environment
from components.environment import PACKAGES, Machine
from components.families.language import kernels
from components.recursion.loop import make_chain, run_chain
from components.recursion.machines import processors_of
from components.recursion.records import Chain, Generation
from components.regimes import Regime
from components.store import MANIFEST, Phase, Store, read_manifest
from components.store.manifest import _digest_of
from tests.families import gaussian
from tests.studies import PROJECT

EPYC = Machine("AMD EPYC (avx2)", "emulated_avx2")
XEON = Machine("Intel Xeon (avx2, avx512_f, avx512_bf16, amx_bf16)", "amx_bf16")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def finished(store: Store, kind: str, machines: list[Machine], **settings: str) -> Phase:
    inputs = {"kind": kind, "settings": settings, "made": len(list(store.root.rglob(MANIFEST)))}
    return store.finish(kind, inputs, store.begin(kind), {}, 1.0, machines)


def test_a_manifest_says_versions_processor_and_threads_and_its_digest_covers_them(store: Store) -> None:
    place = store.finish("fit", {}, store.begin("fit"), {}, 1.0).place
    described = read_manifest(place)["environment"]
    assert described["versions"].keys() == {"python", *PACKAGES, "zlib"}
    assert described["versions"]["torch"] == version("torch")
    assert described["threads"] == torch.get_num_threads()
    assert described["torch_cpu"] == torch.backends.cpu.get_cpu_capability()
    assert described["machines"] == [vars(environment.machine())]
    written = json.loads((place / MANIFEST).read_text())
    written["environment"]["machines"][0]["processor"] = "another"
    (place / MANIFEST).write_text(json.dumps(written))
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(place)


def test_a_manifest_names_no_host_no_user_and_no_path(store: Store) -> None:
    kernels.library()
    text = json.dumps(read_manifest(finished(store, "fit", []).place)["environment"])
    names = (socket.gethostname(), getpass.getuser(), str(Path.home()), str(PROJECT), sys.prefix)
    assert not [name for name in names if len(name) > 4 and name in text]
    assert "/" not in text


def test_workers_of_one_kind_are_said_once_and_unlike_ones_all(store: Store) -> None:
    alike, unlike = finished(store, "fit", [EPYC, EPYC]), finished(store, "fit", [EPYC, XEON, EPYC])
    assert read_manifest(alike.place)["environment"]["machines"] == [vars(EPYC)]
    assert read_manifest(unlike.place)["environment"]["machines"] == [vars(EPYC), vars(XEON)]


def test_a_manifest_older_than_this_is_read_and_its_processor_is_not_recorded(store: Store) -> None:
    phase = finished(store, "fit", [])
    written = read_manifest(phase.place)
    del written["environment"]
    (phase.place / MANIFEST).write_text(json.dumps(written | {"sha256": _digest_of(written)}))
    assert store.find("fit", written["inputs"]) == phase
    assert environment.processors(read_manifest(phase.place)) == ["not recorded"]


@pytest.mark.parametrize(
    ("able", "limit", "bf16", "fastest"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True, "amx_bf16": True}, "", "amx_bf16", "bf16"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, "", "avx512_bf16", "bf16"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": True}, "AVX512_CORE_BF16", "avx512_bf16", "bf16"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": True}, "AVX2", None, "fp32"),
        ({"avx2": True}, "", None, "fp32"),
        ({"neon": True, "bf16": True}, "", None, "fp32"),
    ],
)
def test_a_cpus_arithmetic_goes_by_its_instructions_and_by_what_onednn_may_use_of_them(
    able: dict[str, bool], limit: str, bf16: str | None, fastest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    found = environment.cpu.__wrapped__()
    emulated = f"emulated_{torch.backends.cpu.get_cpu_capability().lower()}"
    assert (found.bf16, found.fastest) == (bf16 or emulated, fastest)
    assert all(name in found.processor for name in able)


@pytest.mark.parametrize(
    ("compiler", "kernels", "ending"), [("c++", "compiled", ""), ("false", "not compiled", "_without_kernels")]
)
def test_kernels_that_cannot_be_compiled_are_described_and_are_another_arithmetic(
    compiler: str, kernels: str, ending: str, tmp_path: Path
) -> None:
    script = (
        "from components import environment; from components.families.language import kernels; import json\n"
        "print(json.dumps([kernels.worker().bf16, environment.cpu().bf16, environment.environment()['kernels']]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True,
        env=os.environ | {"CXX": compiler, "XDG_CACHE_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    worker, cpu, described = json.loads(ended.stdout)
    assert (worker, described) == (cpu + ending, kernels)


def test_a_studys_processors_are_those_of_its_phases_with_the_arithmetic_where_bf16_was_used(store: Store) -> None:
    chain = Chain("language", "one", 0, "0" * 64, {})

    def generation(index: int, machine: Machine, **settings: str) -> Generation:
        kinds = ("compose", "fit", "sample", "measure")
        of_fit = {kind: settings if kind == "fit" else {} for kind in kinds}
        places = {kind: finished(store, kind, [machine], **of_fit[kind]).place for kind in kinds}
        return Generation(chain, index, places, {}, {})

    first = generation(0, XEON, arithmetic="amx_bf16")
    assert processors_of([first], store) == [f"{XEON.processor}, bf16 by amx_bf16"]
    assert processors_of([first, generation(1, EPYC)], store) == [EPYC.processor, f"{XEON.processor}, bf16 by amx_bf16"]


def test_a_chain_in_memory_was_computed_on_the_cpu(store: Store, tmp_path: Path) -> None:
    family = gaussian(tmp_path)
    chain = make_chain(family, "one", Regime("replace"), "scratch", 0)
    generations = list(run_chain(chain, family, store, 2))
    assert processors_of(generations, store) == [environment.cpu().processor]
