"""The VAE family: a VAE from random weights on real images, then on images of the decoders before it (figure 9).

What a generation samples is its decoder, and as many images of it as there are real ones: these are what is measured and
looked at, and what the next generation is trained on where `fresh` is off. Where it is on, as in the paper, the next
generation's minibatches are drawn from the decoder as they are needed, and no image is seen twice.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from PIL import Image
from torch import Tensor

from components.families.device import device
from components.families.vae import model as vae
from components.families.vae.images import evenly
from components.families.vae.training import Recipe, Rows, Sampling, draw, train
from components.recursion.family import Diverged, GuardFailure, Origin, Pool, Step
from components.recursion.rows import compose_rows
from components.regimes import REAL, Composition, Regime
from components.store import read_manifest

FORMATS = {"fit": 1, "sample": 1, "measure": 2}
"""To be raised with any change of the code that changes what a phase leaves."""

AT_ONCE = 1000
SCORED = 10_000
"""Images that are measured, of many more evenly spread ones."""
SHEET = 8
"""Images across and down the sheet that shows what a generation draws."""


@dataclass(frozen=True)
class VaeFamily:
    """Everything that the chains of one condition share; small, so that Ray can carry it to workers."""

    images_folder: Path
    latents: int
    recipe: Recipe
    sampling: Sampling = "means"
    fresh: bool = True

    name = vae.FAMILY
    in_memory = False
    shown = ()

    @property
    def data_folder(self) -> Path:
        return self.images_folder

    @property
    def settings(self) -> Mapping[str, Any]:
        drawing = {"sampling": self.sampling}
        of_phase = {
            "fit": {**asdict(self.recipe), **drawing, "latents": self.latents, "fresh": self.fresh},
            "sample": drawing,
            "measure": {"validation": self._files["validation.npy"]["sha256"]},
        }
        return {kind: {**settings, "format": FORMATS[kind]} for kind, settings in of_phase.items()}

    @cached_property
    def real(self) -> dict[str, np.ndarray]:
        """`train`, `validation` and `test`; uint8 (images, height, width)."""
        splits = ("train", "validation", "test")
        return {name: np.load(self.images_folder / f"{name}.npy", allow_pickle=False) for name in splits}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "real"}  # each worker reads its own

    def digests(self) -> Mapping[str, str]:
        """Of the validation images nothing: they determine measures alone, and stand in the settings of those."""
        return {"training": self._files["train.npy"]["sha256"], "evaluation": self._files["test.npy"]["sha256"]}

    @property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        files: Mapping[str, Mapping[str, str]] = read_manifest(self.images_folder)["files"]
        return files

    def base(self) -> None:
        return None

    def compose(self, regime: Regime, pool: Pool[Path], out: Path, step: Step) -> dict[str, float]:
        """Draw which rows are real and which a decoder's; writes `composition.parquet`."""
        return compose_rows(regime, len(self.real["train"]), pool, out, step)

    def fit(self, composed: Path, pool: Pool[Path], start: Path | None, out: Path, step: Step) -> dict[str, float]:
        """Train a VAE from random weights; writes `model/` and `losses.parquet`.

        Raises:
            Diverged: a loss is not finite, or the last epoch is no better than the first step.
            GuardFailure: the weights did not move.
        """
        seeds = step.random.generate_state(3).tolist()
        frame = pd.read_parquet(composed / "composition.parquet")
        composition = Composition(frame["source"].to_numpy(), frame["row"].to_numpy())
        sources = {int(source): self._source(int(source), pool) for source in np.unique(composition.source)}
        height, width = self.real["train"].shape[1:]
        model = vae.create(vae.Shape(height, width, self.latents), seeds[0])
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        rows = Rows(composition, sources, self.sampling, torch.Generator(device()).manual_seed(seeds[1]))
        model = model.to(device())
        losses = train(model, rows, self.recipe, np.random.default_rng(seeds[2]), step.progress)
        after = torch.nn.utils.parameters_to_vector(model.parameters()).detach().cpu()
        history = pd.DataFrame(losses, columns=["step", "epoch", "loss"])
        last = float(history.loc[history["epoch"] == history["epoch"].max(), "loss"].mean())
        if torch.equal(before, after) or (len(history) > 1 and not last < history["loss"][0]):
            failure = GuardFailure if torch.equal(before, after) else Diverged
            raise failure(f"nothing was learnt: loss {history['loss'][0]:.2f} at first, {last:.2f} in the last epoch")
        vae.save(model, out / "model")
        history.to_parquet(out / "losses.parquet")
        return {"train/negative_elbo": last, "train/weights_moved": float((after - before).norm() / before.norm())}

    def _source(self, source: int, pool: Pool[Path]) -> Tensor | vae.Vae:
        """What fills the rows of one of the pool's data sets."""
        if source != REAL and self.fresh:
            return vae.load(pool.sampled[source] / "model").to(device())
        images = self.real["train"] if source == REAL else self.samples(pool.sampled[source])
        return torch.from_numpy(images.copy()).to(device())  # bytes: a quarter of the memory

    def sample(self, fitted: Path, origin: Origin[Path], out: Path, step: Step) -> dict[str, float]:
        """Hand on the decoder and as many images as there are real ones; writes `model/`, `synthetic.parquet`, `samples.png`."""
        model = vae.load(fitted / "model")
        vae.save(model, out / "model")
        model, n = model.to(device()), len(self.real["train"])
        random = torch.Generator(device()).manual_seed(int(step.random.generate_state(1)[0]))
        parts = []
        for start in range(0, n, AT_ONCE):
            means = draw(model, min(AT_ONCE, n - start), self.sampling, random)
            parts.append((means[:, 0] * 255).round().to(torch.uint8).cpu().numpy())
            step.progress(min(start + AT_ONCE, n), n)
        images = np.concatenate(parts)
        pixels = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), images[0].size)
        parquet.write_table(pa.table({"pixels": pixels}), out / "synthetic.parquet", compression="zstd")
        Image.fromarray(contact_sheet(images[: SHEET * SHEET])).save(out / "samples.png")
        return {"synthetic/rows": n}

    def samples(self, sampled: Path) -> np.ndarray:
        """The images that `sample` wrote; uint8 (images, height, width)."""
        pixels = parquet.read_table(sampled / "synthetic.parquet")["pixels"].combine_chunks()
        return pixels.flatten().to_numpy().reshape(len(pixels), *self.real["train"].shape[1:])

    def measure(self, fitted: Path, sampled: Path, origin: Origin[Path], out: Path, step: Step) -> dict[str, float]:
        """Real test images under this model, its images under generation 0's; writes `scores.parquet`.

        `latent_spread` is the standard deviation over all latents of all images that generation 0's encoder gives: by it the
        published notebook sees the images fall together (paper.md).

        Raises:
            Diverged: generation 0 is no better at the validation images than random weights.
        """
        random = torch.Generator().manual_seed(int(step.random.generate_state(1)[0]))
        model, first = (vae.load(folder / "model") for folder in (fitted, origin.generation0))
        real, synthetic = evenly(self.real["train"], SCORED), evenly(self.samples(sampled), SCORED)
        test = _scores("test", model, self.real["test"], random)
        frames = [test, _scores("synthetic", first, synthetic, random)]
        validated = float(_scores("validation", model, self.real["validation"], random)["negative_elbo"].mean())
        if fitted == origin.generation0:
            untrained = vae.create(model.shape, int(step.random.generate_state(2)[1]))
            worse = _scores("untrained", untrained, self.real["validation"], random)
            if not validated < worse["negative_elbo"].mean():
                raise Diverged("generation 0 describes the validation images no better than random weights do")
            frames.append(_scores("real", first, real, random))
        scores = pd.concat(frames, ignore_index=True)
        scores.to_parquet(out / "scores.parquet", index=False)
        of = dict(iter(scores.groupby("set")))
        spreads = {f"{name}/latent_spread": _latent_spread(of[name]) for name in ("synthetic", "real") if name in of}
        return {
            "validation/negative_elbo": validated,
            "test/negative_elbo": float(of["test"]["negative_elbo"].mean()),
            "test/reconstruction": float(of["test"]["reconstruction"].mean()),
            "test/divergence": float(of["test"]["divergence"].mean()),
            "synthetic/negative_elbo_under_generation0": float(of["synthetic"]["negative_elbo"].mean()),
            "synthetic/pixel_variance_share": float(_pixel_variance(synthetic) / _pixel_variance(real)),
            **spreads,
        }


