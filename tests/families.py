"""One small family of each kind, on real data, to be run in seconds."""

from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from components import corpus
from components.config.settings import CorpusSettings
from components.config.small_families import ImagesSettings
from components.families.discrete.family import DiscreteFamily
from components.families.gaussian.family import GaussianFamily
from components.families.language import architecture
from components.families.language.decoding import Decoding
from components.families.language.family import LanguageFamily
from components.families.language.training import Recipe
from components.families.mixture.em import Recipe as EmRecipe
from components.families.mixture.family import MixtureFamily
from components.families.vae import images
from components.families.vae.family import VaeFamily
from components.families.vae.training import Recipe as VaeRecipe
from components.store import Store

BLOCKS, LENGTH = 48, 16
SIZE = architecture.ModelSize(320, 16, 2, 2, 32, 2 * LENGTH, 0.0)
RECIPE = Recipe(2, 5e-3, 1e-6, 0.01, 16, "best")
DECODING = Decoding(3, 1.0, "fp32", 16)
CHAINS, ROWS = 6, 20
IMAGES = 96


def language(folder: Path) -> LanguageFamily:
    """A tiny OPT on the language reference inside CPython."""
    text, prepared = folder / "text", folder / "corpus"
    text.mkdir()
    prepared.mkdir()
    of_cpython = [topics[name] for name in sorted(topics)]
    for split, chosen in {"train": of_cpython[:20], "valid": of_cpython[20:25], "test": of_cpython[25:30]}.items():
        (text / f"{split}.txt").write_text("\n".join(chosen), encoding="utf-8")
    settings = CorpusSettings(path=str(text), block_size=LENGTH, train_blocks=BLOCKS, vocabulary_size=300)
    corpus.prepare(settings, "train", prepared)
    for split in ("validation", "test", "heldout"):  # enough of them for a test
        np.save(prepared / f"{split}.npy", np.load(prepared / f"{split}.npy")[:40])
    return LanguageFamily(prepared, SIZE, None, RECIPE, DECODING, "torch", 0)


def autoencoder(folder: Path, train_images: int = IMAGES, epochs: int = 2, **others: object) -> VaeFamily:
    """A VAE on scikit-learn's digits."""
    prepared = images.prepare(ImagesSettings(train_images=train_images), Store.open(str(folder / "images")))
    return VaeFamily(prepared.place, 20, VaeRecipe(epochs=epochs, batch_size=32), **others)  # type: ignore[arg-type]


def gaussian(folder: Path) -> GaussianFamily:
    return GaussianFamily(chains=CHAINS, rows=ROWS)


def gaussian_in_two_dimensions(folder: Path) -> GaussianFamily:
    return GaussianFamily(chains=CHAINS, rows=ROWS, dimensions=2)


def discrete(folder: Path) -> DiscreteFamily:
    return DiscreteFamily(chains=CHAINS, rows=ROWS, probabilities=(0.5, 0.3, 0.2))


def mixture(folder: Path) -> MixtureFamily:
    return MixtureFamily(CHAINS, ROWS, ((0.0, 0.0),), EmRecipe(2, 1e-5, 1e-6, 2000, "kmeans"))


IN_MEMORY = (gaussian, gaussian_in_two_dimensions, discrete, mixture)
IN_FOLDERS = (autoencoder, language)
EVERY = (*IN_MEMORY, *IN_FOLDERS)
