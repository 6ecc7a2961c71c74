"""What a chain's images are held against once all its generations are there: the real images under the same generation 0."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from components.families.vae.images import evenly
from components.measures.errors import mean_error, quantile_error, share_error
from components.measures.modes import Modes, distinct_modes, distinct_modes_error, find_modes
from components.measures.tails import BEYOND, share_beyond

OUTER = 0.9


def beside_real(
    real: pd.DataFrame, held_out: pd.DataFrame, generations: Mapping[int, pd.DataFrame]
) -> Iterator[tuple[int, dict[str, float]]]:
    """Each generation and the numbers of its images, with the same numbers of the held-out real images beside them.

    `synthetic/distinct_modes`: of the modes of the real images' latents, how many the images tell
    apart; as it falls a little with fewer images, of as many, evenly spread, as there are held-out
    ones. `synthetic/outer_latents`: share of them further out than nine of ten real images, from
    the real ones' mean. `synthetic/beyond_real_p99`: share of them that generation 0 describes
    worse than 99 of 100 held-out real images. `heldout/...`: the same of the held-out images
    themselves. `..._error`: standard errors, and that of `synthetic/latent_spread`.

    Modes and their middle are those of the images that generation 0 was fitted to; what real data
    is like is measured on images that it was not.

    Args:
        real: rows (training images) with the columns `latents` and `negative_elbo`, under generation 0.
        held_out: the test images, described in the same way.
        generations: each with its images, described in the same way.
    """
    points = _latents(real)
    modes, middle = find_modes(points), points.mean(axis=0)
    outward = np.linalg.norm(points - middle, axis=1)
    size = min(map(len, [held_out, *generations.values()]))

    def shape(images: pd.DataFrame, kind: str) -> dict[str, float]:
        latents = _latents(images)
        outer = share_beyond(np.linalg.norm(latents - middle, axis=1), outward, OUTER)
        return {
            **_of_modes(evenly(latents, size), modes, kind),
            f"{kind}/outer_latents": outer,
            f"{kind}/outer_latents_error": share_error(outer, len(images)),
        }

    losses = held_out["negative_elbo"].to_numpy()
    of_real = shape(held_out, "heldout") | {
        "heldout/beyond_real_p99": share_beyond(losses, losses),
        "heldout/beyond_real_p99_error": quantile_error(losses, BEYOND),
    }
    for index, images in generations.items():
        beyond = share_beyond(images["negative_elbo"].to_numpy(), losses)
        yield (
            index,
            {
                **shape(images, "synthetic"),
                "synthetic/beyond_real_p99": beyond,
                "synthetic/beyond_real_p99_error": share_error(beyond, len(images)),
                "synthetic/latent_spread_error": _spread_error(_latents(images)),
                **of_real,
            },
        )


def _latents(images: pd.DataFrame) -> np.ndarray:
    return np.stack(images["latents"].to_list())


def _of_modes(latents: np.ndarray, modes: Modes, kind: str) -> dict[str, float]:
    return {
        f"{kind}/distinct_modes": distinct_modes(latents, modes),
        f"{kind}/distinct_modes_error": distinct_modes_error(latents, modes),
    }


def _spread_error(latents: np.ndarray) -> float:
    """Standard error of the standard deviation over all latents (n, d) of n independent images (delta method)."""
    squares = ((latents - latents.mean()) ** 2).mean(axis=1)
    spread = float(np.sqrt(squares.mean()))
    return mean_error(squares) / (2 * spread) if spread else 0.0


def mean_image_losses(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Nats that each test image (n,) costs a model which draws the mean training image always, pixel by pixel.

    What a VAE comes to that has forgotten all but the mean. Images are uint8 (n, height, width); a
    pixel that is the same in all of them is taken for half a level away from that.
    """
    mean = np.clip(train.mean(axis=0) / 255, 0.5 / 255, 1 - 0.5 / 255)
    return -(test / 255 * np.log(mean) + (1 - test / 255) * np.log(1 - mean)).sum(axis=(1, 2))
