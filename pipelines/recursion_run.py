"""A study of language models from its plan to its pages: chains computed, recorded in MLflow, drawn, judged, told."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from components import cluster, tracking
from components.config.settings import RecursionSettings
from components.families.language.base import BaseWork
from components.families.language.family import LanguageFamily
from components.figures.language import CAPTIONS, save_all
from components.figures.samples import Sample, samples_markdown
from components.figures.table import closing_table
from components.measures.risk import RISKS
from components.recursion.machines import processors_of
from components.recursion.records import Chain, Generation
from components.scorecard import Judgement, conditional_on, judge, language_claims, language_evidence, numbers
from components.store import Store
from components.terminal import Snapshot, StudyProgress, chain_fields, chain_name
from pipelines.drawn import overlapping
from pipelines.facts import facts_of
from pipelines.recorder import Recorder
from pipelines.recursion_plan import Plan, base_crew, needed
from pipelines.scores import beside_real_text, losses_on_test, read_scores

SHOWN_PROMPTS = 8


def run_study(
    settings: RecursionSettings, store: Store, plan: Plan, study: tracking.Study, tell: Callable[[Snapshot], None]
) -> None:
    """What the store has is recorded; what it lacks is computed on the cluster. Where a chain fails, the others are shown.

    Raises:
        cluster.Failed: a chain did not come to its end.
    """
    names = {base.title: base.title for base in plan.bases} | {
        work.chain.identity: chain_name(work.chain) for work in plan.chains
    }
    families = {work.chain.identity: work.family for work in plan.chains}
    failed: cluster.Failed | None = None
    expected = {name: plan.expected(name) for name in plan.costs}
    with StudyProgress(names, expected, chain_fields(work.chain for work in plan.chains), planned=True) as progress:
        recorder = Recorder(
            study,
            store,
            progress,
            settings.generations,
            lambda generation: samples_page(generation, families[generation.chain.identity]),
            tell,
        )
        recorder.watch([{"found": stored} for stored in plan.stored.values() if stored])
        try:
            _compute(settings, store, plan, recorder)
        except cluster.Failed as failure:
            failed = cluster.Failed({names[name]: error for name, error in failure.errors.items()})
    if recorder.generations:
        finished = recorder.in_order()
        scores = cache(lambda: read_scores(finished))
        samples = cache(lambda: [sample for one in finished for sample in _samples(one, families[one.chain.identity])])
        recorder.close(
            f"Recursion: preset {settings.preset}",
            settings.model_dump(mode="json"),
            "FAILED" if failed else "FINISHED",
            closing_table,
            lambda metrics, folder: save_all(metrics, scores(), folder, samples()),
            CAPTIONS,
            samples,
            base_perplexities(plan.bases),
            lambda: beside_real_text(scores()),
            lambda metrics: _judged(settings, plan, metrics, scores(), processors_of(finished, store)),
        )
    if failed:
        raise failed


def _compute(settings: RecursionSettings, store: Store, plan: Plan, recorder: Recorder) -> None:
    """Base models that are pretrained here, one after the other; then unfinished chains, side by side as they fit."""
    missing: dict[str, cluster.Work] = {
        work.chain.identity: work
        for work in plan.chains
        if len(plan.stored[work.chain.identity]) <= settings.generations
    }
    if not missing:
        return
    with cluster.connect(settings.cluster) as capacity:
        workers, need = settings.train.workers, needed(plan.chains, settings.train.workers, capacity)
        crew = cluster.Crew(
            workers=workers,
            side_by_side=min(len(missing), capacity.groups(workers, settings.cluster.concurrent_chains, need)),
            gpu=capacity.gpus > 0,
            storage=store.root / "ray",
            max_failures=settings.cluster.max_failures,
            memory=need.memory,
            deterministic=settings.train.deterministic,
        )
        to_make = [base for base in plan.bases_to_make if not (base.name or base.find())]
        bases: dict[str, cluster.Work] = {base.title: base for base in to_make}
        if bases:
            cluster.run_groups(bases, base_crew(crew, plan.bases[0], capacity), recorder.watch)
        cluster.run_groups(missing, crew, recorder.watch)


def base_perplexities(bases: Sequence[BaseWork]) -> dict[str, float]:
    """What each base model that the store has gives on the test split, as metrics of the study."""
    found = {base.of_seed: phase.metrics["base/test_perplexity"] for base in bases if (phase := base.find())}
    return {"base/test_perplexity" + ("" if seed is None else f"/seed-{seed}"): value for seed, value in found.items()}


def settings_of_conditions(chains: Sequence[Chain], names: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The settings of these conditions, as the chains of the study's first seed have them.

    Chains of another seed have other real data and perhaps another base model, so conditions are compared by the
    chains of one seed.
    """
    first = [chain for chain in chains if chain.seed == chains[0].seed]
    return {chain.condition: chain.settings for chain in first if chain.condition in names}


def _judged(
    settings: RecursionSettings, plan: Plan, metrics: pd.DataFrame, scores: pd.DataFrame, processors: Sequence[str]
) -> Judgement:
    chains = [work.chain for work in plan.chains]
    study = numbers(
        metrics,
        settings_of_conditions(chains, set(settings.conditions)),
        settings.seeds,
        settings.generations,
        losses_on_test(scores, "loss"),
        conditional_on(facts_of(chains, processors, overlapping=overlapping(plan.chains), test_error=True)),
    )
    return judge(study, language_claims(study), language_evidence(study), RISKS["language"])


def samples_page(generation: Generation, family: LanguageFamily) -> Mapping[str, Path | str]:
    """samples.md of a generation."""
    samples = _samples(generation, family)
    page = samples_markdown(
        [sample.prompt for sample in samples],
        [sample.continuation for sample in samples],
        generation.index,
        [sample.perplexity for sample in samples],
    )
    return {"samples.md": page}


def _samples(generation: Generation, family: LanguageFamily) -> list[Sample]:
    """What the generation wrote after a few prompts, evenly spread over the training blocks and the same in every one, as
    far as it was passed on."""
    prompts = family.corpus.train
    rows = np.linspace(0, len(prompts) - 1, min(SHOWN_PROMPTS, len(prompts))).astype(int)
    tokenizer = AutoTokenizer.from_pretrained(family.corpus.tokenizer_folder, trust_remote_code=False)
    synthetic = pd.read_parquet(generation.directories["sample"] / "synthetic.parquet", columns=["prompt_row", "text"])
    synthetic["row"] = np.arange(len(synthetic))
    first = synthetic.drop_duplicates("prompt_row").set_index("prompt_row")  # of several blocks after a prompt
    scores = pd.read_parquet(generation.directories["measure"] / "scores.parquet")
    perplexity = scores[scores["set"] == "synthetic"].set_index("row")["perplexity"]
    chain = generation.chain
    return [
        Sample(chain.condition, chain.seed, generation.index, prompt, first["text"][row], perplexity[first["row"][row]])
        for row, prompt in zip(rows.tolist(), tokenizer.batch_decode(prompts[rows]), strict=True)
        if row in first.index
    ]
