"""`mlflow run . -e recursion`: language models trained on what the last generation wrote (paper section 5.2).

    settings -> corpus -> base model -> chains (conditions x seeds) -> figures 10, 11, 15, report, table

Everything that can be wrong with the input is found before the cluster starts.
"""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from components import cluster, config, tracking
from components.config.settings import RecursionSettings
from components.families.language.base import BASE
from components.families.language.family import LanguageFamily
from components.figures.samples import Sample
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.store import Store
from components.terminal import StudyProgress, chain_name
from pipelines.recursion_plan import Plan, check_disk, make_plan, prepare_corpus, print_plan, size_by_name
from pipelines.study import PROJECT, Recorder, closing, run_command, study_identity

SHOWN_PROMPTS = 8


def recursion(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(RecursionSettings, arguments)
    store = Store.open(settings.store.path)
    cluster.check(settings.cluster, settings.train.workers)
    tracker = tracking.connect(settings.tracking, "recursion", PROJECT)
    size = size_by_name(settings)
    plan = make_plan(settings, store, prepare_corpus(settings, store), size)
    print_plan(settings, plan)
    if settings.dry_run:
        return
    check_disk(plan, store)
    resolved = settings.model_dump(mode="json")
    study = tracking.open_study(
        tracker,
        name=f"{settings.preset}, {len(plan.chains)} chains to generation {settings.generations}",
        family="language",
        identity=study_identity("recursion", [work.chain.identity for work in plan.chains], settings.generations),
        config=config.to_yaml(settings),
        settings=resolved,
    )
    with closing(study):
        recorder = _run(settings, store, plan, study)
        base = plan.base.find() if plan.base else None
        zero_shot = {"base/test_perplexity": base.metrics["base/test_perplexity"]} if base else {}
        recorder.close(f"Recursion: preset {settings.preset}", resolved, zero_shot)


def _run(settings: RecursionSettings, store: Store, plan: Plan, study: tracking.Study) -> Recorder:
    """What the store has is recorded; what it lacks is computed on the cluster."""
    names = {BASE: BASE} | {work.chain.identity: chain_name(work.chain) for work in plan.chains}
    families = {work.chain.identity: work.family for work in plan.chains}
    with StudyProgress(names, {name: plan.expected(name) for name in plan.costs}) as progress:
        recorder = Recorder(
            study, progress, lambda generation: _samples(generation, families[generation.chain.identity])
        )
        missing: dict[str, cluster.Work] = {}
        for work in plan.chains:
            stored = list(stored_generations(work.chain, work.family, store, work.generations))
            recorder.watch([{"finished": generation} for generation in stored])
            if len(stored) <= work.generations:
                missing[work.chain.identity] = work
        if missing:
            with cluster.connect(settings.cluster) as capacity:
                side_by_side = capacity.groups(settings.train.workers, settings.cluster.concurrent_chains)
                run_groups = partial(
                    cluster.run_groups,
                    gpu=capacity.gpus > 0,
                    storage=store.root / "ray",
                    max_failures=settings.cluster.max_failures,
                    watch=recorder.watch,
                )
                if plan.base and not plan.base.find():
                    run_groups({BASE: plan.base}, workers=capacity.workers, side_by_side=1)
                run_groups(missing, workers=settings.train.workers, side_by_side=side_by_side)
    return recorder


def _samples(generation: Generation, family: LanguageFamily) -> list[Sample]:
    """What the generation wrote after a few prompts, evenly spread over the training blocks and the same in every one."""
    prompts = family.corpus.train
    rows = np.linspace(0, len(prompts) - 1, min(SHOWN_PROMPTS, len(prompts))).astype(int)
    tokenizer = AutoTokenizer.from_pretrained(family.corpus.tokenizer_folder)
    synthetic = pd.read_parquet(generation.directories["sample"] / "synthetic.parquet", columns=["text"])["text"]
    scores = pd.read_parquet(generation.directories["measure"] / "scores.parquet")
    perplexity = scores[scores["set"] == "synthetic"].set_index("row")["perplexity"]
    chain = generation.chain
    return [
        Sample(chain.condition, chain.seed, generation.index, prompt, synthetic[row], perplexity[row])
        for row, prompt in zip(rows.tolist(), tokenizer.batch_decode(prompts[rows]), strict=True)
    ]


if __name__ == "__main__":
    run_command(recursion, sys.argv[1:])
