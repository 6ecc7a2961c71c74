"""What a chain's images are held against once all its generations are there: the real images under the same generation 0."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from components.measures.modes import distinct_modes, find_modes
from components.measures.tails import share_beyond

OUTER = 0.9


def beside_real(real: pd.DataFrame, generations: Mapping[int, pd.DataFrame]) -> Iterator[tuple[int, dict[str, float]]]:
    """Each generation and the numbers of its images.

    `synthetic/distinct_modes`: of the modes of the real images' latents, how many the images tell apart.
    `synthetic/outer_latents`: share of them further out than nine of ten real images, from the real ones' mean.
    `synthetic/beyond_real_p99`: share of them that generation 0 describes worse than 99 of 100 real images.

    Args:
        real: rows (images) with the columns `latents` and `negative_elbo`, under generation 0.
        generations: each with its images, described in the same way.
    """
    points, losses = np.stack(real["latents"].to_list()), real["negative_elbo"].to_numpy()
    modes, middle = find_modes(points), points.mean(axis=0)
    outward = np.linalg.norm(points - middle, axis=1)
    for index, images in generations.items():
        own = np.stack(images["latents"].to_list())
        yield (
            index,
            {
                "synthetic/distinct_modes": distinct_modes(own, modes),
                "synthetic/outer_latents": share_beyond(np.linalg.norm(own - middle, axis=1), outward, OUTER),
                "synthetic/beyond_real_p99": share_beyond(images["negative_elbo"].to_numpy(), losses),
            },
        )


def mean_image_loss(train: np.ndarray, test: np.ndarray) -> float:
    """Nats an image that the test images cost a model which draws the mean training image always, pixel by pixel.

    What a VAE comes to that has forgotten all but the mean. Images are uint8 (n, height, width); a pixel that is the same in all
    of them is taken for half a level away from that.
    """
    mean = np.clip(train.mean(axis=0) / 255, 0.5 / 255, 1 - 0.5 / 255)
    pixels = test.mean(axis=0) / 255  # the cross-entropy is linear in them
    return float(-(pixels * np.log(mean) + (1 - pixels) * np.log(1 - mean)).sum())
