"""Chains a minute on one group of workers and on two, and whether the simulation foresees the second run from the first.

The same study runs twice from nothing. What the model needs is read out of the first run's store alone; what it then says
of two groups is held against the second run.
"""

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from itertools import pairwise
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import record
from benchmarks.simulation import KINDS, Chain, Cluster, Phase, simulate

GROUPS = (1, 2)
STUDY = [
    *("--preset", "laptop", "--seeds", "3", "--generations", "3", "--base.blocks", "3000"),
    *("--conditions.keep-10-percent.epochs", "3", "--tracking.models", "external"),
]
"""Six chains; the conditions train equally long, so that they share generation 0 seed by seed."""
PAPER_STEPS, PAPER_BLOCKS, PAPER_TEST_BLOCKS = 3040, 38_829, 4_691
"""What a generation of the paper's setting B puts into MLflow: losses of 10 epochs of 304 steps, blocks, scores."""


@dataclass(frozen=True)
class Trace:
    """A finished command, out of its store; times in seconds since 1970.

    `spans`: of every phase that was computed, by identity. `chains`: generations of phases' identities, in the order in
    which the chains came to their ends.
    """

    began: float
    ended: float
    base: tuple[float, float]
    spans: Mapping[str, tuple[float, float]]
    chains: Sequence[Sequence[Sequence[str]]]

    @property
    def seconds(self) -> dict[str, float]:
        return {identity: end - start for identity, (start, end) in self.spans.items()}

    @property
    def chains_seconds(self) -> float:
        """From the first phase of a chain to the last."""
        return max(end for _, end in self.spans.values()) - min(start for start, _ in self.spans.values())


@dataclass(frozen=True)
class Calibration:
    """What the model takes from a run on one group, all in seconds.

    `before`: of the command until its first group starts. `after`: from the last generation's record to the command's end.
    `phases` by identity; the others as in `Cluster`.
    """

    before: float
    base: float
    start_up: float
    take_up: float
    look_up: float
    record: float
    after: float
    phases: Mapping[str, float]


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    if not all(find_spec(name) for name in ("ray", "mlflow", "psutil")):
        print("left out: a study needs ray, mlflow and psutil")
        return []
    with TemporaryDirectory() as folder:
        stores = {groups: Path(folder) / f"{groups}-groups" / "store" for groups in GROUPS}
        one, two = (_run_study(store, groups) for groups, store in stores.items())
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # MLflow reads its environment once
            asked = [*STUDY, "--store.path", str(stores[1])]
            recording = pool.submit(_recording, asked, str(Path(folder) / "recording")).result()
    calibration = calibrate(one, recording["a generation of this study"])
    kept = {"calibration": vars(calibration), "one group": vars(one), "two groups": vars(two)}
    record("scaling_phases", [kept])
    return results(one, two, calibration, recording)


def _run_study(store: Path, groups: int) -> Trace:
    store.parent.mkdir()
    command = [sys.executable, "-m", "pipelines.recursion", *STUDY, "--store.path", str(store)]
    command += ["--cluster.concurrent_chains", str(groups)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store.parent}/mlflow.db"}
    began = time.time()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return read_trace(store, began, time.time())


def read_trace(store: Path, began: float, ended: float) -> Trace:
    """Of a store in which one command, and nothing else, has computed."""
    spans, base = {}, None
    for line in map(json.loads, (store / "journal.jsonl").read_text().splitlines()):
        end = datetime.fromisoformat(line["created"]).timestamp()
        span = (end - line["seconds"], end)
        if line["kind"] in KINDS:
            spans[line["identity"]] = span
        elif line["kind"] == "base":
            base = span
    if base is None:
        raise AssertionError("the study made no base model")
    chains = []
    for folder in (store / "chains").iterdir():
        phases = [json.loads(path.read_text())["phases"] for path in sorted(folder.glob("generation-*.json"))]
        chains.append([[of[kind] for kind in KINDS] for of in phases])
    chains.sort(key=lambda chain: spans[chain[-1][-1]][1])
    return Trace(began, ended, base, spans, chains)


def calibrate(trace: Trace, record: float) -> Calibration:
    """Out of a run on one group.

    What lies between two phases of a chain that were both computed is the look-up. What lies between two chains beyond the
    look-ups of what the next one found is the taking up. `record`: seconds of the writer a generation.
    """
    look_ups, take_ups, end = [], [], -inf
    for chain in trace.chains:
        names = [name for generation in chain for name in generation]
        computed = [place for place, name in enumerate(names) if trace.spans[name][0] >= end]  # the others were found
        for before, after in pairwise(computed):
            if after == before + 1:
                look_ups.append(trace.spans[names[after]][0] - trace.spans[names[before]][1])
        if end > -inf:
            take_ups.append((trace.spans[names[computed[0]]][0] - end, computed[0] + 1))
        end = trace.spans[names[-1]][1]
    look_up = statistics.mean(look_ups)
    take_up = max(0.0, statistics.mean(gap - found * look_up for gap, found in take_ups)) if take_ups else 0.0
    start_up = min(start for start, _ in trace.spans.values()) - trace.base[1] - take_up - look_up
    return Calibration(
        before=trace.base[0] - start_up - trace.began,
        base=trace.base[1] - trace.base[0],
        start_up=start_up,
        take_up=take_up,
        look_up=look_up,
        record=record,
        after=trace.ended - max(end for _, end in trace.spans.values()) - record,
        phases=trace.seconds,
    )


