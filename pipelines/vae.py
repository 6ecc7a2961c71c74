"""`mlflow run . -e vae`: VAEs trained on the last one's images (the paper's figure 9).

settings -> images -> chains (conditions x seeds) -> images by generation, their latent spread, table
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from components import config
from components.config.small_families import VaeSettings
from components.families.device import precision
from components.families.vae import images
from components.families.vae import model as vae
from components.families.vae.family import VaeFamily
from components.families.vae.reference import beside_real, mean_image_loss
from components.families.vae.training import Recipe
from components.figures import vae as figures
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.scorecard import judge, vae_claims, vae_evidence
from components.store import Phase, Store
from pipelines.scores import TIDY, read_scores, under_generation_0
from pipelines.small_families import Expected, make_chains, print_plan, run_study
from pipelines.study import run_command

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
    real = images.prepare(settings.data, store)
    families = {name: family_of(settings, name, real) for name in settings.conditions}
    chains = make_chains(settings, store, settings.conditions, families)
    print_plan(chains, _plan(settings, families, real))
    if settings.dry_run:
        return
    draw = partial(figures.save_all, settings=settings, recorded=partial(_recorded, chains, store))
    run_study(
        settings,
        store,
        chains,
        _expected(chains),
        figures.closing_table,
        draw,
        figures.CAPTIONS,
        lambda study: judge(study, vae_claims(study), vae_evidence(study)),
        lambda generation: samples(generation, chains[0].family),
        gpu=True,
        derived=partial(_derived, family=chains[0].family),
    )


def family_of(settings: VaeSettings, name: str, real: Phase) -> VaeFamily:
    """A condition's family, on these images."""
    train, condition = settings.train, settings.conditions[name]
    recipe = Recipe(train.epochs, train.batch_size, train.learning_rate, train.weight_decay, precision(train.precision))
    return VaeFamily(real.place, settings.latents, recipe, condition.sampling, condition.fresh)


def _plan(settings: VaeSettings, families: Mapping[str, VaeFamily], real: Phase) -> list[str]:
    size = real.metrics
    height, width = int(size["height"]), int(size["width"])
    parameters = vae.parameter_count(vae.create(vae.Shape(height, width, settings.latents), seed=0))
    recipe = next(iter(families.values())).recipe
    return [
        f"{size['train/images']:,.0f} images of {height}x{width} to train on, {size['validation/images']:,.0f} to validate "
        f"on, {size['test/images']:,.0f} to test on",
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


def _derived(generations: Sequence[Generation], family: VaeFamily) -> pd.DataFrame:
    """Tidy numbers: every generation's images beside the real ones, and what the mean real image would do."""
    nothing = {"test/negative_elbo_of_the_mean_image": mean_image_loss(family.real["train"], family.real["test"])}
    rows = [
        (chain.condition, chain.seed, index, metric, value)
        for chain in under_generation_0(read_scores(generations))
        for index, numbers in beside_real(chain.real, chain.written)
        for metric, value in (numbers | nothing).items()
    ]
    return pd.DataFrame(rows, columns=TIDY)


if __name__ == "__main__":
    run_command(autoencoders, sys.argv[1:])
