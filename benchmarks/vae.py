"""`python -m benchmarks.vae [images]`: a generation of VAEs against the obvious PyTorch loop, on one thread each.

Both train the published network on 28x28 images that an earlier decoder draws afresh for every minibatch: generation 1.
The peer is the published code's way: a DataLoader, float32, one minibatch at a time. Both get the same weights, order and
noise, so their losses differ by rounding only, and no speed is printed where they do by more. Sides alternate in this
process, the medians count. `images` is a folder of IDX files or pictures
of 28x28; without it scikit-learn's digits are enlarged. Takes about five minutes.
"""

import os
import statistics
import sys
import time
from tempfile import TemporaryDirectory
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.record import record
from components.config.small_families import ImagesSettings
from components.environment import machine
from components.families.vae import images, model
from components.families.vae.training import Recipe, Rows, train
from components.regimes import REAL, Composition
from components.store import Store

SHAPE, IMAGES, TURNS, EPOCHS = model.Shape(28, 28), 2560, 5, 12
EQUAL = 0.015
"""Two seeds differ by as much."""


def real_images(path: str | None) -> np.ndarray:
    """Training images, bytes."""
    with TemporaryDirectory() as folder:
        found = images.prepare(ImagesSettings(path=path), Store.open(folder))
        real = np.load(found.place / "train.npy")
    if real.shape[1:] == (8, 8):
        real = np.pad(real.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return np.resize(real, (IMAGES, 28, 28))


def ours(decoder: model.Vae, precision: Any, epochs: int) -> float:
    """Mean loss of the last epoch, in nats an image."""
    composition = Composition(np.zeros(IMAGES, np.int16), np.arange(IMAGES, dtype=np.int32))
    rows = Rows(composition, {0: decoder}, "means", torch.Generator().manual_seed(0))
    fitted = model.create(SHAPE, seed=1)
    recipe = Recipe(epochs=epochs, precision=precision)
    losses = train(fitted, rows, recipe, np.random.default_rng(0), lambda done, total: None)
    return statistics.mean(loss for _, epoch, loss in losses if epoch == epochs - 1)


def obvious(decoder: model.Vae, data: torch.Tensor, epochs: int) -> float:
    """The loop that the published notebook has: the loader counts the minibatches, the decoder fills them."""
    fitted = model.create(SHAPE, seed=1)
    optimiser = torch.optim.Adam(fitted.parameters(), lr=1e-3, weight_decay=1e-5)
    order, random = np.random.default_rng(0), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        running = 0.0
        for (batch,) in DataLoader(TensorDataset(data), batch_size=256, sampler=order.permutation(len(data)).tolist()):
            with torch.no_grad():
                batch = decoder.decode(torch.randn(len(batch), SHAPE.latents, generator=random))
            mean, log_variance = fitted.encode(batch)
            latents = mean + torch.randn(mean.shape, generator=random) * torch.exp(0.5 * log_variance)
            loss = functional.binary_cross_entropy(fitted.decode(latents), batch, reduction="sum")
            loss = loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            running += loss.item()
    return running / len(data)


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    real = real_images(arguments[0] if arguments else None)
    data = torch.from_numpy(real.copy()).unsqueeze(1) / 255
    composition = Composition(np.full(IMAGES, REAL, np.int16), np.arange(IMAGES, dtype=np.int32))
    rows = Rows(composition, {REAL: torch.from_numpy(real.copy())}, "means", torch.Generator().manual_seed(3))
    decoder = model.create(SHAPE, seed=0)
    train(decoder, rows, Recipe(epochs=EPOCHS), np.random.default_rng(0), lambda done, total: None)
    sides = {
        "obvious loop, fp32": lambda epochs: obvious(decoder, data, epochs),
        "ours, fp32": lambda epochs: ours(decoder, "fp32", epochs),
        **({"ours, bf16": lambda epochs: ours(decoder, "bf16", epochs)} if machine().fastest == "bf16" else {}),
    }
    losses = {name: side(EPOCHS) for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, side in sides.items():
            started = time.perf_counter()
            side(1)
            seconds[name].append(time.perf_counter() - started)
    peer, *own = sides
    for name in own:
        apart = losses[name] / losses[peer] - 1
        assert abs(apart) < EQUAL, f"{name} ends {apart:.1%} from the peer's loss"
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "what": f"VAE, 28x28, generation 1: an epoch of {IMAGES:,} images drawn afresh, batches of 256, one thread",
        "seconds an epoch": medians,
        f"loss in epoch {EPOCHS}, nats an image": losses,
        "times as fast": {name: medians[peer] / medians[name] for name in own},
    }
    print("\n".join(f"{name}: {value}" for name, value in result.items()))
    record("vae", [result])


if __name__ == "__main__":
    main(sys.argv[1:])
