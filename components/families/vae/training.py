"""Training a VAE on minibatches that are gathered from real images and drawn afresh from earlier decoders.

A training set is rows: each is a real image, a kept sample, or a place that a decoder fills anew at every visit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from components.families.vae.model import Vae, negative_elbo
from components.recursion.family import Diverged, Progress
from components.regimes import Composition

Sampling = Literal["means", "bernoulli"]


@dataclass(frozen=True)
class Recipe:
    """The paper's: Adam at 1e-3 with weight decay 1e-5, 30 epochs of batches of 256. `precision`: fp32 or bf16."""

    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class Rows:
    """The images behind a composition, by source: bytes on the device, or a decoder. Draws are made with `random`."""

    composition: Composition
    sources: Mapping[int, Tensor | Vae]
    sampling: Sampling
    random: torch.Generator

    def minibatch(self, rows: np.ndarray) -> Tensor:
        """The images of these rows of the training set, (n, 1, height, width) in 0..1, source by source."""
        sources = self.composition.source[rows]
        parts = []
        for source in np.unique(sources).tolist():
            chosen, images = rows[sources == source], self.sources[source]
            if isinstance(images, Vae):
                parts.append(draw(images, len(chosen), self.sampling, self.random))
            else:
                places = torch.from_numpy(self.composition.row[chosen]).to(images.device)
                parts.append(images[places].unsqueeze(1).float() / 255)
        return torch.cat(parts)


@torch.no_grad()
def draw(model: Vae, n: int, sampling: Sampling, random: torch.Generator) -> Tensor:
    """Images of z ~ N(0, I): the means of p(x|z), or draws from it; (n, 1, height, width) in 0..1."""
    latents = torch.randn(n, model.shape.latents, generator=random, device=random.device)
    means = model.decode(latents).float()
    return means if sampling == "means" else torch.bernoulli(means, generator=random)


def train(
    model: Vae, rows: Rows, recipe: Recipe, order: np.random.Generator, progress: Progress
) -> list[tuple[int, int, float]]:
    """Train `model` in place; (step, epoch, loss) of every step, the loss in nats an image.

    Raises:
        Diverged: a loss is not finite.
    """
    n = len(rows.composition.row)
    steps_an_epoch = -(-n // recipe.batch_size)
    # The loss is summed over the batch, as in the published code: Adam does not see it, its weight decay does.
    optimiser = torch.optim.Adam(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    losses: list[tuple[int, int, Tensor, int]] = []
    for epoch in range(recipe.epochs):
        shuffled = order.permutation(n)
        for chosen in np.array_split(shuffled, range(recipe.batch_size, n, recipe.batch_size)):
            with torch.autocast(rows.random.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                images = rows.minibatch(chosen)
                noise = torch.randn(len(images), model.shape.latents, generator=rows.random, device=rows.random.device)
                errors, divergence = negative_elbo(model, images, noise)
            loss = (errors + divergence).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append((len(losses), epoch, loss.detach(), len(chosen)))
            progress(len(losses), recipe.epochs * steps_an_epoch)
        if not torch.isfinite(losses[-1][2]):
            raise Diverged(f"the loss of epoch {epoch} is not finite; lower train.learning_rate")
    return [(step, epoch, float(loss) / size) for step, epoch, loss, size in losses]
