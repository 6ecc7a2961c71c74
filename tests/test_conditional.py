"""What intervals do not cover is said beside them: on the card, the page, the terminal and the study's run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.measures.risk import RISKS
from components.recursion.records import Chain
from components.report import write_page
from components.report.verdicts import conditional_on as shown
from components.scorecard import Facts, conditional_on, judge, language_claims, language_evidence, numbers
from components.terminal import printing
from pipelines.facts import facts_of
from pipelines.recorder import _print_judgement
from tests.pages import contents
from tests.simulated import settings

FEW = "Intervals cover the seeds of this study only."
SHARED = (
    f"{FEW} All seeds share one base model, one training set, one test split and one kind of processor (AVX2, fp32). "
    "The sampling error of the test split is included."
)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(base="shared", test_error=True, processors=("AVX2, fp32",)), SHARED),
        (
            Facts(base="own", own_blocks=True, processors=("AVX2, fp32",)),
            f"{FEW} Each seed has its own base model and training set. "
            "All seeds share one test split and one kind of processor (AVX2, fp32).",
        ),
        (
            Facts(base="shared", own_blocks=True, processors=("AVX2, fp32", "AMX, bf16")),
            f"{FEW} Each seed has its own training set. All seeds share one base model and one test split. "
            "The chains ran on 2 kinds of processor (AMX, bf16; AVX2, fp32), which may explain differences.",
        ),
        (
            Facts(own_blocks=True, reserve=True, base="shared", processors=("x",)),
            f"{FEW} Each seed has its own training set. All seeds share one base model, "
            "one reserve of fresh real data, one test split and one kind of processor (x).",
        ),
        (
            Facts(),
            f"{FEW} Each chain starts from random weights of its own. "
            "All seeds share one training set and one test split. "
            "On what kind of processor the chains ran is not recorded.",
        ),
        (
            Facts(drawn=True),
            f"{FEW} Each seed draws its own real data from a known distribution, against which errors are exact. "
            "On what kind of processor the chains ran is not recorded.",
        ),
    ],
)
def test_what_all_seeds_share_is_said_in_plain_sentences(facts: Facts, said: str):
    assert conditional_on(facts) == said


def chain(
    seed: int, base: str | None = "b", start: str = "pretrained", training: str = "t", condition: str = "c", **more: Any
) -> Chain:
    known = {"base": base, "start": start, "data": {"training": training, "evaluation": "e"}, **more}
    return Chain("language", condition, seed, f"{condition}{seed}", known)


@pytest.mark.parametrize(
    ("chains", "facts"),
    [
        ([chain(0), chain(1)], Facts(base="shared")),
        ([chain(0), chain(1, training="u")], Facts(base="shared", own_blocks=True)),
        ([chain(0), chain(1, base="other")], Facts(base="own")),
        ([chain(0, compose={"reserve": "r"}), chain(1, compose={"reserve": "r"})], Facts(base="shared", reserve=True)),
        ([chain(0, base=None), chain(1, base=None)], Facts()),
        ([chain(0, start="scratch"), chain(1, start="scratch")], Facts()),
        ([chain(0), chain(1), chain(0, training="u", condition="d")], Facts(base="shared")),
        ([chain(0, start="scratch"), chain(0, condition="d")], Facts(base="shared")),
    ],
)  # fmt: skip
def test_what_seeds_share_is_read_off_the_settings_of_their_chains(chains: list[Chain], facts: Facts):
    assert facts_of(chains, facts.processors) == facts


@pytest.fixture
def judged():
    random = np.random.default_rng(0)
    rows = [
        (name, seed, at, "test/perplexity", float(np.exp(4 + 0.3 * at + random.normal(0, 0.01))))
        for name in settings()
        for seed in range(3)
        for at in range(3)
    ]
    metrics = pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])
    study = numbers(metrics, settings(), range(4), 2, conditional_on=SHARED)
    return judge(study, language_claims(study), language_evidence(study), RISKS["language"])


def test_every_row_of_both_tables_bears_it(judged, tmp_path: Path):
    for name, table in {"scorecard": judged.scorecard, "profile": judged.profile}.items():
        table.to_parquet(tmp_path / f"{name}.parquet", index=False)
        assert pd.read_parquet(tmp_path / f"{name}.parquet")["conditional_on"].eq(SHARED).all()


def test_the_terminal_says_it_below_the_finding_which_names_what_is_missing(judged):
    with printing.console.capture() as captured:
        _print_judgement(judged)
    output = captured.get()
    assert SHARED in output
    assert "Missing: " in output
    assert "none seed 3 has no finished generation" in output


def test_the_description_of_the_run_says_what_was_found_what_is_missing_and_what_it_is_conditional_on(judged):
    happened, found, conditional, *_ = judged.description().split("\n\n")
    assert happened == " ".join(judged.finding)
    assert "Missing: none seed 3 has no finished generation" in happened
    assert found == "5 verdicts: 3 holds here, 1 does not, 1 cannot tell."
    assert conditional == SHARED


def test_the_page_says_it_below_the_scorecard_and_below_the_profile(tmp_path: Path):
    study = contents(tmp_path)
    hostile = "All seeds share <b>one</b> base model."
    marked = replace(
        study,
        scorecard=study.scorecard.assign(conditional_on=hostile),
        profile=study.profile.assign(conditional_on=hostile),
    )
    page = write_page(tmp_path / "page.html", [marked]).read_text("utf-8")
    assert page.count("All seeds share &lt;b&gt;one&lt;/b&gt; base model.") == 2
    assert hostile not in page
    older = study.scorecard.drop(columns=["conditional_on", "missing", "generations", "open_because"])
    assert shown(older, None) == ""
    write_page(tmp_path / "older.html", [replace(study, scorecard=older)])