def contact_sheet(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Images (n, height, width) side by side in rows of `SHEET`, white between them; small ones are enlarged."""
    enlarged = max(1, 56 // images.shape[1])
    images = images.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    images = np.pad(images, ((0, -len(images) % SHEET), (gap, gap), (gap, gap)), constant_values=255)
    rows = images.reshape(-1, SHEET, *images.shape[1:])
    return rows.transpose(0, 2, 1, 3).reshape(len(rows) * images.shape[1], -1)


@torch.inference_mode()
def _scores(name: str, model: vae.Vae, images: np.ndarray, random: torch.Generator) -> pd.DataFrame:
    """A row for each image: its parts of the negative ELBO in nats, one draw of its latents, and their means."""
    model = model.to(device())
    columns: dict[str, list[np.ndarray]] = {"reconstruction": [], "divergence": [], "latents": []}
    for start in range(0, len(images), AT_ONCE):
        batch = torch.from_numpy(images[start : start + AT_ONCE].copy()).to(device()).unsqueeze(1).float() / 255
        noise = torch.randn(len(batch), model.shape.latents, generator=random).to(device())
        errors, divergence = vae.negative_elbo(model, batch, noise)
        parts = {"reconstruction": errors, "divergence": divergence, "latents": model.encode(batch)[0]}
        for column, values in parts.items():
            columns[column].append(values.cpu().numpy())
    scores = {column: np.concatenate(parts) for column, parts in columns.items()}
    scores["negative_elbo"] = scores["reconstruction"] + scores["divergence"]
    row = np.arange(len(images), dtype=np.int32)
    return pd.DataFrame({"set": name, "row": row, **scores, "latents": list(scores["latents"])})


def _latent_spread(scores: pd.DataFrame) -> float:
    return float(np.stack(scores["latents"].to_list()).std())


def _pixel_variance(images: np.ndarray) -> float:
    """Variance of a pixel over images, added up over pixels; in units of the brightest pixel."""
    return float((images / 255).var(axis=0).sum())