def predict(calibration: Calibration, names: Sequence[Sequence[Sequence[str]]], groups: int) -> tuple[float, float]:
    """Seconds of the command, and from its first chain's first phase to the last, on so many groups."""
    chains: list[Chain] = [
        [[Phase(name, calibration.phases[name]) for name in generation] for generation in chain] for chain in names
    ]
    beside = {name: getattr(calibration, name) for name in ("start_up", "take_up", "look_up", "record")}
    cluster = Cluster(groups=groups, **beside)
    outcome = simulate(chains, cluster, calibration.base)
    first = 2 * calibration.start_up + calibration.base + calibration.take_up + calibration.look_up
    return calibration.before + outcome.seconds + calibration.after, outcome.computed - first


def results(one: Trace, two: Trace, calibration: Calibration, recording: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of numbers: what was measured, what the model was given, what it foresaw."""
    chains = len(one.chains)
    walls = {"one group": one.ended - one.began, "two groups": two.ended - two.began}
    spans = {"one group": one.chains_seconds, "two groups": two.chains_seconds}
    wall, span = predict(calibration, one.chains, 2)
    own_wall, own_span = predict(replace(calibration, phases=two.seconds), one.chains, 2)
    longer = [two.seconds[name] / seconds for name, seconds in one.seconds.items() if seconds > 1]
    shape = f"{chains} chains of {len(one.chains[0])} generations, {len(one.spans)} phases computed"
    return [
        {
            "what": f"{shape}: from the command to its end",
            **{f"{name}, seconds": seconds for name, seconds in walls.items()},
            **{f"{name}, chains a minute": 60 * chains / seconds for name, seconds in walls.items()},
            "two groups are so many times as fast": walls["one group"] / walls["two groups"],
        },
        {
            "what": "the same, from the first phase of a chain to the last",
            **{f"{name}, seconds": seconds for name, seconds in spans.items()},
            **{f"{name}, chains a minute": 60 * chains / seconds for name, seconds in spans.items()},
            "two groups are so many times as fast": spans["one group"] / spans["two groups"],
        },
        {
            "what": "what the model takes from the run on one group, seconds",
            **{name: value for name, value in vars(calibration).items() if name != "phases"},
            "phases, all": sum(calibration.phases.values()),
        },
        {
            "what": "two groups, foreseen from the run on one",
            "the command, seconds foreseen": wall,
            "the command, error in per cent": 100 * (wall / walls["two groups"] - 1),
            "the chains, seconds foreseen": span,
            "the chains, error in per cent": 100 * (span / spans["two groups"] - 1),
            "a phase took so many times as long beside another, median": statistics.median(longer or [1.0]),
            "with the phases' own seconds: the command, error in per cent": 100 * (own_wall / walls["two groups"] - 1),
            "with the phases' own seconds: the chains, error in per cent": 100 * (own_span / spans["two groups"] - 1),
        },
        {"what": "the writer, SQLite on this machine, median seconds a generation", **recording},
    ]


def _recording(arguments: list[str], folder: str) -> dict[str, float]:
    """Write a finished study to an MLflow of its own, and after each chain a generation as large as the paper's; median seconds."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    Path(folder).mkdir()
    from components import config, tracking
    from components.config.settings import RecursionSettings
    from components.recursion.loop import stored_generations
    from components.store import Store
    from pipelines.recursion_chains import check_settings, make_chains, prepare_corpus
    from pipelines.recursion_run import samples_page
    from pipelines.study import PROJECT, ask_workers

    settings = config.load(RecursionSettings, arguments)
    opened = Store.at(settings.store.path)
    tracker = tracking.connect(settings.tracking, "recursion", PROJECT)
    _, works = make_chains(
        settings, opened, prepare_corpus(settings, opened), check_settings(settings), ask_workers(settings, opened)[0]
    )
    study = tracking.open_study(
        tracker, name="recording", family="language", identity="recording", config="", settings={}
    )

    def seconds(generation: Any, family: Any) -> float:
        started = time.perf_counter()
        tracking.record(study, generation, samples_page(generation, family))
        return time.perf_counter() - started

    small, large = [], []
    for number, work in enumerate(works):
        found = list(stored_generations(work.chain, work.family, opened, settings.generations))
        small += [seconds(generation, work.family) for generation in found]
        grown = _of_the_papers_size(found[-1], Path(folder) / f"grown-{number}")
        large.append(seconds(grown, work.family))
    return {
        "a generation of this study": statistics.median(small),
        "one with the losses, blocks and scores of the paper's": statistics.median(large),
    }


def _of_the_papers_size(generation: Any, folder: Path) -> Any:
    """The generation after this one, with this one's files repeated until they have the paper's lengths."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    places = {}
    for kind in ("fit", "sample", "measure"):
        places[kind] = Path(shutil.copytree(generation.directories[kind], folder / kind))
    synthetic = ["synthetic"] * PAPER_BLOCKS + ["test"] * PAPER_TEST_BLOCKS
    for path, rows, own in (
        (places["fit"] / "losses.parquet", PAPER_STEPS, {"step": range(PAPER_STEPS)}),
        (places["sample"] / "synthetic.parquet", PAPER_BLOCKS, {"prompt_row": range(PAPER_BLOCKS)}),
        (places["measure"] / "scores.parquet", len(synthetic), {"row": range(len(synthetic)), "set": synthetic}),
    ):
        given = parquet.read_table(path)
        grown = given.take(np.resize(np.arange(len(given)), rows))
        for name, values in own.items():
            place = grown.schema.get_field_index(name)
            grown = grown.set_column(place, grown.schema.field(name), pa.array(values, grown.schema.field(name).type))
        parquet.write_table(grown, path)
    return replace(generation, index=generation.index + 1, directories={**generation.directories, **places})
