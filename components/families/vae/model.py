"""The paper's VAE: two convolutions down to a Gaussian of 20 latents, and the same way up again.

On 28x28 images it has the published network's 647,081 parameters. This file runs on torch and safetensors alone: a
copy of it travels with every registered model and loads it (`_load_pyfunc`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FAMILY = "vae"
PACKAGES: tuple[str, ...] = ("numpy", "safetensors", "torch")
WEIGHTS, CONFIG = "model.safetensors", "config.json"
CHANNELS = (64, 128)


@dataclass(frozen=True)
class Shape:
    """Size of the images, whose sides are multiples of 4, and number of latents."""

    height: int
    width: int
    latents: int = 20


class Vae(nn.Module):
    """q(z|x) and p(x|z): convolutions of kernel 4 and stride 2, ReLU; a linear layer to mean and log-variance and back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        few, many = CHANNELS
        self.inner = (many, shape.height // 4, shape.width // 4)
        features = int(np.prod(self.inner))
        self.down = nn.Sequential(
            nn.Conv2d(1, few, 4, 2, 1), nn.ReLU(), nn.Conv2d(few, many, 4, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.mean = nn.Linear(features, shape.latents)
        self.log_variance = nn.Linear(features, shape.latents)
        self.widen = nn.Linear(shape.latents, features)
        self.up = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(many, few, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(few, 1, 4, 2, 1)
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), (n, latents) each, of images (n, 1, height, width) in 0..1."""
        features = self.down(images)
        return self.mean(features), self.log_variance(features)

    def logits(self, latents: Tensor) -> Tensor:
        """Log odds of the pixels under p(x|z); (n, 1, height, width)."""
        return self.up(self.widen(latents).unflatten(1, self.inner))

    def decode(self, latents: Tensor) -> Tensor:
        """Means of p(x|z), in 0..1."""
        return torch.sigmoid(self.logits(latents))


def create(shape: Shape, seed: int) -> Vae:
    """A VAE with torch's random weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Vae(shape)


def parameter_count(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def negative_elbo(model: Vae, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction error (binary cross-entropy summed over pixels) and KL(q(z|x) | N(0, I)) of each image, in nats.

    `noise` (n, latents) is the draw of N(0, I) that makes the latents. Both are float32, whatever the model computes in.
    """
    mean, log_variance = (part.float() for part in model.encode(images))
    logits = model.logits(mean + noise * torch.exp(log_variance / 2)).float()
    errors = F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=(1, 2, 3))
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
    return errors, divergence


def save(model: Vae, folder: Path) -> None:
    folder.mkdir()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(model.shape)))


def load(folder: Path) -> Vae:
    model = Vae(Shape(**json.loads((folder / CONFIG).read_text())))
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


class Decoder:
    """A registered model as MLflow calls it: latents in, images out."""

    def __init__(self, model: Vae) -> None:
        self.model = model

    @torch.inference_mode()
    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Images (n, height, width) in 0..1 of latents (n, latents)."""
        return self.model.decode(torch.as_tensor(latents, dtype=torch.float32))[:, 0].numpy()


def _load_pyfunc(folder: str) -> Decoder:
    return Decoder(load(Path(folder)))
