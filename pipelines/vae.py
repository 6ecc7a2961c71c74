"""`mlflow run . -e vae`: VAEs trained on the last one's images (the paper's figure 9).

settings -> images -> chains (conditions x seeds) -> images by generation, their latent spread, table
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from components import config
from components.config.small_families import VaeSettings
from components.families.precision import Computing
from components.families.vae import images
from components.families.vae import model as vae
from components.families.vae.family import VaeFamily
from components.families.vae.reference import beside_real, mean_image_losses
from components.families.vae.training import Recipe
from components.figures import vae as figures
from components.measures.risk import RISKS
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.scorecard import HeldOut, judge, vae_claims, vae_evidence
from components.scorecard.evidence.vae import MEAN_IMAGE
from components.store import Phase, Store
from pipelines.drawn import drawn_images
from pipelines.scores import TIDY, losses_on_test, read_scores, under_generation_0
from pipelines.small_families import Expected, make_chains, print_plan, run_study
from pipelines.study import ask_workers, run_command

SAMPLING, MEASURING = 0.5, 1.0
"""Epochs of work, about."""


def autoencoders(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(VaeSettings, arguments)
    store = Store.open(settings.store.path, settings.store.cache)
    computing, capacity = ask_workers(settings, store)
    real = images.prepare(settings.data, store)
    families = {name: family_of(settings, name, real, computing) for name in settings.conditions}
    chains = make_chains(settings, store, settings.conditions, families, of_seed)
    print_plan(chains, _plan(settings, chains, real))
    if settings.dry_run:
        return
    by_seed = {work.chain.seed: work.family for work in chains}
    draw = partial(figures.save_all, settings=settings, recorded=partial(_recorded, chains, store))
    run_study(
        settings,
        store,
        chains,
        capacity,
        _expected(chains),
        figures.closing_table,
        draw,
        figures.CAPTIONS,
        lambda study: judge(study, vae_claims(study), vae_evidence(study), RISKS["vae"]),
        lambda generation: samples(generation, chains[0].family),
        gpu=True,
        derived=partial(_derived, families=by_seed),
        held_out=partial(_held_out, families=by_seed),
        deterministic=settings.train.deterministic,
    )


def family_of(settings: VaeSettings, name: str, real: Phase, computing: Computing) -> VaeFamily:
    """A condition's family, on these images, by workers that compute so."""
    train, condition = settings.train, settings.conditions[name]
    precision = computing.precision(train.precision)
    recipe = Recipe(train.epochs, train.batch_size, train.learning_rate, train.weight_decay, precision)
    return VaeFamily(real.place, settings.latents, recipe, condition.sampling, condition.fresh, computing.arithmetic)


def of_seed(family: VaeFamily, seed: int) -> VaeFamily:
    """The family with the images of a seed."""
    return replace(family, seed=seed)


def _plan(settings: VaeSettings, chains: Sequence[ChainWork[VaeFamily]], real: Phase) -> list[str]:
    size = real.metrics
    height, width = int(size["height"]), int(size["width"])
    parameters = vae.parameter_count(vae.create(vae.Shape(height, width, settings.latents), seed=0))
    recipe = chains[0].family.recipe
    return [
        f"{drawn_images(chains).training} of {height}x{width}; {size['validation/images']:,.0f} to validate on, "
        f"{size['test/images']:,.0f} to test on",
        f"VAEs with {parameters:,} parameters and {settings.latents} latents, {recipe.epochs} epochs of batches of "
        f"{recipe.batch_size} in {recipe.precision}",
    ]


def _expected(chains: Sequence[ChainWork[VaeFamily]]) -> Expected:
    """Work in epochs over the real images; `accumulate` trains on as much more with every generation."""
    expected = {}
    for work in chains:
        grows = work.chain.settings["regime"]["name"] == "accumulate"
        expected[work.chain.identity] = {
            (index, kind): epochs
            for index in range(work.generations + 1)
            for kind, epochs in (
                ("fit", float(work.family.recipe.epochs * (index + 1 if grows else 1))),
                ("sample", SAMPLING),
                ("measure", MEASURING),
            )
        }
    return expected


def samples(generation: Generation, family: VaeFamily) -> Mapping[str, Path | str]:
    """What a generation draws, for MLflow."""
    return {"samples.png": generation.directories["sample"] / "samples.png"}


def _recorded(chains: Sequence[ChainWork[VaeFamily]], store: Store) -> list[tuple[Generation, VaeFamily]]:
    return [
        (generation, work.family)
        for work in chains
        for generation in stored_generations(work.chain, work.family, store, work.generations)
    ]


def _derived(generations: Sequence[Generation], families: Mapping[int, VaeFamily]) -> pd.DataFrame:
    """Tidy numbers: each generation's images beside the real ones of its seed, and what their mean image would do."""
    lost = _mean_image_losses(families)
    rows = [
        (chain.condition, chain.seed, index, metric, value)
        for chain in under_generation_0(read_scores(generations))
        for index, numbers in beside_real(chain.real, chain.held_out, chain.written)
        for metric, value in (numbers | {MEAN_IMAGE: float(lost[chain.seed].mean())}).items()
    ]
    return pd.DataFrame(rows, columns=TIDY)


def _held_out(generations: Sequence[Generation], families: Mapping[int, VaeFamily]) -> HeldOut:
    """The loss on each test image: every model's, and that of a model of the mean image, under its metric's name."""
    scores = read_scores(generations, ["set", "row", "negative_elbo"])
    of_mean = {(MEAN_IMAGE, seed, 0): lost for seed, lost in _mean_image_losses(families).items()}
    return {**losses_on_test(scores, "negative_elbo"), **of_mean}


def _mean_image_losses(families: Mapping[int, VaeFamily]) -> dict[int, np.ndarray]:
    """What a model of the mean real image loses on each test image, by seed."""
    return {seed: mean_image_losses(family.real["train"], family.real["test"]) for seed, family in families.items()}


if __name__ == "__main__":
    run_command(autoencoders, sys.argv[1:])
