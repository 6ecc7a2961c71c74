"""The benchmarks run, count operations as torch does, and print no speed where outputs are wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import generation, measure, models, paper_generation, sampling, scoring, study, training
from benchmarks.__main__ import main
from components.families.language.architecture import ModelSize

CEILINGS = {"fp32 GFLOP/s": 100.0, "bf16 GFLOP/s": 200.0, "copy GB/s": 10.0}
TINY = ModelSize(96, 32, 2, 2, 64, 128, 0.0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TURNS", 1)
    for module in (models, generation, sampling, scoring, training):
        monkeypatch.setattr(module, "SIZES", {"tiny": TINY})
    monkeypatch.setitem(generation.PROMPTS_AT_ONCE, "cpu", 4)
    monkeypatch.setattr(generation, "PEER_PROMPTS", {"tiny": 4})
    monkeypatch.setattr(generation, "BATCHES", {"cpu": (4,)})
    monkeypatch.setattr(sampling, "BATCHES", {"cpu": (4,)})
    monkeypatch.setattr(sampling, "NATS_APART", 1.0)  # of four prompts
    monkeypatch.setattr(scoring, "BLOCKS", {"cpu": {"tiny": 8}})
    monkeypatch.setattr(training, "BLOCKS", {"cpu": {"tiny": 4}})
    monkeypatch.setattr(training, "STEPS", {"tiny": 1})
    monkeypatch.setattr(training, "find_spec", lambda name: None)  # DeepSpeed has tests of its own


def test_every_side_is_measured_with_its_share_of_the_ceiling_and_stands_in_the_table() -> None:
    for section in (generation, scoring, training):
        rows = section.run(CEILINGS)
        assert {row["what"].split(", ")[2][:4] for row in rows} == {"fp32", "bf16"}
        for row in rows:
            assert len(row["rates"]) >= 2
            for side, rate in row["rates"].items():
                assert row["ours is so many times"][side] == pytest.approx(row["rates"]["ours"] / rate)
                assert "int8" in side or 0 < row["share of the ceiling"][side] < 1
                assert f"  {side} " in measure.table([row])


def test_sampling_is_measured_for_one_and_for_several_blocks_a_prompt() -> None:
    rows = sampling.run(CEILINGS)
    assert [row["what"].split(", ")[1] for row in rows] == ["1 a prompt", "4 a prompt"]
    assert all(len(row["rates"]) == 2 and min(row["rates"].values()) > 0 for row in rows)


def test_a_generation_of_the_papers_size_is_measured_by_phase_and_wants_a_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_generation, "BATCH", 8)
    row = paper_generation.generation("tiny", 40, 8, "fp32")
    phases = [row[f"seconds of {phase}"] for phase in ("fit", "sample", "measure")]
    assert min(phases) > 0
    assert row["seconds"] == pytest.approx(sum(phases))
    if not torch.cuda.is_available():
        assert paper_generation.run(CEILINGS) == []
        assert "wants a GPU" in capsys.readouterr().out


def test_a_machine_with_torch_transformers_and_numpy_alone_can_run_the_benchmark() -> None:
    program = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "mlflow", "deepspeed", "pyarrow", "pydantic", "omegaconf"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from benchmarks import measure, models, scoring, training, generation, workers, study, paper_generation
from components.families.language.architecture import ModelSize

tiny = {"tiny": ModelSize(96, 32, 2, 2, 64, 128, 0.0)}
for module in (models, scoring):
    module.SIZES = tiny
scoring.BLOCKS, measure.TURNS = {"cpu": {"tiny": 4}}, 1
print(len(scoring.run({"fp32 GFLOP/s": 1.0, "bf16 GFLOP/s": 1.0})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("2")


def test_the_peak_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it() -> None:
    big = np.ones(2**27)  # a GiB
    program = "from benchmarks.workers import _peak; print(_peak())"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert 50 < float(done.stdout) < big.nbytes / 2**20


def test_processor_seconds_of_a_study_are_told_apart_from_those_of_the_processes_below_it() -> None:
    burn = "import time\nwhile time.process_time() < {}: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn.format(2)!r}]); {burn.format(1)}"
    own, everything, peak = study._watch(
        subprocess.Popen([sys.executable, "-c", program.replace("; import", "\nimport")])
    )
    assert 0.2 < own < 1.2
    assert own + 1 < everything < own + 2.2
    assert peak > 2**20


@pytest.mark.slow
def test_ceilings_are_rates_of_this_machine() -> None:
    limits = measure.ceilings()
    assert set(limits) == set(CEILINGS)
    assert all(value > 0.1 for value in limits.values())


def test_no_speed_is_printed_where_blocks_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_ours", lambda model, given: np.full((len(given), models.NEW), 5, np.int32))
    with pytest.raises(AssertionError, match="ours writes other text"):
        generation.run(CEILINGS)


def test_operations_of_scoring_are_those_that_torch_counts() -> None:
    model = models.create("tiny")
    ids = torch.zeros(1, models.PROMPT, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.set_attn_implementation("eager")
        model(input_ids=ids)
    last = 2 * TINY.vocabulary_size * TINY.hidden_size  # the formula leaves out what the last position would predict,
    seen = 4 * TINY.layers * TINY.hidden_size * (64 * 64 - sum(range(1, 65)))  # and what a causal mask hides
    assert counter.get_total_flops() == models.scoring_flops(TINY) + last + seen


def test_sections_are_named_in_one_argument_or_several_and_an_unknown_one_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["speed"], ["scoring speed"], ["scoring", "speed"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == (
            "sections = speed: none of generation, sampling, scoring, training, workers, study, tracking, scaling, paper_generation, "
            "small_families, vae\n"
        )
