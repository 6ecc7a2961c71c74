"""Studies for pages: what a study of language models leaves, drawn at random, with figures that are really drawn."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from components import config
from components.config.settings import RecursionSettings
from components.figures.language import CAPTIONS, save_all
from components.figures.samples import Sample
from components.figures.table import closing_table, readable
from components.recursion.records import StudyRun
from components.report import Contents
from components.scorecard import Claim, scorecard
from components.tracking.reading import LINEAGE
from tests.test_figures import study

CONDITIONS = ("no-real-data", "keep-10-percent")
SEEDS, GENERATIONS = 2, 4
WRITTEN = ("the cat sat on the mat", "the cat sat on a mat", "the cat sat on a mat mat", "a mat mat mat mat mat")
RUN = StudyRun(
    "ab" * 16, "laptop, 4 chains", "study", "language", "FINISHED", "recursion", "2026-11-26 10:13 UTC", "f4acfe61d8b4",
    "http://127.0.0.1:5000/#/experiments/1/runs/" + "ab" * 16,
)  # fmt: skip


def settings() -> dict[str, object]:
    """The smoke preset's, with a second condition."""
    given = ["--preset", "smoke", "--generations", str(GENERATIONS - 1), "--seeds", str(SEEDS)]
    given += ["--conditions.keep-10-percent.real_fraction", "0.1", "--store.path", "/somewhere/of/mine/store"]
    return config.load(RecursionSettings, given).model_dump(mode="json")


def samples(
    texts: tuple[str, ...] = WRITTEN, prompts: tuple[str, ...] = ("first prompt", "second prompt")
) -> list[Sample]:
    return [
        Sample(condition, seed, generation, prompt, f"{texts[generation]} {condition}", 20.0 + generation)
        for prompt in prompts
        for condition in CONDITIONS
        for seed in range(SEEDS)
        for generation in range(GENERATIONS)
    ]


def lineage() -> pd.DataFrame:
    rows = []
    for condition in CONDITIONS:
        for seed in range(SEEDS):
            for generation in range(GENERATIONS):
                name = f"language-{condition}-seed{seed}"
                parent = f"version {generation}" if generation else ""
                page = f"http://127.0.0.1:5000/#/experiments/1/runs/{condition}-{seed}-{generation}"
                model = f"http://127.0.0.1:5000/#/models/{name}/versions/{generation + 1}"
                digest = f"{generation}{seed}" * 32
                version = f"{name}, version {generation + 1}"
                rows.append((condition, seed, generation, "FINISHED", page, digest, "ef" * 32, version, model, parent))
    return pd.DataFrame(rows, columns=LINEAGE)


def metrics_of(numbers: pd.DataFrame) -> pd.DataFrame:
    """With what a language study measures besides: of its training sets, its times and its speeds."""
    rows = []
    for condition, seed, generation in (
        numbers[["condition", "seed", "generation"]].drop_duplicates().itertuples(index=False)
    ):
        kept = 1.0 if generation == 0 else 0.1 if condition == CONDITIONS[1] else 0.0
        known = {"data/rows": 512.0, "data/alpha": 1 - kept, "data/beta": 0.0, "data/gamma": kept}
        known |= {"seconds/measure": 1.0, "tokens_per_second/fit": 1000.0, "tokens_per_second/sample": 200.0}
        rows += [(condition, seed, generation, metric, value) for metric, value in known.items()]
    return pd.concat([numbers, pd.DataFrame(rows, columns=numbers.columns)], ignore_index=True)


def contents(folder: Path, title: str = "Recursion: preset laptop") -> Contents:
    """A whole study, with its four figures drawn into `folder`."""
    numbers, scores = study(list(CONDITIONS), SEEDS, GENERATIONS, rows=40)
    metrics = metrics_of(numbers)
    claims = [
        Claim("Perplexity rises", "no-real-data", "last minus first", "nats", 0.01, {0: 1.0, 1: 1.1}),
        Claim("A penalty makes it worse", "no such condition", "with minus without", "nats", 0.01),
    ]
    profile = {
        "definition": "Test loss rises", "meaning": "on real data", "source": "Schaeffer et al. (2025)", "addressed_by": "perplexity",
        "conditions": "no-real-data", "estimate": 0.4, "low": 0.3, "high": 0.5, "unit": "nats", "verdict": "holds here", "why_not": "",
    }  # fmt: skip
    return Contents(
        title=title,
        settings=settings(),
        table=readable(closing_table(numbers)),
        figures=save_all(numbers, scores, folder / "figures"),
        captions=CAPTIONS,
        samples=samples(),
        sentences=["A sentence."],
        scorecard=scorecard(claims),
        profile=pd.DataFrame([profile]),
        metrics=metrics,
        run=RUN,
        runs=lineage(),
        machine="2 cores of a processor, 24 GiB of memory, no GPU",
        versions={"Python": "3.11.7", "torch": "2.13.0"},
        processors=["AMD EPYC (avx2)"],
    )


def hostile_study(study: Contents, texts: list[str]) -> Contents:
    """The same study, with these texts wherever a text from outside is shown."""
    everything = " ".join(texts)
    written = samples((everything,) * GENERATIONS, tuple(texts))
    table = pd.DataFrame({everything: texts, "seconds": ["1"] * len(texts)})
    runs = lineage().assign(condition=everything, model=everything, page="http://127.0.0.1:5000/", status=everything)
    return replace(
        study,
        title=everything,
        settings={**study.settings, "nested": dict.fromkeys(texts, texts), "preset": everything},
        table=table,
        captions=dict.fromkeys(study.captions, everything),
        samples=[replace(one, condition=everything) for one in written],
        sentences=texts,
        note=everything,
        scorecard=scorecard([Claim(one, one, one, one, 0.1, {0: 1.0, 1: 1.2}) for one in texts]),
        profile=pd.DataFrame(
            [dict.fromkeys(study.profile.columns, everything) | {"estimate": 1.0, "low": 0.5, "high": 1.5}]
        )
        if study.profile is not None
        else None,
        run=replace(RUN, name=everything, experiment=everything, commit=everything),
        runs=runs,
        machine=everything,
        processors=texts,
        versions={everything: everything},
        gaps=texts,
    )
