"""The benchmarks run, count operations as torch does, and print no speed where outputs are wrong."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import generation, measure, models, scoring, training
from benchmarks.__main__ import main
from components.families.language.model import ModelSize

CEILINGS = {"fp32 GFLOP/s": 100.0, "bf16 GFLOP/s": 200.0, "copy GB/s": 10.0}
TINY = ModelSize(96, 32, 2, 2, 64, 128, 0.0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TURNS", 1)
    for module in (models, generation, scoring, training):
        monkeypatch.setattr(module, "SIZES", {"tiny": TINY})
    monkeypatch.setattr(generation, "OURS", {"tiny": 4})
    monkeypatch.setattr(generation, "PEER_PROMPTS", {"tiny": 4})
    monkeypatch.setattr(generation, "BATCHES", (4,))
    monkeypatch.setattr(scoring, "BLOCKS", {"tiny": 8})
    monkeypatch.setattr(training, "BLOCKS", {"tiny": 4})
    monkeypatch.setattr(training, "STEPS", {"tiny": 1})
    monkeypatch.setattr(training, "find_spec", lambda name: None)  # DeepSpeed has tests of its own


def test_every_pair_is_measured_with_its_share_of_the_ceiling() -> None:
    for section in (generation, scoring, training):
        rows = section.run(CEILINGS)
        assert rows
        for row in rows:
            assert 0 < row["share of the ceiling"] < 1
            assert row[next(name for name in row if name.startswith("times"))] > 0


def test_no_speed_is_printed_where_blocks_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_ours", lambda model, name, given: np.full((len(given), models.NEW), 5, np.int32))
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


def test_an_unknown_section_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed"]) == 2
    assert capsys.readouterr().err == (
        "sections: speed is none of generation, scoring, training, workers, study, small_families, vae\n"
    )
